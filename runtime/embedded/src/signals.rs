//! Waking those who wait in this process: workers for work, listeners for events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::{StoreError, Waiter, Wake};
use jobcell_core::{Clock, Millis, QueueName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::tx::Effects;
use crate::workers::Presence;

/// What a waiting worker needs to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Counts the times that something could be claimed which could not before.
    pub(crate) generation: u64,
    /// When the first delayed job is due.
    pub(crate) due: Option<Millis>,
}

/// The signals of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) work: watch::Sender<Hint>,
    /// The newest event.
    pub(crate) events: watch::Sender<u64>,
}

/// The signals of all queues that somebody asked for, and of documents.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    queues: Mutex<HashMap<QueueName, Signal>>,
    /// Counts the transactions that changed documents.
    pub(crate) documents: watch::Sender<u64>,
}

impl Signals {
    pub(crate) fn of(&self, queue: &QueueName) -> Signal {
        let mut signals = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Signal { work: watch::Sender::new(Hint::default()), events: watch::Sender::new(0) };
        signals.entry(queue.clone()).or_insert_with(new).clone()
    }

    /// Wakes those who wait for work of this queue.
    pub(crate) fn wake(&self, queue: &QueueName) {
        self.of(queue).work.send_modify(|hint| hint.generation += 1);
    }

    /// Tells what a transaction did. Only called once it is on disk.
    pub(crate) fn tell(&self, effects: &Effects) {
        if effects.documents {
            self.documents.send_modify(|times| *times += 1);
        }
        for effect in &effects.queues {
            let signal = self.of(&effect.queue);
            signal.work.send_if_modified(|hint| effect.change(hint));
            if let Some(last) = effect.last_event {
                signal.events.send_replace(last);
            }
        }
    }
}

/// Waits for work on one queue.
pub(crate) struct EmbeddedWaiter {
    /// Shows the worker to those who list them.
    _presence: Presence,
    hints: watch::Receiver<Hint>,
    clock: Arc<dyn Clock>,
    seen: u64,
    /// The due time that was last told ahead, and the one that was last told as come.
    told: Option<Millis>,
    come: Option<Millis>,
}

impl EmbeddedWaiter {
    pub(crate) fn new(signal: &Signal, clock: Arc<dyn Clock>, presence: Presence) -> Self {
        let hints = signal.work.subscribe();
        // The first wait ends at once: work may have come between its worker's last claim and now.
        let seen = hints.borrow().generation.wrapping_sub(1);
        Self { _presence: presence, hints, clock, seen, told: None, come: None }
    }

    /// A hint that has not been given yet, and until when to wait for one otherwise.
    fn look(&mut self) -> (Option<Wake>, Option<Duration>) {
        let Hint { generation, due } = *self.hints.borrow_and_update();
        if generation != self.seen {
            self.seen = generation;
            return (Some(Wake::Now), None);
        }
        let Some(due) = due else { return (None, None) };
        let left = due.saturating_sub(self.clock.now());
        if left == 0 {
            // Once only: a due job that stays where it is (the store cannot write) must not make its worker spin.
            let wake = (self.come.replace(due) != Some(due)).then_some(Wake::Now);
            return (wake, None);
        }
        let wake = (self.told.replace(due) != Some(due)).then_some(Wake::At(due));
        (wake, Some(Duration::from_millis(left)))
    }
}

#[async_trait]
impl Waiter for EmbeddedWaiter {
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError> {
        let end = Instant::now() + timeout;
        loop {
            let (wake, left) = self.look();
            if let Some(wake) = wake {
                return Ok(wake);
            }
            let until = left.map_or(end, |left| end.min(Instant::now() + left));
            match timeout_at(until, self.hints.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(StoreError::Unavailable("the embedded store is closed".into())),
                Err(_) if until >= end => return Ok(Wake::TimedOut),
                Err(_) => {}
            }
        }
    }
}
