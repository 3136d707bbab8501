//! Taking jobs, their locks, and getting back those of vanished workers.

use std::time::Duration;

use jobcell_core::store::{StallPolicy, Wake};
use jobcell_core::{JobOptions, Store};

use crate::server::{Bench, NOW, claim, complete, finish, id, ids, job, plain};

#[tokio::test]
async fn a_claimed_job_is_active_locked_and_counted() {
    let mut b = Bench::new().await;
    b.add(vec![plain("n")]).await;
    b.raw.forget_events("q").await;
    let mut request = claim(1, NOW + 3);
    request.worker_name = Some("media-1".into());
    let got = b.store.claim(&b.q, &request).await.unwrap();
    let claimed = &got.jobs[0];
    let job = claimed.job.clone().unwrap();
    assert_eq!((job.attempts_started, job.processed_on, job.attempt()), (1, Some(NOW + 3), 1));
    assert_eq!((&job.data[..], job.processed_by.as_deref()), (&br#"{"a":1}"#[..], Some("media-1")));
    let lock: String = b.raw.run(&["GET", "bull:q:1:lock"]).await;
    assert_eq!((lock.as_str(), claimed.token.as_str()), (claimed.token.as_str(), request.token(0).as_str()));
    let left: i64 = b.raw.run(&["PTTL", "bull:q:1:lock"]).await;
    assert!((25_000..=30_000).contains(&left), "{left}");
    let hash = b.raw.hash("bull:q:1").await;
    assert_eq!(
        (&hash["ats"][..], &hash["processedOn"][..], &hash["pb"][..]),
        ("1", "1700000000003", "media-1")
    );
    assert_eq!(b.raw.list("bull:q:active").await, ["1"]);
    assert_eq!(b.raw.events("q").await, ["event active jobId 1 prev waiting"]);
    assert_eq!(b.raw.zset("bull:q:marker").await, [("0".to_owned(), 0.0)]);
}

#[tokio::test]
async fn a_batch_comes_in_order_and_says_when_it_is_all() {
    let b = Bench::new().await;
    let with = |delay, priority, lifo| JobOptions { delay, priority, lifo, ..JobOptions::default() };
    b.add(vec![
        job("low", with(0, 9, false)),
        job("high", with(0, 1, false)),
        plain("a"),
        plain("b"),
        job("lifo", with(0, 0, true)),
        job("later", with(5000, 0, false)),
        job("soon", with(1000, 3, false)),
    ])
    .await;
    let first = b.claim(2).await;
    assert_eq!((ids(&first), first.next_due), (vec!["5", "3"], None));
    let rest = b.claim(10).await;
    assert_eq!((ids(&rest), rest.next_due), (vec!["4", "2", "1"], Some(NOW + 1000)));
    let tokens: std::collections::HashSet<_> =
        first.jobs.iter().chain(&rest.jobs).map(|j| &j.token).collect();
    assert_eq!(tokens.len(), 5);
    let due = b.store.claim(&b.q, &claim(10, NOW + 1000)).await.unwrap();
    assert_eq!((ids(&due), due.next_due), (vec!["7"], Some(NOW + 5000)));
    assert_eq!(due.jobs[0].job.clone().unwrap().delay, 0);
}

#[tokio::test]
async fn what_came_due_is_told_and_waits_by_its_priority() {
    let mut b = Bench::new().await;
    let with = |priority| JobOptions { delay: 10, priority, ..JobOptions::default() };
    b.add(vec![job("a", with(0)), job("b", with(4))]).await;
    b.raw.forget_events("q").await;
    let got = b.store.claim(&b.q, &claim(1, NOW + 10)).await.unwrap();
    assert_eq!(ids(&got), ["1"]);
    assert_eq!(
        b.raw.events("q").await,
        [
            "event waiting jobId 1 prev delayed",
            "event waiting jobId 2 prev delayed",
            "event active jobId 1 prev waiting"
        ]
    );
    assert_eq!(b.raw.zset("bull:q:prioritized").await[0].0, "2");
    assert_eq!(b.raw.hash("bull:q:2").await["delay"], "0");
}

#[tokio::test]
async fn locks_are_renewed_in_one_go_and_lost_ones_are_told() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), plain("c")]).await;
    let got = b.claim(3).await;
    let locks: Vec<_> = got.jobs.iter().map(|j| (j.id.clone(), j.token.clone())).collect();
    let _: i64 = b.raw.run(&["DEL", "bull:q:1:lock"]).await;
    let _: () = b.raw.run(&["SET", "bull:q:2:lock", "other"]).await;
    let _: i64 = b.raw.run(&["SADD", "bull:q:stalled", "1", "2", "3"]).await;
    let lost = b.store.renew(&b.q, &locks, Duration::from_secs(90)).await.unwrap();
    assert_eq!(lost, [id("1"), id("2")]);
    assert!(b.raw.run::<i64>(&["PTTL", "bull:q:3:lock"]).await > 80_000);
    let mut stalled: Vec<String> = b.raw.run(&["SMEMBERS", "bull:q:stalled"]).await;
    stalled.sort();
    assert_eq!(stalled, ["1", "2"]);
}

#[tokio::test]
async fn a_job_of_a_vanished_worker_comes_back_and_at_last_fails() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let policy = StallPolicy { interval: Duration::from_millis(20), max: 1 };
    for round in 1..=2u64 {
        let (job, token, _) = b.take().await;
        // First it is only noted, then it is lockless.
        round_of(&mut b, policy).await;
        let _: i64 = b.raw.run(&["DEL", "bull:q:1:lock"]).await;
        b.raw.forget_events("q").await;
        let recovered = round_of(&mut b, policy).await;
        assert_eq!(recovered, [id("1")]);
        assert_eq!(b.raw.events("q").await, ["event waiting jobId 1 prev active", "event stalled jobId 1"]);
        assert_eq!(b.raw.hash("bull:q:1").await["stc"], round.to_string());
        let late = b.finish(&job, &token, complete("1")).await;
        assert_eq!(late.finished, [Err(jobcell_core::store::Refusal::LockExpired)]);
    }
    let (_, _, job) = b.take().await;
    assert_eq!(job.deferred_failure.as_deref(), Some("job stalled more than allowable limit"));
    assert_eq!((job.stalled_count, job.attempts_started, job.attempts_made), (2, 3, 0));
}

/// Runs a round once the throttle of the last one is over.
async fn round_of(b: &mut Bench, policy: StallPolicy) -> Vec<jobcell_core::JobId> {
    let _: i64 = b.raw.run(&["DEL", "bull:q:stalled-check"]).await;
    let done = b.store.recover_stalled(&b.q, policy, NOW).await.unwrap().jobs;
    // A second worker's round right after does nothing.
    let other = StallPolicy { interval: Duration::from_secs(60), ..policy };
    assert!(b.store.recover_stalled(&b.q, other, NOW).await.unwrap().jobs.is_empty());
    done
}

#[tokio::test]
async fn a_waiter_hears_of_work_at_once() {
    let mut b = Bench::new().await;
    let mut waiter = b.store.waiter(&b.q, Some("media-1")).await.unwrap();
    assert_eq!(waiter.wait(Duration::from_millis(5)).await.unwrap(), Wake::TimedOut);
    let clients: String = b.raw.run(&["CLIENT", "LIST"]).await;
    assert!(clients.contains("name=bull:cQ==:w:media-1 "), "{clients}");
    let (woken, _) = tokio::join!(waiter.wait(Duration::from_secs(5)), b.add(vec![plain("a")]));
    assert_eq!(woken.unwrap(), Wake::Now);
    let options = JobOptions { delay: 5000, ..JobOptions::default() };
    b.add(vec![job("later", options)]).await;
    assert_eq!(waiter.wait(Duration::from_secs(5)).await.unwrap(), Wake::At(NOW + 5000));
}

#[tokio::test]
async fn a_waiter_comes_back_after_its_connection_was_killed() {
    let mut b = Bench::new().await;
    let mut waiter = b.store.waiter(&b.q, None).await.unwrap();
    let _: i64 = b.raw.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    assert!(waiter.wait(Duration::from_secs(5)).await.unwrap_err().is_transient());
    let _: i64 = b.raw.run(&["ZADD", "bull:q:marker", "0", "0"]).await;
    assert_eq!(waiter.wait(Duration::from_secs(5)).await.unwrap(), Wake::Now);
    let clients: String = b.raw.run(&["CLIENT", "LIST"]).await;
    assert!(clients.contains("name=bull:cQ== "), "{clients}");
}

#[tokio::test]
async fn a_claim_after_a_finish_shares_its_round_trip() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b"), plain("c")]).await;
    let got = b.claim(2).await;
    b.raw.forget_events("q").await;
    let finishes = got.jobs.iter().map(|j| finish(&j.id, &j.token, complete("1"))).collect();
    let reply = b.store.finish(&b.q, finishes, Some(&claim(2, NOW + 5)), NOW + 5).await.unwrap();
    assert_eq!(reply.finished, [Ok(()), Ok(())]);
    assert_eq!(ids(&reply.claim), ["3"]);
    assert_eq!(
        b.raw.events("q").await,
        [
            "event completed jobId 1 returnvalue 1 prev active",
            "event completed jobId 2 returnvalue 1 prev active",
            "event active jobId 3 prev waiting"
        ]
    );
}

#[tokio::test]
async fn an_id_that_waits_twice_is_run_once() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a"), plain("b")]).await;
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "1", "2", "1"]).await;
    let claimed = b.claim(9).await;
    assert_eq!(ids(&claimed), ["1", "2"], "in one claim");
    let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", "1"]).await;
    assert!(b.claim(1).await.jobs.is_empty(), "while it runs");
    for job in &claimed.jobs {
        assert_eq!(b.finish(&job.id, &job.token, complete("1")).await.finished, [Ok(())]);
    }
    for list in ["bull:q:wait", "bull:q:active"] {
        assert!(b.raw.list(list).await.is_empty(), "{list}");
    }
    let events = b.raw.events("q").await;
    assert_eq!(events.iter().filter(|e| e.starts_with("event completed")).count(), 2);
}

#[tokio::test]
async fn a_lock_that_was_left_behind_does_not_keep_a_waiting_job_from_running() {
    let mut b = Bench::new().await;
    b.add(vec![plain("a")]).await;
    let _: String = b.raw.run(&["SET", "bull:q:1:lock", "old", "PX", "60000"]).await;
    let (job, token, _) = b.take().await;
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Ok(())]);
}
