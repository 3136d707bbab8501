//! Deduplication ids: who owns one, for how long, and what becomes of the jobs that it holds back.
//!
//! A store may measure a time to live with its own clock, so cases that see one end use a short one and look until it is
//! over, and cases that must not see it end use a long one.

use std::time::{Duration, Instant};

use super::rig::{Rig, complete, complete_keep, fail, id, names_of, ok, retry};
use crate::clock::Millis;
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{Deduplication, JobOptions, Keep};
use crate::store::{Added, NewJob, Removed, StoreError, Verdict};

/// A time to live that ends soon.
const SOON: Millis = 60;

/// A time to live that is there for the few calls made at once, and whose end can be waited for.
const SHORT: Millis = 1500;

/// A time to live that no case sees the end of.
const LONG: Millis = 3_600_000;

/// The longest wait for the end of a time to live.
const PATIENCE: Duration = Duration::from_secs(20);

fn rule(key: &str) -> Deduplication {
    Deduplication { id: key.into(), ..Deduplication::default() }
}

fn simple() -> Deduplication {
    rule("d")
}

fn lasting(ttl: Millis) -> Deduplication {
    Deduplication { ttl: Some(ttl), ..simple() }
}

fn extending(ttl: Millis) -> Deduplication {
    Deduplication { extend: true, ..lasting(ttl) }
}

fn replacing() -> Deduplication {
    Deduplication { replace: true, ..simple() }
}

fn keeping() -> Deduplication {
    Deduplication { keep_last_if_active: true, ..simple() }
}

fn job(name: &str, rule: Deduplication, set: impl FnOnce(&mut JobOptions)) -> NewJob {
    let mut job = Rig::new_job(name);
    job.options.deduplication = Some(rule);
    set(&mut job.options);
    job
}

async fn give(rig: &Rig, job: NewJob) -> Added {
    ok!(rig.store.add(&rig.queue, vec![job], rig.now())).remove(0)
}

/// Adds a job that must be stored.
async fn first(rig: &Rig, name: &str, rule: Deduplication) -> JobId {
    rig.add_job(job(name, rule, |_| {})).await
}

/// The same, for a minute later.
async fn later(rig: &Rig, name: &str, rule: Deduplication) -> JobId {
    rig.add_job(job(name, rule, |o| o.delay = 60_000)).await
}

/// Adds a job that must be held back by this owner.
async fn held(rig: &Rig, name: &str, rule: Deduplication, owner: &JobId) {
    let added = give(rig, job(name, rule, |_| {})).await;
    assert_eq!(added, Added::Deduplicated(owner.clone()), "{name}");
}

/// Adds until the owner does not hold the job back any more. Gives the one that was stored.
async fn freed(rig: &Rig, owner: &JobId) -> JobId {
    let begun = Instant::now();
    loop {
        match give(rig, job("after", simple(), |_| {})).await {
            Added::New(id) => return id,
            added => assert_eq!(added, Added::Deduplicated(owner.clone())),
        }
        assert!(begun.elapsed() < PATIENCE, "the time to live does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a time to live that began before is over.
async fn outlast(ttl: Millis) {
    tokio::time::sleep(Duration::from_millis(ttl + 50)).await;
}

// --- until the owner goes ---

pub async fn a_duplicate_is_not_added(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    assert_eq!(rig.job(&owner).await.deduplication_id.as_deref(), Some("d"));
    held(&rig, "waiting", simple(), &owner).await;
    let claimed = rig.claim_one().await;
    held(&rig, "active", simple(), &owner).await;
    rig.done(&claimed, Verdict::Release).await;
    held(&rig, "given back", simple(), &owner).await;
    assert_eq!(rig.names(JobState::Waiting).await, ["a"]);
    assert_eq!(rig.job(&owner).await.data, Rig::new_job("a").data);
    assert_eq!(rig.claim_names(9).await, ["a"]);
}

pub async fn a_duplicate_in_the_same_batch_is_not_added(rig: Rig) {
    let jobs = ["a", "b", "c"].map(|name| job(name, rule(if name == "c" { "other" } else { "d" }), |_| {}));
    let added = ok!(rig.store.add(&rig.queue, jobs.to_vec(), rig.now()));
    let [Added::New(a), Added::Deduplicated(owner), Added::New(c)] = added.as_slice() else {
        panic!("{added:?}");
    };
    assert_eq!(a, owner);
    assert_ne!(a, c);
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "c"]);
}

pub async fn ids_and_queues_are_apart(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    first(&rig, "b", rule("D")).await;
    first(&rig, "c", rule("d:1")).await;
    let other = rig.other_queue("other");
    let there = first(&other, "there", simple()).await;
    held(&other, "again", simple(), &there).await;
    held(&rig, "again", simple(), &owner).await;
    rig.add("without").await;
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "b", "c", "without"]);
}

pub async fn an_empty_id_is_rejected(rig: Rig) {
    let refused = rig.store.add(&rig.queue, vec![job("a", rule(""), |_| {})], rig.now()).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(rig.count(JobState::Waiting).await, 0);
}

pub async fn of_many_at_once_one_is_added(rig: Rig) {
    let mut adding = tokio::task::JoinSet::new();
    for n in 0..24 {
        let rig = rig.clone();
        adding.spawn(async move { give(&rig, job(&format!("n{n}"), simple(), |_| {})).await });
    }
    let added = adding.join_all().await;
    let (new, held): (Vec<_>, Vec<_>) = added.into_iter().partition(|added| matches!(added, Added::New(_)));
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(held.iter().all(|added| *added == Added::Deduplicated(new[0].id().clone())), "{held:?}");
    assert_eq!(rig.count(JobState::Waiting).await, 1);
}

pub async fn a_completed_owner_frees_its_id(rig: Rig) {
    let a = first(&rig, "a", simple()).await;
    rig.done(&rig.claim_one().await, complete()).await;
    let b = first(&rig, "b", simple()).await;
    held(&rig, "c", simple(), &b).await;
    rig.done(&rig.claim_one().await, complete_keep(Keep::None)).await;
    first(&rig, "d", simple()).await;
    assert_eq!(rig.job(&a).await.deduplication_id.as_deref(), Some("d"));
}

pub async fn an_owner_keeps_its_id_until_it_fails_for_good(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    rig.done(&rig.claim_one().await, retry(0)).await;
    held(&rig, "at once", simple(), &owner).await;
    rig.done(&rig.claim_one().await, retry(5000)).await;
    held(&rig, "delayed", simple(), &owner).await;
    rig.advance(6000);
    let claimed = rig.claim_one().await;
    held(&rig, "last try", simple(), &owner).await;
    rig.done(&claimed, fail("bad")).await;
    first(&rig, "b", simple()).await;
}

pub async fn a_recovered_owner_keeps_its_id(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 9).await;
    held(&rig, "b", simple(), &owner).await;
    rig.done(&rig.claim_one().await, complete()).await;
    first(&rig, "c", simple()).await;
}

pub async fn a_removed_owner_frees_its_id(rig: Rig) {
    let waiting = first(&rig, "a", simple()).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &waiting)), Removed::Yes);
    let delayed = later(&rig, "b", simple()).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &delayed)), Removed::Yes);
    let lasting = first(&rig, "c", lasting(LONG)).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &lasting)), Removed::Yes);
    first(&rig, "d", simple()).await;
}

pub async fn a_drained_owner_frees_its_id(rig: Rig) {
    first(&rig, "a", simple()).await;
    let delayed = later(&rig, "b", rule("e")).await;
    ok!(rig.store.drain(&rig.queue, false));
    first(&rig, "c", simple()).await;
    held(&rig, "d", rule("e"), &delayed).await;
    ok!(rig.store.drain(&rig.queue, true));
    first(&rig, "e", rule("e")).await;
}

pub async fn who_lost_the_id_does_not_free_it(rig: Rig) {
    let a = first(&rig, "a", simple()).await;
    rig.done(&rig.claim_one().await, complete()).await;
    let b = later(&rig, "b", simple()).await;
    ok!(rig.store.retry(&rig.queue, &a, true));
    rig.done(&rig.claim_one().await, complete()).await;
    held(&rig, "c", simple(), &b).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &a)), Removed::Yes);
    held(&rig, "d", simple(), &b).await;
}

pub async fn a_chosen_id_that_exists_takes_no_deduplication_id(rig: Rig) {
    let x = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    let again = job("b", simple(), |o| o.job_id = Some("x".into()));
    assert_eq!(give(&rig, again).await, Added::Duplicate(x));
    let owner = first(&rig, "c", simple()).await;
    let chosen = job("d", simple(), |o| o.job_id = Some("y".into()));
    assert_eq!(give(&rig, chosen).await, Added::Deduplicated(owner));
    assert_eq!(rig.state(&id("y")).await, None);
}

// --- until a time ---

pub async fn a_time_to_live_outlasts_its_owner(rig: Rig) {
    let owner = first(&rig, "a", lasting(LONG)).await;
    held(&rig, "b", lasting(LONG), &owner).await;
    rig.done(&rig.claim_one().await, complete()).await;
    held(&rig, "c", lasting(LONG), &owner).await;
    assert_eq!(rig.count(JobState::Completed).await, 1);
    let gone = first(&rig, "d", Deduplication { id: "e".into(), ..lasting(LONG) }).await;
    rig.done(&rig.claim_one().await, complete_keep(Keep::None)).await;
    assert_eq!(rig.state(&gone).await, None);
    held(&rig, "e", rule("e"), &gone).await;
}

pub async fn a_time_to_live_ends_before_its_owner(rig: Rig) {
    let owner = first(&rig, "a", lasting(SOON)).await;
    let next = freed(&rig, &owner).await;
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "after"]);
    // The first one's end is not the end of what the second has taken.
    rig.done(&rig.claim_one().await, complete()).await;
    held(&rig, "b", simple(), &next).await;
}

pub async fn a_time_to_live_ends_after_its_owner(rig: Rig) {
    let owner = first(&rig, "a", lasting(SOON)).await;
    rig.done(&rig.claim_one().await, complete()).await;
    freed(&rig, &owner).await;
}

pub async fn a_time_to_live_of_nothing_is_none(rig: Rig) {
    let owner = first(&rig, "a", lasting(0)).await;
    held(&rig, "b", lasting(0), &owner).await;
    rig.done(&rig.claim_one().await, complete()).await;
    first(&rig, "c", simple()).await;
}

pub async fn an_extending_duplicate_starts_the_time_anew(rig: Rig) {
    let owner = first(&rig, "a", lasting(SHORT)).await;
    held(&rig, "b", extending(LONG), &owner).await;
    outlast(SHORT).await;
    held(&rig, "c", simple(), &owner).await;
    held(&rig, "d", extending(SOON), &owner).await;
    freed(&rig, &owner).await;
}

pub async fn other_duplicates_leave_the_time(rig: Rig) {
    let owner = first(&rig, "a", lasting(SHORT)).await;
    held(&rig, "b", lasting(LONG), &owner).await;
    held(&rig, "c", Deduplication { extend: true, ..simple() }, &owner).await;
    freed(&rig, &owner).await;
}

// --- replacing ---

pub async fn a_delayed_owner_is_replaced(rig: Rig) {
    let a = later(&rig, "a", replacing()).await;
    let b = later(&rig, "b", replacing()).await;
    assert_eq!(rig.state(&a).await, None);
    assert_eq!(rig.names(JobState::Delayed).await, ["b"]);
    held(&rig, "c", simple(), &b).await;
    let d = first(&rig, "d", replacing()).await;
    assert_eq!((rig.state(&b).await, rig.state(&d).await), (None, Some(JobState::Waiting)));
    assert_eq!((rig.count(JobState::Delayed).await, rig.claim_names(9).await), (0, vec!["d".to_owned()]));
}

pub async fn a_replacement_is_told(rig: Rig) {
    let a = later(&rig, "a", replacing()).await;
    let mark = rig.mark().await;
    let b = first(&rig, "b", replacing()).await;
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("removed {a} prev=delayed"),
            format!("deduplicated {b} deduplicationId=d deduplicatedJobId={a}"),
            format!("added {b} name=b"),
            format!("waiting {b}"),
        ]
    );
}

pub async fn an_owner_that_is_not_delayed_is_not_replaced(rig: Rig) {
    let owner = first(&rig, "a", replacing()).await;
    let mark = rig.mark().await;
    held(&rig, "b", replacing(), &owner).await;
    assert_eq!(rig.told(&mark).await, Vec::<String>::new(), "it is not told of");
    let claimed = rig.claim_one().await;
    held(&rig, "c", replacing(), &owner).await;
    rig.done(&claimed, complete()).await;
    assert!(rig.claim(1).await.is_empty());
    first(&rig, "d", replacing()).await;
}

pub async fn a_replacement_keeps_the_time_unless_it_extends(rig: Rig) {
    let replacing = |rule: Deduplication| Deduplication { replace: true, ..rule };
    let a = later(&rig, "a", replacing(lasting(SHORT))).await;
    let b = later(&rig, "b", replacing(lasting(LONG))).await;
    assert_eq!(rig.state(&a).await, None, "it was not replaced in time");
    let c = freed(&rig, &b).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &c)), Removed::Yes);
    later(&rig, "d", replacing(lasting(LONG))).await;
    let e = later(&rig, "e", replacing(extending(SOON))).await;
    freed(&rig, &e).await;
}

pub async fn a_replacement_without_a_time_holds_until_its_end(rig: Rig) {
    let a = later(&rig, "a", Deduplication { replace: true, ..lasting(SHORT) }).await;
    let b = first(&rig, "b", replacing()).await;
    assert_eq!(rig.state(&a).await, None, "it was not replaced in time");
    outlast(SHORT).await;
    held(&rig, "c", simple(), &b).await;
    rig.done(&rig.claim_one().await, complete()).await;
    first(&rig, "d", simple()).await;
}

// --- keeping the last ---

pub async fn the_last_duplicate_of_a_running_owner_runs_after_it(rig: Rig) {
    let a = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    for name in ["b", "c"] {
        held(&rig, name, keeping(), &a).await;
    }
    assert!(rig.claim(1).await.is_empty(), "the owner runs");
    rig.done(&running, complete()).await;
    let next = rig.claim_one().await;
    let found = rig.job(&next.id).await;
    assert_eq!((found.name.as_str(), found.data), ("c", Rig::new_job("c").data));
    assert_eq!(found.deduplication_id.as_deref(), Some("d"));
    assert_ne!(next.id, a);
    // It owns the id now, with all that comes with it.
    held(&rig, "e", keeping(), &next.id).await;
    rig.done(&next, fail("bad")).await;
    let last = rig.claim_one().await;
    assert_eq!(names_of(std::slice::from_ref(&last)), ["e"]);
    rig.done(&last, complete()).await;
    assert!(rig.claim(1).await.is_empty());
    first(&rig, "f", keeping()).await;
}

pub async fn a_duplicate_of_a_waiting_owner_is_not_kept(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    held(&rig, "b", keeping(), &owner).await;
    let running = rig.claim_one().await;
    held(&rig, "c", simple(), &owner).await;
    rig.done(&running, complete()).await;
    assert!(rig.claim(1).await.is_empty());
    first(&rig, "d", keeping()).await;
}

pub async fn a_kept_job_waits_for_the_owners_last_attempt(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(), &owner).await;
    rig.done(&running, retry(5000)).await;
    assert_eq!(rig.count(JobState::Waiting).await, 0);
    held(&rig, "c", keeping(), &owner).await;
    rig.advance(6000);
    let running = rig.claim_one().await;
    assert_eq!(running.id, owner);
    rig.done(&running, fail("bad")).await;
    assert_eq!(rig.claim_names(9).await, ["b"], "the owner was not running when c came");
}

pub async fn a_kept_job_has_its_options(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    let set = |o: &mut JobOptions| {
        o.job_id = Some("mine".into());
        o.delay = 5000;
        o.priority = 7;
        o.attempts = 3;
    };
    assert_eq!(give(&rig, job("b", keeping(), set)).await, Added::Deduplicated(owner));
    assert_eq!(rig.state(&id("mine")).await, None);
    rig.done(&running, complete()).await;
    let kept = rig.job(&id("mine")).await;
    assert_eq!((kept.delay, kept.priority, kept.options.attempts), (5000, 7, 3));
    assert_eq!(rig.state(&kept.id).await, Some(JobState::Delayed));
    rig.advance(6000);
    assert_eq!(rig.claim_one().await.id, kept.id);
}

pub async fn a_kept_lifo_job_goes_in_front(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    rig.add("other").await;
    let kept = job("b", keeping(), |o| o.lifo = true);
    assert_eq!(give(&rig, kept).await, Added::Deduplicated(owner));
    rig.done(&running, complete()).await;
    assert_eq!(rig.claim_names(9).await, ["b", "other"]);
}

pub async fn a_kept_job_can_be_claimed_with_the_finish(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(), &owner).await;
    let (finished, claim) = rig.finish_and_claim(vec![Rig::ending(&running, complete())], 5).await;
    assert_eq!(finished, [Ok(())]);
    assert_eq!(names_of(&claim.jobs), ["b"]);
}

pub async fn a_kept_job_whose_id_is_taken_is_not_made(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    let kept = job("b", keeping(), |o| o.job_id = Some("x".into()));
    assert_eq!(give(&rig, kept).await, Added::Deduplicated(owner));
    rig.add_with("x", |o| o.job_id = Some("x".into())).await;
    rig.done(&running, complete()).await;
    assert_eq!(rig.claim_names(9).await, ["x"]);
    first(&rig, "c", simple()).await;
}

pub async fn a_kept_job_takes_the_time_from_the_id(rig: Rig) {
    let keeping = |ttl| Deduplication { keep_last_if_active: true, ..lasting(ttl) };
    let owner = first(&rig, "a", lasting(SHORT)).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(SOON), &owner).await;
    outlast(SHORT).await;
    held(&rig, "c", simple(), &owner).await;
    rig.done(&running, complete()).await;
    let next = rig.claim_one().await;
    assert_eq!(names_of(std::slice::from_ref(&next)), ["b"]);
    outlast(SOON).await;
    held(&rig, "d", simple(), &next.id).await;
    rig.done(&next, complete()).await;
    first(&rig, "e", keeping(SOON)).await;
}

pub async fn a_removed_owner_takes_the_kept_job_along(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(), &owner).await;
    rig.done(&running, retry(60_000)).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &owner)), Removed::Yes);
    first(&rig, "c", keeping()).await;
    rig.done(&rig.claim_one().await, complete()).await;
    assert!(rig.claim(1).await.is_empty());
}

pub async fn a_parent_waits_for_the_kept_job_too(rig: Rig) {
    let parent = rig.add("parent").await;
    let waiting = rig.claim_one().await;
    let child = |name: &str| {
        let mut job = job(name, keeping(), |_| {});
        job.parent = Some(rig.parent(&parent));
        job
    };
    let owner = rig.add_job(child("a")).await;
    rig.done(&waiting, Verdict::WaitForChildren).await;
    let running = rig.claim_one().await;
    assert_eq!(give(&rig, child("b")).await, Added::Deduplicated(owner));
    rig.done(&running, complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    let kept = rig.claim_one().await;
    assert_eq!(rig.job(&kept.id).await.parent_key, Some(rig.key(&parent)));
    rig.done(&kept, complete()).await;
    assert_eq!(rig.claim_one().await.id, parent);
    assert_eq!(ok!(rig.store.children_values(&rig.queue, &parent)).len(), 2);
}

pub async fn a_replacement_drops_what_was_kept_behind_the_owner(rig: Rig) {
    let a = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(), &a).await;
    rig.done(&running, retry(60_000)).await;
    let c = first(&rig, "c", replacing()).await;
    assert_eq!(rig.state(&a).await, None);
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, c);
    rig.done(&claimed, complete()).await;
    assert!(rig.claim(9).await.is_empty(), "b is older than c");
}

// --- rescheduling ---

fn rescheduling() -> Deduplication {
    Deduplication { reschedule: true, ..simple() }
}

async fn held_for(rig: &Rig, name: &str, rule: Deduplication, delay: Millis, owner: &JobId) {
    let added = give(rig, job(name, rule, |o| o.delay = delay)).await;
    assert_eq!(added, Added::Deduplicated(owner.clone()), "{name}");
}

pub async fn a_delayed_owner_is_rescheduled(rig: Rig) {
    let owner = later(&rig, "a", simple()).await;
    held_for(&rig, "b", rescheduling(), 600_000, &owner).await;
    assert_eq!(rig.job(&owner).await.delay, 600_000);
    rig.advance(120_000);
    assert!(rig.claim(9).await.is_empty(), "its old time is over");
    held_for(&rig, "c", rescheduling(), 1000, &owner).await;
    rig.advance(2000);
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, owner);
    assert_eq!(rig.job(&owner).await.data, Rig::new_job("a").data, "only its time is another");
}

pub async fn a_rescheduling_is_told(rig: Rig) {
    let owner = later(&rig, "a", simple()).await;
    let mark = rig.mark().await;
    let made = rig.now() + 5;
    let again = job("b", rescheduling(), |o| {
        o.job_id = Some("mine".into());
        o.delay = 7000;
        o.timestamp = Some(made);
    });
    give(&rig, again).await;
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("deduplicated {owner} deduplicationId=d deduplicatedJobId=mine"),
            format!("delayed {owner} delay={}", made + 7000),
        ]
    );
}

pub async fn without_a_delay_a_rescheduled_owner_is_due(rig: Rig) {
    let owner = later(&rig, "a", simple()).await;
    held(&rig, "b", rescheduling(), &owner).await;
    rig.advance(10);
    assert_eq!(rig.claim_one().await.id, owner);
}

pub async fn only_a_delayed_owner_is_rescheduled(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    held_for(&rig, "b", rescheduling(), 60_000, &owner).await;
    assert_eq!(rig.state(&owner).await, Some(JobState::Waiting));
    let running = rig.claim_one().await;
    held_for(&rig, "c", rescheduling(), 60_000, &owner).await;
    assert_eq!(rig.state(&owner).await, Some(JobState::Active));
    rig.done(&running, complete()).await;
    let replaced = later(&rig, "d", simple()).await;
    let both = Deduplication { reschedule: true, ..replacing() };
    let next = rig.add_job(job("e", both, |o| o.delay = 1000)).await;
    assert_eq!(rig.state(&replaced).await, None, "replacing comes first");
    assert_eq!(rig.names(JobState::Delayed).await, ["e"]);
    rig.advance(2000);
    assert_eq!(rig.claim_one().await.id, next);
}

pub async fn a_rescheduling_may_extend_the_time(rig: Rig) {
    let owner = later(&rig, "a", lasting(SHORT)).await;
    let rule = Deduplication { reschedule: true, ..extending(LONG) };
    held_for(&rig, "b", rule, 500_000, &owner).await;
    outlast(SHORT).await;
    held(&rig, "c", simple(), &owner).await;
    assert_eq!(rig.job(&owner).await.delay, 500_000);
}

// --- from outside ---

async fn owner_of(rig: &Rig, key: &str) -> Option<JobId> {
    ok!(rig.store.deduplication_owner(&rig.queue, key))
}

async fn release(rig: &Rig, key: &str) -> bool {
    ok!(rig.store.release_deduplication(&rig.queue, key))
}

pub async fn the_owner_of_an_id_is_told(rig: Rig) {
    assert_eq!(owner_of(&rig, "d").await, None);
    let owner = first(&rig, "a", simple()).await;
    let lasting = first(&rig, "b", Deduplication { id: "l".into(), ..lasting(SHORT) }).await;
    assert_eq!((owner_of(&rig, "d").await, owner_of(&rig, "l").await), (Some(owner), Some(lasting)));
    assert_eq!(owner_of(&rig.other_queue("other"), "d").await, None);
    rig.done(&rig.claim_one().await, complete()).await;
    assert_eq!(owner_of(&rig, "d").await, None);
    outlast(SHORT).await;
    assert_eq!(owner_of(&rig, "l").await, None);
}

pub async fn a_released_id_is_free(rig: Rig) {
    assert!(!release(&rig, "d").await);
    let a = first(&rig, "a", lasting(LONG)).await;
    assert!(release(&rig, "d").await);
    assert!(!release(&rig, "d").await);
    assert_eq!(owner_of(&rig, "d").await, None);
    let b = first(&rig, "b", simple()).await;
    assert_eq!(rig.claim_one().await.id, a);
    held(&rig, "c", simple(), &b).await;
}

pub async fn a_kept_job_is_made_though_the_id_was_released(rig: Rig) {
    first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    held(&rig, "b", keeping(), &running.id).await;
    assert!(release(&rig, "d").await);
    rig.done(&running, complete()).await;
    let kept = rig.claim_one().await;
    assert_eq!(names_of(std::slice::from_ref(&kept)), ["b"]);
    assert_eq!(owner_of(&rig, "d").await, Some(kept.id.clone()));
    rig.done(&kept, complete()).await;
    assert_eq!(owner_of(&rig, "d").await, None);
}

// --- telling ---

pub async fn a_held_back_job_is_told(rig: Rig) {
    let owner = first(&rig, "a", simple()).await;
    let mark = rig.mark().await;
    let named = job("b", simple(), |o| o.job_id = Some("mine".into()));
    give(&rig, named).await;
    held(&rig, "c", simple(), &owner).await;
    let told = rig.since(&mark).await;
    assert_eq!(told.len(), 2, "{told:?}");
    for event in &told {
        assert_eq!(event.event, "deduplicated");
        assert_eq!(event.field("jobId"), Some(owner.as_str()));
        assert_eq!(event.field("deduplicationId"), Some("d"));
    }
    assert_eq!(told[0].field("deduplicatedJobId"), Some("mine"));
    let counted = told[1].field("deduplicatedJobId").and_then(|id| id.parse::<u64>().ok());
    let next = rig.add("d").await.as_str().parse::<u64>().ok();
    assert!(counted.is_some() && counted < next, "{counted:?} is an id of its own, before {next:?}");
}

pub async fn a_kept_job_is_told_before_its_owners_end(rig: Rig) {
    let owner = first(&rig, "a", keeping()).await;
    let running = rig.claim_one().await;
    let mark = rig.mark().await;
    let kept = job("b", keeping(), |o| o.job_id = Some("mine".into()));
    give(&rig, kept).await;
    rig.done(&running, complete()).await;
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("deduplicated {owner} deduplicationId=d deduplicatedJobId=mine"),
            "added mine name=b".to_owned(),
            "waiting mine".to_owned(),
            format!("completed {owner} returnvalue=null prev=active"),
        ]
    );
}
