//! Pausing, and that nothing is lost by it.

use super::rig::{Rig, complete, complete_with, fail, ok, retry};
use crate::job::JobState;
use crate::store::Verdict;

pub async fn a_paused_queue_gives_nothing(rig: Rig) {
    rig.add("a").await;
    rig.add_with("b", |o| o.priority = 1).await;
    assert!(!ok!(rig.store.is_paused(&rig.queue)));
    ok!(rig.store.pause(&rig.queue));
    assert!(ok!(rig.store.is_paused(&rig.queue)));
    assert!(rig.claim(5).await.is_empty());
    assert_eq!(rig.count(JobState::Waiting).await, 1, "a paused job still waits");
    assert_eq!(rig.names(JobState::Waiting).await, ["a"]);
    ok!(rig.store.resume(&rig.queue));
    assert!(!ok!(rig.store.is_paused(&rig.queue)));
    assert_eq!(rig.claim_names(5).await, ["a", "b"]);
}

pub async fn pausing_and_resuming_may_be_repeated(rig: Rig) {
    rig.add("a").await;
    ok!(rig.store.resume(&rig.queue));
    for _ in 0..3 {
        ok!(rig.store.pause(&rig.queue));
    }
    rig.add("b").await;
    for _ in 0..3 {
        ok!(rig.store.resume(&rig.queue));
    }
    assert_eq!(rig.claim_names(5).await, ["a", "b"]);
}

pub async fn jobs_added_while_paused_come_after_those_before(rig: Rig) {
    rig.add("a").await;
    ok!(rig.store.pause(&rig.queue));
    rig.add("b").await;
    rig.add_with("front", |o| o.lifo = true).await;
    let b = rig.names(JobState::Waiting).await;
    assert_eq!(b, ["front", "a", "b"]);
    ok!(rig.store.resume(&rig.queue));
    rig.add("c").await;
    assert_eq!(rig.claim_names(5).await, ["front", "a", "b", "c"]);
}

pub async fn running_jobs_can_finish_while_paused(rig: Rig) {
    rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim(1).await;
    ok!(rig.store.pause(&rig.queue));
    let (answers, claim) = rig.finish_and_claim(vec![Rig::ending(&claimed[0], complete_with("1"))], 5).await;
    assert_eq!(answers, [Ok(())]);
    assert!(claim.jobs.is_empty());
    assert_eq!(rig.names(JobState::Completed).await, ["a"]);
}

pub async fn nothing_put_back_while_paused_is_lost(rig: Rig) {
    let failed = rig.add_finished("failed", fail("bad")).await;
    for name in ["retried", "released", "lifo"] {
        rig.add(name).await;
    }
    let c = rig.claim(3).await;
    let delayed = rig.add_with("delayed", |o| o.delay = 900_000).await;
    rig.add_with("due", |o| o.delay = 1000).await;
    rig.add("waited").await;
    ok!(rig.store.pause(&rig.queue));

    rig.add("added").await;
    rig.done(&c[0], retry(0)).await;
    rig.done(&c[1], Verdict::Release).await;
    let lifo = Verdict::Retry {
        reason: "again".into(),
        stacktrace: Vec::new(),
        delay: std::time::Duration::ZERO,
        lifo: true,
    };
    rig.done(&c[2], lifo).await;
    ok!(rig.store.promote(&rig.queue, &delayed));
    ok!(rig.store.retry(&rig.queue, &failed, false));
    rig.advance(5000);
    assert!(rig.claim(20).await.is_empty());

    ok!(rig.store.resume(&rig.queue));
    let names = rig.claim_names(20).await;
    assert_eq!(names[..3], ["lifo", "released", "waited"]);
    let mut all = names.clone();
    all.sort();
    let mut expected = ["added", "delayed", "due", "failed", "lifo", "released", "retried", "waited"];
    expected.sort_unstable();
    assert_eq!(all, expected, "in the order {names:?}");
}

pub async fn due_jobs_are_promoted_after_a_resume(rig: Rig) {
    rig.add_with("due", |o| o.delay = 1000).await;
    ok!(rig.store.pause(&rig.queue));
    rig.advance(5000);
    assert!(rig.claim(1).await.is_empty());
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.claim_names(1).await, ["due"]);
}

pub async fn another_queue_is_not_paused(rig: Rig) {
    let other = rig.other_queue("other");
    rig.add("a").await;
    other.add("b").await;
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(other.claim_names(5).await, ["b"]);
    assert!(!ok!(other.store.is_paused(&other.queue)));
}

pub async fn a_pause_before_the_first_job_holds(rig: Rig) {
    ok!(rig.store.pause(&rig.queue));
    rig.add("a").await;
    assert!(rig.claim(1).await.is_empty());
    ok!(rig.store.resume(&rig.queue));
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
}
