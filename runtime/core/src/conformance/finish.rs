//! Ending attempts for good or for another one, and the fence around it.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{Rig, complete, complete_keep, complete_with, fail, id, job_of, json, names_of, retry};
use crate::attempt::Recorded;
use crate::job::JobState;
use crate::options::Keep;
use crate::store::{Claimed, Refusal, Token, Verdict};

pub async fn completing_stores_the_result(rig: Rig) {
    let added = rig.add("n").await;
    let claimed = rig.claim_one().await;
    let before = rig.now();
    rig.done(&claimed, complete_with("{\"ok\":true, \"n\": 1.50}")).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Completed));
    let job = rig.job(&added).await;
    assert_eq!(job.result.as_deref(), Some(&b"{\"ok\":true, \"n\": 1.50}"[..]));
    assert_eq!((job.attempts_made, job.attempts_started), (1, 1));
    assert!(job.finished_on.is_some_and(|at| at >= before));
    assert_eq!(job.failed_reason, None);
    assert_eq!(rig.count(JobState::Active).await, 0);
}

pub async fn failing_stores_the_reason_and_the_traces(rig: Rig) {
    let added = rig.add("n").await;
    let claimed = rig.claim_one().await;
    let reason = "no \"mailbox\"\n  ü \u{1F600}";
    let stacktrace = vec!["first\n  at a".to_owned(), "second \"b\"".to_owned()];
    let verdict = Verdict::Fail {
        reason: reason.into(),
        stacktrace: stacktrace.clone(),
        keep: Keep::All,
        attempts_max: 1,
    };
    rig.done(&claimed, verdict).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Failed));
    let job = rig.job(&added).await;
    assert_eq!(job.failed_reason.as_deref(), Some(reason));
    assert_eq!(job.stacktrace, stacktrace);
    assert_eq!((job.attempts_made, job.result), (1, None));
    assert!(job.finished_on.is_some());
}

pub async fn a_retry_at_once_goes_to_the_end(rig: Rig) {
    let added = rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, retry(0)).await;
    assert_eq!(rig.names(JobState::Waiting).await, ["b", "a"]);
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.failed_reason.as_deref()), (1, Some("later")));
    assert_eq!(job.stacktrace, ["later at line 2"]);
    assert_eq!((job.finished_on, job.delay), (None, 0));
}

pub async fn a_lifo_retry_at_once_goes_to_the_front(rig: Rig) {
    rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    let verdict =
        Verdict::Retry { reason: "again".into(), stacktrace: Vec::new(), delay: Duration::ZERO, lifo: true };
    rig.done(&claimed, verdict).await;
    assert_eq!(rig.claim_names(9).await, ["a", "b"]);
}

pub async fn a_retry_of_a_prioritized_job_goes_behind_its_priority(rig: Rig) {
    for (name, priority) in [("a", 5), ("b", 5), ("c", 6)] {
        rig.add_with(name, |o| o.priority = priority).await;
    }
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).name, "a");
    rig.done(&claimed, retry(0)).await;
    assert_eq!(rig.state(&claimed.id).await, Some(JobState::Prioritized));
    assert_eq!(rig.claim_names(9).await, ["b", "a", "c"]);
}

pub async fn a_retry_with_a_delay_waits(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, retry(60_000)).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Delayed));
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.delay), (1, 60_000));
    assert_eq!(job.failed_reason.as_deref(), Some("later"));
    assert!(rig.claim(1).await.is_empty());
    rig.advance(60_000);
    let claimed = rig.claim_one().await;
    assert_eq!((job_of(&claimed).attempts_made, job_of(&claimed).attempts_started), (1, 2));
}

pub async fn a_later_success_keeps_the_count_of_attempts(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, retry(0)).await;
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).attempt(), 2);
    rig.done(&claimed, complete_with("1")).await;
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.result.as_deref()), (2, Some(&b"1"[..])));
}

pub async fn a_wrong_token_is_refused_and_changes_nothing(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed.clone() };
    for verdict in every_verdict() {
        let label = format!("{verdict:?}");
        let refused = rig.finish(&foreign, verdict).await;
        // With no child pending, whether the lock or the children are looked at first is left to the store.
        let expected = [Err(Refusal::LockTaken), Err(Refusal::NothingToWaitFor)];
        let allowed = if label == "WaitForChildren" { &expected[..] } else { &expected[..1] };
        assert!(allowed.contains(&refused), "{label}: {refused:?}");
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    let job = rig.job(&added).await;
    assert_eq!((job.attempts_made, job.result, job.failed_reason), (0, None, None));
    rig.done(&claimed, complete()).await;
}

pub async fn an_expired_lock_is_refused_and_changes_nothing(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    for verdict in every_verdict().into_iter().filter(|v| *v != Verdict::WaitForChildren) {
        let label = format!("{verdict:?}");
        assert_eq!(rig.finish(&claimed, verdict).await, Err(Refusal::LockExpired), "{label}");
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    assert_eq!(rig.job(&added).await.attempts_made, 0);
}

pub async fn a_repeated_finish_is_refused(rig: Rig) {
    let verdicts = every_verdict().into_iter().filter(|v| *v != Verdict::WaitForChildren);
    for (n, verdict) in verdicts.enumerate() {
        let label = format!("{verdict:?}");
        // A queue each: some verdicts rest theirs.
        let rig = rig.other_queue(&format!("q{n}"));
        let added = rig.add("a").await;
        let claimed = rig.claim_one().await;
        rig.done(&claimed, verdict.clone()).await;
        let after = (rig.state(&added).await, rig.job(&added).await.attempts_made);
        let refusal = rig.finish(&claimed, verdict).await.expect_err("the second finish must be refused");
        assert!(refusal.is_lost(), "{label}: {refusal}");
        assert_eq!((rig.state(&added).await, rig.job(&added).await.attempts_made), after, "{label}");
    }
}

pub async fn a_repeated_finish_of_a_removed_job_says_so(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete_keep(Keep::None)).await;
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::Missing));
}

pub async fn a_job_that_never_existed_is_missing(rig: Rig) {
    rig.add("a").await;
    let claimed = Claimed { id: id("nobody"), ..rig.claim_one().await };
    for verdict in every_verdict() {
        let label = format!("{verdict:?}");
        assert_eq!(rig.finish(&claimed, verdict).await, Err(Refusal::Missing), "{label}");
    }
}

pub async fn a_waiting_job_cannot_be_finished(rig: Rig) {
    let added = rig.add("a").await;
    rig.add("b").await;
    let first = rig.claim_one().await;
    rig.done(&first, retry(0)).await;
    // `a` waits again; its old token is worth nothing.
    let refusal = rig.finish(&first, complete()).await.expect_err("a waiting job cannot complete");
    assert!(refusal.is_lost());
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting));
}

pub async fn an_old_attempt_cannot_finish_a_new_one(rig: Rig) {
    let added = rig.add("a").await;
    let old = rig.claim_one().await;
    rig.vanish(&old, 5).await;
    let new = rig.claim_one().await;
    assert_eq!(new.id, added);
    assert_eq!(rig.finish(&old, complete_with("\"old\"")).await, Err(Refusal::LockTaken));
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    rig.done(&new, complete_with("\"new\"")).await;
    assert_eq!(rig.job(&added).await.result.as_deref(), Some(&b"\"new\""[..]));
}

pub async fn a_batch_is_answered_one_by_one(rig: Rig) {
    for name in ["a", "b", "c", "d", "e"] {
        rig.add(name).await;
    }
    let c = rig.claim(5).await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..c[1].clone() };
    let missing = Claimed { id: id("nobody"), ..c[0].clone() };
    let finishes = vec![
        Rig::ending(&c[0], complete_with("1")),
        Rig::ending(&foreign, complete()),
        Rig::ending(&missing, complete()),
        Rig::ending(&c[2], fail("bad")),
        Rig::ending(&c[3], Verdict::WaitForChildren),
        Rig::ending(&c[4], retry(0)),
    ];
    let answers = rig.finish_all(finishes).await;
    assert_eq!(
        answers,
        [
            Ok(()),
            Err(Refusal::LockTaken),
            Err(Refusal::Missing),
            Ok(()),
            Err(Refusal::NothingToWaitFor),
            Ok(())
        ]
    );
    let mut states = Vec::new();
    for claimed in &c {
        states.push(rig.state(&claimed.id).await.expect("it exists"));
    }
    assert_eq!(
        states,
        [JobState::Completed, JobState::Active, JobState::Failed, JobState::Active, JobState::Waiting]
    );
}

pub async fn the_same_job_twice_in_a_batch_is_accepted_once(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let answers = rig
        .finish_all(vec![
            Rig::ending(&claimed, complete_with("1")),
            Rig::ending(&claimed, complete_with("2")),
        ])
        .await;
    assert_eq!(answers[0], Ok(()));
    assert!(answers[1].is_err_and(Refusal::is_lost), "{answers:?}");
    let job = rig.job(&added).await;
    assert_eq!((job.result.as_deref(), job.attempts_made), (Some(&b"1"[..]), 1));
}

pub async fn finishing_claims_in_the_same_call(rig: Rig) {
    for name in ["a", "b", "c", "d"] {
        rig.add(name).await;
    }
    let first = rig.claim(2).await;
    let finishes = first.iter().map(|c| Rig::ending(c, complete())).collect();
    let (answers, claim) = rig.finish_and_claim(finishes, 2).await;
    assert_eq!(answers, [Ok(()), Ok(())]);
    assert_eq!(names_of(&claim.jobs), ["c", "d"]);
    for claimed in &claim.jobs {
        rig.done(claimed, complete()).await;
    }
    assert_eq!(rig.count(JobState::Completed).await, 4);
}

pub async fn what_a_finish_puts_back_can_be_claimed_in_the_same_call(rig: Rig) {
    rig.add("a").await;
    let first = rig.claim_one().await;
    let (answers, claim) = rig.finish_and_claim(vec![Rig::ending(&first, retry(0))], 1).await;
    assert_eq!(answers, [Ok(())]);
    assert_eq!(names_of(&claim.jobs), ["a"]);
    assert_ne!(claim.jobs[0].token, first.token);
    assert_eq!(job_of(&claim.jobs[0]).attempts_made, 1);
    rig.done(&claim.jobs[0], complete()).await;
}

pub async fn a_claim_without_finishes_is_a_claim(rig: Rig) {
    rig.add("a").await;
    let (answers, claim) = rig.finish_and_claim(Vec::new(), 3).await;
    assert!(answers.is_empty());
    assert_eq!(names_of(&claim.jobs), ["a"]);
}

pub async fn nothing_to_finish_is_no_error(rig: Rig) {
    assert!(rig.finish_all(Vec::new()).await.is_empty());
}

pub async fn what_was_recorded_is_written_with_the_finish(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mut finish = Rig::ending(&claimed, retry(0));
    finish.recorded = Recorded {
        logs: vec!["one".into(), "two ü".into(), "three".into()],
        progress: Some(json("{\"done\":50}")),
        data: Some(json("{\"step\":2}")),
    };
    finish.keep_logs = Some(2);
    assert_eq!(rig.finish_all(vec![finish]).await, [Ok(())]);
    assert_eq!(rig.logs(&added).await, ["two ü", "three"]);
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).data, json("{\"step\":2}"));
    assert_eq!(job_of(&claimed).progress, Some(json("{\"done\":50}")));
}

pub async fn what_was_recorded_is_dropped_with_a_refusal(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed.clone() };
    let mut finish = Rig::ending(&foreign, complete());
    finish.recorded =
        Recorded { logs: vec!["one".into()], progress: Some(json("1")), data: Some(json("{\"step\":2}")) };
    assert_eq!(rig.finish_all(vec![finish]).await, [Err(Refusal::LockTaken)]);
    assert!(rig.logs(&added).await.is_empty());
    let job = rig.job(&added).await;
    assert_eq!((job.progress, &job.data[..]), (None, &b"{\"name\":\"a\"}"[..]));
}

pub async fn a_large_result_comes_whole(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let mark = rig.mark().await;
    let result = Bytes::from(format!("\"{}\"", "r".repeat(1_000_000)));
    rig.done(&claimed, Verdict::Complete { result: result.clone(), keep: Keep::All }).await;
    assert!(rig.job(&added).await.result == Some(result.clone()), "a large result was changed");
    let events = rig.since(&mark).await;
    let completed = events.iter().find(|e| e.event == "completed").expect("the end is told");
    assert_eq!(completed.field("returnvalue").map(str::len), Some(result.len()));
}

/// One of each kind.
fn every_verdict() -> Vec<Verdict> {
    vec![
        complete(),
        fail("bad"),
        retry(0),
        retry(60_000),
        Verdict::DelayUntil(2_100_000_000_000),
        Verdict::Release,
        Verdict::RateLimit(Duration::from_secs(60)),
        Verdict::WaitForChildren,
    ]
}
