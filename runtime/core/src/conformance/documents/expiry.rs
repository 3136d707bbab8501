//! Documents that vanish by themselves.

use std::time::Duration;

use super::*;

pub async fn a_document_expires(all: All) {
    for folder in Folder::ALL {
        let soon = Some(Duration::from_millis(150));
        let made = written(all.put(folder, "a", text("1"), Expect::Absent, soon).await.unwrap());
        let stays = put(&all, folder, "b", "1").await;
        assert!(stays > made);
        until_gone(&all, folder, "a").await;
        assert_eq!(names(&all, folder).await, ["b"]);
        assert_eq!(revision(&all, folder).await, stays, "that it vanished is no change");
        // Sweeping it out is none either.
        let next = put(&all, folder, "c", "1").await;
        assert_eq!(names(&all, folder).await, ["b", "c"]);
        assert_eq!(revision(&all, folder).await, next);
    }
}

pub async fn an_expired_document_is_expected_to_be_absent(all: All) {
    for folder in Folder::ALL {
        let soon = Some(Duration::from_millis(30));
        let made = written(all.put(folder, "a", text("1"), Expect::Absent, soon).await.unwrap());
        until_gone(&all, folder, "a").await;
        let over = all.put(folder, "a", text("x"), Expect::Revision(made), None).await.unwrap();
        assert_eq!(over, Put::Conflict(None));
        assert_eq!(all.remove(folder, "a", Expect::Revision(made)).await.unwrap(), Put::Conflict(None));
        assert_eq!(remove(&all, folder, "a").await, made, "there is nothing to remove");
        let again = written(all.put(folder, "a", text("2"), Expect::Absent, None).await.unwrap());
        assert!(again > made);
    }
}

pub async fn writing_again_sets_the_expiry_anew(all: All) {
    for folder in Folder::ALL {
        let soon = Duration::from_millis(60);
        for name in ["stays", "later"] {
            written(all.put(folder, name, text("1"), Expect::Anything, Some(soon)).await.unwrap());
        }
        put(&all, folder, "stays", "2").await;
        let later = Some(Duration::from_secs(3600));
        written(all.put(folder, "later", text("2"), Expect::Anything, later).await.unwrap());
        written(all.put(folder, "goes", text("1"), Expect::Anything, Some(soon)).await.unwrap());
        // It was given as long, and later.
        until_gone(&all, folder, "goes").await;
        // With what sweeps.
        put(&all, folder, "other", "1").await;
        assert_eq!(names(&all, folder).await, ["later", "other", "stays"]);
    }
}
