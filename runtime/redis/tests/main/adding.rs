//! What producers leave behind.

use jobcell_core::options::{Backoff, BackoffKind, Deduplication};
use jobcell_core::store::{Added, NewJob, Parent};
use jobcell_core::{JobOptions, JobState, Store, StoreError};

use crate::server::{Bench, NOW, id, job, plain, queue};

#[tokio::test]
async fn a_plain_job_is_stored_as_bullmq_stores_it() {
    let mut b = Bench::new().await;
    let options = JobOptions {
        attempts: 3,
        backoff: Some(Backoff { kind: BackoffKind::Exponential, delay: 100, jitter: None }),
        ..JobOptions::default()
    };
    assert_eq!(b.add(vec![job("mail", options)]).await, ["1"]);
    let hash = b.raw.hash("bull:q:1").await;
    let fields: Vec<(&str, &str)> = hash.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("data", r#"{"a":1}"#),
            ("delay", "0"),
            ("name", "mail"),
            ("opts", r#"{"attempts":3,"backoff":{"type":"exponential","delay":100}}"#),
            ("priority", "0"),
            ("timestamp", "1700000000000"),
        ]
    );
    assert_eq!(b.raw.list("bull:q:wait").await, ["1"]);
    assert_eq!(b.raw.zset("bull:q:marker").await, [("0".to_owned(), 0.0)]);
    assert_eq!(b.raw.events("q").await, ["event added jobId 1 name mail", "event waiting jobId 1"]);
    assert_eq!(
        b.raw.keys().await,
        ["bull:q:1", "bull:q:events", "bull:q:id", "bull:q:marker", "bull:q:meta", "bull:q:wait"]
    );
    assert_eq!(b.raw.hash("bull:q:meta").await["opts.maxLenEvents"], "10000");
}

#[tokio::test]
async fn each_kind_goes_to_its_place() {
    let mut b = Bench::new().await;
    let with = |delay, priority, lifo| JobOptions { delay, priority, lifo, ..JobOptions::default() };
    let jobs = vec![
        plain("first"),
        job("lifo", with(0, 0, true)),
        job("low", with(0, 9, false)),
        job("high", with(0, 1, false)),
        job("later", with(5000, 7, false)),
        job("same time", with(5000, 0, false)),
    ];
    assert_eq!(b.add(jobs).await, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(b.raw.list("bull:q:wait").await, ["1", "2"]);
    let class = f64::from(1u32 << 31) * 2.0;
    assert_eq!(
        b.raw.zset("bull:q:prioritized").await,
        [("4".to_owned(), class + 2.0), ("3".to_owned(), 9.0 * class + 1.0)]
    );
    let due = (NOW + 5000) as f64 * 4096.0;
    assert_eq!(b.raw.zset("bull:q:delayed").await, [("5".to_owned(), due), ("6".to_owned(), due + 1.0)]);
    assert_eq!(
        b.raw.zset("bull:q:marker").await,
        [("0".to_owned(), 0.0), ("1".to_owned(), (NOW + 5000) as f64)]
    );
    let events = b.raw.events("q").await;
    assert_eq!(events[9], "event delayed jobId 5 delay 1700000005000");
    assert_eq!(b.raw.hash("bull:q:5").await["delay"], "5000");
    assert_eq!(b.store.state(&b.q, &id("4")).await.unwrap(), Some(JobState::Prioritized));
}

#[tokio::test]
async fn a_chosen_id_is_added_once() {
    let mut b = Bench::new().await;
    let with_id = |data: &'static str| NewJob {
        options: JobOptions { job_id: Some("order-7".into()), ..JobOptions::default() },
        ..NewJob::new("n", data)
    };
    let added = b.store.add(&b.q, vec![with_id("1"), with_id("2"), plain("n")], NOW).await.unwrap();
    assert_eq!(added, [Added::New(id("order-7")), Added::Duplicate(id("order-7")), Added::New(id("3"))]);
    assert_eq!(b.raw.hash("bull:q:order-7").await["data"], "1");
    assert_eq!(b.raw.list("bull:q:wait").await, ["3", "order-7"]);
    assert!(b.raw.events("q").await.contains(&"event duplicated jobId order-7".to_owned()));
    for bad in ["7", "0:x", "a:b"] {
        let options = JobOptions { job_id: Some(bad.into()), ..JobOptions::default() };
        let error = b.store.add(&b.q, vec![job("n", options)], NOW).await.unwrap_err();
        assert!(matches!(&error, StoreError::Rejected(text) if text.contains(bad)), "{error}");
    }
}

#[tokio::test]
async fn a_child_needs_its_parent_and_jobs_before_it_stay() {
    let mut b = Bench::new().await;
    let child = |parent: &str| NewJob {
        parent: Some(Parent { queue_key: "bull:parents".into(), id: id(parent) }),
        options: JobOptions { fail_parent_on_failure: true, ..JobOptions::default() },
        ..NewJob::new("child", "{}")
    };
    b.store.add(&queue("parents"), vec![plain("p")], NOW).await.unwrap();
    let error = b.store.add(&b.q, vec![child("1"), child("99"), plain("after")], NOW).await.unwrap_err();
    assert!(matches!(&error, StoreError::Rejected(t) if t.contains("bull:parents:99")), "{error}");
    assert_eq!(b.raw.list("bull:q:wait").await, ["1"]);
    let hash = b.raw.hash("bull:q:1").await;
    assert_eq!(hash["parentKey"], "bull:parents:1");
    assert_eq!(hash["parent"], r#"{"id":"1","queueKey":"bull:parents","fpof":true}"#);
    assert!(hash["opts"].contains(r#""parent":{"id":"1","queue":"bull:parents"}"#), "{}", hash["opts"]);
    let deps: Vec<String> = b.raw.run(&["SMEMBERS", "bull:parents:1:dependencies"]).await;
    assert_eq!(deps, ["bull:q:1"]);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_the_bound() {
    let b = Bench::new().await;
    for (options, word) in [
        (JobOptions { priority: 2_097_152, ..JobOptions::default() }, "2097151"),
        (JobOptions { delay: 1 << 42, ..JobOptions::default() }, "2039"),
        (
            JobOptions { deduplication: Some(Deduplication::default()), ..JobOptions::default() },
            "deduplication id is empty",
        ),
    ] {
        let error = b.store.add(&b.q, vec![plain("kept"), job("bad", options)], NOW).await.unwrap_err();
        assert!(matches!(&error, StoreError::Rejected(text) if text.contains(word)), "{error}");
    }
    assert_eq!(b.store.counts(&b.q).await.unwrap().get(JobState::Waiting), 3);
}

#[tokio::test]
async fn many_jobs_are_added_in_order() {
    let mut b = Bench::new().await;
    let jobs = (0..1000).map(|i| NewJob::new(format!("n{i}"), "x".repeat(5000))).collect();
    let ids = b.add(jobs).await;
    assert_eq!(ids.len(), 1000);
    assert_eq!(ids[999], "1000");
    assert_eq!(b.raw.hash("bull:q:738").await["name"], "n737");
    let waiting = b.raw.list("bull:q:wait").await;
    assert_eq!((waiting[0].as_str(), waiting[999].as_str()), ("1000", "1"));
}

fn dedup(name: &str, delay: u64, d: Deduplication) -> NewJob {
    job(name, JobOptions { delay, deduplication: Some(d), ..JobOptions::default() })
}

#[tokio::test]
async fn a_deduplication_id_is_taken_until_its_owner_finishes() {
    let mut b = Bench::new().await;
    let d = || Deduplication { id: "d".into(), ..Deduplication::default() };
    let added = b.store.add(&b.q, vec![dedup("a", 0, d()), dedup("b", 0, d())], NOW).await.unwrap();
    assert_eq!(added, [Added::New(id("1")), Added::Deduplicated(id("1"))]);
    assert_eq!(b.raw.hash("bull:q:1").await["deid"], "d");
    assert_eq!(
        b.raw.events("q").await.last().unwrap(),
        "event deduplicated jobId 1 deduplicationId d deduplicatedJobId 2"
    );
    let (job, token, _) = b.take().await;
    b.finish(&job, &token, crate::server::complete("1")).await;
    let owner: Option<String> = b.raw.run(&["GET", "bull:q:de:d"]).await;
    assert_eq!(owner, None);
    assert_eq!(b.add(vec![dedup("c", 0, d())]).await, ["3"]);
}

#[tokio::test]
async fn a_time_to_live_outlasts_its_owner_and_can_be_extended() {
    let mut b = Bench::new().await;
    let d = |extend| Deduplication { id: "d".into(), ttl: Some(60_000), extend, ..Deduplication::default() };
    b.add(vec![dedup("a", 0, d(false))]).await;
    let (job, token, _) = b.take().await;
    b.finish(&job, &token, crate::server::complete("1")).await;
    let _: i64 = b.raw.run(&["PEXPIRE", "bull:q:de:d", "20000"]).await;
    let added = b.store.add(&b.q, vec![dedup("b", 0, d(false))], NOW).await.unwrap();
    assert_eq!(added, [Added::Deduplicated(id("1"))]);
    assert!(b.raw.run::<i64>(&["PTTL", "bull:q:de:d"]).await <= 20_000);
    b.add(vec![dedup("c", 0, d(true))]).await;
    assert!(b.raw.run::<i64>(&["PTTL", "bull:q:de:d"]).await > 50_000);
}

#[tokio::test]
async fn a_delayed_owner_is_replaced() {
    let mut b = Bench::new().await;
    let d = || Deduplication { id: "d".into(), replace: true, ..Deduplication::default() };
    b.add(vec![dedup("a", 1000, d())]).await;
    b.raw.forget_events("q").await;
    let added = b.store.add(&b.q, vec![dedup("b", 2000, d())], NOW).await.unwrap();
    assert_eq!(added, [Added::New(id("2"))]);
    assert_eq!(b.raw.zset("bull:q:delayed").await.len(), 1);
    assert!(b.raw.hash("bull:q:1").await.is_empty());
    let owner: String = b.raw.run(&["GET", "bull:q:de:d"]).await;
    assert_eq!(owner, "2");
    assert_eq!(
        b.raw.events("q").await[..3],
        [
            "event removed jobId 1 prev delayed",
            "event deduplicated jobId 2 deduplicationId d deduplicatedJobId 1",
            "event added jobId 2 name b"
        ]
    );
}

#[tokio::test]
async fn the_last_duplicate_of_a_running_owner_runs_after_it() {
    let mut b = Bench::new().await;
    let d = || Deduplication { id: "d".into(), keep_last_if_active: true, ..Deduplication::default() };
    b.add(vec![dedup("a", 0, d())]).await;
    let (owner, token, _) = b.take().await;
    for name in ["b", "c"] {
        let added = b.store.add(&b.q, vec![dedup(name, 0, d())], NOW).await.unwrap();
        assert_eq!(added, [Added::Deduplicated(id("1"))]);
    }
    assert_eq!(b.raw.hash("bull:q:dn:d").await["name"], "c");
    b.finish(&owner, &token, crate::server::complete("1")).await;
    let (next, _, job) = b.take().await;
    // The last duplicate was given an id when it came, as BullMQ does it.
    assert_eq!((next.as_str(), job.name.as_str()), ("3", "c"));
    assert_eq!(job.deduplication_id.as_deref(), Some("d"));
    assert!(b.raw.hash("bull:q:dn:d").await.is_empty());
}

#[tokio::test]
async fn a_key_whose_owner_is_gone_does_not_hold_anybody_back() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["SET", "bull:q:de:d", "77"]).await;
    let d = Deduplication { id: "d".into(), ..Deduplication::default() };
    assert_eq!(b.store.add(&b.q, vec![dedup("a", 0, d)], NOW).await.unwrap(), [Added::New(id("1"))]);
}
