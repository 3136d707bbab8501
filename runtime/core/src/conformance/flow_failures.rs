//! What a failure, a retry or a replacement in a tree does to the jobs above it.

use super::flows::{add, claim_named, end, exists, family, named, node, node_with};
use super::rig::{Rig, complete, complete_keep, complete_with, fail, fail_keep, id, job_of, ok};
use crate::job::JobState;
use crate::options::{Deduplication, JobOptions, Keep};
use crate::store::{Children, Parent, Refusal, Removed, Verdict};

pub async fn a_failure_goes_up_the_tree(rig: Rig) {
    let strict = |o: &mut JobOptions| o.fail_parent_on_failure = true;
    let other = rig.other_queue("thumbnails");
    let leaf = node_with(&other, "leaf", strict, vec![]);
    let middle = node_with(&rig, "middle", strict, vec![leaf, node(&other, "sibling", vec![])]);
    let added = add(&rig, node(&rig, "top", vec![middle])).await;
    let (top, middle) = (added.added.id(), added.children[0].added.id());
    let leaf = added.children[0].children[0].added.id();
    end(&other, "leaf", fail("bad")).await;
    assert_eq!(rig.state(middle).await, Some(JobState::Waiting), "at once, though the sibling is pending");
    for (name, child) in [("middle", other.key(leaf)), ("top", rig.key(middle))] {
        let claimed = claim_named(&rig, name).await;
        let reason = job_of(&claimed).deferred_failure.clone().expect("a deferred failure");
        assert_eq!(reason, format!("child {child} failed"));
        rig.done(&claimed, fail(&reason)).await;
    }
    assert_eq!(rig.job(top).await.failed_reason, Some(format!("child {} failed", rig.key(middle))));
    assert_eq!(family(&rig, top).await.failed, [rig.key(middle)]);
    // What is left of the tree can still run, and changes nothing above.
    end(&other, "sibling", complete()).await;
    assert_eq!(rig.state(middle).await, Some(JobState::Failed));
}

pub async fn a_failure_reaches_a_parent_that_is_delayed(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    let child = rig.add_child(&parent, "a", |o| o.fail_parent_on_failure = true).await;
    rig.done(&claimed, Verdict::DelayUntil(rig.now() + 900_000)).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Delayed));
    end(&rig, "a", fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Waiting), "at once");
    assert_eq!(rig.job(&parent).await.delay, 0);
    let claimed = claim_named(&rig, "parent").await;
    assert_eq!(job_of(&claimed).deferred_failure, Some(format!("child {} failed", rig.key(&child))));
}

pub async fn a_failure_reaches_a_parent_that_waits_to_run(rig: Rig) {
    let parent = rig.add_with("parent", |o| o.priority = 3).await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "a", |o| o.fail_parent_on_failure = true).await;
    rig.done(&claimed, Verdict::Release).await;
    end(&rig, "a", fail("bad")).await;
    assert_eq!(rig.state(&parent).await, Some(JobState::Prioritized), "it stays where it is");
    assert!(job_of(&rig.claim_one().await).deferred_failure.is_some());
}

pub async fn a_failure_of_a_finished_parents_child_is_no_news(rig: Rig) {
    let parent = rig.add("parent").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "a", |o| o.fail_parent_on_failure = true).await;
    rig.done(&claimed, fail("of itself")).await;
    end(&rig, "a", fail("bad")).await;
    let job = rig.job(&parent).await;
    assert_eq!((job.failed_reason.as_deref(), job.deferred_failure), (Some("of itself"), None));
}

pub async fn a_parent_that_went_on_can_wait_for_the_others(rig: Rig) {
    let set = |o: &mut JobOptions| o.continue_parent_on_failure = true;
    let children = vec![node_with(&rig, "a", set, vec![]), node_with(&rig, "b", set, vec![])];
    let top = add(&rig, node(&rig, "top", children)).await.added.id().clone();
    end(&rig, "a", fail("bad")).await;
    let claimed = claim_named(&rig, "top").await;
    assert_eq!(rig.finish(&claimed, complete()).await, Err(Refusal::PendingChildren), "b is pending");
    rig.done(&claimed, Verdict::WaitForChildren).await;
    end(&rig, "b", complete_with("2")).await;
    let claimed = claim_named(&rig, "top").await;
    rig.done(&claimed, complete()).await;
    let family = family(&rig, &top).await;
    assert_eq!((family.ignored.len(), family.completed.len(), family.pending.len()), (1, 1, 0));
}

pub async fn a_parent_that_went_on_can_drop_the_others(rig: Rig) {
    let set = |o: &mut JobOptions| o.continue_parent_on_failure = true;
    let children = vec![node_with(&rig, "a", set, vec![]), node_with(&rig, "b", set, vec![])];
    let top = add(&rig, node(&rig, "top", children)).await.added.id().clone();
    end(&rig, "a", fail("bad")).await;
    let claimed = claim_named(&rig, "top").await;
    assert_eq!(ok!(rig.store.remove_unprocessed_children(&rig.queue, &top)), 1);
    rig.done(&claimed, complete()).await;
    assert!(rig.claim(9).await.is_empty());
}

pub async fn a_retried_child_is_waited_for_again(rig: Rig) {
    for (set, kind) in [
        ((|o| o.fail_parent_on_failure = true) as fn(&mut JobOptions), "failed"),
        (|o| o.ignore_dependency_on_failure = true, "ignored"),
    ] {
        let (top, kid) = (format!("top-{kind}"), format!("kid-{kind}"));
        let leaf = node_with(
            &rig,
            &kid,
            |o| {
                o.job_id = Some(kid.clone());
                set(o);
            },
            vec![],
        );
        add(&rig, named(&rig, &top, vec![leaf])).await;
        end(&rig, &kid, fail("bad")).await;
        let parent = claim_named(&rig, &top).await;
        let before = family(&rig, &id(&top)).await;
        assert_eq!(
            (before.failed.len(), before.ignored.len()),
            if kind == "failed" { (1, 0) } else { (0, 1) }
        );
        ok!(rig.store.retry(&rig.queue, &id(&kid), true));
        let again = family(&rig, &id(&top)).await;
        assert_eq!(again, Children { pending: vec![rig.key(&id(&kid))], ..Children::default() });
        rig.done(&parent, Verdict::WaitForChildren).await;
        end(&rig, &kid, complete_with("1")).await;
        let parent = rig.claim_one().await;
        rig.done(&parent, complete()).await;
        assert_eq!(family(&rig, &id(&top)).await.completed, [(rig.key(&id(&kid)), "1".to_owned())]);
    }
}

pub async fn a_completed_child_that_is_retried_is_waited_for_again(rig: Rig) {
    add(&rig, named(&rig, "top", vec![named(&rig, "a", vec![]), named(&rig, "b", vec![])])).await;
    end(&rig, "a", complete_with("1")).await;
    ok!(rig.store.retry(&rig.queue, &id("a"), false));
    assert_eq!(family(&rig, &id("top")).await.pending.len(), 2);
    end(&rig, "b", complete()).await;
    assert_eq!(rig.state(&id("top")).await, Some(JobState::WaitingChildren));
    end(&rig, "a", complete_with("2")).await;
    assert!(family(&rig, &id("top")).await.completed.contains(&(rig.key(&id("a")), "2".to_owned())));
}

pub async fn a_child_that_is_not_kept_still_counts_when_it_fails(rig: Rig) {
    for (name, set, expected) in [
        ("lax", (|_| {}) as fn(&mut JobOptions), (0, 0)),
        ("strict", |o| o.fail_parent_on_failure = true, (1, 0)),
        ("mild", |o| o.ignore_dependency_on_failure = true, (0, 1)),
    ] {
        add(&rig, named(&rig, name, vec![node_with(&rig, "kid", set, vec![])])).await;
        end(&rig, "kid", fail_keep("bad", Keep::None)).await;
        let family = family(&rig, &id(name)).await;
        assert_eq!(
            (family.failed.len(), family.ignored.len(), family.pending.len()),
            (expected.0, expected.1, 0)
        );
        let parent = claim_named(&rig, name).await;
        assert_eq!(job_of(&parent).deferred_failure.is_some(), name == "strict");
        rig.done(&parent, fail("seen")).await;
    }
}

pub async fn a_child_whose_parent_is_gone_ends_like_any(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let children = vec![
        named(&rig, "a", vec![]),
        node_with(
            &rig,
            "b",
            |o| {
                o.fail_parent_on_failure = true;
                o.priority = 1;
            },
            vec![],
        ),
        node_with(
            &rig,
            "c",
            |o| {
                o.continue_parent_on_failure = true;
                o.priority = 2;
            },
            vec![],
        ),
    ];
    add(&rig, named(&other, "top", children)).await;
    assert_eq!(ok!(other.store.remove(&other.queue, &id("top"))), Removed::Yes);
    assert!(exists(&rig, &id("a")).await, "its children stay");
    end(&rig, "a", complete()).await;
    end(&rig, "b", fail("bad")).await;
    end(&rig, "c", fail("bad")).await;
    assert_eq!(family(&other, &id("top")).await, Children::default(), "nothing grows back");
    assert_eq!(other.state(&id("top")).await, None);
    assert!(other.claim(9).await.is_empty());
}

pub async fn children_are_added_below_children_at_run_time(rig: Rig) {
    let other = rig.other_queue("thumbnails");
    let top = rig.add("top").await;
    let claimed = rig.claim_one().await;
    let mut job = Rig::new_job("middle");
    job.parent = Some(rig.parent(&top));
    let middle = other.add_job(job).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let claimed = claim_named(&other, "middle").await;
    let mut job = Rig::new_job("leaf");
    job.parent = Some(other.parent(&middle));
    rig.add_job(job).await;
    other.done(&claimed, Verdict::WaitForChildren).await;
    assert!(other.claim(9).await.is_empty());
    end(&rig, "leaf", complete_keep(Keep::None)).await;
    end(&other, "middle", complete_with("7")).await;
    let claimed = claim_named(&rig, "top").await;
    assert_eq!(family(&rig, &top).await.completed, [(other.key(&middle), "7".to_owned())]);
    rig.done(&claimed, complete()).await;
}

// --- deduplication of children ---

pub async fn a_replaced_child_is_not_waited_for(rig: Rig) {
    let rule = || Deduplication { id: "d".into(), replace: true, ..Deduplication::default() };
    let later = |name: &str| {
        node_with(
            &rig,
            name,
            |o| {
                o.delay = 60_000;
                o.deduplication = Some(rule());
            },
            vec![],
        )
    };
    add(&rig, named(&rig, "top", vec![later("old")])).await;
    rig.add_with("new", |o| {
        o.delay = 60_000;
        o.deduplication = Some(rule());
    })
    .await;
    assert_eq!(rig.state(&id("top")).await, Some(JobState::Waiting));
    end(&rig, "top", complete()).await;

    let mut child = Rig::new_job("newer");
    add(&rig, named(&rig, "next", vec![later("newest")])).await;
    child.options.delay = 60_000;
    child.options.deduplication = Some(rule());
    child.parent = Some(rig.parent(&id("next")));
    let child = rig.add_job(child).await;
    assert_eq!(
        rig.state(&id("next")).await,
        Some(JobState::WaitingChildren),
        "the new one is its child, too"
    );
    assert_eq!(family(&rig, &id("next")).await.pending, [rig.key(&child)]);
}

pub async fn a_kept_child_whose_parent_is_gone_runs_by_itself(rig: Rig) {
    let kept = |name: &str, parent: &Parent| {
        let mut job = Rig::new_job(name);
        let rule = Deduplication { id: "d".into(), keep_last_if_active: true, ..Deduplication::default() };
        job.options.deduplication = Some(rule);
        job.parent = Some(parent.clone());
        job
    };
    let parent = rig.add_with("parent", |o| o.delay = 60_000).await;
    rig.add_job(kept("first", &rig.parent(&parent))).await;
    let first = claim_named(&rig, "first").await;
    ok!(rig.store.add(&rig.queue, vec![kept("second", &rig.parent(&parent))], rig.now()));
    assert_eq!(ok!(rig.store.remove(&rig.queue, &parent)), Removed::Yes);
    rig.done(&first, complete()).await;
    assert_eq!(family(&rig, &parent).await, Children::default());
    end(&rig, "second", complete()).await;
    assert_eq!(family(&rig, &parent).await, Children::default());
}
