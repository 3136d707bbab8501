//! Taking jobs: how many, which, with what, and when none.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{Rig, complete, job_of, names_of, ok, retry};
use crate::clock::Millis;
use crate::job::JobState;
use crate::store::{NewJob, RateLimit, Token};

pub async fn an_empty_queue_gives_nothing(rig: Rig) {
    let claim = ok!(rig.store.claim(&rig.queue, &rig.request(5)));
    assert!(claim.jobs.is_empty());
    assert_eq!((claim.rate_limited, claim.next_due), (None, None));
}

pub async fn at_most_as_many_as_asked_for(rig: Rig) {
    for n in 0..5 {
        rig.add(&format!("n{n}")).await;
    }
    assert_eq!(rig.claim_names(2).await, ["n0", "n1"]);
    assert_eq!(rig.claim_names(2).await, ["n2", "n3"]);
    assert_eq!(rig.count(JobState::Active).await, 4);
    assert_eq!(rig.count(JobState::Waiting).await, 1);
}

pub async fn fewer_when_fewer_are_due(rig: Rig) {
    rig.add("a").await;
    rig.add_with("b", |o| o.priority = 1).await;
    rig.add_with("c", |o| o.delay = 60_000).await;
    assert_eq!(rig.claim_names(10).await, ["a", "b"]);
}

pub async fn a_claimed_job_is_active_and_given_once(rig: Rig) {
    let added = rig.add("a").await;
    assert_eq!(rig.claim_one().await.id, added);
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    assert_eq!(rig.names(JobState::Active).await, ["a"]);
    assert!(rig.claim(1).await.is_empty());
}

pub async fn every_claim_has_the_token_asked_for(rig: Rig) {
    for n in 0..6 {
        rig.add(&format!("n{n}")).await;
    }
    let mut seen = HashSet::new();
    for _ in 0..2 {
        let request = rig.request(3);
        let claim = ok!(rig.store.claim(&rig.queue, &request));
        for (i, claimed) in claim.jobs.iter().enumerate() {
            assert_eq!(claimed.token, Token::new(&request.token_prefix, request.token_first + i as u64));
            assert!(seen.insert(claimed.token.clone()), "token {} was given twice", claimed.token);
            assert!(rig.renew(&[claimed], Duration::from_secs(30)).await.is_empty(), "the lock is not there");
        }
    }
    assert_eq!(seen.len(), 6);
}

pub async fn the_job_comes_whole(rig: Rig) {
    let made = rig.now() - 5000;
    let added = rig
        .add_with("kind", |o| {
            o.attempts = 4;
            o.priority = 9;
            o.timestamp = Some(made);
        })
        .await;
    let before = rig.now();
    let claimed = rig.claim_one().await;
    let job = job_of(&claimed);
    assert_eq!((&job.id, job.name.as_str(), &job.data[..]), (&added, "kind", &b"{\"name\":\"kind\"}"[..]));
    assert_eq!((job.timestamp, job.priority, job.delay), (made, 9, 0));
    assert_eq!((job.attempts_made, job.attempts_started, job.stalled_count), (0, 1, 0));
    assert_eq!(job.options.attempts, 4);
    assert!(job.processed_on.is_some_and(|at| at >= before), "{:?}", job.processed_on);
    assert_eq!((job.finished_on, &job.result, &job.failed_reason), (None, &None, &None));
    assert_eq!((&job.progress, &job.deferred_failure, &job.parent_key), (&None, &None, &None));
    assert_eq!(job.processed_by.as_deref(), Some("worker-1"));
    assert!(job.stacktrace.is_empty());
    let stored = rig.job(&added).await;
    assert_eq!((stored.processed_on, stored.processed_by), (job.processed_on, job.processed_by.clone()));
    assert_eq!((stored.attempts_started, stored.data), (1, job.data.clone()));
}

pub async fn payload_bytes_are_untouched(rig: Rig) {
    let payloads: Vec<Bytes> = [
        &b"null"[..],
        b"{}",
        b"[]",
        b"\"\"",
        b" { \"b\" : 1.0 , \"a\" : 1e400, \"a\": [ ] } ",
        b"12345678901234567890123456789.000",
        "\"\\u0000 \\/ \u{1F600} \u{2028} ü\"".as_bytes(),
        b"{\"__proto__\":{},\"\":null}",
        b"not json at all",
        b"",
        b"\x00\x01\xff\xfe\r\n",
    ]
    .into_iter()
    .map(Bytes::from_static)
    .collect();
    for data in &payloads {
        let added = rig.add_job(NewJob::new("n", data.clone())).await;
        assert_eq!(&rig.job(&added).await.data, data);
    }
    let claimed = rig.claim(payloads.len()).await;
    let given: Vec<Bytes> = claimed.iter().map(|c| job_of(c).data.clone()).collect();
    assert_eq!(given, payloads);
}

pub async fn a_large_payload_comes_whole(rig: Rig) {
    let data = Bytes::from(
        (0..3_000_000_u32).map(|n| b' ' + u8::try_from(n * 7 % 90).unwrap()).collect::<Vec<u8>>(),
    );
    rig.add_job(NewJob::new("large", data.clone())).await;
    rig.add("small").await;
    let claimed = rig.claim(2).await;
    assert!(job_of(&claimed[0]).data == data, "a large payload was changed");
    assert_eq!(job_of(&claimed[1]).name, "small");
}

pub async fn starts_are_counted(rig: Rig) {
    let added = rig.add("n").await;
    for start in 1..=3 {
        let claimed = rig.claim_one().await;
        assert_eq!(job_of(&claimed).attempts_started, start);
        rig.done(&claimed, retry(0)).await;
    }
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_started, job.attempts_made), (4, 4));
}

pub async fn due_jobs_are_promoted(rig: Rig) {
    let made = rig.now();
    for (name, delay) in [("b", 2000), ("a", 1000), ("never", 900_000)] {
        rig.add_with(name, |o| {
            o.delay = delay;
            o.timestamp = Some(made);
        })
        .await;
    }
    rig.add("plain").await;
    rig.advance(10_000);
    assert_eq!(rig.claim_names(1).await, ["plain"], "what waited already comes first");
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "b"]);
    assert_eq!(rig.names(JobState::Delayed).await, ["never"]);
}

pub async fn many_due_jobs_are_promoted(rig: Rig) {
    let made = rig.now();
    let jobs = (0..2500).map(|n| {
        let mut job = Rig::new_job(&format!("n{n}"));
        job.options.delay = 1000;
        job.options.timestamp = Some(made);
        job
    });
    ok!(rig.store.add(&rig.queue, jobs.collect(), made));
    rig.advance(5000);
    let mut names = Vec::new();
    while names.len() < 2500 {
        let claimed = rig.claim(500).await;
        assert!(!claimed.is_empty(), "only {} of 2500 due jobs came", names.len());
        names.extend(names_of(&claimed));
    }
    assert_eq!(names, (0..2500).map(|n| format!("n{n}")).collect::<Vec<_>>());
}

pub async fn the_next_due_time_is_told(rig: Rig) {
    let made = rig.now();
    let delayed = |name: &'static str, delay: Millis| {
        rig.add_with(name, move |o| {
            o.delay = delay;
            o.timestamp = Some(made);
        })
    };
    delayed("later", 90_000).await;
    delayed("sooner", 60_000).await;
    rig.add("plain").await;
    let claim = ok!(rig.store.claim(&rig.queue, &rig.request(2)));
    assert_eq!(names_of(&claim.jobs), ["plain"]);
    assert_eq!(
        claim.next_due,
        Some(made + 60_000),
        "fewer came than asked for, so the next due time is told"
    );
    let claim = ok!(rig.store.claim(&rig.queue, &rig.request(1)));
    assert_eq!(claim.next_due, Some(made + 60_000));
}

pub async fn a_rate_limit_bounds_starts_over_all_workers(rig: Rig) {
    for n in 0..5 {
        rig.add(&format!("n{n}")).await;
    }
    let per = Duration::from_millis(400);
    let limited = |worker: &'static str, max: usize| {
        let mut request = rig.request(max);
        request.token_prefix = worker.into();
        request.rate = Some(RateLimit { max: 3, per });
        request
    };
    let begun = std::time::Instant::now();
    let mut names = names_of(&ok!(rig.store.claim(&rig.queue, &limited("w1", 2))).jobs);
    names.extend(names_of(&ok!(rig.store.claim(&rig.queue, &limited("w2", 5))).jobs));
    let resting = ok!(rig.store.claim(&rig.queue, &limited("w1", 5)));
    if begun.elapsed() < per {
        assert_eq!(names, ["n0", "n1", "n2"], "three starts a window, whoever asks");
        assert!(resting.jobs.is_empty());
        let rest = resting.rate_limited.expect("the rest is told");
        assert!(!rest.is_zero() && rest <= per, "{rest:?}");
    }
    names.extend(names_of(&resting.jobs));
    while names.len() < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let claim = ok!(rig.store.claim(&rig.queue, &limited("w1", 5)));
        assert_eq!(claim.jobs.is_empty(), claim.rate_limited.is_some(), "none only while the queue rests");
        names.extend(names_of(&claim.jobs));
    }
    assert!(begun.elapsed() >= per, "the window was cut short");
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"]);
}
