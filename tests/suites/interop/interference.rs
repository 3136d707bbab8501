//! What clients do to a queue while our host works on it.

use jobcell_tests::{Client, wait};
use serde_json::json;

use super::rig::{Case, ONE_BY_ONE, Scene, case, now_ms, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(pause, Interference, EVERY, "`pause` lets running jobs end and starts none; `resume` goes on"),
    case!(
        pause_with_retry,
        Interference,
        EVERY,
        "a retry that becomes due while the queue is paused, with more added meanwhile, is not lost on `resume`"
    ),
    case!(promote, Interference, EVERY, "`promote` runs a delayed job now"),
    case!(promote_all, Interference, NODE, "`promoteJobs` runs all delayed jobs now"),
    case!(change_delay, Interference, NODE, "`changeDelay` moves a delayed job in both directions"),
    case!(
        change_priority,
        Interference,
        NODE,
        "`changePriority` moves a waiting job to its new place",
        ONE_BY_ONE
    ),
    case!(remove_waiting, Interference, NODE, "a job removed while it waits never runs", ONE_BY_ONE),
    case!(
        remove_active,
        Interference,
        NODE,
        "a job that runs is locked: `remove` is refused, and it ends as if nothing had been"
    ),
    case!(
        vanished,
        Interference,
        NODE,
        "a running job whose data is deleted by force is dropped, and the worker goes on"
    ),
    case!(clean, Interference, NODE, "`clean` removes ended jobs and touches no others"),
    case!(retry_all, Interference, NODE, "`retryJobs` brings all failed jobs back, and they run again"),
    case!(drain, Interference, NODE, "`drain` removes what waits; what runs ends", ONE_BY_ONE),
    case!(
        obliterate,
        Interference,
        NODE,
        "a queue that is obliterated and filled again is worked on as before"
    ),
    case!(
        obliterate_forced,
        Interference,
        NODE,
        "a queue obliterated by force under running jobs leaves no trace of them"
    ),
    case!(trim, Interference, NODE, "`trimEvents` under a listener harms neither it nor us"),
    case!(
        colons,
        Interference,
        NODE,
        "a job whose id has colons, as schedulers make them, runs and is removed like any other"
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn pause(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 400}), json!({}));
    scene.wait_event("active", &running);
    scene.call("pause", json!([]));
    let waiting = scene.add("noop", json!({"i": 1}), json!({}));
    let prioritized = scene.add("noop", json!({"i": 2}), json!({"priority": 1}));
    assert!(scene.finished(&running).is_ok());
    // Another queue's whole life later, nothing has started here.
    for id in [&waiting, &prioritized] {
        assert!(!scene.hash(id).contains_key("processedOn"), "a paused queue starts nothing");
    }
    scene.call("resume", json!([]));
    assert!(scene.finished(&waiting).is_ok() && scene.finished(&prioritized).is_ok());
    scene.wait_any("paused");
    scene.wait_any("resumed");
}

fn pause_with_retry(scene: &Scene<'_>) {
    let flaky = scene.add(
        "flaky",
        json!({"until": 2}),
        json!({"attempts": 2, "backoff": {"type": "fixed", "delay": 300}}),
    );
    let due = scene.due(&flaky);
    scene.call("pause", json!([]));
    let added = scene.add("noop", json!({"i": 1}), json!({}));
    wait::until("the retry is due", || (now_ms() > due + 300).then_some(()));
    assert!(!scene.hash(&added).contains_key("processedOn"), "a paused queue starts nothing");
    scene.call("resume", json!([]));
    assert_eq!(scene.finished(&flaky), Ok(json!(2)));
    assert_eq!(scene.finished(&added), Ok(json!({"ok": true, "i": 1})));
}

fn promote(scene: &Scene<'_>) {
    let id = scene.add("noop", json!({"i": 1}), json!({"delay": 3_600_000}));
    scene.job(&id, "promote", json!([]));
    assert_eq!(scene.finished(&id), Ok(json!({"ok": true, "i": 1})));
    assert_eq!(scene.get(&id)["delay"], 0);
}

fn promote_all(scene: &Scene<'_>) {
    let ids: Vec<_> =
        (0..5).map(|i| scene.add("noop", json!({"i": i}), json!({"delay": 3_600_000}))).collect();
    scene.call("promoteJobs", json!([]));
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(scene.finished(id), Ok(json!({"ok": true, "i": i})));
    }
}

fn change_delay(scene: &Scene<'_>) {
    let sooner = scene.add("noop", json!({"i": 1}), json!({"delay": 3_600_000}));
    let later = scene.add("noop", json!({"i": 2}), json!({"delay": 2_000}));
    scene.job(&later, "changeDelay", json!([3_600_000]));
    scene.job(&sooner, "changeDelay", json!([200]));
    assert!(scene.finished(&sooner).is_ok());
    assert_eq!(scene.state(&later), "delayed");
}

fn change_priority(scene: &Scene<'_>) {
    scene.call("pause", json!([]));
    let ids: Vec<_> =
        (1..4).map(|i| scene.add("noop", json!({"i": i}), json!({"priority": i * 10}))).collect();
    scene.job(&ids[2], "changePriority", json!([{"priority": 1}]));
    scene.job(&ids[0], "changePriority", json!([{"priority": 25}]));
    scene.call("resume", json!([]));
    assert_eq!(scene.completed(3), [&ids[2], &ids[1], &ids[0]].map(Clone::clone));
}

fn remove_waiting(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 400}), json!({}));
    scene.wait_event("active", &running);
    let gone = scene.add("noop", json!({"i": 1}), json!({}));
    let stays = scene.add("noop", json!({"i": 2}), json!({}));
    scene.job(&gone, "remove", json!([]));
    assert!(scene.finished(&running).is_ok() && scene.finished(&stays).is_ok());
    assert_eq!(scene.completed(2), [running, stays]);
    assert_eq!(scene.life(&gone), ["added", "waiting", "removed"]);
}

fn remove_active(scene: &Scene<'_>) {
    let id = scene.add("sleep", json!({"ms": 500}), json!({}));
    scene.wait_event("active", &id);
    let refused = scene.refusal(&id, "remove", json!([]));
    assert!(refused.contains("locked"), "{refused}");
    assert!(scene.finished(&id).is_ok());
    scene.job(&id, "remove", json!([]));
    assert!(scene.get(&id).is_null());
}

fn vanished(scene: &Scene<'_>) {
    let id = scene.add("sleep", json!({"ms": 300}), json!({}));
    scene.wait_event("active", &id);
    let mut redis = scene.redis.client();
    redis.run(&["DEL", &scene.key(&id), &scene.key(&format!("{id}:lock"))]);
    redis.run(&["LREM", &scene.key("active"), "0", &id]);
    // A host that stumbled over it would not come to these.
    let after: Vec<_> = (0..8).map(|i| scene.add("sleep", json!({"ms": 100 + i}), json!({}))).collect();
    assert!(after.iter().all(|id| scene.finished(id).is_ok()));
    assert!(scene.hash(&id).is_empty(), "{:?}", scene.hash(&id));
    assert!(scene.seen_of(&id).iter().all(|event| event["event"] != "completed"));
}

fn clean(scene: &Scene<'_>) {
    let done: Vec<_> = (0..3).map(|i| scene.outcome("noop", json!({"i": i}), json!({})).0).collect();
    let (failed, _) = scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({}));
    let delayed = scene.add("noop", json!({"i": 9}), json!({"delay": 3_600_000}));
    let running = scene.add("sleep", json!({"ms": 400}), json!({}));
    scene.wait_event("active", &running);
    let cleaned = scene.call("clean", json!([0, 100, "completed"]));
    assert_eq!(cleaned.as_array().map(Vec::len), Some(3), "{cleaned}");
    assert!(done.iter().all(|id| scene.get(id).is_null()));
    assert_eq!((scene.state(&failed).as_str(), scene.state(&delayed).as_str()), ("failed", "delayed"));
    assert!(scene.finished(&running).is_ok());
    scene.wait_any("cleaned");
}

fn retry_all(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "no"});
    let ids: Vec<_> = (0..3).map(|_| scene.outcome("once", data.clone(), json!({})).0).collect();
    assert_eq!(scene.count("failed"), 3);
    scene.call("retryJobs", json!([{"state": "failed"}]));
    assert_eq!(scene.completed(3).len(), 3);
    for id in ids {
        let job = scene.get(&id);
        assert_eq!((&job["returnvalue"]["starts"], &job["failedReason"]), (&json!(2), &json!(null)), "{job}");
    }
    assert_eq!(scene.count("failed"), 0);
}

fn drain(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 500}), json!({}));
    scene.wait_event("active", &running);
    let waiting: Vec<_> =
        (0..3).map(|i| scene.add("noop", json!({"i": i}), json!({"priority": i}))).collect();
    let delayed = scene.add("noop", json!({"i": 9}), json!({"delay": 300}));
    scene.call("drain", json!([]));
    assert!(waiting.iter().all(|id| scene.get(id).is_null()));
    assert!(scene.finished(&running).is_ok() && scene.finished(&delayed).is_ok());
    assert_eq!(scene.completed(2), [running, delayed]);
}

fn obliterate(scene: &Scene<'_>) {
    for i in 0..3 {
        assert!(scene.outcome("noop", json!({"i": i}), json!({})).1.is_ok());
    }
    scene.add("noop", json!({"i": 3}), json!({"delay": 3_600_000}));
    scene.call("obliterate", json!([]));
    let (_, result) = scene.outcome("noop", json!({"i": 4}), json!({}));
    assert_eq!(result, Ok(json!({"ok": true, "i": 4})));
    assert_eq!(scene.count("completed"), 1, "nothing of before is left");
}

fn obliterate_forced(scene: &Scene<'_>) {
    let ids: Vec<_> = (0..2).map(|_| scene.add("sleep", json!({"ms": 600}), json!({}))).collect();
    for id in &ids {
        scene.wait_event("active", id);
    }
    scene.call("obliterate", json!([{"force": true}]));
    // By the time a later and longer one has ended, the ends of these two were refused.
    let (_, result) = scene.outcome("sleep", json!({"ms": 900}), json!({}));
    assert!(result.is_ok());
    for id in ids.iter().filter(|id| *id != "1") {
        // The counter of ids began again, so the later job has the id of the first.
        assert!(scene.hash(id).is_empty(), "{:?}", scene.hash(id));
    }
    assert_eq!((scene.count("completed"), scene.count("active")), (1, 0));
}

fn trim(scene: &Scene<'_>) {
    for i in 0..5 {
        assert!(scene.outcome("noop", json!({"i": i}), json!({})).1.is_ok());
    }
    scene.call("trimEvents", json!([0]));
    let (id, result) = scene.outcome("noop", json!({"i": 9}), json!({}));
    assert_eq!(result, Ok(json!({"ok": true, "i": 9})));
    scene.wait_event("completed", &id);
    assert!(scene.seen().iter().all(|event| event["event"] != "error"), "{:?}", scene.seen());
}

fn colons(scene: &Scene<'_>) {
    // Three parts are what every release lets a producer use.
    let (id, result) = scene.outcome("job", json!(null), json!({"jobId": "repeat:nightly:1767225600000"}));
    assert_eq!(result.expect("a result")["id"], "repeat:nightly:1767225600000");
    assert_eq!(scene.get(&id)["attemptsMade"], 1);
    assert_eq!(scene.site.job(scene.queue, &id)["state"], "completed");
    scene.job(&id, "remove", json!([]));
    assert!(scene.get(&id).is_null());
}
