//! One event is accepted in one job: who holds it, and what a second arrival means.
//!
//! The holder is kept in the handler's cache under the event, as the idempotency key of its job, so that a retry
//! of that job finds itself and goes on. While the holder works the entry says `pending`; a second job then
//! waits by being retried, because the first may still fail and give the event back. Once the holder is done
//! the entry says `done`, and every other job with that event is refused for as long as it is remembered.
//!
//! The cache may forget. This guard stops repeated deliveries; a business that must never credit twice also
//! keeps `event_id` or `reference` unique in its own records.

use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{cache, context};

use crate::event::Event;
use crate::refusal::Refusal;

/// How often a vanished entry is set again within one attempt. Twice in a row means that the cache keeps nothing.
const TRIES: u32 = 2;

/// This job's hold on an event.
#[derive(Debug)]
#[must_use = "a hold that is neither completed nor given back blocks the event until it is forgotten"]
pub struct Hold {
    key: String,
    holder: String,
    ttl: Duration,
}

impl Hold {
    /// Takes the event for the job, or finds that the job already has it.
    ///
    /// The handlers keep apart: `verify-webhook` and `verify-payment` may each accept the same event once.
    ///
    /// # Errors
    /// [`Refusal::Replay`] (fatal) when another job has accepted it, [`Refusal::Busy`] (retried) while another
    /// works on it; the cache's own faults as `?` converts them.
    pub fn take<T>(job: &Job<T>, event: &Event, ttl: Duration) -> Result<Self, Failure> {
        let key = format!("event/{}/{}/{}", job.name, event.provider, event.id);
        // Without a key every job would take itself for the holder; queue and id tell jobs apart as well.
        let holder = match &*job.idempotency_key {
            "" => format!("{}:{}", job.queue, job.id),
            key => key.to_owned(),
        };
        let hold = Self { key, holder, ttl };
        for _ in 0..TRIES {
            if cache::set_if_absent(&hold.key, hold.entry(State::Pending), Some(ttl))? {
                return Ok(hold);
            }
            // Between the two calls the entry may have run out or been given back; then it is free again.
            if let Some(entry) = cache::get(&hold.key)? {
                judge(&entry, &hold.holder, &event.id)?;
                return Ok(hold);
            }
        }
        Err(Failure::retry("the cache does not keep the replay guard's entry"))
    }

    /// Marks the event as accepted, from now on for the whole time.
    ///
    /// # Errors
    /// The cache's own faults, as `?` converts them.
    pub fn complete(self) -> Result<(), Failure> {
        cache::set(&self.key, self.entry(State::Done), Some(self.ttl))?;
        Ok(())
    }

    /// Gives the event back when this attempt was the job's last: the provider's next delivery, in another job,
    /// shall not be refused for the sake of one that failed. Kept while the job itself will be tried again.
    pub fn after<T>(self, job: &Job<T>, failure: &Failure) {
        let again = match failure {
            Failure::Fatal(_) | Failure::Invalid(_) => false,
            Failure::Retry(_) | Failure::RetryAfter { .. } | Failure::Other(_) => !job.is_last_attempt(),
            Failure::RateLimited(_)
            | Failure::DelayUntil(_)
            | Failure::Requeue
            | Failure::WaitForChildren => true,
        };
        if !again && let Err(error) = cache::delete(&self.key) {
            // The job's own failure matters more than this one, so it is told where people look.
            context::log(format!("the replay guard's entry could not be given back: {error}"));
        }
    }

    fn entry(&self, state: State) -> String {
        format!("{}{}", state.prefix(), self.holder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Done,
}

impl State {
    fn prefix(self) -> &'static str {
        match self {
            Self::Pending => "pending ",
            Self::Done => "done ",
        }
    }
}

/// May the job with key `own` go on, given the entry that is there?
fn judge(entry: &[u8], own: &str, event: &str) -> Result<(), Refusal> {
    let entry = String::from_utf8_lossy(entry);
    let (state, holder) = match entry.strip_prefix(State::Pending.prefix()) {
        Some(holder) => (State::Pending, holder),
        // An entry of unknown form was written by another version; the safe reading is "accepted".
        None => (State::Done, entry.strip_prefix(State::Done.prefix()).unwrap_or(&entry)),
    };
    if holder == own {
        return Ok(());
    }
    let (event, holder) = (event.to_owned(), holder.to_owned());
    Err(match state {
        State::Pending => Refusal::Busy { event, holder },
        State::Done => Refusal::Replay { event, holder },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_finds_itself_in_either_state() {
        assert_eq!(judge(b"pending q:1", "q:1", "evt"), Ok(()));
        assert_eq!(judge(b"done q:1", "q:1", "evt"), Ok(()));
    }

    #[test]
    fn another_job_waits_for_a_pending_holder_and_is_refused_by_a_done_one() {
        let (event, holder) = ("evt".to_owned(), "q:1".to_owned());
        let busy = Refusal::Busy { event: event.clone(), holder: holder.clone() };
        assert_eq!(judge(b"pending q:1", "q:2", "evt"), Err(busy));
        assert_eq!(judge(b"done q:1", "q:2", "evt"), Err(Refusal::Replay { event, holder }));
    }

    #[test]
    fn an_entry_of_unknown_form_counts_as_accepted() {
        for entry in [&b""[..], b"q:1", b"\xff", b"pendingq:1"] {
            assert!(matches!(judge(entry, "q:2", "evt"), Err(Refusal::Replay { .. })));
        }
    }
}
