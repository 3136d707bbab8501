//! The trace context that a producer's telemetry puts on a job.

use jobcell_tests::Client;
use serde_json::json;

use super::rig::{Case, Scene, case, tests_of};

const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(
        carried,
        Telemetry,
        NODE,
        "a producer's trace context is among the headers that the handler is given"
    ),
    case!(
        kept_on_failure,
        Telemetry,
        NODE,
        "a failed attempt leaves the context in the job's `tm` field, as BullMQ's workers do"
    ),
    case!(omitted, Telemetry, NODE, "a job that omits the context gives the handler none"),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six }

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Adds a job from a queue with telemetry, and returns the headers that the handler saw.
fn headers(scene: &Scene<'_>, opts: serde_json::Value) -> serde_json::Value {
    let request = json!({
        "on": "traced", "queue": scene.queue, "traceparent": PARENT, "method": "add", "args": ["job", {}, opts],
    });
    let job = scene.bull.call(request);
    let id = job["id"].as_str().expect("an id");
    scene.finished(id).expect("a result")["headers"].clone()
}

fn carried(scene: &Scene<'_>) {
    let headers = headers(scene, json!({}));
    assert!(
        headers.as_array().is_some_and(|headers| headers.contains(&json!(["traceparent", PARENT]))),
        "{headers}"
    );
}

fn kept_on_failure(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "no"});
    let request = json!({
        "on": "traced", "queue": scene.queue, "traceparent": PARENT, "method": "add", "args": ["fail", data, {}],
    });
    let job = scene.bull.call(request);
    let id = job["id"].as_str().expect("an id");
    assert!(scene.finished(id).is_err());
    let stored: serde_json::Value = serde_json::from_str(&scene.hash(id)["tm"]).expect("JSON");
    assert_eq!(stored["traceparent"], PARENT);
}

fn omitted(scene: &Scene<'_>) {
    let headers = headers(scene, json!({"telemetry": {"omitContext": true}}));
    assert!(!headers.to_string().contains("traceparent"), "{headers}");
}
