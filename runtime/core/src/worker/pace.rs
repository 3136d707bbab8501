//! When the store is asked next: what its last answer said, how long one that fails is left alone, and that it is asked
//! again in time whatever becomes of the wake-ups.
//!
//! All waiting goes by the monotonic clock, so that a step of the system's time neither stops a worker nor makes it
//! spin; only when a delayed job is due is told by the wall clock, because that is how it is stored.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Millis;
use crate::store::{Claim, Wake};

/// The pause after a failed call grows from the first to the second. Most failures are known at once and cost nobody
/// anything (there is no connection); half a second then leaves most of the 2 s within which work goes on after an
/// outage to the connection's own coming back.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// A wake-up while the queue rests may mean that its limit was lifted. The store is asked no sooner than this after it
/// last said so: new jobs wake, too, and a limited queue has many.
const REST_MIN: Duration = Duration::from_millis(200);
/// How much later than a wake-up should have come the store is asked without one. Wake-ups come over a connection of
/// their own, which can be lost in ways that nobody notices.
const POLL_SLACK: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    /// Nothing was due when last asked.
    drained: bool,
    /// With nothing due: asked again then, woken or not.
    ask_at: Instant,
    /// When the next delayed job is due.
    next_due: Option<Millis>,
    /// The queue must rest until then, or until it is to be asked again.
    limited_until: Option<Instant>,
    /// When it was last said to rest.
    limited_at: Instant,
    /// The store is left alone until then, after so many failures in a row.
    retry_at: Option<Instant>,
    failures: u32,
    failing_since: Instant,
}

/// The pause after so many failures in a row, at least 1; `entropy` is from 0 up to 1.
pub(super) fn pause(failures: u32, entropy: f64) -> Duration {
    let (first, longest) = BACKOFF;
    let full = first.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(longest);
    full.mul_f64(0.5 + entropy / 2.0)
}

impl Pace {
    pub(super) fn new(poll: Duration, now: Instant) -> Self {
        Self {
            poll,
            drained: false,
            ask_at: now,
            next_due: None,
            limited_until: None,
            limited_at: now,
            retry_at: None,
            failures: 0,
            failing_since: now,
        }
    }

    /// Whether there was nothing due when the store was last asked.
    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Something may be due, whatever the store last said.
    pub(super) fn look(&mut self) {
        self.drained = false;
    }

    /// Whether the store is left alone now because it failed.
    pub(super) fn holds_off(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    /// Whether the queue must rest now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.limited_until.is_some_and(|until| until > now)
    }

    /// The store answered a claim of so many slots. Returns for how long it had failed before.
    pub(super) fn claimed(&mut self, claim: &Claim, slots: usize, now: Instant) -> Option<Duration> {
        self.drained = claim.jobs.len() < slots;
        self.ask_at = now + self.poll + POLL_SLACK;
        self.next_due = claim.next_due;
        self.limited_at = now;
        // A limit can be lifted long before a rest is over, by somebody who wakes nobody.
        self.limited_until = claim.rate_limited.map(|rest| now + rest.min(self.poll));
        self.answered(now)
    }

    /// The store took ends. Returns for how long it had failed before.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.retry_at = None;
        (std::mem::take(&mut self.failures) > 0).then(|| now - self.failing_since)
    }

    /// A call failed. Returns whether it is the first to do so. Calls that were under way together fail together: they
    /// count once, and none of them makes a pause that has begun any longer.
    pub(super) fn failed(&mut self, now: Instant, entropy: f64) -> bool {
        if self.holds_off(now) {
            return false;
        }
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause(self.failures, entropy));
        self.failures == 1
    }

    /// A wake-up came.
    pub(super) fn woken(&mut self, wake: Wake, clock: Millis) {
        match wake {
            Wake::Now | Wake::TimedOut => {
                self.drained = false;
                if let Some(until) = &mut self.limited_until {
                    *until = (*until).min(self.limited_at + REST_MIN);
                }
            }
            Wake::At(due) if due <= clock => self.drained = false,
            Wake::At(due) => self.next_due = Some(self.next_due.map_or(due, |known| known.min(due))),
        }
    }

    /// When to look again without being told; `free` says that a job could be run.
    pub(super) fn timer(&self, free: bool, now: Instant, clock: Millis) -> Option<Instant> {
        let idle = self.drained && free;
        let due = self.next_due.filter(|_| idle).map(|due| {
            // Never longer than until the store is asked anyway: a clock can be set back for years.
            let wait = Duration::from_millis(due.saturating_sub(clock));
            now.checked_add(wait).map_or(self.ask_at, |at| at.min(self.ask_at))
        });
        let poll = idle.then_some(self.ask_at);
        [due, poll, self.limited_until, self.retry_at].into_iter().flatten().min()
    }

    /// The timer fired.
    pub(super) fn fired(&mut self, now: Instant, clock: Millis) {
        let over = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let rested = over(&mut self.limited_until);
        let retry = over(&mut self.retry_at);
        let due = self.next_due.take_if(|due| *due <= clock).is_some();
        if rested || retry || due || self.ask_at <= now {
            self.drained = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(5);
    const HOUR: Millis = 3_600_000;

    fn drained(next_due: Option<Millis>, now: Instant) -> Pace {
        let mut pace = Pace::new(POLL, now);
        pace.claimed(&Claim { next_due, ..Claim::default() }, 1, now);
        assert!(pace.is_drained());
        pace
    }

    #[test]
    fn the_store_is_asked_again_although_no_wake_up_comes() {
        let now = Instant::now();
        let mut pace = drained(None, now);
        let timer = pace.timer(true, now, 0).unwrap();
        assert!(timer > now + POLL && timer <= now + POLL * 2, "{:?}", timer - now);
        pace.fired(timer, 0);
        assert!(!pace.is_drained());
        assert_eq!(drained(None, now).timer(false, now, 0), None, "nobody could run a job");
    }

    #[test]
    fn a_clock_that_is_set_back_or_forward_neither_stops_nor_spins_a_worker() {
        let now = Instant::now();
        let due = 10 * HOUR + 1000;
        let mut pace = drained(Some(due), now);
        assert_eq!(pace.timer(true, now, 10 * HOUR), Some(now + Duration::from_secs(1)));
        // Back by an hour, or to the epoch: the store is asked as often as without a delayed job.
        for clock in [9 * HOUR, 0] {
            let timer = pace.timer(true, now, clock).unwrap();
            assert!(timer > now + POLL && timer <= now + POLL * 2, "{:?}", timer - now);
        }
        // Forward: due at once, and looked for once.
        assert_eq!(pace.timer(true, now, 11 * HOUR), Some(now));
        pace.fired(now, 11 * HOUR);
        assert!(!pace.is_drained());
        pace.claimed(&Claim::default(), 1, now);
        assert!(pace.timer(true, now, 11 * HOUR).unwrap() > now);
    }

    #[test]
    fn failures_at_the_same_time_count_once_and_never_put_the_next_try_off() {
        let now = Instant::now();
        let mut pace = Pace::new(POLL, now);
        assert!(pace.failed(now, 1.0));
        let first = pace.timer(true, now, 0).unwrap();
        for ms in 1..40 {
            assert!(!pace.failed(now + Duration::from_millis(ms), 1.0));
        }
        assert_eq!(pace.timer(true, now, 0), Some(first));
        assert_eq!(first, now + BACKOFF.0);
        let mut at = first;
        for _ in 0..100 {
            pace.fired(at, 0);
            assert!(!pace.holds_off(at));
            pace.failed(at, 1.0);
            let next = pace.timer(true, at, 0).unwrap();
            assert!(next > at && next <= at + BACKOFF.1);
            at = next;
        }
        assert_eq!(pace.answered(at), Some(at - now), "how long it lasted");
        assert_eq!(pace.answered(at), None);
    }

    #[test]
    fn a_rest_ends_by_itself_and_is_looked_after_when_somebody_wakes() {
        let now = Instant::now();
        let mut pace = Pace::new(POLL, now);
        pace.claimed(&Claim { rate_limited: Some(Duration::from_secs(3600)), ..Claim::default() }, 1, now);
        assert!(pace.rests(now));
        assert_eq!(pace.timer(true, now, 0), Some(now + POLL));
        pace.woken(Wake::Now, 0);
        assert_eq!(pace.timer(true, now, 0), Some(now + REST_MIN));
        pace.fired(now + REST_MIN, 0);
        assert!(!pace.rests(now) && !pace.is_drained());
    }
}
