//! Why jobs of a queue do not run. The host answers it: it knows its configuration, its fleet and its store.

use async_trait::async_trait;
use jobcell_core::{QueueName, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Knows what holds queues up.
#[async_trait]
pub trait Explain: Send + Sync + 'static {
    /// Why jobs of this queue do not run. Takes up to a few seconds on a large store.
    ///
    /// # Errors
    /// When its jobs cannot be counted.
    async fn explain(&self, queue: &QueueName) -> Result<Explanation, StoreError>;
}

/// What holds a queue's jobs up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The queue.
    pub queue: String,
    /// Jobs that wait, those with a priority and delayed ones included.
    pub waiting: u64,
    /// Jobs that run.
    pub active: u64,
    /// The hosts that work it, by id.
    pub hosts: Vec<String>,
    /// Workers that wait on it, ours and BullMQ's; null where the store does not tell.
    pub workers: Option<u64>,
    /// Everything that holds jobs up or looks wrong, what matters most first.
    pub reasons: Vec<Reason>,
}

/// One thing that holds jobs up, or looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// In one word, for programs.
    pub code: String,
    /// True when it should be mended; false for what was asked for and ends by itself or by an order: a delay, a rate.
    pub wrong: bool,
    /// The cause and what to do, in a sentence.
    pub message: String,
}

// === impl Explanation ===

impl Explanation {
    /// Whether something should be mended.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.reasons.iter().any(|reason| reason.wrong)
    }

    /// How the queue stands, in a few words.
    #[must_use]
    pub fn standing(&self) -> String {
        let waiting = match self.waiting {
            0 => "no job waits".to_owned(),
            1 => "1 job waits".to_owned(),
            n => format!("{n} jobs wait"),
        };
        match self.active {
            0 if self.waiting == 0 => waiting,
            0 => format!("{waiting}, none runs"),
            1 => format!("{waiting}, 1 runs"),
            n => format!("{waiting}, {n} run"),
        }
    }
}
