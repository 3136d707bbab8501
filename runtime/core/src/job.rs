//! A job as the store holds it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::crash::Crashes;
use crate::names::JobId;
use crate::options::JobOptions;

/// Where a job is in its life.
///
/// `Waiting`, `Prioritized` → `Active` on claim; `Delayed` → `Waiting` or `Prioritized` when due; `Active` →
/// `Completed`, `Failed`, or back to one of the others on retry and give-back; `WaitingChildren` → `Waiting` when the
/// last child is done. `Completed` and `Failed` are left only by a retry from outside or by removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Ready to run, in order of arrival.
    Waiting,
    /// Ready to run after those that wait without a priority.
    Prioritized,
    /// Runs when its time has come.
    Delayed,
    /// A worker has it.
    Active,
    /// Done, with a result.
    Completed,
    /// Done, with a reason.
    Failed,
    /// Waits for its children in a flow.
    WaitingChildren,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Prioritized,
        Self::Delayed,
        Self::Active,
        Self::WaitingChildren,
        Self::Completed,
        Self::Failed,
    ];

    /// The name used on the command line, in the API and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Prioritized => "prioritized",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::WaitingChildren => "waiting-children",
        }
    }

    /// True for the two states that a job does not leave by itself.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for JobState {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == s).ok_or_else(|| {
            format!("state {s:?} does not exist; use one of {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

/// One stored job.
///
/// Invariant: `attempts_started >= attempts_made` as long as nobody resets the counters from outside.
#[derive(Debug, Clone)]
pub struct Job {
    /// Unique within the queue.
    pub id: JobId,
    /// The producer's name for this kind of job.
    pub name: String,
    /// The payload, byte for byte as the producer stored it; JSON text on BullMQ queues.
    pub data: Bytes,
    /// The options, parsed.
    pub options: JobOptions,
    /// The options as stored, with members this host does not know.
    pub options_raw: Bytes,
    /// When the producer made it.
    pub timestamp: Millis,
    /// Milliseconds it was last delayed by; 0 once it is due.
    pub delay: u64,
    /// 0 is none; else 1 (highest) to 2 097 151.
    pub priority: u64,
    /// Attempts used up.
    pub attempts_made: u64,
    /// Starts, recoveries and give-backs included.
    pub attempts_started: u64,
    /// Recoveries from a host that vanished.
    pub stalled_count: u64,
    /// Last progress, JSON text.
    pub progress: Option<Bytes>,
    /// The result, JSON text.
    pub result: Option<Bytes>,
    /// Why the last attempt failed.
    pub failed_reason: Option<String>,
    /// One entry per failed attempt, newest last.
    pub stacktrace: Vec<String>,
    /// How often in a row its attempts broke in the same way, while it is tried again.
    pub crashes: Option<Crashes>,
    /// The digest of the version that ran the attempt before, while the job is tried again: who must not mix versions
    /// runs it with that one. None before the first attempt has failed, after a job has ended, and where no artifact
    /// ran it.
    pub pinned: Option<String>,
    /// Set by the store: the next worker must fail the job with this reason without running it.
    pub deferred_failure: Option<String>,
    /// When it was last started.
    pub processed_on: Option<Millis>,
    /// When it finished.
    pub finished_on: Option<Millis>,
    /// The worker that last started it.
    pub processed_by: Option<String>,
    /// `<prefix>:<queue>:<id>` of the parent in a flow.
    pub parent_key: Option<String>,
    /// The scheduler that made it.
    pub scheduler: Option<String>,
    /// The deduplication id it owns.
    pub deduplication_id: Option<String>,
}

impl Job {
    /// A job with this id, name and payload, and nothing else set.
    #[must_use]
    pub fn new(id: JobId, name: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            id,
            name: name.into(),
            data: data.into(),
            options: JobOptions::default(),
            options_raw: Bytes::from_static(b"{}"),
            timestamp: 0,
            delay: 0,
            priority: 0,
            attempts_made: 0,
            attempts_started: 0,
            stalled_count: 0,
            progress: None,
            result: None,
            failed_reason: None,
            stacktrace: Vec::new(),
            crashes: None,
            pinned: None,
            deferred_failure: None,
            processed_on: None,
            finished_on: None,
            processed_by: None,
            parent_key: None,
            scheduler: None,
            deduplication_id: None,
        }
    }

    /// The number of the attempt that runs or would run next: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempts_made + 1
    }

    /// True when a failed attempt would leave another one.
    #[must_use]
    pub fn has_attempts_left(&self) -> bool {
        self.attempt() < self.options.attempts_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_names_read_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("paused".parse::<JobState>().unwrap_err().contains("waiting-children"));
    }

    #[test]
    fn the_last_attempt_leaves_none() {
        let mut job = Job::new(JobId::new("1").unwrap(), "n", "{}");
        job.options.attempts = 3;
        assert!(job.has_attempts_left());
        job.attempts_made = 2;
        assert!(!job.has_attempts_left());
    }
}
