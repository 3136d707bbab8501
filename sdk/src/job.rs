//! One attempt of one job, as a handler receives it.

use crate::failure::Failure;
use crate::payload::{Payload, Raw};

/// One attempt of one job. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<T> {
    /// Unique within its queue.
    pub id: String,
    /// The queue that the job was taken from.
    pub queue: String,
    /// The producer's name for this kind of job; the plugin dispatched on it.
    pub name: String,
    /// The decoded payload.
    pub data: T,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// How many attempts the job has in all; `attempt == max_attempts` is the last one.
    pub max_attempts: u32,
    /// How often the job was started, recoveries and give-backs included; 1 on the first start.
    pub starts: u32,
    /// How often it was recovered from a host that vanished.
    pub stalls: u32,
    /// When the producer put it on the queue.
    pub enqueued_at: u64,
    /// When the host stops this attempt.
    pub deadline: u64,
    /// The same for every attempt of this job: pass it on to services that take one, so that a retry
    /// after a lost answer does not charge, send or create twice.
    pub idempotency_key: String,
    /// On whose behalf the job runs, if its producer said so.
    pub tenant: Option<String>,
    /// `<prefix>:<queue>:<id>` of the parent in a flow.
    pub parent: Option<String>,
    /// Carried context: trace context and the producer's metadata, in the producer's order.
    pub headers: Vec<Header>,
}

/// One piece of context that travels with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The producer's spelling; [`Job::header`] ignores case.
    pub name: String,
    /// Its text.
    pub value: String,
}

impl<T> Job<T> {
    /// The value of the first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &*header.value)
    }

    /// True when a failure of this attempt is not followed by another one.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// The same job with another payload.
    pub fn with_data<U>(self, data: U) -> Job<U> {
        self.try_map(|_| Ok(data)).unwrap_or_else(|never: std::convert::Infallible| match never {})
    }

    /// The same job with its payload converted; a fault of the conversion passes through.
    pub(crate) fn try_map<U, E>(self, convert: impl FnOnce(T) -> Result<U, E>) -> Result<Job<U>, E> {
        Ok(Job {
            data: convert(self.data)?,
            id: self.id,
            queue: self.queue,
            name: self.name,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            starts: self.starts,
            stalls: self.stalls,
            enqueued_at: self.enqueued_at,
            deadline: self.deadline,
            idempotency_key: self.idempotency_key,
            tenant: self.tenant,
            parent: self.parent,
            headers: self.headers,
        })
    }
}

impl Job<Raw> {
    /// Decodes the payload.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with the path of the first fault, e.g.
    /// ``payload: presets[1].width: invalid type: string "x", expected u32 at line 1 column 42``.
    pub fn decode<T: Payload>(self) -> Result<Job<T>, Failure> {
        self.try_map(|Raw(bytes)| T::decode(bytes))
    }
}
