//! Ending attempts: what is to be written, and why it may be refused.

use std::time::Duration;

use bytes::Bytes;

use super::{Claim, Token};
use crate::attempt::Recorded;
use crate::clock::Millis;
use crate::crash::Crashes;
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
    /// What the attempt cost. Written where the verdict uses an attempt and the job stays.
    pub receipt: Option<ReceiptNote>,
    /// What becomes of the job's [`Crashes`]. A final failure forgets them in any case.
    pub crashes: CrashNote,
    /// The digest of the version that ran the attempt, where there is one. Written where the verdict is a retry, so that
    /// the next attempt can be given to the same version ([`Job::pinned`](crate::Job::pinned)).
    pub digest: Option<String>,
}

/// A receipt to be stored with its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptNote {
    /// An [`AttemptReceipt`](super::AttemptReceipt) as JSON text, of at most [`RECEIPT_BYTES_MAX`](super::RECEIPT_BYTES_MAX).
    pub json: String,
    /// How many of the newest the job keeps, this one included: 1 to [`RECEIPTS_MAX`](super::RECEIPTS_MAX).
    pub keep: u64,
}

/// What becomes of the count of equal crashes with the end of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CrashNote {
    /// It stays.
    #[default]
    Leave,
    /// There is none any more.
    Forget,
    /// This one.
    Set(Crashes),
}

// === impl Finish ===

impl Finish {
    /// This end, with nothing to be written besides.
    #[must_use]
    pub fn new(id: JobId, token: Token, verdict: Verdict) -> Self {
        Self {
            id,
            token,
            verdict,
            recorded: Recorded::default(),
            keep_logs: None,
            receipt: None,
            crashes: CrashNote::Leave,
            digest: None,
        }
    }
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
