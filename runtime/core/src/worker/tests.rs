//! The worker against a scripted store and runner, in paused time.

mod cancel;
mod fake;
mod outage;
mod runner;
mod trace;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use self::fake::{Fake, host};
use self::runner::{FakeRunner, Step};
use super::{Ended, QueueSettings, Surroundings, Workers};
use crate::event::{Event, Observer};
use crate::job::Job;
use crate::names::{JobId, QueueName};
use crate::outcome::{Outcome, StopCause};
use crate::store::{Refusal, StoreError, Verdict};

const LONG: Duration = Duration::from_secs(600);

fn settings(concurrency: usize) -> QueueSettings {
    QueueSettings { concurrency, ..QueueSettings::new(QueueName::new("q").unwrap()) }
}

fn job(id: &str, name: &str) -> Job {
    Job::new(JobId::new(id).unwrap(), name, "{}")
}

fn done() -> Outcome {
    Outcome::Complete(Bytes::from_static(b"1"))
}

/// Runs a burst worker over these jobs to its end.
async fn burst(store: &Arc<Fake>, runner: &Arc<FakeRunner>, concurrency: usize) -> Ended {
    let mut workers = Workers::start(&host(store, runner), vec![settings(concurrency)], true);
    timeout(LONG, workers.ended()).await.expect("the worker ends by itself")
}

#[tokio::test(start_paused = true)]
async fn a_burst_runs_everything_and_ends() {
    let store = Fake::with((0..200).map(|i| job(&i.to_string(), "ok")));
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    assert_eq!(burst(&store, &runner, 7).await, Ended::default());
    assert_eq!(store.completed(), 200);
    assert!(store.most_active() <= 7, "{} claimed with 7 slots", store.most_active());
}

#[tokio::test(start_paused = true)]
async fn a_burst_over_several_queues_ends_when_all_are_done() {
    // The fake keeps one list for all queues: whoever claims first runs, and the other must not end meanwhile.
    let store = Fake::with([job("1", "first")]);
    let (later, runner) =
        (Arc::clone(&store), FakeRunner::new(|_, _| Step::After(Duration::from_secs(3), done())));
    let other = QueueSettings::new(QueueName::new("other").unwrap());
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1), other], true);
    runner.until_running(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    later.push(job("2", "second"));
    later.push_silently(job("3", "third"));
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended::default());
    assert_eq!((store.completed(), store.waiting()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_never_claimed_without_a_free_slot() {
    let store = Fake::with((0..50).map(|i| job(&i.to_string(), "slow")));
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_millis(30), done()));
    burst(&store, &runner, 3).await;
    assert_eq!(store.completed(), 50);
    assert_eq!(runner.most_at_once(), 3);
    assert!(store.most_active() <= 3);
}

#[tokio::test(start_paused = true)]
async fn ends_wait_out_a_store_that_is_away_and_are_written_once() {
    let store = Fake::with([job("1", "ok"), job("2", "ok")]);
    store.fail_finishes((0..5).map(|_| StoreError::Unavailable("gone".into())));
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    assert_eq!(burst(&store, &runner, 2).await, Ended::default());
    assert_eq!(store.completed(), 2);
    assert_eq!(runner.runs("1"), 1, "the attempt is not run again because its end could not be written");
}

#[tokio::test(start_paused = true)]
async fn one_end_that_cannot_be_written_does_not_take_others_with_it() {
    let store = Fake::with((0..10).map(|i| job(&i.to_string(), "ok")));
    store.poison("4");
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_millis(5), done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(10)], false);
    store.until(|s| s.completed() == 9).await;
    workers.drain();
    let ended = timeout(LONG, workers.ended()).await.unwrap();
    assert_eq!(ended.abandoned, 1);
}

/// Remembers the ends that were not written.
#[derive(Default)]
struct Refusals(std::sync::Mutex<Vec<(String, Refusal)>>);

impl Observer for Refusals {
    fn on(&self, event: &Event) {
        if let Event::Refused { id, refusal, .. } = event {
            self.0.lock().unwrap().push((id.to_string(), *refusal));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_written_is_told() {
    let store = Fake::with((0..3).map(|i| job(&i.to_string(), "ok")));
    store.poison("1");
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let told = Arc::new(Refusals::default());
    let surroundings = Surroundings { observer: Arc::clone(&told) as Arc<_>, ..host(&store, &runner) };
    let mut workers = Workers::start(&surroundings, vec![settings(3)], false);
    store.until(|s| s.completed() == 2).await;
    workers.drain();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap().abandoned, 1);
    assert_eq!(*told.0.lock().unwrap(), [("1".to_owned(), Refusal::Unwritable)]);
}

#[tokio::test(start_paused = true)]
async fn large_ends_go_out_in_calls_of_bounded_size() {
    const MIB: usize = 1024 * 1024;
    let store = Fake::with((0..40).map(|i| job(&i.to_string(), "large")));
    let large = Bytes::from(vec![b'1'; MIB]);
    let runner =
        FakeRunner::new(move |_, _| Step::After(Duration::from_millis(5), Outcome::Complete(large.clone())));
    assert_eq!(burst(&store, &runner, 40).await, Ended::default());
    let sizes = store.finish_sizes();
    assert_eq!((store.completed(), sizes.iter().sum::<usize>()), (40, 40 * MIB));
    assert!(sizes.iter().all(|size| *size <= super::batch::BYTES_MAX), "{sizes:?}");
    assert!(sizes.len() <= 15, "still in batches: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_cancels_the_attempt_and_drops_its_result() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::UntilCancelled);
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    store.steal("1");
    runner.until_running(0).await;
    assert_eq!(runner.stopped_for("1"), Some(StopCause::LockLost));
    workers.drain();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended::default());
    assert!(store.verdicts("1").is_empty(), "nothing is written for a job that somebody else has");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_back_while_its_old_attempt_runs_is_run_once_at_a_time() {
    let store = Fake::with([job("1", "slow")]);
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let runner = FakeRunner::new(move |_, _| match runs.fetch_add(1, Ordering::SeqCst) {
        0 => Step::UntilCancelled,
        _ => Step::After(Duration::from_secs(60), done()),
    });
    runner.set_deadline(LONG);
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
    runner.until_running(1).await;
    store.stall("1");
    // The new attempt outlives several renewals: what is lost is the old lock, not the new one.
    store.until(|s| s.completed() == 1).await;
    assert_eq!(runner.stopped_for("1"), Some(StopCause::LockLost));
    assert_eq!(runner.runs("1"), 2);
    workers.drain();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended::default());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_failed_is_made_up_as_soon_as_the_store_is_back() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_secs(25), done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    // Away for the renewal at 10 s; the next one would be at 20 s.
    tokio::time::sleep(Duration::from_secs(9)).await;
    store.go_away();
    tokio::time::sleep(Duration::from_secs(3)).await;
    store.come_back();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.renewals.load(Ordering::SeqCst), 1);
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
    assert_eq!(store.completed(), 1);
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_mended_in_time_cost_no_result() {
    let store = Fake::with([job("1", "ok")]);
    store.fail_finishes((0..5).map(|_| StoreError::Denied("NOPERM".into())));
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    assert_eq!(burst(&store, &runner, 1).await, Ended::default());
    assert_eq!((store.completed(), runner.runs("1")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_comes_while_draining_is_passed_on() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_secs(20), done()));
    let settings = QueueSettings { poll: Duration::from_secs(60), ..settings(2) };
    let mut workers = Workers::start(&host(&store, &runner), vec![settings], false);
    runner.until_running(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    workers.drain();
    store.push(job("2", "slow"));
    store.until(|s| s.wakes.load(Ordering::SeqCst) == 1).await;
    timeout(LONG, workers.ended()).await.unwrap();
    assert_eq!((store.completed(), store.waiting()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_around_an_attempt_fails_that_attempt_and_frees_its_slot() {
    let store = Fake::with([job("1", "unroutable"), job("2", "ok")]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    burst(&store, &runner, 1).await;
    assert_eq!(store.completed(), 1);
    assert!(
        matches!(&store.verdicts("1")[..], [Verdict::Fail { reason, .. }] if reason.contains("panicked"))
    );
}

#[tokio::test(start_paused = true)]
async fn locks_are_renewed_while_an_attempt_goes_on() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_secs(95), done()));
    let runner_deadline = Duration::from_secs(200);
    runner.set_deadline(runner_deadline);
    burst(&store, &runner, 1).await;
    assert_eq!(store.completed(), 1);
    // Every 10 s of 95.
    assert_eq!(store.renewals.load(Ordering::SeqCst), 9);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_what_runs_end_and_claims_nothing_more() {
    let store = Fake::with((0..5).map(|i| job(&i.to_string(), "slow")));
    let runner = FakeRunner::new(|_, _| Step::After(Duration::from_secs(3), done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
    runner.until_running(2).await;
    workers.drain();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended::default());
    assert_eq!(store.completed(), 2);
    assert_eq!(store.waiting(), 3);
}

#[tokio::test(start_paused = true)]
async fn giving_back_uses_no_attempt() {
    let store = Fake::with((0..3).map(|i| job(&i.to_string(), "slow")));
    let runner = FakeRunner::new(|_, _| Step::UntilCancelled);
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
    runner.until_running(2).await;
    workers.give_back();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended { given_back: 2, abandoned: 0 });
    assert_eq!(store.waiting(), 3);
    assert_eq!(store.verdicts("0"), [Verdict::Release]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ignores_its_cancellation_is_dropped() {
    let store = Fake::with([job("1", "stubborn")]);
    let runner = FakeRunner::new(|_, _| Step::Never);
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    workers.give_back();
    assert_eq!(timeout(LONG, workers.ended()).await.unwrap(), Ended { given_back: 1, abandoned: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ignores_its_deadline_is_dropped_and_fails() {
    let store = Fake::with([job("1", "stubborn")]);
    let runner = FakeRunner::new(|_, _| Step::Never);
    burst(&store, &runner, 1).await;
    let [Verdict::Fail { reason, .. }] = &store.verdicts("1")[..] else {
        panic!("{:?}", store.verdicts("1"))
    };
    assert!(reason.contains("deadline of 30000 ms"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_jobs_own_timeout_shortens_the_deadline() {
    let mut short = job("1", "stubborn");
    short.options.timeout = Some(400);
    let store = Fake::with([short]);
    let runner = FakeRunner::new(|_, _| Step::Never);
    burst(&store, &runner, 1).await;
    let [Verdict::Fail { reason, .. }] = &store.verdicts("1")[..] else { panic!() };
    assert!(reason.contains("deadline of 400 ms"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_runner_fails_one_attempt_only() {
    let store = Fake::with([job("1", "bad"), job("2", "ok")]);
    let runner = FakeRunner::new(|job, _| if job.name == "bad" { Step::Panic } else { Step::Now(done()) });
    burst(&store, &runner, 2).await;
    assert_eq!(store.completed(), 1);
    assert!(
        matches!(&store.verdicts("1")[..], [Verdict::Fail { reason, .. }] if reason.contains("panicked"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_deferred_failure_is_written_without_running() {
    let mut stalled = job("1", "ok");
    stalled.deferred_failure = Some("job stalled more than allowable limit".into());
    let store = Fake::with([stalled]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    burst(&store, &runner, 1).await;
    assert_eq!(runner.runs("1"), 0);
    assert!(
        matches!(&store.verdicts("1")[..], [Verdict::Fail { reason, .. }] if reason.contains("stalled more"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_nobody_takes_fails_with_the_routers_words() {
    let store = Fake::with([job("1", "unrouted")]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    burst(&store, &runner, 1).await;
    assert!(
        matches!(&store.verdicts("1")[..], [Verdict::Fail { reason, .. }] if reason == "nobody takes \"unrouted\"")
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_children_that_are_not_there_is_not_a_busy_loop() {
    let store = Fake::with([job("1", "parent")]);
    store.refuse("1", Refusal::NothingToWaitFor);
    let runner = FakeRunner::new(|_, _| Step::Now(Outcome::WaitForChildren));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    store.until(|s| s.verdicts("1").iter().any(|v| matches!(v, Verdict::Fail { .. }))).await;
    assert!(runner.runs("1") <= 4, "{} runs", runner.runs("1"));
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_children_were_faster_is_started_again() {
    let store = Fake::with([job("1", "parent")]);
    store.refuse("1", Refusal::NothingToWaitFor);
    // As handlers do it: children are added on the first start, their results read on a later one.
    let first = std::sync::OnceLock::new();
    let runner = FakeRunner::new(move |_, attempt| {
        let starts = attempt.job.attempts_started;
        Step::Now(if starts > *first.get_or_init(|| starts) { done() } else { Outcome::WaitForChildren })
    });
    burst(&store, &runner, 1).await;
    assert!(matches!(&store.verdicts("1")[..], [.., Verdict::Complete { .. }]), "{:?}", store.verdicts("1"));
    assert_eq!(runner.runs("1"), 2);
}

#[tokio::test(start_paused = true)]
async fn progress_and_logs_are_written_while_an_attempt_goes_on() {
    let store = Fake::with([job("1", "chatty")]);
    let runner = FakeRunner::new(|_, attempt| {
        attempt.io.log("hello");
        attempt.io.progress(Bytes::from_static(b"50"));
        Step::After(Duration::from_secs(5), done())
    });
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], true);
    store.until(|s| s.logged("1") == ["hello"]).await;
    assert_eq!(store.completed(), 0, "written before the end");
    timeout(LONG, workers.ended()).await.unwrap();
    assert_eq!(store.logged("1"), ["hello"], "and not again at the end");
}

#[tokio::test(start_paused = true)]
async fn quiet_stops_claiming_until_unquiet() {
    let store = Fake::with([]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    workers.quiet();
    store.push(job("1", "ok"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.waiting(), 1);
    workers.unquiet();
    store.until(|s| s.completed() == 1).await;
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_delays_a_job_by_a_poll_at_most() {
    let store = Fake::with([]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let pushed = tokio::time::Instant::now();
    store.push_silently(job("1", "ok"));
    store.until(|s| s.completed() == 1).await;
    assert!(pushed.elapsed() <= Duration::from_secs(6), "{:?}", pushed.elapsed());
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_not_asked_in_a_tight_loop() {
    let store = Fake::with([]);
    store.go_away();
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(4)], false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = store.calls.load(Ordering::SeqCst);
    assert!((60..300).contains(&calls), "{calls} calls in a minute");
    store.come_back();
    let back = tokio::time::Instant::now();
    store.push(job("1", "ok"));
    store.until(|s| s.completed() == 1).await;
    assert!(back.elapsed() <= Duration::from_secs(2), "{:?}", back.elapsed());
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_finds_no_free_slot_is_passed_on() {
    let store = Fake::with([]);
    let runner = FakeRunner::new(|job, _| {
        Step::After(Duration::from_secs(if job.name == "short" { 5 } else { 20 }), done())
    });
    let settings = QueueSettings { poll: Duration::from_secs(60), ..settings(2) };
    let mut workers = Workers::start(&host(&store, &runner), vec![settings], false);
    store.push(job("1", "short"));
    runner.until_running(1).await;
    // The watch waits for the second slot when the end of the first job fills both.
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.push_silently(job("2", "long"));
    store.push_silently(job("3", "long"));
    runner.until_running(2).await;
    store.push(job("4", "long"));
    store.until(|s| s.wakes.load(Ordering::SeqCst) == 1).await;
    store.until(|s| s.completed() == 4).await;
    assert_eq!(store.wakes.load(Ordering::SeqCst), 1, "once, not to and fro");
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_workers_ends_them() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::UntilCancelled);
    runner.set_deadline(2 * LONG);
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    drop(workers);
    runner.until_running(0).await;
}
