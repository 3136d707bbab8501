//! Giving a job back without using an attempt.

use std::time::Duration;

use super::rig::{Rig, complete, job_of, names_of, ok};
use crate::job::JobState;
use crate::store::{Claimed, Refusal, Token, Verdict};

pub async fn a_release_goes_to_the_front_and_uses_no_attempt(rig: Rig) {
    let added = rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, Verdict::Release).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Waiting));
    assert_eq!(rig.names(JobState::Waiting).await, ["a", "b"]);
    let claimed = rig.claim_one().await;
    let job = job_of(&claimed);
    assert_eq!((&job.id, job.attempts_made, job.attempts_started), (&added, 0, 2));
    assert_eq!((&job.failed_reason, job.stacktrace.len()), (&None, 0));
}

pub async fn a_release_of_a_prioritized_job_goes_to_the_front_of_its_priority(rig: Rig) {
    for (name, priority) in [("high", 1), ("a", 5), ("b", 5)] {
        rig.add_with(name, |o| o.priority = priority).await;
    }
    let claimed = rig.claim(2).await;
    assert_eq!(names_of(&claimed), ["high", "a"]);
    rig.done(&claimed[1], Verdict::Release).await;
    rig.done(&claimed[0], Verdict::Release).await;
    assert_eq!(rig.names(JobState::Prioritized).await, ["high", "a", "b"]);
    assert_eq!(rig.claim_names(9).await, ["high", "a", "b"]);
    assert_eq!(rig.job(&claimed[1].id).await.attempts_made, 0);
}

pub async fn delay_until_runs_it_then_and_uses_no_attempt(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let due = rig.now() + 30_000;
    rig.done(&claimed, Verdict::DelayUntil(due)).await;
    assert_eq!(rig.state(&added).await, Some(JobState::Delayed));
    let job = rig.job(&added).await;
    assert_eq!(job.attempts_made, 0);
    assert!(job.delay > 20_000 && job.delay <= 30_000, "{}", job.delay);
    let claim = ok!(rig.store.claim(&rig.queue, &rig.request(1)));
    assert!(claim.jobs.is_empty());
    assert_eq!(claim.next_due, Some(due));
    rig.advance(30_000);
    let claimed = rig.claim_one().await;
    assert_eq!((job_of(&claimed).attempts_made, job_of(&claimed).attempts_started), (0, 2));
}

pub async fn delay_until_a_past_time_runs_it_at_once(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, Verdict::DelayUntil(rig.now() - 60_000)).await;
    assert_eq!(rig.claim_names(1).await, ["a"]);
}

pub async fn a_rate_limit_rests_the_whole_queue(rig: Rig) {
    rig.add("a").await;
    rig.add("b").await;
    let claimed = rig.claim_one().await;
    let rest = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let (answers, claim) =
        rig.finish_and_claim(vec![Rig::ending(&claimed, Verdict::RateLimit(rest))], 2).await;
    assert_eq!(answers, [Ok(())]);
    assert_eq!(rig.job(&claimed.id).await.attempts_made, 0);
    let again = ok!(rig.store.claim(&rig.queue, &rig.request(2)));
    if begun.elapsed() < rest {
        for claim in [&claim, &again] {
            assert!(claim.jobs.is_empty(), "the queue rests, also for workers without a limit of their own");
            assert!(claim.rate_limited.is_some_and(|left| !left.is_zero() && left <= rest), "{claim:?}");
        }
        assert_eq!(rig.names(JobState::Waiting).await, ["a", "b"]);
    }
    let mut names = names_of(&claim.jobs);
    names.extend(names_of(&again.jobs));
    while names.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        names.extend(rig.claim_names(2).await);
    }
    assert!(begun.elapsed() >= rest, "the rest was cut short");
    assert_eq!(names, ["a", "b"]);
}

pub async fn waiting_for_children_with_none_is_refused_and_keeps_the_lock(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    assert_eq!(rig.finish(&claimed, Verdict::WaitForChildren).await, Err(Refusal::NothingToWaitFor));
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    assert!(rig.renew(&[&claimed], Duration::from_secs(30)).await.is_empty());
    rig.done(&claimed, complete()).await;
}

pub async fn giving_back_is_fenced_too(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed.clone() };
    for verdict in
        [Verdict::Release, Verdict::RateLimit(Duration::from_secs(60)), Verdict::DelayUntil(rig.now())]
    {
        assert_eq!(rig.finish(&foreign, verdict).await, Err(Refusal::LockTaken));
    }
    assert_eq!(rig.state(&added).await, Some(JobState::Active));
    rig.add("b").await;
    assert_eq!(rig.claim_names(1).await, ["b"], "a refused rate limit does not rest the queue");
}
