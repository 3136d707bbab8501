//! What a worker must not do when its store goes away, hangs, answers late or half: look alive and take no jobs, run
//! what is not its own any more, write an end twice.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::fake::Waits;
use super::*;
use crate::clock::{Clock, Millis};
use crate::worker::Phase;

const SECOND: Duration = Duration::from_secs(1);

async fn ends(mut workers: Workers) -> Ended {
    workers.drain();
    timeout(LONG, workers.ended()).await.expect("the worker ends")
}

/// A job that is pushed without a hint is run within a poll and a little.
async fn takes_jobs_within(store: &Fake, id: &str, limit: Duration) {
    let (before, pushed) = (store.completed(), Instant::now());
    store.push_silently(job(id, "ok"));
    store.until(|s| s.completed() > before).await;
    assert!(pushed.elapsed() <= limit, "{:?}", pushed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn jobs_are_taken_although_every_wait_for_them_hangs_fails_or_panics() {
    for waits in [Waits::Hang, Waits::Fail, Waits::Panic] {
        let store = Fake::with([]);
        store.set_waits(waits);
        let runner = FakeRunner::new(|_, _| Step::Now(done()));
        let workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
        for id in ["1", "2", "3"] {
            tokio::time::sleep(10 * SECOND).await;
            takes_jobs_within(&store, id, 8 * SECOND).await;
        }
        // A broken wait is begun anew, at a bounded pace.
        tokio::time::sleep(60 * SECOND).await;
        let waiters = store.waiters.load(Ordering::SeqCst);
        assert!((2..400).contains(&waiters), "{waiters} in a minute and a half");
        store.set_waits(Waits::Work);
        tokio::time::sleep(30 * SECOND).await;
        let pushed = Instant::now();
        store.push(job("4", "ok"));
        store.until(|s| s.completed() == 4).await;
        assert!(pushed.elapsed() < SECOND, "hints work again: {:?}", pushed.elapsed());
        ends(workers).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_from_before_an_outage_is_not_trusted() {
    let store = Fake::with([]);
    store.set_waits(Waits::Hang);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    tokio::time::sleep(SECOND).await;
    store.set_waits(Waits::Work);
    store.go_away();
    tokio::time::sleep(10 * SECOND).await;
    store.come_back();
    tokio::time::sleep(2 * SECOND).await;
    let pushed = Instant::now();
    store.push(job("1", "ok"));
    store.until(|s| s.completed() == 1).await;
    assert!(pushed.elapsed() < SECOND, "{:?}", pushed.elapsed());
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_given_up() {
    let store = Fake::with([]);
    store.hang(true);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    tokio::time::sleep(50 * SECOND).await;
    let health = workers.pulses()[0].1.look();
    assert!(health.stuck && health.silent >= 50 * SECOND, "{health:?}");
    store.hang(false);
    takes_jobs_within(&store, "1", 20 * SECOND).await;
    assert!(!workers.pulses()[0].1.look().stuck);
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_is_started_again_and_its_locks_are_not_reused() {
    let store = Fake::with([]);
    let runner = FakeRunner::new(|job, _| match job.name.as_str() {
        "slow" => Step::UntilCancelled,
        _ => Step::Now(done()),
    });
    let workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
    store.push(job("1", "slow"));
    runner.until_running(1).await;
    let before = store.token("1");
    store.panic(3);
    runner.until_running(0).await;
    // Its lock has run out, and somebody has put it back.
    store.stall("1");
    runner.until_running(1).await;
    assert_ne!(store.token("1"), before);
    takes_jobs_within(&store, "2", 8 * SECOND).await;
    workers.give_back();
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_jobs_are_claimed_at_once_and_it_is_told_meanwhile() {
    let store = Fake::with([]);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    tokio::time::sleep(SECOND).await;
    let pulse = Arc::clone(&workers.pulses()[0].1);
    assert_eq!(pulse.look().fault, None);
    for outage in [1, 20, 300] {
        store.go_away();
        tokio::time::sleep(6 * SECOND).await;
        let fault = pulse.look().fault.unwrap_or_default();
        assert!(fault.contains("away"), "{fault}");
        tokio::time::sleep(outage * SECOND).await;
        assert_eq!(pulse.look().stuck, outage > 30);
        store.come_back();
        takes_jobs_within(&store, &outage.to_string(), SECOND).await;
        assert_eq!(pulse.look().fault, None);
    }
    ends(workers).await;
    assert_eq!(pulse.look().silent, Duration::ZERO, "nothing is expected of a worker that has ended");
}

#[tokio::test(start_paused = true)]
async fn a_full_worker_is_not_silent() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::After(300 * SECOND, done()));
    runner.set_deadline(LONG);
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    tokio::time::sleep(200 * SECOND).await;
    let health = workers.pulses()[0].1.look();
    assert_eq!((health.silent, health.stuck), (Duration::ZERO, false));
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_renewed_ends_its_attempt_when_it_runs_out() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::UntilCancelled);
    runner.set_deadline(LONG);
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    let claimed = Instant::now();
    tokio::time::sleep(11 * SECOND).await;
    // Renewed at 10 s, so it holds until 40 s.
    store.go_away();
    runner.until_running(0).await;
    let ran = claimed.elapsed();
    assert_eq!(runner.stopped_for("1"), Some(StopCause::LockLost));
    assert!(ran > 39 * SECOND && ran <= 40 * SECOND, "{ran:?}");
    store.come_back();
    ends(workers).await;
    assert!(store.verdicts("1").is_empty(), "nothing is written for a job that may be somebody else's");
}

#[tokio::test(start_paused = true)]
async fn a_result_from_an_outage_is_written_however_long_it_lasted_if_the_lock_holds() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::After(5 * SECOND, done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    store.go_away();
    // The store decides whether the lock held; this one keeps it.
    tokio::time::sleep(300 * SECOND).await;
    store.come_back();
    store.until(|s| s.completed() == 1).await;
    assert_eq!(runner.runs("1"), 1);
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_do_not_hold_up_claims_and_ends() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|job, _| match job.name.as_str() {
        "slow" => Step::UntilCancelled,
        _ => Step::Now(done()),
    });
    runner.set_deadline(LONG);
    // Renewed every 100 ms, more often than a failing store is asked.
    let short = QueueSettings { lock: Duration::from_millis(300), ..settings(4) };
    store.fail_renewals(true);
    let workers = Workers::start(&host(&store, &runner), vec![short], false);
    runner.until_running(0).await;
    for id in ["2", "3", "4"] {
        takes_jobs_within(&store, id, 8 * SECOND).await;
    }
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn one_renewal_at_a_time_is_under_way() {
    let store = Fake::with([job("1", "slow")]);
    let runner = FakeRunner::new(|_, _| Step::UntilCancelled);
    runner.set_deadline(LONG);
    let workers = Workers::start(&host(&store, &runner), vec![settings(2)], false);
    runner.until_running(1).await;
    store.slow_renewals(12 * SECOND);
    // Due at 10, 20 and 30 s; the second is sent when the first is answered, at 22 s.
    tokio::time::sleep(33 * SECOND).await;
    assert_eq!(store.renewals.load(Ordering::SeqCst), 2);
    assert_eq!(runner.stopped_for("1"), None, "each came in time");
    workers.give_back();
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_answered_after_its_locks_ran_out_runs_nothing() {
    let store = Fake::with([job("1", "ok")]);
    store.slow_down(31 * SECOND);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    // As after a long sleep of the whole machine: the job may be somebody else's by now.
    store.until(|s| s.verdicts("1") == [Verdict::Release]).await;
    assert_eq!(runner.runs("1"), 0);
    store.slow_down(Duration::ZERO);
    store.until(|s| s.completed() == 1).await;
    assert_eq!(runner.runs("1"), 1);
    ends(workers).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_answered_late_is_renewed_at_once() {
    let store = Fake::with([job("1", "slow")]);
    store.slow_down(15 * SECOND);
    let runner = FakeRunner::new(|_, _| Step::After(14 * SECOND, done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(1)], false);
    runner.until_running(1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(store.renewals.load(Ordering::SeqCst), 1);
    ends(workers).await;
    assert_eq!(store.completed(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_written_once() {
    let store = Fake::with((0..20).map(|i| job(&i.to_string(), "ok")));
    store.lose_finishes(3);
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    assert_eq!(burst(&store, &runner, 4).await, Ended::default());
    assert_eq!(store.completed(), 20);
    for id in 0..20 {
        assert_eq!((store.verdicts(&id.to_string()).len(), runner.runs(&id.to_string())), (1, 1), "job {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_yet_does_not_grow_without_bound() {
    let store = Fake::with((0..1000).map(|i| job(&i.to_string(), "ok")));
    store.fail_finishes((0..200).map(|_| StoreError::Unavailable("gone".into())));
    let runner = FakeRunner::new(|_, _| Step::Now(done()));
    let workers = Workers::start(&host(&store, &runner), vec![settings(8)], false);
    tokio::time::sleep(20 * SECOND).await;
    assert!(store.most_active() <= 16, "{} claimed with 8 slots", store.most_active());
    store.until(|s| s.completed() == 1000).await;
    ends(workers).await;
}

/// A wall clock that is set as a test likes.
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_costs_no_lock_and_no_attempt() {
    const HOUR: Millis = 3_600_000;
    for step in [HOUR, 19 * HOUR] {
        let store = Fake::with([job("1", "slow")]);
        let runner = FakeRunner::new(|job, _| match job.name.as_str() {
            "slow" => Step::After(100 * SECOND, done()),
            _ => Step::Now(done()),
        });
        runner.set_deadline(LONG);
        let clock = Arc::new(SetClock(AtomicU64::new(10 * HOUR)));
        let surroundings = Surroundings { clock: Arc::clone(&clock) as Arc<_>, ..host(&store, &runner) };
        let workers = Workers::start(&surroundings, vec![settings(2)], false);
        runner.until_running(1).await;
        clock.0.store(step, Ordering::SeqCst);
        tokio::time::sleep(95 * SECOND).await;
        assert_eq!(store.renewals.load(Ordering::SeqCst), 9, "every 10 s");
        takes_jobs_within(&store, "2", 8 * SECOND).await;
        store.until(|s| s.completed() == 2).await;
        assert_eq!(runner.runs("1"), 1);
        assert_eq!(workers.phase(), Phase::Run);
        ends(workers).await;
    }
}
