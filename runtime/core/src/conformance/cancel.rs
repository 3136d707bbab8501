//! Ending jobs from outside.

use super::rig::{Rig, complete_with, fail, fail_keep, id, job_of, ok, retry};
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{Deduplication, JobOptions, Keep};
use crate::schedule::{Rule, Timetable};
use crate::store::{CANCELLED, Cancelled, Claimed, SchedulerSpec, Token, Verdict};

async fn cancel(rig: &Rig, id: &JobId) -> Cancelled {
    ok!(rig.store.cancel(&rig.queue, id, rig.now()))
}

/// Which of these attempts are to end.
async fn meant(rig: &Rig, running: &[&Claimed]) -> Vec<Token> {
    let running: Vec<(JobId, Token)> = running.iter().map(|c| (c.id.clone(), c.token.clone())).collect();
    ok!(rig.store.cancelled(&rig.queue, &running))
}

pub async fn a_job_that_waits_fails_at_once_and_uses_no_attempt(rig: Rig) {
    let waiting = rig.add("waiting").await;
    let delayed = rig.add_with("delayed", |o| o.delay = 60_000).await;
    for (id, was) in [(&waiting, JobState::Waiting), (&delayed, JobState::Delayed)] {
        let before = rig.now();
        assert_eq!(cancel(&rig, id).await, Cancelled::Ended(was));
        assert_eq!(rig.state(id).await, Some(JobState::Failed), "{was}");
        assert_eq!(rig.count(was).await, 0, "{was}");
        let job = rig.job(id).await;
        assert_eq!((job.failed_reason.as_deref(), job.attempts_made), (Some(CANCELLED), 0), "{was}");
        assert!(job.finished_on.is_some_and(|at| at >= before), "{was}");
    }
    rig.advance(120_000);
    assert!(rig.claim(9).await.is_empty());
}

pub async fn a_job_that_waits_with_a_priority_fails_at_once(rig: Rig) {
    let added = rig.add_with("a", |o| o.priority = 3).await;
    rig.add_with("b", |o| o.priority = 9).await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Ended(JobState::Prioritized));
    assert_eq!(rig.state(&added).await, Some(JobState::Failed));
    assert_eq!(rig.claim_names(9).await, ["b"]);
}

pub async fn a_job_that_waits_in_a_paused_queue_fails_at_once(rig: Rig) {
    rig.add("before").await;
    ok!(rig.store.pause(&rig.queue));
    let added = rig.add("a").await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Ended(JobState::Waiting));
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.claim_names(9).await, ["before"]);
}

pub async fn a_parent_that_waits_for_its_children_fails_at_once(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "child", |_| {}).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    assert_eq!(cancel(&rig, &parent).await, Cancelled::Ended(JobState::WaitingChildren));
    assert_eq!(rig.state(&parent).await, Some(JobState::Failed));
    // Its children are none of its affairs, and their ends none of theirs any more.
    let child = rig.claim_one().await;
    rig.done(&child, complete_with("1")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Failed));
    assert!(rig.claim(9).await.is_empty());
}

pub async fn a_cancelled_job_is_told_as_failed(rig: Rig) {
    let added = rig.add("a").await;
    let mark = rig.mark().await;
    cancel(&rig, &added).await;
    assert_eq!(rig.told(&mark).await, [format!("failed {added} failedReason={CANCELLED} prev=waiting")]);
}

pub async fn a_cancelled_job_that_is_not_to_be_kept_goes(rig: Rig) {
    let added = rig.add_with("a", |o| o.remove_on_fail = Some(Keep::None)).await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Ended(JobState::Waiting));
    assert_eq!(rig.state(&added).await, None);
    assert_eq!(cancel(&rig, &added).await, Cancelled::NotFound);
}

pub async fn a_cancelled_job_can_be_retried(rig: Rig) {
    let added = rig.add("a").await;
    cancel(&rig, &added).await;
    ok!(rig.store.retry(&rig.queue, &added, false));
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).deferred_failure, None);
    rig.done(&claimed, complete_with("1")).await;
}

pub async fn a_parent_hears_of_a_cancelled_child_by_its_policy(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let child = rig.add_child(&parent, "child", |o| o.fail_parent_on_failure = true).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    assert_eq!(cancel(&rig, &child).await, Cancelled::Ended(JobState::Waiting));
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, parent);
    assert_eq!(job_of(&claimed).deferred_failure, Some(format!("child {} failed", rig.key(&child))));
}

pub async fn a_cancelled_owner_frees_its_deduplication_id(rig: Rig) {
    let owned = |o: &mut JobOptions| {
        o.deduplication = Some(Deduplication { id: "d".into(), ..Deduplication::default() });
    };
    let added = rig.add_with("a", owned).await;
    cancel(&rig, &added).await;
    assert_eq!(ok!(rig.store.deduplication_owner(&rig.queue, "d")), None);
    rig.add_with("b", owned).await;
}

pub async fn the_attempt_that_runs_is_asked_to_end(rig: Rig) {
    let added = rig.add("a").await;
    rig.add("b").await;
    let (a, b) = (rig.claim_one().await, rig.claim_one().await);
    assert!(meant(&rig, &[&a, &b]).await.is_empty());
    assert!(meant(&rig, &[]).await.is_empty());
    for _ in 0..2 {
        assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
        assert_eq!(meant(&rig, &[&b, &a]).await, std::slice::from_ref(&a.token), "until it ends");
    }
    assert!(meant(&rig, &[&b]).await.is_empty());
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    rig.done(&a, fail(CANCELLED)).await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Finished(JobState::Failed));
    rig.done(&b, complete_with("1")).await;
}

pub async fn another_queue_is_not_meant(rig: Rig) {
    let other = rig.other_queue("other");
    let named = |o: &mut JobOptions| o.job_id = Some("x".into());
    let added = rig.add_with("a", named).await;
    other.add_with("a", named).await;
    let (mine, theirs) = (rig.claim_one().await, other.claim_one().await);
    assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
    assert!(meant(&other, &[&theirs]).await.is_empty());
    assert_eq!(meant(&rig, &[&mine]).await.len(), 1);
}

pub async fn an_attempt_that_completes_all_the_same_stands(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    cancel(&rig, &added).await;
    rig.done(&claimed, complete_with("7")).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Completed));
    assert_eq!(cancel(&rig, &added).await, Cancelled::Finished(JobState::Completed));
    assert_eq!(rig.job(&added).await.result.as_deref(), Some(&b"7"[..]));
}

pub async fn an_attempt_that_ends_before_it_heard_is_the_last(rig: Rig) {
    let later = rig.now() + 3_600_000;
    let verdicts = [retry(0), retry(3_600_000), Verdict::Release, Verdict::DelayUntil(later)];
    for (n, verdict) in verdicts.into_iter().enumerate() {
        let label = format!("{verdict:?}");
        let rig = rig.other_queue(&format!("q{n}"));
        let added = rig.add("a").await;
        let claimed = rig.claim_one().await;
        assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
        rig.done(&claimed, verdict).await;
        let claimed = rig.claim_one().await;
        assert_eq!(job_of(&claimed).deferred_failure.as_deref(), Some(CANCELLED), "{label}");
        assert!(meant(&rig, &[&claimed]).await.is_empty(), "{label}");
        rig.done(&claimed, fail(CANCELLED)).await;
        ok!(rig.store.retry(&rig.queue, &added, true));
        assert_eq!(job_of(&rig.claim_one().await).deferred_failure, None, "{label}");
    }
}

pub async fn a_parent_that_would_wait_for_its_children_is_ended_first(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "child", |_| {}).await;
    assert_eq!(cancel(&rig, &parent).await, Cancelled::Asked);
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let claimed = rig.claim(2).await;
    let of_parent = claimed.iter().find(|claimed| claimed.id == parent).expect("it is given out");
    assert_eq!(job_of(of_parent).deferred_failure.as_deref(), Some(CANCELLED));
    rig.done(of_parent, fail(CANCELLED)).await;
}

pub async fn an_attempt_whose_host_vanishes_is_the_last(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
    rig.vanish(&claimed, 5).await;
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).deferred_failure.as_deref(), Some(CANCELLED));
}

pub async fn an_attempt_whose_lock_is_gone_is_the_last(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
    while rig.recover(5).await.is_empty() {}
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).deferred_failure.as_deref(), Some(CANCELLED));
}

pub async fn a_further_request_forgets_none_whose_host_vanished(rig: Rig) {
    let (first, second) = (rig.add("a").await, rig.add("b").await);
    let (of_first, _of_second) = (rig.claim_one().await, rig.claim_one().await);
    assert_eq!(cancel(&rig, &first).await, Cancelled::Asked);
    rig.expire(&of_first).await;
    assert_eq!(cancel(&rig, &second).await, Cancelled::Asked);
    while rig.recover(5).await.is_empty() {}
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, first);
    assert_eq!(job_of(&claimed).deferred_failure.as_deref(), Some(CANCELLED));
}

pub async fn a_later_job_with_the_same_id_is_not_meant(rig: Rig) {
    let named = |o: &mut JobOptions| o.job_id = Some("x".into());
    let added = rig.add_with("first", named).await;
    let first = rig.claim_one().await;
    assert_eq!(cancel(&rig, &added).await, Cancelled::Asked);
    rig.done(&first, fail_keep("over", Keep::None)).await;
    rig.advance(5);
    rig.add_with("second", named).await;
    let second = rig.claim_one().await;
    assert!(meant(&rig, &[&second]).await.is_empty());
    rig.done(&second, retry(0)).await;
    let second = rig.claim_one().await;
    assert_eq!(job_of(&second).deferred_failure, None);
    rig.vanish(&second, 5).await;
    assert_eq!(job_of(&rig.claim_one().await).deferred_failure, None);
}

pub async fn what_is_not_there_or_has_ended_is_not_cancelled(rig: Rig) {
    assert_eq!(cancel(&rig, &id("nobody")).await, Cancelled::NotFound);
    let completed = rig.add_finished("a", complete_with("1")).await;
    let failed = rig.add_finished("b", fail("bad")).await;
    assert_eq!(cancel(&rig, &completed).await, Cancelled::Finished(JobState::Completed));
    assert_eq!(cancel(&rig, &failed).await, Cancelled::Finished(JobState::Failed));
    assert_eq!(rig.job(&failed).await.failed_reason.as_deref(), Some("bad"));
    assert_eq!(cancel(&rig, &id("nobody")).await, Cancelled::NotFound);
}

pub async fn the_pending_job_of_a_scheduler_stays(rig: Rig) {
    let spec = SchedulerSpec {
        id: "s".into(),
        timetable: Timetable {
            rule: Rule::Every { every: 60_000, offset: None },
            start: None,
            end: None,
            limit: None,
        },
        name: "made".into(),
        data: None,
        options: JobOptions::default(),
    };
    let pending = ok!(rig.store.set_scheduler(&rig.queue, spec, rig.now())).job;
    let before = rig.state(&pending).await;
    assert_eq!(cancel(&rig, &pending).await, Cancelled::Scheduled);
    assert_eq!(rig.state(&pending).await, before);
}
