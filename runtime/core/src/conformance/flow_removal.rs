//! Trees taken apart: removed whole or in part, left by their children, and looked at.

use super::flows::{add, claim_named, end, exists, family, named, node_with};
use super::rig::{Rig, complete, complete_with, fail, id, ok};
use crate::job::JobState;
use crate::options::JobOptions;
use crate::store::{Children, Page, Removed, StoreError};

/// `top` over `middle` (with `leaf` below it, in the other queue), `done`, `ignored`, and `held`, which has not failed
/// its parent.
async fn grown(rig: &Rig, other: &Rig) {
    let set = |name: &str, ignore: bool| {
        node_with(
            rig,
            name,
            |o| {
                o.job_id = Some(name.into());
                o.ignore_dependency_on_failure = ignore;
            },
            vec![],
        )
    };
    let middle = named(rig, "middle", vec![named(other, "leaf", vec![])]);
    let children = vec![set("done", false), set("ignored", true), set("held", false), middle];
    add(rig, named(rig, "top", children)).await;
    end(rig, "done", complete_with("1")).await;
    end(rig, "ignored", fail("bad")).await;
    end(rig, "held", fail("worse")).await;
}

pub async fn a_tree_is_removed_whole(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    grown(&rig, &other).await;
    assert_eq!(ok!(rig.store.remove_tree(&rig.queue, &id("top"))), Removed::Yes);
    for state in JobState::ALL {
        assert_eq!((rig.count(state).await, other.count(state).await), (0, 0), "{state}");
    }
    for gone in ["top", "middle", "done", "ignored", "held"] {
        assert!(!exists(&rig, &id(gone)).await, "{gone}");
        assert_eq!(family(&rig, &id(gone)).await, Children::default());
    }
    assert!(!exists(&other, &id("leaf")).await);
    assert_eq!(ok!(rig.store.remove_tree(&rig.queue, &id("top"))), Removed::NotFound);
    add(&rig, named(&rig, "top", vec![named(&rig, "done", vec![])])).await;
    assert_eq!(rig.claim_names(9).await, ["done"], "every id is free");
}

pub async fn a_tree_with_a_running_job_is_not_removed(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    grown(&rig, &other).await;
    let leaf = claim_named(&other, "leaf").await;
    let mark = rig.mark().await;
    assert_eq!(ok!(rig.store.remove_tree(&rig.queue, &id("top"))), Removed::Running);
    for still in ["top", "middle", "done", "ignored", "held"] {
        assert!(exists(&rig, &id(still)).await, "{still}");
    }
    assert!(rig.told(&mark).await.is_empty());
    other.done(&leaf, complete()).await;
    assert_eq!(ok!(rig.store.remove_tree(&rig.queue, &id("top"))), Removed::Yes);
}

pub async fn removing_a_part_releases_what_is_above(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let middle = named(&rig, "middle", vec![named(&other, "leaf", vec![])]);
    add(&rig, named(&rig, "top", vec![middle])).await;
    let mark = rig.mark().await;
    assert_eq!(ok!(rig.store.remove_tree(&rig.queue, &id("middle"))), Removed::Yes);
    assert!(!exists(&other, &id("leaf")).await);
    assert_eq!(rig.state(&id("top")).await, Some(JobState::Waiting));
    let told = rig.told(&mark).await;
    assert!(told.contains(&"waiting top prev=waiting-children".to_owned()), "{told:?}");
    assert!(told.iter().any(|event| event.starts_with("removed middle")), "{told:?}");
    assert!(other.since("0").await.iter().any(|event| event.event == "removed"));
}

pub async fn removing_a_job_alone_leaves_its_children(rig: Rig) {
    add(&rig, named(&rig, "top", vec![named(&rig, "a", vec![])])).await;
    let a = claim_named(&rig, "a").await;
    assert_eq!(ok!(rig.store.remove(&rig.queue, &id("top"))), Removed::Yes, "only itself must not run");
    rig.done(&a, complete()).await;
    assert_eq!(rig.state(&id("a")).await, Some(JobState::Completed));
}

pub async fn unprocessed_children_are_removed(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    grown(&rig, &other).await;
    add(&rig, named(&rig, "top", vec![named(&rig, "running", vec![])])).await;
    let running = claim_named(&rig, "running").await;
    assert_eq!(ok!(rig.store.remove_unprocessed_children(&rig.queue, &id("top"))), 2, "middle and leaf");
    assert!(!exists(&rig, &id("middle")).await && !exists(&other, &id("leaf")).await);
    for still in ["done", "ignored", "held", "running"] {
        assert!(exists(&rig, &id(still)).await, "{still}");
    }
    assert_eq!(ok!(rig.store.remove_unprocessed_children(&rig.queue, &id("top"))), 0);
    rig.done(&running, complete()).await;
    let pending = family(&rig, &id("top")).await.pending;
    assert_eq!(pending, [rig.key(&id("held"))], "what failed holds it still");
    let missing = rig.store.remove_unprocessed_children(&rig.queue, &id("nobody")).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
}

pub async fn removing_all_unprocessed_children_releases_their_parent(rig: Rig) {
    add(&rig, named(&rig, "top", vec![named(&rig, "a", vec![]), named(&rig, "b", vec![])])).await;
    assert_eq!(ok!(rig.store.remove_unprocessed_children(&rig.queue, &id("top"))), 2);
    assert_eq!(rig.claim_names(9).await, ["top"]);
}

pub async fn a_child_leaves_its_parent(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    add(&rig, named(&rig, "top", vec![named(&other, "a", vec![]), named(&other, "b", vec![])])).await;
    assert!(ok!(other.store.leave_parent(&other.queue, &id("a"))));
    assert_eq!(other.job(&id("a")).await.parent_key, None);
    assert_eq!(rig.state(&id("top")).await, Some(JobState::WaitingChildren), "b is pending");
    assert!(!ok!(other.store.leave_parent(&other.queue, &id("a"))), "it has none any more");
    assert!(ok!(other.store.leave_parent(&other.queue, &id("b"))));
    assert_eq!(rig.state(&id("top")).await, Some(JobState::Waiting));
    end(&rig, "top", complete()).await;
    end(&other, "a", complete()).await;
    assert_eq!(family(&rig, &id("top")).await, Children::default());
    let missing = rig.store.leave_parent(&rig.queue, &id("nobody")).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
}

pub async fn a_done_child_does_not_leave_its_parent(rig: Rig) {
    add(&rig, named(&rig, "top", vec![named(&rig, "a", vec![])])).await;
    end(&rig, "a", complete_with("1")).await;
    assert!(!ok!(rig.store.leave_parent(&rig.queue, &id("a"))));
    assert_eq!(family(&rig, &id("top")).await.completed.len(), 1);
}

pub async fn children_are_listed_by_what_became_of_them(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    grown(&rig, &other).await;
    let strict = |o: &mut JobOptions| {
        o.job_id = Some("strict".into());
        o.fail_parent_on_failure = true;
    };
    add(&rig, named(&rig, "top", vec![node_with(&rig, "strict", strict, vec![])])).await;
    end(&rig, "strict", fail("fatal")).await;
    let key = |name: &str| rig.key(&id(name));
    let expected = Children {
        pending: vec![key("held"), key("middle")],
        completed: vec![(key("done"), "1".into())],
        ignored: vec![(key("ignored"), "bad".into())],
        failed: vec![key("strict")],
    };
    assert_eq!(family(&rig, &id("top")).await, expected);
    assert_eq!(ok!(rig.store.children(&rig.queue, &id("top"), 1)).pending.len(), 1);
    assert_eq!(ok!(rig.store.children(&rig.queue, &id("nobody"), 9)), Children::default());
    let waiting = ok!(rig.store.list(&rig.queue, JobState::WaitingChildren, Page::first(9)));
    assert_eq!(waiting.len(), 1, "middle; top was released to fail");
}
