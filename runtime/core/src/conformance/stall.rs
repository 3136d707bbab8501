//! Jobs of workers that vanished.

use std::time::Duration;

use super::rig::{LOCK, Rig, complete, fail, job_of, ok, retry};
use crate::job::JobState;
use crate::store::StallPolicy;

pub async fn a_job_without_lock_is_recovered_in_the_second_round(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    assert!(rig.recover(5).await.is_empty(), "the first round only looks");
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    assert_eq!(rig.recover(5).await, std::slice::from_ref(&added));
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting));
    assert_eq!(rig.count(JobState::Active).await, 0);
    assert!(rig.recover(5).await.is_empty(), "it was recovered once");
}

pub async fn a_locked_job_is_left_alone(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    for _ in 0..3 {
        assert!(rig.recover(0).await.is_empty());
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    rig.done(&claimed, complete()).await;
}

pub async fn a_renewed_job_is_left_alone(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    for _ in 0..3 {
        assert!(rig.recover(0).await.is_empty());
        assert!(rig.renew(&[&claimed], LOCK).await.is_empty());
    }
    assert_eq!(rig.job(&added).await.stalled_count, 0);
    rig.done(&claimed, complete()).await;
}

pub async fn a_finished_job_is_left_alone(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.recover(5).await;
    rig.done(&claimed, complete()).await;
    assert!(rig.recover(5).await.is_empty());
    assert_eq!(rig.state(&added).await, Some(JobState::Completed));
}

pub async fn rounds_are_no_more_frequent_than_the_interval(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    let policy = StallPolicy { interval: Duration::from_secs(600), max: 5 };
    for _ in 0..5 {
        let recovered = ok!(rig.store.recover_stalled(&rig.queue, policy, rig.now()));
        assert!(recovered.jobs.is_empty(), "one round in ten minutes only looks");
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
}

pub async fn a_recovered_job_runs_before_the_others(rig: Rig) {
    rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 5).await;
    assert_eq!(rig.claim_names(2).await, ["a", "b"]);
}

pub async fn a_recovered_job_keeps_its_attempts(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, retry(0)).await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 5).await;
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.attempts_started, job.stalled_count), (1, 2, 1));
    assert_eq!(job.deferred_failure, None);
    let claimed = rig.claim_one().await;
    let job = job_of(&claimed);
    assert_eq!((job.attempts_made, job.attempts_started, job.stalled_count), (1, 3, 1));
}

pub async fn too_many_recoveries_are_a_deferred_failure(rig: Rig) {
    let added = rig.add("a").await;
    for recovery in 1..=2 {
        let claimed = rig.claim_one().await;
        assert_eq!(job_of(&claimed).deferred_failure, None);
        rig.vanish(&claimed, 1).await;
        assert_eq!(rig.job(&added).await.stalled_count, recovery);
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting), "failing it is left to the next worker");
    let claimed = rig.claim_one().await;
    let reason = job_of(&claimed).deferred_failure.clone().expect("two recoveries are one too many");
    assert_eq!(reason, "job stalled more than allowable limit");
}

pub async fn a_deferred_failure_can_be_written(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 0).await;
    let claimed = rig.claim_one().await;
    let reason = job_of(&claimed).deferred_failure.clone().expect("none is allowed");
    rig.done(&claimed, fail(&reason)).await;
    let job = rig.job(&added).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Failed));
    assert_eq!((job.failed_reason, job.deferred_failure), (Some(reason), None));
}

pub async fn a_retry_of_the_failed_job_is_free_of_its_deferred_failure(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 0).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("stalled")).await;
    ok!(rig.store.retry(&rig.queue, &added, true));
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).deferred_failure, None);
}

pub async fn recovery_tells_listeners(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    rig.vanish(&claimed, 5).await;
    assert_eq!(rig.told(&mark).await, [format!("waiting {added} prev=active"), format!("stalled {added}")]);
}

pub async fn recovery_while_paused_loses_nothing(rig: Rig) {
    rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    ok!(rig.store.pause(&rig.queue));
    rig.vanish(&claimed, 5).await;
    assert!(rig.claim(5).await.is_empty());
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.claim_names(5).await, ["a", "b"]);
}
