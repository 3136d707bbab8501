//! Parents and children: waiting, release, results, and what a failed child does.

use super::rig::{Rig, complete, complete_keep, complete_with, fail, job_of, ok, retry};
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{JobOptions, Keep};
use crate::store::{Added, Claimed, Refusal, Removed, Verdict};

/// A parent that waits for these children, all of which wait to run.
async fn family(rig: &Rig, children: &[&str], set: fn(&mut JobOptions)) -> (JobId, Vec<JobId>) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let mut ids = Vec::new();
    for name in children {
        ids.push(rig.add_child(&parent, name, set).await);
    }
    rig.done(&claimed, Verdict::WaitForChildren).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    (parent, ids)
}

async fn values(rig: &Rig, parent: &JobId) -> Vec<(String, String)> {
    let mut values = ok!(rig.store.children_values(&rig.queue, parent));
    values.sort();
    values
}

async fn failures(rig: &Rig, parent: &JobId) -> Vec<(String, String)> {
    ok!(rig.store.children_failures(&rig.queue, parent))
}

async fn claim_named(rig: &Rig, name: &str) -> Claimed {
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).name, name);
    claimed
}

pub async fn a_parent_waits_until_its_children_are_done(rig: Rig) {
    let (parent, _) = family(&rig, &["a", "b"], |_| {}).await;
    assert_eq!(rig.job(&parent).await.attempts_made, 0);
    let a = claim_named(&rig, "a").await;
    let b = claim_named(&rig, "b").await;
    assert!(rig.claim(1).await.is_empty());
    rig.done(&b, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren), "a is not done");
    rig.done(&a, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
    let again = claim_named(&rig, "parent").await;
    assert_eq!(job_of(&again).attempts_started, 2);
    rig.done(&again, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Completed));
}

pub async fn a_child_names_its_parent(rig: Rig) {
    let (parent, children) = family(&rig, &["a"], |_| {}).await;
    assert_eq!(rig.job(&children[0]).await.parent_key, Some(rig.key(&parent)));
    assert_eq!(job_of(&rig.claim_one().await).parent_key, Some(rig.key(&parent)));
}

pub async fn a_released_parent_runs_next(rig: Rig) {
    let (parent, _) = family(&rig, &["a"], |_| {}).await;
    rig.add("other").await;
    let a = claim_named(&rig, "a").await;
    let mark = rig.mark().await;
    rig.done(&a, complete()).await;
    let told = rig.told(&mark).await;
    assert!(told.contains(&format!("waiting {parent} prev=waiting-children")), "{told:?}");
    assert_eq!(rig.claim_names(9).await, ["parent", "other"]);
}

pub async fn a_released_parent_keeps_its_priority(rig: Rig) {
    let parent = rig.add_with("parent", |o| o.priority = 5).await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "a", |_| {}).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    rig.add_with("sooner", |o| o.priority = 1).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Prioritized));
    assert_eq!(rig.claim_names(9).await, ["sooner", "parent"]);
}

pub async fn results_of_children_can_be_read(rig: Rig) {
    let (parent, ids) = family(&rig, &["a", "b"], |_| {}).await;
    assert!(values(&rig, &parent).await.is_empty());
    for result in ["{\"n\": 1}", "[2]"] {
        let child = rig.claim_one().await;
        rig.done(&child, complete_with(result)).await;
    }
    let mut expected =
        vec![(rig.key(&ids[0]), "{\"n\": 1}".to_owned()), (rig.key(&ids[1]), "[2]".to_owned())];
    expected.sort();
    assert_eq!(values(&rig, &parent).await, expected);
    assert!(failures(&rig, &parent).await.is_empty());
}

pub async fn a_parent_cannot_complete_before_its_children(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "a", |_| {}).await;
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::PendingChildren));
    assert_eq!(rig.state(&parent).await, Some(JobState::Active), "it stays with its worker");
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete()).await;
    rig.done(&claimed, complete()).await;
}

pub async fn a_parent_in_another_queue_is_released(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let mut child = Rig::new_job("child");
    child.parent = Some(rig.parent(&parent));
    let child = other.add_job(child).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let mut waiter = rig.waiter().await;
    let mark = rig.mark().await;
    let running = other.claim_one().await;
    other.done(&running, complete_with("7")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
    assert_eq!(values(&rig, &parent).await, [(other.key(&child), "7".to_owned())]);
    assert_eq!(rig.told(&mark).await, [format!("waiting {parent} prev=waiting-children")]);
    let wake = ok!(waiter.wait(std::time::Duration::from_secs(20)));
    assert_eq!(wake, crate::store::Wake::Now, "the parent's queue is woken");
}

pub async fn a_failed_child_holds_its_parent(rig: Rig) {
    let (parent, ids) = family(&rig, &["a"], |_| {}).await;
    let a = rig.claim_one().await;
    rig.done(&a, fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    assert!(failures(&rig, &parent).await.is_empty());
    ok!(rig.store.retry(&rig.queue, &ids[0], true));
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete_with("1")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting), "the child came good");
    assert_eq!(values(&rig, &parent).await.len(), 1);
}

pub async fn a_failed_child_fails_its_parent_when_asked(rig: Rig) {
    let (parent, ids) = family(&rig, &["a", "b"], |o| o.fail_parent_on_failure = true).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, fail("bad")).await;
    let claimed = claim_named(&rig, "parent").await;
    let reason = job_of(&claimed).deferred_failure.clone();
    assert_eq!(reason, Some(format!("child {} failed", rig.key(&ids[0]))));
    rig.done(&claimed, fail("child failed")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Failed));
    assert_eq!(rig.job(&parent).await.deferred_failure, None);
}

pub async fn a_parent_cannot_complete_after_a_child_that_must_not_fail(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "a", |o| o.fail_parent_on_failure = true).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Active));
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::FailedChildren));
    assert_eq!(rig.finish(&claimed, Verdict::WaitForChildren).await, Err(Refusal::FailedChildren));
    rig.done(&claimed, fail("a child failed")).await;
}

pub async fn a_failed_child_lets_its_parent_go_on_when_asked(rig: Rig) {
    let (parent, ids) = family(&rig, &["a", "b"], |o| o.continue_parent_on_failure = true).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting), "at once, though b is pending");
    assert_eq!(failures(&rig, &parent).await, [(rig.key(&ids[0]), "bad".to_owned())]);
    let claimed = claim_named(&rig, "parent").await;
    assert_eq!(job_of(&claimed).deferred_failure, None);
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::PendingChildren));
}

pub async fn an_ignored_failure_can_be_read(rig: Rig) {
    let (parent, ids) = family(&rig, &["a", "b"], |o| o.ignore_dependency_on_failure = true).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren), "b is pending");
    let b = claim_named(&rig, "b").await;
    rig.done(&b, complete_with("2")).await;
    let claimed = claim_named(&rig, "parent").await;
    assert_eq!(failures(&rig, &parent).await, [(rig.key(&ids[0]), "bad".to_owned())]);
    assert_eq!(values(&rig, &parent).await, [(rig.key(&ids[1]), "2".to_owned())]);
    rig.done(&claimed, complete()).await;
}

pub async fn a_removed_dependency_is_not_seen(rig: Rig) {
    let (parent, _) = family(&rig, &["a"], |o| o.remove_dependency_on_failure = true).await;
    let a = rig.claim_one().await;
    rig.done(&a, fail("bad")).await;
    let claimed = claim_named(&rig, "parent").await;
    assert!(failures(&rig, &parent).await.is_empty());
    assert!(values(&rig, &parent).await.is_empty());
    rig.done(&claimed, complete()).await;
}

pub async fn a_retried_attempt_of_a_child_changes_nothing(rig: Rig) {
    let (parent, _) = family(&rig, &["a"], |o| o.fail_parent_on_failure = true).await;
    let a = rig.claim_one().await;
    rig.done(&a, retry(0)).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
}

pub async fn removing_the_last_child_releases_the_parent(rig: Rig) {
    let (parent, ids) = family(&rig, &["a", "b"], |_| {}).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &ids[0])), Removed::Yes);
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    assert_eq!(ok!(rig.store.remove(&rig.queue, &ids[1])), Removed::Yes);
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
    assert_eq!(rig.claim_names(9).await, ["parent"]);
}

pub async fn a_child_that_is_not_kept_still_counts(rig: Rig) {
    let (parent, ids) = family(&rig, &["a"], |_| {}).await;
    let a = rig.claim_one().await;
    rig.done(&a, complete_keep(Keep::None)).await;
    assert_eq!(rig.state(&ids[0]).await, None);
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
    assert_eq!(values(&rig, &parent).await, [(rig.key(&ids[0]), "null".to_owned())]);
}

pub async fn a_duplicate_child_is_waited_for_once(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let child = rig.add_child(&parent, "a", |o| o.job_id = Some("x".into())).await;
    let mut again = Rig::new_job("a");
    again.options.job_id = Some("x".into());
    again.parent = Some(rig.parent(&parent));
    assert_eq!(
        ok!(rig.store.add(&rig.queue, vec![again.clone()], rig.now())),
        [Added::Duplicate(child.clone())]
    );
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete_with("1")).await;
    let claimed = claim_named(&rig, "parent").await;
    // The parent's second attempt adds the same child again: it is done already and not waited for.
    assert_eq!(ok!(rig.store.add(&rig.queue, vec![again], rig.now())), [Added::Duplicate(child.clone())]);
    assert_eq!(values(&rig, &parent).await, [(rig.key(&child), "1".to_owned())]);
    rig.done(&claimed, complete()).await;
}
