//! Looking at jobs and changing them from outside.

use std::time::Duration;

use jobcell_core::store::{Page, Removed};
use jobcell_core::{JobOptions, JobState, Store, StoreError};

use crate::server::{Bench, NOW, complete, fail, id, job, plain, queue};

async fn listed(b: &Bench, state: JobState, page: Page) -> Vec<String> {
    b.store.list(&b.q, state, page).await.unwrap().into_iter().map(|job| job.id.to_string()).collect()
}

#[tokio::test]
async fn lists_have_what_runs_next_first_and_pages_do_not_overlap() {
    let mut b = Bench::new().await;
    b.add((0..5).map(|_| plain("n")).collect()).await;
    b.add((1..4).map(|p| job("n", JobOptions { priority: 4 - p, ..JobOptions::default() })).collect()).await;
    b.add(vec![job("n", JobOptions { delay: 9, ..JobOptions::default() })]).await;
    assert_eq!(listed(&b, JobState::Waiting, Page::first(3)).await, ["1", "2", "3"]);
    assert_eq!(listed(&b, JobState::Waiting, Page { offset: 3, limit: 3 }).await, ["4", "5"]);
    assert_eq!(listed(&b, JobState::Waiting, Page { offset: 9, limit: 3 }).await, [""; 0]);
    assert_eq!(listed(&b, JobState::Prioritized, Page::first(9)).await, ["8", "7", "6"]);
    assert_eq!(listed(&b, JobState::Delayed, Page::first(9)).await, ["9"]);
    // Split over both lists, as clients of two majors leave them.
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:paused", "9", "8"]).await;
    assert_eq!(listed(&b, JobState::Waiting, Page { offset: 4, limit: 2 }).await, ["5", "9"]);
    assert_eq!(listed(&b, JobState::Waiting, Page { offset: 6, limit: 2 }).await, ["8"]);
    let _: i64 = b.raw.run(&["DEL", "bull:q:paused"]).await;
    for _ in 0..2 {
        let (job, token, _) = b.take().await;
        b.finish(&job, &token, complete("1")).await;
    }
    assert_eq!(listed(&b, JobState::Completed, Page::first(9)).await, ["2", "1"]);
    let counts = b.store.counts(&b.q).await.unwrap();
    assert_eq!(
        (counts.get(JobState::Waiting), counts.get(JobState::Prioritized), counts.pending()),
        (3, 3, 7)
    );
}

#[tokio::test]
async fn a_delayed_job_is_promoted_and_others_are_not() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), job("b", JobOptions { delay: 9999, priority: 3, ..JobOptions::default() })]).await;
    b.raw.forget_events("q").await;
    b.store.promote(&b.q, &id("2")).await.unwrap();
    assert_eq!(b.raw.events("q").await, ["event waiting jobId 2 prev delayed"]);
    assert_eq!(b.raw.hash("bull:q:2").await["delay"], "0");
    assert_eq!(b.store.state(&b.q, &id("2")).await.unwrap(), Some(JobState::Prioritized));
    let error = b.store.promote(&b.q, &id("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongState { actual: Some(JobState::Waiting), .. }), "{error}");
    assert!(matches!(b.store.promote(&b.q, &id("9")).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_finished_job_is_retried() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let (first, token, _) = b.take().await;
    b.finish(&first, &token, fail("boom")).await;
    let (second, token, _) = b.take().await;
    b.finish(&second, &token, complete("1")).await;
    b.raw.forget_events("q").await;
    b.store.retry(&b.q, &first, true).await.unwrap();
    b.store.retry(&b.q, &second, false).await.unwrap();
    assert_eq!(
        b.raw.events("q").await,
        ["event waiting jobId 1 prev failed", "event waiting jobId 2 prev completed"]
    );
    let fields: Vec<String> = b.raw.run(&["HKEYS", "bull:q:1"]).await;
    for gone in ["failedReason", "finishedOn", "processedOn", "atm", "ats"] {
        assert!(!fields.contains(&gone.to_owned()), "{gone}");
    }
    let second = b.raw.hash("bull:q:2").await;
    assert!(second["atm"] == "1" && !second.contains_key("returnvalue"), "{second:?}");
    let error = b.store.retry(&b.q, &id("1"), true).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongState { .. }), "{error}");
}

#[tokio::test]
async fn a_job_is_removed_from_wherever_it_is_unless_it_runs() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), job("c", JobOptions { delay: 5, ..JobOptions::default() })]).await;
    let (running, token, _) = b.take().await;
    assert_eq!(b.store.remove(&b.q, &running).await.unwrap(), Removed::Running);
    b.finish(&running, &token, complete("1")).await;
    b.raw.forget_events("q").await;
    for job in ["1", "2", "3"] {
        assert_eq!(b.store.remove(&b.q, &id(job)).await.unwrap(), Removed::Yes);
        assert_eq!(b.store.remove(&b.q, &id(job)).await.unwrap(), Removed::NotFound);
    }
    assert_eq!(
        b.raw.events("q").await,
        [
            "event removed jobId 1 prev completed",
            "event removed jobId 2 prev wait",
            "event removed jobId 3 prev delayed"
        ]
    );
}

#[tokio::test]
async fn draining_leaves_running_finished_and_scheduled_jobs() {
    let mut b = Bench::new().await;
    b.add((0..1200).map(|_| plain("n")).collect()).await;
    b.add(vec![job("p", JobOptions { priority: 1, ..JobOptions::default() })]).await;
    b.add(vec![job("d", JobOptions { delay: 5, ..JobOptions::default() })]).await;
    let (running, _, _) = b.take().await;
    let scheduled = "repeat:s:1700000000001";
    let _: i64 = b.raw.run(&["HSET", &format!("bull:q:{scheduled}"), "name", "s", "rjk", "s"]).await;
    let _: i64 = b.raw.run(&["ZADD", "bull:q:repeat", "1700000000001", "s"]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", scheduled]).await;
    assert_eq!(b.store.drain(&b.q, false).await.unwrap(), 1200);
    assert_eq!(b.raw.list("bull:q:wait").await, [scheduled]);
    assert_eq!(b.store.drain(&b.q, true).await.unwrap(), 1);
    assert_eq!(b.store.state(&b.q, &running).await.unwrap(), Some(JobState::Active));
    assert_eq!(b.store.remove(&b.q, &id(scheduled)).await.unwrap(), Removed::Scheduled);
}

#[tokio::test]
async fn progress_logs_and_data_are_written_while_a_job_runs() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n")]).await;
    let job = id("1");
    b.raw.forget_events("q").await;
    b.store.set_progress(&b.q, &job, r#"{"done":3}"#.into()).await.unwrap();
    b.store.update_data(&b.q, &job, "[1]".into()).await.unwrap();
    let lines: Vec<String> = (0..4).map(|n| n.to_string()).collect();
    assert_eq!(b.store.append_logs(&b.q, &job, &lines, None).await.unwrap(), 4);
    assert_eq!(b.store.append_logs(&b.q, &job, &["4".into()], Some(3)).await.unwrap(), 3);
    assert_eq!(b.store.logs(&b.q, &job, Page { offset: 1, limit: 5 }).await.unwrap(), ["3", "4"]);
    assert_eq!(b.raw.events("q").await, [r#"event progress jobId 1 data {"done":3}"#]);
    let read = b.store.get(&b.q, &job).await.unwrap().unwrap();
    assert_eq!((&read.data[..], read.progress.as_deref()), (&b"[1]"[..], Some(&br#"{"done":3}"#[..])));
    let none = id("9");
    assert!(matches!(b.store.set_progress(&b.q, &none, "1".into()).await, Err(StoreError::NotFound(_))));
    assert!(matches!(b.store.update_data(&b.q, &none, "1".into()).await, Err(StoreError::NotFound(_))));
    assert!(matches!(b.store.append_logs(&b.q, &none, &lines, None).await, Err(StoreError::NotFound(_))));
    assert!(b.store.get(&b.q, &none).await.unwrap().is_none());
}

#[tokio::test]
async fn events_are_read_from_where_a_listener_left_off() {
    let b = Bench::new().await;
    assert_eq!(b.store.last_event(&b.q).await.unwrap(), "0-0");
    assert!(b.store.events(&b.q, "0-0", Duration::from_millis(10)).await.unwrap().is_empty());
    let (heard, _) =
        tokio::join!(b.store.events(&b.q, "0-0", Duration::from_secs(5)), b.add(vec![plain("n")]));
    let heard = heard.unwrap();
    assert_eq!((heard[0].event.as_str(), heard[0].field("name")), ("added", Some("n")));
    let last = b.store.last_event(&b.q).await.unwrap();
    assert_eq!(heard.last().unwrap().id, last);
    assert!(b.store.events(&b.q, &last, Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn queues_are_found_by_what_they_leave() {
    let mut b = Bench::new().await;
    for name in ["zeta", "alpha"] {
        b.store.add(&queue(name), vec![plain("n")], NOW).await.unwrap();
    }
    let _: i64 = b.raw.run(&["HSET", "bull:configured:meta", "concurrency", "1"]).await;
    let _: i64 = b.raw.run(&["HSET", "other:x:meta", "concurrency", "1"]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:a:b:meta", "concurrency", "1"]).await;
    assert_eq!(b.store.queues().await.unwrap(), [queue("alpha"), queue("configured"), queue("zeta")]);
}
