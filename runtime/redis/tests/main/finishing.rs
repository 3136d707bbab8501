//! Each verdict, and each refusal.

use std::time::Duration;

use jobcell_core::options::KeepLimits;
use jobcell_core::store::{Refusal, SeriesPoints, Verdict};
use jobcell_core::{JobOptions, JobState, Keep, Recorded, Store};
use jobcell_redis::{BullStore, Redis, StoreOptions};

use crate::server::{Bench, NOW, claim, complete, fail, finish, id, ids, job, plain};

#[tokio::test]
async fn a_completed_job_is_what_getters_expect() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n")]).await;
    let (job, token, _) = b.take().await;
    let _: i64 = b.raw.run(&["SADD", "bull:q:stalled", "1"]).await;
    b.raw.forget_events("q").await;
    assert_eq!(b.finish(&job, &token, complete(r#"{"ok":true}"#)).await.finished, [Ok(())]);
    let hash = b.raw.hash("bull:q:1").await;
    assert_eq!(
        (&hash["returnvalue"][..], &hash["finishedOn"][..], &hash["atm"][..]),
        (r#"{"ok":true}"#, "1700000000005", "1")
    );
    assert_eq!(b.raw.zset("bull:q:completed").await, [("1".to_owned(), (NOW + 5) as f64)]);
    assert_eq!(
        b.raw.events("q").await,
        [r#"event completed jobId 1 returnvalue {"ok":true} prev active"#, "event drained"]
    );
    assert_eq!(
        b.raw.keys().await,
        ["bull:q:1", "bull:q:completed", "bull:q:events", "bull:q:id", "bull:q:marker", "bull:q:meta"]
    );
    assert_eq!(b.store.state(&b.q, &job).await.unwrap(), Some(JobState::Completed));
}

#[tokio::test]
async fn an_empty_result_is_null() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n")]).await;
    let (job, token, _) = b.take().await;
    b.finish(&job, &token, complete("")).await;
    assert_eq!(b.raw.hash("bull:q:1").await["returnvalue"], "null");
}

#[tokio::test]
async fn a_failed_job_tells_why_and_that_its_attempts_are_used_up() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n"), plain("n")]).await;
    let (job, token, _) = b.take().await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:1", "defa", "x"]).await;
    b.raw.forget_events("q").await;
    b.finish(&job, &token, fail("boom")).await;
    let hash = b.raw.hash("bull:q:1").await;
    assert_eq!(
        (&hash["failedReason"][..], &hash["stacktrace"][..], &hash["atm"][..]),
        ("boom", r#"["at x"]"#, "1")
    );
    assert!(!hash.contains_key("defa"));
    assert_eq!(
        b.raw.events("q").await,
        [
            "event failed jobId 1 failedReason boom prev active",
            "event retries-exhausted jobId 1 attemptsMade 1"
        ]
    );
    let (job, token, _) = b.take().await;
    b.raw.forget_events("q").await;
    let early = Verdict::Fail { reason: "no".into(), stacktrace: vec![], keep: Keep::All, attempts_max: 5 };
    b.finish(&job, &token, early).await;
    assert_eq!(
        b.raw.events("q").await,
        ["event failed jobId 2 failedReason no prev active", "event drained"]
    );
}

fn retry(delay: u64, lifo: bool) -> Verdict {
    Verdict::Retry {
        reason: "again".into(),
        stacktrace: vec!["one".into(), "two".into()],
        delay: Duration::from_millis(delay),
        lifo,
    }
}

#[tokio::test]
async fn a_retry_waits_in_line_in_front_or_for_its_time() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), plain("c"), plain("d")]).await;
    let got = b.claim(3).await;
    b.raw.forget_events("q").await;
    let verdicts = [retry(0, false), retry(0, true), retry(700, false)];
    let finishes = got.jobs.iter().zip(verdicts).map(|(j, v)| finish(&j.id, &j.token, v)).collect();
    b.store.finish(&b.q, finishes, None, NOW).await.unwrap();
    assert_eq!(b.raw.list("bull:q:wait").await, ["1", "4", "2"]);
    assert_eq!(b.raw.zset("bull:q:delayed").await[0].0, "3");
    let hash = b.raw.hash("bull:q:3").await;
    assert_eq!((&hash["delay"][..], &hash["atm"][..], &hash["failedReason"][..]), ("700", "1", "again"));
    assert_eq!(hash["stacktrace"], r#"["one","two"]"#);
    assert_eq!(
        b.raw.events("q").await,
        [
            "event waiting jobId 1 prev active",
            "event waiting jobId 2 prev active",
            "event delayed jobId 3 delay 1700000000700"
        ]
    );
    assert_eq!(
        b.raw.zset("bull:q:marker").await,
        [("0".to_owned(), 0.0), ("1".to_owned(), (NOW + 700) as f64)]
    );
}

#[tokio::test]
async fn giving_back_uses_no_attempt_and_keeps_the_place() {
    let mut b = Bench::new().await;
    let urgent = JobOptions { priority: 2, ..JobOptions::default() };
    b.add(vec![plain("a"), plain("b"), job("p", urgent.clone()), job("p", urgent)]).await;
    let got = b.claim(3).await;
    assert_eq!(ids(&got), ["1", "2", "3"]);
    let verdicts = [Verdict::Release, Verdict::DelayUntil(NOW + 900), Verdict::Release];
    let finishes = got.jobs.iter().zip(verdicts).map(|(j, v)| finish(&j.id, &j.token, v)).collect();
    b.store.finish(&b.q, finishes, None, NOW).await.unwrap();
    assert!(!b.raw.hash("bull:q:1").await.contains_key("atm"));
    assert_eq!(b.raw.hash("bull:q:2").await["delay"], "900");
    let again = b.claim(4).await;
    assert_eq!(ids(&again), ["1", "3", "4"]);
    assert_eq!(again.jobs[0].job.clone().unwrap().attempts_started, 2);
}

#[tokio::test]
async fn keep_none_leaves_nothing_but_the_event() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let got = b.claim(2).await;
    b.store.append_logs(&b.q, &id("1"), &["line".into()], None).await.unwrap();
    let gone = [
        Verdict::Complete { result: "7".into(), keep: Keep::None },
        Verdict::Fail { reason: "r".into(), stacktrace: vec![], keep: Keep::None, attempts_max: 1 },
    ];
    let finishes = got.jobs.iter().zip(gone).map(|(j, v)| finish(&j.id, &j.token, v)).collect();
    b.store.finish(&b.q, finishes, None, NOW).await.unwrap();
    assert_eq!(b.raw.keys().await, ["bull:q:events", "bull:q:id", "bull:q:marker", "bull:q:meta"]);
    let events = b.raw.events("q").await;
    assert!(events.contains(&"event completed jobId 1 returnvalue 7 prev active".to_owned()), "{events:?}");
    assert!(events.contains(&"event failed jobId 2 failedReason r prev active".to_owned()), "{events:?}");
}

#[tokio::test]
async fn keep_by_count_and_age_removes_the_oldest() {
    let mut b = Bench::new().await;
    b.add((0..6).map(|_| plain("n")).collect()).await;
    let upto = |count, age| Keep::UpTo(KeepLimits { count, age, limit: None });
    for (n, at) in [1, 2, 3, 4].into_iter().zip([0, 10_000, 20_000, 30_000]) {
        let got = b.store.claim(&b.q, &claim(1, NOW + at)).await.unwrap();
        let keep = upto(Some(2), None);
        let verdict = Verdict::Complete { result: "1".into(), keep };
        b.store
            .finish(&b.q, vec![finish(&got.jobs[0].id, &got.jobs[0].token, verdict)], None, NOW + at)
            .await
            .unwrap();
        assert_eq!(b.raw.zset("bull:q:completed").await.len(), n.min(2));
    }
    assert!(b.raw.hash("bull:q:1").await.is_empty() && b.raw.hash("bull:q:2").await.is_empty());
    let got = b.store.claim(&b.q, &claim(1, NOW + 35_000)).await.unwrap();
    let verdict = Verdict::Complete { result: "1".into(), keep: upto(None, Some(10)) };
    let finishes = vec![finish(&got.jobs[0].id, &got.jobs[0].token, verdict)];
    b.store.finish(&b.q, finishes, None, NOW + 35_000).await.unwrap();
    let kept: Vec<String> = b.raw.zset("bull:q:completed").await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, ["4", "5"]);
}

#[tokio::test]
async fn what_an_attempt_said_is_written_with_its_outcome() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n"), plain("n")]).await;
    let (job, token, _) = b.take().await;
    let recorded = Recorded {
        logs: vec!["one".into(), "two".into(), "three".into()],
        progress: Some("50".into()),
        data: Some(r#"{"b":2}"#.into()),
    };
    let mut f = finish(&job, &token, complete("1"));
    f.recorded = recorded.clone();
    f.keep_logs = Some(2);
    b.raw.forget_events("q").await;
    b.store.finish(&b.q, vec![f.clone()], None, NOW).await.unwrap();
    assert_eq!(b.raw.list("bull:q:1:logs").await, ["two", "three"]);
    let hash = b.raw.hash("bull:q:1").await;
    assert_eq!((&hash["progress"][..], &hash["data"][..]), ("50", r#"{"b":2}"#));
    assert_eq!(b.raw.events("q").await[0], "event progress jobId 1 data 50");
    // Refused with a stale token: nothing of it is written.
    let (second, _, _) = b.take().await;
    f.id = second;
    let reply = b.store.finish(&b.q, vec![f], None, NOW).await.unwrap();
    assert_eq!(reply.finished, [Err(Refusal::LockTaken)]);
    assert!(b.raw.list("bull:q:2:logs").await.is_empty());
    assert_eq!(b.raw.hash("bull:q:2").await["data"], r#"{"a":1}"#);
}

#[tokio::test]
async fn an_attempt_is_ended_at_most_once() {
    let mut b = Bench::new().await;
    b.add((0..4).map(|_| plain("n")).collect()).await;
    let got = b.claim(4).await;
    let end = |i: usize| finish(&got.jobs[i].id, &got.jobs[i].token, complete("1"));
    let _: i64 = b.raw.run(&["DEL", "bull:q:2", "bull:q:3:lock"]).await;
    let _: i64 = b.raw.run(&["LREM", "bull:q:active", "0", "4"]).await;
    let reply = b.store.finish(&b.q, vec![end(0), end(0), end(1), end(2), end(3)], None, NOW).await.unwrap();
    assert_eq!(
        reply.finished,
        [
            Ok(()),
            Err(Refusal::LockExpired),
            Err(Refusal::Missing),
            Err(Refusal::LockExpired),
            Err(Refusal::NotActive)
        ]
    );
    assert_eq!(b.raw.hash("bull:q:1").await["atm"], "1");
    let again = b.finish(&got.jobs[0].id, &got.jobs[0].token, complete("2")).await;
    assert_eq!(again.finished, [Err(Refusal::LockExpired)]);
    // What was left of the removed one does not count as running; the one whose lock ran out still does.
    assert_eq!(b.raw.list("bull:q:active").await, ["3"]);
}

#[tokio::test]
async fn a_large_batch_is_split_and_every_finish_answered() {
    let b = Bench::new().await;
    b.add((0..600).map(|_| plain("n")).collect()).await;
    let got = b.claim(600).await;
    assert_eq!(got.jobs.len(), 600);
    b.add(vec![plain("last")]).await;
    let finishes = got.jobs.iter().map(|j| finish(&j.id, &j.token, complete("1"))).collect();
    let reply = b.store.finish(&b.q, finishes, Some(&claim(1, NOW)), NOW).await.unwrap();
    assert_eq!(reply.finished, vec![Ok(()); 600]);
    assert_eq!(ids(&reply.claim), ["601"]);
    assert_eq!(b.store.counts(&b.q).await.unwrap().get(JobState::Completed), 600);
}

#[tokio::test]
async fn metrics_are_kept_by_the_minute_when_asked_for() {
    let mut b = Bench::new().await;
    let redis =
        Redis::connect(jobcell_redis::ConnectOptions::from_url(&b.server.url()).unwrap()).await.unwrap();
    let store = BullStore::new(redis, StoreOptions { series: SeriesPoints::all(3) });
    b.add((0..5).map(|_| plain("n")).collect()).await;
    for (jobs, at) in [(2, 0), (2, 60_000), (1, 240_000)] {
        let got = store.claim(&b.q, &claim(jobs, NOW + at)).await.unwrap();
        let finishes = got.jobs.iter().map(|j| finish(&j.id, &j.token, complete("1"))).collect();
        store.finish(&b.q, finishes, None, NOW + at).await.unwrap();
    }
    let hash = b.raw.hash("bull:q:metrics:completed").await;
    assert_eq!((&hash["count"][..], &hash["prevCount"][..]), ("5", "4"));
    assert_eq!(b.raw.list("bull:q:metrics:completed:data").await, ["0", "0", "2"]);
}
