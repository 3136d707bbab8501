//! What becomes of a job that broke on a version which may be to blame.
//!
//! A job that breaks on a version for the first time is given back without using an attempt, while there is another
//! version to run it: until enough others have broken in the same way ([`Failures`]), nobody knows whose fault it is.
//! When it breaks again on the same version, that is an attempt like any other.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobcell_core::crash::Crashes;
use jobcell_core::{JobId, Millis, Outcome, QueueName};

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
}

#[derive(Debug)]
struct State {
    failures: Failures,
    given_back: HashSet<(QueueName, JobId)>,
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
    AtFault {
        /// Since this very attempt.
        newly: bool,
    },
}

// === impl Guard ===

impl Guard {
    pub(crate) fn new(limit: u32) -> Self {
        let state = State {
            failures: Failures::new(limit, WINDOW_MS),
            given_back: HashSet::new(),
            since: 0,
            fault: None,
        };
        Self { limit, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the version is at fault, once it is.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
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
        state.failures.ended(now);
        let Some(Crashes { way, .. }) = crash else { return Crash::Known };
        if state.fault.is_some() {
            return Crash::AtFault { newly: false };
        }
        if let Some(fault) = state.failures.broke(&way, queue.as_str(), id.as_str(), now) {
            state.fault = Some(fault);
            state.given_back = HashSet::new();
            return Crash::AtFault { newly: true };
        }
        if now.saturating_sub(state.since) > WINDOW_MS {
            state.given_back.clear();
            state.since = now;
        }
        let is_first =
            state.given_back.len() < GIVEN_BACK_MAX && state.given_back.insert((queue.clone(), id.clone()));
        if is_first { Crash::First } else { Crash::Known }
    }
}

#[cfg(test)]
mod tests {
    use jobcell_core::StopCause;

    use super::*;

    fn broke(place: &str) -> Outcome {
        Outcome::stopped(StopCause::Trap, place)
    }

    fn note(guard: &Guard, id: u32, outcome: &Outcome, now: Millis) -> Crash {
        guard.note(&QueueName::new("q").unwrap(), &JobId::new(id.to_string()).unwrap(), outcome, now)
    }

    #[test]
    fn a_job_is_given_back_once_and_enough_of_them_put_the_version_at_fault() {
        let guard = Guard::new(3);
        assert_eq!(note(&guard, 1, &broke("here"), 1), Crash::First);
        assert_eq!(note(&guard, 1, &broke("here"), 2), Crash::Known, "its second break is an attempt");
        assert_eq!(note(&guard, 3, &Outcome::Fatal("said so".into()), 3), Crash::Known);
        assert_eq!(note(&guard, 4, &broke("here"), 4), Crash::First);
        assert_eq!(guard.fault(), None);
        assert_eq!(note(&guard, 5, &broke("here"), 5), Crash::AtFault { newly: true });
        assert!(guard.fault().unwrap().contains("3 different jobs"));
        assert_eq!(note(&guard, 1, &broke("elsewhere"), 6), Crash::AtFault { newly: false });
        assert_eq!(note(&guard, 9, &Outcome::Fatal("said so".into()), 7), Crash::Known, "no crash");
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
            assert_eq!(note(&guard, id, &broke("here"), u64::from(id) * 2 * WINDOW_MS), Crash::First);
        }
        assert_eq!(note(&guard, 0, &broke("here"), 40 * WINDOW_MS), Crash::First);
    }
}
