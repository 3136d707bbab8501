//! Runs one attempt, as a task of the cells' runtime, from claimed job to what is to be written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Scene, Surroundings};
use crate::attempt::{Attempt, AttemptIo, Recorded};
use crate::clock::Millis;
use crate::decide::{cancelled, decide, deferred, fail, note_crashes};
use crate::event::Event;
use crate::job::Job;
use crate::names::JobId;
use crate::options::Keep;
use crate::outcome::{Outcome, StopCause};
use crate::runner::{Receipt, Report, Route, Runner};
use crate::store::{
    AttemptReceipt, CANCELLED, Claimed, Finish, RECEIPTS_MAX, ReceiptNote, StoreError, Verdict,
};
use crate::trace::{Begins, Note};

/// What a runner gets on top of its deadline to end by itself, with a proper report.
const BACKSTOP: Duration = Duration::from_millis(250);
/// How long a cancelled attempt may take to end before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// Runs the attempt and returns how it ended.
pub(super) async fn run(
    scene: &Scene,
    claimed: Claimed,
    cancel: CancellationToken,
    io: Arc<AttemptIo>,
) -> Finish {
    let Scene { surroundings, settings } = scene;
    let Claimed { id, token, job } = claimed;
    let job = match job {
        Ok(job) => job,
        Err(malformed) => {
            let bare = Job::new(id.clone(), "", "");
            let verdict = fail(&bare, &settings.policy, &malformed.to_string(), &[]);
            return Finish::new(id, token, verdict);
        }
    };
    let keep_logs = job.options.keep_logs;
    if let Some(reason) = &job.deferred_failure {
        return Finish::new(id, token, deferred(&job, &settings.policy, reason));
    }
    let now = surroundings.clock.now();
    let run = AssertUnwindSafe(route_and_run(scene, &id, &job, now, cancel, &io)).catch_unwind();
    // Without an end the job would be renewed and keep its slot for ever.
    let (outcome, ran) = run.await.unwrap_or_else(|_| {
        let reason = "the host panicked around this attempt; its log has the message";
        (Outcome::stopped(StopCause::Host, reason), None)
    });
    let digest = ran.as_ref().and_then(|ran| ran.digest.clone());
    let now = surroundings.clock.now();
    let verdict = decide(&job, &settings.policy, outcome.clone(), now, (surroundings.entropy)());
    let crashes = note_crashes(&job, &outcome, &verdict);
    let receipt =
        ran.filter(|_| has_receipt(&verdict)).and_then(|ran| note(ran, settings.policy.receipts, now));
    Finish { recorded: io.take(), keep_logs, receipt, crashes, digest, ..Finish::new(id, token, verdict) }
}

/// A run that came to its end.
struct Ran {
    /// [`Event::Ended`].
    ended: Event,
    /// Of the version that ran it.
    digest: Option<String>,
}

/// Whether the attempt is used up and the job stays.
fn has_receipt(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Complete { keep, .. } | Verdict::Fail { keep, .. } => *keep != Keep::None,
        Verdict::Retry { .. } => true,
        Verdict::DelayUntil(_) | Verdict::Release | Verdict::RateLimit(_) | Verdict::WaitForChildren => false,
    }
}

/// What an attempt cost, to be stored.
fn note(Ran { ended, digest }: Ran, keep: u64, at: Millis) -> Option<ReceiptNote> {
    let Event::Ended { handler, version, outcome, attempt, receipt, .. } = ended else { return None };
    let keep = keep.min(RECEIPTS_MAX);
    let outcome = outcome.to_owned();
    let receipt = AttemptReceipt { attempt, at, handler, version, digest, outcome, receipt };
    (keep > 0).then(|| ReceiptNote { json: receipt.to_json(), keep })
}

async fn route_and_run(
    scene: &Scene,
    id: &JobId,
    job: &Arc<Job>,
    now: Millis,
    cancel: CancellationToken,
    io: &Arc<AttemptIo>,
) -> (Outcome, Option<Ran>) {
    let Scene { surroundings, settings } = scene;
    let (queue, observer) = (&settings.queue, &surroundings.observer);
    if job.attempts_started <= 1 {
        let due = job.timestamp.saturating_add(job.options.delay);
        observer.on(&Event::Started {
            queue: queue.clone(),
            waited: Duration::from_millis(now.saturating_sub(due)),
        });
    }
    let trace = observer.follow(&Begins { queue, job, now });
    if let Some(trace) = &trace {
        io.follow_with(Arc::clone(trace));
    }
    let mut digest = None;
    let (handler, version, mut report) = match surroundings.router.route(queue, job) {
        Route::To(runner) => {
            io.note(Note::Runs(runner.handler(), runner.version()));
            io.limit(runner.log_limits());
            digest = runner.digest().map(str::to_owned);
            let deadline = job
                .options
                .timeout
                .map_or(runner.deadline(), |ms| runner.deadline().min(Duration::from_millis(ms)));
            let attempt = Attempt {
                queue: queue.clone(),
                job: Arc::clone(job),
                deadline: Instant::now() + deadline,
                deadline_at: now + u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX / 2),
                cancel,
                io: Arc::clone(io),
            };
            let report = supervise(scene, &*runner, attempt, deadline).await;
            (runner.handler().to_owned(), runner.version().to_owned(), report)
        }
        Route::Nobody(text) => unrouted(Outcome::Invalid(text)),
        Route::Later(after) => {
            unrouted(Outcome::DelayUntil(now + u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 2)))
        }
    };
    if io.is_asked() {
        report.outcome = cancelled(report.outcome);
    }
    // A runner that gives a broken attempt's job back says what broke it in the receipt.
    let stop = report.outcome.stopped_by().or(report.receipt.stopped_by);
    report.receipt.stopped_by = stop;
    let ended = Event::Ended {
        queue: queue.clone(),
        id: id.clone(),
        handler,
        version,
        outcome: report.outcome.label(),
        stop,
        attempt: job.attempt(),
        receipt: report.receipt,
        trace: trace.as_ref().map(|trace| trace.id()),
    };
    observer.on(&ended);
    if let Some(trace) = trace {
        trace.ended(&ended);
    }
    (report.outcome, Some(Ran { ended, digest }))
}

fn unrouted(outcome: Outcome) -> (String, String, Report) {
    ("-".to_owned(), "-".to_owned(), Report { outcome, receipt: Receipt::default() })
}

/// Runs the runner within the deadline whatever it does, and writes what the attempt says meanwhile.
async fn supervise(scene: &Scene, runner: &dyn Runner, attempt: Attempt, allowed: Duration) -> Report {
    let Scene { surroundings, settings } = scene;
    let (queue, id) = (attempt.queue.clone(), attempt.job.id.clone());
    let (io, cancel) = (Arc::clone(&attempt.io), attempt.cancel.clone());
    let keep_logs = attempt.job.options.keep_logs;
    let overdue = attempt.deadline + BACKSTOP;
    let write = async |recorded: Recorded| {
        if let Err(error) = write(surroundings, &queue, &id, &recorded, keep_logs).await {
            tracing::debug!(%queue, job = %id, %error, "progress and logs could not be written yet");
            io.put_back(recorded);
        }
    };
    let run = AssertUnwindSafe(runner.run(attempt)).catch_unwind();
    let bound = bound(&io, &cancel, settings.cancel_grace, overdue, allowed);
    tokio::pin!(run, bound);
    loop {
        tokio::select! {
            biased;
            report = &mut run => return report.unwrap_or_else(|_| panicked(runner)),
            outcome = &mut bound => return dropped(outcome),
            () = io.changed() => {}
        }
        // Something was said: let more of it come together before it is written.
        tokio::select! {
            biased;
            report = &mut run => return report.unwrap_or_else(|_| panicked(runner)),
            outcome = &mut bound => return dropped(outcome),
            () = sleep(io.write_every()) => {}
        }
        let writing = write(io.take());
        tokio::pin!(writing);
        let ended = tokio::select! {
            biased;
            report = &mut run => report.unwrap_or_else(|_| panicked(runner)),
            outcome = &mut bound => dropped(outcome),
            () = &mut writing => continue,
        };
        // A write that has begun is waited for, else its lines could come after the end, or twice.
        let _ = timeout(CANCEL_GRACE, writing).await;
        return ended;
    }
}

/// Ends when the attempt must not be waited for any longer.
async fn bound(
    io: &AttemptIo,
    cancel: &CancellationToken,
    grace: Duration,
    overdue: Instant,
    allowed: Duration,
) -> Outcome {
    let asked = async {
        io.asked().await;
        sleep(grace).await;
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = asked => {
            io.stop(StopCause::Cancelled);
            cancel.cancel();
        }
        () = sleep_until(overdue) => {
            io.stop(StopCause::Deadline);
            cancel.cancel();
        }
    }
    sleep(CANCEL_GRACE).await;
    let cause = io.stop_cause().unwrap_or(StopCause::Cancelled);
    let reason = match cause {
        StopCause::Deadline => {
            format!("the attempt went on after its deadline of {} ms and was dropped", allowed.as_millis())
        }
        StopCause::Cancelled => format!("{CANCELLED}; its attempt went on all the same and was dropped"),
        cause => format!("the attempt went on after it was cancelled ({}) and was dropped", cause.as_str()),
    };
    Outcome::stopped(cause, reason)
}

fn dropped(outcome: Outcome) -> Report {
    Report { outcome, receipt: Receipt::default() }
}

fn panicked(runner: &dyn Runner) -> Report {
    let reason =
        format!("the runner of handler {:?} panicked; the host's log has the message", runner.handler());
    dropped(Outcome::stopped(StopCause::Host, reason))
}

async fn write(
    surroundings: &Surroundings,
    queue: &crate::QueueName,
    id: &JobId,
    recorded: &Recorded,
    keep_logs: Option<u64>,
) -> Result<(), StoreError> {
    let store = &surroundings.store;
    let Recorded { logs, progress, data } = recorded;
    if let Some(progress) = progress {
        store.set_progress(queue, id, progress.clone()).await?;
    }
    if let Some(data) = data {
        store.update_data(queue, id, data.clone()).await?;
    }
    if !logs.is_empty() {
        store.append_logs(queue, id, logs, keep_logs).await?;
    }
    Ok(())
}
