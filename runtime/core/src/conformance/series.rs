//! The per-minute series of finished jobs. The stores of this suite keep [`POINTS`] minutes of every queue.

use super::rig::{Rig, complete, complete_keep, fail, ok, retry};
use crate::job::JobState;
use crate::options::Keep;
use crate::store::{Page, Series, StoreError};

/// What the fixtures are opened with.
pub const POINTS: u32 = 5;

async fn series(rig: &Rig, state: JobState, page: Page) -> Series {
    ok!(rig.store.series(&rig.queue, state, page))
}

async fn points(rig: &Rig) -> Vec<u64> {
    series(rig, JobState::Completed, Page::first(1000)).await.points
}

/// Moves the clock to the middle of a minute, so that nothing crosses the next one by chance.
fn settle(rig: &Rig) {
    rig.advance(60_000 - rig.now() % 60_000 + 30_000);
}

async fn complete_many(rig: &Rig, count: usize) {
    for _ in 0..count {
        rig.add_finished("n", complete()).await;
    }
}

pub async fn nothing_is_counted_before_the_first_end(rig: Rig) {
    assert_eq!(series(&rig, JobState::Completed, Page::first(9)).await, Series::default());
    rig.add("a").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, retry(0)).await;
    assert_eq!(series(&rig, JobState::Failed, Page::first(9)).await, Series::default());
}

pub async fn ends_are_counted_by_the_minute(rig: Rig) {
    settle(&rig);
    complete_many(&rig, 3).await;
    let now = series(&rig, JobState::Completed, Page::first(9)).await;
    assert_eq!((now.total, now.points, now.length), (3, vec![], 0), "the minute is not over");
    rig.advance(60_000);
    complete_many(&rig, 2).await;
    let now = series(&rig, JobState::Completed, Page::first(9)).await;
    assert_eq!((now.total, now.points, now.length), (5, vec![3], 1));
    assert!(now.last.is_some_and(|at| at <= rig.now() && at > rig.now() - 30_000), "{:?}", now.last);
    rig.advance(60_000);
    complete_many(&rig, 1).await;
    assert_eq!(points(&rig).await, [2, 3], "the newest first");
}

pub async fn minutes_without_an_end_count_nothing(rig: Rig) {
    settle(&rig);
    complete_many(&rig, 4).await;
    rig.advance(3 * 60_000);
    complete_many(&rig, 1).await;
    assert_eq!(points(&rig).await, [0, 0, 4]);
}

pub async fn only_so_many_minutes_are_kept(rig: Rig) {
    settle(&rig);
    for ended in 1..=7 {
        complete_many(&rig, ended).await;
        rig.advance(60_000);
    }
    complete_many(&rig, 1).await;
    assert_eq!(points(&rig).await, [7, 6, 5, 4, 3]);
    rig.advance(100 * 60_000);
    complete_many(&rig, 1).await;
    let now = series(&rig, JobState::Completed, Page::first(9)).await;
    assert_eq!((now.total, now.length), (30, u64::from(POINTS)));
    assert_eq!(now.points[..4], [0, 0, 0, 0]);
}

pub async fn completed_and_failed_are_counted_apart(rig: Rig) {
    settle(&rig);
    complete_many(&rig, 2).await;
    rig.add_finished("bad", fail("bad")).await;
    rig.add("gone").await;
    let claimed = rig.claim_one().await;
    rig.done(&claimed, complete_keep(Keep::None)).await;
    rig.advance(60_000);
    complete_many(&rig, 1).await;
    rig.add_finished("bad", fail("bad")).await;
    let failed = series(&rig, JobState::Failed, Page::first(9)).await;
    assert_eq!((failed.total, failed.points), (2, vec![1]));
    assert_eq!(points(&rig).await, [3], "one that does not stay counts, too");
}

pub async fn a_series_is_paged(rig: Rig) {
    settle(&rig);
    for ended in 1..=4 {
        complete_many(&rig, ended).await;
        rig.advance(60_000);
    }
    complete_many(&rig, 1).await;
    let page = |offset, limit| series(&rig, JobState::Completed, Page { offset, limit });
    assert_eq!(page(1, 2).await.points, [3, 2]);
    let beyond = page(9, 2).await;
    assert_eq!((beyond.points.len(), beyond.length, beyond.total), (0, 4, 11));
    assert!(page(0, 0).await.points.is_empty());
}

pub async fn the_minute_that_goes_on_is_told_apart(rig: Rig) {
    settle(&rig);
    let current = async || series(&rig, JobState::Completed, Page::first(9)).await.current;
    assert_eq!(current().await, 0);
    complete_many(&rig, 3).await;
    assert_eq!(current().await, 3);
    rig.advance(60_000);
    assert_eq!(current().await, 3, "nothing has ended since");
    complete_many(&rig, 2).await;
    assert_eq!(current().await, 2);
    assert_eq!(points(&rig).await, [3]);
}

pub async fn there_is_no_series_of_other_states(rig: Rig) {
    for state in JobState::ALL.into_iter().filter(|state| !state.is_finished()) {
        let refused = rig.store.series(&rig.queue, state, Page::first(9)).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{state}: {refused:?}");
    }
}
