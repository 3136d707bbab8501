//! The locks of a driver's jobs: renewed while they are held, and what becomes of an attempt whose lock is gone.

use tokio::time::Instant;

use super::Driver;
use crate::event::Event;
use crate::names::JobId;
use crate::outcome::StopCause;
use crate::store::{StoreError, Token};

/// What is logged of a lock that somebody else ended.
pub(super) const LOST: &str = "the job's lock is lost; its attempt is cancelled";
/// What is logged of a lock that could not be renewed in time.
const LAPSED: &str = "the job's lock ran out before it could be renewed; its attempt is cancelled";

impl Driver {
    pub(super) fn renew(&mut self) {
        if !self.renewals.is_due() {
            return;
        }
        let locks = self.held.locks();
        self.renewals.begun(!locks.is_empty());
        if !locks.is_empty() {
            self.in_flight.push(self.calls.renew(locks, self.scene.settings.lock));
        }
    }

    pub(super) fn renewed(
        &mut self,
        locks: Vec<(JobId, Token)>,
        sent: Instant,
        result: Result<Vec<JobId>, StoreError>,
    ) {
        self.renewals.ended(result.is_ok());
        let lost = match result {
            Ok(lost) => lost,
            Err(error) => return self.failed("renew", &error),
        };
        self.pulse.answered("renew");
        let (lost, kept): (Vec<_>, Vec<_>) = locks.into_iter().partition(|(id, _)| lost.contains(id));
        self.held.renewed(kept.iter().map(|(_, token)| token), sent + self.scene.settings.lock);
        lost.iter().for_each(|(_, token)| self.lock_lost(token, LOST));
    }

    pub(super) fn lock_lost(&mut self, token: &Token, how: &'static str) {
        // An end on its way may just have been accepted, which frees the lock too; its own answer tells.
        if !self.held.get(token).is_some_and(|held| held.running) {
            return;
        }
        if let Some(held) = self.held.remove(token) {
            let queue = self.scene.settings.queue.clone();
            tracing::warn!(%queue, job = %held.id, "{how}");
            held.io.stop(StopCause::LockLost);
            held.cancel.cancel();
            self.scene.surroundings.observer.on(&Event::LockLost { queue, id: held.id });
        }
    }

    /// Ends attempts whose lock has run out without word from the store. Their results could not be written any more, and
    /// somebody else may run their jobs by now.
    pub(super) fn lapse(&mut self, now: Instant) {
        for token in self.held.lapsed(now) {
            self.lock_lost(&token, LAPSED);
        }
    }
}
