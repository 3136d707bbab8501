//! The decision from what an attempt said to what is written: pure, and the only place where it is taken.

mod outside;

use std::time::Duration;

use bytes::Bytes;

use crate::backoff;
use crate::clock::Millis;
use crate::crash::Crashes;
use crate::job::Job;
use crate::options::Keep;
use crate::outcome::{Outcome, StopCause, Stopped};
use crate::store::{CrashNote, Verdict};

pub use outside::{STALLED_TOO_OFTEN, cancelled, deferred};

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
    /// So many attempts in a row that break in the same way are the last, whatever the job's own number; 0 is no bound.
    /// Default 3: two may be bad luck, and every further one costs a cell for nothing.
    pub poison: u64,
    /// Receipts of its last attempts that a job keeps, at most [`RECEIPTS_MAX`](crate::store::RECEIPTS_MAX); 0 is none.
    /// Default 5.
    pub receipts: u64,
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
        Self {
            keep_completed: Keep::All,
            keep_failed: Keep::All,
            result: ResultForm::Json,
            poison: 3,
            receipts: 5,
        }
    }
}

/// What becomes of `job` after this outcome. `entropy`, from 0 up to 1, feeds the backoff's jitter.
#[must_use]
pub fn decide(job: &Job, policy: &Policy, outcome: Outcome, now: Millis, entropy: f64) -> Verdict {
    let crashes = Crashes::after(job.crashes.as_ref(), &outcome);
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
            | StopCause::Cpu
            | StopCause::Memory
            | StopCause::Stack
            | StopCause::Panic
            | StopCause::Trap
            | StopCause::Abi
            | StopCause::HostCall
            | StopCause::Resources
            | StopCause::Result
            | StopCause::Host => match crashes.filter(|crashes| is_poison(job, policy, crashes)) {
                Some(crashes) => fail(job, policy, &poisoned(&reason, &crashes), &backtrace),
                None => retry(job, policy, &reason, &backtrace, None, entropy),
            },
        },
    }
}

/// What becomes of the count of equal crashes with an attempt that said `outcome` and is judged so.
#[must_use]
pub fn note_crashes(job: &Job, outcome: &Outcome, verdict: &Verdict) -> CrashNote {
    match (verdict, Crashes::after(job.crashes.as_ref(), outcome)) {
        (Verdict::Retry { .. }, Some(crashes)) => CrashNote::Set(crashes),
        // What ended otherwise in between breaks the row.
        (Verdict::Retry { .. } | Verdict::Complete { .. } | Verdict::Fail { .. }, _)
            if job.crashes.is_some() =>
        {
            CrashNote::Forget
        }
        _ => CrashNote::Leave,
    }
}

/// Whether the job would be tried again and must not. Without attempts left its end has a reason already.
fn is_poison(job: &Job, policy: &Policy, crashes: &Crashes) -> bool {
    policy.poison > 0 && crashes.count >= policy.poison && job.has_attempts_left()
}

fn poisoned(reason: &str, Crashes { count, way }: &Crashes) -> String {
    let times =
        if *count == 1 { "once".to_owned() } else { format!("{count} times in a row in the same way") };
    let left = "it is not tried again although attempts are left; mend the handler or the payload, then retry the job";
    // The reason may be long, and what is added must not be what is cut.
    format!("{}; the handler broke {times}: {way}; {left}", cut(reason, REASON_BYTES_MAX / 2))
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
    cut(reason, REASON_BYTES_MAX).to_owned()
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
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

    fn crashed(frame: &str) -> Outcome {
        let backtrace = vec![frame.to_owned()];
        Outcome::Stopped(Stopped { cause: StopCause::Panic, reason: "boom".into(), backtrace })
    }

    #[test]
    fn the_third_equal_crash_in_a_row_is_the_last() {
        let mut j = job(9, 0);
        for count in 1..=2 {
            let outcome = crashed("m!f");
            let verdict = on(&j, outcome.clone());
            assert!(matches!(verdict, Verdict::Retry { .. }), "{count}: {verdict:?}");
            let CrashNote::Set(crashes) = note_crashes(&j, &outcome, &verdict) else { panic!("{count}") };
            assert_eq!(crashes.count, count);
            j.crashes = Some(crashes);
        }
        let verdict = on(&j, crashed("m!f"));
        let Verdict::Fail { reason, .. } = &verdict else { panic!("{verdict:?}") };
        for part in ["boom", "3 times in a row", "panic in m!f"] {
            assert!(reason.contains(part), "{part:?} in {reason}");
        }
        assert_eq!(note_crashes(&j, &crashed("m!f"), &verdict), CrashNote::Forget);
        // Another place, or a bound of none, or more.
        assert!(matches!(on(&j, crashed("m!g")), Verdict::Retry { .. }));
        for poison in [0, 4] {
            let policy = Policy { poison, ..Policy::default() };
            let verdict = decide(&j, &policy, crashed("m!f"), 1_000, 0.5);
            assert!(matches!(verdict, Verdict::Retry { .. }), "{poison}");
        }
    }

    #[test]
    fn what_ends_otherwise_breaks_the_row_and_a_give_back_does_not() {
        let mut j = job(9, 0);
        j.crashes = Some("2 panic in m!f".parse().unwrap());
        for outcome in [again("x"), Outcome::Complete(Bytes::new()), Outcome::Fatal("f".into())] {
            let verdict = on(&j, outcome.clone());
            assert_eq!(note_crashes(&j, &outcome, &verdict), CrashNote::Forget, "{outcome:?}");
        }
        for outcome in
            [Outcome::Requeue, Outcome::DelayUntil(9_999), Outcome::stopped(StopCause::Shutdown, "s")]
        {
            let verdict = on(&j, outcome.clone());
            assert_eq!(note_crashes(&j, &outcome, &verdict), CrashNote::Leave, "{outcome:?}");
        }
        j.crashes = None;
        let verdict = on(&j, again("x"));
        assert_eq!(
            note_crashes(&j, &again("x"), &verdict),
            CrashNote::Leave,
            "nothing to write for most jobs"
        );
    }

    #[test]
    fn attempts_that_run_out_have_their_own_reason() {
        let mut j = job(3, 2);
        j.crashes = Some("2 panic in m!f".parse().unwrap());
        let Verdict::Fail { reason, .. } = on(&j, crashed("m!f")) else { panic!() };
        assert_eq!(reason, "boom");
    }

    #[test]
    fn a_time_that_has_passed_is_now() {
        assert_eq!(on(&job(1, 0), Outcome::DelayUntil(999)), Verdict::Release);
        assert_eq!(on(&job(1, 0), Outcome::DelayUntil(2_000)), Verdict::DelayUntil(2_000));
    }
}
