//! Removing many jobs at once: cleaning by state and age, and whole queues.

use super::rig::{Rig, complete, complete_with, fail, ok, retry};
use crate::job::JobState;
use crate::names::JobId;
use crate::options::Deduplication;
use crate::store::{Added, Limits, Obliterated, Page, Refusal, StoreError, Verdict};

const ALL: u64 = u64::MAX;

async fn clean(rig: &Rig, state: JobState, before: u64, limit: u64) -> Vec<JobId> {
    ok!(rig.store.clean(&rig.queue, state, before, limit))
}

async fn obliterate(rig: &Rig, force: bool) -> Obliterated {
    ok!(rig.store.obliterate(&rig.queue, force))
}

async fn exists(rig: &Rig, id: &JobId) -> bool {
    ok!(rig.store.get(&rig.queue, id)).is_some()
}

/// Adds and ends a job, at least a millisecond after what was before.
async fn ended(rig: &Rig, name: &str, verdict: Verdict) -> JobId {
    rig.advance(10);
    rig.add_finished(name, verdict).await
}

// --- cleaning ---

pub async fn finished_jobs_go_by_their_end_oldest_first(rig: Rig) {
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(ended(&rig, name, complete_with("1")).await);
    }
    rig.advance(1000);
    let between = rig.now();
    rig.advance(1000);
    let young = ended(&rig, "young", complete()).await;
    let failed = ended(&rig, "failed", fail("bad")).await;
    assert_eq!(clean(&rig, JobState::Completed, between, 2).await, ids[..2]);
    assert_eq!(clean(&rig, JobState::Completed, between, ALL).await, ids[2..]);
    assert!(clean(&rig, JobState::Completed, between, ALL).await.is_empty());
    assert!(!exists(&rig, &ids[0]).await && exists(&rig, &young).await);
    assert_eq!(rig.count(JobState::Completed).await, 1);
    assert_eq!(clean(&rig, JobState::Failed, rig.now() + 1, ALL).await, [failed]);
}

pub async fn what_waits_goes_by_when_it_was_made(rig: Rig) {
    let (old, young) = (rig.now() - 60_000, rig.now());
    for state in [JobState::Waiting, JobState::Prioritized, JobState::Delayed] {
        let add = async |made| {
            rig.add_with("job", |o| {
                o.timestamp = Some(made);
                o.priority = if state == JobState::Prioritized { 3 } else { 0 };
                o.delay = if state == JobState::Delayed { 900_000 } else { 0 };
            })
            .await
        };
        let ids = [add(young).await, add(old).await, add(young).await, add(old).await];
        let gone = clean(&rig, state, young - 1, ALL).await;
        assert_eq!(gone, [ids[1].clone(), ids[3].clone()], "{state}");
        assert_eq!(rig.count(state).await, 2, "{state}");
        for (id, stays) in ids.iter().zip([true, false, true, false]) {
            assert_eq!(exists(&rig, id).await, stays, "{state}");
        }
    }
    assert_eq!(rig.claim(9).await.len(), 4, "the others can be run");
}

pub async fn what_was_started_goes_by_its_last_start(rig: Rig) {
    let made = rig.now() - 60_000;
    let old = rig.add_with("a", |o| o.timestamp = Some(made)).await;
    let started = rig.claim_one().await;
    rig.done(&started, retry(0)).await;
    assert!(clean(&rig, JobState::Waiting, made + 1, ALL).await.is_empty());
    assert_eq!(clean(&rig, JobState::Waiting, rig.now() + 1, ALL).await, [old]);
}

pub async fn an_active_job_goes_only_without_its_lock(rig: Rig) {
    let lost = rig.add("lost").await;
    let held = rig.add("held").await;
    let running = rig.claim(2).await;
    rig.expire(&running[0]).await;
    assert_eq!(clean(&rig, JobState::Active, rig.now() + 1, ALL).await, [lost]);
    assert_eq!(rig.state(&held).await, Some(JobState::Active));
    rig.done(&running[1], complete()).await;
    assert_eq!(rig.finish(&running[0], complete()).await, Err(Refusal::Missing));
    for _ in 0..2 {
        assert!(rig.recover(9).await.is_empty());
    }
}

pub async fn a_cleaning_is_told_once(rig: Rig) {
    for n in 0..3 {
        ended(&rig, &format!("n{n}"), complete()).await;
    }
    let mark = rig.mark().await;
    clean(&rig, JobState::Completed, rig.now() + 1, ALL).await;
    clean(&rig, JobState::Completed, rig.now() + 1, ALL).await;
    assert_eq!(rig.told(&mark).await, ["cleaned count=3", "cleaned count=0"]);
}

pub async fn many_are_cleaned_and_those_between_stay(rig: Rig) {
    let now = rig.now();
    let jobs = (0..1500).map(|n| {
        let mut job = Rig::new_job(&format!("n{n}"));
        job.options.timestamp = Some(if n % 3 == 0 { now + 60_000 } else { now - 60_000 });
        job
    });
    let added = ok!(rig.store.add(&rig.queue, jobs.collect(), now));
    let ids: Vec<JobId> = added.iter().map(Added::id).cloned().collect();
    let gone = clean(&rig, JobState::Waiting, now, 700).await;
    let old: Vec<JobId> =
        ids.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(_, id)| id.clone()).collect();
    assert_eq!(gone, old[..700]);
    assert_eq!(clean(&rig, JobState::Waiting, now, ALL).await, old[700..]);
    let left = rig.names(JobState::Waiting).await;
    assert_eq!(left, (0..1500).step_by(3).map(|n| format!("n{n}")).collect::<Vec<_>>());
}

pub async fn a_paused_queue_is_cleaned(rig: Rig) {
    let before = rig.add("before").await;
    ok!(rig.store.pause(&rig.queue));
    let after = rig.add("after").await;
    let mut gone = clean(&rig, JobState::Waiting, rig.now() + 1, ALL).await;
    gone.sort();
    let mut expected = [before, after];
    expected.sort();
    assert_eq!(gone, expected);
    ok!(rig.store.resume(&rig.queue));
    assert!(rig.claim(9).await.is_empty());
}

pub async fn a_cleaned_job_frees_its_deduplication_id(rig: Rig) {
    let set = |o: &mut crate::options::JobOptions| {
        o.deduplication = Some(Deduplication { id: "d".into(), ttl: Some(3_600_000), ..Default::default() });
    };
    let owner = rig.add_with("a", set).await;
    assert_eq!(clean(&rig, JobState::Waiting, rig.now() + 1, ALL).await, [owner]);
    rig.add_with("b", set).await;
}

pub async fn a_parent_goes_with_its_last_cleaned_child(rig: Rig) {
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    for name in ["one", "two"] {
        rig.add_child(&parent, name, |o| o.timestamp = Some(1)).await;
    }
    rig.done(&waiting, Verdict::WaitForChildren).await;
    assert_eq!(clean(&rig, JobState::Waiting, 1000, 1).await.len(), 1);
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    assert_eq!(clean(&rig, JobState::Waiting, 1000, ALL).await.len(), 1);
    assert!(!exists(&rig, &parent).await, "it would run without its children");
    assert_eq!(rig.count(JobState::WaitingChildren).await, 0);
}

pub async fn a_parent_in_another_queue_is_let_go(rig: Rig) {
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    let other = rig.other_queue("other");
    let mut child = Rig::new_job("child");
    child.parent = Some(rig.parent(&parent));
    other.add_job(child).await;
    rig.done(&waiting, Verdict::WaitForChildren).await;
    assert_eq!(clean(&other, JobState::Waiting, rig.now() + 1, ALL).await.len(), 1);
    assert_eq!(rig.claim_one().await.id, parent);
}

pub async fn jobs_that_wait_for_children_are_not_cleaned(rig: Rig) {
    let refused = rig.store.clean(&rig.queue, JobState::WaitingChildren, rig.now(), ALL).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert!(
        clean(&rig, JobState::Completed, rig.now(), ALL).await.is_empty(),
        "nor does a queue have to exist"
    );
}

// --- whole queues ---

pub async fn a_queue_is_only_obliterated_while_paused(rig: Rig) {
    assert_eq!(obliterate(&rig, true).await, Obliterated::NotPaused);
    let added = rig.add("a").await;
    for force in [false, true] {
        assert_eq!(obliterate(&rig, force).await, Obliterated::NotPaused);
    }
    assert_eq!(rig.claim_one().await.id, added);
}

pub async fn running_jobs_hold_a_queue_unless_forced(rig: Rig) {
    rig.add("waits").await;
    rig.add("too").await;
    let running = rig.claim_one().await;
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(obliterate(&rig, false).await, Obliterated::Active);
    assert_eq!((rig.count(JobState::Active).await, rig.count(JobState::Waiting).await), (1, 1));
    assert_eq!(obliterate(&rig, true).await, Obliterated::Yes);
    assert_eq!(rig.finish(&running, complete()).await, Err(Refusal::Missing));
    assert_eq!(ok!(rig.store.counts(&rig.queue)), crate::store::Counts::default());
}

pub async fn nothing_is_left_of_an_obliterated_queue(rig: Rig) {
    let first = ended(&rig, "completed", complete_with("1")).await;
    ok!(rig.store.append_logs(&rig.queue, &first, &["line".into()], None));
    ended(&rig, "failed", fail("bad")).await;
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    rig.add_child(&parent, "child", |_| {}).await;
    rig.done(&waiting, Verdict::WaitForChildren).await;
    rig.add_with("prioritized", |o| o.priority = 1).await;
    rig.add_with("delayed", |o| o.delay = 900_000).await;
    let deduplicated = |o: &mut crate::options::JobOptions| {
        o.deduplication = Some(Deduplication { id: "d".into(), ttl: Some(3_600_000), ..Default::default() });
    };
    rig.add_with("deduplicated", deduplicated).await;
    ok!(rig.store.set_concurrency(&rig.queue, Some(5)));
    ok!(rig.store.rest(&rig.queue, Some(std::time::Duration::from_secs(3600))));
    let other = rig.other_queue("other");
    other.add("there").await;
    ok!(rig.store.pause(&rig.queue));

    assert_eq!(obliterate(&rig, false).await, Obliterated::Yes);
    assert_eq!(ok!(rig.store.queues()), std::slice::from_ref(&other.queue));
    assert_eq!(ok!(rig.store.counts(&rig.queue)), crate::store::Counts::default());
    assert_eq!(ok!(rig.store.limits(&rig.queue)), Limits::default());
    assert!(!exists(&rig, &first).await && rig.logs(&first).await.is_empty());
    assert_eq!(ok!(rig.store.series(&rig.queue, JobState::Completed, Page::first(9))), Default::default());
    assert_eq!(ok!(rig.store.deduplication_owner(&rig.queue, "d")), None);
    assert_eq!(rig.mark().await.trim_matches(['0', '-']), "", "no event is left");
    assert_eq!(obliterate(&rig, false).await, Obliterated::NotPaused, "there is no such queue");

    let again = rig.add_with("again", deduplicated).await;
    assert_eq!(again, first, "ids are counted from the start");
    let job = rig.job(&again).await;
    assert_eq!((job.result, job.attempts_made, rig.logs(&again).await.len()), (None, 0, 0));
    assert_eq!(rig.claim_names(9).await, ["again"]);
    assert_eq!(other.claim_names(9).await, ["there"]);
}

pub async fn a_large_queue_is_obliterated(rig: Rig) {
    let jobs = (0..1700).map(|n| {
        let mut job = Rig::new_job(&format!("n{n}"));
        job.options.delay = if n % 2 == 0 { 900_000 } else { 0 };
        job
    });
    ok!(rig.store.add(&rig.queue, jobs.collect(), rig.now()));
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(obliterate(&rig, false).await, Obliterated::Yes);
    assert!(ok!(rig.store.queues()).is_empty());
}

pub async fn a_listener_of_an_obliterated_queue_hears_the_new_one(rig: Rig) {
    rig.add("a").await;
    ok!(rig.store.pause(&rig.queue));
    let mark = rig.mark().await;
    assert_eq!(obliterate(&rig, false).await, Obliterated::Yes);
    // Where events are numbered by the time of day, those of one millisecond begin anew.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let added = rig.add("b").await;
    assert_eq!(rig.told(&mark).await, [format!("added {added} name=b"), format!("waiting {added}")]);
}

pub async fn parents_elsewhere_of_an_obliterated_queue_are_let_go(rig: Rig) {
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    let other = rig.other_queue("other");
    for name in ["one", "two"] {
        let mut child = Rig::new_job(name);
        child.parent = Some(rig.parent(&parent));
        other.add_job(child).await;
    }
    rig.done(&waiting, Verdict::WaitForChildren).await;
    ok!(other.store.pause(&other.queue));
    assert_eq!(obliterate(&other, false).await, Obliterated::Yes);
    assert_eq!(rig.claim_one().await.id, parent);
}

// --- events ---

pub async fn events_are_trimmed_to_the_newest(rig: Rig) {
    let start = rig.mark().await;
    for n in 0..150 {
        rig.add(&format!("n{n}")).await;
    }
    let all = rig.since(&start).await;
    assert_eq!(all.len(), 300);
    assert_eq!(ok!(rig.store.trim_events(&rig.queue, 500)), 0);
    assert_eq!(ok!(rig.store.trim_events(&rig.queue, 5)), 295);
    assert_eq!(rig.since(&start).await, all[295..]);
    rig.add("more").await;
    assert_eq!(rig.since(&start).await.len(), 7);
    assert_eq!(ok!(rig.store.trim_events(&rig.queue, 0)), 7);
    assert!(rig.since(&start).await.is_empty());
    let mark = rig.mark().await;
    rig.add("after").await;
    assert_eq!(rig.since(&mark).await.len(), 2);
}
