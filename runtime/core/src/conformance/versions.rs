//! Which version ran a job before, and failures of a version that are not held against its jobs.

use super::rig::{Rig, complete_with, fail, job_of, ok, retry};
use crate::attempt::Recorded;
use crate::store::{Claimed, Finish, Verdict};

const FIRST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const SECOND: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// Ends an attempt that this version ran.
async fn end(rig: &Rig, claimed: &Claimed, verdict: Verdict, digest: &str) {
    let finish = Finish { digest: Some(digest.to_owned()), ..Rig::ending(claimed, verdict) };
    assert_eq!(rig.finish_all(vec![finish]).await, [Ok(())]);
}

fn pinned(claimed: &Claimed) -> Option<&str> {
    job_of(claimed).pinned.as_deref()
}

pub async fn a_retry_knows_which_version_ran_before(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    assert_eq!(pinned(&claimed), None);
    end(&rig, &claimed, retry(0), FIRST).await;
    assert_eq!(rig.job(&added).await.pinned.as_deref(), Some(FIRST));
    let claimed = rig.claim_one().await;
    assert_eq!(pinned(&claimed), Some(FIRST));
    end(&rig, &claimed, retry(60_000), SECOND).await;
    rig.advance(60_001);
    let (_, claim) = rig.finish_and_claim(Vec::new(), 1).await;
    assert_eq!(pinned(&claim.jobs[0]), Some(SECOND), "the last one counts");
}

pub async fn what_uses_no_attempt_leaves_the_version(rig: Rig) {
    rig.add("a").await;
    end(&rig, &rig.claim_one().await, Verdict::Release, SECOND).await;
    let claimed = rig.claim_one().await;
    assert_eq!(pinned(&claimed), None, "it has not failed there");
    end(&rig, &claimed, retry(0), FIRST).await;
    for verdict in [Verdict::Release, Verdict::DelayUntil(0)] {
        let claimed = rig.claim_one().await;
        assert_eq!(pinned(&claimed), Some(FIRST));
        end(&rig, &claimed, verdict, SECOND).await;
    }
    let claimed = rig.claim_one().await;
    rig.vanish(&claimed, 5).await;
    let claimed = rig.claim_one().await;
    assert_eq!(pinned(&claimed), Some(FIRST), "nor does a host that vanishes change it");
    rig.done(&claimed, retry(0)).await;
    assert_eq!(pinned(&rig.claim_one().await), Some(FIRST), "nor an attempt without an artifact");
}

pub async fn a_failed_job_that_is_retried_has_no_version(rig: Rig) {
    let added = rig.add("a").await;
    end(&rig, &rig.claim_one().await, retry(0), FIRST).await;
    end(&rig, &rig.claim_one().await, fail("bad"), FIRST).await;
    assert_eq!(rig.job(&added).await.pinned, None);
    ok!(rig.store.retry(&rig.queue, &added, false));
    assert_eq!(pinned(&rig.claim_one().await), None);
}

pub async fn a_completed_job_has_no_version(rig: Rig) {
    let added = rig.add("a").await;
    end(&rig, &rig.claim_one().await, retry(0), FIRST).await;
    end(&rig, &rig.claim_one().await, complete_with("1"), FIRST).await;
    let job = rig.job(&added).await;
    assert_eq!((job.pinned, job.attempts_made), (None, 2));
}

/// What becomes of a job whose version is found to be broken: it goes to another one as if that one had never run it.
pub async fn a_failure_that_is_given_back_does_not_count(rig: Rig) {
    let id = rig.add("a").await;
    rig.add("b").await;
    end(&rig, &rig.claim_one().await, retry(0), FIRST).await;
    assert_eq!(rig.claim_names(1).await, ["b"]);
    let before = rig.job(&id).await;
    let mark = rig.mark().await;
    for n in 0..5 {
        let claimed = rig.claim_one().await;
        let job = job_of(&claimed);
        assert_eq!((job.attempts_made, job.attempt(), job.attempts_started), (1, 2, n + 2));
        let recorded = Recorded { logs: vec![format!("not counted {n}")], ..Recorded::default() };
        let digest = Some(SECOND.to_owned());
        let finish = Finish { recorded, digest, ..Rig::ending(&claimed, Verdict::Release) };
        assert_eq!(rig.finish_all(vec![finish]).await, [Ok(())]);
    }
    let job = rig.job(&id).await;
    assert_eq!((job.attempts_made, job.pinned.as_deref()), (1, Some(FIRST)));
    assert_eq!((&job.failed_reason, &job.stacktrace), (&before.failed_reason, &before.stacktrace));
    assert_eq!(job.crashes, before.crashes);
    assert_eq!(rig.logs(&id).await.len(), 5, "what it said stays");
    assert!(ok!(rig.store.receipts(&rig.queue, &id)).is_empty());
    let told = rig.since(&mark).await;
    let told: Vec<&str> = told.iter().map(|event| event.event.as_str()).collect();
    assert!(
        told.iter().all(|event| ["active", "waiting"].contains(event)),
        "nobody hears of a failure: {told:?}"
    );
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).attempt(), 2, "the attempts it had left are left");
    rig.done(&claimed, complete_with("1")).await;
    assert_eq!(rig.job(&id).await.attempts_made, 2);
}
