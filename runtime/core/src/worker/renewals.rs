//! When locks are renewed: every third of their time, one call at a time, and again as soon as possible after a call
//! that failed or took long.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// See the module. Goes by the monotonic clock: a step of the system's time costs no lock.
#[derive(Debug)]
pub(super) struct Renewals {
    ticks: Interval,
    under_way: bool,
    due: bool,
}

impl Renewals {
    /// For locks that hold so long.
    pub(super) fn of(lock: Duration) -> Self {
        let every = (lock / 3).max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, under_way: false, due: false }
    }

    /// The next regular time. Cancel safe.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
        self.due = true;
    }

    /// Locks may be about to run out: renews them out of turn.
    pub(super) fn hurry(&mut self) {
        self.due = true;
    }

    /// Whether a call should be made now.
    pub(super) fn is_due(&self) -> bool {
        self.due && !self.under_way
    }

    /// A call was made, or there was nothing to renew.
    pub(super) fn begun(&mut self, under_way: bool) {
        self.due = false;
        self.under_way = under_way;
    }

    /// The call has ended. One that failed is due again.
    pub(super) fn ended(&mut self, ok: bool) {
        self.under_way = false;
        self.due |= !ok;
    }
}
