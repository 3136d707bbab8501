//! Ends that do not come from the handler alone: of jobs that somebody cancelled, and of those that the store wants failed.

use super::{Policy, fail};
use crate::job::Job;
use crate::outcome::{Outcome, StopCause, Stopped};
use crate::store::{CANCELLED, Verdict};

/// The end of a job that the store wants failed without another run.
#[must_use]
pub fn deferred(job: &Job, policy: &Policy, reason: &str) -> Verdict {
    if reason != STALLED_TOO_OFTEN {
        return fail(job, policy, reason, &[]);
    }
    let times =
        if job.stalled_count == 1 { "once".to_owned() } else { format!("{} times", job.stalled_count) };
    let reason = format!(
        "{reason}: the host that ran it vanished {times} before the job ended: killed, crashed, out of memory, or cut off \
         from the store. The job may be what takes hosts down; see their logs before retrying it"
    );
    fail(job, policy, &reason, &[])
}

/// BullMQ's words for a job that was recovered more often than its queue allows: people search for them.
pub const STALLED_TOO_OFTEN: &str = "job stalled more than allowable limit";

/// What a job ends with that somebody asked to end, and whose attempt said `outcome`. A result counts all the same:
/// its work is done.
#[must_use]
pub fn cancelled(outcome: Outcome) -> Outcome {
    let (said, backtrace) = match outcome {
        Outcome::Complete(_) => return outcome,
        Outcome::Retry { reason, .. } | Outcome::Fatal(reason) | Outcome::Invalid(reason) => {
            (Some(reason), Vec::new())
        }
        // Where it is lost, nothing can be written.
        Outcome::Stopped(Stopped { cause: StopCause::LockLost, .. }) => return outcome,
        Outcome::Stopped(Stopped {
            cause: StopCause::Cancelled | StopCause::Shutdown,
            reason: _,
            backtrace,
        }) => {
            return ended_on_request(None, backtrace);
        }
        Outcome::Stopped(Stopped { reason, backtrace, .. }) => (Some(reason), backtrace),
        Outcome::RateLimited(_) | Outcome::DelayUntil(_) | Outcome::Requeue | Outcome::WaitForChildren => {
            (None, Vec::new())
        }
    };
    ended_on_request(said, backtrace)
}

fn ended_on_request(said: Option<String>, backtrace: Vec<String>) -> Outcome {
    let reason = match said {
        Some(said) => format!("{CANCELLED}; its attempt ended with: {said}"),
        None => CANCELLED.to_owned(),
    };
    Outcome::Stopped(Stopped { cause: StopCause::Cancelled, reason, backtrace })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::decide::decide;
    use crate::names::JobId;

    fn job() -> Job {
        let mut job = Job::new(JobId::new("1").unwrap(), "n", "{}");
        job.options.attempts = 9;
        job
    }

    #[test]
    fn a_job_that_took_hosts_down_says_so_in_words_that_are_searched_for() {
        let mut j = job();
        j.stalled_count = 4;
        let Verdict::Fail { reason, .. } = deferred(&j, &Policy::default(), STALLED_TOO_OFTEN) else {
            panic!()
        };
        assert!(reason.starts_with(STALLED_TOO_OFTEN) && reason.contains("vanished 4 times"), "{reason}");
        let Verdict::Fail { reason, .. } = deferred(&j, &Policy::default(), "child b:q:1 failed") else {
            panic!()
        };
        assert_eq!(reason, "child b:q:1 failed");
    }

    #[test]
    fn a_cancelled_job_fails_for_good_unless_its_work_is_done() {
        assert_eq!(cancelled(Outcome::Complete(Bytes::new())), Outcome::Complete(Bytes::new()));
        let lost = Outcome::stopped(StopCause::LockLost, "l");
        assert_eq!(cancelled(lost.clone()), lost);
        for outcome in [
            Outcome::Retry { reason: "why".into(), after: Some(Duration::ZERO) },
            Outcome::Fatal("why".into()),
            Outcome::Requeue,
            Outcome::WaitForChildren,
            Outcome::DelayUntil(9_999),
            Outcome::stopped(StopCause::Panic, "why"),
            Outcome::stopped(StopCause::Cancelled, "c"),
            Outcome::stopped(StopCause::Shutdown, "s"),
        ] {
            let says = format!("{outcome:?}").contains("why");
            let Verdict::Fail { reason, .. } =
                decide(&job(), &Policy::default(), cancelled(outcome), 1_000, 0.5)
            else {
                panic!()
            };
            assert!(reason.starts_with(CANCELLED), "{reason}");
            assert_eq!(reason.ends_with("why"), says, "{reason}");
        }
    }
}
