//! The jobs this worker has locked.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::AttemptIo;
use crate::job::Job;
use crate::names::JobId;
use crate::outcome::StopCause;
use crate::store::{Claimed, Token};

/// One locked job: running, or waiting for its end to be accepted.
pub(super) struct Held {
    pub(super) id: JobId,
    pub(super) job: Option<Arc<Job>>,
    /// Fires to end its attempt.
    pub(super) cancel: CancellationToken,
    pub(super) io: Arc<AttemptIo>,
    /// Its attempt goes on; false once the end is on its way to the store.
    pub(super) running: bool,
    /// The lock holds until then, by the monotonic clock and counted from before the call that set it was sent: the
    /// store cannot have let it run out before unless its clock was set.
    locked_until: Instant,
    /// Its end was sent and nobody knows whether it was written.
    pub(super) perhaps_written: bool,
    /// How often in a row it asked to wait for children and had none.
    pub(super) vain_waits: u32,
}

/// All of them, by token: a job may come back under another token while its old attempt still ends.
#[derive(Default)]
pub(super) struct HeldJobs {
    by_token: HashMap<Token, Held>,
    /// The token each job was claimed under last, the only one that can still have its lock.
    newest: HashMap<JobId, Token>,
    running: usize,
    /// No lock of a running attempt runs out before. A job that is removed leaves it as it is, until locks are next
    /// renewed.
    lapse: Option<Instant>,
}

impl HeldJobs {
    /// Adds a job. Returns the token it was held under before: that lock is lost, or else it could not have been
    /// claimed.
    pub(super) fn insert(
        &mut self,
        claimed: &Claimed,
        cancel: CancellationToken,
        io: Arc<AttemptIo>,
        locked_until: Instant,
    ) -> Option<Token> {
        let held = Held {
            id: claimed.id.clone(),
            job: claimed.job.as_ref().ok().cloned(),
            cancel,
            io,
            running: true,
            locked_until,
            perhaps_written: false,
            vain_waits: 0,
        };
        self.lapse = Some(self.lapse.map_or(locked_until, |lapse| lapse.min(locked_until)));
        self.by_token.insert(claimed.token.clone(), held);
        self.running += 1;
        self.newest.insert(claimed.id.clone(), claimed.token.clone())
    }

    pub(super) fn get_mut(&mut self, token: &Token) -> Option<&mut Held> {
        self.by_token.get_mut(token)
    }

    pub(super) fn get(&self, token: &Token) -> Option<&Held> {
        self.by_token.get(token)
    }

    /// Marks the attempt as ended. False when the job is no longer held: its lock was lost, and the result with it.
    pub(super) fn attempt_ended(&mut self, token: &Token) -> bool {
        let Some(held) = self.by_token.get_mut(token) else {
            return false;
        };
        if std::mem::replace(&mut held.running, false) {
            self.running -= 1;
        }
        true
    }

    /// Marks the attempt as going on again.
    pub(super) fn attempt_again(&mut self, token: &Token) {
        if let Some(held) = self.by_token.get_mut(token)
            && !std::mem::replace(&mut held.running, true)
        {
            self.running += 1;
            self.lapse = Some(self.lapse.map_or(held.locked_until, |lapse| lapse.min(held.locked_until)));
        }
    }

    pub(super) fn remove(&mut self, token: &Token) -> Option<Held> {
        let held = self.by_token.remove(token)?;
        if self.newest.get(&held.id) == Some(token) {
            self.newest.remove(&held.id);
        }
        if held.running {
            self.running -= 1;
        }
        Some(held)
    }

    /// Attempts that go on.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// What has to be renewed: one lock a job, so that the loss of an old one is not taken for that of the new one.
    pub(super) fn locks(&self) -> Vec<(JobId, Token)> {
        self.newest.iter().map(|(id, token)| (id.clone(), token.clone())).collect()
    }

    /// What runs.
    pub(super) fn running_locks(&self) -> Vec<(JobId, Token)> {
        let running = self.by_token.iter().filter(|(_, held)| held.running);
        running.map(|(token, held)| (held.id.clone(), token.clone())).collect()
    }

    /// These locks hold until then.
    pub(super) fn renewed<'a>(&mut self, tokens: impl Iterator<Item = &'a Token>, locked_until: Instant) {
        for token in tokens {
            if let Some(held) = self.by_token.get_mut(token) {
                held.locked_until = held.locked_until.max(locked_until);
            }
        }
        let running = self.by_token.values().filter(|held| held.running);
        self.lapse = running.map(|held| held.locked_until).min();
    }

    /// When [`Self::lapsed`] may find something.
    pub(super) fn lapse(&self) -> Option<Instant> {
        self.lapse
    }

    /// Jobs that run although their lock has run out.
    pub(super) fn lapsed(&mut self, now: Instant) -> Vec<Token> {
        let running = self.by_token.iter().filter(|(_, held)| held.running);
        let (lapsed, holding): (Vec<_>, Vec<_>) = running.partition(|(_, held)| held.locked_until <= now);
        self.lapse = holding.iter().map(|(_, held)| held.locked_until).min();
        lapsed.into_iter().map(|(token, _)| token.clone()).collect()
    }

    /// Ends every attempt that goes on.
    pub(super) fn stop_all(&self, cause: StopCause) {
        for held in self.by_token.values().filter(|held| held.running) {
            held.io.stop(cause);
            held.cancel.cancel();
        }
    }
}

impl Drop for HeldJobs {
    /// A driver that is dropped half-way leaves no attempt running behind it.
    fn drop(&mut self) {
        self.stop_all(StopCause::Shutdown);
    }
}
