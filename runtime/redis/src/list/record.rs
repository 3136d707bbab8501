//! A job's record as a [`Job`].

use bytes::Bytes;
use jobcell_core::crash::Crashes;
use jobcell_core::{Job, JobId, JobOptions, Millis, StoreError};
use redis::Value;

use super::item::Item;
use super::store::ListStore;
use crate::reply;

/// Log lines a job keeps: they live in Redis's memory, beside records that may stay for ever.
const LOG_LINES_KEPT: u64 = 1000;
/// Failed attempts whose traces a job keeps.
const TRACES_KEPT: u64 = 10;

/// The fields that are read when somebody looks, in the order of [`Record::of_look`].
pub(super) const LOOKED_AT: [&str; 23] = [
    "data",
    "name",
    "tenantId",
    "attempts",
    "starts",
    "stalls",
    "error",
    "trace",
    "progress",
    "failing",
    "addedAt",
    "telemetry",
    "delay",
    "crashes",
    "depth",
    "digest",
    "dueAt",
    "status",
    "updated",
    "startedAt",
    "finishedAt",
    "result",
    "worker",
];

/// What a record says. Every field may be missing: its owner may be somebody else.
#[derive(Debug, Default)]
pub(super) struct Record {
    data: Option<Bytes>,
    name: Option<String>,
    tenant: Option<String>,
    attempts: Option<u64>,
    starts: Option<u64>,
    stalls: Option<u64>,
    error: Option<String>,
    trace: Option<Vec<u8>>,
    progress: Option<Bytes>,
    failing: Option<String>,
    added_at: Option<Millis>,
    telemetry: Option<String>,
    delay: Option<u64>,
    crashes: Option<Crashes>,
    depth: Option<u64>,
    digest: Option<String>,
    due_at: Option<Millis>,
    /// Who has it: none of the words of this store when nobody here has touched it.
    pub(super) status: Status,
    updated: bool,
    started_at: Option<Millis>,
    finished_at: Option<Millis>,
    result: Option<Bytes>,
    worker: Option<String>,
}

/// What the `status` field says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing, or something of its owner's.
    #[default]
    None,
    Waiting,
    Running,
    Retrying,
    Completed,
    Failed,
}

// === impl Status ===

impl Status {
    fn of(text: Option<&str>) -> Self {
        match text {
            Some("WAITING") => Self::Waiting,
            Some("RUNNING") => Self::Running,
            Some("RETRYING") => Self::Retrying,
            Some("COMPLETED") => Self::Completed,
            Some("FAILED") => Self::Failed,
            _ => Self::None,
        }
    }
}

// === impl Record ===

impl Record {
    /// The parts that `start.lua` answers with.
    pub(super) fn of_start(mut parts: impl Iterator<Item = Value>) -> Result<Self, StoreError> {
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let text = reply::text;
        let data: Option<Bytes> = reply::bytes(next())?.map(Into::into);
        Ok(Self {
            // Where the item has data of its own, this is only told when it replaces it.
            updated: data.is_some(),
            data,
            name: text(next())?,
            tenant: text(next())?,
            attempts: number(next()),
            starts: number(next()),
            stalls: number(next()),
            error: text(next())?,
            trace: reply::bytes(next())?,
            progress: reply::bytes(next())?.map(Into::into),
            failing: text(next())?,
            added_at: number(next()),
            telemetry: text(next())?,
            delay: number(next()),
            crashes: text(next())?.and_then(|crashes| crashes.parse().ok()),
            depth: number(next()),
            digest: text(next())?,
            ..Self::default()
        })
    }

    /// The values of [`LOOKED_AT`].
    pub(super) fn of_look(values: Value) -> Result<Self, StoreError> {
        let mut values = reply::array(values)?.into_iter();
        let mut record = Self::of_start(values.by_ref().take(16))?;
        let mut next = || values.next().unwrap_or(Value::Nil);
        record.due_at = number(next());
        record.status = Status::of(reply::text(next())?.as_deref());
        record.updated = reply::bytes(next())?.is_some();
        record.started_at = number(next());
        record.finished_at = number(next());
        record.result = reply::bytes(next())?.map(Into::into);
        record.worker = reply::text(next())?;
        if record.status == Status::None {
            // Whatever stands in the fields of the same names is its owner's.
            return Ok(Self {
                data: record.data,
                name: record.name,
                tenant: record.tenant,
                ..Self::default()
            });
        }
        Ok(record)
    }

    /// When it is due, while it is delayed.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due_at
    }

    /// The job, with what its item says where there is one.
    pub(super) fn into_job(self, store: &ListStore, id: JobId, item: Option<(&Item, &Bytes)>) -> Job {
        let envelope = item.and_then(|(item, _)| item.envelope.as_ref());
        let own = envelope.and_then(|envelope| envelope.data.clone());
        let bare = item.filter(|(item, _)| item.envelope.is_none()).map(|(_, raw)| raw.clone());
        let data = match (own, self.data) {
            (Some(own), _) if !self.updated => own,
            (_, Some(data)) => data,
            (own, None) => own.or(bare).unwrap_or_else(|| Bytes::from_static(b"null")),
        };
        let name = envelope.and_then(|envelope| envelope.name.clone()).or(self.name);
        let mut job = Job::new(id, name.unwrap_or_else(|| store.queue.to_string()), data);
        job.timestamp = self.added_at.unwrap_or_default();
        job.delay = self.delay.unwrap_or(0);
        job.options = JobOptions {
            attempts: envelope.and_then(|envelope| envelope.attempts).unwrap_or(store.options.attempts),
            backoff: Some(store.options.backoff.clone()),
            delay: job.delay,
            stack_trace_limit: Some(TRACES_KEPT),
            keep_logs: Some(LOG_LINES_KEPT),
            telemetry: self.telemetry,
            tenant: envelope.and_then(|envelope| envelope.tenant.clone()).or(self.tenant),
            depth: self.depth.unwrap_or(0),
            fresh: envelope.is_some_and(|envelope| envelope.fresh),
            ..JobOptions::default()
        };
        job.options_raw = serde_json::to_vec(&job.options).unwrap_or_else(|_| b"{}".to_vec()).into();
        job.attempts_made = self.attempts.unwrap_or(0);
        job.attempts_started = self.starts.unwrap_or(0);
        job.stalled_count = self.stalls.unwrap_or(0);
        job.progress = self.progress;
        job.result = self.result;
        job.failed_reason = self.error;
        job.stacktrace = self.trace.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        job.crashes = self.crashes;
        job.pinned = self.digest;
        job.deferred_failure = self.failing;
        job.processed_on = self.started_at;
        job.finished_on = self.finished_at;
        job.processed_by = self.worker;
        job
    }
}

/// A count or a time; none when it is no such thing.
fn number(value: Value) -> Option<u64> {
    match value {
        Value::Nil => None,
        value => reply::int(&value).ok().and_then(|n| u64::try_from(n).ok()),
    }
}
