//! Pauses, rates and global concurrency.

use std::time::Duration;

use jobcell_core::store::{RateLimit, Verdict};
use jobcell_core::{JobOptions, JobState, Store};

use crate::server::{Bench, NOW, claim, complete, finish, ids, job, plain};

fn limited(max: usize, rate: u64) -> jobcell_core::store::ClaimRequest {
    let rate = Some(RateLimit { max: rate, per: Duration::from_secs(60) });
    jobcell_core::store::ClaimRequest { rate, ..claim(max, NOW) }
}

#[tokio::test]
async fn a_rate_is_shared_and_told() {
    let mut b = Bench::new().await;
    b.add((0..5).map(|_| plain("n")).collect()).await;
    let first = b.store.claim(&b.q, &limited(2, 3)).await.unwrap();
    assert_eq!((first.jobs.len(), first.rate_limited), (2, None));
    let second = b.store.claim(&b.q, &limited(2, 3)).await.unwrap();
    assert_eq!(second.jobs.len(), 1);
    assert!(second.rate_limited.unwrap() > Duration::from_secs(50), "{second:?}");
    let third = b.store.claim(&b.q, &limited(2, 3)).await.unwrap();
    assert_eq!(third.jobs.len(), 0);
    assert!(third.rate_limited.unwrap() > Duration::from_secs(50));
    let _: i64 = b.raw.run(&["DEL", "bull:q:limiter"]).await;
    assert_eq!(b.store.claim(&b.q, &limited(9, 3)).await.unwrap().jobs.len(), 2);
    let count: String = b.raw.run(&["GET", "bull:q:limiter"]).await;
    assert_eq!(count, "2");
}

#[tokio::test]
async fn the_queues_own_rate_holds_for_everybody() {
    let mut b = Bench::new().await;
    b.add((0..5).map(|_| plain("n")).collect()).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "max", "1", "duration", "60000"]).await;
    assert_eq!(b.claim(5).await.jobs.len(), 1);
    assert!(b.claim(5).await.rate_limited.is_some());
}

#[tokio::test]
async fn a_counter_without_an_expiry_does_not_stop_the_queue_for_ever() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n")]).await;
    let _: () = b.raw.run(&["SET", "bull:q:limiter", "9"]).await;
    assert_eq!(b.store.claim(&b.q, &limited(1, 3)).await.unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn a_rest_asked_for_by_a_job_holds_for_the_whole_queue() {
    let mut b = Bench::new().await;
    b.add((0..2).map(|_| plain("n")).collect()).await;
    let (job, token, _) = b.take().await;
    let rest = Verdict::RateLimit(Duration::from_secs(30));
    let reply =
        b.store.finish(&b.q, vec![finish(&job, &token, rest)], Some(&claim(1, NOW)), NOW).await.unwrap();
    assert!(reply.claim.jobs.is_empty());
    assert!(reply.claim.rate_limited.unwrap() > Duration::from_secs(25));
    assert!(b.claim(1).await.rate_limited.is_some());
    let value: String = b.raw.run(&["GET", "bull:q:limiter"]).await;
    assert_eq!(value, "9007199254740991");
    let _: i64 = b.raw.run(&["DEL", "bull:q:limiter"]).await;
    let again = b.claim(1).await;
    assert_eq!((ids(&again), again.jobs[0].job.clone().unwrap().attempts_made), (vec!["1"], 0));
}

#[tokio::test]
async fn global_concurrency_bounds_all_workers_together() {
    let mut b = Bench::new().await;
    b.add((0..5).map(|_| plain("n")).collect()).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "concurrency", "2"]).await;
    let got = b.claim(5).await;
    assert_eq!(got.jobs.len(), 2);
    assert!(b.claim(5).await.jobs.is_empty());
    // At the bound nobody is woken for nothing.
    let _: i64 = b.raw.run(&["DEL", "bull:q:marker"]).await;
    b.add(vec![plain("n")]).await;
    assert!(b.raw.zset("bull:q:marker").await.is_empty());
    let end = finish(&got.jobs[0].id, &got.jobs[0].token, complete("1"));
    let reply = b.store.finish(&b.q, vec![end], Some(&claim(5, NOW)), NOW).await.unwrap();
    assert_eq!(reply.claim.jobs.len(), 1);
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_and_loses_nothing() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let (running, token, _) = b.take().await;
    b.store.pause(&b.q).await.unwrap();
    b.store.pause(&b.q).await.unwrap();
    assert!(b.store.is_paused(&b.q).await.unwrap());
    assert_eq!(b.raw.list("bull:q:paused").await, ["2"]);
    assert!(b.raw.zset("bull:q:marker").await.is_empty());
    b.add(vec![plain("c"), job("d", JobOptions { delay: 10, ..JobOptions::default() })]).await;
    let retry = Verdict::Retry { reason: "r".into(), stacktrace: vec![], delay: Duration::ZERO, lifo: false };
    b.finish(&running, &token, retry).await;
    assert!(b.store.claim(&b.q, &claim(9, NOW + 20)).await.unwrap().jobs.is_empty());
    assert_eq!(b.raw.list("bull:q:paused").await, ["4", "1", "3", "2"]);
    assert!(b.raw.list("bull:q:wait").await.is_empty());
    assert_eq!(b.store.counts(&b.q).await.unwrap().get(JobState::Waiting), 4);
    b.store.resume(&b.q).await.unwrap();
    b.store.resume(&b.q).await.unwrap();
    assert!(!b.store.is_paused(&b.q).await.unwrap());
    assert_eq!(b.raw.zset("bull:q:marker").await[0], ("0".to_owned(), 0.0));
    assert_eq!(ids(&b.claim(9).await), ["2", "3", "1", "4"]);
    let events = b.raw.events("q").await;
    assert!(events.contains(&"event paused".to_owned()) && events.contains(&"event resumed".to_owned()));
}

#[tokio::test]
async fn while_paused_the_list_that_exists_is_used() {
    let mut b = Bench::new().await;
    // As BullMQ 6 pauses: the waiting jobs stay in their list.
    b.add(vec![plain("a")]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "version", "bullmq:6.7.0"]).await;
    b.store.pause(&b.q).await.unwrap();
    b.add(vec![plain("b")]).await;
    assert_eq!(b.raw.list("bull:q:wait").await, ["2", "1"]);
    // With neither list, by the version of the newest producer.
    for (version, set, kind) in [
        ("bullmq:6.0.0", "delayed", "ZCARD"),
        ("bullmq:5.81.5", "paused", "LLEN"),
        ("bullmq-pro:7.1", "paused", "LLEN"),
    ] {
        let _: i64 = b.raw.run(&["DEL", "bull:q:wait", "bull:q:paused", "bull:q:delayed"]).await;
        let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "version", version]).await;
        b.add(vec![plain("n")]).await;
        let n: i64 = b.raw.run(&[kind, &format!("bull:q:{set}")]).await;
        assert_eq!(n, 1, "{version}");
    }
}

#[tokio::test]
async fn what_is_put_back_while_paused_survives_a_resume_by_an_older_client() {
    let mut b = Bench::new().await;
    // A newer client only looks; an older one pauses, adds and resumes.
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "version", "bullmq:6.7.0"]).await;
    b.add(vec![plain("a"), plain("b")]).await;
    let claimed = b.claim(2).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "paused", "1"]).await;
    let retry = Verdict::Retry { reason: "r".into(), stacktrace: vec![], delay: Duration::ZERO, lifo: false };
    b.finish(&claimed.jobs[0].id, &claimed.jobs[0].token, retry).await;
    b.finish(&claimed.jobs[1].id, &claimed.jobs[1].token, Verdict::Release).await;
    assert!(b.store.claim(&b.q, &claim(9, NOW + 20)).await.unwrap().jobs.is_empty());
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:paused", "x"]).await;
    let _: String = b.raw.run(&["RENAME", "bull:q:paused", "bull:q:wait"]).await;
    let _: i64 = b.raw.run(&["HDEL", "bull:q:meta", "paused"]).await;
    assert_eq!(ids(&b.store.claim(&b.q, &claim(9, NOW + 20)).await.unwrap()), ["1", "2"]);
}

#[tokio::test]
async fn nothing_comes_due_into_a_list_that_an_older_client_would_overwrite() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "version", "bullmq:6.7.0"]).await;
    b.add(vec![job("due", JobOptions { delay: 10, ..JobOptions::default() })]).await;
    b.store.pause(&b.q).await.unwrap();
    assert!(b.store.claim(&b.q, &claim(1, NOW + 20)).await.unwrap().jobs.is_empty());
    // An older client adds and resumes.
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:paused", "x"]).await;
    let _: String = b.raw.run(&["RENAME", "bull:q:paused", "bull:q:wait"]).await;
    let _: i64 = b.raw.run(&["HDEL", "bull:q:meta", "paused"]).await;
    assert_eq!(ids(&b.store.claim(&b.q, &claim(9, NOW + 20)).await.unwrap()), ["1"]);
}

#[tokio::test]
async fn resuming_merges_lists_that_clients_of_both_majors_split() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:meta", "paused", "1"]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:paused", "x", "y"]).await;
    b.store.resume(&b.q).await.unwrap();
    assert_eq!(b.raw.list("bull:q:wait").await, ["2", "1", "y", "x"]);
    assert!(b.raw.list("bull:q:paused").await.is_empty());
}
