//! The event stream, entry by entry.

use jobcell_tests::{Client, Host, Site, wait};
use serde_json::json;

use super::rig::{Case, ONE_BY_ONE, Scene, UNSERVED, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(
        normal_life,
        Events,
        EVERY,
        "the life of a job is `added`, `waiting`, `active`, `completed`, then `drained`"
    ),
    case!(previous, Events, NODE, "`waiting`, `active`, `completed` and `failed` name the state before"),
    case!(entries, Events, NODE, "entries have the fields that BullMQ writes, in its order"),
    case!(
        one_then_next,
        Events,
        NODE,
        "the end of a job is told before the start of the next in its place",
        ONE_BY_ONE
    ),
    case!(
        drained,
        Events,
        NODE,
        "`drained` comes when nothing waits or runs any more, not before",
        ONE_BY_ONE
    ),
    case!(bounded, Events, NODE, "the stream is kept near the length that the queue's metadata names"),
    case!(
        stalled,
        Events,
        NODE,
        "a job whose host vanished is told as `stalled` and runs on another host",
        UNSERVED
    ),
    case!(
        stalled_too_often,
        Events,
        NODE,
        "a job that stalls too often fails with a reason that begins with BullMQ's own",
        UNSERVED
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn normal_life(scene: &Scene<'_>) {
    let id = scene.add("noop", json!({"i": 1}), json!({}));
    scene.wait_any("drained");
    let seen = scene.seen();
    let names: Vec<_> = seen.iter().map(|event| event["event"].as_str().expect("a name")).collect();
    assert_eq!(names, ["added", "waiting", "active", "completed", "drained"]);
    assert!(seen[..4].iter().all(|event| event["jobId"] == id.as_str()), "{seen:?}");
    assert_eq!(seen[3]["returnvalue"], json!({"ok": true, "i": 1}));
}

fn previous(scene: &Scene<'_>) {
    let (good, _) = scene.outcome("flaky", json!({"until": 2}), json!({"attempts": 2, "backoff": 20}));
    scene.wait_event("completed", &good);
    let prev = |id: &str| -> Vec<_> {
        let seen = scene.seen_of(id).into_iter();
        seen.filter_map(|event| {
            Some((event["event"].as_str()?.to_owned(), event["prev"].as_str()?.to_owned()))
        })
        .collect()
    };
    let expected =
        [("active", "waiting"), ("waiting", "delayed"), ("active", "waiting"), ("completed", "active")];
    assert_eq!(prev(&good), expected.map(|(event, prev)| (event.to_owned(), prev.to_owned())));
    let (bad, _) = scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({}));
    assert_eq!(scene.wait_event("failed", &bad)["prev"], "active");
}

fn entries(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("percent", json!(null), json!({}));
    scene.wait_any("drained");
    let flat: Vec<_> = scene.stream().into_iter().map(|(_, fields)| fields).collect();
    let of = |event: &str| {
        let entry = flat
            .iter()
            .rev()
            .find(|entry| entry[1] == event)
            .unwrap_or_else(|| panic!("no {event} in {flat:?}"));
        entry.iter().map(String::as_str).collect::<Vec<_>>()
    };
    assert_eq!(of("added"), ["event", "added", "jobId", &id, "name", "percent"]);
    assert_eq!(of("waiting"), ["event", "waiting", "jobId", &id]);
    assert_eq!(of("active"), ["event", "active", "jobId", &id, "prev", "waiting"]);
    assert_eq!(of("progress"), ["event", "progress", "jobId", &id, "data", "75"]);
    assert_eq!(
        of("completed"),
        ["event", "completed", "jobId", &id, "returnvalue", "null", "prev", "active"]
    );
    assert_eq!(of("drained"), ["event", "drained"]);
    let (bad, _) = scene.outcome("fail", json!({"kind": "retry", "message": "no \"reason\""}), json!({}));
    scene.wait_event("retries-exhausted", &bad);
    let flat: Vec<_> = scene.stream().into_iter().map(|(_, fields)| fields).collect();
    let failed: Vec<_> = flat.iter().rev().find(|entry| entry[1] == "failed").expect("failed").clone();
    assert_eq!(failed, ["event", "failed", "jobId", &bad, "failedReason", "no \"reason\"", "prev", "active"]);
    let last: Vec<_> =
        flat.iter().rev().find(|entry| entry[1] == "retries-exhausted").expect("exhausted").clone();
    assert_eq!(last, ["event", "retries-exhausted", "jobId", &bad, "attemptsMade", "1"]);
}

fn one_then_next(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let ids: Vec<_> = (0..3).map(|i| scene.add("noop", json!({"i": i}), json!({}))).collect();
    scene.call("resume", json!([]));
    scene.completed(3);
    let seen = scene.seen();
    let ran: Vec<_> = seen
        .iter()
        .filter(|event| event["event"] == "active" || event["event"] == "completed")
        .map(|event| (event["event"].as_str().expect("a name"), event["jobId"].as_str().expect("an id")))
        .collect();
    let expected: Vec<_> =
        ids.iter().flat_map(|id| [("active", id.as_str()), ("completed", id.as_str())]).collect();
    assert_eq!(ran, expected);
}

fn drained(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let ids: Vec<_> = (0..4).map(|i| scene.add("noop", json!({"i": i}), json!({}))).collect();
    scene.call("resume", json!([]));
    scene.wait_any("drained");
    let seen = scene.seen();
    let at = |event: &str, id: Option<&str>| {
        seen.iter().position(|entry| entry["event"] == event && id.is_none_or(|id| entry["jobId"] == id))
    };
    assert!(at("drained", None) > at("completed", ids.last().map(String::as_str)), "{seen:?}");
}

fn bounded(scene: &Scene<'_>) {
    // The producer's own first call writes its default there.
    assert!(scene.outcome("noop", json!({"i": 0}), json!({})).1.is_ok());
    scene.redis.client().run(&["HSET", &scene.key("meta"), "opts.maxLenEvents", "100"]);
    let many: Vec<_> = (0..200).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
    scene.call("addBulk", json!([many]));
    wait::until("all are completed", || (scene.count("completed") == 201).then_some(()));
    // Trimming is approximate: Redis drops whole nodes of about a hundred entries.
    let length = scene.redis.client().run(&["XLEN", &scene.key("events")]).int();
    assert!(length < 400, "{length} entries of 800");
}

/// Soon after its host is gone a job is taken back; a busy machine must not look like one that is gone.
const IMPATIENT: &str = "lock = \"2s\"\nstalled-interval = \"1s\"\n";

fn stalled(scene: &Scene<'_>) {
    let config = scene.own_config(IMPATIENT);
    let first = Host::start(&Site::redis(scene.redis, &config));
    let id = scene.add("sleep", json!({"ms": 1_500}), json!({}));
    scene.wait_event("active", &id);
    first.kill();
    let second = Host::start(&Site::redis(scene.redis, &config));
    scene.wait_event("stalled", &id);
    assert!(scene.finished(&id).is_ok());
    scene.wait_event("completed", &id);
    assert_eq!(scene.life(&id), ["added", "waiting", "active", "waiting", "stalled", "active", "completed"]);
    assert_eq!(scene.seen_of(&id)[3]["prev"], "active");
    assert_eq!(scene.hash(&id)["stc"], "1");
    let job = scene.get(&id);
    assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(2)), "{job}");
    second.stop();
}

fn stalled_too_often(scene: &Scene<'_>) {
    let config = scene.own_config(&format!("{IMPATIENT}max-stalled = 0\n"));
    let first = Host::start(&Site::redis(scene.redis, &config));
    let id = scene.add("sleep", json!({"ms": 20_000}), json!({"attempts": 3}));
    scene.wait_event("active", &id);
    first.kill();
    let second = Host::start(&Site::redis(scene.redis, &config));
    let reason = scene.finished(&id).expect_err("it is given up");
    assert!(
        reason.starts_with("job stalled more than allowable limit: the host that ran it vanished once"),
        "{reason}"
    );
    assert_eq!(scene.get(&id)["attemptsMade"], 1, "it is not tried again");
    second.stop();
}
