//! Ending attempts: what is to be written, and why it may be refused.

use std::time::Duration;

use bytes::Bytes;

use super::{Claim, Token};
use crate::attempt::Recorded;
use crate::clock::Millis;
use crate::names::JobId;
use crate::options::Keep;

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The job.
    pub id: JobId,
    /// The lock's token.
    pub token: Token,
    /// What becomes of the job.
    pub verdict: Verdict,
    /// Log lines, progress and payload that were not written while the attempt ran; written only if the finish is
    /// accepted.
    pub recorded: Recorded,
    /// How many log lines the job keeps.
    pub keep_logs: Option<u64>,
}

/// What becomes of a job after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Completed. Uses an attempt.
    Complete {
        /// JSON text.
        result: Bytes,
        /// Which completed jobs stay.
        keep: Keep,
    },
    /// Failed for good. Uses an attempt.
    Fail {
        /// Goes to `failedReason`.
        reason: String,
        /// All the job's traces, newest last.
        stacktrace: Vec<String>,
        /// Which failed jobs stay.
        keep: Keep,
        /// The attempts the job was given, to tell listeners when they are used up.
        attempts_max: u64,
    },
    /// Tried again. Uses an attempt.
    Retry {
        /// Goes to `failedReason`.
        reason: String,
        /// All the job's traces, newest last.
        stacktrace: Vec<String>,
        /// How long to wait; zero puts it among the waiting ones at once (in front when `lifo`).
        delay: Duration,
        /// See `delay`.
        lifo: bool,
    },
    /// Given back to run at this time. Uses no attempt.
    DelayUntil(Millis),
    /// Given back to the front of its queue, or of its priority. Uses no attempt.
    Release,
    /// As `Release`, and the whole queue rests this long.
    RateLimit(Duration),
    /// Given back until its children are done; with none pending it is refused with
    /// [`Refusal::NothingToWaitFor`] and stays active and locked. Uses no attempt.
    WaitForChildren,
}

/// Why a finish was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The job does not exist any more.
    #[error("the job was removed while it ran")]
    Missing,
    /// The lock ran out and nobody has it now.
    #[error("the lock ran out")]
    LockExpired,
    /// Another worker has the lock.
    #[error("another worker has the lock")]
    LockTaken,
    /// The job is not active.
    #[error("the job is not active")]
    NotActive,
    /// Something in the store is in the way: a key of the job or its queue holds another type. The job stays active
    /// without a lock and is recovered as stalled.
    #[error("the store cannot write it; its log has the cause")]
    Unwritable,
    /// It cannot complete: children are pending.
    #[error("the job has pending dependencies")]
    PendingChildren,
    /// It cannot complete: a child failed that must not.
    #[error("the job has at least one failed child")]
    FailedChildren,
    /// There are no children to wait for. The job stays active and locked.
    #[error("no child is pending")]
    NothingToWaitFor,
}

impl Refusal {
    /// True when this worker no longer owns the job and must forget it; false when the job is still active and locked
    /// and another verdict is needed.
    #[must_use]
    pub fn is_lost(self) -> bool {
        match self {
            Self::Missing | Self::LockExpired | Self::LockTaken | Self::NotActive | Self::Unwritable => true,
            Self::PendingChildren | Self::FailedChildren | Self::NothingToWaitFor => false,
        }
    }
}

/// The answer to a batch of finishes.
#[derive(Debug, Clone, Default)]
pub struct FinishReply {
    /// One for each finish, in order.
    pub finished: Vec<Result<(), Refusal>>,
    /// What the claim gave, when there was one.
    pub claim: Claim,
}
