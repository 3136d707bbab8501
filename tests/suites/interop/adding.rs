//! Jobs as producers add them: every kind, every order, every payload.

use jobcell_tests::Client;
use serde_json::json;

use super::rig::{Case, ONE_BY_ONE, Scene, between, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(plain, Adding, EVERY, "a job runs once, and its result, attempts and times are stored with it"),
    case!(
        custom_id,
        Adding,
        EVERY,
        "a custom id is kept; adding it again answers the same id and runs nothing"
    ),
    case!(bulk, Adding, EVERY, "every job of `addBulk` runs"),
    case!(oldest_first, Adding, NODE, "jobs start in the order in which they were added", ONE_BY_ONE),
    case!(lifo, Adding, NODE, "a `lifo` job starts before those that wait", ONE_BY_ONE),
    case!(
        priority,
        Adding,
        EVERY,
        "jobs without `priority` start first, then the smaller number, then the older job",
        ONE_BY_ONE
    ),
    case!(delay, Adding, EVERY, "a delayed job starts when its `delay` is over, not before"),
    case!(
        delayed_priority,
        Adding,
        NODE,
        "a delayed job with a priority takes its place among the prioritized when it is due",
        ONE_BY_ONE
    ),
    case!(payloads, Adding, EVERY, "any JSON value reaches the handler as it was sent"),
    case!(large_payload, Adding, NODE, "a large payload arrives whole; `sizeLimit` refuses at the producer"),
    case!(timestamp, Adding, NODE, "a `timestamp` given by the producer is the one that `delay` counts from"),
    case!(unknown_options, Adding, NODE, "options that nobody knows are kept, and change nothing"),
    case!(
        ours,
        Adding,
        EVERY,
        "a job that `jobcell enqueue` adds has the data and options that a getter expects"
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn plain(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("noop", json!({"i": 7, "amount": 1250}), json!({}));
    assert_eq!(result, Ok(json!({"ok": true, "i": 7})));
    let job = scene.get(&id);
    assert_eq!(job["returnvalue"], json!({"ok": true, "i": 7}), "{job}");
    assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(1)), "{job}");
    assert_eq!((&job["name"], &job["data"]["amount"]), (&json!("noop"), &json!(1250)), "{job}");
    between(&job, "timestamp", "processedOn");
    between(&job, "processedOn", "finishedOn");
    assert_eq!(scene.state(&id), "completed");
}

fn custom_id(scene: &Scene<'_>) {
    let opts = json!({"jobId": "käse-1"});
    let (id, result) = scene.outcome("echo", json!({"first": true}), opts.clone());
    assert_eq!((id.as_str(), result), ("käse-1", Ok(json!({"first": true}))));
    assert_eq!(scene.add("echo", json!({"first": false}), opts), "käse-1");
    scene.wait_event("duplicated", &id);
    let job = scene.get(&id);
    assert_eq!((&job["data"], &job["attemptsStarted"]), (&json!({"first": true}), &json!(1)), "{job}");
}

fn bulk(scene: &Scene<'_>) {
    let many: Vec<_> = (0..50).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
    let added = scene.call("addBulk", json!([many]));
    let added = added.as_array().expect("jobs");
    assert_eq!(added.len(), 50);
    for (i, job) in added.iter().enumerate() {
        let id = job["id"].as_str().expect("an id");
        assert_eq!(scene.finished(id), Ok(json!({"ok": true, "i": i})));
    }
}

fn oldest_first(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let ids: Vec<_> = (0..5).map(|i| scene.add("noop", json!({"i": i}), json!({}))).collect();
    scene.call("resume", json!([]));
    assert_eq!(scene.completed(5), ids);
}

fn lifo(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let first = scene.add("noop", json!({"i": 1}), json!({}));
    let older = scene.add("noop", json!({"i": 2}), json!({"lifo": true}));
    let newest = scene.add("noop", json!({"i": 3}), json!({"lifo": true}));
    scene.call("resume", json!([]));
    assert_eq!(scene.completed(3), [newest, older, first]);
}

fn priority(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let low = scene.add("noop", json!({"i": 1}), json!({"priority": 10}));
    let high = scene.add("noop", json!({"i": 2}), json!({"priority": 1}));
    let high_too = scene.add("noop", json!({"i": 3}), json!({"priority": 1}));
    let plain = scene.add("noop", json!({"i": 4}), json!({}));
    assert_eq!(scene.state(&low), "prioritized");
    scene.call("resume", json!([]));
    assert_eq!(scene.completed(4), [plain, high, high_too, low]);
}

fn delay(scene: &Scene<'_>) {
    let id = scene.add("noop", json!({"i": 1}), json!({"delay": 600}));
    assert_eq!(scene.state(&id), "delayed");
    assert_eq!(scene.finished(&id), Ok(json!({"ok": true, "i": 1})));
    let job = scene.get(&id);
    assert!(between(&job, "timestamp", "processedOn") >= 600, "{job}");
    let due = job["timestamp"].as_u64().expect("a time") + 600;
    assert_eq!(scene.due(&id), due, "the event has the due time");
    scene.wait_event("completed", &id);
    assert_eq!(scene.life(&id), ["added", "delayed", "waiting", "active", "completed"]);
}

fn delayed_priority(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 700}), json!({}));
    scene.wait_event("active", &running);
    let low = scene.add("noop", json!({"i": 1}), json!({"priority": 9}));
    let due = scene.add("noop", json!({"i": 2}), json!({"priority": 2, "delay": 100}));
    assert_eq!(scene.completed(3), [running, due, low]);
}

fn payloads(scene: &Scene<'_>) {
    let values = [
        json!({"text": "日本語 \u{1F600} \" \\ \n \u{7f}", "empty": ""}),
        json!([1, 2.5, null, {"deep": [[]]}, true]),
        json!("just text"),
        json!(null),
        json!(false),
        json!(0),
        json!({"big": 9_007_199_254_740_991_i64, "small": 0.1, "negative": -1e-7}),
        json!({}),
    ];
    for data in values {
        assert_eq!(scene.outcome("echo", data.clone(), json!({})).1, Ok(data));
    }
}

fn large_payload(scene: &Scene<'_>) {
    let text = "x".repeat(300_000);
    let (id, result) = scene.outcome("echo", json!({"text": text}), json!({}));
    assert_eq!(result, Ok(json!({"text": text})), "job {id}");
    let args = json!(["echo", {"text": text}, {"sizeLimit": 1000}]);
    let request = json!({"on": "queue", "queue": scene.queue, "method": "add", "args": args});
    let refused = scene.bull.try_call(request).expect_err("the producer refuses");
    assert!(refused.contains("exceeds the limit 1000"), "{refused}");
}

fn timestamp(scene: &Scene<'_>) {
    // Made half a minute ago and delayed by a little more: due soon.
    let made = scene.get(&scene.outcome("noop", json!({"i": 0}), json!({})).0)["timestamp"]
        .as_u64()
        .expect("a time");
    let made = made - 30_000;
    let (id, _) = scene.outcome("noop", json!({"i": 1}), json!({"timestamp": made, "delay": 30_600}));
    let job = scene.get(&id);
    assert_eq!(job["timestamp"], made, "{job}");
    assert!(between(&job, "timestamp", "processedOn") >= 30_600, "{job}");
}

fn unknown_options(scene: &Scene<'_>) {
    let opts = json!({"attempts": 2, "ours": {"note": "kept"}});
    let (id, result) = scene.outcome("flaky", json!({"until": 2}), opts);
    assert_eq!(result, Ok(json!(2)));
    assert_eq!(scene.get(&id)["opts"]["ours"]["note"], "kept");
}

fn ours(scene: &Scene<'_>) {
    let more = ["--attempts", "3", "--backoff", "exponential:250", "--delay", "3600000", "--id", "ours"];
    scene.site.enqueue(scene.queue, "noop", &json!({"i": 1}), &more);
    let job = scene.get("ours");
    assert_eq!((&job["name"], &job["data"]), (&json!("noop"), &json!({"i": 1})), "{job}");
    assert_eq!(job["opts"]["attempts"], 3, "{job}");
    assert_eq!(job["opts"]["backoff"], json!({"type": "exponential", "delay": 250}), "{job}");
    assert_eq!(scene.state("ours"), "delayed");
    scene.job("ours", "promote", json!([]));
    assert_eq!(scene.finished("ours"), Ok(json!({"ok": true, "i": 1})));
    let more = ["--priority", "5", "--delay", "3600000"];
    let prioritized = scene.site.enqueue(scene.queue, "noop", &json!({"i": 2}), &more);
    assert_eq!(scene.get(&prioritized)["priority"], 5);
}
