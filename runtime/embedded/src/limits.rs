//! The limits that hold for all workers of a queue: how many jobs run at once, how many start in a time, and rests.

use std::time::Duration;

use jobcell_core::store::{Limits, RateLimit, StoreError};
use jobcell_core::{JobState, Millis, QueueName};

use crate::error::Result;
use crate::locks::millis;
use crate::queue::Queue;
use crate::tx::Tx;

impl Queue {
    /// The rate limit that holds for a worker with this one of its own: of the queue's the number of starts, of the
    /// worker's the window, as in BullMQ.
    pub(crate) fn rate(&self, own: Option<RateLimit>) -> Option<RateLimit> {
        let Some((max, per)) = self.rate else { return own };
        Some(RateLimit { max, per: own.map_or(Duration::from_millis(per), |own| own.per) })
    }

    /// How long the queue must rest before it gives anything.
    pub(crate) fn rest(&self, rate: Option<RateLimit>, now: Millis) -> Option<Duration> {
        let mut until = self.rests_until;
        if let Some(rate) = rate {
            let (starts, ends) = self.window;
            // A window that ends later than a whole one from now was made by a clock that has been set back since.
            if starts >= rate.max && ends <= now.saturating_add(millis(rate.per)) {
                until = until.max(ends);
            }
        }
        let left = until.saturating_sub(now);
        (left > 0).then(|| Duration::from_millis(left))
    }

    pub(crate) fn count_start(&mut self, rate: RateLimit, now: Millis) {
        let whole = now.saturating_add(millis(rate.per));
        let (starts, ends) = &mut self.window;
        if *ends <= now || *ends > whole {
            (*starts, *ends) = (0, whole);
        }
        *starts += 1;
    }

    /// How many more jobs may be active.
    pub(crate) fn room(&self) -> usize {
        let left = self.concurrency.map(|max| max.saturating_sub(self.count(JobState::Active)));
        left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// True when jobs wait that the queue's concurrency held back and lets go now.
    pub(crate) fn holds_back(&self) -> bool {
        self.concurrency.is_some() && !self.paused && !self.is_idle() && self.room() > 0
    }

    pub(crate) fn limits(&self, now: Millis) -> Limits {
        let rate = self.rate(None);
        Limits { paused: self.paused, concurrency: self.concurrency, rate, rests_for: self.rest(rate, now) }
    }
}

/// Lets somebody look who waits: more may start than before.
fn wake(tx: &mut Tx<'_>, number: u32) {
    let queue = tx.queue(number);
    if !queue.is_idle() && queue.room() > 0 {
        tx.wake(number);
    }
}

pub(crate) fn set_concurrency(tx: &mut Tx<'_>, queue: &QueueName, max: Option<u64>) -> Result<()> {
    if max == Some(0) {
        return Err(StoreError::Rejected(format!(
            "a concurrency of 0 would stop queue {queue:?}; pause it, or use at least 1"
        ))
        .into());
    }
    let number = tx.make_queue(queue)?;
    tx.queue_mut(number).concurrency = max;
    wake(tx, number);
    Ok(())
}

pub(crate) fn set_rate(tx: &mut Tx<'_>, queue: &QueueName, rate: Option<RateLimit>) -> Result<()> {
    if rate.is_some_and(|rate| rate.max == 0 || rate.per.is_zero()) {
        return Err(StoreError::Rejected(format!(
            "a rate of nothing would stop queue {queue:?}; pause it, or use at least 1 start in some time"
        ))
        .into());
    }
    let number = tx.make_queue(queue)?;
    let now = tx.wall();
    let queue = tx.queue_mut(number);
    queue.rate = rate.map(|rate| (rate.max, millis(rate.per)));
    let (_, ends) = &mut queue.window;
    match rate {
        // A window of an hour must not outlast the change to one of a second.
        Some(rate) => *ends = (*ends).min(now.saturating_add(millis(rate.per))),
        None => queue.window = (0, 0),
    }
    wake(tx, number);
    Ok(())
}

/// Measured by the time of day: nobody says another one.
pub(crate) fn rest(tx: &mut Tx<'_>, queue: &QueueName, rest: Option<Duration>) -> Result<()> {
    let number = tx.make_queue(queue)?;
    let now = tx.wall();
    let queue = tx.queue_mut(number);
    if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
        queue.rests_until = now.saturating_add(millis(rest));
        return Ok(());
    }
    queue.rests_until = 0;
    queue.window = (0, 0);
    wake(tx, number);
    Ok(())
}
