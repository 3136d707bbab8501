//! What people and handlers do to a list queue.

use std::time::Duration;

use jobcell_core::store::{Added, Admin, NewJob, Page, Removed, StoreError};
use jobcell_core::wait::{self, Ending};
use jobcell_core::{JobOptions, JobState, Store};

use super::{Bench, complete, fail, is_rejected, job, retry};
use crate::server::{NOW, id, queue};

async fn add(b: &Bench, name: &str, options: JobOptions) -> String {
    let new = NewJob { options, ..NewJob::new(name, "{\"a\":1}") };
    let added = b.store.add(&queue("overlay"), vec![new], NOW).await.unwrap();
    added[0].id().to_string()
}

#[tokio::test]
async fn an_added_job_is_an_envelope_that_any_worker_could_take() {
    let mut b = Bench::new().await;
    let options = JobOptions { tenant: Some("t".into()), attempts: 4, ..JobOptions::default() };
    let id_of = add(&b, "resize", options).await;
    let item = format!(r#"{{"id":"{id_of}","name":"resize","data":{{"a":1}},"tenantId":"t","attempts":4}}"#);
    assert_eq!(b.raw.list("jobs").await, [item]);
    assert_eq!(b.store.state(&queue("overlay"), &id(&id_of)).await.unwrap(), Some(JobState::Waiting));
    let looked = b.store.get(&queue("overlay"), &id(&id_of)).await.unwrap().unwrap();
    assert_eq!(
        (looked.name.as_str(), &looked.data[..], looked.timestamp),
        ("resize", &b"{\"a\":1}"[..], NOW)
    );
    let claimed = b.take().await;
    assert_eq!((job(&claimed).options.tenant.as_deref(), job(&claimed).options.attempts), (Some("t"), 4));
    assert_eq!(job(&claimed).timestamp, NOW);
}

#[tokio::test]
async fn a_job_keeps_its_depth_until_another_one_has_its_id() {
    let mut b = Bench::new().await;
    let options = JobOptions { job_id: Some("x".into()), depth: 2, ..JobOptions::default() };
    add(&b, "n", options).await;
    assert_eq!(b.store.get(&queue("overlay"), &id("x")).await.unwrap().unwrap().options.depth, 2);
    let claimed = b.take().await;
    assert_eq!(job(&claimed).options.depth, 2);
    b.done(&claimed, retry("again", 1000)).await;
    b.store.promote(&queue("overlay"), &id("x")).await.unwrap();
    let claimed = b.take().await;
    assert_eq!(job(&claimed).options.depth, 2);
    b.done(&claimed, complete("1")).await;
    b.push(r#"{"id":"x","name":"n","data":1}"#).await;
    assert_eq!(job(&b.take().await).options.depth, 0, "a producer's job");
}

#[tokio::test]
async fn a_chosen_id_is_added_once_while_it_waits_or_runs() {
    let b = Bench::new().await;
    let chosen = || JobOptions { job_id: Some("x".into()), ..JobOptions::default() };
    let again = async || {
        let new = NewJob { options: chosen(), ..NewJob::new("n", "{\"a\":1}") };
        b.store.add(&queue("overlay"), vec![new], NOW).await.unwrap().remove(0)
    };
    assert_eq!(again().await, Added::New(id("x")));
    assert_eq!(again().await, Added::Duplicate(id("x")));
    let claimed = b.take().await;
    assert_eq!(again().await, Added::Duplicate(id("x")));
    b.done(&claimed, retry("x", 1000)).await;
    assert_eq!(again().await, Added::Duplicate(id("x")));
    b.store.promote(&queue("overlay"), &id("x")).await.unwrap();
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
    assert_eq!(again().await, Added::New(id("x")), "it has ended: this is a new job");
    assert_eq!(b.store.state(&queue("overlay"), &id("x")).await.unwrap(), Some(JobState::Waiting));
    let mut b = b;
    // Cleared by hand, as lists are.
    let _: i64 = b.raw.run(&["DEL", "jobs"]).await;
    let options = JobOptions { job_id: Some("x".into()), ..JobOptions::default() };
    add(&b, "n", options).await;
    assert_eq!(b.raw.list("jobs").await.len(), 1);
}

#[tokio::test]
async fn what_a_list_has_not_is_refused_by_name() {
    let b = Bench::new().await;
    let bad: [(JobOptions, &str); 5] = [
        (JobOptions { priority: 1, ..JobOptions::default() }, "priorities"),
        (
            JobOptions {
                deduplication: Some(jobcell_core::options::Deduplication {
                    id: "d".into(),
                    ..Default::default()
                }),
                ..JobOptions::default()
            },
            "deduplication",
        ),
        (
            JobOptions { remove_on_complete: Some(jobcell_core::Keep::None), ..JobOptions::default() },
            "keeping",
        ),
        (JobOptions { timeout: Some(1), ..JobOptions::default() }, "timeout"),
        (
            JobOptions {
                backoff: Some(jobcell_core::Backoff {
                    kind: jobcell_core::BackoffKind::Fixed,
                    delay: 1,
                    jitter: None,
                }),
                ..JobOptions::default()
            },
            "backoff",
        ),
    ];
    for (options, words) in bad {
        let new = vec![NewJob::new("good", "1"), NewJob { options, ..NewJob::new("n", "1") }];
        is_rejected(b.store.add(&queue("overlay"), new, NOW).await, &["\"overlay\"", words]);
    }
    assert_eq!(b.store.counts(&queue("overlay")).await.unwrap().pending(), 5, "those before it were added");
    is_rejected(b.store.set_concurrency(&queue("overlay"), Some(1)).await, &["\"overlay\"", "concurrency"]);
    is_rejected(b.store.scheduler_probe().await, &["schedulers"]);
}

trait Probe {
    async fn scheduler_probe(&self) -> Result<(), StoreError>;
}

impl Probe for jobcell_redis::ListStore {
    async fn scheduler_probe(&self) -> Result<(), StoreError> {
        use jobcell_core::store::Schedulers;
        self.remove_scheduler(&queue("overlay"), "s").await.map(drop)
    }
}

#[tokio::test]
async fn jobs_are_found_whatever_they_were_pushed_as() {
    let mut b = Bench::new().await;
    for item in ["bare", r#"{"id":"env","name":"n","data":5}"#, "third"] {
        b.push(item).await;
    }
    let q = queue("overlay");
    for (name, data) in [("bare", &b"bare"[..]), ("env", b"5")] {
        assert_eq!(b.store.state(&q, &id(name)).await.unwrap(), Some(JobState::Waiting));
        assert_eq!(&b.store.get(&q, &id(name)).await.unwrap().unwrap().data[..], data);
    }
    let waiting = b.store.list(&q, JobState::Waiting, Page { offset: 1, limit: 5 }).await.unwrap();
    assert_eq!(waiting.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["env", "third"]);
    let _: i64 = b.raw.run(&["HSET", "job:owned", "data", "1", "status", "PENDING"]).await;
    assert!(b.store.get(&q, &id("owned")).await.unwrap().is_none(), "a record alone is no job");
    let claimed = b.take().await;
    assert_eq!(b.store.state(&q, &id("bare")).await.unwrap(), Some(JobState::Active));
    assert_eq!(&b.store.get(&q, &id("bare")).await.unwrap().unwrap().data[..], b"bare");
    let active = b.store.list(&q, JobState::Active, Page::first(5)).await.unwrap();
    assert_eq!(active.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["bare"]);
    b.done(&claimed, retry("x", 60_000)).await;
    assert_eq!(b.store.state(&q, &id("bare")).await.unwrap(), Some(JobState::Waiting), "due long ago by now");
    let delayed = b.store.list(&q, JobState::Delayed, Page::first(5)).await.unwrap();
    assert_eq!((delayed.len(), delayed[0].failed_reason.as_deref()), (1, Some("x")));
    let claimed = b.take().await;
    b.done(&claimed, fail("dead")).await;
    let failed = b.store.list(&q, JobState::Failed, Page::first(5)).await.unwrap();
    assert_eq!((failed[0].id.as_str(), failed[0].failed_reason.as_deref()), ("env", Some("dead")));
    let claimed = b.take().await;
    b.done(&claimed, complete("7")).await;
    let done = b.store.get(&q, &id("third")).await.unwrap().unwrap();
    assert_eq!((done.result.as_deref(), done.attempts_made), (Some(&b"7"[..]), 1));
    let counts = b.store.counts(&q).await.unwrap();
    let of = |state| counts.get(state);
    assert_eq!(
        (of(JobState::Waiting), of(JobState::Delayed), of(JobState::Failed), of(JobState::Completed)),
        (0, 1, 1, 0)
    );
}

#[tokio::test]
async fn a_dead_item_is_retried_and_a_delayed_one_promoted() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    let item = r#"{"id":"a","data":1}"#;
    b.push(item).await;
    let claimed = b.take().await;
    b.done(&claimed, fail("bad")).await;
    assert!(matches!(b.store.promote(&q, &id("a")).await, Err(StoreError::WrongState { .. })));
    b.store.retry(&q, &id("a"), true).await.unwrap();
    assert_eq!((b.raw.list("jobs").await, b.raw.list("jobs:dead").await), (vec![item.to_owned()], vec![]));
    let claimed = b.take().await;
    assert_eq!(job(&claimed).attempt(), 1);
    b.done(&claimed, retry("x", 60_000)).await;
    assert!(matches!(b.store.retry(&q, &id("a"), true).await, Err(StoreError::WrongState { .. })));
    b.store.promote(&q, &id("a")).await.unwrap();
    assert_eq!(b.take().await.id.as_str(), "a");
    assert!(matches!(b.store.retry(&q, &id("nobody"), true).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_removed_item_is_gone_and_a_record_stays_with_its_owner() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    let _: i64 = b.raw.run(&["HSET", "job:owned", "data", "1"]).await;
    for item in ["owned", "mine", "runs"] {
        b.push(item).await;
    }
    for name in ["owned", "mine"] {
        let claimed = b.take().await;
        assert_eq!(claimed.id.as_str(), name);
        b.done(&claimed, fail("x")).await;
        assert_eq!(b.store.remove(&q, &id(name)).await.unwrap(), Removed::Yes);
        assert_eq!(b.store.remove(&q, &id("nobody")).await.unwrap(), Removed::NotFound);
    }
    let claimed = b.take().await;
    assert_eq!(b.store.remove(&q, &id("runs")).await.unwrap(), Removed::Running);
    b.done(&claimed, complete("1")).await;
    assert_eq!(b.store.remove(&q, &id("runs")).await.unwrap(), Removed::Yes);
    assert_eq!(b.raw.run::<i64>(&["EXISTS", "job:owned", "job:mine", "job:runs", "jobs:dead"]).await, 1);
}

#[tokio::test]
async fn draining_leaves_no_records_that_were_made_here() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    for _ in 0..3 {
        add(&b, "n", JobOptions::default()).await;
    }
    add(&b, "later", JobOptions { delay: 60_000, ..JobOptions::default() }).await;
    let _: i64 = b.raw.run(&["HSET", "job:owned", "data", "1"]).await;
    b.push("owned").await;
    assert_eq!(b.store.drain(&q, false).await.unwrap(), 4);
    assert_eq!(b.store.drain(&q, true).await.unwrap(), 1);
    let left: Vec<_> = b.raw.keys().await.into_iter().filter(|key| key != "jobs:events").collect();
    assert_eq!(left, ["job:owned"]);
}

#[tokio::test]
async fn whoever_waits_for_a_job_hears_its_end() {
    let b = Bench::new().await;
    let q = queue("overlay");
    for (verdict, ending) in [
        (complete("{\"ok\":1}"), Ending::Completed("{\"ok\":1}".to_owned())),
        (fail("bad"), Ending::Failed("bad".to_owned())),
        (
            jobcell_core::Verdict::Complete { result: "2".into(), keep: jobcell_core::Keep::None },
            Ending::Completed("2".to_owned()),
        ),
    ] {
        let after = wait::listen_from(&b.store, &q).await.unwrap();
        let name = id(&add(&b, "n", JobOptions::default()).await);
        let (store, waited) = (b.store.clone(), name.clone());
        let waiting = tokio::spawn(async move {
            wait::for_ending(&store, &queue("overlay"), &waited, after, Duration::from_secs(20)).await
        });
        let claimed = b.take().await;
        assert_eq!(claimed.id, name);
        b.done(&claimed, verdict).await;
        assert_eq!(waiting.await.unwrap().unwrap(), ending);
    }
}
