//! Records that are not what they should be: the bad one is told, the others go on.

use std::time::Duration;

use jobcell_core::store::{RateLimit, Refusal, SeriesPoints, StallPolicy};
use jobcell_core::{JobOptions, JobState, Store, StoreError};
use jobcell_redis::{BullStore, ConnectOptions, Redis, StoreOptions};

use crate::server::{Bench, NOW, complete, fail, id, ids, job, plain};

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

/// Something that none of a queue's keys holds.
const FOREIGN: [(&str, &[&str]); 2] = [("string", &["SET"]), ("list", &["RPUSH"])];

/// Puts something else under a key; returns what.
async fn spoil(b: &mut Bench, key: &str, kind: &str) -> &'static str {
    let (name, command) = FOREIGN.into_iter().find(|(name, _)| *name != kind).unwrap();
    let _: redis::Value = b.raw.run(&["DEL", key]).await;
    let _: redis::Value = b.raw.run(&[command[0], key, "x"]).await;
    name
}

/// The keys of a queue and what they hold.
const QUEUE_KEYS: [(&str, &str); 16] = [
    ("wait", "list"),
    ("paused", "list"),
    ("active", "list"),
    ("prioritized", "zset"),
    ("pc", "string"),
    ("delayed", "zset"),
    ("waiting-children", "zset"),
    ("completed", "zset"),
    ("failed", "zset"),
    ("marker", "zset"),
    ("meta", "hash"),
    ("id", "string"),
    ("events", "stream"),
    ("stalled", "set"),
    ("limiter", "string"),
    ("metrics:completed", "hash"),
];

#[tokio::test]
async fn a_foreign_type_under_a_queues_key_is_named() {
    let mut b = Bench::new().await;
    spoil(&mut b, "bull:q:prioritized", "list").await;
    for error in [
        b.store.claim(&b.q, &crate::server::claim(2, NOW)).await.map(drop).unwrap_err(),
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
async fn no_waiting_job_is_lost_to_a_foreign_type_under_any_key() {
    for wanted in [1, 3] {
        for (last, kind) in QUEUE_KEYS {
            let mut b = Bench::new().await;
            b.add(vec![plain("a"), plain("b")]).await;
            let key = format!("bull:q:{last}");
            let what = spoil(&mut b, &key, kind).await;
            let mut request = crate::server::claim(wanted, NOW);
            request.rate = Some(RateLimit { max: 10, per: Duration::from_secs(60) });
            let claimed = match b.store.claim(&b.q, &request).await {
                Ok(claim) => ids(&claim).iter().map(|id| (*id).to_owned()).collect(),
                Err(StoreError::Corrupt(text)) => {
                    let told = format!("{key:?} holds a {what}, not a {kind}");
                    assert!(text.contains(&told), "{last}: {text}");
                    Vec::new()
                }
                Err(other) => panic!("{last}: {other:?}"),
            };
            // What was claimed runs; what was not stands where it stood, without a lock or a count of starts.
            for (n, id) in ["1", "2"].into_iter().enumerate() {
                let record = b.raw.hash(&format!("bull:q:{id}")).await;
                let locks: i64 = b.raw.run(&["EXISTS", &format!("bull:q:{id}:lock")]).await;
                let started = claimed.iter().any(|claimed| claimed == id);
                assert_eq!((locks == 1, record.contains_key("ats")), (started, started), "{last}: {id}");
                if !started && last != "wait" {
                    assert!(
                        b.raw.list("bull:q:wait").await.contains(&id.to_owned()),
                        "{last}: job {n} is lost"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn ends_are_written_whatever_else_is_in_the_way() {
    for (last, kind) in QUEUE_KEYS {
        // Where these are foreign, an end cannot be written; what becomes of it then is told below.
        if ["meta", "events", "completed", "active"].contains(&last) {
            continue;
        }
        let mut b = Bench::new().await;
        let redis = Redis::connect(ConnectOptions::from_url(&b.server.url()).unwrap()).await.unwrap();
        b.store = BullStore::new(redis, StoreOptions { series: SeriesPoints::all(3) });
        b.add(vec![plain("a"), plain("b"), plain("c")]).await;
        let got = b.claim(2).await;
        spoil(&mut b, &format!("bull:q:{last}"), kind).await;
        let ends = got.jobs.iter().map(|job| crate::server::finish(&job.id, &job.token, complete("1")));
        let reply = b.store.finish(&b.q, ends.collect(), Some(&crate::server::claim(1, NOW)), NOW).await;
        assert_eq!(reply.unwrap().finished, [Ok(()), Ok(())], "{last}");
        let done: Vec<String> = b.raw.zset("bull:q:completed").await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(done, ["1", "2"], "{last}");
    }
}

#[tokio::test]
async fn an_end_that_no_listener_could_be_told_of_keeps_its_job_active() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let got = b.claim(2).await;
    spoil(&mut b, "bull:q:events", "stream").await;
    let ends = got.jobs.iter().map(|job| crate::server::finish(&job.id, &job.token, complete("1")));
    let reply = b.store.finish(&b.q, ends.collect(), None, NOW).await.unwrap();
    assert_eq!(reply.finished, [Err(Refusal::Unwritable), Err(Refusal::Unwritable)]);
    assert_eq!(b.raw.list("bull:q:active").await.len(), 2);
}

#[tokio::test]
async fn jobs_that_nobody_can_run_are_failed_where_they_are_seen() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let bytes = b"caf\xe9 \xff".to_vec();
    for id in [&b""[..], &bytes[..], b"nameless", "ol\u{e9}".as_bytes()] {
        let key = [b"bull:q:", id].concat();
        let mut made = redis::cmd("HSET");
        made.arg(&key).arg("data").arg("{}").arg("timestamp").arg(5);
        if id != b"nameless" {
            made.arg("name").arg("n");
        }
        let _: i64 = made.query_async(&mut b.raw.0).await.unwrap();
        let _: i64 = redis::cmd("LPUSH").arg("bull:q:wait").arg(id).query_async(&mut b.raw.0).await.unwrap();
    }
    b.raw.forget_events("q").await;
    let got = b.claim(9).await;
    assert_eq!(ids(&got), ["1", "ol\u{e9}"], "the others go on");
    assert_eq!(b.raw.list("bull:q:active").await.len(), 2);
    let failed: Vec<Vec<u8>> = b.raw.run(&["ZRANGE", "bull:q:failed", "0", "-1"]).await;
    assert_eq!(failed, [b"".to_vec(), bytes.clone(), b"nameless".to_vec()]);
    for (key, why) in
        [(&b"bull:q:"[..], "is empty"), (b"bull:q:caf\xe9 \xff", "UTF-8"), (b"bull:q:nameless", "no name")]
    {
        let mut look = redis::cmd("HGET");
        let reason: String = look.arg(key).arg("failedReason").query_async(&mut b.raw.0).await.unwrap();
        assert!(reason.contains(why), "{reason}");
        let locks: i64 =
            redis::cmd("EXISTS").arg([key, b":lock"].concat()).query_async(&mut b.raw.0).await.unwrap();
        assert_eq!(locks, 0);
    }
    let events: Vec<(String, Vec<Vec<u8>>)> = b.raw.run(&["XRANGE", "bull:q:events", "-", "+"]).await;
    let told =
        events.iter().filter(|(_, fields)| fields[1] == b"failed").map(|(_, fields)| fields[3].clone());
    assert_eq!(told.collect::<Vec<_>>(), failed);
    // Somebody else's worker left one behind: it comes back to be failed, too.
    let _: i64 = redis::cmd("ZREM").arg("bull:q:failed").arg(&bytes).query_async(&mut b.raw.0).await.unwrap();
    let _: i64 =
        redis::cmd("LPUSH").arg("bull:q:active").arg(&bytes).query_async(&mut b.raw.0).await.unwrap();
    let _: i64 =
        redis::cmd("SADD").arg("bull:q:stalled").arg(&bytes).query_async(&mut b.raw.0).await.unwrap();
    b.store.recover_stalled(&b.q, stall_policy(), NOW).await.unwrap();
    assert!(b.claim(1).await.jobs.is_empty());
    let failed: Vec<Vec<u8>> = b.raw.run(&["ZRANGE", "bull:q:failed", "0", "-1"]).await;
    assert_eq!(failed.len(), 3);
}

#[tokio::test]
async fn due_jobs_are_not_lost_to_what_is_in_their_way() {
    let mut b = Bench::new().await;
    let delayed = |name, priority| job(name, JobOptions { delay: 5, priority, ..JobOptions::default() });
    b.add(vec![delayed("a", 0), delayed("b", 7), delayed("c", 0)]).await;
    // In the way of the first job's record, and of every priority.
    spoil(&mut b, "bull:q:1", "hash").await;
    spoil(&mut b, "bull:q:pc", "string").await;
    let later = crate::server::claim(9, NOW + 10);
    let error = b.store.claim(&b.q, &later).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("bull:q:pc"), "{error}");
    let kept: Vec<String> = b.raw.run(&["ZRANGE", "bull:q:delayed", "0", "-1"]).await;
    assert_eq!(kept, ["2", "3"]);
    let _: i64 = b.raw.run(&["DEL", "bull:q:pc"]).await;
    assert_eq!(ids(&b.store.claim(&b.q, &later).await.unwrap()), ["3", "2"]);
}

#[tokio::test]
async fn a_job_that_cannot_be_placed_leaves_nothing_behind() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    spoil(&mut b, "bull:q:pc", "string").await;
    let prior = job("b", JobOptions { priority: 3, ..JobOptions::default() });
    let error = b.store.add(&b.q, vec![prior], NOW).await.unwrap_err();
    assert!(error.to_string().contains("\"bull:q:pc\" holds a list, not a string"), "{error}");
    assert!(b.raw.hash("bull:q:2").await.is_empty());
    b.add(vec![plain("c")]).await;
    assert_eq!(ids(&b.claim(9).await), ["1", "3"]);
}

#[tokio::test]
async fn settings_that_are_no_numbers_limit_nothing() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let _: i64 =
        b.raw.run(&["HSET", "bull:q:meta", "concurrency", "abc", "max", "many", "duration", "long"]).await;
    let _: () = b.raw.run(&["SET", "bull:q:limiter", "soon"]).await;
    let mut request = crate::server::claim(9, NOW);
    request.rate = Some(RateLimit { max: 10, per: Duration::from_secs(60) });
    assert_eq!(ids(&b.store.claim(&b.q, &request).await.unwrap()), ["1", "2"]);
    let window: i64 = b.raw.run(&["PTTL", "bull:q:limiter"]).await;
    assert!(window > 0, "the window began anew");
}

#[tokio::test]
async fn a_foreign_key_does_not_keep_stalled_jobs_from_coming_back() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    b.take().await;
    let _: i64 = b.raw.run(&["DEL", "bull:q:1:lock"]).await;
    let _: i64 = b.raw.run(&["SADD", "bull:q:stalled", "1"]).await;
    spoil(&mut b, "bull:q:stalled-check", "string").await;
    let recovered = b.store.recover_stalled(&b.q, stall_policy(), NOW).await.unwrap();
    assert_eq!(recovered.jobs, [id("1")]);
    let again = b.store.recover_stalled(&b.q, stall_policy(), NOW).await.unwrap();
    assert!(again.jobs.is_empty(), "rounds keep their distance");
}

fn stall_policy() -> StallPolicy {
    StallPolicy { interval: Duration::from_secs(30), max: 1 }
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
    let reply = b.store.finish(&b.q, ends, None, NOW).await.unwrap();
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
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Err(Refusal::Unwritable)]);
    assert_eq!(b.raw.list("bull:q:active").await, ["1"]);
}

#[tokio::test]
async fn what_somebody_else_keeps_under_a_queues_name_hides_no_other_queue() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let _: () = b.raw.run(&["SET", "bull:settings:meta", "mine"]).await;
    let _: i64 = b.raw.run(&["RPUSH", "bull:users:id", "7"]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:seen:meta", "version", "bullmq:5.0.0"]).await;
    let _: i64 = b.raw.run(&["INCR", "bull:old:id"]).await;
    let queues = b.store.queues().await.unwrap();
    assert_eq!(queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["old", "q", "seen"]);
}

#[tokio::test]
async fn a_request_that_another_worker_did_not_hear_ends_the_next_attempt() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let first = b.claim(1).await.jobs.remove(0);
    b.store.cancel(&b.q, &first.id, NOW + 1).await.unwrap();
    // What a worker of another make does with a failed attempt: it takes the lock away and puts the job back.
    let _: i64 = b.raw.run(&["DEL", "bull:q:1:lock"]).await;
    let _: i64 = b.raw.run(&["LREM", "bull:q:active", "1", "1"]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "1"]).await;
    let second = b.claim(1).await.jobs.remove(0);
    let told = second.job.unwrap().deferred_failure.clone();
    assert_eq!(told.as_deref(), Some("the job was cancelled"));
    // Told once: whoever retries the job by hand afterwards means it.
    let left: bool = b.raw.run(&["HEXISTS", "bull:q:jobcell:cancel", "1"]).await;
    assert!(!left);
}

#[tokio::test]
async fn a_request_for_an_earlier_attempt_ends_no_later_one() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let first = b.claim(1).await.jobs.remove(0);
    b.store.cancel(&b.q, &first.id, NOW + 1).await.unwrap();
    for starts in ["5", "7"] {
        // Others have run it meanwhile.
        let _: i64 = b.raw.run(&["HSET", "bull:q:1", "ats", starts]).await;
        let _: i64 = b.raw.run(&["DEL", "bull:q:1:lock"]).await;
        let _: i64 = b.raw.run(&["LREM", "bull:q:active", "1", "1"]).await;
        let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "1"]).await;
        let again = b.claim(1).await.jobs.remove(0);
        assert_eq!(again.job.unwrap().deferred_failure, None);
    }
}
