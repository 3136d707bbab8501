//! Jobs that somebody wants to end while they run here: asks the store, and tells their attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::store::{StoreError, Token};

/// How often the store is asked while something runs. A person waits for it; one small call a second is no load.
const EVERY: Duration = Duration::from_secs(1);

/// When the store is asked next. Never while nothing runs, and not before something has run for a while: short jobs cost
/// no call.
#[derive(Debug, Default)]
pub(super) struct Looks {
    next: Option<Instant>,
    under_way: bool,
    /// The last call failed for good, and that was said.
    failed: bool,
}

impl Looks {
    /// Something runs, or nothing does.
    pub(super) fn plan(&mut self, running: bool, now: Instant) {
        if !running {
            self.next = None;
        } else if !self.under_way {
            self.next.get_or_insert(now + EVERY);
        }
    }

    /// When to ask.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to ask now. Then a call is under way.
    fn begin(&mut self, now: Instant) -> bool {
        let due = !self.under_way && self.next.is_some_and(|next| next <= now);
        if due {
            (self.next, self.under_way) = (None, true);
        }
        due
    }
}

impl Driver {
    pub(super) fn look(&mut self, now: Instant) {
        if self.looks.begin(now) {
            self.in_flight.push(self.calls.look(self.held.running_locks()));
        }
    }

    /// No fault of this call holds up others: what else is wrong shows there.
    pub(super) fn looked(&mut self, result: Result<Vec<Token>, StoreError>) {
        self.looks.under_way = false;
        let queue = &self.scene.settings.queue;
        let asked = match result {
            Ok(asked) => asked,
            Err(error) => {
                if !error.is_transient() && !std::mem::replace(&mut self.looks.failed, true) {
                    tracing::warn!(%queue, %error, "running jobs cannot be cancelled: the store does not tell which");
                }
                return;
            }
        };
        self.looks.failed = false;
        for token in asked {
            if let Some(held) = self.held.get(&token).filter(|held| held.running && !held.io.is_asked()) {
                tracing::info!(%queue, job = %held.id, "the job was cancelled; its attempt is asked to end");
                held.io.ask();
            }
        }
    }
}
