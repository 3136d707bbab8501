//! What listeners hear, in BullMQ's words.

use std::time::{Duration, Instant};

use super::rig::{Rig, complete, complete_with, fail, json, ok, retry};
use crate::options::Keep;
use crate::store::{Claimed, Token, Verdict};

pub async fn a_life_is_told_in_order(rig: Rig) {
    let mark = rig.mark().await;
    let id = rig.add("kind").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete_with("{\"a\":1}")).await;
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("added {id} name=kind"),
            format!("waiting {id}"),
            format!("active {id} prev=waiting"),
            format!("completed {id} returnvalue={{\"a\":1}} prev=active"),
            "drained".to_owned(),
        ]
    );
}

pub async fn a_retry_is_not_a_failure(rig: Rig) {
    let id = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    rig.done(&claimed, retry(0)).await;
    assert_eq!(rig.told(&mark).await, [format!("waiting {id} prev=active")]);
}

pub async fn a_final_failure_is_told_with_its_reason(rig: Rig) {
    let id = rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    rig.done(&claimed, fail("no \"mailbox\"")).await;
    assert_eq!(
        rig.told(&mark).await,
        [
            format!("failed {id} failedReason=no \"mailbox\" prev=active"),
            format!("retries-exhausted {id} attemptsMade=1"),
        ]
    );
}

pub async fn attempts_left_are_not_exhausted(rig: Rig) {
    let id = rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    let verdict =
        Verdict::Fail { reason: "fatal".into(), stacktrace: Vec::new(), keep: Keep::All, attempts_max: 5 };
    rig.done(&claimed, verdict).await;
    assert_eq!(rig.told(&mark).await, [format!("failed {id} failedReason=fatal prev=active")]);
}

pub async fn delays_are_told_with_their_due_time(rig: Rig) {
    let mark = rig.mark().await;
    let made = rig.now();
    let id = rig
        .add_with("a", |o| {
            o.delay = 5000;
            o.timestamp = Some(made);
        })
        .await;
    let due = made + 5000;
    assert_eq!(rig.told(&mark).await, [format!("added {id} name=a"), format!("delayed {id} delay={due}")]);
    rig.advance(6000);
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    let due = rig.now() + 60_000;
    rig.done(&claimed, Verdict::DelayUntil(due)).await;
    assert_eq!(rig.told(&mark).await, [format!("delayed {id} delay={due}")]);
}

pub async fn promotions_and_returns_say_where_from(rig: Rig) {
    let id = rig.add_with("a", |o| o.delay = 5000).await;
    let mark = rig.mark().await;
    rig.advance(6000);
    let claimed = rig.claim_one().await;
    assert_eq!(
        rig.told(&mark).await,
        [format!("waiting {id} prev=delayed"), format!("active {id} prev=waiting")]
    );
    let mark = rig.mark().await;
    rig.done(&claimed, Verdict::Release).await;
    assert_eq!(rig.told(&mark).await, [format!("waiting {id} prev=active")]);
    let claimed = rig.claim_one().await;
    rig.done(&claimed, fail("bad")).await;
    let mark = rig.mark().await;
    ok!(rig.store.retry(&rig.queue, &id, true));
    assert_eq!(rig.told(&mark).await, [format!("waiting {id} prev=failed")]);
    let later = rig.add_with("b", |o| o.delay = 5000).await;
    let mark = rig.mark().await;
    ok!(rig.store.promote(&rig.queue, &later));
    assert_eq!(rig.told(&mark).await, [format!("waiting {later} prev=delayed")]);
}

pub async fn progress_duplicates_and_removals_are_told(rig: Rig) {
    let id = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    let mark = rig.mark().await;
    ok!(rig.store.set_progress(&rig.queue, &id, json("{\"pct\":5}")));
    let mut again = Rig::new_job("a");
    again.options.job_id = Some("x".into());
    ok!(rig.store.add(&rig.queue, vec![again], rig.now()));
    ok!(rig.store.remove(&rig.queue, &id));
    let told = rig.told(&mark).await;
    assert_eq!(told[..2], ["progress x data={\"pct\":5}".to_owned(), "duplicated x".to_owned()]);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].starts_with("removed x prev="), "{told:?}");
}

pub async fn pauses_are_told(rig: Rig) {
    rig.add("a").await;
    let mark = rig.mark().await;
    ok!(rig.store.pause(&rig.queue));
    ok!(rig.store.resume(&rig.queue));
    assert_eq!(rig.told(&mark).await, ["paused", "resumed"]);
}

pub async fn only_later_events_come(rig: Rig) {
    rig.add("a").await;
    let mark = rig.mark().await;
    let wait = Duration::from_millis(1);
    assert!(ok!(rig.store.events(&rig.queue, &mark, wait)).is_empty());
    let id = rig.add("b").await;
    rig.other_queue("other").add("elsewhere").await;
    let events = rig.since(&mark).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event.field("jobId") == Some(id.as_str())));
    let rest = ok!(rig.store.events(&rig.queue, &events[0].id, wait));
    assert_eq!(rest, events[1..]);
    assert_eq!(rig.mark().await, events[1].id);
}

pub async fn a_listener_waits_for_the_first(rig: Rig) {
    let mark = rig.mark().await;
    let listener = {
        let rig = rig.clone();
        tokio::spawn(async move { ok!(rig.store.events(&rig.queue, &mark, Duration::from_secs(20))) })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    let begun = Instant::now();
    let id = rig.add("a").await;
    let events = listener.await.expect("the listener does not panic");
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited to the end");
    assert_eq!((events[0].event.as_str(), events[0].field("jobId")), ("added", Some(id.as_str())));
}

pub async fn no_event_ends_the_wait(rig: Rig) {
    rig.add("a").await;
    let mark = rig.mark().await;
    let begun = Instant::now();
    assert!(ok!(rig.store.events(&rig.queue, &mark, Duration::from_millis(50))).is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(45), "it did not wait");
}

pub async fn a_finish_is_told_before_the_next_start(rig: Rig) {
    let a = rig.add("a").await;
    let b = rig.add("b").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    rig.finish_and_claim(vec![Rig::ending(&claimed, complete())], 1).await;
    assert_eq!(
        rig.told(&mark).await,
        [format!("completed {a} returnvalue=null prev=active"), format!("active {b} prev=waiting")]
    );
}

pub async fn a_refused_finish_is_not_told(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed };
    assert!(rig.finish(&foreign, complete()).await.is_err());
    assert_eq!(rig.told(&mark).await, Vec::<String>::new());
}
