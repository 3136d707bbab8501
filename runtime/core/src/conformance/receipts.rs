//! What attempts cost, and how they broke, as it is kept with their jobs.

use super::rig::{Rig, complete_keep, complete_with, fail, fail_keep, id, job_of, ok, retry};
use crate::crash::Crashes;
use crate::names::JobId;
use crate::options::Keep;
use crate::receipt::Receipt;
use crate::store::{AttemptReceipt, Claimed, CrashNote, Finish, ReceiptNote, Token, Verdict};

/// The end of an attempt with a receipt, of which the job keeps so many.
fn with_receipt(claimed: &Claimed, verdict: Verdict, keep: u64) -> Finish {
    let receipt = AttemptReceipt {
        attempt: job_of(claimed).attempt(),
        at: 5,
        handler: "h \"1\"".to_owned(),
        version: "0123456789ab".to_owned(),
        digest: Some(format!("sha256:0123456789ab{}", "0".repeat(52))),
        outcome: "retry".to_owned(),
        receipt: Receipt { wall_us: 100 + job_of(claimed).attempts_started, ..Receipt::default() },
    };
    Finish { receipt: Some(ReceiptNote { json: receipt.to_json(), keep }), ..Rig::ending(claimed, verdict) }
}

async fn done(rig: &Rig, claimed: &Claimed, verdict: Verdict, keep: u64) {
    assert_eq!(rig.finish_all(vec![with_receipt(claimed, verdict, keep)]).await, [Ok(())]);
}

/// Numbers of the attempts whose receipts are kept.
async fn kept(rig: &Rig, id: &JobId) -> Vec<u64> {
    let receipts = ok!(rig.store.receipts(&rig.queue, id));
    receipts.iter().map(|receipt| receipt.attempt).collect()
}

pub async fn every_attempt_that_is_used_leaves_its_receipt(rig: Rig) {
    let added = rig.add("a").await;
    assert!(kept(&rig, &added).await.is_empty());
    done(&rig, &rig.claim_one().await, retry(0), 5).await;
    assert_eq!(kept(&rig, &added).await, [1]);
    done(&rig, &rig.claim_one().await, complete_with("1"), 5).await;
    let receipts = ok!(rig.store.receipts(&rig.queue, &added));
    let told: Vec<_> = receipts.iter().map(|r| (r.attempt, r.receipt.wall_us, r.handler.as_str())).collect();
    assert_eq!(told, [(1, 101, "h \"1\""), (2, 102, "h \"1\"")]);
    let version =
        |r: &AttemptReceipt| r.digest.as_ref().is_some_and(|digest| digest[7..].starts_with(&r.version));
    assert!(receipts.iter().all(version), "{receipts:?}");
    let failed = rig.add("b").await;
    done(&rig, &rig.claim_one().await, fail("bad"), 5).await;
    assert_eq!(kept(&rig, &failed).await, [1]);
    assert_eq!(rig.job(&failed).await.failed_reason.as_deref(), Some("bad"));
}

pub async fn a_retry_that_waits_leaves_its_receipt(rig: Rig) {
    let added = rig.add("a").await;
    done(&rig, &rig.claim_one().await, retry(60_000), 5).await;
    assert_eq!(kept(&rig, &added).await, [1]);
    assert_eq!(rig.job(&added).await.delay, 60_000);
}

pub async fn only_the_newest_are_kept(rig: Rig) {
    let added = rig.add("a").await;
    for _ in 0..4 {
        done(&rig, &rig.claim_one().await, retry(0), 2).await;
    }
    assert_eq!(kept(&rig, &added).await, [3, 4]);
    done(&rig, &rig.claim_one().await, fail("bad"), 2).await;
    assert_eq!(kept(&rig, &added).await, [4, 5]);
    let other = rig.add("b").await;
    for _ in 0..5 {
        done(&rig, &rig.claim_one().await, retry(0), 5).await;
    }
    done(&rig, &rig.claim_one().await, complete_with("1"), 1).await;
    assert_eq!(kept(&rig, &other).await, [6], "a bound that was lowered holds at once");
}

pub async fn a_give_back_leaves_none(rig: Rig) {
    let added = rig.add("a").await;
    done(&rig, &rig.claim_one().await, Verdict::Release, 5).await;
    assert!(kept(&rig, &added).await.is_empty());
    done(&rig, &rig.claim_one().await, complete_with("1"), 5).await;
    let receipts = ok!(rig.store.receipts(&rig.queue, &added));
    assert_eq!((receipts.len(), receipts[0].attempt, receipts[0].receipt.wall_us), (1, 1, 102));
}

pub async fn a_refused_end_leaves_none(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed.clone() };
    assert!(rig.finish_all(vec![with_receipt(&foreign, complete_with("1"), 5)]).await[0].is_err());
    assert!(kept(&rig, &added).await.is_empty());
}

pub async fn a_job_that_goes_takes_its_receipts_along(rig: Rig) {
    for verdict in [complete_keep(Keep::None), fail_keep("bad", Keep::None)] {
        let added = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
        done(&rig, &rig.claim_one().await, retry(0), 5).await;
        done(&rig, &rig.claim_one().await, verdict, 5).await;
        assert_eq!(rig.state(&added).await, None);
        assert!(kept(&rig, &added).await.is_empty());
    }
    let added = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    assert!(kept(&rig, &added).await.is_empty(), "nothing is left of an earlier job of this id");
    done(&rig, &rig.claim_one().await, complete_with("1"), 5).await;
    ok!(rig.store.remove(&rig.queue, &added));
    rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    assert!(kept(&rig, &added).await.is_empty());
    assert!(kept(&rig, &id("nobody")).await.is_empty());
}

pub async fn attempts_that_begin_anew_have_new_receipts(rig: Rig) {
    let added = rig.add("a").await;
    for _ in 0..2 {
        done(&rig, &rig.claim_one().await, retry(0), 5).await;
    }
    done(&rig, &rig.claim_one().await, fail("bad"), 5).await;
    ok!(rig.store.retry(&rig.queue, &added, true));
    done(&rig, &rig.claim_one().await, complete_with("1"), 5).await;
    assert_eq!(kept(&rig, &added).await, [1]);
}

pub async fn ends_of_one_batch_have_their_own(rig: Rig) {
    let (a, b, c) = (rig.add("a").await, rig.add("b").await, rig.add("c").await);
    let claimed = rig.claim(3).await;
    let mut second = with_receipt(&claimed[1], retry(0), 5);
    second.recorded.logs = vec!["one".into(), "two".into()];
    second.crashes = CrashNote::Set(crashed(1));
    let ends = vec![
        with_receipt(&claimed[0], complete_with("1"), 5),
        second,
        Rig::ending(&claimed[2], complete_with("3")),
    ];
    assert_eq!(rig.finish_all(ends).await, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(
        (kept(&rig, &a).await, kept(&rig, &b).await, kept(&rig, &c).await),
        (vec![1], vec![1], vec![])
    );
    assert_eq!(rig.logs(&b).await, ["one", "two"]);
    assert_eq!(rig.job(&b).await.crashes, Some(crashed(1)));
    assert_eq!(rig.job(&c).await.result.as_deref(), Some(&b"3"[..]));
}

fn crashed(count: u64) -> Crashes {
    Crashes { count, way: "panic in basic!a \"b\" ü".to_owned() }
}

async fn end(rig: &Rig, claimed: &Claimed, verdict: Verdict, crashes: CrashNote) {
    let finish = Finish { crashes, ..Rig::ending(claimed, verdict) };
    assert_eq!(rig.finish_all(vec![finish]).await, [Ok(())]);
}

pub async fn crashes_are_seen_by_the_next_attempt(rig: Rig) {
    rig.add("a").await;
    for (n, delay) in [0, 60_000].into_iter().enumerate() {
        let count = n as u64 + 1;
        end(&rig, &rig.claim_one().await, retry(delay), CrashNote::Set(crashed(count))).await;
        rig.advance(delay + 1);
        let claimed = rig.claim_one().await;
        assert_eq!(job_of(&claimed).crashes, Some(crashed(count)));
        end(&rig, &claimed, Verdict::Release, CrashNote::Leave).await;
    }
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).crashes, Some(crashed(2)), "a give-back leaves them");
    rig.vanish(&claimed, 5).await;
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).crashes, Some(crashed(2)), "and so does a vanished host");
    end(&rig, &claimed, retry(0), CrashNote::Leave).await;
    assert_eq!(job_of(&rig.claim_one().await).crashes, Some(crashed(2)));
}

pub async fn crashes_are_forgotten_when_asked(rig: Rig) {
    let added = rig.add("a").await;
    for delay in [0, 60_000] {
        end(&rig, &rig.claim_one().await, retry(0), CrashNote::Set(crashed(1))).await;
        end(&rig, &rig.claim_one().await, retry(delay), CrashNote::Forget).await;
        rig.advance(delay + 1);
        assert_eq!(rig.job(&added).await.crashes, None);
    }
    end(&rig, &rig.claim_one().await, retry(0), CrashNote::Set(crashed(1))).await;
    end(&rig, &rig.claim_one().await, complete_with("1"), CrashNote::Forget).await;
    assert_eq!(rig.job(&added).await.crashes, None);
}

pub async fn a_final_failure_forgets_crashes_so_that_a_retry_begins_anew(rig: Rig) {
    let added = rig.add("a").await;
    end(&rig, &rig.claim_one().await, retry(0), CrashNote::Set(crashed(2))).await;
    end(&rig, &rig.claim_one().await, fail("poison"), CrashNote::Leave).await;
    assert_eq!(rig.job(&added).await.crashes, None);
    ok!(rig.store.retry(&rig.queue, &added, false));
    assert_eq!(job_of(&rig.claim_one().await).crashes, None);
}
