//! The ends of a driver's attempts: when they go out, and what becomes of those that the store does not take.

use std::sync::Arc;

use super::Driver;
use crate::clock::Millis;
use crate::decide::{Policy, decide, fail};
use crate::event::Event;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::store::{Claimed, Finish, Refusal, StoreError, Verdict};
use crate::worker::{Phase, Surroundings};

/// Finish calls in flight. One is with the store while the next is on its way; more would only make batches smaller.
const FINISHES_IN_FLIGHT: usize = 2;
/// Ends that are worth a second call while the first is in flight: a call of eight costs the store half as much a job as
/// eight calls.
const FINISHES_TOGETHER: usize = 8;
/// How often in a row a job may ask to wait for children it does not have.
const VAIN_WAITS_MAX: u32 = 3;

impl Driver {
    /// Whether ends should go out now. With a call in flight they wait for its answer, unless they are many or nothing
    /// else will join them.
    pub(super) fn finish_is_due(&self) -> bool {
        match self.finishes_in_flight {
            0 => !self.ended.is_empty(),
            n if n < FINISHES_IN_FLIGHT => {
                self.ended.len() >= FINISHES_TOGETHER || (!self.ended.is_empty() && self.held.running() == 0)
            }
            _ => false,
        }
    }

    pub(super) fn attempt_ended(&mut self, finish: Finish) {
        if !self.held.attempt_ended(&finish.token) {
            // The lock was lost on the way: the result is dropped, and has been counted as such.
            return;
        }
        if finish.verdict == Verdict::Release && self.phase() == Phase::GiveBack {
            self.sum.given_back += 1;
        }
        self.ended.push(finish);
    }

    pub(super) fn finished(&mut self, finish: Finish, result: Result<(), Refusal>) {
        let Err(refusal) = result else {
            if matches!(finish.verdict, Verdict::Release | Verdict::Retry { .. } | Verdict::DelayUntil(_)) {
                // It may be due again at once, and our own push need not wake our own watch.
                self.pace.look();
            }
            self.held.remove(&finish.token);
            return;
        };
        if refusal.is_lost() {
            let queue = self.scene.settings.queue.clone();
            let held = self.held.remove(&finish.token);
            if held.is_some_and(|held| held.perhaps_written) {
                tracing::warn!(%queue, job = %finish.id, %refusal, "the end of an attempt was sent again because its first answer was lost, and not accepted: it was written already, or its result is dropped");
            } else {
                tracing::warn!(%queue, job = %finish.id, %refusal, "the end of an attempt was not accepted; its result is dropped");
            }
            self.scene.surroundings.observer.on(&Event::Refused { queue, id: finish.id, refusal });
            return;
        }
        self.answer_refusal(finish, refusal);
    }

    /// The job is still active and locked: it needs another end.
    pub(super) fn answer_refusal(&mut self, finish: Finish, refusal: Refusal) {
        let stopping = self.phase() == Phase::GiveBack;
        let Some(held) = self.held.get_mut(&finish.token) else {
            return;
        };
        let Some(job) = held.job.clone() else { return };
        held.vain_waits += 1;
        if refusal == Refusal::NothingToWaitFor && stopping {
            self.sum.given_back += 1;
            self.ended.push(Finish { verdict: Verdict::Release, ..finish });
            return;
        }
        if refusal == Refusal::NothingToWaitFor && held.vain_waits <= VAIN_WAITS_MAX {
            // A handler that adds its children on the first start, and reads their results on a later one, must see that
            // this is a later one: children may be done before their parent has asked to wait for them.
            let mut again = Job::clone(&job);
            again.attempts_started += 1;
            let again = Arc::new(again);
            held.job = Some(Arc::clone(&again));
            let (cancel, io) = (held.cancel.clone(), Arc::clone(&held.io));
            io.put_back(finish.recorded);
            self.held.attempt_again(&finish.token);
            self.spawn(Claimed { id: finish.id, token: finish.token, job: Ok(again) }, cancel, io);
            return;
        }
        let Surroundings { clock, entropy, .. } = &self.scene.surroundings;
        let policy = &self.scene.settings.policy;
        let verdict = another_end(&job, policy, refusal, clock.now(), entropy());
        self.ended.push(Finish { verdict, ..finish });
    }

    /// Nothing is known to be written: the same ends are sent again. Should they have been written after all, the
    /// repeat is refused.
    pub(super) fn finish_failed(&mut self, mut finishes: Vec<Finish>, error: &StoreError) {
        // Rights can be mended while the lock holds; a result that is thrown away cannot.
        if error.is_transient() || matches!(error, StoreError::Denied(_)) {
            for finish in &finishes {
                if let Some(held) = self.held.get_mut(&finish.token) {
                    held.perhaps_written = true;
                }
            }
            self.failed("finish", error);
        } else if finishes.len() > 1 {
            tracing::error!(queue = %self.scene.settings.queue, %error, "a batch of ends was refused; writing them one by one");
            self.singly = true;
        } else {
            for finish in finishes.drain(..) {
                tracing::error!(queue = %self.scene.settings.queue, job = %finish.id, %error, "the end of an attempt cannot be written; the job will be recovered as stalled");
                self.held.remove(&finish.token);
                self.sum.abandoned += 1;
                let (queue, refusal) = (self.scene.settings.queue.clone(), Refusal::Unwritable);
                self.scene.surroundings.observer.on(&Event::Refused { queue, id: finish.id, refusal });
            }
        }
        finishes.append(&mut self.ended);
        self.ended = finishes;
    }
}

/// The end of a job that cannot end as its attempt did.
fn another_end(job: &Job, policy: &Policy, refusal: Refusal, now: Millis, entropy: f64) -> Verdict {
    let reason = match refusal {
        // BullMQ's words: people search for them.
        Refusal::FailedChildren => {
            let reason = format!("Cannot complete job {} because it has at least one failed child", job.id);
            return fail(job, policy, &reason, &[]);
        }
        Refusal::PendingChildren => format!(
            "Job {} has pending dependencies; to run again after its children, a handler answers wait-for-children",
            job.id
        ),
        other => format!("Job {} cannot end this way: {other}", job.id),
    };
    decide(job, policy, Outcome::Retry { reason, after: None }, now, entropy)
}

/// Gives a job back that was not run.
pub(super) fn release(claimed: &Claimed) -> Finish {
    Finish::new(claimed.id.clone(), claimed.token.clone(), Verdict::Release)
}
