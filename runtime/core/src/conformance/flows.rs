//! Trees of jobs: added whole, and run from their leaves up.

use super::rig::{Rig, complete, complete_with, fail, id, job_of, ok};
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{Deduplication, JobOptions};
use crate::store::{Added, AddedFlow, Children, Claimed, Flow, Removed, StoreError, Verdict};

/// A job of a tree in the queue of this rig.
pub(super) fn node(rig: &Rig, name: &str, children: Vec<Flow>) -> Flow {
    node_with(rig, name, |_| {}, children)
}

pub(super) fn node_with(
    rig: &Rig,
    name: &str,
    set: impl FnOnce(&mut JobOptions),
    children: Vec<Flow>,
) -> Flow {
    let mut job = Rig::new_job(name);
    set(&mut job.options);
    Flow { queue: rig.queue.clone(), job, children }
}

/// The same with a chosen id, which is its name.
pub(super) fn named(rig: &Rig, name: &str, children: Vec<Flow>) -> Flow {
    node_with(rig, name, |o| o.job_id = Some(name.into()), children)
}

pub(super) async fn add(rig: &Rig, flow: Flow) -> AddedFlow {
    ok!(rig.store.add_flow(flow, rig.now()))
}

/// Why a tree was refused.
pub(super) async fn refused(rig: &Rig, flow: Flow) -> String {
    match rig.store.add_flow(flow, rig.now()).await {
        Err(StoreError::Rejected(why)) => why,
        other => panic!("the flow was to be refused: {other:?}"),
    }
}

pub(super) async fn claim_named(rig: &Rig, name: &str) -> Claimed {
    let claimed = rig.claim_one().await;
    assert_eq!(job_of(&claimed).name, name);
    claimed
}

/// Runs the next job, which must be this one.
pub(super) async fn end(rig: &Rig, name: &str, verdict: Verdict) -> JobId {
    let claimed = claim_named(rig, name).await;
    rig.done(&claimed, verdict).await;
    claimed.id
}

pub(super) async fn family(rig: &Rig, id: &JobId) -> Children {
    let mut family = ok!(rig.store.children(&rig.queue, id, 100));
    family.pending.sort();
    family.completed.sort();
    family.ignored.sort();
    family.failed.sort();
    family
}

pub(super) async fn exists(rig: &Rig, id: &JobId) -> bool {
    ok!(rig.store.get(&rig.queue, id)).is_some()
}

pub async fn a_tree_runs_from_its_leaves_up_across_queues(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let tree = node(&rig, "top", vec![node(&other, "middle", vec![node(&rig, "leaf", vec![])])]);
    let added = add(&rig, tree).await;
    let top = added.added.id().clone();
    let middle = added.children[0].added.id().clone();
    let leaf = added.children[0].children[0].added.id().clone();
    assert_eq!(rig.state(&top).await, Some(JobState::WaitingChildren));
    assert_eq!(other.state(&middle).await, Some(JobState::WaitingChildren));
    assert_eq!(rig.job(&leaf).await.parent_key, Some(other.key(&middle)));
    assert!(other.claim(9).await.is_empty());

    end(&rig, "leaf", complete_with("1")).await;
    assert_eq!(other.state(&middle).await, Some(JobState::Waiting));
    assert_eq!(rig.state(&top).await, Some(JobState::WaitingChildren));
    end(&other, "middle", complete_with("2")).await;
    assert_eq!(ok!(rig.store.children_values(&rig.queue, &top)), [(other.key(&middle), "2".to_owned())]);
    end(&rig, "top", complete_with("3")).await;
    assert_eq!(rig.job(&top).await.attempts_started, 1);
    assert_eq!(rig.state(&top).await, Some(JobState::Completed));
}

pub async fn a_tree_of_one_is_a_job(rig: Rig) {
    let added = add(&rig, node(&rig, "alone", vec![])).await;
    assert!(matches!(&added, AddedFlow { added: Added::New(_), children, .. } if children.is_empty()));
    end(&rig, "alone", complete()).await;
}

pub async fn chosen_ids_are_kept_and_others_are_all_different(rig: Rig) {
    let children = vec![node(&rig, "a", vec![]), node(&rig, "a", vec![]), named(&rig, "mine", vec![])];
    let added = add(&rig, node(&rig, "top", children)).await;
    let ids: Vec<&JobId> = added.children.iter().map(|child| child.added.id()).collect();
    assert_eq!(ids[2].as_str(), "mine");
    for id in [added.added.id(), ids[0], ids[1]] {
        let parts: Vec<usize> = id.as_str().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id} is no UUID");
    }
    assert!(ids[0] != ids[1] && added.added.id() != ids[0]);
    assert_eq!(rig.job(ids[0]).await.options.job_id, None);
}

pub async fn a_tree_is_told(rig: Rig) {
    let mark = rig.mark().await;
    let children = vec![
        node_with(
            &rig,
            "later",
            |o| {
                o.job_id = Some("b".into());
                o.delay = 5000;
                o.timestamp = Some(1_700_000_000_000);
            },
            vec![],
        ),
        named(&rig, "c", vec![]),
    ];
    add(&rig, named(&rig, "a", children)).await;
    let expected = [
        "added a name=a",
        "waiting-children a",
        "added b name=later",
        "delayed b delay=1700000005000",
        "added c name=c",
        "waiting c",
    ];
    assert_eq!(rig.told(&mark).await, expected);
}

pub async fn leaves_run_level_by_level(rig: Rig) {
    let group = node(&rig, "group", vec![node(&rig, "c", vec![]), node(&rig, "d", vec![])]);
    let children = vec![node(&rig, "a", vec![]), group, node(&rig, "b", vec![])];
    add(&rig, node(&rig, "top", children)).await;
    assert_eq!(rig.claim_names(9).await, ["a", "b", "c", "d"], "as BullMQ adds them");
}

pub async fn options_of_every_node_hold(rig: Rig) {
    let children = vec![
        node(&rig, "plain", vec![]),
        node_with(&rig, "front", |o| o.lifo = true, vec![]),
        node_with(&rig, "low", |o| o.priority = 9, vec![]),
        node_with(&rig, "later", |o| o.delay = 60_000, vec![]),
    ];
    let top = node_with(&rig, "top", |o| o.attempts = 7, children);
    let added = add(&rig, top).await;
    assert_eq!(rig.job(added.added.id()).await.options.attempts, 7);
    assert_eq!(rig.claim_names(9).await, ["front", "plain", "low"]);
    rig.advance(60_001);
    assert_eq!(rig.claim_names(9).await, ["later"]);
}

pub async fn a_released_parent_waits_for_its_delay(rig: Rig) {
    let top = node_with(&rig, "top", |o| o.delay = 60_000, vec![node(&rig, "a", vec![])]);
    let top = add(&rig, top).await.added.id().clone();
    assert_eq!(rig.state(&top).await, Some(JobState::WaitingChildren), "its children come first");
    rig.advance(100_000);
    let a = claim_named(&rig, "a").await;
    rig.done(&a, complete()).await;
    assert_eq!(rig.state(&top).await, Some(JobState::Delayed), "the delay counts from its release");
    assert!(rig.claim(9).await.is_empty());
    rig.advance(60_001);
    let top = claim_named(&rig, "top").await;
    rig.add_child(&top.id, "b", |_| {}).await;
    rig.done(&top, Verdict::WaitForChildren).await;
    end(&rig, "b", complete()).await;
    assert_eq!(rig.state(&top.id).await, Some(JobState::Waiting), "it was delayed once");
}

pub async fn a_released_parent_goes_to_its_priority(rig: Rig) {
    let top = node_with(&rig, "top", |o| o.priority = 5, vec![node(&rig, "a", vec![])]);
    add(&rig, top).await;
    rig.add_with("sooner", |o| o.priority = 1).await;
    end(&rig, "a", complete()).await;
    assert_eq!(rig.claim_names(9).await, ["sooner", "top"]);
}

pub async fn a_topmost_job_may_have_a_parent(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let mut tree = named(&rig, "top", vec![named(&rig, "leaf", vec![])]);
    tree.job.parent = Some(rig.parent(&parent));
    add(&rig, tree).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    end(&rig, "leaf", complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::WaitingChildren));
    end(&rig, "top", complete()).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting));
}

pub async fn an_unknown_parent_refuses_the_whole_tree(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let mark = rig.mark().await;
    let mut tree = named(&rig, "top", vec![named(&other, "leaf", vec![])]);
    tree.job.parent = Some(rig.parent(&id("nobody")));
    assert!(refused(&rig, tree).await.contains("nobody"));
    assert!(!exists(&rig, &id("top")).await && !exists(&other, &id("leaf")).await);
    assert!(rig.told(&mark).await.is_empty());
}

pub async fn a_child_of_another_parent_refuses_the_whole_tree(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    add(&rig, named(&rig, "first", vec![named(&other, "shared", vec![])])).await;
    let marks = (rig.mark().await, other.mark().await);
    let children = vec![named(&rig, "new", vec![]), named(&other, "shared", vec![])];
    let why = refused(&rig, named(&rig, "second", children)).await;
    assert!(why.contains("shared"), "{why}");
    for gone in ["second", "new"] {
        assert!(!exists(&rig, &id(gone)).await, "{gone}");
    }
    assert!(rig.told(&marks.0).await.is_empty() && other.told(&marks.1).await.is_empty());
    assert_eq!(rig.count(JobState::WaitingChildren).await, 1);
    // The parent that it had is gone: it may have another.
    assert_eq!(ok!(rig.store.remove(&rig.queue, &id("first"))), Removed::Yes);
    let again = named(&rig, "second", vec![named(&other, "shared", vec![])]);
    assert_eq!(add(&rig, again).await.children[0].added, Added::Duplicate(id("shared")));
    end(&other, "shared", complete()).await;
    assert_eq!(rig.state(&id("second")).await, Some(JobState::Waiting));
}

pub async fn one_job_in_two_places_refuses_the_whole_tree(rig: Rig) {
    let left = named(&rig, "left", vec![named(&rig, "shared", vec![])]);
    let right = named(&rig, "right", vec![named(&rig, "shared", vec![])]);
    refused(&rig, named(&rig, "top", vec![left, right])).await;
    for gone in ["top", "left", "right", "shared"] {
        assert!(!exists(&rig, &id(gone)).await, "{gone}");
    }
    assert!(rig.claim(9).await.is_empty());
}

pub async fn jobs_that_would_wait_for_each_other_are_refused(rig: Rig) {
    refused(&rig, named(&rig, "a", vec![named(&rig, "a", vec![])])).await;
    refused(&rig, named(&rig, "a", vec![named(&rig, "b", vec![named(&rig, "a", vec![])])])).await;
    assert!(!exists(&rig, &id("a")).await && !exists(&rig, &id("b")).await);
    add(&rig, named(&rig, "a", vec![named(&rig, "b", vec![])])).await;
    refused(&rig, named(&rig, "b", vec![named(&rig, "a", vec![])])).await;
    let mut job = Rig::new_job("a");
    job.options.job_id = Some("a".into());
    job.parent = Some(rig.parent(&id("b")));
    let added = rig.store.add(&rig.queue, vec![job], rig.now()).await;
    assert!(matches!(added, Err(StoreError::Rejected(_))), "{added:?}");
    end(&rig, "b", complete()).await;
    end(&rig, "a", complete()).await;
}

pub async fn a_waiting_job_becomes_a_child(rig: Rig) {
    rig.add_with("kid", |o| o.job_id = Some("kid".into())).await;
    let added = add(&rig, named(&rig, "top", vec![named(&rig, "kid", vec![])])).await;
    assert_eq!(added.children[0].added, Added::Duplicate(id("kid")));
    assert_eq!(rig.job(&id("kid")).await.parent_key, Some(rig.key(&id("top"))));
    assert_eq!(rig.state(&id("top")).await, Some(JobState::WaitingChildren));
    end(&rig, "kid", complete_with("1")).await;
    end(&rig, "top", complete()).await;
}

pub async fn an_adopted_child_has_the_policy_of_its_new_place(rig: Rig) {
    rig.add_with("kid", |o| o.job_id = Some("kid".into())).await;
    let again = |o: &mut JobOptions| {
        o.job_id = Some("kid".into());
        o.ignore_dependency_on_failure = true;
    };
    add(&rig, named(&rig, "top", vec![node_with(&rig, "kid", again, vec![])])).await;
    end(&rig, "kid", fail("bad")).await;
    assert_eq!(family(&rig, &id("top")).await.ignored, [(rig.key(&id("kid")), "bad".to_owned())]);
    end(&rig, "top", complete()).await;
}

pub async fn a_done_job_becomes_a_child_with_its_result(rig: Rig) {
    rig.add_with("kid", |o| o.job_id = Some("kid".into())).await;
    end(&rig, "kid", complete_with("41")).await;
    let children = vec![named(&rig, "kid", vec![]), named(&rig, "other", vec![])];
    add(&rig, named(&rig, "top", children)).await;
    assert_eq!(rig.state(&id("top")).await, Some(JobState::WaitingChildren), "one child is to come");
    assert_eq!(family(&rig, &id("top")).await.completed, [(rig.key(&id("kid")), "41".to_owned())]);
    end(&rig, "other", complete()).await;
    end(&rig, "top", complete()).await;
}

pub async fn a_parent_whose_children_are_all_done_runs_at_once(rig: Rig) {
    rig.add_with("kid", |o| o.job_id = Some("kid".into())).await;
    end(&rig, "kid", complete_with("41")).await;
    add(&rig, named(&rig, "top", vec![named(&rig, "kid", vec![])])).await;
    assert_eq!(rig.state(&id("top")).await, Some(JobState::Waiting));
    end(&rig, "top", complete()).await;
}

pub async fn a_waiting_parent_gets_further_children(rig: Rig) {
    add(&rig, named(&rig, "top", vec![named(&rig, "a", vec![])])).await;
    let again = add(&rig, named(&rig, "top", vec![named(&rig, "b", vec![])])).await;
    assert_eq!(again.added, Added::Duplicate(id("top")));
    end(&rig, "a", complete()).await;
    assert_eq!(rig.state(&id("top")).await, Some(JobState::WaitingChildren));
    end(&rig, "b", complete()).await;
    end(&rig, "top", complete()).await;
    assert_eq!(family(&rig, &id("top")).await.completed.len(), 2);
}

pub async fn a_deduplicated_leaf_is_not_waited_for(rig: Rig) {
    let unique = |name: &str| {
        let rule = Deduplication { id: "d".into(), ..Deduplication::default() };
        node_with(&rig, name, |o| o.deduplication = Some(rule), vec![])
    };
    let owner = rig
        .add_with("owner", |o| o.deduplication = Some(Deduplication { id: "d".into(), ..Default::default() }))
        .await;
    let added = add(&rig, named(&rig, "top", vec![unique("a"), named(&rig, "b", vec![])])).await;
    assert_eq!(added.children[0].added, Added::Deduplicated(owner.clone()));
    assert_eq!(family(&rig, &id("top")).await.pending, [rig.key(&id("b"))]);
    add(&rig, named(&rig, "lonely", vec![unique("c")])).await;
    assert_eq!(rig.state(&id("lonely")).await, Some(JobState::Waiting), "it has nothing to wait for");
}

pub async fn contradictory_policies_are_refused(rig: Rig) {
    let set = |o: &mut JobOptions| {
        o.fail_parent_on_failure = true;
        o.remove_dependency_on_failure = true;
    };
    let why = refused(&rig, node(&rig, "top", vec![node_with(&rig, "a", set, vec![])])).await;
    assert!(why.contains("failParentOnFailure") && why.contains("removeDependencyOnFailure"), "{why}");
    let mut job = Rig::new_job("a");
    set(&mut job.options);
    let added = rig.store.add(&rig.queue, vec![Rig::new_job("before"), job], rig.now()).await;
    assert!(matches!(added, Err(StoreError::Rejected(_))), "{added:?}");
    assert_eq!(rig.claim_names(9).await, ["before"]);
}

pub async fn a_large_tree_comes_whole(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let groups =
        (0..20).map(|_| node(&rig, "group", (0..50).map(|_| node(&other, "leaf", vec![])).collect()));
    let added = add(&rig, node(&rig, "top", groups.collect())).await;
    assert_eq!(added.children.iter().map(|group| group.children.len()).sum::<usize>(), 1000);
    assert_eq!(rig.count(JobState::WaitingChildren).await, 21);
    assert_eq!(other.count(JobState::Waiting).await, 1000);
    for _ in 0..10 {
        let claimed = other.claim(100).await;
        let ends = claimed.iter().map(|leaf| Rig::ending(leaf, complete())).collect();
        assert!(other.finish_all(ends).await.iter().all(Result::is_ok));
    }
    assert_eq!(rig.count(JobState::Waiting).await, 20);
    let groups = rig.claim(50).await;
    let ends = groups.iter().map(|group| Rig::ending(group, complete())).collect();
    assert!(rig.finish_all(ends).await.iter().all(Result::is_ok));
    end(&rig, "top", complete()).await;
}
