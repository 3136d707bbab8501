//! What a running job says before its end.

use super::rig::{Rig, complete, id, job_of, json, ok, retry};
use crate::store::{Page, StoreError};

pub async fn progress_is_replaced(rig: Rig) {
    let added = rig.add("a").await;
    assert_eq!(rig.job(&added).await.progress, None);
    for progress in ["10", "{\"pct\": 50}", "null"] {
        ok!(rig.store.set_progress(&rig.queue, &added, json(progress)));
        assert_eq!(rig.job(&added).await.progress, Some(json(progress)));
    }
}

pub async fn progress_of_a_missing_job_is_not_found(rig: Rig) {
    let refused = rig.store.set_progress(&rig.queue, &id("nobody"), json("1")).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    assert_eq!(rig.state(&id("nobody")).await, None);
    assert!(ok!(rig.store.get(&rig.queue, &id("nobody"))).is_none());
}

pub async fn logs_are_appended_in_order(rig: Rig) {
    let added = rig.add("a").await;
    let append = async |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        ok!(rig.store.append_logs(&rig.queue, &added, &lines, None))
    };
    assert_eq!(append(&["one", "two"]).await, 2);
    assert_eq!(append(&[]).await, 2);
    assert_eq!(append(&["", "four ü \"x\""]).await, 4);
    assert_eq!(rig.logs(&added).await, ["one", "two", "", "four ü \"x\""]);
}

pub async fn only_the_last_log_lines_are_kept(rig: Rig) {
    let added = rig.add("a").await;
    for n in 0..5 {
        let lines = [format!("{n}a"), format!("{n}b")];
        let left = ok!(rig.store.append_logs(&rig.queue, &added, &lines, Some(3)));
        assert_eq!(left, if n == 0 { 2 } else { 3 });
    }
    assert_eq!(rig.logs(&added).await, ["3b", "4a", "4b"]);
    let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(ok!(rig.store.append_logs(&rig.queue, &added, &many, Some(2))), 2);
    assert_eq!(rig.logs(&added).await, ["18", "19"]);
}

pub async fn logs_of_a_missing_job_are_not_found(rig: Rig) {
    let refused = rig.store.append_logs(&rig.queue, &id("nobody"), &["x".into()], None).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    assert!(ok!(rig.store.logs(&rig.queue, &id("nobody"), Page::first(9))).is_empty());
}

pub async fn data_is_replaced_for_the_next_attempt(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    ok!(rig.store.update_data(&rig.queue, &added, json(" {\"step\": 2}")));
    rig.done(&claimed, retry(0)).await;
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).data, json(" {\"step\": 2}"));
    assert_eq!(job_of(&claimed).name, "a");
}

pub async fn data_of_a_missing_job_is_not_found(rig: Rig) {
    let refused = rig.store.update_data(&rig.queue, &id("nobody"), json("1")).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    assert!(ok!(rig.store.get(&rig.queue, &id("nobody"))).is_none());
}

pub async fn none_of_these_needs_the_lock(rig: Rig) {
    let added = rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete()).await;
    ok!(rig.store.set_progress(&rig.queue, &added, json("100")));
    ok!(rig.store.append_logs(&rig.queue, &added, &["late".into()], None));
    ok!(rig.store.update_data(&rig.queue, &added, json("{}")));
    let job = rig.job(&added).await;
    assert_eq!((job.progress, job.data), (Some(json("100")), json("{}")));
    assert_eq!(rig.logs(&added).await, ["late"]);
}
