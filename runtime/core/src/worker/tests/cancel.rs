//! Jobs that somebody wants to end while they run, and jobs whose attempts break in the same way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::fake::{Fake, host};
use super::runner::{FakeRunner, Step};
use super::{LONG, done, job, settings};
use crate::outcome::{Outcome, StopCause, Stopped};
use crate::store::{CANCELLED, Verdict};
use crate::worker::{QueueSettings, Workers};

/// Starts a worker, waits until job 1 runs, and asks for its end.
async fn cancelled(
    step: impl Fn() -> Step + Send + Sync + 'static,
    settings: QueueSettings,
) -> (Arc<Fake>, Workers) {
    let store = Fake::with([job("1", "long")]);
    let runner = FakeRunner::new(move |_, _| step());
    runner.set_deadline(2 * LONG);
    let workers = Workers::start(&host(&store, &runner), vec![settings], false);
    runner.until_running(1).await;
    store.cancel("1");
    (store, workers)
}

async fn ended(store: &Fake) -> Verdict {
    store.until(|s| !s.verdicts("1").is_empty()).await;
    store.verdicts("1").remove(0)
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Fail { reason, .. } => reason,
        other => panic!("it was to fail for good: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_looks_ends_by_itself_and_its_job_fails_for_good() {
    let again = || Outcome::Retry { reason: "tidied up".into(), after: None };
    let start = Instant::now();
    let (store, mut workers) = cancelled(move || Step::UntilAsked(again()), settings(1)).await;
    let verdict = ended(&store).await;
    assert!(reason(&verdict).starts_with(CANCELLED) && reason(&verdict).contains("tidied up"), "{verdict:?}");
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_result_counts_all_the_same() {
    let (store, mut workers) = cancelled(|| Step::UntilAsked(done()), settings(1)).await;
    assert!(matches!(ended(&store).await, Verdict::Complete { .. }));
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_look_is_ended_after_the_grace() {
    for (grace, step) in [(0, false), (3, false), (3, true)] {
        let settings = QueueSettings { cancel_grace: Duration::from_secs(grace), ..settings(1) };
        let start = Instant::now();
        let step = move || if step { Step::Never } else { Step::UntilCancelled };
        let (store, mut workers) = cancelled(step, settings).await;
        let verdict = ended(&store).await;
        assert!(reason(&verdict).starts_with(CANCELLED), "{verdict:?}");
        let took = start.elapsed();
        // A second until it is seen, the grace, and a second for a runner that does not even end then.
        let bound = Duration::from_secs(grace + 1)..Duration::from_secs(grace + 3);
        assert!(bound.contains(&took), "{grace}: {took:?}");
        workers.drain();
        timeout(LONG, workers.ended()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_give_a_cancelled_job_back() {
    let settings = QueueSettings { cancel_grace: LONG, ..settings(1) };
    let (store, mut workers) = cancelled(|| Step::UntilCancelled, settings).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    workers.give_back();
    let ended = timeout(LONG, workers.ended()).await.unwrap();
    assert_eq!(ended.given_back, 0);
    assert_eq!(reason(&store.verdicts("1")[0]), CANCELLED);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_delays_it_and_nothing_else() {
    let (store, mut workers) = cancelled(|| Step::UntilCancelled, settings(1)).await;
    store.go_away();
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.come_back();
    assert!(reason(&ended(&store).await).starts_with(CANCELLED));
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_while_nothing_runs_and_once_a_second_otherwise() {
    let store = Fake::with((0..500).map(|i| job(&i.to_string(), "short")));
    let runner = FakeRunner::new(|job, _| match job.name.as_str() {
        "long" => Step::After(Duration::from_millis(10_500), done()),
        _ => Step::After(Duration::from_millis(1), done()),
    });
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(4)], false);
    store.until(|s| s.completed() == 500).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for n in 0..20 {
        store.push(job(&format!("s{n}"), "short"));
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(store.looks.load(Ordering::SeqCst), 0, "short jobs cost no call");
    store.push(job("l", "long"));
    store.until(|s| s.completed() == 521).await;
    assert_eq!(store.looks.load(Ordering::SeqCst), 10);
    workers.drain();
    timeout(LONG, workers.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn receipts_are_written_with_ends_that_use_an_attempt() {
    let (store, runner) = (Fake::with([]), FakeRunner::new(|_, _| Step::Now(done())));
    for (id, receipts) in [("1", 5), ("2", 0)] {
        let mut settings = settings(1);
        settings.policy.receipts = receipts;
        store.push(job(id, "once"));
        let mut workers = Workers::start(&host(&store, &runner), vec![settings], true);
        timeout(LONG, workers.ended()).await.unwrap();
    }
    let (with, without) = (store.receipts("1"), store.receipts("2"));
    let says = |receipt: &str| {
        receipt.starts_with(r#"{"attempt":1,"#)
            && receipt.contains(r#""handler":"fake","version":"0","digest":"sha256:0""#)
    };
    assert!(matches!(&with[..], [Some(receipt)] if says(receipt)), "{with:?}");
    assert_eq!(without, [None]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_tried_again_says_which_version_ran_it() {
    let mut twice = job("1", "twice");
    twice.options.attempts = 2;
    let store = Fake::with([twice]);
    let runner = FakeRunner::new(|job, _| match job.pinned.as_deref() {
        None => Step::Now(Outcome::Retry { reason: "again".to_owned(), after: None }),
        Some(digest) => Step::Now(Outcome::Complete(format!("{digest:?}").into())),
    });
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], true);
    timeout(LONG, workers.ended()).await.unwrap();
    let verdicts = store.verdicts("1");
    let told =
        |verdict: &Verdict| matches!(verdict, Verdict::Complete { result, .. } if result == r#""sha256:0""#);
    assert!(matches!(&verdicts[..], [Verdict::Retry { .. }, last] if told(last)), "{verdicts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_way_an_attempt_broke_goes_with_its_end() {
    let mut poison = job("1", "poison");
    poison.options.attempts = 9;
    poison.crashes = Some("2 panic in m!f".parse().unwrap());
    let store = Fake::with([poison]);
    let runner = FakeRunner::new(|_, _| {
        let (reason, backtrace) = ("boom".to_owned(), vec!["m!f".to_owned()]);
        Step::Now(Outcome::Stopped(Stopped { cause: StopCause::Panic, reason, backtrace }))
    });
    let mut workers = Workers::start(&host(&store, &runner), vec![settings(1)], true);
    timeout(LONG, workers.ended()).await.unwrap();
    let verdicts = store.verdicts("1");
    assert!(
        matches!(&verdicts[..], [Verdict::Fail { reason, .. }] if reason.contains("3 times in a row")),
        "{verdicts:?}"
    );
}
