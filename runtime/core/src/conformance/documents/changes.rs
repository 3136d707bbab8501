//! Waiting for another revision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::documents::Log;

pub async fn a_folder_that_nobody_wrote_has_revision_nought(all: All) {
    for folder in Folder::ALL {
        assert_eq!(revision(&all, folder).await, 0);
        let begun = Instant::now();
        assert_eq!(all.changed(folder, Some(0), MOMENT).await.unwrap(), 0);
        assert!(begun.elapsed() >= MOMENT, "nothing changed");
        assert_eq!(all.changed(folder, Some(0), Duration::ZERO).await.unwrap(), 0);
    }
}

/// Waits for a change of the folder, which `change` makes once the wait has begun.
async fn woken(all: &All, folder: Folder, change: impl Future<Output = u64>) {
    let seen = revision(all, folder).await;
    let waiting = {
        let all = Arc::clone(all);
        tokio::spawn(async move { all.changed(folder, Some(seen), 2 * PATIENCE).await.unwrap() })
    };
    // Long enough for the wait to begin, as a rule; that nothing depends on it is another case.
    tokio::time::sleep(MOMENT).await;
    assert!(!waiting.is_finished(), "{folder:?}: nothing has changed");
    let made = change.await;
    let told = tokio::time::timeout(PATIENCE, waiting).await.expect("nobody was woken").unwrap();
    assert_eq!(told, made);
}

pub async fn a_change_wakes_who_waits(all: All) {
    for folder in Folder::ALL {
        woken(&all, folder, put(&all, folder, "a", "1")).await;
        woken(&all, folder, put(&all, folder, "a", "1")).await;
        let soon = Some(Duration::from_secs(1));
        let expiring =
            async { written(all.put(folder, "b", text("1"), Expect::Absent, soon).await.unwrap()) };
        woken(&all, folder, expiring).await;
    }
}

pub async fn a_removal_wakes_who_waits(all: All) {
    for folder in Folder::ALL {
        put(&all, folder, "a", "1").await;
        woken(&all, folder, remove(&all, folder, "a")).await;
    }
}

pub async fn a_change_of_another_folder_wakes_nobody(all: All) {
    for folder in Folder::ALL {
        let seen = put(&all, folder, "a", "1").await;
        let begun = Instant::now();
        let waiting = all.changed(folder, Some(seen), 3 * MOMENT);
        let others = async {
            for other in Folder::ALL.into_iter().filter(|other| *other != folder) {
                put(&all, other, "a", "1").await;
            }
            // Neither does what is no change.
            put_over(&all, "a", "x", Expect::Absent).await;
            remove(&all, folder, "none").await;
            all.keep_blob("d", text("x")).await.unwrap();
            all.append(&Log::Audit, text("x"), 9).await.unwrap();
        };
        let (told, ()) = tokio::join!(waiting, others);
        assert_eq!(told.unwrap(), seen, "{folder:?}");
        assert!(begun.elapsed() >= 3 * MOMENT, "{folder:?} woke after {:?}", begun.elapsed());
    }
}

pub async fn what_was_not_seen_yet_is_told_at_once(all: All) {
    for folder in Folder::ALL {
        let first = put(&all, folder, "a", "1").await;
        let last = put(&all, folder, "a", "2").await;
        // Also one that there never was: an older state of the store was restored.
        for seen in [0, first, last + 1, last + 1_000_000] {
            let begun = Instant::now();
            assert_eq!(all.changed(folder, Some(seen), 2 * PATIENCE).await.unwrap(), last, "{seen}");
            assert!(begun.elapsed() < PATIENCE);
        }
    }
}

pub async fn no_change_is_missed(all: All) {
    const CHANGES: usize = 150;
    for folder in Folder::ALL {
        let start = revision(&all, folder).await;
        let writes = async {
            let mut last = 0;
            for n in 0..CHANGES {
                last = put(&all, folder, "a", &n.to_string()).await;
            }
            last
        };
        let watch = async {
            let (mut seen, mut content) = (start, Bytes::new());
            // Whatever it was doing when the last change was made, it hears of that.
            while content != (CHANGES - 1).to_string() {
                let now = all.changed(folder, Some(seen), 2 * PATIENCE).await.unwrap();
                assert!(now > seen, "{now} after {seen}");
                let document = get(&all, folder, "a").await.unwrap();
                assert!(document.revision >= now, "what changed can be read");
                (seen, content) = (now, document.content);
            }
            seen
        };
        let both = async { tokio::join!(writes, watch) };
        let (last, seen) = tokio::time::timeout(PATIENCE, both).await.expect("a change was missed");
        assert!(seen <= last);
        assert_eq!(all.changed(folder, Some(seen), MOMENT).await.unwrap(), last);
    }
}

pub async fn many_wait_at_once(all: All) {
    let seen = put(&all, FOLDER, "a", "1").await;
    let mut waiting = JoinSet::new();
    for _ in 0..24 {
        let all = Arc::clone(&all);
        waiting.spawn(async move { all.changed(FOLDER, Some(seen), 2 * PATIENCE).await.unwrap() });
    }
    tokio::time::sleep(MOMENT).await;
    let made = put(&all, FOLDER, "a", "2").await;
    let told = tokio::time::timeout(PATIENCE, waiting.join_all()).await.expect("not all were woken");
    assert_eq!(told, vec![made; 24]);
}

pub async fn a_wait_can_be_dropped(all: All) {
    let mut seen = put(&all, FOLDER, "a", "1").await;
    for _ in 0..20 {
        let dropped = all.changed(FOLDER, Some(seen), PATIENCE);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), dropped).await.is_err(),
            "nothing has changed"
        );
        let waiting = all.changed(FOLDER, Some(seen), 2 * PATIENCE);
        let (told, made) = tokio::join!(waiting, put(&all, FOLDER, "a", "2"));
        assert_eq!(told.unwrap(), made);
        seen = made;
    }
}
