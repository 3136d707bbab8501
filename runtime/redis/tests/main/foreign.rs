//! Records that are not what they should be: the bad one is told, the others go on.

use jobcell_core::store::Refusal;
use jobcell_core::{JobState, Store, StoreError};

use crate::server::{Bench, complete, fail, id, ids, plain};

#[tokio::test]
async fn an_id_without_a_job_is_taken_off_the_queue() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), plain("c")]).await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:1"]).await;
    let _: i64 = b.raw.run(&["HDEL", "bull:q:2", "name"]).await;
    let _: i64 = b.raw.run(&["RPUSH", "bull:q:wait", "0:marker"]).await;
    let got = b.claim(2).await;
    assert_eq!(ids(&got), ["3"]);
    assert_eq!(b.raw.list("bull:q:active").await, ["3"]);
    assert!(!b.raw.keys().await.contains(&"bull:q:1".to_owned()));
    let locks: Vec<String> = b.raw.run(&["KEYS", "*:lock"]).await;
    assert_eq!(locks, ["bull:q:3:lock"]);
}

#[tokio::test]
async fn options_that_are_no_json_come_with_the_claim() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:1", "opts", "{oops"]).await;
    let got = b.claim(1).await;
    let fault = got.jobs[0].job.clone().unwrap_err();
    assert_eq!(fault.field, "opts");
    let reply = b.finish(&got.jobs[0].id, &got.jobs[0].token, fail(&fault.to_string())).await;
    assert_eq!(reply.finished, [Ok(())]);
    let looked = b.store.get(&b.q, &id("1")).await.unwrap().unwrap();
    assert!(looked.failed_reason.unwrap().contains("opts") && looked.options_raw == "{oops");
}

#[tokio::test]
async fn a_foreign_type_under_a_jobs_key_costs_only_that_job() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:1"]).await;
    let _: () = b.raw.run(&["SET", "bull:q:1", "mine"]).await;
    assert_eq!(ids(&b.claim(2).await), ["2"]);
    let kept: String = b.raw.run(&["GET", "bull:q:1"]).await;
    assert_eq!(kept, "mine");
    let error = b.store.get(&b.q, &id("1")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt(t) if t.contains("\"bull:q:1\" holds a string, not a hash")),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_type_under_a_queues_key_is_named() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let _: () = b.raw.run(&["SET", "bull:q:prioritized", "x"]).await;
    for error in [
        b.store.claim(&b.q, &crate::server::claim(2, crate::server::NOW)).await.map(drop).unwrap_err(),
        b.store.counts(&b.q).await.map(drop).unwrap_err(),
        b.store
            .list(&b.q, JobState::Prioritized, jobcell_core::store::Page::first(1))
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        let StoreError::Corrupt(text) = &error else { panic!("{error:?}") };
        assert!(text.contains("\"bull:q:prioritized\" holds a string, not a zset"), "{text}");
    }
}

#[tokio::test]
async fn a_large_payload_and_odd_ids_pass_untouched() {
    let mut b = Bench::new().await;
    let data = "é\u{0}".repeat(3_000_000);
    b.add(vec![jobcell_core::store::NewJob::new("big", data.clone())]).await;
    let (job, token, claimed) = b.take().await;
    assert!(claimed.data == data);
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Ok(())]);
    let _: i64 = b.raw.run(&["HSET", "bull:q:repeat:s:1700000000000", "name", "s", "rjk", "s"]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "repeat:s:1700000000000"]).await;
    let (job, token, claimed) = b.take().await;
    assert_eq!((job.as_str(), claimed.scheduler.as_deref()), ("repeat:s:1700000000000", Some("s")));
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Ok(())]);
}

#[tokio::test]
async fn a_job_with_an_id_longer_than_we_would_choose_is_run_and_ended() {
    let mut b = Bench::new().await;
    let long = "x".repeat(100_000);
    let _: i64 =
        b.raw.run(&["HSET", &format!("bull:q:{long}"), "name", "n", "data", "{}", "opts", "{}"]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", &long]).await;
    let (job, token, _) = b.take().await;
    assert_eq!(job.as_str(), long);
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Ok(())]);
    assert_eq!(b.raw.zset("bull:q:completed").await[0].0, long);
    assert!(b.raw.list("bull:q:active").await.is_empty());
}

#[tokio::test]
async fn old_and_loose_fields_are_read() {
    let mut b = Bench::new().await;
    let _: i64 = b
        .raw
        .run(&[
            "HSET",
            "bull:q:x",
            "name",
            "old",
            "attemptsMade",
            "2",
            "timestamp",
            "1700000000000.5",
            "opts",
            "{}",
        ])
        .await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "x"]).await;
    let (_, _, job) = b.take().await;
    assert_eq!((job.attempts_made, job.timestamp, &job.data[..]), (2, 1_700_000_000_000, &b"{}"[..]));
}

#[tokio::test]
async fn an_end_that_cannot_be_written_leaves_the_rest_of_its_batch_whole() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), plain("c"), plain("d")]).await;
    let got = b.claim(4).await;
    // In the way of the second job's log, and the third job's whole record.
    let _: () = b.raw.run(&["SET", "bull:q:2:logs", "x"]).await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:3"]).await;
    let _: () = b.raw.run(&["SET", "bull:q:3", "x"]).await;
    let mut ends: Vec<_> =
        got.jobs.iter().map(|job| crate::server::finish(&job.id, &job.token, complete("1"))).collect();
    ends[1].recorded.logs.push("a line".to_owned());
    let reply = b.store.finish(&b.q, ends, None, crate::server::NOW).await.unwrap();
    let unwritable = Err(Refusal::Unwritable);
    assert_eq!(reply.finished, [Ok(()), unwritable, unwritable, Ok(())]);
    assert_eq!(b.store.state(&b.q, &id("1")).await.unwrap(), Some(JobState::Completed));
    assert_eq!(b.store.state(&b.q, &id("4")).await.unwrap(), Some(JobState::Completed));
    let mut active = b.raw.list("bull:q:active").await;
    active.sort();
    assert_eq!(active, ["2", "3"], "neither is lost");
}

#[tokio::test]
async fn finished_jobs_that_cannot_be_listed_stay_active() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let (job, token, _) = b.take().await;
    let _: () = b.raw.run(&["SET", "bull:q:completed", "x"]).await;
    b.finish(&job, &token, complete("1")).await;
    assert_eq!(b.raw.list("bull:q:active").await, ["1"]);
}
