//! Which finished jobs stay.

use super::rig::{Rig, complete, complete_keep, fail_keep, ok};
use crate::job::JobState;
use crate::options::{Keep, KeepLimits};
use crate::store::Page;

fn count(n: u64) -> Keep {
    Keep::UpTo(KeepLimits { count: Some(n), ..KeepLimits::default() })
}

fn age(seconds: u64) -> Keep {
    Keep::UpTo(KeepLimits { age: Some(seconds), ..KeepLimits::default() })
}

pub async fn none_removes_at_once(rig: Rig) {
    let added = rig.add_finished("a", complete_keep(Keep::None)).await;
    assert_eq!(rig.state(&added).await, None);
    assert!(ok!(rig.store.get(&rig.queue, &added)).is_none());
    assert_eq!(rig.count(JobState::Completed).await, 0);
}

pub async fn none_removes_failed_ones_too(rig: Rig) {
    let added = rig.add_finished("a", fail_keep("bad", Keep::None)).await;
    assert!(ok!(rig.store.get(&rig.queue, &added)).is_none());
    assert_eq!(rig.count(JobState::Failed).await, 0);
}

pub async fn all_keeps_every_one(rig: Rig) {
    for n in 0..10 {
        rig.add_finished(&format!("n{n}"), complete()).await;
        rig.advance(1_000_000_000);
    }
    assert_eq!(rig.count(JobState::Completed).await, 10);
}

pub async fn a_count_keeps_the_newest(rig: Rig) {
    for n in 0..6 {
        rig.add_finished(&format!("n{n}"), complete_keep(count(3))).await;
        rig.advance(10);
    }
    assert_eq!(rig.names(JobState::Completed).await, ["n5", "n4", "n3"]);
    rig.add_finished("all", complete()).await;
    assert_eq!(rig.count(JobState::Completed).await, 4, "only the finish that says so removes");
    rig.advance(10);
    rig.add_finished("one", complete_keep(count(1))).await;
    assert_eq!(rig.names(JobState::Completed).await, ["one"]);
}

pub async fn an_age_removes_the_old(rig: Rig) {
    for name in ["a", "b"] {
        rig.add_finished(name, complete_keep(age(60))).await;
        rig.advance(40_000);
    }
    rig.add_finished("c", complete_keep(age(60))).await;
    assert_eq!(rig.names(JobState::Completed).await, ["c", "b"], "a is 80 s old, b 40 s");
    rig.advance(61_000);
    rig.add_finished("d", complete_keep(age(60))).await;
    assert_eq!(rig.names(JobState::Completed).await, ["d"]);
}

pub async fn an_age_and_a_count_both_hold(rig: Rig) {
    let both = Keep::UpTo(KeepLimits { count: Some(2), age: Some(60), limit: None });
    for n in 0..4 {
        rig.add_finished(&format!("n{n}"), complete_keep(both.clone())).await;
        rig.advance(10);
    }
    assert_eq!(rig.names(JobState::Completed).await, ["n3", "n2"]);
    rig.advance(61_000);
    rig.add_finished("last", complete_keep(both)).await;
    assert_eq!(rig.names(JobState::Completed).await, ["last"]);
}

pub async fn failed_and_completed_are_kept_apart(rig: Rig) {
    rig.add_finished("c", complete_keep(count(1))).await;
    rig.advance(10);
    for name in ["f1", "f2"] {
        rig.add_finished(name, fail_keep("bad", count(1))).await;
        rig.advance(10);
    }
    assert_eq!(rig.names(JobState::Completed).await, ["c"]);
    assert_eq!(rig.names(JobState::Failed).await, ["f2"]);
}

pub async fn ends_of_one_batch_keep_by_their_own_rules(rig: Rig) {
    rig.add_finished("before", complete()).await;
    rig.advance(10);
    for name in ["a", "b", "c"] {
        rig.add(name).await;
    }
    let claimed = rig.claim(3).await;
    let rules = [complete_keep(count(1)), complete(), complete()];
    let ends = claimed.iter().zip(rules).map(|(job, rule)| Rig::ending(job, rule));
    assert_eq!(rig.finish_all(ends.collect()).await, [Ok(()), Ok(()), Ok(())]);
    let mut names = rig.names(JobState::Completed).await;
    names.sort();
    assert_eq!(names, ["a", "b", "c"], "the first one's rule is from before the others");
}

pub async fn a_removed_job_still_tells_its_end(rig: Rig) {
    let mark = rig.mark().await;
    let added = rig.add_finished("a", complete_keep(Keep::None)).await;
    let told = rig.told(&mark).await;
    assert!(told.contains(&format!("completed {added} returnvalue=null prev=active")), "{told:?}");
}

pub async fn what_belongs_to_a_removed_job_goes_with_it(rig: Rig) {
    let added = rig.add_with("a", |o| o.job_id = Some("x".into())).await;
    ok!(rig.store.append_logs(&rig.queue, &added, &["line".into()], None));
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete_keep(Keep::None)).await;
    assert!(ok!(rig.store.logs(&rig.queue, &added, Page::first(9))).is_empty());
    let again = rig.add_with("b", |o| o.job_id = Some("x".into())).await;
    let job = rig.job(&again).await;
    assert_eq!((job.name.as_str(), job.attempts_made, job.processed_on), ("b", 0, None));
    assert!(rig.logs(&again).await.is_empty());
}
