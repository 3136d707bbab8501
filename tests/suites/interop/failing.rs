//! Failed attempts: what is stored, when the next one comes, when there is none.

use jobcell_tests::Client;
use serde_json::{Value, json};

use super::rig::{Case, Scene, between, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(
        reasons,
        Failing,
        EVERY,
        "`failedReason`, `attemptsMade` and a `stacktrace` entry an attempt are stored"
    ),
    case!(
        panics,
        Failing,
        NODE,
        "a handler that panics fails the attempt with its message and its backtrace"
    ),
    case!(one_attempt, Failing, NODE, "`attempts` of 0, of 1 and none at all mean one attempt"),
    case!(at_once, Failing, NODE, "without a backoff the next attempt comes at once, through `waiting`"),
    case!(fixed, Failing, EVERY, "a fixed backoff waits the same before each attempt"),
    case!(number, Failing, NODE, "a backoff that is a plain number is a fixed one"),
    case!(exponential, Failing, EVERY, "an exponential backoff doubles"),
    case!(jitter, Failing, NODE, "a backoff with jitter stays within its bounds, and varies"),
    case!(unknown_backoff, Failing, NODE, "a backoff of a custom type fails the job for good, and says why"),
    case!(retry_after, Failing, NODE, "a handler's own wait comes before the job's backoff"),
    case!(unrecoverable, Failing, EVERY, "an unrecoverable failure ends the job though attempts are left"),
    case!(exhausted, Failing, NODE, "`retries-exhausted` tells that the last attempt was used"),
    case!(trace_limit, Failing, NODE, "`stackTraceLimit` keeps the newest entries; 0 keeps none"),
    case!(recovers, Failing, EVERY, "a job that succeeds in the end is completed and keeps its traces"),
    case!(
        no_handler,
        Failing,
        NODE,
        "a job whose name no handler takes fails for good, and says which there are"
    ),
    case!(delayed_by_handler, Failing, NODE, "a handler can delay its job without using an attempt"),
    case!(given_back, Failing, NODE, "a handler can give its job back without using an attempt"),
    case!(retried, Failing, EVERY, "`Job.retry` brings a failed job back, and our worker runs it again"),
    case!(retried_completed, Failing, NODE, "`Job.retry` of a completed job runs it again"),
    case!(
        poisoned,
        Failing,
        NODE,
        "a job that breaks in the same way three times in a row fails for good, and `Job.retry` begins anew"
    ),
    case!(
        cancelled,
        Failing,
        NODE,
        "a job that `jobcell job cancel` ends fails for whoever waits for it, waiting or running",
        "concurrency = 1\ncancel-grace = \"0s\""
    ),
    case!(
        cancelled_child,
        Failing,
        NODE,
        "a parent hears of a child that `jobcell job cancel` ends as of any failure"
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn reasons(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("flaky", json!({"until": 9}), json!({"attempts": 3}));
    let reason = "attempt 3 fails, 9 will not";
    assert_eq!(result, Err(reason.to_owned()));
    let job = scene.get(&id);
    assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(3), &json!(3)), "{job}");
    assert_eq!(job["failedReason"], reason, "{job}");
    assert_eq!(scene.state(&id), "failed");
    let traces: Vec<String> = serde_json::from_str(&scene.hash(&id)["stacktrace"]).expect("a list of texts");
    assert_eq!(traces.len(), 3, "{traces:?}");
    assert!(traces[0].contains("attempt 1 fails") && traces[2].contains("attempt 3 fails"), "{traces:?}");
    assert_eq!(scene.wait_event("failed", &id)["failedReason"], reason);
}

fn panics(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("panic", json!({"message": "das Dach brennt \u{1F525}"}), json!({}));
    let reason = result.expect_err("a panic fails");
    assert!(reason.contains("das Dach brennt \u{1F525}"), "{reason}");
    let job = scene.get(&id);
    assert_eq!(job["failedReason"], reason, "{job}");
    assert!(job["stacktrace"][0].as_str().is_some_and(|trace| trace.contains("basic")), "{job}");
}

fn one_attempt(scene: &Scene<'_>) {
    for opts in [json!({"attempts": 0}), json!({"attempts": 1}), json!({})] {
        let (id, result) = scene.outcome("flaky", json!({"until": 2}), opts.clone());
        assert!(result.is_err(), "{opts}");
        assert_eq!(scene.get(&id)["attemptsMade"], 1, "{opts}");
        scene.wait_event("retries-exhausted", &id);
    }
}

fn at_once(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("flaky", json!({"until": 2}), json!({"attempts": 2}));
    assert_eq!(result, Ok(json!(2)));
    scene.wait_event("completed", &id);
    assert_eq!(scene.life(&id), ["added", "waiting", "active", "waiting", "active", "completed"]);
    assert_eq!(scene.seen_of(&id)[3]["prev"], "active");
}

/// Runs a job to its last attempt and returns how long before each retry it waited, as its `delayed` events and its
/// own times say.
fn waits(scene: &Scene<'_>, attempts: u32, backoff: Value) -> (Value, usize) {
    let opts = json!({"attempts": attempts, "backoff": backoff});
    let (id, result) = scene.outcome("flaky", json!({"until": attempts}), opts);
    assert_eq!(result, Ok(json!(attempts)));
    let delayed = scene.seen_of(&id).iter().filter(|event| event["event"] == "delayed").count();
    (scene.get(&id), delayed)
}

fn fixed(scene: &Scene<'_>) {
    let (job, delayed) = waits(scene, 3, json!({"type": "fixed", "delay": 150}));
    assert!(between(&job, "timestamp", "processedOn") >= 300, "twice 150 ms: {job}");
    assert_eq!(delayed, 2);
}

fn number(scene: &Scene<'_>) {
    let (job, delayed) = waits(scene, 2, json!(200));
    assert!(between(&job, "timestamp", "processedOn") >= 200, "{job}");
    assert_eq!(delayed, 1);
}

fn exponential(scene: &Scene<'_>) {
    let (job, delayed) = waits(scene, 4, json!({"type": "exponential", "delay": 80}));
    assert!(between(&job, "timestamp", "processedOn") >= 80 + 160 + 320, "{job}");
    assert_eq!(delayed, 3);
}

fn jitter(scene: &Scene<'_>) {
    let opts = json!({"attempts": 2, "backoff": {"type": "fixed", "delay": 3_600_000, "jitter": 0.5}});
    let mut delays = Vec::new();
    for _ in 0..8 {
        let id = scene.add("flaky", json!({"until": 2}), opts.clone());
        scene.wait_event("delayed", &id);
        let delay = scene.get(&id)["delay"].as_u64().expect("a delay");
        assert!((1_800_000..=3_600_000).contains(&delay), "{delay}");
        delays.push(delay);
    }
    delays.dedup();
    assert!(delays.len() > 1, "eight times the same: {delays:?}");
}

fn unknown_backoff(scene: &Scene<'_>) {
    let opts = json!({"attempts": 3, "backoff": {"type": "lunar", "delay": 10}});
    let (id, result) = scene.outcome("flaky", json!({"until": 2}), opts);
    let reason = result.expect_err("nobody here knows that backoff");
    assert!(reason.contains("attempt 1 fails") && reason.contains("lunar"), "{reason}");
    assert_eq!(scene.get(&id)["attemptsMade"], 1);
}

fn retry_after(scene: &Scene<'_>) {
    let data = json!({"kind": "retry-after", "message": "busy", "ms": 300});
    let opts = json!({"attempts": 2, "backoff": {"type": "fixed", "delay": 3_600_000}});
    let (id, result) = scene.outcome("once", data, opts);
    assert_eq!(result, Ok(json!({"attempt": 2, "starts": 2})));
    let job = scene.get(&id);
    assert!(between(&job, "timestamp", "processedOn") >= 300, "{job}");
}

fn unrecoverable(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "never again"});
    let (id, result) = scene.outcome("fail", data, json!({"attempts": 5}));
    assert_eq!(result, Err("never again".to_owned()));
    assert_eq!(scene.get(&id)["attemptsMade"], 1);
    scene.wait_event("failed", &id);
    // Whatever follows is in the stream by the time another job has ended.
    let (marker, _) = scene.outcome("noop", json!({"i": 0}), json!({}));
    scene.wait_event("completed", &marker);
    assert_eq!(scene.life(&id), ["added", "waiting", "active", "failed"]);
}

fn exhausted(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("flaky", json!({"until": 9}), json!({"attempts": 2}));
    assert!(result.is_err());
    let event = scene.wait_event("retries-exhausted", &id);
    assert_eq!(event["attemptsMade"], "2", "{event}");
    assert_eq!(
        scene.life(&id),
        ["added", "waiting", "active", "waiting", "active", "failed", "retries-exhausted"]
    );
}

fn trace_limit(scene: &Scene<'_>) {
    for (limit, kept) in [(0, 0), (1, 1), (2, 2)] {
        let opts = json!({"attempts": 3, "stackTraceLimit": limit});
        let (id, _) = scene.outcome("flaky", json!({"until": 9}), opts);
        let traces: Vec<String> =
            serde_json::from_str(&scene.hash(&id)["stacktrace"]).expect("a list of texts");
        assert_eq!(traces.len(), kept, "{traces:?}");
        assert!(traces.last().is_none_or(|last| last.contains("attempt 3")), "{traces:?}");
    }
}

fn recovers(scene: &Scene<'_>) {
    let (id, result) = scene.outcome(
        "flaky",
        json!({"until": 3}),
        json!({"attempts": 5, "backoff": {"type": "fixed", "delay": 20}}),
    );
    assert_eq!(result, Ok(json!(3)));
    let job = scene.get(&id);
    assert_eq!((&job["attemptsMade"], scene.state(&id).as_str()), (&json!(3), "completed"), "{job}");
    let traces: Vec<String> = serde_json::from_str(&scene.hash(&id)["stacktrace"]).expect("a list of texts");
    assert_eq!(traces.len(), 2, "{traces:?}");
}

fn no_handler(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("nobody-takes-this", json!(null), json!({"attempts": 4}));
    let reason = result.expect_err("nobody takes it");
    assert!(reason.contains("nobody-takes-this") && reason.contains("noop"), "{reason}");
    assert_eq!(scene.get(&id)["attemptsMade"], 1);
}

fn delayed_by_handler(scene: &Scene<'_>) {
    let id = scene.add("once", json!({"kind": "delay-until", "ms": 700}), json!({}));
    scene.wait_event("delayed", &id);
    assert_eq!(scene.finished(&id), Ok(json!({"attempt": 1, "starts": 2})));
    let job = scene.get(&id);
    assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(2)), "{job}");
    assert!(between(&job, "timestamp", "processedOn") >= 700, "{job}");
    scene.wait_event("completed", &id);
    assert_eq!(scene.life(&id), ["added", "waiting", "active", "delayed", "waiting", "active", "completed"]);
}

fn given_back(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("once", json!({"kind": "requeue"}), json!({}));
    assert_eq!(result, Ok(json!({"attempt": 1, "starts": 2})));
    scene.wait_event("completed", &id);
    assert_eq!(scene.life(&id), ["added", "waiting", "active", "waiting", "active", "completed"]);
}

fn retried(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({}));
    assert!(result.is_err());
    scene.job(&id, "retry", json!(["failed"]));
    jobcell_tests::wait::until("it has failed again", || {
        let job = scene.get(&id);
        (job["attemptsStarted"] == 2 && scene.state(&id) == "failed").then_some(())
    });
    let seen = scene.seen_of(&id);
    assert!(seen.iter().any(|event| event["event"] == "waiting" && event["prev"] == "failed"), "{seen:?}");
}

fn poisoned(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("panic", json!({"message": "x"}), json!({"attempts": 9}));
    let reason = result.expect_err("it is given up");
    assert!(reason.contains("3 times in a row"), "{reason}");
    assert_eq!(scene.get(&id)["attemptsMade"], 3);
    let hash = scene.hash(&id);
    let own: Vec<&String> =
        hash.keys().filter(|name| name.starts_with("receipt:") || *name == "crashes").collect();
    assert_eq!(own, ["receipt:1", "receipt:2", "receipt:3"]);
    scene.job(&id, "retry", json!(["failed"]));
    jobcell_tests::wait::until("it has failed again", || {
        let made = scene.get(&id)["attemptsMade"].as_u64();
        (made > Some(3) && scene.state(&id) == "failed").then_some(())
    });
    assert_eq!(scene.get(&id)["attemptsMade"], 6, "three more");
}

fn cancel(scene: &Scene<'_>, id: &str) -> Value {
    scene.site.cli(&["--json", "job", "cancel", scene.queue, id]).ok().json()
}

fn cancelled(scene: &Scene<'_>) {
    let running = scene.add("spin", json!({}), json!({"attempts": 3}));
    scene.wait_event("active", &running);
    let waiting = scene.add("noop", json!({"i": 1}), json!({"attempts": 3}));
    assert_eq!(cancel(scene, &waiting)["was"], "waiting");
    assert_eq!(scene.finished(&waiting), Err("the job was cancelled".to_owned()));
    assert_eq!(cancel(scene, &running)["was"], "active");
    assert_eq!(scene.finished(&running), Err("the job was cancelled".to_owned()));
    assert_eq!(scene.wait_event("failed", &waiting)["prev"], "waiting");
    assert_eq!(scene.wait_event("failed", &running)["prev"], "active");
    let made = |id: &str| scene.get(id)["attemptsMade"].clone();
    assert_eq!((made(&waiting), made(&running)), (json!(0), json!(1)));
    scene.job(&waiting, "retry", json!(["failed"]));
    assert_eq!(scene.wait_event("completed", &waiting)["jobId"], waiting.as_str());
}

fn cancelled_child(scene: &Scene<'_>) {
    let tree = json!({
        "name": "noop", "queueName": scene.queue, "data": {"i": 1}, "opts": {"jobId": "top"},
        "children": [{
            "name": "noop", "queueName": scene.queue, "data": {"i": 2},
            "opts": {"jobId": "kid", "delay": 600_000, "failParentOnFailure": true},
        }],
    });
    let _ = scene.site.cli(&["flow", "add", &tree.to_string()]).ok();
    assert_eq!(cancel(scene, "kid")["was"], "delayed");
    scene.wait_event("failed", "top");
    assert_eq!(scene.get("top")["failedReason"], format!("child {} failed", scene.key("kid")));
}

fn retried_completed(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("job", json!(null), json!({}));
    scene.job(&id, "retry", json!(["completed"]));
    let starts = jobcell_tests::wait::until("it has completed again", || {
        let job = scene.get(&id);
        (job["returnvalue"]["starts"] == 2).then_some(job["returnvalue"]["starts"].clone())
    });
    assert_eq!((starts, scene.state(&id).as_str()), (json!(2), "completed"));
}
