//! Why a store verb failed.

use crate::job::JobState;
use crate::names::{JobId, QueueName};

/// Why a store verb failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or cannot write now (loading, read-only, out of memory). Try again.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The credentials are wrong or may not do what is needed. Trying again does not help until somebody mends it.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// The job does not exist.
    #[error("job {0:?} does not exist")]
    NotFound(JobId),
    /// The job is not in the state that the verb needs.
    #[error("job {id:?} is {actual}, not {expected}", actual = actual.map_or("in no state", JobState::as_str))]
    WrongState {
        /// The job.
        id: JobId,
        /// What would have been needed.
        expected: &'static str,
        /// What it is.
        actual: Option<JobState>,
    },
    /// What was to be stored cannot be.
    #[error("{0}")]
    Rejected(String),
    /// A record in the store is not what it should be.
    #[error("the store holds something unexpected: {0}")]
    Corrupt(String),
    /// Anything else that the store said.
    #[error("the store failed: {0}")]
    Other(String),
}

impl StoreError {
    /// The store that holds this queue has no such thing.
    #[must_use]
    pub fn unsupported(queue: &QueueName, what: &str) -> Self {
        Self::Rejected(format!("queue {:?} is kept in a store that does not offer {what}", queue.as_str()))
    }

    /// True when the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
