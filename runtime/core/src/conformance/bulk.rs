//! Many jobs at once: promoting and retrying.

use super::rig::{Rig, complete, complete_with, fail, names_of, ok};
use crate::job::JobState;
use crate::names::JobId;
use crate::store::{StoreError, Verdict, Wake};

const ALL: u64 = u64::MAX;

async fn promote_all(rig: &Rig, limit: u64) -> u64 {
    ok!(rig.store.promote_all(&rig.queue, limit))
}

async fn retry_all(rig: &Rig, state: JobState, before: u64, limit: u64) -> u64 {
    ok!(rig.store.retry_all(&rig.queue, state, before, limit))
}

async fn later(rig: &Rig, name: &str, delay: u64) -> JobId {
    rig.add_with(name, |o| o.delay = delay).await
}

/// Adds and fails a job, at least a millisecond after what was before.
async fn failed(rig: &Rig, name: &str) -> JobId {
    rig.advance(10);
    rig.add_finished(name, fail("bad")).await
}

// --- promoting ---

pub async fn delayed_jobs_are_promoted_those_due_first_first(rig: Rig) {
    later(&rig, "c", 90_000).await;
    later(&rig, "a", 30_000).await;
    later(&rig, "b", 60_000).await;
    rig.add("waits").await;
    assert_eq!(promote_all(&rig, 2).await, 2);
    assert_eq!(rig.names(JobState::Delayed).await, ["c"]);
    assert_eq!(rig.claim_names(9).await, ["waits", "a", "b"]);
    assert_eq!(promote_all(&rig, ALL).await, 1);
    assert_eq!(promote_all(&rig, ALL).await, 0);
    assert_eq!(rig.claim_names(9).await, ["c"]);
}

pub async fn many_are_promoted(rig: Rig) {
    let jobs = (0..1300).map(|n| {
        let mut job = Rig::new_job(&format!("n{n}"));
        job.options.delay = 900_000;
        job
    });
    ok!(rig.store.add(&rig.queue, jobs.collect(), rig.now()));
    assert_eq!(promote_all(&rig, 1100).await, 1100);
    assert_eq!((rig.count(JobState::Waiting).await, rig.count(JobState::Delayed).await), (1100, 200));
}

pub async fn a_promotion_of_many_is_told_and_wakes(rig: Rig) {
    let a = later(&rig, "a", 30_000).await;
    let mut waiter = rig.waiter().await;
    let mark = rig.mark().await;
    assert_eq!(promote_all(&rig, ALL).await, 1);
    assert_eq!(rig.told(&mark).await, [format!("waiting {a} prev=delayed")]);
    assert_eq!(ok!(waiter.wait(std::time::Duration::from_secs(20))), Wake::Now);
}

pub async fn promoted_many_wait_without_a_priority(rig: Rig) {
    rig.add_with("prioritized", |o| {
        o.delay = 30_000;
        o.priority = 5;
    })
    .await;
    assert_eq!(promote_all(&rig, ALL).await, 1);
    assert_eq!(rig.names(JobState::Waiting).await, ["prioritized"]);
    assert_eq!(rig.claim_names(1).await, ["prioritized"]);
}

pub async fn promoted_while_paused_they_wait_for_the_end_of_it(rig: Rig) {
    for n in 0..5 {
        later(&rig, &format!("n{n}"), 60_000 + n).await;
    }
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(promote_all(&rig, ALL).await, 5);
    assert!(rig.claim(9).await.is_empty());
    ok!(rig.store.resume(&rig.queue));
    let mut names = rig.claim_names(9).await;
    names.sort();
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"]);
}

// --- retrying ---

pub async fn failed_jobs_are_retried_oldest_first(rig: Rig) {
    for name in ["a", "b", "c"] {
        failed(&rig, name).await;
    }
    let done = rig.add_finished("done", complete_with("1")).await;
    rig.advance(1000);
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now(), 2).await, 2);
    assert_eq!(rig.names(JobState::Failed).await, ["c"]);
    let again = rig.claim(9).await;
    assert_eq!(names_of(&again), ["a", "b"]);
    let job = rig.job(&again[0].id).await;
    assert_eq!((job.finished_on, job.failed_reason), (None, None));
    assert_eq!((job.attempts_made, job.attempts_started), (1, 2), "the counters stay");
    assert_eq!(rig.state(&done).await, Some(JobState::Completed));
}

pub async fn only_what_ended_in_time_is_retried(rig: Rig) {
    failed(&rig, "old").await;
    rig.advance(1000);
    let between = rig.now();
    rig.advance(1000);
    failed(&rig, "new").await;
    assert_eq!(retry_all(&rig, JobState::Failed, between, ALL).await, 1);
    assert_eq!(rig.claim_names(9).await, ["old"]);
}

pub async fn completed_jobs_are_retried(rig: Rig) {
    let done = rig.add_finished("a", complete_with("1")).await;
    let mark = rig.mark().await;
    assert_eq!(retry_all(&rig, JobState::Completed, rig.now() + 1, ALL).await, 1);
    assert_eq!(rig.told(&mark).await, [format!("waiting {done} prev=completed")]);
    assert_eq!(rig.job(&done).await.result, None);
    let again = rig.claim_one().await;
    rig.done(&again, complete_with("2")).await;
}

pub async fn many_are_retried(rig: Rig) {
    let jobs = (0..1200).map(|n| Rig::new_job(&format!("n{n}"))).collect();
    ok!(rig.store.add(&rig.queue, jobs, rig.now()));
    let mut running = rig.claim(1200).await;
    while running.len() < 1200 {
        running.extend(rig.claim(1200).await);
    }
    let ends = running.iter().map(|claimed| Rig::ending(claimed, fail("bad"))).collect();
    assert!(rig.finish_all(ends).await.iter().all(Result::is_ok));
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now() + 1, 1100).await, 1100);
    assert_eq!((rig.count(JobState::Waiting).await, rig.count(JobState::Failed).await), (1100, 100));
}

pub async fn retried_many_wait_without_a_priority(rig: Rig) {
    rig.add_with("prioritized", |o| o.priority = 5).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now() + 1, ALL).await, 1);
    assert_eq!(rig.names(JobState::Waiting).await, ["prioritized"]);
}

pub async fn only_finished_jobs_can_be_retried(rig: Rig) {
    for state in JobState::ALL.into_iter().filter(|state| !state.is_finished()) {
        let refused = rig.store.retry_all(&rig.queue, state, rig.now(), ALL).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{state}: {refused:?}");
    }
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now(), ALL).await, 0);
}

pub async fn parents_wait_for_retried_children_again(rig: Rig) {
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    let child = rig.add_child(&parent, "child", |o| o.ignore_dependency_on_failure = true).await;
    let other = rig.add_child(&parent, "other", |_| {}).await;
    rig.done(&waiting, Verdict::WaitForChildren).await;
    let children = rig.claim(2).await;
    rig.done(&children[0], fail("bad")).await;
    assert_eq!(ok!(rig.store.children_failures(&rig.queue, &parent)).len(), 1);
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now() + 1, ALL).await, 1);
    assert!(ok!(rig.store.children_failures(&rig.queue, &parent)).is_empty());
    rig.done(&children[1], complete()).await;
    assert_eq!(rig.state(&other).await, Some(JobState::Completed));
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren), "one is pending again");
    let again = rig.claim_one().await;
    assert_eq!(again.id, child);
    rig.done(&again, complete()).await;
    assert_eq!(rig.claim_one().await.id, parent);
}

pub async fn retried_while_paused_they_are_not_lost(rig: Rig) {
    for name in ["a", "b"] {
        failed(&rig, name).await;
    }
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(retry_all(&rig, JobState::Failed, rig.now() + 1, ALL).await, 2);
    assert!(rig.claim(9).await.is_empty());
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.claim_names(9).await, ["a", "b"]);
}
