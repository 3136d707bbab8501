//! Ending a job from outside.

use crate::job::JobState;

/// The reason of a job that was cancelled while it waited; that of one that ran begins with it.
pub const CANCELLED: &str = "the job was cancelled";

/// What became of [`Store::cancel`](super::Store::cancel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It runs, and whoever runs it is being told.
    Asked,
    /// It was in this state, and has failed now.
    Ended(JobState),
    /// It had finished before; nothing was changed.
    Finished(JobState),
    /// It is the latest job of a scheduler that still exists, which would end with it; nothing was changed.
    Scheduled,
    /// There is no such job.
    NotFound,
}
