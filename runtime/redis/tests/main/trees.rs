//! Trees of jobs as they stand in Redis.

use jobcell_core::store::{Flow, Parent, Removed, Verdict};
use jobcell_core::{Admin, JobOptions, JobState, Store, StoreError};

use crate::server::{Bench, NOW, claim, complete, fail, finish, id, job, plain, queue};

fn node(at: &str, name: &str, set: impl FnOnce(&mut JobOptions), children: Vec<Flow>) -> Flow {
    let mut options = JobOptions { job_id: Some(name.into()), ..JobOptions::default() };
    set(&mut options);
    Flow { queue: queue(at), job: job(name, options), children }
}

#[tokio::test]
async fn a_tree_stands_as_bullmq_writes_it() {
    let mut b = Bench::new().await;
    let strict = node("kids", "strict", |o| o.fail_parent_on_failure = true, vec![]);
    let mild = node("kids", "mild", |o| o.ignore_dependency_on_failure = true, vec![]);
    let mut top = node("q", "top", |o| o.priority = 3, vec![strict, mild]);
    top.job.options.job_id = None;
    let added = b.store.add_flow(top, NOW).await.unwrap();
    let top = added.added.id().as_str();
    let hash = b.raw.hash(&format!("bull:q:{top}")).await;
    assert_eq!((hash["timestamp"].as_str(), hash["priority"].as_str()), (NOW.to_string().as_str(), "3"));
    assert!(!hash["opts"].contains("jobId") && !hash.contains_key("parentKey"), "{hash:?}");
    assert_eq!(b.raw.zset("bull:q:waiting-children").await, [(top.to_owned(), NOW as f64)]);
    let child = b.raw.hash("bull:kids:strict").await;
    assert_eq!(child["parentKey"], format!("bull:q:{top}"));
    assert_eq!(child["parent"], format!(r#"{{"id":"{top}","queueKey":"bull:q","fpof":true}}"#));
    assert!(child["opts"].contains(&format!(r#""parent":{{"id":"{top}","queue":"bull:q"}}"#)), "{child:?}");
    assert!(b.raw.hash("bull:kids:mild").await["parent"].contains(r#""idof":true"#));
    let mut waited: Vec<String> = b.raw.run(&["SMEMBERS", &format!("bull:q:{top}:dependencies")]).await;
    waited.sort();
    assert_eq!(waited, ["bull:kids:mild", "bull:kids:strict"]);
    assert_eq!(b.raw.list("bull:kids:wait").await, ["mild", "strict"]);
    assert_eq!(b.raw.zset("bull:kids:marker").await, [("0".to_owned(), 0.0)]);
    assert!(b.raw.zset("bull:q:marker").await.is_empty(), "nothing is to be claimed there");
    for (key, counted) in [("bull:q:id", "1"), ("bull:kids:id", "2")] {
        assert_eq!(b.raw.run::<String>(&["GET", key]).await, counted, "{key}");
    }
    assert_eq!(b.raw.hash("bull:kids:meta").await["opts.maxLenEvents"], "10000");
}

#[tokio::test]
async fn a_foreign_type_under_a_queues_key_adds_nothing() {
    let mut b = Bench::new().await;
    let _: String = b.raw.run(&["SET", "bull:kids:delayed", "x"]).await;
    let tree = node("q", "top", |_| {}, vec![node("kids", "a", |o| o.delay = 5, vec![])]);
    let before = b.raw.keys().await;
    let told = b.store.add_flow(tree, NOW).await.unwrap_err().to_string();
    assert!(told.contains("\"bull:kids:delayed\" holds a string, not a zset"), "{told}");
    assert_eq!(b.raw.keys().await, before);
    let _: String = b.raw.run(&["SET", "bull:q:taken", "x"]).await;
    let told = b.store.add_flow(node("q", "taken", |_| {}, vec![]), NOW).await.unwrap_err().to_string();
    assert!(told.contains("\"bull:q:taken\" holds a string, not a hash"), "{told}");
}

#[tokio::test]
async fn an_id_that_is_a_key_of_the_queue_is_refused() {
    let b = Bench::new().await;
    for name in ["wait", "failed", "meta", "events", "priority"] {
        let told = b.store.add_flow(node("q", name, |_| {}, vec![]), NOW).await.unwrap_err().to_string();
        assert!(told.contains(name) && told.contains("choose another"), "{told}");
        let options = JobOptions { job_id: Some(name.into()), ..JobOptions::default() };
        assert!(b.store.add(&b.q, vec![job("a", options)], NOW).await.is_err());
    }
}

#[tokio::test]
async fn a_parent_that_a_scheduler_made_is_released_though_its_id_has_colons() {
    let b = Bench::new().await;
    let options = JobOptions { job_id: Some("repeat:daily:1700000000000".into()), ..JobOptions::default() };
    b.add(vec![job("run", options)]).await;
    let (parent, token, _) = b.take().await;
    for set in [(|_| {}) as fn(&mut JobOptions), |o| o.ignore_dependency_on_failure = true] {
        let mut options = JobOptions::default();
        set(&mut options);
        let mut kid = job("kid", options);
        kid.parent = Some(Parent { queue_key: "bull:q".into(), id: parent.clone() });
        b.store.add(&queue("kids"), vec![kid], NOW).await.unwrap();
    }
    assert_eq!(b.finish(&parent, &token, Verdict::WaitForChildren).await.finished, [Ok(())]);
    let got = b.store.claim(&queue("kids"), &claim(2, NOW)).await.unwrap().jobs;
    let ends = [complete("1"), fail("bad")];
    for (kid, end) in got.iter().zip(ends) {
        assert_eq!(b.store.state(&b.q, &parent).await.unwrap(), Some(JobState::WaitingChildren));
        b.store.finish(&queue("kids"), vec![finish(&kid.id, &kid.token, end)], None, NOW).await.unwrap();
    }
    assert_eq!(b.store.state(&b.q, &parent).await.unwrap(), Some(JobState::Waiting));
    let children = b.store.children(&b.q, &parent, 9).await.unwrap();
    assert_eq!((children.completed.len(), children.ignored.len()), (1, 1));
}

#[tokio::test]
async fn a_child_that_a_scheduler_made_goes_with_its_tree() {
    let mut b = Bench::new().await;
    b.add(vec![plain("parent")]).await;
    let options = JobOptions { job_id: Some("repeat:daily:1700000000000".into()), ..JobOptions::default() };
    let mut kid = job("kid", options);
    kid.parent = Some(Parent { queue_key: "bull:q".into(), id: id("1") });
    b.store.add(&queue("kids"), vec![kid], NOW).await.unwrap();
    assert_eq!(b.store.remove_tree(&b.q, &id("1")).await.unwrap(), Removed::Yes);
    assert!(b.raw.list("bull:kids:wait").await.is_empty());
    let left = b.raw.keys().await;
    assert!(!left.iter().any(|key| key.contains("daily")), "{left:?}");
}

#[tokio::test]
async fn a_circle_that_somebody_made_is_removed_and_ends() {
    let mut b = Bench::new().await;
    let tree = node("q", "a", |_| {}, vec![node("q", "b", |_| {}, vec![])]);
    b.store.add_flow(tree, NOW).await.unwrap();
    let _: i64 = b.raw.run(&["SADD", "bull:q:b:dependencies", "bull:q:a"]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:a", "parentKey", "bull:q:b"]).await;
    assert_eq!(
        b.store.remove_unprocessed_children(&b.q, &id("nobody")).await.unwrap_err().to_string(),
        StoreError::NotFound(id("nobody")).to_string()
    );
    let refused = b.store.add_flow(node("q", "b", |_| {}, vec![node("q", "c", |_| {}, vec![])]), NOW).await;
    assert!(refused.is_ok(), "a new job is below nobody: {refused:?}");
    assert_eq!(b.store.remove_tree(&b.q, &id("a")).await.unwrap(), Removed::Yes);
    for gone in ["a", "b", "c"] {
        assert_eq!(b.store.state(&b.q, &id(gone)).await.unwrap(), None, "{gone}");
    }
}

#[tokio::test]
async fn a_failed_attempt_leaves_its_telemetry_context() {
    let mut b = Bench::new().await;
    let context = |tm: &str, omit: bool| JobOptions {
        telemetry: Some(tm.into()),
        omit_context: omit,
        ..JobOptions::default()
    };
    let w3c = "{\"traceparent\":\"x\"}";
    for (last, options, expected) in [
        ("1", context(w3c, false), Some(w3c)),
        ("2", context("y", true), None),
        ("3", JobOptions::default(), None),
    ] {
        b.add(vec![job("a", options)]).await;
        let (job, token, _) = b.take().await;
        let retry = Verdict::Retry {
            reason: "r".into(),
            stacktrace: vec![],
            delay: std::time::Duration::from_secs(9),
            lifo: false,
        };
        assert_eq!(b.finish(&job, &token, retry).await.finished, [Ok(())]);
        let hash = b.raw.hash(&format!("bull:q:{last}")).await;
        assert_eq!(hash.get("tm").map(String::as_str), expected);
        b.store.promote(&b.q, &id(last)).await.unwrap();
        let _: i64 = b.raw.run(&["HDEL", &format!("bull:q:{last}"), "tm"]).await;
        let (job, token, again) = b.take().await;
        assert_eq!(again.options.telemetry.is_some(), last != "3", "a retry keeps it");
        assert_eq!(b.finish(&job, &token, fail("bad")).await.finished, [Ok(())]);
        let hash = b.raw.hash(&format!("bull:q:{last}")).await;
        assert_eq!(hash.get("tm").map(String::as_str), expected);
    }
}

#[tokio::test]
async fn many_unprocessed_children_go_in_parts() {
    let mut b = Bench::new().await;
    let groups = (0..3).map(|_| {
        let leaves = (0..400).map(|_| Flow::new(queue("kids"), plain("leaf"))).collect();
        Flow { queue: queue("kids"), job: plain("group"), children: leaves }
    });
    let tree = Flow { queue: queue("q"), job: plain("top"), children: groups.collect() };
    let top = b.store.add_flow(tree, NOW).await.unwrap().added.id().clone();
    assert_eq!(b.store.remove_unprocessed_children(&b.q, &top).await.unwrap(), 1203);
    assert_eq!(b.store.state(&b.q, &top).await.unwrap(), Some(JobState::Waiting));
    let left: Vec<String> =
        b.raw.keys().await.into_iter().filter(|key| key.starts_with("bull:kids")).collect();
    let own = ["bull:kids:events", "bull:kids:id", "bull:kids:marker", "bull:kids:meta"];
    assert!(left.iter().all(|key| own.contains(&key.as_str())), "{left:?}");
}
