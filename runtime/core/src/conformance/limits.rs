//! The limits that hold for all workers of a queue: concurrency, rate, rests.

use std::time::{Duration, Instant};

use super::rig::{Rig, complete, names_of, ok, retry};
use crate::job::JobState;
use crate::store::{Claim, Limits, RateLimit, StoreError, Waiter, Wake};

const HOUR: Duration = Duration::from_secs(3600);

/// A time whose end can be waited for.
const SOON: Duration = Duration::from_millis(60);

/// The longest wait for such an end.
const PATIENCE: Duration = Duration::from_secs(20);

async fn concurrency(rig: &Rig, max: u64) {
    ok!(rig.store.set_concurrency(&rig.queue, Some(max)));
}

async fn rate(rig: &Rig, max: u64, per: Duration) {
    ok!(rig.store.set_rate(&rig.queue, Some(RateLimit { max, per })));
}

async fn rest(rig: &Rig, rest: Option<Duration>) {
    ok!(rig.store.rest(&rig.queue, rest));
}

async fn add_many(rig: &Rig, count: usize) {
    let jobs = (0..count).map(|n| Rig::new_job(&format!("n{n}"))).collect();
    ok!(rig.store.add(&rig.queue, jobs, rig.now()));
}

async fn claim(rig: &Rig, max: usize, own: Option<RateLimit>) -> Claim {
    let mut request = rig.request(max);
    request.rate = own;
    ok!(rig.store.claim(&rig.queue, &request))
}

/// Claims until something comes.
async fn claim_soon(rig: &Rig) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let names = rig.claim_names(9).await;
        if !names.is_empty() {
            return names;
        }
        assert!(begun.elapsed() < PATIENCE, "the rest does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wakes(waiter: &mut dyn Waiter) {
    assert_eq!(ok!(waiter.wait(PATIENCE)), Wake::Now);
}

// --- what holds ---

pub async fn a_queue_has_no_limits_until_they_are_set(rig: Rig) {
    assert_eq!(ok!(rig.store.limits(&rig.queue)), Limits::default());
    add_many(&rig, 1).await;
    assert_eq!(ok!(rig.store.limits(&rig.queue)), Limits::default());
}

pub async fn limits_are_told_as_they_are_set_and_lifted(rig: Rig) {
    concurrency(&rig, 7).await;
    rate(&rig, 3, HOUR).await;
    ok!(rig.store.pause(&rig.queue));
    let set = ok!(rig.store.limits(&rig.queue));
    let expected = Some(RateLimit { max: 3, per: HOUR });
    assert_eq!((set.paused, set.concurrency, set.rate, set.rests_for), (true, Some(7), expected, None));
    rest(&rig, Some(HOUR)).await;
    let rests = ok!(rig.store.limits(&rig.queue)).rests_for.expect("it rests");
    assert!(rests <= HOUR && rests > HOUR / 2, "{rests:?}");
    rest(&rig, None).await;
    ok!(rig.store.set_concurrency(&rig.queue, None));
    ok!(rig.store.set_rate(&rig.queue, None));
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(ok!(rig.store.limits(&rig.queue)), Limits::default());
}

pub async fn a_limit_of_nothing_is_rejected(rig: Rig) {
    let none = rig.store.set_concurrency(&rig.queue, Some(0)).await;
    assert!(matches!(none, Err(StoreError::Rejected(_))), "{none:?}");
    for (max, per) in [(0, HOUR), (1, Duration::ZERO)] {
        let none = rig.store.set_rate(&rig.queue, Some(RateLimit { max, per })).await;
        assert!(matches!(none, Err(StoreError::Rejected(_))), "{none:?}");
    }
}

pub async fn limits_are_of_one_queue(rig: Rig) {
    let other = rig.other_queue("other");
    for rig in [&rig, &other] {
        add_many(rig, 3).await;
    }
    concurrency(&rig, 1).await;
    rate(&rig, 2, HOUR).await;
    assert_eq!((rig.claim(9).await.len(), other.claim(9).await.len()), (1, 3));
    rest(&rig, Some(HOUR)).await;
    assert_eq!(ok!(other.store.limits(&other.queue)), Limits::default());
}

// --- concurrency ---

pub async fn a_concurrency_bounds_all_workers_together(rig: Rig) {
    add_many(&rig, 5).await;
    concurrency(&rig, 3).await;
    assert_eq!(rig.claim(2).await.len(), 2);
    assert_eq!(rig.claim(9).await.len(), 1);
    let full = claim(&rig, 9, None).await;
    assert!(full.jobs.is_empty());
    assert_eq!(full.rate_limited, None, "no time ends it");
    assert_eq!((rig.count(JobState::Active).await, rig.count(JobState::Waiting).await), (3, 2));
}

pub async fn an_end_makes_room_for_what_it_claims(rig: Rig) {
    add_many(&rig, 6).await;
    concurrency(&rig, 2).await;
    let running = rig.claim(9).await;
    let (_, next) = rig.finish_and_claim(vec![Rig::ending(&running[0], complete())], 9).await;
    assert_eq!(names_of(&next.jobs), ["n2"]);
    let (_, next) = rig.finish_and_claim(vec![Rig::ending(&running[1], retry(0))], 9).await;
    assert_eq!(names_of(&next.jobs), ["n3"]);
    assert_eq!(rig.count(JobState::Active).await, 2);
}

pub async fn a_lowered_concurrency_lets_running_jobs_end(rig: Rig) {
    add_many(&rig, 6).await;
    concurrency(&rig, 3).await;
    let running = rig.claim(9).await;
    concurrency(&rig, 1).await;
    for one in &running[..2] {
        let (answers, next) = rig.finish_and_claim(vec![Rig::ending(one, complete())], 9).await;
        assert_eq!((answers, next.jobs.len()), (vec![Ok(())], 0));
    }
    let (_, next) = rig.finish_and_claim(vec![Rig::ending(&running[2], complete())], 9).await;
    assert_eq!(names_of(&next.jobs), ["n3"]);
}

pub async fn a_raised_concurrency_wakes(rig: Rig) {
    add_many(&rig, 4).await;
    concurrency(&rig, 1).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    let mut waiter = rig.waiter().await;
    concurrency(&rig, 2).await;
    wakes(&mut *waiter).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    rig.calm(&mut *waiter).await;
    ok!(rig.store.set_concurrency(&rig.queue, None));
    wakes(&mut *waiter).await;
    assert_eq!(rig.claim(9).await.len(), 2);
}

pub async fn room_that_nobody_took_wakes(rig: Rig) {
    add_many(&rig, 2).await;
    concurrency(&rig, 1).await;
    let running = rig.claim_one().await;
    let mut waiter = rig.waiter().await;
    // A worker that ends claims nothing.
    rig.done(&running, complete()).await;
    wakes(&mut *waiter).await;
    assert_eq!(rig.claim_names(9).await, ["n1"]);
}

pub async fn a_recovered_job_makes_room(rig: Rig) {
    add_many(&rig, 2).await;
    concurrency(&rig, 1).await;
    let running = rig.claim_one().await;
    rig.vanish(&running, 9).await;
    assert_eq!(rig.claim_names(9).await, ["n0"]);
    assert!(rig.claim(9).await.is_empty());
}

// --- rate ---

pub async fn a_rate_bounds_starts_over_all_workers(rig: Rig) {
    add_many(&rig, 5).await;
    rate(&rig, 3, HOUR).await;
    assert_eq!(claim(&rig, 2, None).await.jobs.len(), 2);
    let last = claim(&rig, 9, None).await;
    assert_eq!(last.jobs.len(), 1);
    let rests = claim(&rig, 9, None).await;
    assert!(rests.jobs.is_empty());
    let left = rests.rate_limited.expect("the rest is told");
    assert!(left <= HOUR && left > HOUR / 2, "{left:?}");
    let told = ok!(rig.store.limits(&rig.queue)).rests_for.expect("the rest is told from outside, too");
    assert!(told <= HOUR && told > HOUR / 2, "{told:?}");
}

pub async fn ends_do_not_make_room_in_a_rate(rig: Rig) {
    add_many(&rig, 5).await;
    rate(&rig, 2, HOUR).await;
    let running = rig.claim(9).await;
    let ends = running.iter().map(|one| Rig::ending(one, complete())).collect();
    let (answers, next) = rig.finish_and_claim(ends, 9).await;
    assert_eq!((answers.len(), next.jobs.len()), (2, 0));
    assert!(next.rate_limited.is_some());
}

pub async fn the_queues_starts_and_the_workers_window_hold(rig: Rig) {
    add_many(&rig, 9).await;
    let own = |max, per| Some(RateLimit { max, per });
    rate(&rig, 2, HOUR).await;
    let first = claim(&rig, 9, own(5, SOON)).await;
    assert_eq!(first.jobs.len(), 2, "as many as the queue says");
    let begun = Instant::now();
    loop {
        let next = claim(&rig, 9, own(5, SOON)).await;
        if !next.jobs.is_empty() {
            assert_eq!(next.jobs.len(), 2);
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the window is not the worker's");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn a_raised_rate_takes_effect_at_once(rig: Rig) {
    add_many(&rig, 9).await;
    rate(&rig, 1, HOUR).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    assert!(rig.claim(9).await.is_empty());
    let mut waiter = rig.waiter().await;
    rate(&rig, 4, HOUR).await;
    wakes(&mut *waiter).await;
    assert_eq!(rig.claim(9).await.len(), 3, "one of the four has started");
}

pub async fn a_shorter_window_ends_the_one_that_has_begun(rig: Rig) {
    add_many(&rig, 2).await;
    rate(&rig, 1, HOUR).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    rate(&rig, 1, SOON).await;
    assert_eq!(claim_soon(&rig).await, ["n1"]);
}

pub async fn a_lifted_rate_holds_nobody(rig: Rig) {
    add_many(&rig, 9).await;
    rate(&rig, 1, HOUR).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    let mut waiter = rig.waiter().await;
    ok!(rig.store.set_rate(&rig.queue, None));
    wakes(&mut *waiter).await;
    let rest = claim(&rig, 9, None).await;
    assert_eq!((rest.jobs.len(), rest.rate_limited), (8, None));
}

pub async fn a_job_that_only_waits_to_be_failed_takes_no_start(rig: Rig) {
    rig.add("stalled").await;
    let running = rig.claim_one().await;
    rig.vanish(&running, 0).await;
    add_many(&rig, 3).await;
    rate(&rig, 2, HOUR).await;
    let mut names = Vec::new();
    loop {
        let given = claim(&rig, 9, None).await;
        names.extend(names_of(&given.jobs));
        if given.jobs.is_empty() {
            assert!(given.rate_limited.is_some());
            break;
        }
    }
    assert_eq!(names, ["stalled", "n0", "n1"]);
}

pub async fn a_rate_and_a_concurrency_both_hold(rig: Rig) {
    add_many(&rig, 9).await;
    concurrency(&rig, 2).await;
    rate(&rig, 3, HOUR).await;
    let running = rig.claim(9).await;
    assert_eq!(running.len(), 2);
    rig.done(&running[0], complete()).await;
    rig.done(&running[1], complete()).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    assert!(claim(&rig, 9, None).await.rate_limited.is_some());
}

// --- rests ---

pub async fn a_rest_holds_without_any_limit(rig: Rig) {
    add_many(&rig, 2).await;
    rest(&rig, Some(HOUR)).await;
    let resting = claim(&rig, 9, None).await;
    assert!(resting.jobs.is_empty() && resting.rate_limited.is_some_and(|left| left <= HOUR));
    let mut waiter = rig.waiter().await;
    rest(&rig, None).await;
    wakes(&mut *waiter).await;
    assert_eq!(rig.claim(9).await.len(), 2);
}

pub async fn a_rest_ends_by_itself(rig: Rig) {
    add_many(&rig, 1).await;
    rest(&rig, Some(SOON)).await;
    assert_eq!(claim_soon(&rig).await, ["n0"]);
}

pub async fn a_rest_outlasts_a_change_of_the_rate(rig: Rig) {
    add_many(&rig, 2).await;
    rate(&rig, 1, HOUR).await;
    rest(&rig, Some(HOUR)).await;
    rate(&rig, 5, SOON).await;
    assert!(rig.claim(9).await.is_empty());
    ok!(rig.store.set_rate(&rig.queue, None));
    assert!(rig.claim(9).await.is_empty());
    assert!(ok!(rig.store.limits(&rig.queue)).rests_for.is_some());
    rest(&rig, Some(SOON)).await;
    assert_eq!(claim_soon(&rig).await, ["n0", "n1"]);
}

pub async fn ending_a_rest_ends_the_window_of_a_rate(rig: Rig) {
    add_many(&rig, 2).await;
    rate(&rig, 1, HOUR).await;
    assert_eq!(rig.claim(9).await.len(), 1);
    assert!(rig.claim(9).await.is_empty());
    rest(&rig, None).await;
    assert_eq!(rig.claim(9).await.len(), 1);
}

pub async fn due_jobs_wait_their_turn_while_a_queue_rests(rig: Rig) {
    rig.add_with("later", |o| o.delay = 1000).await;
    rest(&rig, Some(HOUR)).await;
    rig.advance(5000);
    assert!(rig.claim(9).await.is_empty());
    assert_eq!(rig.names(JobState::Waiting).await, ["later"]);
}

pub async fn a_claim_of_many_takes_jobs_that_are_to_be_failed_beside_those_it_may_start(rig: Rig) {
    add_many(&rig, 2).await;
    for claimed in rig.claim(2).await {
        rig.vanish(&claimed, 0).await;
    }
    add_many(&rig, 3).await;
    let claim = claim(&rig, 9, Some(RateLimit { max: 2, per: HOUR })).await;
    let deferred = claim.jobs.iter().filter(|job| super::rig::job_of(job).deferred_failure.is_some()).count();
    assert_eq!((deferred, claim.jobs.len()), (2, 4), "two fail without running, two are started");
    assert!(claim.rate_limited.is_some());
}
