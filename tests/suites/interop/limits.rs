//! Rates and concurrency, whoever sets them.

use jobcell_tests::{Client, Host, Site, wait};
use serde_json::json;

use super::rig::{Case, ONE_BY_ONE, Scene, UNSERVED, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;
const SINCE_FIVE: &[Client] = Client::NODE_SINCE_FIVE;

const CASES: &[Case] = &[
    case!(
        worker_rate,
        Limits,
        NODE,
        "a queue's configured rate is kept, as by a worker with a `limiter`; `getRateLimitTtl` shows it",
        "rate = { max = 2, per = \"600ms\" }"
    ),
    case!(shared_rate, Limits, NODE, "a rate holds over two hosts together", UNSERVED),
    case!(
        global_rate,
        Limits,
        SINCE_FIVE,
        "`setGlobalRateLimit` is kept by our worker at once, and its end too"
    ),
    case!(
        global_rate_first,
        Limits,
        SINCE_FIVE,
        "a global rate comes before the queue's own",
        "rate = { max = 1000, per = \"1s\" }"
    ),
    case!(
        manual_rate,
        Limits,
        NODE,
        "`Queue.rateLimit` rests a queue that has a rate, and `removeRateLimitKey` ends it",
        "poll = \"1s\"\nrate = { max = 1000, per = \"1s\" }"
    ),
    case!(manual_rate_without, Limits, NODE, "`Queue.rateLimit` rests a queue that has no rate of its own"),
    case!(
        by_handler,
        Limits,
        NODE,
        "a handler that reports a rate limit rests the queue and uses no attempt",
        ONE_BY_ONE
    ),
    case!(global_concurrency, Limits, EVERY, "`setGlobalConcurrency` bounds what runs at once"),
    case!(
        concurrency_of_two,
        Limits,
        NODE,
        "a global concurrency holds over two hosts, and jobs start again when it is lifted",
        UNSERVED
    ),
    case!(
        delayed_while_limited,
        Limits,
        NODE,
        "delayed jobs become due while a rate rests the queue",
        "rate = { max = 1, per = \"800ms\" }"
    ),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

/// Adds so many jobs that do nothing, waits for their end and returns when each started, in order.
fn starts(scene: &Scene<'_>, count: usize) -> Vec<u64> {
    let many: Vec<_> = (0..count).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
    let added = scene.call("addBulk", json!([many]));
    let ids: Vec<_> = added.as_array().expect("jobs").iter().filter_map(|job| job["id"].as_str()).collect();
    assert!(ids.iter().all(|id| scene.finished(id).is_ok()));
    let started = scene.times("active").into_iter();
    started.filter(|(_, id)| ids.contains(&id.as_str())).map(|(ms, _)| ms).collect()
}

/// Among starts in order, one and the `max`-th after it are in two windows; Redis rounds to milliseconds, and what ran
/// out while a script was under way it may see a little later.
fn assert_rate(starts: &[u64], max: usize, window_ms: u64) {
    // A window opens with its first start, so only every `max`-th one is bound to the next.
    let opened: Vec<_> = starts.iter().step_by(max).collect();
    for pair in opened.windows(2) {
        assert!(pair[1] + 15 >= pair[0] + window_ms, "a window of {window_ms} ms: {starts:?}");
    }
}

fn worker_rate(scene: &Scene<'_>) {
    let many: Vec<_> = (0..5).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
    scene.call("addBulk", json!([many]));
    wait::until("the rate is used up", || {
        scene.call("getRateLimitTtl", json!([2])).as_i64().is_some_and(|ttl| ttl > 0).then_some(())
    });
    assert!(scene.count("completed") < 5);
    scene.completed(5);
    let starts: Vec<_> = scene.times("active").into_iter().map(|(ms, _)| ms).collect();
    assert_rate(&starts, 2, 600);
}

fn shared_rate(scene: &Scene<'_>) {
    let config = scene.own_config("rate = { max = 2, per = \"600ms\" }");
    let hosts = [(); 2].map(|()| Host::start(&Site::redis(scene.redis, &config)));
    assert_rate(&starts(scene, 6), 2, 600);
    hosts.into_iter().for_each(Host::stop);
}

fn global_rate(scene: &Scene<'_>) {
    scene.call("setGlobalRateLimit", json!([1, 400]));
    assert_rate(&starts(scene, 3), 1, 400);
    scene.call("removeGlobalRateLimit", json!([]));
    let free = starts(scene, 8);
    assert!(free[7] - free[0] < 7 * 400, "{free:?}");
}

fn global_rate_first(scene: &Scene<'_>) {
    scene.call("setGlobalRateLimit", json!([1, 1000]));
    assert_rate(&starts(scene, 3), 1, 1000);
}

fn rests(scene: &Scene<'_>) {
    assert!(scene.outcome("noop", json!({"i": 0}), json!({})).1.is_ok());
    scene.call("rateLimit", json!([900]));
    assert!(scene.outcome("noop", json!({"i": 1}), json!({})).1.is_ok());
    // The rest began after the end of the first.
    let (ended, started) = (scene.times("completed")[0].0, scene.times("active")[1].0);
    assert!(started >= ended + 900, "{:?}", scene.stream());
}

fn manual_rate(scene: &Scene<'_>) {
    rests(scene);
    scene.call("rateLimit", json!([3_600_000]));
    let id = scene.add("noop", json!({"i": 2}), json!({}));
    assert!(scene.call("getRateLimitTtl", json!([1])).as_i64() > Some(3_000_000));
    scene.call("removeRateLimitKey", json!([]));
    // Nobody is told that it is gone: a resting worker looks again by itself.
    assert!(scene.finished(&id).is_ok());
}

fn manual_rate_without(scene: &Scene<'_>) {
    rests(scene);
}

fn by_handler(scene: &Scene<'_>) {
    let limited_id = scene.add("once", json!({"kind": "rate-limited", "ms": 700}), json!({"attempts": 2}));
    let next_id = scene.add("noop", json!({"i": 1}), json!({}));
    assert_eq!(scene.finished(&limited_id), Ok(json!({"attempt": 1, "starts": 2})));
    assert!(scene.finished(&next_id).is_ok());
    let limited = scene.get(&limited_id);
    assert_eq!((&limited["attemptsMade"], &limited["attemptsStarted"]), (&json!(1), &json!(2)), "{limited}");
    let starts = scene.times("active");
    assert!(starts[1].0 >= starts[0].0 + 700, "{starts:?}");
    let order: Vec<_> = starts.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(order, [&limited_id, &limited_id, &next_id], "it goes on first");
}

/// Runs so many jobs that take this long, and returns the most of them that were active at the same time.
fn most_at_once(scene: &Scene<'_>, count: usize, ms: u64) -> usize {
    let ids: Vec<_> = (0..count).map(|_| scene.add("sleep", json!({"ms": ms}), json!({}))).collect();
    assert!(ids.iter().all(|id| scene.finished(id).is_ok()));
    let (mut active, mut most) = (0_usize, 0);
    for (_, fields) in
        scene.stream().iter().filter(|(_, fields)| fields.get(3).is_some_and(|id| ids.contains(id)))
    {
        match fields[1].as_str() {
            "active" => active += 1,
            "completed" => active -= 1,
            _ => {}
        }
        most = most.max(active);
    }
    most
}

fn global_concurrency(scene: &Scene<'_>) {
    scene.call("setGlobalConcurrency", json!([1]));
    assert_eq!(most_at_once(scene, 4, 120), 1);
    scene.call("setGlobalConcurrency", json!([2]));
    assert_eq!(most_at_once(scene, 6, 200), 2);
}

fn concurrency_of_two(scene: &Scene<'_>) {
    scene.call("setGlobalConcurrency", json!([2]));
    let config = scene.own_config("concurrency = 4");
    let hosts = [(); 2].map(|()| Host::start(&Site::redis(scene.redis, &config)));
    assert_eq!(most_at_once(scene, 8, 120), 2);
    scene.call("removeGlobalConcurrency", json!([]));
    assert!(most_at_once(scene, 8, 400) > 2);
    hosts.into_iter().for_each(Host::stop);
}

fn delayed_while_limited(scene: &Scene<'_>) {
    let (_, first) = scene.outcome("noop", json!({"i": 0}), json!({}));
    assert!(first.is_ok());
    let id = scene.add("noop", json!({"i": 1}), json!({"delay": 50}));
    assert_eq!(scene.finished(&id), Ok(json!({"ok": true, "i": 1})));
}
