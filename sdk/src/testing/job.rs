//! Jobs for tests, with everything filled in that a test does not care about.

use std::time::Duration;

use serde::Serialize;

use crate::job::{Header, Job};
use crate::payload::Raw;

/// How long an attempt may take unless the test says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

/// A job with this payload: the first of three attempts of job `1` named `test` on the queue `test`.
pub fn job<T>(data: T) -> JobBuilder<T> {
    JobBuilder {
        job: Job {
            id: "1".to_owned(),
            queue: "test".to_owned(),
            name: "test".to_owned(),
            data,
            attempt: 1,
            max_attempts: 3,
            starts: 1,
            stalls: 0,
            enqueued_at: 0,
            deadline: 0,
            idempotency_key: String::new(),
            tenant: None,
            parent: None,
            headers: Vec::new(),
        },
        enqueued_at: None,
        deadline: None,
        idempotency_key: None,
    }
}

/// A job whose payload is the JSON text of this value, as it comes from a queue.
///
/// # Panics
/// When the value has no JSON form.
pub fn json(value: &(impl Serialize + ?Sized)) -> JobBuilder<Raw> {
    match serde_json::to_vec(value) {
        Ok(bytes) => job(Raw(bytes)),
        Err(error) => panic!("the job's payload has no JSON form: {error}"),
    }
}

/// A job with these bytes as its payload.
pub fn bytes(payload: impl Into<Vec<u8>>) -> JobBuilder<Raw> {
    job(Raw(payload.into()))
}

/// A job in the making. What depends on the clock is filled in when the host runs it.
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until a host runs it"]
pub struct JobBuilder<T> {
    job: Job<T>,
    enqueued_at: Option<u64>,
    deadline: Option<u64>,
    idempotency_key: Option<String>,
}

impl<T> JobBuilder<T> {
    /// Sets the id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.job.id = id.into();
        self
    }

    /// Sets the queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.job.queue = queue.into();
        self
    }

    /// Sets the name, on which a plugin dispatches.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.job.name = name.into();
        self
    }

    /// Makes it this attempt, started as often.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.job.attempt = attempt;
        self.job.starts = attempt;
        self
    }

    /// Sets how many attempts there are in all.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.job.max_attempts = attempts;
        self
    }

    /// Sets how often it was started.
    pub fn starts(mut self, starts: u32) -> Self {
        self.job.starts = starts;
        self
    }

    /// Sets how often it was recovered from a host that vanished.
    pub fn stalls(mut self, stalls: u32) -> Self {
        self.job.stalls = stalls;
        self
    }

    /// Sets when it was enqueued, in milliseconds since the epoch. Default: now.
    pub fn enqueued_at(mut self, unix_ms: u64) -> Self {
        self.enqueued_at = Some(unix_ms);
        self
    }

    /// Sets when the host would stop it, in milliseconds since the epoch. Default: 30 s from now.
    pub fn deadline(mut self, unix_ms: u64) -> Self {
        self.deadline = Some(unix_ms);
        self
    }

    /// Sets the idempotency key. Default: one made of queue and id, the same for every attempt.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Sets the tenant.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.job.tenant = Some(tenant.into());
        self
    }

    /// Makes it the child of this job key.
    pub fn parent(mut self, key: impl Into<String>) -> Self {
        self.job.parent = Some(key.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.job.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The job as it would be claimed now.
    pub(super) fn claim(self, now_ms: u64) -> Job<T> {
        let Self { mut job, enqueued_at, deadline, idempotency_key } = self;
        job.enqueued_at = enqueued_at.unwrap_or(now_ms);
        job.deadline = deadline.unwrap_or_else(|| now_ms.saturating_add(crate::time::whole_ms(DEADLINE)));
        job.idempotency_key = idempotency_key.unwrap_or_else(|| format!("test:{}:{}", job.queue, job.id));
        job
    }
}

impl<T> From<Job<T>> for JobBuilder<T> {
    fn from(job: Job<T>) -> Self {
        Self {
            enqueued_at: Some(job.enqueued_at),
            deadline: Some(job.deadline),
            idempotency_key: Some(job.idempotency_key.clone()),
            job,
        }
    }
}
