//! The decision from what an attempt said to what is written: pure, and the only place where it is taken.

use std::time::Duration;

use bytes::Bytes;

use crate::backoff;
use crate::clock::Millis;
use crate::job::Job;
use crate::options::Keep;
use crate::outcome::{Outcome, StopCause, Stopped};
use crate::store::Verdict;

/// The most of a reason that is stored, in bytes: it is copied into events and into parents.
pub const REASON_BYTES_MAX: usize = 8 * 1024;

/// What the queue says about finishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which completed jobs stay when the job does not say. Default all, as in BullMQ.
    pub keep_completed: Keep,
    /// Which failed jobs stay when the job does not say. Default all, as in BullMQ.
    pub keep_failed: Keep,
    /// What a result must be.
    pub result: ResultForm,
}

/// What a result must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultForm {
    /// JSON text: listeners of BullMQ queues stop for good on anything else.
    Json,
    /// Any bytes.
    Bytes,
}

impl Default for Policy {
    fn default() -> Self {
        Self { keep_completed: Keep::All, keep_failed: Keep::All, result: ResultForm::Json }
    }
}

/// What becomes of `job` after this outcome. `entropy`, from 0 up to 1, feeds the backoff's jitter.
#[must_use]
pub fn decide(job: &Job, policy: &Policy, outcome: Outcome, now: Millis, entropy: f64) -> Verdict {
    match outcome {
        Outcome::Complete(result) => complete(job, policy, result, entropy),
        Outcome::Retry { reason, after } => retry(job, policy, &reason, &[], after, entropy),
        Outcome::Fatal(reason) | Outcome::Invalid(reason) => fail(job, policy, &reason, &[]),
        Outcome::RateLimited(rest) => Verdict::RateLimit(rest.max(Duration::from_millis(1))),
        Outcome::DelayUntil(at) if at <= now => Verdict::Release,
        Outcome::DelayUntil(at) => Verdict::DelayUntil(at),
        Outcome::Requeue => Verdict::Release,
        Outcome::WaitForChildren => Verdict::WaitForChildren,
        Outcome::Stopped(Stopped { cause, reason, backtrace }) => match cause {
            // The lock's token fences a give-back like any other finish, so a lost lock needs no case of its own.
            StopCause::Shutdown | StopCause::LockLost => Verdict::Release,
            StopCause::Payload | StopCause::Cancelled => fail(job, policy, &reason, &backtrace),
            StopCause::Deadline
            | StopCause::Memory
            | StopCause::Stack
            | StopCause::Panic
            | StopCause::Trap
            | StopCause::Abi
            | StopCause::Result
            | StopCause::Host => retry(job, policy, &reason, &backtrace, None, entropy),
        },
    }
}

fn complete(job: &Job, policy: &Policy, result: Bytes, entropy: f64) -> Verdict {
    let result = if result.is_empty() && policy.result == ResultForm::Json {
        Bytes::from_static(b"null")
    } else {
        result
    };
    if policy.result == ResultForm::Json
        && let Err(fault) = check_json(&result)
    {
        return retry(job, policy, &format!("the handler's result is not JSON: {fault}"), &[], None, entropy);
    }
    let keep = job.options.remove_on_complete.as_ref().unwrap_or(&policy.keep_completed).clone();
    Verdict::Complete { result, keep }
}

/// Fails the job for good.
#[must_use]
pub fn fail(job: &Job, policy: &Policy, reason: &str, backtrace: &[String]) -> Verdict {
    Verdict::Fail {
        reason: bounded(reason),
        stacktrace: stacktrace(job, reason, backtrace),
        keep: job.options.remove_on_fail.as_ref().unwrap_or(&policy.keep_failed).clone(),
        attempts_max: job.options.attempts_max(),
    }
}

fn retry(
    job: &Job,
    policy: &Policy,
    reason: &str,
    backtrace: &[String],
    after: Option<Duration>,
    entropy: f64,
) -> Verdict {
    if !job.has_attempts_left() {
        return fail(job, policy, reason, backtrace);
    }
    let delay = match (after, &job.options.backoff) {
        (Some(after), _) => after.min(Duration::from_millis(backoff::DELAY_MS_MAX)),
        (None, None) => Duration::ZERO,
        (None, Some(rule)) => match backoff::delay_ms(rule, job.attempt(), entropy) {
            Ok(ms) => Duration::from_millis(ms),
            Err(unknown) => return fail(job, policy, &format!("{reason}; no retry: {unknown}"), backtrace),
        },
    };
    Verdict::Retry {
        reason: bounded(reason),
        stacktrace: stacktrace(job, reason, backtrace),
        delay,
        lifo: job.options.lifo,
    }
}

/// JSON text, in UTF-8.
///
/// # Errors
/// The fault, with its place.
pub fn check_json(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|fault| fault.to_string())?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|fault| fault.to_string())?;
    Ok(())
}

fn stacktrace(job: &Job, reason: &str, backtrace: &[String]) -> Vec<String> {
    let mut entry = bounded(reason);
    for frame in backtrace {
        entry.push_str("\n    at ");
        entry.push_str(frame);
    }
    let mut all = job.stacktrace.clone();
    all.push(entry);
    if let Some(limit) = job.options.stack_trace_limit {
        let surplus = all.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        all.drain(..surplus);
    }
    all
}

fn bounded(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::JobId;
    use crate::options::{Backoff, BackoffKind};

    fn job(attempts: u64, made: u64) -> Job {
        let mut job = Job::new(JobId::new("1").unwrap(), "n", "{}");
        job.options.attempts = attempts;
        job.attempts_made = made;
        job
    }

    fn on(job: &Job, outcome: Outcome) -> Verdict {
        decide(job, &Policy::default(), outcome, 1_000, 0.5)
    }

    fn again(reason: &str) -> Outcome {
        Outcome::Retry { reason: reason.into(), after: None }
    }

    #[test]
    fn a_failure_is_retried_while_attempts_are_left() {
        assert!(matches!(on(&job(3, 1), again("x")), Verdict::Retry { delay: Duration::ZERO, .. }));
        assert!(matches!(on(&job(3, 2), again("x")), Verdict::Fail { attempts_max: 3, .. }));
        assert!(matches!(on(&job(0, 0), again("x")), Verdict::Fail { attempts_max: 1, .. }));
    }

    #[test]
    fn backoff_and_retry_after_set_the_wait() {
        let mut j = job(5, 1);
        j.options.backoff = Some(Backoff { kind: BackoffKind::Exponential, delay: 100, jitter: None });
        let wait = |v| match v {
            Verdict::Retry { delay, .. } => delay.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(on(&j, again("x"))), 200);
        let after = Outcome::Retry { reason: "429".into(), after: Some(Duration::from_secs(7)) };
        assert_eq!(wait(on(&j, after)), 7_000);
    }

    #[test]
    fn a_backoff_we_cannot_compute_fails_for_good_and_says_so() {
        let mut j = job(5, 0);
        j.options.backoff =
            Some(Backoff { kind: BackoffKind::Custom("mine".into()), delay: 1, jitter: None });
        let Verdict::Fail { reason, .. } = on(&j, again("boom")) else { panic!() };
        assert!(reason.contains("boom") && reason.contains("\"mine\""), "{reason}");
    }

    #[test]
    fn fatal_invalid_payload_and_cancelled_are_never_retried() {
        for outcome in [
            Outcome::Fatal("f".into()),
            Outcome::Invalid("i".into()),
            Outcome::stopped(StopCause::Payload, "p"),
            Outcome::stopped(StopCause::Cancelled, "c"),
        ] {
            assert!(matches!(on(&job(9, 0), outcome.clone()), Verdict::Fail { .. }), "{outcome:?}");
        }
    }

    #[test]
    fn a_shutdown_uses_no_attempt() {
        assert_eq!(on(&job(1, 0), Outcome::stopped(StopCause::Shutdown, "s")), Verdict::Release);
    }

    #[test]
    fn every_other_stop_is_a_failed_attempt() {
        for cause in StopCause::ALL {
            let verdict = on(&job(2, 0), Outcome::stopped(cause, "why"));
            let retried = matches!(verdict, Verdict::Retry { .. });
            let no = [StopCause::Payload, StopCause::Cancelled, StopCause::Shutdown, StopCause::LockLost];
            assert_eq!(retried, !no.contains(&cause), "{cause:?}");
        }
    }

    #[test]
    fn an_empty_result_is_null_and_anything_else_must_be_json() {
        let result = |bytes: &'static [u8]| on(&job(1, 0), Outcome::Complete(Bytes::from_static(bytes)));
        assert_eq!(result(b""), Verdict::Complete { result: Bytes::from_static(b"null"), keep: Keep::All });
        assert!(matches!(result(b"{\"a\":1}"), Verdict::Complete { .. }));
        for bad in [&b"{a:1}"[..], b"1 2", b"\"\xff\"", b"NaN"] {
            assert!(matches!(result(bad), Verdict::Fail { .. }), "{bad:?}");
        }
    }

    #[test]
    fn the_jobs_own_keep_wins() {
        let mut j = job(1, 0);
        j.options.remove_on_complete = Some(Keep::None);
        let Verdict::Complete { keep, .. } = on(&j, Outcome::Complete(Bytes::new())) else { panic!() };
        assert_eq!(keep, Keep::None);
    }

    #[test]
    fn traces_are_appended_and_limited() {
        let mut j = job(5, 2);
        j.stacktrace = vec!["1".into(), "2".into()];
        j.options.stack_trace_limit = Some(2);
        let stop = Outcome::Stopped(Stopped {
            cause: StopCause::Panic,
            reason: "boom".into(),
            backtrace: vec!["f".into(), "g".into()],
        });
        let Verdict::Retry { stacktrace, reason, .. } = on(&j, stop) else { panic!() };
        assert_eq!(stacktrace, ["2", "boom\n    at f\n    at g"]);
        assert_eq!(reason, "boom");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let Verdict::Fail { reason, .. } = on(&job(1, 0), Outcome::Fatal("é".repeat(REASON_BYTES_MAX)))
        else {
            panic!()
        };
        assert!(reason.len() <= REASON_BYTES_MAX && reason.len() > REASON_BYTES_MAX - 2);
    }

    #[test]
    fn a_time_that_has_passed_is_now() {
        assert_eq!(on(&job(1, 0), Outcome::DelayUntil(999)), Verdict::Release);
        assert_eq!(on(&job(1, 0), Outcome::DelayUntil(2_000)), Verdict::DelayUntil(2_000));
    }
}
