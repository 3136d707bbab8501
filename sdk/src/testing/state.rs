//! What the in-memory host holds, and which one the running handler talks to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::Enqueued;
use super::memory::{blobs::Blob, cache::Cache, http::Web, kv::Values, secrets::Secret};
use crate::time::{unix_ms, whole_ms};

/// Everything a [`super::Host`] knows: what it grants, what it keeps, and what it has seen.
#[derive(Default)]
pub(super) struct State {
    /// The set clock; the system's when `None`.
    pub(super) clock_ms: Option<u64>,
    pub(super) cancelled: bool,
    /// Of the attempt that runs, or ran last.
    pub(super) deadline_ms: Option<u64>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, Secret>,
    /// By store, then by key; a store that is not here is not granted.
    pub(super) blobs: BTreeMap<String, BTreeMap<String, Blob>>,
    /// `None` when not granted.
    pub(super) cache: Option<Cache>,
    /// By bucket; one that is not here is not granted.
    pub(super) buckets: BTreeMap<String, Values>,
    /// Buckets that are granted for reading alone.
    pub(super) read_only: BTreeSet<String>,
    pub(super) channels: BTreeSet<String>,
    pub(super) queues: BTreeSet<String>,
    pub(super) web: Web,
    pub(super) children_values: Vec<(String, String)>,
    pub(super) children_failures: Vec<(String, String)>,
    pub(super) updated_data: Option<Vec<u8>>,
    pub(super) progress: Vec<serde_json::Value>,
    pub(super) logs: Vec<String>,
    pub(super) published: Vec<(String, Vec<u8>)>,
    pub(super) enqueued: Vec<Enqueued>,
}

impl State {
    pub(super) fn now_ms(&self) -> u64 {
        self.clock_ms.unwrap_or_else(|| unix_ms(SystemTime::now()))
    }

    /// Moves the clock on, if it is a set one.
    pub(super) fn pass(&mut self, time: Duration) {
        if let Some(now_ms) = &mut self.clock_ms {
            *now_ms = now_ms.saturating_add(whole_ms(time));
        }
    }
}

thread_local! {
    /// The hosts whose handlers run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Rc<RefCell<State>>>> = const { RefCell::new(Vec::new()) };
}

/// Makes `state` the host of this thread while `body` runs, also when it panics.
pub(super) fn enter<R>(state: &Rc<RefCell<State>>, body: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            RUNNING.with_borrow_mut(Vec::pop);
        }
    }
    RUNNING.with_borrow_mut(|running| running.push(Rc::clone(state)));
    let _leave = Leave;
    body()
}

/// The host of the running handler, if one runs on this thread.
pub(super) fn running() -> Option<Rc<RefCell<State>>> {
    RUNNING.with_borrow(|running| running.last().cloned())
}

/// Asks the host of the running handler. `function` is what the caller called, for the message.
///
/// # Panics
/// When no handler runs on this thread.
pub(super) fn with<R>(function: &str, ask: impl FnOnce(&mut State) -> R) -> R {
    let Some(state) = running() else {
        panic!(
            "jobcell_sdk::{function} was called where no host is; run the handler with \
             `testing::Host::run` or the code that calls it inside `testing::Host::within`, on the same thread"
        )
    };
    let mut state = state.borrow_mut();
    ask(&mut state)
}
