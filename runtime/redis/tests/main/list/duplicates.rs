//! The same job more than once: a list does not mind, and neither may be lost or run beside the other.

use super::{Bench, claim_as, complete, end_of, job, retry};
use crate::server::{NOW, claim, queue};
use jobcell_core::Store;

#[tokio::test]
async fn the_same_id_twice_runs_one_after_the_other() {
    let mut b = Bench::new().await;
    let mut updates = b.listen().await;
    for item in ["a", "a", r#"{"id":"a"}"#, "b"] {
        b.push(item).await;
    }
    let both = b.claim(9).await.jobs;
    assert_eq!(both.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(b.claim(9).await.jobs.is_empty(), "the others wait for its end, and do not turn in circles");
    let other = b.other().await;
    assert!(super::claim_of(&other, 9).await.jobs.is_empty());
    b.done(&both[0], complete("1")).await;
    let second = super::claim_of(&other, 9).await.jobs;
    assert_eq!(second.len(), 1);
    assert!(b.claim(9).await.jobs.is_empty());
    end_of(&other, &second[0], complete("2")).await.unwrap();
    let third = b.take().await;
    b.done(&third, complete("3")).await;
    b.done(&both[1], complete("b")).await;
    assert_eq!(b.raw.hash("job:a").await["result"], "3");
    assert_eq!(updates.short().await.iter().filter(|told| *told == "a COMPLETED").count(), 3);
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn equal_items_are_all_delayed_and_all_come_back() {
    let mut b = Bench::new().await;
    for _ in 0..3 {
        b.push("a").await;
        let claimed = b.take().await;
        b.done(&claimed, retry("later", 1000)).await;
    }
    assert_eq!(b.raw.zset("jobs:delayed").await.len(), 1);
    assert_eq!(b.store.counts(&queue("overlay")).await.unwrap().pending(), 3);
    let mut done = 0;
    while let Some(claimed) =
        b.store.claim(&queue("overlay"), &claim(1, NOW + 9000)).await.unwrap().jobs.pop()
    {
        b.done(&claimed, complete("1")).await;
        done += 1;
    }
    assert_eq!(done, 3);
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn a_waiting_twin_is_freed_when_the_host_of_the_first_vanishes() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let first = b.store.claim(&queue("overlay"), &claim_as("gone", 1)).await.unwrap().jobs.remove(0);
    b.push("a").await;
    assert!(b.claim(1).await.jobs.is_empty());
    b.vanish().await;
    assert_eq!(b.recover(5).await, ["a"]);
    assert_eq!(b.raw.list("jobs").await, ["a", "a"]);
    for _ in 0..2 {
        let claimed = b.take().await;
        b.done(&claimed, complete("1")).await;
    }
    assert!(b.end(&first, complete("old")).await.is_err());
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn a_twin_comes_by_itself_should_nobody_free_it() {
    let mut b = Bench::new().await;
    b.push("a").await;
    let first = b.take().await;
    b.push("a").await;
    assert!(b.claim(1).await.jobs.is_empty());
    // Whoever freed it is gone, and what he would have gone by.
    let _: i64 = b.raw.run(&["DEL", "jobs:twins:job:a"]).await;
    b.done(&first, complete("1")).await;
    assert!(b.claim(1).await.jobs.is_empty());
    let later = b.store.claim(&queue("overlay"), &claim(1, NOW + 30_001)).await.unwrap();
    assert_eq!(later.jobs.len(), 1);
}

#[tokio::test]
async fn a_hundred_of_one_id_on_two_hosts_all_run_and_never_two_at_once() {
    let mut b = Bench::new().await;
    for n in 0..100 {
        b.push(if n % 2 == 0 { "a" } else { r#"{"id":"a","data":1}"# }).await;
    }
    let stores = [b.store.clone(), b.other().await];
    let mut done = 0;
    let mut idle = 0;
    while idle < 4 {
        for store in &stores {
            let jobs = super::claim_of(store, 8).await.jobs;
            assert!(jobs.len() <= 1, "two at once");
            idle = if jobs.is_empty() { idle + 1 } else { 0 };
            for claimed in jobs {
                let attempt = job(&claimed).attempt();
                let verdict = if attempt == 1 && done % 10 == 3 { retry("x", 0) } else { complete("1") };
                done += usize::from(matches!(verdict, jobcell_core::Verdict::Complete { .. }));
                end_of(store, &claimed, verdict).await.unwrap();
            }
        }
    }
    assert_eq!(done, 100);
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn a_record_where_another_jobs_log_would_be_is_left_alone() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["HSET", "job:a:logs", "data", "7"]).await;
    b.push("a").await;
    let first = b.take().await;
    b.done(&first, complete("1")).await;
    assert_eq!(b.raw.hash("job:a:logs").await["data"], "7");
    b.push("a:logs").await;
    let second = b.take().await;
    assert_eq!(job(&second).data, "7");
    b.done(&second, complete("2")).await;
}
