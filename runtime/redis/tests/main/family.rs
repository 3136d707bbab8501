//! Parents and children.

use std::time::Duration;

use jobcell_core::store::{NewJob, Parent, Refusal, Removed, Verdict};
use jobcell_core::{Admin, JobId, JobOptions, JobState, Keep, Store};

use crate::server::{Bench, NOW, claim, complete, fail, finish, id, plain, queue};

/// A parent in `bull:q` that waits for its children in `bull:kids`, which are claimed.
struct Flow {
    b: Bench,
    kids: Vec<(JobId, jobcell_core::store::Token)>,
}

fn child(options: JobOptions) -> NewJob {
    NewJob {
        parent: Some(Parent { queue_key: "bull:q".into(), id: id("1") }),
        options,
        ..NewJob::new("kid", "{}")
    }
}

impl Flow {
    async fn with(parent: JobOptions, kids: Vec<JobOptions>) -> Self {
        let b = Bench::new().await;
        b.add(vec![crate::server::job("parent", parent)]).await;
        let (job, token, _) = b.take().await;
        let n = kids.len();
        b.store.add(&queue("kids"), kids.into_iter().map(child).collect(), NOW).await.unwrap();
        assert_eq!(b.finish(&job, &token, Verdict::WaitForChildren).await.finished, [Ok(())]);
        let got = b.store.claim(&queue("kids"), &claim(n, NOW)).await.unwrap();
        let kids = got.jobs.into_iter().map(|j| (j.id, j.token)).collect();
        Self { b, kids }
    }

    async fn end(&self, kid: usize, verdict: Verdict) {
        let (id, token) = &self.kids[kid];
        let reply = self
            .b
            .store
            .finish(&queue("kids"), vec![finish(id, token, verdict)], None, NOW + 9)
            .await
            .unwrap();
        assert_eq!(reply.finished, [Ok(())]);
    }

    async fn parent_state(&self) -> JobState {
        self.b.store.state(&self.b.q, &id("1")).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_parent_runs_again_when_its_last_child_is_done() {
    let mut f = Flow::with(JobOptions::default(), vec![JobOptions::default(); 2]).await;
    assert!(f.b.raw.events("q").await.contains(&"event waiting-children jobId 1 prev active".to_owned()));
    f.b.add(vec![plain("other")]).await;
    f.end(0, complete("10")).await;
    assert_eq!(f.parent_state().await, JobState::WaitingChildren);
    f.end(1, complete("20")).await;
    assert_eq!(f.parent_state().await, JobState::Waiting);
    assert_eq!(f.b.raw.events("q").await.last().unwrap(), "event waiting jobId 1 prev waiting-children");
    let mut values = f.b.store.children_values(&f.b.q, &id("1")).await.unwrap();
    values.sort();
    assert_eq!(
        values,
        [("bull:kids:1".to_owned(), "10".to_owned()), ("bull:kids:2".to_owned(), "20".to_owned())]
    );
    // It is the next to run, before what was added meanwhile.
    let (job, token, parent) = f.b.take().await;
    assert_eq!((job.as_str(), parent.attempts_made, parent.attempts_started), ("1", 0, 2));
    let reply = f.b.finish(&job, &token, Verdict::WaitForChildren).await;
    assert_eq!(reply.finished, [Err(Refusal::NothingToWaitFor)]);
    assert_eq!(f.b.finish(&job, &token, complete("30")).await.finished, [Ok(())]);
}

#[tokio::test]
async fn a_parent_with_a_priority_or_a_delay_goes_where_those_say() {
    let prio = JobOptions { priority: 5, ..JobOptions::default() };
    let mut f = Flow::with(prio, vec![JobOptions::default()]).await;
    f.end(0, complete("1")).await;
    assert_eq!(f.parent_state().await, JobState::Prioritized);
    let _: i64 = f.b.raw.run(&["DEL", "bull:q:prioritized"]).await;

    let mut f = Flow::with(JobOptions::default(), vec![JobOptions::default()]).await;
    let _: i64 = f.b.raw.run(&["HSET", "bull:q:1", "delay", "400"]).await;
    f.end(0, complete("1")).await;
    assert_eq!(f.b.raw.zset("bull:q:delayed").await, [("1".to_owned(), (NOW + 409) as f64 * 4096.0)]);
    assert_eq!(f.b.raw.events("q").await.last().unwrap(), "event delayed jobId 1 delay 1700000000409");
}

#[tokio::test]
async fn a_child_that_fails_without_a_policy_leaves_its_parent_waiting() {
    let f = Flow::with(JobOptions::default(), vec![JobOptions::default()]).await;
    f.end(0, fail("boom")).await;
    assert_eq!(f.parent_state().await, JobState::WaitingChildren);
    // Until it is tried again with success.
    f.b.store.retry(&queue("kids"), &id("1"), true).await.unwrap();
    let got = f.b.store.claim(&queue("kids"), &claim(1, NOW)).await.unwrap();
    let finishes = vec![finish(&got.jobs[0].id, &got.jobs[0].token, complete("1"))];
    f.b.store.finish(&queue("kids"), finishes, None, NOW).await.unwrap();
    assert_eq!(f.parent_state().await, JobState::Waiting);
}

#[tokio::test]
async fn a_child_may_fail_its_parent() {
    let policy = JobOptions { fail_parent_on_failure: true, ..JobOptions::default() };
    let mut f = Flow::with(JobOptions::default(), vec![policy, JobOptions::default()]).await;
    f.end(0, fail("boom")).await;
    assert_eq!(f.parent_state().await, JobState::Waiting);
    let (job, token, parent) = f.b.take().await;
    assert_eq!(parent.deferred_failure.as_deref(), Some("child bull:kids:1 failed"));
    assert_eq!(f.b.raw.zset("bull:q:1:unsuccessful").await, [("bull:kids:1".to_owned(), (NOW + 9) as f64)]);
    let reply = f.b.finish(&job, &token, complete("1")).await;
    assert_eq!(reply.finished, [Err(Refusal::PendingChildren)]);
    f.end(1, complete("1")).await;
    let reply = f.b.finish(&job, &token, complete("1")).await;
    assert_eq!(reply.finished, [Err(Refusal::FailedChildren)]);
    assert_eq!(f.b.raw.list("bull:q:active").await, ["1"]);
    assert_eq!(f.b.finish(&job, &token, fail("child failed")).await.finished, [Ok(())]);
}

#[tokio::test]
async fn a_child_may_let_its_parent_go_on_at_once_or_without_it() {
    let cases = [
        (JobOptions { continue_parent_on_failure: true, ..JobOptions::default() }, JobState::Waiting, 1),
        (
            JobOptions { ignore_dependency_on_failure: true, ..JobOptions::default() },
            JobState::WaitingChildren,
            1,
        ),
        (
            JobOptions { remove_dependency_on_failure: true, ..JobOptions::default() },
            JobState::WaitingChildren,
            0,
        ),
    ];
    for (policy, state, told) in cases {
        let f = Flow::with(JobOptions::default(), vec![policy.clone(), JobOptions::default()]).await;
        f.end(0, fail("boom")).await;
        assert_eq!(f.parent_state().await, state, "{policy:?}");
        let failures = f.b.store.children_failures(&f.b.q, &id("1")).await.unwrap();
        assert_eq!(failures.len(), told, "{policy:?}");
        assert!(failures.iter().all(|(key, why)| key == "bull:kids:1" && why == "boom"));
        f.end(1, complete("1")).await;
        assert_eq!(f.parent_state().await, JobState::Waiting, "{policy:?}");
    }
}

#[tokio::test]
async fn an_old_producers_policy_stands_in_the_options_only() {
    let policy = JobOptions { fail_parent_on_failure: true, ..JobOptions::default() };
    let mut f = Flow::with(JobOptions::default(), vec![policy]).await;
    let _: i64 = f.b.raw.run(&["HSET", "bull:kids:1", "parent", r#"{"id":"1","queueKey":"bull:q"}"#]).await;
    f.end(0, fail("boom")).await;
    assert_eq!(f.b.take().await.2.deferred_failure.as_deref(), Some("child bull:kids:1 failed"));
}

#[tokio::test]
async fn a_child_that_leaves_no_trace_still_releases_its_parent() {
    let f = Flow::with(JobOptions::default(), vec![JobOptions::default(); 2]).await;
    f.end(0, Verdict::Complete { result: "1".into(), keep: Keep::None }).await;
    let gone = Verdict::Fail { reason: "r".into(), stacktrace: vec![], keep: Keep::None, attempts_max: 1 };
    f.end(1, gone).await;
    assert_eq!(f.parent_state().await, JobState::Waiting);
}

#[tokio::test]
async fn removing_a_tree_leaves_no_key_of_it() {
    let mut f = Flow::with(JobOptions::default(), vec![JobOptions::default(); 2]).await;
    assert_eq!(f.b.store.remove_tree(&f.b.q, &id("1")).await.unwrap(), Removed::Running);
    f.end(0, complete("1")).await;
    let retry =
        Verdict::Retry { reason: "r".into(), stacktrace: vec![], delay: Duration::from_secs(9), lifo: false };
    f.end(1, retry).await;
    assert_eq!(f.b.store.remove_tree(&f.b.q, &id("1")).await.unwrap(), Removed::Yes);
    let left: Vec<String> = f.b.raw.keys().await;
    for gone in [
        "bull:q:1",
        "bull:kids:1",
        "bull:kids:2",
        "bull:kids:delayed",
        "bull:q:waiting-children",
        "bull:q:wait",
    ] {
        assert!(
            !left.iter().any(|key| key == gone || key.starts_with(&format!("{gone}:"))),
            "{gone} in {left:?}"
        );
    }
    assert!(f.b.raw.events("q").await.contains(&"event removed jobId 1 prev wait".to_owned()));
}

#[tokio::test]
async fn removing_the_last_child_releases_the_parent() {
    let f = Flow::with(JobOptions::default(), vec![JobOptions::default()]).await;
    f.end(0, Verdict::Release).await;
    assert_eq!(f.b.store.remove(&queue("kids"), &id("1")).await.unwrap(), Removed::Yes);
    assert_eq!(f.parent_state().await, JobState::Waiting);
}

#[tokio::test]
async fn a_finished_job_added_again_with_a_parent_counts_as_done() {
    let b = Bench::new().await;
    b.add(vec![plain("parent")]).await;
    let kids = queue("kids");
    let options = JobOptions { job_id: Some("k".into()), ..JobOptions::default() };
    b.store.add(&kids, vec![crate::server::job("kid", options.clone())], NOW).await.unwrap();
    let got = b.store.claim(&kids, &claim(1, NOW)).await.unwrap();
    b.store
        .finish(&kids, vec![finish(&got.jobs[0].id, &got.jobs[0].token, complete("42"))], None, NOW)
        .await
        .unwrap();
    b.store.add(&kids, vec![child(options)], NOW).await.unwrap();
    let values = b.store.children_values(&b.q, &id("1")).await.unwrap();
    assert_eq!(values, [("bull:kids:k".to_owned(), "42".to_owned())]);
    let (job, token, _) = b.take().await;
    assert_eq!(b.finish(&job, &token, complete("1")).await.finished, [Ok(())]);
}
