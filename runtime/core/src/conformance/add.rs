//! Adding jobs: order, delay, priority, chosen ids, what is refused.

use super::rig::{Rig, complete, id, ok};
use crate::job::JobState;
use crate::options::{Backoff, BackoffKind, JobOptions, Keep, KeepLimits};
use crate::store::{Added, Parent, StoreError};

pub async fn jobs_wait_in_order_of_arrival(rig: Rig) {
    for name in ["a", "b", "c"] {
        rig.add(name).await;
    }
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "b", "c"]);
    assert_eq!(rig.claim_names(3).await, ["a", "b", "c"]);
}

pub async fn a_lifo_job_goes_in_front(rig: Rig) {
    rig.add("a").await;
    rig.add_with("b", |o| o.lifo = true).await;
    rig.add("c").await;
    rig.add_with("d", |o| o.lifo = true).await;
    assert_eq!(rig.names(JobState::Waiting).await, ["d", "b", "a", "c"]);
    assert_eq!(rig.claim_names(9).await, ["d", "b", "a", "c"]);
}

pub async fn a_delayed_job_waits_for_its_time(rig: Rig) {
    let id = rig.add_with("later", |o| o.delay = 60_000).await;
    assert_eq!(rig.state(&id).await, Some(JobState::Delayed));
    assert_eq!(rig.job(&id).await.delay, 60_000);
    rig.advance(50_000);
    assert!(rig.claim(1).await.is_empty(), "it is not due yet");
    rig.advance(10_000);
    assert_eq!(rig.claim_one().await.id, id);
    assert_eq!(rig.job(&id).await.delay, 0, "a due job is no longer delayed");
}

pub async fn a_delay_counts_from_the_producers_timestamp(rig: Rig) {
    let made = rig.now() - 40_000;
    let id = rig
        .add_with("later", |o| {
            o.timestamp = Some(made);
            o.delay = 60_000;
        })
        .await;
    assert_eq!(rig.job(&id).await.timestamp, made);
    assert!(rig.claim(1).await.is_empty());
    rig.advance(20_000);
    assert_eq!(rig.claim_one().await.id, id);
}

pub async fn delayed_jobs_come_by_due_time_and_ties_by_arrival(rig: Rig) {
    let made = rig.now();
    for (name, delay) in [("b1", 2000), ("c", 3000), ("b2", 2000), ("a", 1000), ("b3", 2000)] {
        rig.add_with(name, |o| {
            o.delay = delay;
            o.timestamp = Some(made);
        })
        .await;
    }
    assert_eq!(rig.names(JobState::Delayed).await, ["a", "b1", "b2", "b3", "c"]);
    rig.advance(10_000);
    assert_eq!(rig.claim_names(9).await, ["a", "b1", "b2", "b3", "c"]);
}

pub async fn prioritized_jobs_come_after_plain_ones_by_priority_and_ties_by_arrival(rig: Rig) {
    for (name, priority) in [("low", 2_097_151), ("b1", 5), ("plain", 0), ("a", 1), ("b2", 5)] {
        rig.add_with(name, |o| o.priority = priority).await;
    }
    assert_eq!(rig.names(JobState::Waiting).await, ["plain"]);
    assert_eq!(rig.names(JobState::Prioritized).await, ["a", "b1", "b2", "low"]);
    assert_eq!(rig.claim_names(9).await, ["plain", "a", "b1", "b2", "low"]);
}

pub async fn a_delayed_job_with_a_priority_is_prioritized_when_due(rig: Rig) {
    let id = rig
        .add_with("both", |o| {
            o.delay = 1000;
            o.priority = 3;
        })
        .await;
    rig.add_with("first", |o| o.priority = 1).await;
    rig.add_with("last", |o| o.priority = 9).await;
    assert_eq!(rig.state(&id).await, Some(JobState::Delayed));
    rig.advance(5000);
    assert_eq!(rig.claim_names(9).await, ["first", "both", "last"]);
    assert_eq!(rig.job(&id).await.priority, 3);
}

pub async fn ids_are_counted_and_different(rig: Rig) {
    let mut last = 0;
    for _ in 0..5 {
        let n: u64 = rig.add("n").await.as_str().parse().expect("a given id is a whole number");
        assert!(n > last, "{n} does not come after {last}");
        last = n;
    }
}

pub async fn a_chosen_id_is_kept(rig: Rig) {
    for chosen in ["order-7", "007", "ünï→", "repeat:s:1700000000000"] {
        let given = rig.add_with("n", |o| o.job_id = Some(chosen.into())).await;
        assert_eq!(given.as_str(), chosen);
        assert_eq!(rig.job(&given).await.id, given);
    }
    assert_eq!(rig.count(JobState::Waiting).await, 4);
}

pub async fn a_chosen_id_that_exists_is_left_as_it_is(rig: Rig) {
    let first = rig.add_with("first", |o| o.job_id = Some("x".into())).await;
    let mut again = Rig::new_job("second");
    again.options.job_id = Some("x".into());
    again.options.delay = 5000;
    let added = ok!(rig.store.add(&rig.queue, vec![again], rig.now()));
    assert_eq!(added, [Added::Duplicate(first.clone())]);
    assert_eq!(rig.job(&first).await.name, "first");
    assert_eq!(rig.state(&first).await, Some(JobState::Waiting));
    assert_eq!(rig.count(JobState::Delayed).await, 0);
}

pub async fn a_duplicate_of_a_finished_job_is_left_as_it_is(rig: Rig) {
    let first = rig.add_with("first", |o| o.job_id = Some("x".into())).await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    let mut again = Rig::new_job("second");
    again.options.job_id = Some("x".into());
    let added = ok!(rig.store.add(&rig.queue, vec![again], rig.now()));
    assert_eq!(added, [Added::Duplicate(first.clone())]);
    assert_eq!(rig.state(&first).await, Some(JobState::Completed));
    assert!(rig.claim(1).await.is_empty());
}

pub async fn a_batch_keeps_its_order(rig: Rig) {
    let names: Vec<String> = (0..50).map(|n| format!("n{n}")).collect();
    let jobs = names.iter().map(|name| Rig::new_job(name)).collect();
    let added = ok!(rig.store.add(&rig.queue, jobs, rig.now()));
    assert_eq!(added.len(), 50);
    for (added, name) in added.iter().zip(&names) {
        assert!(matches!(added, Added::New(_)), "{added:?}");
        assert_eq!(&rig.job(added.id()).await.name, name);
    }
    assert_eq!(rig.claim_names(50).await, names);
}

pub async fn an_empty_batch_adds_nothing(rig: Rig) {
    assert_eq!(ok!(rig.store.add(&rig.queue, Vec::new(), rig.now())), []);
    assert_eq!(rig.count(JobState::Waiting).await, 0);
}

pub async fn a_chosen_id_that_is_a_number_is_rejected(rig: Rig) {
    let mut job = Rig::new_job("n");
    job.options.job_id = Some("7".into());
    let refused = rig.store.add(&rig.queue, vec![job], rig.now()).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(rig.count(JobState::Waiting).await, 0);
}

pub async fn a_priority_out_of_range_is_rejected(rig: Rig) {
    let mut job = Rig::new_job("n");
    job.options.priority = 2_097_152;
    let refused = rig.store.add(&rig.queue, vec![job], rig.now()).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(rig.count(JobState::Prioritized).await, 0);
}

pub async fn an_unknown_parent_is_rejected_and_jobs_before_it_stay(rig: Rig) {
    let mut orphan = Rig::new_job("orphan");
    orphan.parent = Some(Parent { id: id("nobody"), ..rig.parent(&id("nobody")) });
    let jobs = vec![Rig::new_job("before"), orphan, Rig::new_job("after")];
    let refused = rig.store.add(&rig.queue, jobs, rig.now()).await;
    match refused {
        Err(StoreError::Rejected(message)) => assert!(message.contains("nobody"), "{message}"),
        other => panic!("{other:?}"),
    }
    let waiting = rig.names(JobState::Waiting).await;
    assert!(waiting.contains(&"before".to_owned()), "{waiting:?}");
    assert!(!waiting.contains(&"orphan".to_owned()), "{waiting:?}");
}

pub async fn every_option_is_stored(rig: Rig) {
    let options = JobOptions {
        attempts: 5,
        backoff: Some(Backoff { kind: BackoffKind::Exponential, delay: 1500, jitter: Some(0.25) }),
        remove_on_complete: Some(Keep::UpTo(KeepLimits { count: Some(3), age: Some(60), limit: None })),
        remove_on_fail: Some(Keep::None),
        stack_trace_limit: Some(2),
        keep_logs: Some(7),
        telemetry: Some("{\"traceparent\":\"00-a-b-01\"}".into()),
        timeout: Some(2500),
        tenant: Some("acme/ü".into()),
        depth: 3,
        ..JobOptions::default()
    };
    let given = rig.add_with("n", |o| *o = options.clone()).await;
    let job = rig.job(&given).await;
    assert_eq!(job.options, options);
    let raw: JobOptions = serde_json::from_slice(&job.options_raw).expect("options are stored as JSON");
    assert_eq!(raw, options);
}

pub async fn queues_do_not_mix(rig: Rig) {
    let other = rig.other_queue("other");
    rig.add("here").await;
    other.add("there").await;
    assert_eq!(rig.names(JobState::Waiting).await, ["here"]);
    assert_eq!(other.claim_names(9).await, ["there"]);
    assert_eq!(rig.claim_names(9).await, ["here"]);
}
