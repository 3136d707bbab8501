//! Schedulers: rules that make jobs again and again, one pending at a time.

use std::time::Duration;

use super::rig::{Rig, complete, complete_keep, fail, id, job_of, json, names_of, ok, retry};
use crate::clock::Millis;
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{Backoff, BackoffKind, JobOptions, Keep, KeepLimits};
use crate::schedule::{Rule, Timetable};
use crate::store::{Page, Removed, Scheduled, Scheduler, SchedulerSpec, StoreError, Verdict};

const MINUTE: Millis = 60_000;
const DAY: Millis = 24 * 60 * MINUTE;

/// A scheduler whose jobs have its id as their name.
fn spec(name: &str, rule: Rule) -> SchedulerSpec {
    SchedulerSpec {
        id: name.into(),
        timetable: Timetable { rule, start: None, end: None, limit: None },
        name: name.into(),
        data: None,
        options: JobOptions::default(),
    }
}

fn every(name: &str, every: Millis) -> SchedulerSpec {
    spec(name, Rule::Every { every, offset: None })
}

fn cron(name: &str, pattern: &str, tz: Option<&str>) -> SchedulerSpec {
    spec(name, Rule::Cron { pattern: pattern.into(), tz: tz.map(str::to_owned), immediately: false })
}

fn bounded(spec: SchedulerSpec, set: impl FnOnce(&mut Timetable)) -> SchedulerSpec {
    let mut spec = spec;
    set(&mut spec.timetable);
    spec
}

async fn set(rig: &Rig, spec: SchedulerSpec) -> Scheduled {
    ok!(rig.store.set_scheduler(&rig.queue, spec, rig.now()))
}

async fn rejected(rig: &Rig, spec: SchedulerSpec) -> String {
    match rig.store.set_scheduler(&rig.queue, spec, rig.now()).await {
        Err(StoreError::Rejected(told)) => told,
        other => panic!("it was to be rejected: {other:?}"),
    }
}

async fn get(rig: &Rig, name: &str) -> Scheduler {
    match ok!(rig.store.scheduler(&rig.queue, name)) {
        Some(scheduler) => scheduler,
        None => panic!("there is no scheduler {name}"),
    }
}

async fn remove(rig: &Rig, name: &str) -> bool {
    ok!(rig.store.remove_scheduler(&rig.queue, name))
}

/// Jobs that wait in whatever state, the queue's only scheduler's included.
async fn pending(rig: &Rig) -> u64 {
    let mut count = 0;
    for state in [JobState::Waiting, JobState::Prioritized, JobState::Delayed] {
        count += rig.count(state).await;
    }
    count
}

/// The job of a slot.
fn at(name: &str, slot: Millis) -> JobId {
    id(&format!("repeat:{name}:{slot}"))
}

// --- setting ---

pub async fn a_distance_begins_now(rig: Rig) {
    let before = rig.now();
    let set = set(&rig, every("s", MINUTE)).await;
    assert!(set.due >= before && set.due <= rig.now(), "{set:?}");
    assert_eq!(set.job, at("s", set.due));
    assert_eq!(rig.state(&set.job).await, Some(JobState::Waiting));
    let scheduler = get(&rig, "s").await;
    assert_eq!((scheduler.next, scheduler.iterations), (Some(set.due), 1));
    let rule = Rule::Every { every: MINUTE, offset: Some(set.due % MINUTE) };
    assert_eq!(scheduler.spec, spec("s", rule), "the first run decided the offset");
    assert_eq!(rig.job(&set.job).await.scheduler.as_deref(), Some("s"));
}

pub async fn an_offset_is_kept(rig: Rig) {
    let now = rig.now();
    let offset = (now + MINUTE / 2) % MINUTE;
    let rule = Rule::Every { every: MINUTE, offset: Some(offset) };
    let first = set(&rig, spec("s", rule.clone())).await;
    assert!(first.due > now && first.due <= now + MINUTE && first.due % MINUTE == offset, "{first:?}");
    assert_eq!(rig.state(&first.job).await, Some(JobState::Delayed));
    assert_eq!(get(&rig, "s").await.spec.timetable.rule, rule);
    rig.advance(first.due - now + 20_000);
    rig.claim_one().await;
    assert_eq!(get(&rig, "s").await.next, Some(first.due + MINUTE));
}

pub async fn a_start_is_waited_for(rig: Rig) {
    let start = rig.now() + DAY + 17;
    let set_every = set(&rig, bounded(every("e", MINUTE), |t| t.start = Some(start))).await;
    assert_eq!(set_every.due, start);
    let set_cron = set(&rig, bounded(cron("c", "0 * * * *", None), |t| t.start = Some(start))).await;
    assert!(set_cron.due > start && set_cron.due <= start + 60 * MINUTE, "{set_cron:?}");
    assert!(rig.claim(2).await.is_empty());
    assert_eq!(get(&rig, "e").await.spec.timetable.start, Some(start));
    let passed = set(&rig, bounded(every("p", MINUTE), |t| t.start = Some(5))).await;
    assert!(passed.due <= rig.now() && passed.due > start - 2 * DAY, "a start that has passed is now");
}

pub async fn a_cron_rule_runs_at_the_times_it_names(rig: Rig) {
    let now = rig.now();
    let first = set(&rig, cron("s", "*/10 * * * * *", Some("Europe/Berlin"))).await;
    assert!(first.due > now && first.due <= now + 10_000 && first.due % 10_000 == 0, "{first:?}");
    assert_eq!(get(&rig, "s").await.spec, cron("s", "*/10 * * * * *", Some("Europe/Berlin")));
    assert!(rig.claim(1).await.is_empty(), "its time has not come");
    rig.advance(first.due - now);
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, first.job);
    assert_eq!(get(&rig, "s").await.next, Some(first.due + 10_000));
}

pub async fn a_time_zone_is_minded(rig: Rig) {
    let there = set(&rig, cron("s", "0 12 * * *", Some("Asia/Kolkata"))).await;
    assert_eq!(there.due % DAY, (12 * 60 - 330) * MINUTE, "half past six in UTC");
    let here = set(&rig, cron("s", "0 12 * * *", None)).await;
    assert_eq!(here.due % DAY, 12 * 60 * MINUTE);
}

pub async fn a_cron_rule_can_run_at_once(rig: Rig) {
    let now = rig.now();
    let rule = |immediately| Rule::Cron { pattern: "0 0 1 1 *".into(), tz: None, immediately };
    let first = set(&rig, spec("s", rule(true))).await;
    assert!(first.due >= now && first.due <= rig.now());
    assert_eq!(rig.claim_one().await.id, first.job);
    let next = get(&rig, "s").await;
    assert!(next.next.is_some_and(|next| next > now + 1000 && next % DAY == 0), "{next:?}");
    assert_eq!(next.spec.timetable.rule, rule(false), "only once");
}

pub async fn what_makes_no_sense_is_rejected_and_changes_nothing(rig: Rig) {
    let now = rig.now();
    set(&rig, every("s", MINUTE)).await;
    let before = get(&rig, "s").await;
    for (bad, said) in [
        (every("s", 0), "at least 1"),
        (cron("s", "61 * * * *", None), "61 is out of range"),
        (cron("s", "* * * * *", Some("Mars/Olympus")), "Mars/Olympus"),
        (cron("s", "0 0 30 2 *", None), "never comes"),
        (bounded(every("s", 5), |t| t.limit = Some(0)), "limit"),
        (bounded(every("s", 5), |t| t.end = Some(now - 1)), "passed"),
        (bounded(cron("s", "0 0 1 1 *", None), |t| t.end = Some(now + MINUTE)), "before the timetable ends"),
        (every("", MINUTE), "empty"),
        (every("a:b", MINUTE), "':'"),
    ] {
        let told = rejected(&rig, bad).await;
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(get(&rig, "s").await, before);
    assert_eq!(pending(&rig).await, 1);
}

pub async fn jobs_have_the_template(rig: Rig) {
    let data = json(r#"{"list":[],"big":12345678901234567890,"path":"a/b"}"#);
    let options = JobOptions {
        attempts: 3,
        backoff: Some(Backoff { kind: BackoffKind::Exponential, delay: 9, jitter: None }),
        remove_on_complete: Some(Keep::UpTo(KeepLimits { count: Some(5), ..KeepLimits::default() })),
        keep_logs: Some(7),
        tenant: Some("t1".into()),
        ..JobOptions::default()
    };
    let wanted =
        SchedulerSpec { data: Some(data.clone()), options, name: "report".into(), ..every("s", MINUTE) };
    set(&rig, wanted.clone()).await;
    let scheduler = get(&rig, "s").await;
    assert_eq!((&scheduler.spec.data, &scheduler.spec.options), (&Some(data.clone()), &wanted.options));
    for _ in 0..3 {
        let claimed = rig.claim_one().await;
        let job = job_of(&claimed);
        assert_eq!((job.name.as_str(), &job.data), ("report", &data));
        let JobOptions { attempts, backoff, remove_on_complete, keep_logs, tenant, .. } = job.options.clone();
        let got =
            JobOptions { attempts, backoff, remove_on_complete, keep_logs, tenant, ..JobOptions::default() };
        assert_eq!(got, wanted.options);
        rig.done(&claimed, complete()).await;
        rig.advance(MINUTE);
    }
}

pub async fn a_payload_changed_while_it_ran_is_not_handed_on(rig: Rig) {
    set(&rig, SchedulerSpec { data: Some(json("[1]")), ..every("s", MINUTE) }).await;
    let claimed = rig.claim_one().await;
    ok!(rig.store.update_data(&rig.queue, &claimed.id, json("[2]")));
    rig.done(&claimed, retry(0)).await;
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).data, json("[2]"));
    rig.done(&claimed, complete()).await;
    rig.advance(MINUTE);
    assert_eq!(job_of(&rig.claim_one().await).data, json("[1]"));
}

pub async fn the_life_of_a_job_with_a_priority(rig: Rig) {
    let options = JobOptions { priority: 3, ..JobOptions::default() };
    let first = set(&rig, SchedulerSpec { options, ..every("s", MINUTE) }).await;
    rig.add_with("higher", |o| o.priority = 1).await;
    rig.add("plain").await;
    assert_eq!(rig.state(&first.job).await, Some(JobState::Prioritized));
    let claimed = rig.claim(3).await;
    assert_eq!(names_of(&claimed), ["plain", "higher", "s"]);
    rig.done(&claimed[2], complete_keep(Keep::None)).await;
    rig.add_with("lower", |o| o.priority = 4).await;
    rig.advance(MINUTE);
    assert_eq!(rig.claim_names(2).await, ["s", "lower"]);
}

// --- going on ---

pub async fn the_next_job_is_there_when_one_is_given_out(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    let mut slot = first.due;
    for iteration in 1..=4 {
        let claimed = rig.claim_one().await;
        assert_eq!(claimed.id, at("s", slot));
        slot += MINUTE;
        assert_eq!(rig.state(&at("s", slot)).await, Some(JobState::Delayed));
        let scheduler = get(&rig, "s").await;
        assert_eq!((scheduler.next, scheduler.iterations), (Some(slot), iteration + 1));
        rig.done(&claimed, if iteration % 2 == 0 { fail("no") } else { complete() }).await;
        assert!(rig.claim(1).await.is_empty(), "the next is not due");
        rig.advance(MINUTE);
    }
    assert_eq!(pending(&rig).await, 1);
}

pub async fn a_claim_tells_when_the_next_job_is_due(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    let claim = ok!(rig.store.claim(&rig.queue, &rig.request(5)));
    assert_eq!((claim.jobs.len(), claim.next_due), (1, Some(first.due + MINUTE)));
}

pub async fn a_finish_that_claims_makes_the_next_job_too(rig: Rig) {
    rig.add("a").await;
    let running = rig.claim_one().await;
    let first = set(&rig, every("s", MINUTE)).await;
    let (answers, claim) = rig.finish_and_claim(vec![Rig::ending(&running, complete())], 2).await;
    assert_eq!((answers, names_of(&claim.jobs)), (vec![Ok(())], vec!["s".to_owned()]));
    assert_eq!(rig.state(&at("s", first.due + MINUTE)).await, Some(JobState::Delayed));
}

pub async fn many_schedulers_go_on_in_one_claim(rig: Rig) {
    for n in 0..20 {
        set(&rig, every(&format!("s{n}"), MINUTE)).await;
        rig.add(&format!("plain{n}")).await;
    }
    assert_eq!(rig.claim(40).await.len(), 40);
    assert_eq!(rig.count(JobState::Delayed).await, 20);
}

pub async fn a_later_claim_of_the_same_job_makes_no_further_job(rig: Rig) {
    let options = JobOptions { attempts: 9, ..JobOptions::default() };
    let first = set(&rig, SchedulerSpec { options, ..every("s", MINUTE) }).await;
    let next = at("s", first.due + MINUTE);
    let endings = [retry(0), Verdict::Release, Verdict::DelayUntil(rig.now()), retry(1)];
    for ending in endings {
        let claimed = rig.claim_one().await;
        assert_eq!(claimed.id, first.job);
        assert_eq!(rig.state(&next).await, Some(JobState::Delayed));
        rig.done(&claimed, ending).await;
        rig.advance(5);
    }
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 5).await;
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, first.job);
    rig.done(&claimed, complete()).await;
    let scheduler = get(&rig, "s").await;
    assert_eq!((scheduler.next, scheduler.iterations), (Some(first.due + MINUTE), 2));
    assert_eq!(pending(&rig).await, 1);
    ok!(rig.store.retry(&rig.queue, &first.job, true));
    rig.claim_one().await;
    assert_eq!(pending(&rig).await, 1, "a run repeated from outside");
}

pub async fn many_claims_at_once_make_each_job_once(rig: Rig) {
    set(&rig, every("s", 1000)).await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        let claims = (0..8).map(|_| rig.claim(2));
        let claimed: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
        runs.extend(claimed.iter().map(|claimed| claimed.id.clone()));
        for claimed in claimed {
            rig.done(&claimed, complete()).await;
        }
        rig.advance(1000);
    }
    let count = runs.len();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), count, "a slot was given out twice");
    assert!(count >= 10, "{count} runs in ten seconds");
    assert_eq!(pending(&rig).await, 1);
    assert_eq!(get(&rig, "s").await.iterations, count as u64 + 1);
}

pub async fn slots_that_went_by_are_left_out(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    rig.advance(10 * MINUTE + 500);
    let claimed = rig.claim_one().await;
    assert_eq!(claimed.id, first.job, "late, but not lost");
    let next = get(&rig, "s").await.next.expect("it goes on");
    assert!(next > rig.now() - 1000 && next <= first.due + 12 * MINUTE, "{next}");
    assert_eq!((next - first.due) % MINUTE, 0, "in step with the first");
}

pub async fn a_recovered_job_whose_worker_vanished_goes_on(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    for _ in 0..3 {
        let claimed = rig.claim_one().await;
        assert_eq!(claimed.id, first.job);
        rig.vanish(&claimed, 0).await;
        assert_eq!(
            rig.job(&first.job).await.deferred_failure,
            None,
            "a live scheduler's job is not given up"
        );
    }
    remove(&rig, "s").await;
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 0).await;
    assert!(rig.job(&first.job).await.deferred_failure.is_some(), "its scheduler is gone");
}

// --- ending ---

pub async fn a_limit_ends_it(rig: Rig) {
    set(&rig, bounded(every("s", MINUTE), |t| t.limit = Some(2))).await;
    let first = rig.claim_one().await;
    rig.done(&first, complete()).await;
    rig.advance(MINUTE);
    let second = rig.claim_one().await;
    assert_eq!(pending(&rig).await, 0, "two were wanted");
    rig.done(&second, complete()).await;
    let scheduler = get(&rig, "s").await;
    assert_eq!((scheduler.next, scheduler.iterations), (None, 2));
    assert_eq!(scheduler.spec.timetable.limit, Some(2));
    // Set again it begins anew.
    set(&rig, bounded(every("s", MINUTE), |t| t.limit = Some(2))).await;
    rig.advance(2 * MINUTE);
    rig.claim_one().await;
    assert_eq!(pending(&rig).await, 1);
    assert_eq!(get(&rig, "s").await.iterations, 3);
}

pub async fn an_end_ends_it(rig: Rig) {
    let end = rig.now() + MINUTE + MINUTE / 2;
    set(&rig, bounded(every("s", MINUTE), |t| t.end = Some(end))).await;
    rig.claim_one().await;
    rig.advance(MINUTE);
    rig.claim_one().await;
    assert_eq!(pending(&rig).await, 1, "made before the end, though it runs after it");
    rig.advance(MINUTE);
    rig.claim_one().await;
    assert_eq!((pending(&rig).await, get(&rig, "s").await.next), (0, None));
}

pub async fn a_cron_rule_makes_nothing_for_after_its_end(rig: Rig) {
    let now = rig.now();
    let minute = now - now % MINUTE + MINUTE;
    set(&rig, bounded(cron("s", "* * * * *", None), |t| t.end = Some(minute + 1))).await;
    rig.advance(minute - now);
    assert_eq!(rig.claim_one().await.id, at("s", minute));
    assert_eq!((pending(&rig).await, get(&rig, "s").await.next), (0, None));
}

// --- changing and removing ---

pub async fn setting_it_again_keeps_its_slots(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    rig.advance(700);
    let again = set(&rig, SchedulerSpec { name: "other".into(), ..every("s", MINUTE) }).await;
    assert_eq!(again, first, "a program that sets it at each start must not make it run at each start");
    assert_eq!(pending(&rig).await, 1);
    let claimed = rig.claim_one().await;
    assert_eq!(names_of(std::slice::from_ref(&claimed)), ["other"]);
    let third = set(&rig, every("s", MINUTE)).await;
    assert_eq!(third.due, first.due + MINUTE, "it replaces the one that is pending");
    assert_eq!((pending(&rig).await, rig.names(JobState::Delayed).await), (1, vec!["s".to_owned()]));
    rig.done(&claimed, complete()).await;
}

pub async fn a_changed_rule_replaces_the_pending_job(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    rig.advance(10);
    let faster = set(&rig, every("s", 1000)).await;
    assert_ne!(faster.job, first.job);
    assert_eq!((rig.state(&first.job).await, pending(&rig).await), (None, 1));
    let named = set(&rig, cron("s", "0 0 1 1 *", None)).await;
    assert_eq!((rig.state(&faster.job).await, pending(&rig).await), (None, 1));
    assert_eq!(rig.state(&named.job).await, Some(JobState::Delayed));
    let other = set(&rig, cron("s", "0 0 2 1 *", Some("Asia/Tokyo"))).await;
    assert_eq!((rig.state(&named.job).await, pending(&rig).await), (None, 1));
    let scheduler = get(&rig, "s").await;
    assert_eq!((scheduler.next, scheduler.iterations), (Some(other.due), 1));
    assert_eq!(scheduler.spec, cron("s", "0 0 2 1 *", Some("Asia/Tokyo")), "nothing of the old rule is left");
}

pub async fn a_change_leaves_a_running_job_alone(rig: Rig) {
    set(&rig, every("s", MINUTE)).await;
    let running = rig.claim_one().await;
    rig.advance(10);
    let changed = set(&rig, every("s", 2 * MINUTE)).await;
    assert_eq!(pending(&rig).await, 1);
    rig.done(&running, retry(0)).await;
    let mut claimed = rig.claim(3).await;
    assert_eq!(claimed.len(), 2, "the retry and the first of the new rule");
    claimed.retain(|claimed| claimed.id == changed.job);
    assert_eq!(pending(&rig).await, 1, "the old one makes no next job any more");
    assert_eq!(get(&rig, "s").await.next, Some(changed.due + 2 * MINUTE));
}

pub async fn a_removed_scheduler_takes_its_pending_job_along(rig: Rig) {
    let first = set(&rig, cron("s", "0 0 1 1 *", None)).await;
    let mark = rig.mark().await;
    assert!(remove(&rig, "s").await);
    assert_eq!(rig.state(&first.job).await, None);
    assert_eq!(rig.told(&mark).await, [format!("removed {} prev=delayed", first.job)]);
    assert!(ok!(rig.store.scheduler(&rig.queue, "s")).is_none());
    assert!(!remove(&rig, "s").await && !remove(&rig, "never").await);
    assert!(!ok!(rig.other_queue("none").store.remove_scheduler(&rig.other_queue("none").queue, "s")));
}

pub async fn a_job_that_is_due_outlives_its_scheduler(rig: Rig) {
    let first = set(&rig, every("s", MINUTE)).await;
    assert!(remove(&rig, "s").await);
    let claimed = rig.claim_one().await;
    assert_eq!((&claimed.id, pending(&rig).await), (&first.job, 0));
    rig.done(&claimed, complete()).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &first.job)), Removed::Yes);
}

pub async fn a_scheduler_removed_while_its_job_runs_makes_no_more(rig: Rig) {
    set(&rig, every("s", MINUTE)).await;
    let claimed = rig.claim_one().await;
    assert!(remove(&rig, "s").await);
    assert_eq!(pending(&rig).await, 0);
    rig.done(&claimed, retry(0)).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    assert_eq!(pending(&rig).await, 0);
}

pub async fn its_latest_job_goes_only_with_it(rig: Rig) {
    let delayed = set(&rig, cron("later", "0 0 1 1 *", None)).await.job;
    let due = set(&rig, every("now", MINUTE)).await.job;
    rig.add("plain").await;
    for job in [&delayed, &due] {
        assert_eq!(ok!(rig.store.remove(&rig.queue, job)), Removed::Scheduled);
    }
    assert_eq!(ok!(rig.store.drain(&rig.queue, true)), 1, "only the plain one");
    assert_eq!(pending(&rig).await, 2);
    for state in [JobState::Waiting, JobState::Delayed] {
        let cleaned = ok!(rig.store.clean(&rig.queue, state, rig.now() + DAY, 10));
        assert!(cleaned.is_empty(), "{cleaned:?}");
    }
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &due)), Removed::Yes, "it is the latest no more");
}

pub async fn another_job_in_the_way_is_avoided_or_told(rig: Rig) {
    let offset = (rig.now() + MINUTE / 2) % MINUTE;
    let rule = Rule::Every { every: MINUTE, offset: Some(offset) };
    let first = set(&rig, spec("s", rule.clone())).await;
    rig.advance(MINUTE);
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    assert!(remove(&rig, "s").await);
    // The clock goes back: the slot that comes has a job of the scheduler's earlier life.
    let now = first.due - MINUTE / 4;
    let again = ok!(rig.store.set_scheduler(&rig.queue, spec("s", rule), now));
    assert_eq!(again.due, first.due + MINUTE);

    let named = set(&rig, cron("c", "0 0 1 1 *", None)).await;
    rig.add_with("squatter", |o| o.job_id = Some(format!("repeat:d:{}", named.due))).await;
    let told = rejected(&rig, cron("d", "0 0 1 1 *", None)).await;
    assert!(told.contains("in the way") && told.contains("repeat:d:"), "{told}");
    assert!(ok!(rig.store.scheduler(&rig.queue, "d")).is_none());
}

// --- looking ---

pub async fn schedulers_are_listed_by_what_comes_next(rig: Rig) {
    let now = rig.now();
    for (name, start) in [("b", 2000), ("c", 3000), ("a", 1000)] {
        set(&rig, bounded(every(name, MINUTE), |t| t.start = Some(now + start))).await;
    }
    let names = async |page| -> Vec<String> {
        ok!(rig.store.schedulers(&rig.queue, page)).into_iter().map(|s| s.spec.id).collect()
    };
    assert_eq!(names(Page::first(10)).await, ["a", "b", "c"]);
    assert_eq!(names(Page { offset: 1, limit: 1 }).await, ["b"]);
    assert!(names(Page::first(0)).await.is_empty());
    rig.advance(1000);
    rig.claim_one().await;
    assert_eq!(names(Page::first(10)).await, ["b", "c", "a"]);
    let other = rig.other_queue("other");
    assert!(ok!(other.store.schedulers(&other.queue, Page::first(10))).is_empty());
    assert!(ok!(other.store.scheduler(&other.queue, "a")).is_none());
}

pub async fn iterations_are_told_like_any_job(rig: Rig) {
    set(&rig, every("s", MINUTE)).await;
    let mark = rig.mark().await;
    let claimed = rig.claim_one().await;
    let next = get(&rig, "s").await.next.expect("it goes on");
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("active {} prev=waiting", claimed.id),
            format!("added {} name=s", at("s", next)),
            format!("delayed {} delay={next}", at("s", next)),
        ]
    );
}

pub async fn a_job_made_at_claim_wakes_others(rig: Rig) {
    set(&rig, every("s", 400)).await;
    let mut waiter = rig.waiter().await;
    rig.claim_one().await;
    let begun = std::time::Instant::now();
    loop {
        match ok!(waiter.wait(Duration::from_secs(5))) {
            crate::store::Wake::TimedOut => panic!("nobody was woken for the next job"),
            crate::store::Wake::At(due) if due > rig.now() => {
                tokio::time::sleep(Duration::from_millis(due - rig.now())).await;
            }
            _ => {}
        }
        if !rig.claim(1).await.is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
