//! Workers of other clients beside our host on one queue, and jobs of ours that they run.

use std::collections::BTreeMap;

use jobcell_tests::{Client, wait};
use serde_json::{Value, json};

use super::rig::{Case, Scene, UNSERVED, case, tests_of};

const EVERY: &[Client] = Client::EVERY;

const CASES: &[Case] = &[
    case!(shared, Fleet, EVERY, "its worker and ours share a queue, and each job is completed exactly once"),
    case!(runs_ours, Fleet, EVERY, "its worker runs a job that `jobcell enqueue` added", UNSERVED),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

const JOBS: usize = 120;

/// How workers name their connections after the queue `shared`: in base64, or in the Python client as it is.
const NAMES: [&str; 2] = ["name=bull:c2hhcmVk", "name=bull:shared"];

fn shared(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let many: Vec<_> = (0..JOBS).map(|i| json!({"name": "sleep", "data": {"i": i, "ms": 20}})).collect();
    scene.call("addBulk", json!([many]));
    scene.bull.work(scene.queue, json!({"concurrency": 4}));
    wait::until("both workers are there", || {
        let clients = scene.redis.client().run(&["CLIENT", "LIST"]).text()?;
        let named = |name: &&str| NAMES.iter().any(|ours| name.contains(ours));
        (clients.lines().filter(named).count() >= 2).then_some(())
    });
    scene.call("resume", json!([]));
    // More arrive while both work.
    for i in 0..20 {
        scene.add("sleep", json!({"i": JOBS + i, "ms": 20}), json!({"delay": i * 10}));
    }
    let all = JOBS + 20;
    let done = scene.completed(all);
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for id in done {
        *ends.entry(id).or_default() += 1;
    }
    assert_eq!(ends.len(), all);
    assert!(ends.values().all(|count| *count == 1), "{ends:?}");
    let seen = scene.seen();
    let by_us = |event: &&Value| event["event"] == "completed" && event["returnvalue"]["by"].is_null();
    let ours = seen.iter().filter(by_us).count();
    assert!(ours > 0 && ours < all, "both have a share; ours is {ours} of {all}");
    assert!(seen.iter().all(|event| event["event"] != "stalled" && event["event"] != "failed"), "{seen:?}");
    wait::until("no lock is left", || {
        scene.redis.client().run(&["KEYS", &scene.key("*:lock")]).texts().is_empty().then_some(())
    });
    stop(scene);
}

fn runs_ours(scene: &Scene<'_>) {
    let id = scene.site.enqueue(scene.queue, "noop", &json!({"i": 7}), &["--attempts", "2"]);
    scene.bull.work(scene.queue, json!({"name": "theirs"}));
    let result = scene.finished(&id).expect("a result");
    assert_eq!(result["i"], 7, "{result}");
    let job = scene.site.job(scene.queue, &id);
    assert_eq!((&job["state"], &job["returnvalue"]), (&json!("completed"), &result), "{job}");
    stop(scene);
}

fn stop(scene: &Scene<'_>) {
    scene.bull.call(json!({"on": "worker", "queue": scene.queue, "method": "stop"}));
}
