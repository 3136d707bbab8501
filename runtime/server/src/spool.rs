//! Where jobs wait that were accepted while the store was away.

use async_trait::async_trait;
use jobcell_core::store::NewJob;
use jobcell_core::{Millis, QueueName};

/// Keeps jobs until the store is back, and adds them there in the order they came.
///
/// Each job has an id of its own before it is tried in the store for the first time: adding it again is then no second
/// job, however often an answer was lost on the way.
#[async_trait]
pub trait Spool: Send + Sync + 'static {
    /// Whether it keeps jobs of this queue: only where adding twice by an id makes no second job.
    fn takes(&self, queue: &QueueName) -> bool;

    /// Whether jobs wait in it. New ones go behind them then, so that none overtakes another.
    fn holds_jobs(&self) -> bool;

    /// An id for a job that names none; [`jobcell_core::JobId::custom`] takes it.
    fn new_id(&self) -> String;

    /// Keeps the jobs, all or none; when this answers they survive a crash of the host and of the machine. Every job
    /// has a chosen id.
    ///
    /// # Errors
    /// When it is full or cannot write: nothing was kept.
    async fn keep(&self, queue: &QueueName, jobs: &[NewJob], now: Millis) -> Result<(), SpoolError>;
}

/// Why jobs are not kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A bound is reached.
    #[error(
        "the store is away and the spool is full ({jobs} jobs, {bytes} bytes); see [spool] max-jobs and max-bytes"
    )]
    Full {
        /// Jobs in it.
        jobs: u64,
        /// Bytes of them.
        bytes: u64,
    },
    /// The job itself cannot wait.
    #[error("the store is away, and {0}")]
    Unfit(String),
    /// Its file cannot be written.
    #[error("the store is away, and the spool cannot be written: {0}")]
    Write(String),
}
