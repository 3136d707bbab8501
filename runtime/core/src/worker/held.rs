//! The jobs this worker has locked.

use std::collections::HashMap;
use std::sync::Arc;

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
}

impl HeldJobs {
    /// Adds a job. Returns the token it was held under before: that lock is lost, or else it could not have been
    /// claimed.
    pub(super) fn insert(
        &mut self,
        claimed: &Claimed,
        cancel: CancellationToken,
        io: Arc<AttemptIo>,
    ) -> Option<Token> {
        let job = claimed.job.as_ref().ok().cloned();
        let held = Held { id: claimed.id.clone(), job, cancel, io, running: true, vain_waits: 0 };
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
