//! Progress, logs and changed payloads while a job runs; which finished jobs stay afterwards.

use jobcell_tests::{Client, wait};
use serde_json::{Value, json};

use super::rig::{Case, ONE_BY_ONE, Scene, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(
        progress_object,
        Progress,
        EVERY,
        "progress that is an object is in the getter and in `progress` events; of reports in quick succession the last"
    ),
    case!(progress_number, Progress, EVERY, "progress that is a number stays one"),
    case!(logs, Progress, EVERY, "what a handler logs or prints is in the job's log, in order"),
    case!(keep_logs, Progress, NODE, "`keepLogs` keeps the newest lines"),
    case!(logs_together, Progress, NODE, "lines that a producer adds and lines of the handler are one log"),
    case!(
        changed_payload,
        Progress,
        NODE,
        "a handler's change of the payload is what the next attempt and getters see"
    ),
    case!(
        updated_by_producer,
        Progress,
        NODE,
        "a payload that the producer changes before the start is the one that runs"
    ),
    case!(removed_on_complete, Keeping, EVERY, "`removeOnComplete: true` leaves nothing of the job"),
    case!(kept_by_count, Keeping, NODE, "a number keeps as many of the newest", ONE_BY_ONE),
    case!(kept_by_age, Keeping, NODE, "an age removes older ones when the next job ends", ONE_BY_ONE),
    case!(removed_on_fail, Keeping, NODE, "`removeOnFail` does the same for failed jobs", ONE_BY_ONE),
    case!(
        queue_default,
        Keeping,
        NODE,
        "what the job does not say, the queue's configuration does; what it says, wins",
        "concurrency = 1\nkeep = { completed = \"1\", failed = \"none\" }"
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn progress_object(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("progress", json!({"steps": 3}), json!({}));
    assert_eq!(scene.get(&id)["progress"], json!({"done": 3, "total": 3}));
    scene.wait_event("completed", &id);
    assert_ends(&progress_of(scene, &id), &[1, 2, 3].map(|done| json!({"done": done, "total": 3})));
}

fn progress_number(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("percent", json!(null), json!({}));
    assert_eq!(scene.get(&id)["progress"].as_f64(), Some(75.0));
    scene.wait_event("completed", &id);
    let numbers: Vec<_> = progress_of(scene, &id).iter().map(|told| json!(told.as_f64())).collect();
    assert_ends(&numbers, &[25.0, 50.0, 75.0].map(|told| json!(told)));
}

fn progress_of(scene: &Scene<'_>, id: &str) -> Vec<Value> {
    let events = scene.seen_of(id).into_iter().filter(|event| event["event"] == "progress");
    events.map(|event| event["data"].clone()).collect()
}

/// What was told is some of what was reported, in order, and the last of it.
fn assert_ends(told: &[Value], reported: &[Value]) {
    let mut rest = reported.iter();
    assert!(told.iter().all(|one| rest.any(|other| other == one)), "{told:?} of {reported:?}");
    assert_eq!(told.last(), reported.last());
}

fn log_of(scene: &Scene<'_>, id: &str) -> (Vec<String>, u64) {
    let answer = scene.call("getJobLogs", json!([id]));
    let lines = answer["logs"].as_array().expect("lines").iter();
    let lines = lines.map(|line| line.as_str().expect("a line").to_owned()).collect();
    (lines, answer["count"].as_u64().expect("a count"))
}

fn logs(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("logs", json!({"lines": 2}), json!({}));
    let (lines, count) = log_of(scene, &id);
    assert_eq!((lines.len(), count), (6, 6), "{lines:?}");
    for kind in ["stdout", "stderr", "log"] {
        let of_kind: Vec<_> = lines.iter().filter(|line| line.contains(&format!("{kind} "))).collect();
        assert!(
            of_kind[0].contains(&format!("{kind} 0")) && of_kind[1].contains(&format!("{kind} 1")),
            "{lines:?}"
        );
    }
}

fn keep_logs(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("logs", json!({"lines": 20}), json!({"keepLogs": 5}));
    let (lines, count) = log_of(scene, &id);
    assert_eq!((lines.len(), count), (5, 5), "{lines:?}");
    assert!(lines[4].contains("log 19"), "{lines:?}");
}

fn logs_together(scene: &Scene<'_>) {
    let id = scene.add("logs", json!({"lines": 1}), json!({"delay": 3_600_000}));
    scene.job(&id, "log", json!(["made by the web server"]));
    scene.job(&id, "promote", json!([]));
    assert!(scene.finished(&id).is_ok());
    scene.job(&id, "log", json!(["seen by the web server"]));
    let (lines, _) = log_of(scene, &id);
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!((lines[0].as_str(), lines[4].as_str()), ("made by the web server", "seen by the web server"));
    scene.job(&id, "clearLogs", json!([]));
    assert_eq!(log_of(scene, &id).1, 0);
}

fn changed_payload(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("update-data", json!({"count": 1}), json!({"attempts": 2}));
    assert_eq!(result, Ok(json!(3)));
    assert_eq!(scene.get(&id)["data"], json!({"count": 3}));
}

fn updated_by_producer(scene: &Scene<'_>) {
    let id = scene.add("echo", json!({"version": 1}), json!({"delay": 3_600_000}));
    scene.job(&id, "updateData", json!([{"version": 2}]));
    scene.job(&id, "promote", json!([]));
    assert_eq!(scene.finished(&id), Ok(json!({"version": 2})));
}

fn removed_on_complete(scene: &Scene<'_>) {
    let id = scene.add("logs", json!({"lines": 1}), json!({"removeOnComplete": true}));
    scene.wait_event("completed", &id);
    assert!(scene.get(&id).is_null());
    let left = scene.redis.client().run(&["KEYS", &scene.key(&format!("{id}*"))]).texts();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(scene.count("completed"), 0);
}

/// Adds jobs that end one after the other, and returns which of them are still there.
fn kept(scene: &Scene<'_>, name: &str, data: &Value, opts: &Value, count: usize) -> Vec<bool> {
    let ids: Vec<_> = (0..count).map(|_| scene.add(name, data.clone(), opts.clone())).collect();
    let last = ids.last().expect("a job");
    let end = if name == "fail" { "failed" } else { "completed" };
    scene.wait_event(end, last);
    ids.iter().map(|id| !scene.get(id).is_null()).collect()
}

fn kept_by_count(scene: &Scene<'_>) {
    let opts = json!({"removeOnComplete": 2});
    assert_eq!(kept(scene, "noop", &json!({"i": 1}), &opts, 5), [false, false, false, true, true]);
    let opts = json!({"removeOnComplete": {"count": 1}});
    assert_eq!(kept(scene, "noop", &json!({"i": 1}), &opts, 2), [false, true]);
    let opts = json!({"removeOnComplete": false});
    assert_eq!(kept(scene, "noop", &json!({"i": 1}), &opts, 3), [true, true, true]);
}

fn kept_by_age(scene: &Scene<'_>) {
    let opts = json!({"removeOnComplete": {"age": 1}});
    let (old, _) = scene.outcome("noop", json!({"i": 1}), opts.clone());
    let finished = scene.get(&old)["finishedOn"].as_u64().expect("a time");
    let (new, _) = scene.outcome("sleep", json!({"ms": 1200}), opts);
    assert!(scene.get(&new)["finishedOn"].as_u64() >= Some(finished + 1000));
    assert!(
        scene.get(&old).is_null() && scene.get(&new).is_object(),
        "the older is gone, the newer is young"
    );
}

fn removed_on_fail(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "no"});
    assert_eq!(kept(scene, "fail", &data, &json!({"removeOnFail": true}), 2), [false, false]);
    assert_eq!(
        kept(scene, "fail", &data, &json!({"removeOnFail": {"count": 2}}), 4),
        [false, false, true, true]
    );
}

fn queue_default(scene: &Scene<'_>) {
    assert_eq!(kept(scene, "noop", &json!({"i": 1}), &json!({}), 3), [false, false, true]);
    let data = json!({"kind": "fatal", "message": "no"});
    assert_eq!(kept(scene, "fail", &data, &json!({}), 2), [false, false]);
    assert_eq!(kept(scene, "fail", &data, &json!({"removeOnFail": false}), 2), [true, true]);
    wait::until("one completed job is left", || (scene.count("completed") == 1).then_some(()));
}
