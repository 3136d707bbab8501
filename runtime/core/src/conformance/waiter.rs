//! Waking a worker that has nothing to do.

use std::time::{Duration, Instant};

use super::rig::{Rig, fail, ok, retry};
use crate::clock::{Clock, SystemClock};
use crate::store::{StallPolicy, Waiter, Wake};

/// Long enough that a wake-up within it cannot be its end.
const LONG: Duration = Duration::from_secs(20);

/// The waiter must wake well before `LONG` is over, for work that is there now.
async fn wakes_now(waiter: &mut dyn Waiter, why: &str) {
    let begun = Instant::now();
    let wake = ok!(waiter.wait(LONG));
    assert_eq!(wake, Wake::Now, "{why}");
    assert!(begun.elapsed() < LONG / 2, "{why}: woke after {:?}", begun.elapsed());
}

pub async fn an_added_job_wakes(rig: Rig) {
    let mut waiter = rig.waiter().await;
    rig.add("a").await;
    wakes_now(&mut *waiter, "a job was added").await;
    rig.calm(&mut *waiter).await;
    rig.add_with("b", |o| o.priority = 1).await;
    wakes_now(&mut *waiter, "a prioritized job was added").await;
    rig.calm(&mut *waiter).await;
    let adding = {
        let rig = rig.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            rig.add("c").await;
        })
    };
    wakes_now(&mut *waiter, "a job was added during the wait").await;
    adding.await.expect("the producer does not panic");
}

pub async fn a_job_from_before_the_waiter_wakes(rig: Rig) {
    assert!(rig.claim(1).await.is_empty());
    rig.add("a").await;
    let mut waiter = ok!(rig.store.waiter(&rig.queue, None));
    wakes_now(&mut *waiter, "a job came between the claim and the wait").await;
}

pub async fn a_passed_on_hint_wakes(rig: Rig) {
    rig.add("a").await;
    let mut waiter = rig.waiter().await;
    ok!(rig.store.wake(&rig.queue));
    wakes_now(&mut *waiter, "another worker passed its hint on").await;
}

pub async fn a_promoted_job_wakes(rig: Rig) {
    let delayed = rig.add_with("a", |o| o.delay = 900_000).await;
    let mut waiter = rig.waiter().await;
    ok!(rig.store.promote(&rig.queue, &delayed));
    wakes_now(&mut *waiter, "a job was promoted").await;
}

pub async fn a_retried_job_wakes(rig: Rig) {
    let failed = rig.add_finished("a", fail("bad")).await;
    let mut waiter = rig.waiter().await;
    ok!(rig.store.retry(&rig.queue, &failed, true));
    wakes_now(&mut *waiter, "a failed job was retried").await;
}

pub async fn a_resumed_queue_wakes(rig: Rig) {
    ok!(rig.store.pause(&rig.queue));
    rig.add("a").await;
    let mut waiter = rig.waiter().await;
    ok!(rig.store.resume(&rig.queue));
    wakes_now(&mut *waiter, "the queue was resumed").await;
}

pub async fn a_recovered_job_wakes(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    rig.recover(5).await;
    let mut waiter = rig.waiter().await;
    assert_eq!(rig.recover(5).await.len(), 1);
    wakes_now(&mut *waiter, "a stalled job was recovered").await;
}

pub async fn a_given_back_job_wakes(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mut waiter = rig.waiter().await;
    rig.done(&claimed, retry(0)).await;
    wakes_now(&mut *waiter, "a job is tried again").await;
}

/// Follows hints until the job that is due at `due` has been claimed; fails when that takes far too long.
async fn claim_when_due(rig: &Rig, waiter: &mut dyn Waiter, due: u64) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LONG / 2, "nothing woke for the due job");
        match ok!(waiter.wait(LONG)) {
            Wake::Now => {}
            Wake::At(at) => {
                assert!(at <= due, "the hint says {at}, the job is due at {due}");
                tokio::time::sleep(Duration::from_millis(at.saturating_sub(SystemClock.now()))).await;
            }
            Wake::TimedOut => panic!("the wait ended though a job is due before its end"),
        }
        if !rig.claim(1).await.is_empty() {
            assert!(rig.now() >= due, "it was claimed before it was due");
            return;
        }
    }
}

pub async fn a_due_time_wakes(rig: Rig) {
    let mut waiter = rig.waiter().await;
    let made = rig.now();
    rig.add_with("a", |o| {
        o.delay = 150;
        o.timestamp = Some(made);
    })
    .await;
    claim_when_due(&rig, &mut *waiter, made + 150).await;
}

pub async fn an_earlier_due_time_wakes(rig: Rig) {
    rig.add_with("far", |o| o.delay = 900_000).await;
    let mut waiter = rig.waiter().await;
    let made = rig.now();
    rig.add_with("near", |o| {
        o.delay = 150;
        o.timestamp = Some(made);
    })
    .await;
    claim_when_due(&rig, &mut *waiter, made + 150).await;
}

pub async fn nothing_times_out(rig: Rig) {
    let mut waiter = rig.waiter().await;
    let begun = Instant::now();
    assert_eq!(ok!(waiter.wait(Duration::from_millis(60))), Wake::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(50), "it did not wait");
    rig.other_queue("other").add("elsewhere").await;
    assert_eq!(
        ok!(waiter.wait(Duration::from_millis(60))),
        Wake::TimedOut,
        "another queue's job is no work here"
    );
    let policy = StallPolicy { interval: Duration::from_millis(2), max: 1 };
    ok!(rig.store.recover_stalled(&rig.queue, policy, rig.now()));
    assert_eq!(
        ok!(waiter.wait(Duration::from_millis(60))),
        Wake::TimedOut,
        "a round without finds is no work"
    );
}

pub async fn a_waiter_can_be_dropped_and_made_anew(rig: Rig) {
    for n in 0..5 {
        let mut waiter = rig.waiter().await;
        // Dropped in the middle of a wait.
        assert!(tokio::time::timeout(Duration::from_millis(10), waiter.wait(LONG)).await.is_err());
        drop(waiter);
        let mut waiter = rig.waiter().await;
        rig.add(&format!("n{n}")).await;
        wakes_now(&mut *waiter, "a job was added").await;
        assert_eq!(rig.claim(1).await.len(), 1);
    }
}
