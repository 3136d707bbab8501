//! Flows and schedulers made by BullMQ's clients in other languages than Node's, run by our host.

use jobcell_tests::Client;
use serde_json::json;

use super::rig::{Case, Scene, case, tests_of};

const OTHERS: &[Client] = &[Client::Python, Client::Rust];

const CASES: &[Case] = &[
    case!(its_flow, Flows, OTHERS, "a tree that the client adds runs from its leaves up"),
    case!(
        its_scheduler,
        Schedulers,
        OTHERS,
        "a scheduler that the client sets runs on with our worker alone, until it is removed"
    ),
];

tests_of! { CASES; python = Python, rust = Rust }

fn its_flow(scene: &Scene<'_>) {
    let child = |i: u32| json!({"name": "noop", "queueName": scene.queue, "data": {"i": i}, "opts": {}});
    let tree = json!({
        "name": "count-children", "queueName": scene.queue, "data": {}, "opts": {}, "children": [child(1), child(2)],
    });
    let added = scene.bull.call(json!({"on": "flow", "tree": tree}));
    let id = added["job"]["id"].as_str().expect("an id");
    let result = scene.finished(id).expect("a result");
    let values = result["values"].as_array().expect("a list");
    let mut values: Vec<_> = values.iter().map(|value| value[1].as_str().expect("a text")).collect();
    values.sort_unstable();
    assert_eq!(values, [r#"{"ok":true,"i":1}"#, r#"{"ok":true,"i":2}"#]);
    scene.wait_event("completed", id);
    assert_eq!(scene.life(id), ["added", "waiting-children", "waiting", "active", "completed"]);
}

fn its_scheduler(scene: &Scene<'_>) {
    scene.call("upsertJobScheduler", json!(["tick", {"every": 300}, "noop", {"i": 1}]));
    let done = scene.completed(4);
    assert!(done.iter().all(|id| id.starts_with("repeat:tick:")), "{done:?}");
    let mut once = done.clone();
    once.dedup();
    assert_eq!(once, done, "each slot once");
    scene.call("removeJobScheduler", json!(["tick"]));
    assert_eq!((scene.count("delayed"), scene.count("waiting")), (0, 0));
}
