//! The workers of this process: each has a waiter for as long as it works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jobcell_core::QueueName;
use jobcell_core::store::WorkerSeen;

/// Those there are, by the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    here: BTreeMap<u64, Worker>,
}

#[derive(Debug)]
struct Worker {
    queue: QueueName,
    name: Option<String>,
    since: Instant,
}

/// One worker's entry; it goes when this is dropped.
pub(crate) struct Presence {
    workers: Workers,
    number: u64,
}

impl Workers {
    pub(crate) fn enter(&self, queue: &QueueName, name: Option<&str>) -> Presence {
        let worker = Worker { queue: queue.clone(), name: name.map(str::to_owned), since: Instant::now() };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let number = state.last;
        state.here.insert(number, worker);
        drop(state);
        Presence { workers: self.clone(), number }
    }

    /// Those of one queue, the first that came first.
    pub(crate) fn of(&self, queue: &QueueName) -> Vec<WorkerSeen> {
        let address = format!("process {}", std::process::id());
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_queue = state.here.values().filter(|worker| worker.queue == *queue);
        of_queue
            .map(|Worker { queue: _, name, since }| WorkerSeen {
                name: name.clone(),
                address: address.clone(),
                age: since.elapsed(),
            })
            .collect()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.workers.0.lock().unwrap_or_else(PoisonError::into_inner).here.remove(&self.number);
    }
}
