//! Locks: renewal, loss, and who may renew.

use std::time::Duration;

use super::rig::{LOCK, Rig, complete, id, ok};
use crate::store::{Claimed, Refusal, Token};

pub async fn a_renewed_lock_holds(rig: Rig) {
    rig.add("a").await;
    let lock = Duration::from_millis(250);
    let request = crate::store::ClaimRequest { lock, ..rig.request(1) };
    let claimed = ok!(rig.store.claim(&rig.queue, &request)).jobs.remove(0);
    // The renewal may come too late on a loaded machine; then there is nothing to say.
    if !rig.renew(&[&claimed], LOCK).await.is_empty() {
        return;
    }
    tokio::time::sleep(lock * 2).await;
    rig.done(&claimed, complete()).await;
}

pub async fn a_lock_runs_out_by_itself(rig: Rig) {
    rig.add("a").await;
    let lock = Duration::from_millis(60);
    let request = crate::store::ClaimRequest { lock, ..rig.request(1) };
    let claimed = ok!(rig.store.claim(&rig.queue, &request)).jobs.remove(0);
    tokio::time::sleep(lock * 2).await;
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::LockExpired));
}

pub async fn a_lost_lock_is_reported(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.expire(&claimed).await;
    assert_eq!(
        rig.renew(&[&claimed], LOCK).await,
        std::slice::from_ref(&claimed.id),
        "a lock that ran out stays lost"
    );
}

pub async fn a_foreign_token_renews_nothing(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    let foreign = Claimed { token: Token::new("somebody", 1), ..claimed.clone() };
    let missing = Claimed { id: id("nobody"), ..claimed.clone() };
    assert_eq!(
        rig.renew(&[&foreign, &missing], Duration::from_millis(1)).await,
        [claimed.id.clone(), id("nobody")]
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.done(&claimed, complete()).await;
}

pub async fn a_finished_job_has_no_lock_to_renew(rig: Rig) {
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    assert_eq!(rig.renew(&[&claimed], LOCK).await, std::slice::from_ref(&claimed.id));
}

pub async fn a_batch_of_renewals_reports_only_the_lost(rig: Rig) {
    for n in 0..4 {
        rig.add(&format!("n{n}")).await;
    }
    let c = rig.claim(4).await;
    rig.expire(&c[1]).await;
    rig.done(&c[2], complete()).await;
    let mut lost = rig.renew(&[&c[0], &c[1], &c[2], &c[3]], LOCK).await;
    lost.sort();
    let mut expected = [c[1].id.clone(), c[2].id.clone()];
    expected.sort();
    assert_eq!(lost, expected);
    rig.done(&c[0], complete()).await;
    rig.done(&c[3], complete()).await;
}

pub async fn nothing_to_renew_is_no_error(rig: Rig) {
    assert!(rig.renew(&[], LOCK).await.is_empty());
}
