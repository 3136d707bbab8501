//! Many jobs at once, key by key: what is written must be what BullMQ's clients expect to find.

use std::time::Duration;

use jobcell_core::options::Deduplication;
use jobcell_core::store::{Added, Admin, Obliterated, Parent, SeriesPoints};
use jobcell_core::{JobOptions, JobState, Store, StoreError};
use jobcell_redis::{BullStore, ConnectOptions, Redis, StoreOptions};

use crate::server::{Bench, NOW, complete, fail, finish, id, job, plain, queue};

fn delayed(delay: u64) -> JobOptions {
    JobOptions { delay, ..JobOptions::default() }
}

#[tokio::test]
async fn promoted_many_are_in_the_list_in_the_order_in_which_they_were_due() {
    let mut b = Bench::new().await;
    b.add(vec![job("c", delayed(300)), job("a", delayed(100)), job("b", delayed(200)), plain("w")]).await;
    b.raw.forget_events("q").await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:marker"]).await;
    assert_eq!(b.store.promote_all(&b.q, 2).await.unwrap(), 2);
    assert_eq!(b.raw.list("bull:q:wait").await, ["3", "2", "4"]);
    assert_eq!(
        b.raw.events("q").await,
        ["event waiting jobId 2 prev delayed", "event waiting jobId 3 prev delayed"]
    );
    assert_eq!(b.raw.zset("bull:q:marker").await[0], ("0".to_owned(), 0.0));
    assert_eq!(b.raw.hash("bull:q:2").await["delay"], "100", "as BullMQ leaves it");
}

#[tokio::test]
async fn retried_many_lose_what_their_end_wrote() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    for verdict in [fail("boom"), complete("1")] {
        let (job, token, _) = b.take().await;
        b.finish(&job, &token, verdict).await;
    }
    b.raw.forget_events("q").await;
    assert_eq!(b.store.retry_all(&b.q, JobState::Failed, NOW + 5, 9).await.unwrap(), 1);
    assert_eq!(b.store.retry_all(&b.q, JobState::Completed, NOW + 4, 9).await.unwrap(), 0);
    assert_eq!(b.raw.events("q").await, ["event waiting jobId 1 prev failed"]);
    let fields: Vec<String> = b.raw.run(&["HKEYS", "bull:q:1"]).await;
    for gone in ["failedReason", "finishedOn", "processedOn"] {
        assert!(!fields.contains(&gone.to_owned()), "{gone}");
    }
    assert!(fields.contains(&"atm".to_owned()) && fields.contains(&"stacktrace".to_owned()), "{fields:?}");
}

#[tokio::test]
async fn what_is_promoted_into_a_paused_queue_without_a_safe_list_is_due_when_it_goes_on() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "version", "bullmq:6.7.0"]).await;
    b.add((0..3).map(|_| job("n", delayed(900_000))).collect()).await;
    b.store.pause(&b.q).await.unwrap();
    assert_eq!(b.store.promote_all(&b.q, u64::MAX).await.unwrap(), 3);
    for list in ["bull:q:wait", "bull:q:paused"] {
        assert!(b.raw.list(list).await.is_empty(), "a client of either major may overwrite {list}");
    }
    b.store.resume(&b.q).await.unwrap();
    assert_eq!(b.claim(9).await.jobs.len(), 3);
}

#[tokio::test]
async fn both_lists_of_a_split_queue_are_cleaned_from_their_ends() {
    let mut b = Bench::new().await;
    let made = |timestamp| JobOptions { timestamp: Some(timestamp), ..JobOptions::default() };
    b.add((0..4).map(|n| job("n", made(NOW - 4 + n))).collect()).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:paused", "x"]).await;
    let gone = b.store.clean(&b.q, JobState::Waiting, NOW - 3, 9).await.unwrap();
    // An id without a job is as old as can be.
    assert_eq!(gone, [id("1"), id("2"), id("x")]);
    assert_eq!(b.raw.list("bull:q:wait").await, ["4", "3"]);
    assert!(b.raw.list("bull:q:paused").await.is_empty());
    assert_eq!(b.raw.events("q").await.last().unwrap(), "event cleaned count 3");
}

#[tokio::test]
async fn a_schedulers_pending_run_is_not_cleaned() {
    let mut b = Bench::new().await;
    let pending = "repeat:s:1700000000001";
    for old in [pending, "repeat:s:1600000000000"] {
        let key = format!("bull:q:{old}");
        let _: i64 = b.raw.run(&["HSET", &key, "name", "s", "rjk", "s", "timestamp", "1"]).await;
        let _: i64 = b.raw.run(&["ZADD", "bull:q:delayed", "1", old]).await;
    }
    let _: i64 = b.raw.run(&["ZADD", "bull:q:repeat", "1700000000001", "s"]).await;
    let gone = b.store.clean(&b.q, JobState::Delayed, NOW, 9).await.unwrap();
    assert_eq!(gone, [id("repeat:s:1600000000000")]);
    assert_eq!(b.raw.zset("bull:q:delayed").await.len(), 1);
}

#[tokio::test]
async fn an_obliterated_queue_leaves_no_key_and_others_stay() {
    let mut b = Bench::new().await;
    let other = queue("de");
    b.store.add(&other, vec![plain("n")], NOW).await.unwrap();
    let dedup = Deduplication { id: "x:1".into(), ttl: Some(3_600_000), ..Deduplication::default() };
    let deduplicated = JobOptions { deduplication: Some(dedup), ..JobOptions::default() };
    b.add(vec![plain("a"), job("b", delayed(9)), job("c", deduplicated), plain("d")]).await;
    let (first, token, _) = b.take().await;
    b.finish(&first, &token, complete("1")).await;
    b.store.append_logs(&b.q, &first, &["line".into()], None).await.unwrap();
    b.take().await;
    b.store.rest(&b.q, Some(Duration::from_secs(60))).await.unwrap();
    let _: i64 = b.raw.run(&["HSET", "bull:q:dn:left", "name", "n"]).await;
    let _: i64 = b.raw.run(&["ZADD", "bull:q:repeat", "5", "s"]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:repeat:s", "name", "n", "ic", "1"]).await;
    let before = b.raw.keys().await;
    assert_eq!(b.store.obliterate(&b.q, true).await.unwrap(), Obliterated::NotPaused);
    b.store.pause(&b.q).await.unwrap();
    assert_eq!(b.store.obliterate(&b.q, false).await.unwrap(), Obliterated::Active);
    assert_eq!(b.store.obliterate(&b.q, true).await.unwrap(), Obliterated::Yes);
    let left = b.raw.keys().await;
    let expected: Vec<String> = before.into_iter().filter(|key| key.starts_with("bull:de:")).collect();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn an_obliteration_that_was_broken_off_goes_on() {
    let mut b = Bench::new().await;
    b.add((0..700).map(|_| plain("n")).collect()).await;
    b.store.pause(&b.q).await.unwrap();
    // As after some of its steps: jobs are gone, what says that it is paused is not.
    let _: String = b.raw.run(&["LTRIM", "bull:q:paused", "0", "99"]).await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:events", "bull:q:id"]).await;
    assert_eq!(b.store.obliterate(&b.q, false).await.unwrap(), Obliterated::Yes);
    assert!(!b.raw.keys().await.contains(&"bull:q:meta".to_owned()));
}

#[tokio::test]
async fn a_parent_in_another_queue_is_woken_when_its_child_is_cleaned() {
    let mut b = Bench::new().await;
    let parents = queue("parents");
    let [Added::New(parent)] = &b.store.add(&parents, vec![plain("p")], NOW).await.unwrap()[..] else {
        panic!("a new job")
    };
    let mut child = plain("c");
    child.parent = Some(Parent { queue_key: "bull:parents".into(), id: parent.clone() });
    b.add(vec![child]).await;
    let request = crate::server::claim(1, NOW);
    let claimed = b.store.claim(&parents, &request).await.unwrap();
    let waits = finish(parent, &claimed.jobs[0].token, jobcell_core::store::Verdict::WaitForChildren);
    b.store.finish(&parents, vec![waits], None, NOW).await.unwrap();
    let _: i64 = b.raw.run(&["DEL", "bull:parents:marker"]).await;
    assert_eq!(b.store.clean(&b.q, JobState::Waiting, NOW, 9).await.unwrap().len(), 1);
    assert_eq!(b.raw.list("bull:parents:wait").await, [parent.to_string()]);
    assert_eq!(b.raw.zset("bull:parents:marker").await.len(), 1);
}

#[tokio::test]
async fn a_finished_job_of_a_foreign_type_is_named() {
    let mut b = Bench::new().await;
    let _: String = b.raw.run(&["SET", "bull:q:completed", "x"]).await;
    let error = b.store.clean(&b.q, JobState::Completed, NOW, 9).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("bull:q:completed")), "{error}");
}

#[tokio::test]
async fn each_queue_keeps_its_own_length_of_series() {
    let mut b = Bench::new().await;
    let series = SeriesPoints::all(2).with(queue("none"), 0).with(queue("long"), 4);
    let redis = Redis::connect(ConnectOptions::from_url(&b.server.url()).unwrap()).await.unwrap();
    let store = BullStore::new(redis, StoreOptions { series });
    for (name, kept) in [("q", 2), ("none", 0), ("long", 4)] {
        let q = queue(name);
        for minute in 0..7 {
            let now = NOW + minute * 60_000;
            store.add(&q, vec![plain("n")], now).await.unwrap();
            let claimed = store.claim(&q, &crate::server::claim(1, now)).await.unwrap();
            let end = finish(&claimed.jobs[0].id, &claimed.jobs[0].token, complete("1"));
            store.finish(&q, vec![end], None, now).await.unwrap();
        }
        let points: i64 = b.raw.run(&["LLEN", &format!("bull:{name}:metrics:completed:data")]).await;
        assert_eq!(points, kept, "{name}");
    }
}

#[tokio::test]
async fn a_rate_that_is_set_shortens_the_window_that_has_begun() {
    let mut b = Bench::new().await;
    let _: String = b.raw.run(&["SET", "bull:q:limiter", "3", "PX", "3600000"]).await;
    let rate = jobcell_core::store::RateLimit { max: 5, per: Duration::from_secs(2) };
    b.store.set_rate(&b.q, Some(rate)).await.unwrap();
    let left: i64 = b.raw.run(&["PTTL", "bull:q:limiter"]).await;
    assert!(left <= 2000, "{left}");
    let meta = b.raw.hash("bull:q:meta").await;
    assert_eq!((meta["max"].as_str(), meta["duration"].as_str()), ("5", "2000"));
    b.store.set_rate(&b.q, None).await.unwrap();
    assert_eq!(b.raw.keys().await, [""; 0], "nothing is left of it");
}

#[tokio::test]
async fn settings_that_other_clients_wrote_badly_limit_nothing() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let _: i64 =
        b.raw.run(&["HSET", "bull:q:meta", "max", "many", "duration", "", "concurrency", "some"]).await;
    let limits = b.store.limits(&b.q).await.unwrap();
    assert_eq!((limits.rate, limits.concurrency), (None, None));
    assert_eq!(b.claim(9).await.jobs.len(), 1);
}
