//! Interventions from outside: remove, promote, retry, change, drain.

use std::time::Duration;

use super::rig::{Rig, complete_with, fail, id, job_of, json, ok, retry};
use crate::job::JobState;
use crate::names::JobId;
use crate::store::{Page, Removed, StoreError, Verdict, Wake};

async fn remove(rig: &Rig, id: &JobId) -> Removed {
    ok!(rig.store.remove(&rig.queue, id))
}

pub async fn a_job_is_removed_from_every_state(rig: Rig) {
    let completed = rig.add_finished("completed", complete_with("1")).await;
    let failed = rig.add_finished("failed", fail("bad")).await;
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let child = rig.add_child(&parent, "child", |_| {}).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let delayed = rig.add_with("delayed", |o| o.delay = 60_000).await;
    let prioritized = rig.add_with("prioritized", |o| o.priority = 1).await;
    for (id, state) in [
        (&completed, JobState::Completed),
        (&failed, JobState::Failed),
        (&parent, JobState::WaitingChildren),
        (&child, JobState::Waiting),
        (&delayed, JobState::Delayed),
        (&prioritized, JobState::Prioritized),
    ] {
        if ok!(rig.store.get(&rig.queue, id)).is_none() {
            // A store may take the children of a removed parent along.
            assert_eq!(id, &child);
            continue;
        }
        assert_eq!(rig.state(id).await, Some(state));
        assert_eq!(remove(&rig, id).await, Removed::Yes, "{state}");
        assert_eq!(rig.state(id).await, None);
        assert!(ok!(rig.store.get(&rig.queue, id)).is_none());
        assert_eq!(rig.count(state).await, 0);
    }
    rig.advance(120_000);
    assert!(rig.claim(9).await.is_empty());
}

pub async fn a_running_job_is_not_removed(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    assert_eq!(remove(&rig, &added).await, Removed::Running);
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    rig.done(&claimed, complete_with("1")).await;
    assert_eq!(remove(&rig, &added).await, Removed::Yes);
}

pub async fn a_missing_job_is_not_removed(rig: Rig) {
    assert_eq!(remove(&rig, &id("nobody")).await, Removed::NotFound);
    let added = rig.add("a").await;
    assert_eq!(remove(&rig, &added).await, Removed::Yes);
    assert_eq!(remove(&rig, &added).await, Removed::NotFound);
}

pub async fn what_belongs_to_a_removed_job_goes_with_it(rig: Rig) {
    let added = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    ok!(rig.store.append_logs(&rig.queue, &added, &["line".into()], None));
    ok!(rig.store.set_progress(&rig.queue, &added, json("5")));
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    assert_eq!(remove(&rig, &added).await, Removed::Yes);
    assert!(ok!(rig.store.logs(&rig.queue, &added, Page::first(9))).is_empty());
    let again = rig.add_with("b", |o| o.job_id = Some("x".into())).await;
    let job = rig.job(&again).await;
    assert_eq!((job.progress, job.failed_reason, job.stacktrace.len()), (None, None, 0));
    assert_eq!((job.attempts_made, job.attempts_started, job.finished_on), (0, 0, None));
    assert!(rig.logs(&again).await.is_empty());
}

pub async fn an_id_is_free_again_after_removal(rig: Rig) {
    for name in ["first", "second"] {
        let added = rig.add_with(name, |o| o.job_id = Some("x".into())).await;
        assert_eq!(rig.job(&added).await.name, name);
        assert_eq!(remove(&rig, &added).await, Removed::Yes);
    }
}

pub async fn a_promoted_job_runs_now(rig: Rig) {
    rig.add("before").await;
    let added = rig.add_with("later", |o| o.delay = 900_000).await;
    rig.add_with("still", |o| o.delay = 900_000).await;
    ok!(rig.store.promote(&rig.queue, &added));
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting));
    assert_eq!(rig.job(&added).await.delay, 0);
    assert_eq!(rig.claim_names(9).await, ["before", "later"]);
    assert_eq!(rig.names(JobState::Delayed).await, ["still"]);
}

pub async fn a_promoted_job_keeps_its_priority(rig: Rig) {
    rig.add_with("a", |o| o.priority = 1).await;
    rig.add_with("c", |o| o.priority = 9).await;
    let added = rig
        .add_with("b", |o| {
            o.priority = 5;
            o.delay = 900_000;
        })
        .await;
    ok!(rig.store.promote(&rig.queue, &added));
    assert_eq!(rig.state(&added).await, Some(JobState::Prioritized));
    assert_eq!(rig.claim_names(9).await, ["a", "b", "c"]);
}

pub async fn promoting_needs_a_delayed_job(rig: Rig) {
    let missing = rig.store.promote(&rig.queue, &id("nobody")).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
    let added = rig.add("a").await;
    let wrong = rig.store.promote(&rig.queue, &added).await;
    assert!(
        matches!(wrong, Err(StoreError::WrongState { actual: Some(JobState::Waiting), .. })),
        "{wrong:?}"
    );
    rig.claim_one().await;
    let wrong = rig.store.promote(&rig.queue, &added).await;
    assert!(matches!(wrong, Err(StoreError::WrongState { actual: Some(JobState::Active), .. })), "{wrong:?}");
}

pub async fn a_failed_job_is_retried(rig: Rig) {
    let added = rig.add("a").await;
    for _ in 0..2 {
        let claimed = rig.claim_one().await;
        rig.done(&claimed, retry(0)).await;
    }
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    rig.add("b").await;
    ok!(rig.store.retry(&rig.queue, &added, false));
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting));
    assert_eq!(rig.count(JobState::Failed).await, 0);
    let job = rig.job(&added).await;
    assert_eq!((job.finished_on, job.processed_on, job.failed_reason), (None, None, None));
    assert_eq!((job.attempts_made, job.attempts_started), (3, 3), "the counters stay unless asked");
    assert_eq!(rig.claim_names(9).await, ["b", "a"]);
}

pub async fn a_completed_job_is_retried(rig: Rig) {
    let added = rig.add_finished("a", complete_with("1")).await;
    ok!(rig.store.retry(&rig.queue, &added, false));
    let job = rig.job(&added).await;
    assert_eq!((job.finished_on, job.result), (None, None));
    assert_eq!(rig.count(JobState::Completed).await, 0);
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete_with("2")).await;
    assert_eq!(rig.job(&added).await.result, Some(json("2")));
}

pub async fn a_retried_job_can_have_all_attempts_again(rig: Rig) {
    let added = rig.add_finished("a", fail("bad")).await;
    ok!(rig.store.retry(&rig.queue, &added, true));
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.attempts_started), (0, 0));
    let claimed = rig.claim_one().await;
    assert_eq!((job_of(&claimed).attempts_made, job_of(&claimed).attempts_started), (0, 1));
}

pub async fn a_retried_job_keeps_its_priority(rig: Rig) {
    let added = rig.add_with("b", |o| o.priority = 5).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    rig.add_with("a", |o| o.priority = 1).await;
    rig.add_with("c", |o| o.priority = 9).await;
    ok!(rig.store.retry(&rig.queue, &added, true));
    assert_eq!(rig.state(&added).await, Some(JobState::Prioritized));
    assert_eq!(rig.claim_names(9).await, ["a", "b", "c"]);
}

pub async fn retrying_needs_a_finished_job(rig: Rig) {
    let missing = rig.store.retry(&rig.queue, &id("nobody"), true).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
    let added = rig.add("a").await;
    let wrong = rig.store.retry(&rig.queue, &added, true).await;
    assert!(
        matches!(wrong, Err(StoreError::WrongState { actual: Some(JobState::Waiting), .. })),
        "{wrong:?}"
    );
    let claimed = rig.claim_one().await;
    let wrong = rig.store.retry(&rig.queue, &added, true).await;
    assert!(matches!(wrong, Err(StoreError::WrongState { actual: Some(JobState::Active), .. })), "{wrong:?}");
    rig.done(&claimed, complete_with("1")).await;
}

pub async fn a_retried_lifo_job_goes_in_front(rig: Rig) {
    let added = rig.add_with("front", |o| o.lifo = true).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    rig.add("waits").await;
    ok!(rig.store.retry(&rig.queue, &added, true));
    assert_eq!(rig.claim_names(9).await, ["front", "waits"]);
}

pub async fn a_delay_is_changed(rig: Rig) {
    let a = rig.add_with("a", |o| o.delay = 60_000).await;
    rig.add_with("b", |o| o.delay = 90_000).await;
    let mark = rig.mark().await;
    let now = rig.now();
    ok!(rig.store.change_delay(&rig.queue, &a, Duration::from_secs(300), now));
    assert_eq!(rig.told(&mark).await, [format!("delayed {a} delay={}", now + 300_000)]);
    assert_eq!(rig.names(JobState::Delayed).await, ["b", "a"]);
    assert_eq!(rig.job(&a).await.delay, 300_000);
    rig.advance(120_000);
    assert_eq!(rig.claim_names(9).await, ["b"]);
    rig.advance(240_000);
    assert_eq!(rig.claim_names(9).await, ["a"]);
}

pub async fn a_sooner_due_time_is_heard(rig: Rig) {
    let a = rig.add_with("a", |o| o.delay = 900_000).await;
    let mut waiter = rig.waiter().await;
    let now = rig.now();
    ok!(rig.store.change_delay(&rig.queue, &a, Duration::from_secs(60), now));
    assert_eq!(ok!(waiter.wait(Duration::from_secs(20))), Wake::At(now + 60_000));
}

pub async fn changing_a_delay_needs_a_delayed_job(rig: Rig) {
    let change = async |id: &JobId| rig.store.change_delay(&rig.queue, id, Duration::ZERO, rig.now()).await;
    let missing = change(&id("nobody")).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
    let added = rig.add("a").await;
    let wrong = change(&added).await;
    let expected = matches!(wrong, Err(StoreError::WrongState { actual: Some(JobState::Waiting), .. }));
    assert!(expected, "{wrong:?}");
    assert_eq!(rig.claim_names(9).await, ["a"]);
}

async fn prioritize(rig: &Rig, id: &JobId, priority: u64, front: bool) {
    ok!(rig.store.change_priority(&rig.queue, id, priority, front));
    assert_eq!(rig.job(id).await.priority, priority);
}

pub async fn a_priority_is_changed_where_a_job_waits(rig: Rig) {
    let mut ids = Vec::new();
    for (name, priority) in [("plain", 0), ("also", 0), ("high", 1), ("low", 9)] {
        ids.push(rig.add_with(name, |o| o.priority = priority).await);
    }
    prioritize(&rig, &ids[0], 5, false).await;
    prioritize(&rig, &ids[3], 1, false).await;
    assert_eq!(rig.names(JobState::Prioritized).await, ["high", "low", "plain"]);
    prioritize(&rig, &ids[2], 0, false).await;
    assert_eq!(rig.names(JobState::Waiting).await, ["also", "high"]);
    assert_eq!(rig.claim_names(9).await, ["also", "high", "low", "plain"]);
}

pub async fn a_changed_priority_may_go_in_front(rig: Rig) {
    let mut ids = Vec::new();
    for (name, priority) in [("a", 3), ("b", 3), ("c", 7), ("d", 0), ("e", 7)] {
        ids.push(rig.add_with(name, |o| o.priority = priority).await);
    }
    prioritize(&rig, &ids[2], 3, true).await;
    assert_eq!(rig.names(JobState::Prioritized).await, ["c", "a", "b", "e"]);
    prioritize(&rig, &ids[4], 0, true).await;
    assert_eq!(rig.claim_names(9).await, ["e", "d", "c", "a", "b"]);
}

pub async fn a_changed_priority_holds_when_a_job_waits_again(rig: Rig) {
    let delayed = rig.add_with("delayed", |o| o.delay = 1000).await;
    prioritize(&rig, &delayed, 4, true).await;
    assert_eq!(rig.state(&delayed).await, Some(JobState::Delayed));
    rig.add("active").await;
    let claimed = rig.claim_one().await;
    prioritize(&rig, &claimed.id, 2, false).await;
    rig.done(&claimed, retry(0)).await;
    rig.advance(5000);
    assert_eq!(rig.claim_names(9).await, ["active", "delayed"]);
}

pub async fn a_priority_is_changed_in_a_paused_queue(rig: Rig) {
    let before = rig.add("before").await;
    ok!(rig.store.pause(&rig.queue));
    let after = rig.add("after").await;
    prioritize(&rig, &before, 2, false).await;
    prioritize(&rig, &after, 1, false).await;
    assert_eq!((rig.count(JobState::Waiting).await, rig.count(JobState::Prioritized).await), (0, 2));
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.claim_names(9).await, ["after", "before"]);
}

pub async fn a_priority_that_does_not_exist_is_refused(rig: Rig) {
    let added = rig.add("a").await;
    let refused = rig.store.change_priority(&rig.queue, &added, 2_097_152, false).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    let missing = rig.store.change_priority(&rig.queue, &id("nobody"), 1, false).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
    assert_eq!(rig.job(&added).await.priority, 0);
}

pub async fn draining_removes_what_waits(rig: Rig) {
    let completed = rig.add_finished("completed", complete_with("1")).await;
    rig.add("active").await;
    let active = rig.claim_one().await;
    let waiting = rig.add("waiting").await;
    rig.add_with("prioritized", |o| o.priority = 1).await;
    let delayed = rig.add_with("delayed", |o| o.delay = 60_000).await;
    assert_eq!(ok!(rig.store.drain(&rig.queue, false)), 2);
    assert!(ok!(rig.store.get(&rig.queue, &waiting)).is_none());
    assert_eq!(rig.state(&completed).await, Some(JobState::Completed));
    assert_eq!(rig.state(&delayed).await, Some(JobState::Delayed));
    assert!(rig.claim(9).await.is_empty());
    rig.done(&active, complete_with("1")).await;
}

pub async fn draining_removes_delayed_ones_when_asked(rig: Rig) {
    rig.add("waiting").await;
    rig.add_with("delayed", |o| o.delay = 60_000).await;
    ok!(rig.store.pause(&rig.queue));
    rig.add("paused").await;
    assert_eq!(ok!(rig.store.drain(&rig.queue, true)), 3, "a paused queue is drained as well");
    ok!(rig.store.resume(&rig.queue));
    rig.advance(120_000);
    assert!(rig.claim(9).await.is_empty());
    assert_eq!(ok!(rig.store.counts(&rig.queue)).pending(), 0);
}

pub async fn draining_an_empty_queue_removes_nothing(rig: Rig) {
    assert_eq!(ok!(rig.store.drain(&rig.queue, true)), 0);
}
