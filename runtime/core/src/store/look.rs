//! What people and programs look at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::job::JobState;
use crate::names::QueueName;

/// A slice of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many to leave out.
    pub offset: u64,
    /// How many to give, at most 1000 at once.
    pub limit: u64,
}

impl Page {
    /// The first so many.
    #[must_use]
    pub fn first(limit: u64) -> Self {
        Self { offset: 0, limit }
    }
}

/// How many jobs are in each state. Every state is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts(pub BTreeMap<JobState, u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(JobState::ALL.into_iter().map(|state| (state, 0)).collect())
    }
}

impl Counts {
    /// Jobs in this state.
    #[must_use]
    pub fn get(&self, state: JobState) -> u64 {
        self.0.get(&state).copied().unwrap_or(0)
    }

    /// Jobs that are not finished and do not wait for other jobs.
    #[must_use]
    pub fn pending(&self) -> u64 {
        [JobState::Waiting, JobState::Prioritized, JobState::Delayed, JobState::Active]
            .into_iter()
            .map(|state| self.get(state))
            .sum()
    }
}

/// How many minutes of the per-minute series of finished jobs ([`Admin::series`](super::Admin::series)) a store keeps
/// for each queue. Default none for any, which saves its cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesPoints {
    queues: BTreeMap<QueueName, u32>,
    others: u32,
}

impl SeriesPoints {
    /// So many for every queue.
    #[must_use]
    pub fn all(points: u32) -> Self {
        Self { queues: BTreeMap::new(), others: points }
    }

    /// So many for this queue.
    #[must_use]
    pub fn with(mut self, queue: QueueName, points: u32) -> Self {
        self.queues.insert(queue, points);
        self
    }

    /// Those of this queue; 0 keeps none.
    #[must_use]
    pub fn of(&self, queue: &QueueName) -> u32 {
        self.queues.get(queue).copied().unwrap_or(self.others)
    }
}

/// One entry of a queue's event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the stream.
    pub id: String,
    /// What happened: BullMQ's word.
    pub event: String,
    /// The other fields, in order.
    pub fields: Vec<(String, String)>,
}

impl StoredEvent {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The children of a job in a flow. Keys are full job keys, `<prefix>:<queue>:<id>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Children {
    /// Those it still waits for.
    pub pending: Vec<String>,
    /// Those that completed, with their results (JSON text).
    pub completed: Vec<(String, String)>,
    /// Those that failed and that it went on without, with the reasons.
    pub ignored: Vec<(String, String)>,
    /// Those that failed and made it fail.
    pub failed: Vec<String>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// `redis 7.0.15`, `embedded`.
    pub kind: String,
    /// The round trip of one small call.
    pub latency: Duration,
    /// Why it must not be trusted with jobs as it is, each with the fix.
    pub faults: Vec<String>,
    /// What an operator should mend, each with the fix.
    pub warnings: Vec<String>,
}
