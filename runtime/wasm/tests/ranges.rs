//! Buckets over keys that other programs use too: who may open one, and what for.

use jobcell_core::Outcome;
use jobcell_core::keyvalue::Bucket;
use jobcell_wasm::{HandlerRunner, Limits, RangeBucket, RangeJobs};
use serde_json::{Value, json};

use crate::capabilities::Host;
use crate::support::{ENGINE, MemoryValues, admitted, all_grants, attempt, job, run, spec};

/// A host whose bucket `media` is a range; the second is where its values are.
fn host(writes: bool, jobs: RangeJobs) -> (Host, std::sync::Arc<MemoryValues>) {
    let (mut host, keys) = (Host::new(), std::sync::Arc::<MemoryValues>::default());
    let range = RangeBucket { store: Some(keys.clone()), writes, jobs };
    host.services.ranges = [("media".to_owned(), range)].into();
    (host, keys)
}

async fn steps(host: &Host, steps: Value) -> Outcome {
    host.run("kv", json!({"bucket": "media", "steps": steps})).await
}

/// What a job of this tenant answered, and what its log has.
async fn logged(host: &Host, tenant: Option<&str>, steps: &Value) -> (Outcome, Vec<String>) {
    let spec = spec(Limits::default(), all_grants());
    let runner = HandlerRunner::new(&ENGINE, &admitted("capable"), spec, host.services.clone()).unwrap();
    let mut job = job("kv", json!({"bucket": "media", "steps": steps}).to_string());
    job.options.tenant = tenant.map(str::to_owned);
    let attempt = attempt(job);
    let outcome = run(&runner, &attempt).await.outcome;
    (outcome, attempt.io.take().logs)
}

fn answers(outcome: &Outcome) -> Vec<Value> {
    serde_json::from_str(crate::support::text(outcome)).unwrap()
}

#[tokio::test]
async fn its_values_are_where_the_range_is_and_not_among_the_buckets() {
    let (host, keys) = host(true, RangeJobs::OfAll);
    let done = steps(
        &host,
        json!([
            {"do": "set", "key": "user:7", "value": "v"},
            {"do": "increment", "key": "n", "by": 2},
            {"do": "swap", "key": "user:7", "value": "w"},
            {"do": "get", "key": "user:7"},
        ]),
    )
    .await;
    assert_eq!(answers(&done), [json!(null), json!(2), json!("done"), json!("w")]);
    assert_eq!((keys.0.lock().unwrap().len(), host.values.0.lock().unwrap().len()), (2, 0));
}

#[tokio::test]
async fn what_changes_a_bucket_that_may_only_be_read_is_refused_and_the_log_says_what_to_write() {
    let (host, keys) = host(false, RangeJobs::OfAll);
    let held = (Bucket::new(None, "media").as_str().to_owned(), "k".to_owned());
    keys.0.lock().unwrap().insert(held, "v".into());
    let tries = json!([
        {"do": "get", "key": "k"},
        {"do": "exists", "key": "k"},
        {"do": "set", "key": "k", "value": "w"},
        {"do": "delete", "key": "k"},
        {"do": "increment", "key": "n", "by": 1},
        {"do": "swap", "key": "k", "value": "w"},
        {"do": "all-keys"},
    ]);
    let (outcome, logs) = logged(&host, None, &tries).await;
    let answers = answers(&outcome);
    assert_eq!((&answers[0], &answers[1], &answers[6]), (&json!("v"), &json!(true), &json!(["k"])));
    for refused in &answers[2..6] {
        assert!(refused["error"].as_str().unwrap().starts_with("denied: "), "{answers:?}");
    }
    assert!(logs.len() == 4 && logs[0].contains("access = \"read-write\" under [buckets.media]"), "{logs:?}");
    assert_eq!(host.denied.0.lock().unwrap().as_slice(), ["kv"; 4]);
    assert_eq!(keys.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn whose_jobs_may_open_it_is_the_operators_word() {
    let look = json!([{"do": "get", "key": "k"}]);
    for (jobs, nobody, tenant, line) in [
        (RangeJobs::OfAll, true, true, ""),
        (RangeJobs::OfNobody, true, false, "shared = true"),
        (RangeJobs::OfTenants, false, true, "give the job a tenant"),
    ] {
        let (host, _) = host(true, jobs);
        for (of, opens) in [(None, nobody), (Some(""), nobody), (Some("acme"), tenant)] {
            let (outcome, logs) = logged(&host, of, &look).await;
            match outcome {
                Outcome::Complete(_) => assert!(opens, "{jobs:?} {of:?}"),
                Outcome::Fatal(_) => assert!(!opens && logs.len() == 1 && logs[0].contains(line), "{logs:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn tenants_meet_only_where_all_have_the_same_keys() {
    for (jobs, seen) in [(RangeJobs::OfAll, json!("a")), (RangeJobs::OfTenants, Value::Null)] {
        let (mut host, _) = host(true, jobs);
        host.tenant = Some("a".to_owned());
        steps(&host, json!([{"do": "set", "key": "k", "value": "a"}])).await;
        host.tenant = Some("b".to_owned());
        assert_eq!(answers(&steps(&host, json!([{"do": "get", "key": "k"}])).await), [seen]);
    }
}

#[tokio::test]
async fn the_grant_is_still_needed_and_so_are_the_limits() {
    let (mut host, keys) = host(true, RangeJobs::OfAll);
    let long =
        json!([{"do": "set", "key": "k".repeat(513), "value": "v"}, {"do": "set", "key": "", "value": "v"}]);
    let refused = answers(&steps(&host, long).await);
    assert!(refused.iter().all(|answer| answer["error"].is_string()), "{refused:?}");
    host.grants.kv = vec!["another".to_owned()];
    assert!(matches!(steps(&host, json!([])).await, Outcome::Fatal(why) if why.contains("is not granted")));
    assert!(keys.0.lock().unwrap().is_empty());
}
