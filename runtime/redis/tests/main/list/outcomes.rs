//! How attempts end, and what stays of their jobs.

use std::time::Duration;

use jobcell_core::options::KeepLimits;
use jobcell_core::store::{ClaimRequest, RateLimit, Verdict};
use jobcell_core::{Keep, Store};
use jobcell_redis::ListOptions;

use super::{Bench, complete, ending, fail, job, options, retry};
use crate::server::{NOW, claim, queue};

#[tokio::test]
async fn a_job_is_tried_again_after_its_delay_and_is_dead_when_its_attempts_are_used_up() {
    let mut b = Bench::new().await;
    let mut updates = b.listen().await;
    let item = r#"{"id":"a","tenantId":"t","data":1}"#;
    b.push(item).await;
    let first = b.take().await;
    b.done(&first, retry("down", 1000)).await;
    assert_eq!(b.raw.zset("jobs:delayed").await, [(item.to_owned(), (NOW + 5 + 1000) as f64)]);
    let record = b.raw.hash("job:a").await;
    assert_eq!((&*record["status"], &*record["error"], &*record["attempts"]), ("RETRYING", "down", "1"));
    assert!(b.claim(1).await.jobs.is_empty());
    let early = b.store.claim(&queue("overlay"), &claim(1, NOW + 1004)).await.unwrap();
    assert_eq!((early.jobs.len(), early.next_due), (0, Some(NOW + 1005)));
    let again = b.store.claim(&queue("overlay"), &claim(1, NOW + 1005)).await.unwrap().jobs.remove(0);
    assert_eq!((job(&again).attempt(), job(&again).attempts_started), (2, 2));
    assert_eq!(job(&again).stacktrace, ["down"]);
    b.done(&again, fail("down for good")).await;
    assert_eq!(b.raw.list("jobs:dead").await, [item]);
    let record = b.raw.hash("job:a").await;
    assert_eq!(
        (&*record["status"], &*record["error"], &*record["attempts"]),
        ("FAILED", "down for good", "2")
    );
    assert_eq!(updates.short().await, ["a RUNNING", "a RETRYING", "a RUNNING", "a FAILED"]);
    assert!(updates.all().await.iter().all(|told| told.contains(r#""tenantId":"t""#)));
    assert_eq!(b.leftovers().await, ["jobs:dead", "jobs:hosts"]);
}

#[tokio::test]
async fn given_back_items_are_next_and_use_no_attempt() {
    let mut b = Bench::new().await;
    for item in ["a", "b", "c"] {
        b.push(item).await;
    }
    let claimed = b.take().await;
    b.done(&claimed, Verdict::Release).await;
    assert_eq!(b.raw.list("jobs").await, ["c", "b", "a"]);
    let claimed = b.take().await;
    assert_eq!((claimed.id.as_str(), job(&claimed).attempt(), job(&claimed).attempts_started), ("a", 1, 2));
    b.done(&claimed, Verdict::DelayUntil(NOW + 60_000)).await;
    assert_eq!(b.raw.zset("jobs:delayed").await, [("a".to_owned(), (NOW + 60_000) as f64)]);
    let claimed = b.take().await;
    b.done(&claimed, Verdict::RateLimit(Duration::from_secs(60))).await;
    let resting = b.claim(5).await;
    assert!(resting.jobs.is_empty() && resting.rate_limited.is_some_and(|rest| rest.as_secs() > 50));
    assert_eq!(b.raw.list("jobs").await, ["c", "b"]);
}

#[tokio::test]
async fn any_bytes_are_a_result() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let claimed = b.take().await;
    let result = bytes::Bytes::from_static(b"\xff\x00 not JSON");
    b.done(&claimed, Verdict::Complete { result: result.clone(), keep: Keep::All }).await;
    let stored: Vec<u8> = b.raw.run(&["HGET", "job:a", "result"]).await;
    assert_eq!(stored, result);
    let looked = b.store.get(&queue("overlay"), &claimed.id).await.unwrap().unwrap();
    assert_eq!(looked.result, Some(result));
}

#[tokio::test]
async fn a_record_that_nobody_else_made_goes_after_a_while() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
    let expires: i64 = b.raw.run(&["TTL", "job:a"]).await;
    assert!(expires > 86_000 && expires <= 86_400, "{expires}");
    // Pushed again meanwhile, it lives on with its job.
    b.push("a").await;
    let claimed = b.take().await;
    assert_eq!(b.raw.run::<i64>(&["TTL", "job:a"]).await, -1);
    assert_eq!((job(&claimed).attempt(), job(&claimed).attempts_started), (1, 1), "a job like any other");
    let record = b.raw.hash("job:a").await;
    assert!(!record.contains_key("result") && !record.contains_key("finishedAt"), "{record:?}");

    let mut b = Bench::with(ListOptions { own_records: None, ..options() }).await;
    b.push("a").await;
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
    assert_eq!(b.raw.run::<i64>(&["TTL", "job:a"]).await, -1);
}

#[tokio::test]
async fn what_is_kept_of_completed_jobs_is_their_record_for_so_long() {
    let mut b = Bench::new().await;
    let age = Keep::UpTo(KeepLimits { age: Some(3600), ..KeepLimits::default() });
    for (id, keep, seconds) in [("none", Keep::None, 10), ("age", age, 3600)] {
        let _: i64 = b.raw.run(&["HSET", &format!("job:{id}"), "data", "1"]).await;
        b.push(id).await;
        let claimed = b.take().await;
        let lines = ["one".to_owned()];
        b.store.append_logs(&queue("overlay"), &claimed.id, &lines, None).await.unwrap();
        b.done(&claimed, Verdict::Complete { result: "1".into(), keep }).await;
        for key in [format!("job:{id}"), format!("job:{id}:logs")] {
            let expires: i64 = b.raw.run(&["TTL", &key]).await;
            assert!(expires > seconds - 5 && expires <= seconds, "{key}: {expires}");
        }
    }
}

#[tokio::test]
async fn of_failed_jobs_all_none_or_the_newest_stay() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["HSET", "job:n1", "data", "1"]).await;
    let two = Keep::UpTo(KeepLimits { count: Some(2), ..KeepLimits::default() });
    for n in 0..4 {
        b.push(&format!("n{n}")).await;
        let claimed = b.take().await;
        let Verdict::Fail { reason, stacktrace, attempts_max, .. } = fail("bad") else { unreachable!() };
        b.done(&claimed, Verdict::Fail { reason, stacktrace, attempts_max, keep: two.clone() }).await;
    }
    assert_eq!(b.raw.list("jobs:dead").await, ["n3", "n2"]);
    let records = b.raw.keys().await.into_iter().filter(|key| key.starts_with("job:")).collect::<Vec<_>>();
    assert_eq!(records, ["job:n1", "job:n2", "job:n3"], "the record made here went with its item");
    b.push("x").await;
    let claimed = b.take().await;
    let none = Verdict::Fail { reason: "x".into(), stacktrace: vec![], attempts_max: 1, keep: Keep::None };
    b.done(&claimed, none).await;
    assert_eq!(b.raw.list("jobs:dead").await, ["n3", "n2"]);
    assert_eq!(b.status("x").await.as_deref(), Some("FAILED"), "for as long as somebody may wait for it");
    assert!(b.raw.run::<i64>(&["TTL", "job:x"]).await <= 10);
}

#[tokio::test]
async fn what_an_attempt_said_is_in_the_record() {
    let mut b = Bench::new().await;
    b.push(r#"{"id":"a","data":{"step":1}}"#).await;
    let claimed = b.take().await;
    let mut end = ending(&claimed, retry("again", 0));
    end.recorded.logs = (0..5).map(|n| format!("line {n}")).collect();
    end.recorded.progress = Some("50".into());
    end.recorded.data = Some("{\"step\":2}".into());
    end.keep_logs = Some(3);
    b.store.finish(&queue("overlay"), vec![end], None, NOW).await.unwrap();
    assert_eq!(b.raw.list("job:a:logs").await, ["line 2", "line 3", "line 4"]);
    let claimed = b.take().await;
    assert_eq!(
        (&job(&claimed).data[..], job(&claimed).progress.as_deref()),
        (&b"{\"step\":2}"[..], Some(&b"50"[..]))
    );
    b.done(&claimed, complete("1")).await;
    // A new job of the same id starts from its own data, with an empty log.
    b.push(r#"{"id":"a","data":{"step":1}}"#).await;
    let claimed = b.take().await;
    assert_eq!((&job(&claimed).data[..], job(&claimed).progress.as_deref()), (&b"{\"step\":1}"[..], None));
    assert!(b.raw.list("job:a:logs").await.is_empty());
}

#[tokio::test]
async fn a_rate_holds_over_all_hosts() {
    let mut b = Bench::new().await;
    for n in 0..9 {
        b.push(&format!("n{n}")).await;
    }
    let rate = Some(RateLimit { max: 4, per: Duration::from_secs(60) });
    let other = b.other().await;
    let first = b.store.claim(&queue("overlay"), &ClaimRequest { rate, ..claim(3, NOW) }).await.unwrap();
    assert_eq!((first.jobs.len(), first.rate_limited), (3, None));
    let second = other.claim(&queue("overlay"), &ClaimRequest { rate, ..claim(3, NOW) }).await.unwrap();
    assert_eq!(second.jobs.len(), 1);
    assert!(second.rate_limited.is_some_and(|rest| rest.as_secs() > 50));
    let third = b.store.claim(&queue("overlay"), &ClaimRequest { rate, ..claim(3, NOW) }).await.unwrap();
    assert!(third.jobs.is_empty() && third.rate_limited.is_some());
    assert_eq!(b.raw.list("jobs").await.len(), 5, "nothing is claimed that may not start");
}

#[tokio::test]
async fn a_record_that_is_deleted_while_its_job_runs_comes_back_for_a_while_only() {
    let mut b = Bench::new().await;
    let goes = 86_000..=86_400;
    for (id, again) in [("a", false), ("b", true)] {
        let record = format!("job:{id}");
        let _: i64 = b.raw.run(&["HSET", &record, "data", "1"]).await;
        b.push(id).await;
        let mut claimed = b.take().await;
        let _: i64 = b.raw.run(&["DEL", &record]).await;
        if again {
            // What a failed attempt writes is there before the last one ends.
            b.done(&claimed, retry("no", 0)).await;
            claimed = b.take().await;
        }
        b.done(&claimed, complete("1")).await;
        let found = b.raw.hash(&record).await;
        assert_eq!((found["status"].as_str(), found["result"].as_str()), ("COMPLETED", "1"));
        let expires: i64 = b.raw.run(&["TTL", &record]).await;
        assert!(goes.contains(&expires), "{id}: {expires}");
    }
    // With a host that vanished in between.
    b.push("c").await;
    let _ = b.take().await;
    let _: i64 = b.raw.run(&["DEL", "job:c"]).await;
    b.vanish().await;
    assert_eq!(b.recover(5).await, ["c"]);
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
    assert!(goes.contains(&b.raw.run::<i64>(&["TTL", "job:c"]).await));
    // A dead one goes with its item.
    b.push("d").await;
    let claimed = b.take().await;
    let _: i64 = b.raw.run(&["DEL", "job:d"]).await;
    b.done(&claimed, fail("bad")).await;
    assert_eq!(b.status("d").await.as_deref(), Some("FAILED"));
    b.store.remove(&queue("overlay"), &claimed.id).await.unwrap();
    assert_eq!(b.raw.run::<i64>(&["EXISTS", "job:d"]).await, 0);
}
