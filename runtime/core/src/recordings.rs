//! Recorded attempts that are kept in the store, to be run again: the newest of each queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::attempt::{Attempt, AttemptIo};
use crate::clock::Millis;
use crate::documents::{Documents, Log};
use crate::effects::{Blob, Recording};
use crate::job::Job;
use crate::keyvalue::Fingerprint;
use crate::names::{JobId, QueueName};
use crate::outcome::Outcome;
use crate::receipt::{HostCall, Receipt};
use crate::runner::{Report, Runner};
use crate::shadow;
use crate::store::StoreError;

/// Recordings that are kept of one queue: with [`KEPT_BYTES_MAX`], 6 MiB of the store's memory.
pub const KEPT_MAX: u32 = 100;
/// Bytes of one recording as it is kept.
pub const KEPT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a result that is kept with a recording; of a larger one only what it is known by.
const RESULT_BYTES_MAX: usize = 8 << 10;
/// Bytes of a payload that is kept because the attempt replaced it.
const DATA_BYTES_MAX: usize = 16 << 10;
/// How long the end of an attempt waits for its recording to be kept. Below what a worker gives a runner on top of its
/// deadline; a store that is slower still gets it, behind the end.
const PATIENCE: Duration = Duration::from_millis(150);
/// Recordings that are on their way to the store at once; more are dropped and counted.
const WRITES_MAX: usize = 16;
/// Recordings read in one step.
const PAGE: u32 = 20;

/// Which attempts are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Record {
    /// None.
    #[default]
    Off,
    /// Those that failed or were ended.
    Failed,
    /// All.
    All,
}

/// An attempt that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The job's id.
    pub id: String,
    /// The job's name.
    pub name: String,
    /// The attempt's number: 1 for the first.
    pub attempt: u64,
    /// Attempts used up before it.
    pub made: u64,
    /// Starts, this one included.
    pub starts: u64,
    /// Recoveries from a host that vanished.
    #[serde(default)]
    pub stalls: u64,
    /// When it had to end, as its guest was told.
    pub deadline_at: Millis,
    /// When it ended.
    pub at: Millis,
    /// The handler.
    pub handler: String,
    /// Its version: 12 hex digits.
    pub version: String,
    /// The whole digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the payload is known by.
    pub data_sha1: String,
    /// The payload, where the attempt replaced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Blob>,
    /// How it ended.
    pub end: KeptEnd,
    /// What it cost.
    pub receipt: Receipt,
    /// What it asked and was told.
    pub recording: Recording,
}

/// How an attempt ended, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptEnd {
    /// [`Outcome::label`].
    pub outcome: String,
    /// Why it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its result, where that is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Blob>,
    /// What its result is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_sha1: Option<String>,
    /// Milliseconds of the wait, the rest or the time it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// The recordings of a fleet. Cheap to clone.
#[derive(Clone)]
pub struct Recordings {
    documents: Arc<dyn Documents>,
    writes: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

// === impl Record ===

impl Record {
    /// Whether an attempt that ended so is kept.
    #[must_use]
    pub fn wants(self, outcome: &Outcome) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Failed => matches!(
                outcome,
                Outcome::Retry { .. } | Outcome::Fatal(_) | Outcome::Invalid(_) | Outcome::Stopped(_)
            ),
        }
    }
}

// === impl KeptEnd ===

impl KeptEnd {
    /// Of this outcome; `io` knows what must not be written down.
    #[must_use]
    pub fn of(outcome: &Outcome, io: &AttemptIo) -> Self {
        let clean = |text: &str| io.redacted(text).unwrap_or_else(|| text.to_owned());
        let ms = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut end = Self { outcome: outcome.label().to_owned(), ..Self::default() };
        match outcome {
            Outcome::Complete(result) => {
                let cleaned = std::str::from_utf8(result).ok().and_then(|text| io.redacted(text));
                let result = cleaned.map_or_else(|| result.clone(), Into::into);
                end.result_sha1 = Some(Fingerprint::of(&result).to_hex());
                end.result = (result.len() <= RESULT_BYTES_MAX).then_some(Blob(result));
            }
            Outcome::Retry { reason, after } => {
                (end.reason, end.ms) = (Some(clean(reason)), after.as_ref().map(ms));
            }
            Outcome::Fatal(reason) | Outcome::Invalid(reason) => end.reason = Some(clean(reason)),
            Outcome::RateLimited(rest) => end.ms = Some(ms(rest)),
            Outcome::DelayUntil(at) => end.ms = Some(*at),
            Outcome::Requeue | Outcome::WaitForChildren => {}
            Outcome::Stopped(stopped) => {
                end.stopped_by = Some(stopped.cause.as_str().to_owned());
                end.reason = Some(clean(&stopped.reason));
            }
        }
        end
    }

    /// What another end of the same job differs in; none when they agree. As [`shadow::difference`] sees it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let words = |end: &Self| match &end.stopped_by {
            Some(cause) => format!("{} ({cause})", end.outcome),
            None => end.outcome.clone(),
        };
        let (was, is) = (words(self), words(other));
        if was != is {
            return Some(format!("outcome: {was}, and now {is}"));
        }
        if self.stopped_by.is_none() && self.reason != other.reason {
            return Some("the reason".to_owned());
        }
        if self.ms != other.ms {
            return Some("the time it asked for".to_owned());
        }
        match (&self.result, &other.result) {
            (Some(a), Some(b)) => shadow::results(&a.0, &b.0),
            _ => (self.result_sha1 != other.result_sha1).then(|| "the result".to_owned()),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// The job as the attempt was given it, out of what it is now.
    ///
    /// # Errors
    /// When its payload is another one now and the recorded one was not kept.
    pub fn job(&self, now: &Job) -> Result<Job, String> {
        let mut job = Job { name: self.name.clone(), ..now.clone() };
        if let Some(Blob(data)) = &self.data {
            job.data = data.clone();
        } else if Fingerprint::of(&job.data).to_hex() != self.data_sha1 {
            return Err(format!(
                "the payload of job {:?} is not the one that attempt {} had",
                self.id, self.attempt
            ));
        }
        (job.attempts_made, job.attempts_started, job.stalled_count) = (self.made, self.starts, self.stalls);
        Ok(job)
    }
}

/// The same as [`Kept`], with the recording as text that was cut already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    id: &'a str,
    name: &'a str,
    attempt: u64,
    made: u64,
    starts: u64,
    stalls: u64,
    deadline_at: Millis,
    at: Millis,
    handler: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    data_sha1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Blob>,
    end: KeptEnd,
    receipt: &'a Receipt,
    recording: Box<RawValue>,
}

// === impl Recordings ===

impl Recordings {
    /// Those that are kept there.
    #[must_use]
    pub fn new(documents: Arc<dyn Documents>) -> Self {
        Self { documents, writes: Arc::new(Semaphore::new(WRITES_MAX)), dropped: Arc::default() }
    }

    /// Attempts that should have been kept and were not: too many at once, or the store failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Keeps an attempt. Waits a moment for the store, so that who sees the end of an attempt nearly always finds its
    /// recording; a store that is slow or gone delays no job beyond that.
    pub async fn keep(
        &self,
        runner: &dyn Runner,
        attempt: &Attempt,
        recording: &Recording,
        report: &Report,
        now: Millis,
    ) {
        let Ok(place) = Arc::clone(&self.writes).try_acquire_owned() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(text) = written(runner, attempt, recording, report, now) else { return };
        let log = Log::Recordings(attempt.queue.as_str().to_owned());
        let (documents, dropped) = (Arc::clone(&self.documents), Arc::clone(&self.dropped));
        let (queue, id) = (attempt.queue.clone(), attempt.job.id.clone());
        let write = tokio::spawn(async move {
            if let Err(error) = documents.append(&log, text.into(), KEPT_MAX).await {
                dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%queue, job = %id, %error, "an attempt's recording was not kept");
            }
            drop(place);
        });
        // A write that takes longer goes on by itself.
        let _ = timeout(PATIENCE, write).await;
    }

    /// The attempts of a job that are kept, the newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn of(&self, queue: &QueueName, id: &JobId) -> Result<Vec<Kept>, StoreError> {
        let log = Log::Recordings(queue.as_str().to_owned());
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = self.documents.entries(&log, before, PAGE).await?;
            before = page.last().map(|entry| entry.number);
            // What another version wrote in a form that this one does not know is none of ours.
            let kept = page.iter().filter_map(|entry| serde_json::from_slice::<Kept>(&entry.content).ok());
            found.extend(kept.filter(|kept| kept.id == id.as_str()));
            if page.len() < PAGE as usize {
                return Ok(found);
            }
        }
    }
}

fn written(
    runner: &dyn Runner,
    attempt: &Attempt,
    recording: &Recording,
    report: &Report,
    now: Millis,
) -> Option<String> {
    let Attempt { job, deadline_at, io, .. } = attempt;
    let is_update = |effect: &crate::effects::Effect| effect.kind == HostCall::Context && effect.writes;
    let replaced = recording.effects.iter().any(is_update) && job.data.len() <= DATA_BYTES_MAX;
    let data = replaced.then(|| {
        let clean = std::str::from_utf8(&job.data).ok().and_then(|text| io.redacted(text));
        Blob(clean.map_or_else(|| job.data.clone(), Into::into))
    });
    let mut written = Written {
        id: job.id.as_str(),
        name: &job.name,
        attempt: job.attempt(),
        made: job.attempts_made,
        starts: job.attempts_started,
        stalls: job.stalled_count,
        deadline_at: *deadline_at,
        at: now,
        handler: runner.handler(),
        version: runner.version(),
        digest: runner.digest(),
        data_sha1: Fingerprint::of(&job.data).to_hex(),
        data,
        end: KeptEnd::of(&report.outcome, io),
        receipt: &report.receipt,
        recording: RawValue::from_string("{}".to_owned()).ok()?,
    };
    let head = serde_json::to_string(&written).ok()?;
    let room = KEPT_BYTES_MAX.saturating_sub(head.len());
    written.recording = RawValue::from_string(recording.to_json(room)).ok()?;
    serde_json::to_string(&written).ok()
}

#[cfg(test)]
mod tests;
