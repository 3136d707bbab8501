//! A queue's own record: counters, switches and limits.

use jobcell_core::{JobState, Millis};
use serde::{Deserialize, Serialize};

use crate::schema::code;
use crate::series::Head;

/// What is known of a queue beside its jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// The number that stands for the queue in all keys.
    pub(crate) number: u32,
    /// The last job id that was counted.
    pub(crate) last_id: u64,
    /// Counts everything that was ever put somewhere; orders places.
    pub(crate) arrivals: u64,
    pub(crate) paused: bool,
    /// Jobs in each state, by [`code`].
    pub(crate) counts: [u64; 7],
    /// The newest event.
    pub(crate) last_event: u64,
    /// The oldest event that is still there.
    pub(crate) first_event: u64,
    /// Bytes of all events that are there.
    pub(crate) event_bytes: u64,
    /// Starts in the current rate window, and when it ends.
    pub(crate) window: (u64, Millis),
    /// Until when the queue rests because an attempt or somebody outside asked for it.
    pub(crate) rests_until: Millis,
    /// Jobs active at once, over all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u64>,
    /// Starts over all workers, and their window in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<(u64, Millis)>,
    /// The per-minute series of completed and of failed jobs, once one was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<Head>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<Head>,
}

impl Queue {
    pub(crate) fn count(&self, state: JobState) -> u64 {
        self.counts[usize::from(code(state))]
    }

    pub(crate) fn count_mut(&mut self, state: JobState) -> &mut u64 {
        &mut self.counts[usize::from(code(state))]
    }

    /// True when nothing waits that could be claimed now.
    pub(crate) fn is_idle(&self) -> bool {
        [JobState::Waiting, JobState::Prioritized].into_iter().all(|state| self.count(state) == 0)
    }

    /// True when nothing waits or runs; delayed jobs may be there.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_idle() && self.count(JobState::Active) == 0
    }
}
