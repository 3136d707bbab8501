//! Locks of running jobs, and what stall recovery has seen.
//!
//! They live in memory: only one process uses the store, so its end voids every lock, and a renewal costs no write.
//! What was active when the store was opened is *orphaned*: nobody can have its lock, so the first round of recovery
//! takes it without waiting for a second look.
//!
//! The writer changes locks through an [`Overlay`], which is applied once its transaction is on disk, so that memory
//! never knows of a claim that the disk does not.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jobcell_core::store::{Refusal, Token};
use jobcell_core::{Clock, JobId, Millis, QueueName, SystemClock};

type Key = (QueueName, JobId);

/// One job's lock.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    pub(crate) token: Token,
    pub(crate) until: Millis,
    /// Somebody wants the attempt to end.
    pub(crate) cancelled: bool,
}

/// What recovery remembers of one queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalls {
    /// Active at the last round, and not renewed since.
    pub(crate) seen: HashSet<JobId>,
    /// Active when the store was opened, and not recovered since.
    pub(crate) orphans: HashSet<JobId>,
    /// No round before this.
    pub(crate) rests_until: Millis,
}

/// All locks.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    locks: HashMap<Key, Lock>,
    stalls: HashMap<QueueName, Stalls>,
}

/// The changes of one transaction over the locks as they are.
pub(crate) struct Overlay<'l> {
    base: &'l Locks,
    locks: HashMap<Key, Option<Lock>>,
    stalls: HashMap<QueueName, Stalls>,
}

/// What a transaction changes, to be made once it is on disk.
pub(crate) struct Changes {
    locks: HashMap<Key, Option<Lock>>,
    stalls: HashMap<QueueName, Stalls>,
}

/// Measures how long locks hold. Starts at the time of day and then goes by a clock that nobody sets, so that a step
/// of the system's time neither voids locks nor keeps those of vanished workers.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    start: Instant,
    start_at: Millis,
}

impl Locks {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these active jobs, those without a lock are orphaned.
    pub(crate) fn add_orphans(&self, queue: QueueName, active: Vec<JobId>, now: Millis) {
        let mut state = self.state();
        let State { locks, stalls } = &mut *state;
        let locked =
            |id: &JobId| locks.get(&(queue.clone(), id.clone())).is_some_and(|lock| lock.until > now);
        let orphans: HashSet<JobId> = active.into_iter().filter(|id| !locked(id)).collect();
        stalls.entry(queue).or_default().orphans.extend(orphans);
    }

    /// Renews and returns the jobs whose lock is gone.
    pub(crate) fn renew(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        hold: Duration,
        now: Millis,
    ) -> Vec<JobId> {
        let until = now.saturating_add(millis(hold));
        let mut state = self.state();
        let mut lost = Vec::new();
        for (id, token) in locks {
            match state.locks.get_mut(&(queue.clone(), id.clone())) {
                Some(lock) if lock.token == *token && lock.until > now => {
                    lock.until = until;
                    if let Some(stalls) = state.stalls.get_mut(queue) {
                        stalls.seen.remove(id);
                    }
                }
                _ => lost.push(id.clone()),
            }
        }
        lost
    }

    /// Asks for the end of the attempt that runs. False when none does.
    pub(crate) fn cancel(&self, queue: &QueueName, id: &JobId, now: Millis) -> bool {
        let mut state = self.state();
        let lock = state.locks.get_mut(&(queue.clone(), id.clone()));
        lock.filter(|lock| lock.until > now).map(|lock| lock.cancelled = true).is_some()
    }

    /// Of these running attempts, those that were asked to end.
    pub(crate) fn cancelled(&self, queue: &QueueName, running: &[(JobId, Token)]) -> Vec<Token> {
        let state = self.state();
        let is_meant = |(id, token): &&(JobId, Token)| {
            let lock = state.locks.get(&(queue.clone(), id.clone()));
            lock.is_some_and(|lock| lock.cancelled && lock.token == *token)
        };
        running.iter().filter(is_meant).map(|(_, token)| token.clone()).collect()
    }

    /// Makes the changes of a transaction that is on disk.
    pub(crate) fn apply(&self, changes: Changes) {
        let Changes { locks, stalls } = changes;
        let mut state = self.state();
        let State { locks: held, stalls: known } = &mut *state;
        known.extend(stalls);
        for (key, lock) in locks {
            // A job that was claimed or let go of since is not the one that a round saw.
            if let Some(stalls) = known.get_mut(&key.0) {
                stalls.forget(&key.1);
            }
            match lock {
                Some(lock) => held.insert(key, lock),
                None => held.remove(&key),
            };
        }
    }
    pub(crate) fn overlay(&self) -> Overlay<'_> {
        Overlay { base: self, locks: HashMap::new(), stalls: HashMap::new() }
    }
}

impl Overlay<'_> {
    fn find(&self, key: &Key) -> Option<Lock> {
        match self.locks.get(key) {
            Some(changed) => changed.clone(),
            None => self.base.state().locks.get(key).cloned(),
        }
    }

    /// Whether this token holds the job's lock.
    pub(crate) fn check(
        &self,
        queue: &QueueName,
        id: &JobId,
        token: &Token,
        now: Millis,
    ) -> Result<(), Refusal> {
        match self.find(&(queue.clone(), id.clone())) {
            Some(lock) if lock.until <= now => Err(Refusal::LockExpired),
            Some(lock) if lock.token == *token => Ok(()),
            Some(_) => Err(Refusal::LockTaken),
            None => Err(Refusal::LockExpired),
        }
    }

    pub(crate) fn is_locked(&self, queue: &QueueName, id: &JobId, now: Millis) -> bool {
        self.find(&(queue.clone(), id.clone())).is_some_and(|lock| lock.until > now)
    }

    /// Whether somebody wanted the attempt to end that had the job last.
    pub(crate) fn is_cancelled(&self, queue: &QueueName, id: &JobId) -> bool {
        self.find(&(queue.clone(), id.clone())).is_some_and(|lock| lock.cancelled)
    }

    pub(crate) fn lock(&mut self, queue: &QueueName, id: &JobId, lock: Lock) {
        self.locks.insert((queue.clone(), id.clone()), Some(lock));
    }

    /// The job is no longer active.
    pub(crate) fn unlock(&mut self, queue: &QueueName, id: &JobId) {
        self.locks.insert((queue.clone(), id.clone()), None);
    }

    pub(crate) fn stalls(&mut self, queue: &QueueName) -> &mut Stalls {
        self.stalls.entry(queue.clone()).or_insert_with(|| {
            let state = self.base.state();
            let mut stalls = state.stalls.get(queue).cloned().unwrap_or_default();
            drop(state);
            for (_, id) in self.locks.keys().filter(|(of, _)| of == queue) {
                stalls.forget(id);
            }
            stalls
        })
    }

    pub(crate) fn into_changes(self) -> Changes {
        let Self { base: _, locks, stalls } = self;
        Changes { locks, stalls }
    }
}

impl Stalls {
    fn forget(&mut self, id: &JobId) {
        let Self { seen, orphans, rests_until: _ } = self;
        seen.remove(id);
        orphans.remove(id);
    }
}

impl SteadyClock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), start_at: SystemClock.now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Millis {
        self.start_at + millis(self.start.elapsed())
    }
}

/// Whole milliseconds, at least 1 for anything but nothing.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
