//! What is lost on the way, and that no item is: replies, hosts, connections, the server itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jobcell_core::store::{ClaimRequest, RateLimit, Refusal, StallPolicy};
use jobcell_core::{JobState, Store, StoreError};
use jobcell_redis::ListStore;

use super::{Bench, claim_as, claim_of, complete, end_of, ending, fail, job, options, store_at};
use crate::server::{NOW, Server, claim, queue};

/// Repeats a claim until the connection is back.
async fn claim_when_back(store: &ListStore, max: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match store.claim(&queue("overlay"), &claim(max, NOW)).await {
            Ok(claim) => return claim.jobs.iter().map(|job| job.id.to_string()).collect(),
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Loses the reply to the first or the second step of a claim.
async fn a_lost_claim_is_given_back(steps_answered: usize) {
    let mut b = Bench::new().await;
    let lossy = b.server.lossy().await;
    let store = store_at(&lossy.url(), options()).await;
    // The scripts are known from here on.
    b.push("warm").await;
    let warm = claim_of(&store, 1).await.jobs.remove(0);
    end_of(&store, &warm, complete("1")).await.unwrap();
    for item in ["a", "b", r#"{"id":"c"}"#] {
        b.push(item).await;
    }
    lossy.lose_replies_after(steps_answered);
    let e = store.claim(&queue("overlay"), &claim(9, NOW)).await.unwrap_err();
    assert!(e.is_transient(), "{e}");
    lossy.lose_replies(false);
    let held: i64 = b.raw.run(&["LLEN", "jobs:processing:w"]).await;
    assert_eq!(held, 3, "the scripts ran");
    assert_eq!(claim_when_back(&store, 9).await, ["a", "b", "c"], "given back at once, in their order");
    for id in ["a", "b", "c"] {
        let stalls: Option<String> = b.raw.run(&["HGET", &format!("job:{id}"), "stalls"]).await;
        assert_eq!(stalls.as_deref(), Some("0"), "nothing has stalled");
    }
}

#[tokio::test]
async fn items_whose_claim_was_never_answered_are_given_back_at_once() {
    a_lost_claim_is_given_back(0).await;
}

#[tokio::test]
async fn items_whose_start_was_never_answered_are_given_back_at_once() {
    a_lost_claim_is_given_back(1).await;
}

#[tokio::test]
async fn a_finish_whose_reply_is_lost_is_written_once() {
    let mut b = Bench::new().await;
    let lossy = b.server.lossy().await;
    let store = store_at(&lossy.url(), options()).await;
    let mut updates = b.listen().await;
    b.push("a").await;
    b.push("b").await;
    let first = claim_of(&store, 1).await.jobs.remove(0);
    lossy.lose_replies(true);
    let request = claim(1, NOW);
    let e = store.finish(&queue("overlay"), vec![ending(&first, complete("1"))], Some(&request), NOW).await;
    assert!(e.unwrap_err().is_transient());
    lossy.lose_replies(false);
    let deadline = Instant::now() + Duration::from_secs(10);
    let again = loop {
        let ends = vec![ending(&first, fail("repeated"))];
        match store.finish(&queue("overlay"), ends, None, NOW).await {
            Ok(reply) => break reply.finished[0],
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(again, Err(Refusal::NotActive));
    assert_eq!(b.raw.hash("job:a").await["result"], "1");
    let told = updates.short().await;
    assert_eq!(told.iter().filter(|told| *told == "a COMPLETED").count(), 1, "{told:?}");
    assert_eq!(claim_when_back(&store, 5).await, ["b"], "what the lost reply claimed is back");
}

#[tokio::test]
async fn items_of_a_vanished_host_go_back_to_the_right_end_in_their_order() {
    let mut b = Bench::new().await;
    for item in ["a", "b", "c", "d"] {
        b.push(item).await;
    }
    let mut updates = b.listen().await;
    let gone = b.store.claim(&queue("overlay"), &claim_as("gone", 2)).await.unwrap().jobs;
    let third = b.take().await;
    assert!(b.recover(1).await.is_empty(), "both live");
    let _: i64 = b.raw.run(&["DEL", "jobs:heartbeat:gone"]).await;
    assert_eq!(b.recover(1).await.len(), 2);
    assert_eq!(b.raw.list("jobs").await, ["d", "b", "a"], "claimed from the right: a, then b");
    assert_eq!(b.raw.run::<Vec<String>>(&["SMEMBERS", "jobs:hosts"]).await, ["w"]);
    let other = b.other().await;
    let again = claim_of(&other, 1).await.jobs.remove(0);
    assert_eq!((job(&again).attempt(), job(&again).attempts_started, job(&again).stalled_count), (1, 2, 1));
    end_of(&other, &again, complete("new")).await.unwrap();
    // The frozen host thaws: what it held is another's by now.
    let locks = [(gone[0].id.clone(), gone[0].token.clone())];
    let lost = b.store.renew(&queue("overlay"), &locks, Duration::from_secs(30)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&gone[0].id));
    assert!(b.end(&gone[0], complete("old")).await.unwrap_err().is_lost());
    assert_eq!(b.end(&gone[1], complete("old")).await, Err(Refusal::NotActive));
    assert_eq!(b.raw.hash("job:a").await["result"], "new");
    assert_eq!(b.status("b").await.as_deref(), Some("RETRYING"));
    b.done(&third, complete("1")).await;
    let told = updates.short().await;
    assert_eq!(told.iter().filter(|told| *told == "a COMPLETED").count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_frozen_host_whose_items_nobody_took_yet_has_lost_them_all_the_same() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let claimed = b.take().await;
    b.vanish().await;
    let locks = [(claimed.id.clone(), claimed.token.clone())];
    let lost = b.store.renew(&queue("overlay"), &locks, Duration::from_secs(30)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&claimed.id));
    assert_eq!(b.end(&claimed, complete("1")).await, Err(Refusal::LockExpired));
    // It claims again and so has a heartbeat, and the lost item comes back nevertheless.
    b.push("b").await;
    let next = b.take().await;
    assert_eq!(b.recover(1).await, ["a"]);
    b.done(&next, complete("1")).await;
    assert_eq!(b.take().await.id.as_str(), "a");
}

#[tokio::test]
async fn what_lies_with_a_dead_host_without_a_claim_goes_back_too() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["SADD", "jobs:hosts", "old"]).await;
    let _: i64 = b.raw.run(&["RPUSH", "jobs:processing:old", "b", "a"]).await;
    assert_eq!(b.recover(1).await, ["b", "a"]);
    assert_eq!(b.raw.list("jobs").await, ["b", "a"]);
    assert_eq!(b.leftovers().await, ["jobs"]);
}

#[tokio::test]
async fn a_job_that_takes_every_host_along_is_given_up() {
    let mut b = Bench::new().await;
    b.push("bomb").await;
    for stalls in 0..2 {
        let claimed = b.take().await;
        assert_eq!((job(&claimed).stalled_count, job(&claimed).deferred_failure.clone()), (stalls, None));
        b.vanish().await;
        assert_eq!(b.recover(1).await, ["bomb"]);
    }
    let claimed = b.take().await;
    let reason = job(&claimed).deferred_failure.clone().unwrap();
    assert_eq!(reason, "job stalled more than allowable limit");
    b.done(&claimed, fail(&reason)).await;
    assert_eq!(b.raw.list("jobs:dead").await, ["bomb"]);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_stored_keeps_its_item() {
    let mut b = Bench::new().await;
    b.push("a").await;
    b.push("b").await;
    let both = b.claim(2).await.jobs;
    let _: i64 = b.raw.run(&["DEL", "job:a"]).await;
    let _: String = b.raw.run(&["SET", "job:a", "somebody else's"]).await;
    let ends = both.iter().map(|claimed| ending(claimed, complete("1"))).collect();
    let reply = b.store.finish(&queue("overlay"), ends, None, NOW).await.unwrap();
    assert_eq!(reply.finished, [Err(Refusal::Unwritable), Ok(())], "one record's fault is no other's");
    assert_eq!(b.raw.list("jobs:processing:w").await, ["a"]);
    assert_eq!(b.recover(5).await, ["a"]);
    let claimed = b.take().await;
    let malformed = claimed.job.as_ref().unwrap_err().to_string();
    assert!(malformed.contains("job:a"), "{malformed}");
    b.done(&claimed, fail(&malformed)).await;
    assert_eq!(b.raw.list("jobs:dead").await, ["a"]);
}

#[tokio::test]
async fn a_restarted_server_has_everything_it_saved() {
    let mut b = Bench::on(Server::with(&["--appendonly", "yes", "--appendfsync", "always"]), options()).await;
    for item in ["a", "b", "c"] {
        b.push(item).await;
    }
    let claimed = b.take().await;
    let second = b.take().await;
    b.done(&second, super::retry("x", 60_000)).await;
    b.server.kill();
    b.server.restart();
    b.raw = b.server.raw().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let ended = loop {
        match b.store.finish(&queue("overlay"), vec![ending(&claimed, complete("1"))], None, NOW).await {
            Ok(reply) => break reply.finished[0],
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(ended, Ok(()), "its lock still holds");
    assert_eq!(b.status("a").await.as_deref(), Some("COMPLETED"));
    assert_eq!(b.take().await.id.as_str(), "c");
    assert_eq!(b.raw.zset("jobs:delayed").await.len(), 1);
}

#[tokio::test]
async fn a_server_that_lost_everything_is_worked_again() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let claimed = b.take().await;
    let _: String = b.raw.run(&["FLUSHALL"]).await;
    assert_eq!(b.end(&claimed, complete("1")).await, Err(Refusal::Missing));
    b.push("b").await;
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
}

const ITEMS: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_item_is_lost_or_completed_twice_while_connections_are_killed() {
    let mut b = Bench::new().await;
    let mut push = redis::pipe();
    for n in 0..ITEMS {
        push.cmd("LPUSH").arg("jobs").arg(format!("n{n}")).ignore();
    }
    let _: () = push.query_async(&mut b.raw.0).await.unwrap();
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(tokio::spawn(work(b.other().await)));
    }
    for _ in 0..10 {
        let _: i64 = b.raw.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(40);
    for worker in workers {
        tokio::time::timeout_at(deadline.into(), worker).await.unwrap().unwrap();
    }
    let events: Vec<(String, Vec<String>)> = b.raw.run(&["XRANGE", "jobs:events", "-", "+"]).await;
    assert!(!events.is_empty());
    let mut completed = HashSet::new();
    for n in 0..ITEMS {
        let record = b.raw.hash(&format!("job:n{n}")).await;
        assert_eq!((&*record["status"], &*record["attempts"]), ("COMPLETED", "1"), "n{n}");
        completed.insert(n);
    }
    assert_eq!(completed.len(), ITEMS);
    let left = b.leftovers().await;
    assert!(left.iter().all(|key| key == "jobs:hosts"), "{left:?}");
}

/// Claims and finishes until everything is done.
async fn work(store: ListStore) {
    let q = queue("overlay");
    let stalled = StallPolicy { interval: Duration::from_millis(50), max: 1000 };
    let mut ends = Vec::new();
    loop {
        let mut request = claim(8, NOW);
        request.lock = Duration::from_millis(400);
        match store.finish(&q, ends.clone(), Some(&request), NOW).await {
            Ok(reply) => {
                ends = reply.claim.jobs.iter().map(|claimed| ending(claimed, complete("1"))).collect();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(e) => {
                assert!(e.is_transient(), "{e}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if ends.is_empty() {
            let _ = store.recover_stalled(&q, stalled, NOW).await;
            if store.counts(&q).await.is_ok_and(|counts| counts.pending() == 0) {
                assert_eq!(store.counts(&q).await.map_or(0, |counts| counts.get(JobState::Failed)), 0);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_named_takes_no_item() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["SET", "jobs:hosts", "x"]).await;
    b.push("a").await;
    assert!(b.store.claim(&queue("overlay"), &claim(1, NOW)).await.is_err());
    assert_eq!(b.raw.list("jobs").await, ["a"], "an item of a host that nobody knows would never come back");
}

#[tokio::test]
async fn what_cannot_be_put_among_the_dead_has_not_failed() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["SET", "jobs:dead", "x"]).await;
    b.push("a").await;
    for stalls in 0..2 {
        let claimed = b.take().await;
        assert_eq!(job(&claimed).stalled_count, stalls, "each round counts, and so they end");
        assert_eq!(b.end(&claimed, fail("no")).await, Err(Refusal::Unwritable));
        assert_eq!(b.status("a").await.as_deref(), Some("RUNNING"));
        assert_eq!(b.recover(1).await, ["a"]);
    }
}

#[tokio::test]
async fn ends_are_written_and_told_though_nothing_can_be_claimed() {
    for key in ["jobs:locks:other", "jobs:claims:other"] {
        let mut b = Bench::new().await;
        b.push("a").await;
        let claimed = b.take().await;
        b.push("b").await;
        b.push("c").await;
        let _: i64 = b.raw.run(&["RPUSH", key, "somebody else's"]).await;
        let ends = vec![ending(&claimed, complete("1"))];
        let reply = b.store.finish(&queue("overlay"), ends, Some(&claim_as("other", 5)), NOW).await.unwrap();
        assert_eq!(reply.finished, [Ok(())], "{key}");
        assert_eq!(b.status("a").await.as_deref(), Some("COMPLETED"));
        assert!(reply.claim.jobs.is_empty() && reply.claim.rate_limited.is_some(), "{:?}", reply.claim);
        assert_eq!(b.raw.list("jobs").await, ["c", "b"], "{key}: everything is where it was");
        // A claim alone says what is wrong, and takes nothing either.
        let error = b.store.claim(&queue("overlay"), &claim_as("other", 5)).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        assert_eq!(b.raw.list("jobs").await, ["c", "b"]);
        let _: i64 = b.raw.run(&["DEL", key]).await;
        // Nothing of the tries is left that would be recovered, and run twice.
        assert_eq!(b.recover(5).await, Vec::<String>::new());
        let claim = b.store.claim(&queue("overlay"), &claim_as("other", 5)).await.unwrap();
        let order: Vec<_> = claim.jobs.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(order, ["b", "c"]);
    }
}

#[tokio::test]
async fn a_count_of_starts_that_is_no_number_begins_anew() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["SET", "jobs:limiter", "many"]).await;
    b.push("a").await;
    let rate = Some(RateLimit { max: 1, per: Duration::from_secs(60) });
    let claimed = b.store.claim(&queue("overlay"), &ClaimRequest { rate, ..claim_as("w", 5) }).await.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
    assert_eq!(b.raw.run::<String>(&["GET", "jobs:limiter"]).await, "1");
    assert!(b.raw.run::<i64>(&["PTTL", "jobs:limiter"]).await > 0);
}

#[tokio::test]
async fn memory_that_is_full_stops_no_item_that_runs() {
    let mut b = Bench::new().await;
    for item in ["a", "b", "c", "d"] {
        b.push(item).await;
    }
    let running = b.claim(3).await.jobs;
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let locks: Vec<_> = running.iter().map(|claimed| (claimed.id.clone(), claimed.token.clone())).collect();
    let lost = b.store.renew(&queue("overlay"), &locks, Duration::from_secs(30)).await.unwrap();
    assert!(lost.is_empty(), "{lost:?}");
    b.done(&running[0], complete("1")).await;
    b.done(&running[1], fail("bad")).await;
    // With a claim at once: what it took cannot be started, and goes back.
    let ends = vec![ending(&running[2], complete("1"))];
    let reply = b.store.finish(&queue("overlay"), ends, Some(&claim_as("w", 5)), NOW).await.unwrap();
    assert_eq!(reply.finished, [Ok(())]);
    assert!(reply.claim.jobs.is_empty(), "{:?}", reply.claim);
    let error = b.store.claim(&queue("overlay"), &claim_as("w", 5)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("maxmemory"), "{error}");
    assert_eq!(b.raw.list("jobs").await, ["d"]);
    assert_eq!(b.raw.list("jobs:dead").await, ["b"]);
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let claimed = b.take().await;
    assert_eq!((claimed.id.as_str(), job(&claimed).stalled_count), ("d", 0));
    b.done(&claimed, complete("1")).await;
    assert_eq!(b.leftovers().await, ["jobs:dead", "jobs:hosts"], "hosts are looked at by the next recovery");
}

#[tokio::test]
async fn a_claim_that_is_refused_is_not_given_back_again_and_again() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["SET", "jobs:hosts", "x"]).await;
    b.push("a").await;
    let _ = b.store.claim(&queue("overlay"), &claim(1, NOW)).await.unwrap_err();
    let _: () = b.raw.run(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..3 {
        let _ = b.store.claim(&queue("overlay"), &claim(1, NOW)).await.unwrap_err();
    }
    let stats: String = b.raw.run(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_evalsha:calls=3,"), "a call each: {stats}");
}
