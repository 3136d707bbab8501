//! What a worker lets others know of itself while it runs, so that one that looks alive and takes no jobs is seen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::StoreError;

/// A worker that has a free slot and got no answer for this much longer than it polls is stuck. The longest way to an
/// answer is a connection that breaks silently: 10 s until that is noticed, and as long again to connect anew.
const PATIENCE: Duration = Duration::from_secs(25);

/// One queue's worker, seen from outside.
#[derive(Debug)]
pub struct Pulse {
    stuck_after: Duration,
    /// Held only to look or to change, never over an await.
    beat: Mutex<Beat>,
    running: AtomicUsize,
}

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerHealth {
    /// Since the store last answered when asked for jobs. Zero while there is no reason to ask: every slot is taken, the
    /// queue rests under a rate limit, or the worker is to take no more.
    pub silent: Duration,
    /// Why its last call to the store failed; none once one succeeds again.
    pub fault: Option<String>,
    /// It has been silent for so long that it must be considered dead.
    pub stuck: bool,
    /// Since it last did anything at all, whether the store answers or not: it looks round at every third of a lock's
    /// time. Zero once it has ended.
    pub still: Duration,
}

#[derive(Debug)]
struct Beat {
    answered: Instant,
    /// When it last looked round; none once it has ended.
    turned: Option<Instant>,
    asks: bool,
    fault: Option<(&'static str, String)>,
}

impl Pulse {
    /// Of a worker that asks at least this often.
    pub(super) fn new(poll: Duration) -> Self {
        let now = Instant::now();
        let beat = Beat { answered: now, turned: Some(now), asks: true, fault: None };
        Self { stuck_after: poll + PATIENCE, beat: Mutex::new(beat), running: AtomicUsize::new(0) }
    }

    /// How the worker is now.
    #[must_use]
    pub fn look(&self) -> WorkerHealth {
        let beat = self.beat();
        let silent = if beat.asks { beat.answered.elapsed() } else { Duration::ZERO };
        WorkerHealth {
            silent,
            fault: beat.fault.as_ref().map(|(verb, error)| format!("{verb}: {error}")),
            stuck: silent > self.stuck_after,
            still: beat.turned.map(|turned| turned.elapsed()).unwrap_or_default(),
        }
    }

    /// Attempts that run now, as far as the worker has looked round since.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// So many attempts run.
    pub(super) fn runs(&self, attempts: usize) {
        self.running.store(attempts, Ordering::Relaxed);
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        // Every change leaves it whole, so a panic elsewhere cannot have broken it.
        self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker looks round: whether it has a reason to ask for jobs.
    pub(super) fn asks(&self, asks: bool) {
        let (now, mut beat) = (Instant::now(), self.beat());
        beat.turned = Some(now);
        if asks && !beat.asks {
            beat.answered = now;
        }
        beat.asks = asks;
    }

    /// The store answered when asked for jobs.
    pub(super) fn claimed(&self) {
        let mut beat = self.beat();
        beat.answered = Instant::now();
        beat.fault = None;
    }

    /// The store answered this verb.
    pub(super) fn answered(&self, verb: &'static str) {
        self.beat().fault.take_if(|(failed, _)| *failed == verb);
    }

    /// The store failed this verb.
    pub(super) fn failed(&self, verb: &'static str, error: &StoreError) {
        let mut beat = self.beat();
        // A renewal may fail and succeed again while nothing can be claimed: that is the fault that counts.
        if verb != "renew" || beat.fault.is_none() {
            beat.fault = Some((verb, error.to_string()));
        }
    }

    /// The worker has ended: nothing is expected of it any more.
    pub(super) fn ended(&self) {
        let mut beat = self.beat();
        beat.asks = false;
        beat.turned = None;
        beat.fault = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_worker_that_should_have_asked_is_stuck() {
        let pulse = Pulse::new(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!((pulse.look().silent.as_secs(), pulse.look().stuck), (29, false));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pulse.look().stuck);
        pulse.asks(false);
        assert_eq!(pulse.look().silent, Duration::ZERO, "every slot is taken");
        tokio::time::advance(Duration::from_secs(3600)).await;
        pulse.asks(true);
        let still = Duration::ZERO;
        assert_eq!(pulse.look(), WorkerHealth { silent: Duration::ZERO, fault: None, stuck: false, still });
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_nothing_at_all_is_still_and_one_that_has_ended_is_not() {
        let pulse = Pulse::new(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert_eq!(pulse.look().still.as_secs(), 70);
        pulse.failed("claim", &StoreError::Unavailable("away".to_owned()));
        assert_eq!(pulse.look().still.as_secs(), 70, "only looking round counts");
        pulse.asks(true);
        assert_eq!(pulse.look().still, Duration::ZERO);
        tokio::time::advance(Duration::from_secs(70)).await;
        pulse.ended();
        assert_eq!(pulse.look().still, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_lasts_until_its_verb_or_a_claim_succeeds() {
        let pulse = Pulse::new(Duration::from_secs(5));
        let error = StoreError::Unavailable("OOM".to_owned());
        pulse.failed("claim", &error);
        pulse.answered("renew");
        assert_eq!(pulse.look().fault.as_deref(), Some("claim: the store cannot be reached: OOM"));
        pulse.claimed();
        assert_eq!(pulse.look().fault, None);
        pulse.failed("renew", &error);
        pulse.answered("renew");
        assert_eq!(pulse.look().fault, None);
    }
}
