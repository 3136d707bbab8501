//! Taking jobs: the request, what comes back, locks, waiting for work, stall recovery.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::StoreError;
use crate::clock::Millis;
use crate::job::Job;
use crate::names::JobId;

/// Proof of owning a job's lock: different for every claim of every job, so that an old attempt can never finish a
/// new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token(Arc<str>);

impl Token {
    /// The token of the `n`th job claimed by the worker that calls itself `prefix`.
    #[must_use]
    pub fn new(prefix: &str, n: u64) -> Self {
        Self(format!("{prefix}:{n}").into())
    }

    /// As it stands in the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A wish for jobs. Only made for as many as have a free slot.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Jobs wanted, at least 1.
    pub max: usize,
    /// The `i`th job claimed gets the token `Token::new(token_prefix, token_first + i)`.
    pub token_prefix: Arc<str>,
    /// See `token_prefix`.
    pub token_first: u64,
    /// How long the lock holds without renewal.
    pub lock: Duration,
    /// Stored with the job as the worker that runs it.
    pub worker_name: Option<Arc<str>>,
    /// This worker's own rate limit, which all workers of the queue share.
    pub rate: Option<RateLimit>,
    /// The caller's clock.
    pub now: Millis,
}

impl ClaimRequest {
    /// The token of the `i`th job of this claim.
    #[must_use]
    pub fn token(&self, i: usize) -> Token {
        Token::new(&self.token_prefix, self.token_first + i as u64)
    }
}

/// At most so many starts in so long, over all workers of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Starts.
    pub max: u64,
    /// The window.
    pub per: Duration,
}

/// What a claim gave.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The jobs, now active and locked. Fewer than asked for means that nothing else is due.
    pub jobs: Vec<Claimed>,
    /// The queue must rest this long before the next claim can give anything.
    pub rate_limited: Option<Duration>,
    /// When the next delayed job is due.
    pub next_due: Option<Millis>,
}

/// A job that is active and locked by this worker.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub id: JobId,
    /// The lock's token.
    pub token: Token,
    /// The job, or why its record cannot be read. Such a job must be failed, not dropped.
    pub job: Result<Arc<Job>, Malformed>,
}

/// A job's record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job's record cannot be read: field {field:?}: {cause}")]
pub struct Malformed {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub cause: String,
}

/// When a job counts as stalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StallPolicy {
    /// Time between rounds, over all workers.
    pub interval: Duration,
    /// Recoveries a job survives.
    pub max: u64,
}

/// What a round of stall recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs that are waiting again, those with a deferred failure included.
    pub jobs: Vec<JobId>,
}

/// Waits for work on one queue.
#[async_trait]
pub trait Waiter: Send {
    /// Waits until work may have come, at most `timeout`. A hint only: it may be wrong either way, so callers claim
    /// at least every `timeout`. Dropping the future may lose a hint.
    ///
    /// # Errors
    /// When the store is away; the waiter connects anew by itself on the next call.
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError>;
}

/// Why a [`Waiter`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Work may be there now.
    Now,
    /// A delayed job is due then.
    At(Millis),
    /// Nothing happened.
    TimedOut,
}
