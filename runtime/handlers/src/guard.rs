//! What becomes of a job that broke on a version which may be to blame.
//!
//! A job that breaks on a version for the first time is given back without using an attempt, while there is another
//! version to run it, and runs on that one next. If it breaks there as well, the version is acquitted of it: the job
//! itself, or what it meets, is to blame. If the handler answers there, in whatever way, the job counts against the
//! version, and enough of those put it at fault ([`Failures`]). When a job breaks again on the same version, that is an
//! attempt like any other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobcell_core::crash::Crashes;
use jobcell_core::fleet::VersionBreaks;
use jobcell_core::{JobId, Millis, Outcome, QueueName, StopCause};

use crate::quarantine::Failures;

/// How long a break is remembered, in milliseconds: what happens once in a long while is not the version's.
const WINDOW_MS: u64 = 600_000;
/// Jobs that were given back and are remembered at once; beyond them no other is given back.
const GIVEN_BACK_MAX: usize = 4096;

/// Watches one version.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Different jobs that put the version at fault; 0 never.
    limit: u32,
    state: Mutex<State>,
    /// Jobs that are to run on another version: so many of `given_back` are not heard yet.
    unheard: AtomicUsize,
}

#[derive(Debug)]
struct State {
    failures: Failures,
    /// Jobs that were given back, each with the way it broke until it is known how it ends on another version.
    given_back: HashMap<(QueueName, JobId), Option<String>>,
    since: Millis,
    fault: Option<String>,
}

/// What an outcome says about the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Nothing, or nothing new.
    Known,
    /// The job broke for the first time.
    First,
    /// The version is at fault.
    AtFault,
}

/// What the end of a job on another version says about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It says nothing, or did not end there.
    Nothing,
    /// The job broke there too.
    Acquitted,
    /// The job counts against the version.
    Counted,
    /// So do enough others.
    AtFault,
}

/// How a job that broke on one version ended on another.
enum Opinion {
    /// It has not ended: it is asked again.
    Open,
    /// It says nothing of the version.
    None,
    /// It broke.
    Broke,
    /// The handler answered.
    Answered,
}

// === impl Opinion ===

impl Opinion {
    fn of(outcome: &Outcome) -> Self {
        if Crashes::after(None, outcome).is_some() {
            return Self::Broke;
        }
        match outcome {
            Outcome::Complete(_) | Outcome::Retry { .. } | Outcome::Fatal(_) | Outcome::Invalid(_) => {
                Self::Answered
            }
            Outcome::Stopped(stopped) => match stopped.cause {
                StopCause::Cancelled | StopCause::Shutdown | StopCause::LockLost => Self::Open,
                // Out of time, say: that version does no better.
                _ => Self::None,
            },
            Outcome::RateLimited(_)
            | Outcome::DelayUntil(_)
            | Outcome::Requeue
            | Outcome::WaitForChildren => Self::Open,
        }
    }
}

// === impl Guard ===

impl Guard {
    pub(crate) fn new(limit: u32) -> Self {
        let state = State {
            failures: Failures::new(limit, WINDOW_MS),
            given_back: HashMap::new(),
            since: 0,
            fault: None,
        };
        Self { limit, state: Mutex::new(state), unheard: AtomicUsize::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the version is at fault, once it is.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// How the version did within the last minutes, for the other hosts.
    pub(crate) fn breaks(&self, now: Millis) -> VersionBreaks {
        self.state().failures.told(now)
    }

    /// Whether jobs broke on this version alone within the last minutes.
    pub(crate) fn has_broken(&self, now: Millis) -> bool {
        self.state().failures.has_broken(now)
    }

    /// How such jobs broke, by the name that other hosts know it by.
    pub(crate) fn way(&self, name: &str) -> Option<String> {
        self.state().failures.way(name).map(str::to_owned)
    }

    /// Takes note of an attempt whose job nobody else could run.
    pub(crate) fn ended(&self, now: Millis) {
        if self.limit > 0 {
            self.state().failures.ended(now);
        }
    }

    /// Takes note of how an attempt ended.
    pub(crate) fn note(&self, queue: &QueueName, id: &JobId, outcome: &Outcome, now: Millis) -> Crash {
        if self.limit == 0 {
            return Crash::Known;
        }
        let crash = Crashes::after(None, outcome);
        let mut state = self.state();
        let Some(Crashes { way, .. }) = crash else {
            state.failures.ended(now);
            return Crash::Known;
        };
        if state.fault.is_some() {
            return Crash::AtFault;
        }
        if now.saturating_sub(state.since) > WINDOW_MS {
            state.given_back.clear();
            self.unheard.store(0, Ordering::Release);
            state.since = now;
        }
        let key = (queue.clone(), id.clone());
        if state.given_back.len() >= GIVEN_BACK_MAX || state.given_back.contains_key(&key) {
            state.failures.ended(now);
            return Crash::Known;
        }
        // Whether it counts as an end of the version's is known when it has run elsewhere.
        state.given_back.insert(key, Some(way));
        self.unheard.fetch_add(1, Ordering::AcqRel);
        Crash::First
    }

    /// Whether this job is to run on another version, which shows whose fault it was. Waits for nobody while no job is.
    pub(crate) fn asks_elsewhere(&self, queue: &QueueName, id: &JobId) -> bool {
        if self.unheard.load(Ordering::Acquire) == 0 {
            return false;
        }
        let state = self.state();
        let way = state.given_back.get(&(queue.clone(), id.clone()));
        state.fault.is_none() && way.is_some_and(Option::is_some)
    }

    /// Takes note of how a job ended on another version.
    pub(crate) fn heard(&self, queue: &QueueName, id: &JobId, outcome: &Outcome, now: Millis) -> Heard {
        let opinion = Opinion::of(outcome);
        if matches!(opinion, Opinion::Open) {
            return Heard::Nothing;
        }
        let mut state = self.state();
        let given_back = state.given_back.get_mut(&(queue.clone(), id.clone()));
        let Some(way) = given_back.and_then(Option::take) else { return Heard::Nothing };
        self.unheard.fetch_sub(1, Ordering::AcqRel);
        state.failures.ended(now);
        match opinion {
            Opinion::Open | Opinion::None => Heard::Nothing,
            Opinion::Broke => Heard::Acquitted,
            Opinion::Answered => match state.failures.broke(&way, queue.as_str(), id.as_str(), now) {
                Some(fault) if state.fault.is_none() => {
                    state.fault = Some(fault);
                    state.given_back = HashMap::new();
                    self.unheard.store(0, Ordering::Release);
                    Heard::AtFault
                }
                _ => Heard::Counted,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn broke(place: &str) -> Outcome {
        Outcome::stopped(StopCause::Trap, place)
    }

    fn names(id: u32) -> (QueueName, JobId) {
        (QueueName::new("q").unwrap(), JobId::new(id.to_string()).unwrap())
    }

    fn note(guard: &Guard, id: u32, outcome: &Outcome, now: Millis) -> Crash {
        let (queue, id) = names(id);
        guard.note(&queue, &id, outcome, now)
    }

    fn heard(guard: &Guard, id: u32, outcome: &Outcome, now: Millis) -> Heard {
        let (queue, id) = names(id);
        assert!(guard.asks_elsewhere(&queue, &id));
        guard.heard(&queue, &id, outcome, now)
    }

    fn answered() -> Outcome {
        Outcome::Complete(Bytes::new())
    }

    #[test]
    fn jobs_that_break_only_here_put_the_version_at_fault() {
        let guard = Guard::new(3);
        assert_eq!(note(&guard, 1, &broke("here"), 1), Crash::First);
        assert_eq!(heard(&guard, 1, &answered(), 2), Heard::Counted);
        assert_eq!(note(&guard, 1, &broke("here"), 3), Crash::Known, "its second break is an attempt");
        assert_eq!(note(&guard, 3, &Outcome::Fatal("said so".into()), 4), Crash::Known);
        assert_eq!(note(&guard, 4, &broke("here"), 5), Crash::First);
        assert_eq!(heard(&guard, 4, &Outcome::Fatal("said so".into()), 6), Heard::Counted);
        assert_eq!(note(&guard, 5, &broke("here"), 7), Crash::First);
        assert_eq!(guard.fault(), None);
        assert_eq!(heard(&guard, 5, &answered(), 8), Heard::AtFault);
        assert!(guard.fault().unwrap().contains("3 different jobs of 5 attempts"), "{:?}", guard.fault());
        assert_eq!(note(&guard, 1, &broke("elsewhere"), 9), Crash::AtFault);
        assert_eq!(note(&guard, 9, &Outcome::Fatal("said so".into()), 10), Crash::Known, "no crash");
        assert!(!guard.asks_elsewhere(&names(1).0, &names(1).1), "they go there anyhow");
    }

    #[test]
    fn jobs_that_break_elsewhere_too_are_none_of_its_faults() {
        let guard = Guard::new(2);
        for id in 0..50 {
            assert_eq!(note(&guard, id, &broke("here"), 1), Crash::First);
            assert_eq!(heard(&guard, id, &broke("there"), 2), Heard::Acquitted);
            assert_eq!(note(&guard, id, &broke("here"), 3), Crash::Known, "it used up its second chance");
        }
        assert_eq!(guard.fault(), None);
    }

    #[test]
    fn what_did_not_end_elsewhere_is_asked_again_and_what_ran_out_of_time_is_not() {
        let guard = Guard::new(1);
        assert_eq!(note(&guard, 1, &broke("here"), 1), Crash::First);
        let open = [Outcome::Requeue, Outcome::DelayUntil(9), Outcome::stopped(StopCause::Shutdown, "")];
        for outcome in open {
            assert_eq!(heard(&guard, 1, &outcome, 2), Heard::Nothing);
        }
        assert_eq!(heard(&guard, 1, &Outcome::stopped(StopCause::Deadline, "late"), 3), Heard::Nothing);
        let (queue, id) = names(1);
        assert!(!guard.asks_elsewhere(&queue, &id));
        assert_eq!(guard.heard(&queue, &id, &answered(), 4), Heard::Nothing, "nobody asked");
    }

    #[test]
    fn zero_never() {
        let guard = Guard::new(0);
        assert!((0..100).all(|id| note(&guard, id, &broke("here"), 1) == Crash::Known));
    }

    #[test]
    fn what_happens_once_in_a_long_while_is_forgotten() {
        let guard = Guard::new(2);
        for id in 0..10 {
            let at = u64::from(id) * 2 * WINDOW_MS;
            assert_eq!(note(&guard, id, &broke("here"), at), Crash::First);
            assert_eq!(heard(&guard, id, &answered(), at), Heard::Counted);
        }
        assert_eq!(note(&guard, 0, &broke("here"), 40 * WINDOW_MS), Crash::First);
    }
}
