//! Waking an idle worker: at once, for everything that comes, and for nothing else.

use std::time::{Duration, Instant};

use jobcell_core::Store;
use jobcell_core::store::{ClaimRequest, RateLimit, Wake};

use super::{Bench, complete};
use crate::server::{NOW, claim, queue};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_wakes_every_idle_worker_at_once_and_takes_nothing() {
    let mut b = Bench::new().await;
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(b.store.waiter(&queue("overlay"), None).await.unwrap());
    }
    let mut took = Vec::new();
    for round in 0..20 {
        let waiting: Vec<_> = waiters
            .drain(..)
            .map(|mut waiter| {
                tokio::spawn(async move {
                    let wake = waiter.wait(LONG).await.unwrap();
                    (waiter, wake, Instant::now())
                })
            })
            .collect();
        // All of them block.
        loop {
            let clients: String = b.raw.run(&["CLIENT", "LIST"]).await;
            if clients.matches("cmd=blmove").count() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pushed = Instant::now();
        b.push(&format!("n{round}")).await;
        for task in waiting {
            let (waiter, wake, woken) = task.await.unwrap();
            assert_eq!(wake, Wake::Now);
            took.push(woken - pushed);
            waiters.push(waiter);
        }
        assert_eq!(b.raw.list("jobs").await, [format!("n{round}")], "waking up takes nothing");
        let claimed = b.take().await;
        b.done(&claimed, complete("1")).await;
    }
    took.sort();
    // A poll would take hundreds of times as long; the bound is for a loaded machine.
    assert!(took[took.len() / 2] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn another_systems_worker_on_the_same_list_gets_its_items() {
    let b = Bench::new().await;
    let mut waiter = b.store.waiter(&queue("overlay"), None).await.unwrap();
    let waiting = tokio::spawn(async move { waiter.wait(Duration::from_secs(3)).await.unwrap() });
    let mut old = b.server.raw().await;
    let popping = tokio::spawn(async move { old.run::<(String, String)>(&["BRPOP", "jobs", "10"]).await });
    let mut raw = b.server.raw().await;
    loop {
        let clients: String = raw.run(&["CLIENT", "LIST"]).await;
        if clients.contains("cmd=blmove") && clients.contains("cmd=brpop") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let _: i64 = raw.run(&["LPUSH", "jobs", "a"]).await;
    assert_eq!(popping.await.unwrap().1, "a");
    let _ = waiting.await.unwrap();
    assert!(b.claim(1).await.jobs.is_empty());
}

#[tokio::test]
async fn a_paused_queue_wakes_nobody_until_it_goes_on() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    b.store.pause(&q).await.unwrap();
    b.push("a").await;
    assert!(b.claim(1).await.jobs.is_empty());
    let mut waiter = b.store.waiter(&q, None).await.unwrap();
    assert_eq!(waiter.wait(Duration::from_millis(300)).await.unwrap(), Wake::TimedOut);
    let waiting = tokio::spawn(async move { waiter.wait(LONG).await.unwrap() });
    b.store.resume(&q).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Wake::Now);
    assert_eq!(b.take().await.id.as_str(), "a");
}

#[tokio::test]
async fn a_resting_queue_wakes_its_worker_when_the_rest_is_over() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    b.push("a").await;
    b.push("b").await;
    let rate = Some(RateLimit { max: 1, per: Duration::from_millis(700) });
    let first = b.store.claim(&q, &ClaimRequest { rate, ..claim(2, NOW) }).await.unwrap();
    assert_eq!(first.jobs.len(), 1);
    let rest = first.rate_limited.unwrap();
    let begun = Instant::now();
    let mut waiter = b.store.waiter(&q, None).await.unwrap();
    assert_eq!(waiter.wait(LONG).await.unwrap(), Wake::Now);
    assert!(begun.elapsed() + Duration::from_millis(100) > rest, "{:?} of {rest:?}", begun.elapsed());
}

#[tokio::test]
async fn an_item_that_another_host_delayed_is_heard_of() {
    let mut b = Bench::new().await;
    let q = queue("overlay");
    let mut waiter = b.store.waiter(&q, None).await.unwrap();
    let waiting = tokio::spawn(async move {
        let first = waiter.wait(LONG).await.unwrap();
        (first, waiter.wait(Duration::from_millis(200)).await.unwrap())
    });
    let due = NOW + 1_000_000_000_000;
    let _: i64 = b.raw.run(&["ZADD", "jobs:delayed", &due.to_string(), "later"]).await;
    assert_eq!(waiting.await.unwrap(), (Wake::At(due), Wake::TimedOut), "told once");
}
