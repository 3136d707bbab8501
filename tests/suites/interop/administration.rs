//! Our own commands on queues and jobs, as BullMQ sees what they did.

use jobcell_tests::{Client, Host, Site, wait};
use serde_json::{Value, json};

use super::rig::{Case, Scene, UNSERVED, case, now_ms, tests_of};

const NODE: &[Client] = Client::NODE;
const SINCE_FIVE: &[Client] = Client::NODE_SINCE_FIVE;

const CASES: &[Case] = &[
    case!(
        concurrency_set,
        Administration,
        SINCE_FIVE,
        "`jobcell queue concurrency` is what `getGlobalConcurrency` says",
        UNSERVED
    ),
    case!(
        rate_set,
        Administration,
        SINCE_FIVE,
        "`jobcell queue rate` is what `getGlobalRateLimit` and `getRateLimitTtl` say, and shows what BullMQ set",
        UNSERVED
    ),
    case!(
        metrics,
        Administration,
        NODE,
        "`getMetrics` and `jobcell queue metrics` show the ends that our host counts by the minute",
        "metrics-points = 10"
    ),
    case!(
        metrics_per_queue,
        Administration,
        NODE,
        "each queue keeps as many minutes as its own `metrics-points` says",
        UNSERVED
    ),
    case!(
        workers,
        Administration,
        NODE,
        "`getWorkers` lists our workers by name, and `jobcell queue workers` lists both kinds",
        "name = \"media-1\""
    ),
    case!(
        priorities,
        Administration,
        NODE,
        "`jobcell job priority` moves a job for `getCountsPerPriority` and `getPrioritized`",
        UNSERVED
    ),
    case!(delays, Administration, NODE, "`jobcell job delay` moves a job for `getDelayed`", UNSERVED),
    case!(
        cleaned,
        Administration,
        NODE,
        "`jobcell queue clean` removes jobs and their keys, and listeners hear `cleaned`",
        UNSERVED
    ),
    case!(
        promoted_and_retried,
        Administration,
        NODE,
        "`jobcell queue promote` and `retry` put jobs where BullMQ's getters and listeners see them",
        UNSERVED
    ),
    case!(
        obliterated,
        Administration,
        NODE,
        "`jobcell queue obliterate` leaves no key of the queue",
        UNSERVED
    ),
    case!(trimmed, Administration, NODE, "`jobcell queue trim` shortens the event stream", UNSERVED),
    case!(
        deduplication_ids,
        Administration,
        NODE,
        "`jobcell queue dedup` shows and frees what `getDeduplicationJobId` shows",
        UNSERVED
    ),
    case!(
        deduplication_modes,
        Administration,
        NODE,
        "`jobcell enqueue --dedup-mode` extends, replaces and reschedules; listeners hear it as from BullMQ",
        UNSERVED
    ),
];

tests_of!(CASES; floor = Floor, five = Five, six = Six);

/// Runs one of our commands about this queue and returns what it answers.
#[track_caller]
fn ours(scene: &Scene<'_>, words: &[&str], more: &[&str]) -> Value {
    let args = [&["--yes", "--json"], words, &[scene.queue], more].concat();
    scene.site.cli(&args).ok().json()
}

/// Adds jobs that nobody works on, and returns their ids.
fn waiting(scene: &Scene<'_>, count: usize, opts: &Value) -> Vec<String> {
    (0..count).map(|i| scene.add("noop", json!({"i": i}), opts.clone())).collect()
}

fn ids(jobs: &Value) -> Vec<&str> {
    jobs.as_array().expect("jobs").iter().filter_map(|job| job["id"].as_str()).collect()
}

fn concurrency_set(scene: &Scene<'_>) {
    let set = ours(scene, &["queue", "concurrency"], &["3"]);
    assert_eq!((&set["name"], &set["concurrency"]), (&json!(scene.queue), &json!(3)));
    assert_eq!(scene.call("getGlobalConcurrency", json!([])), 3);
    assert_eq!(ours(scene, &["queue", "concurrency"], &["--off"])["concurrency"], Value::Null);
    assert_eq!(scene.call("getGlobalConcurrency", json!([])), Value::Null);
    scene.call("setGlobalConcurrency", json!([7]));
    assert_eq!(ours(scene, &["queue", "concurrency"], &[])["concurrency"], 7);
}

fn rate_set(scene: &Scene<'_>) {
    let set = ours(scene, &["queue", "rate"], &["5/1m"]);
    assert_eq!(set["rate"], json!({"max": 5, "per_ms": 60_000}));
    assert_eq!(scene.call("getGlobalRateLimit", json!([])), json!({"max": 5, "duration": 60_000}));
    let rests = ours(scene, &["queue", "rate"], &["--rest", "1h"]);
    let ttl = scene.call("getRateLimitTtl", json!([])).as_i64().expect("a time");
    assert!(ttl > 3_500_000 && rests["rests_for_ms"].as_i64() >= Some(ttl), "{rests} {ttl}");
    assert_eq!(ours(scene, &["queue", "rate"], &["--rest", "0"])["rests_for_ms"], Value::Null);
    assert!(scene.call("getRateLimitTtl", json!([])).as_i64() <= Some(0));
    ours(scene, &["queue", "rate"], &["--off"]);
    assert_eq!(scene.call("getGlobalRateLimit", json!([])), Value::Null);
    scene.call("setGlobalRateLimit", json!([9, 1500]));
    scene.call("rateLimit", json!([3_600_000]));
    let shown = ours(scene, &["queue", "rate"], &[]);
    assert_eq!(shown["rate"], json!({"max": 9, "per_ms": 1500}));
    assert!(shown["rests_for_ms"].as_u64() > Some(3_500_000), "{shown}");
}

fn metrics(scene: &Scene<'_>) {
    for _ in 0..3 {
        assert!(scene.outcome("noop", json!({"i": 1}), json!({})).1.is_ok());
    }
    assert!(scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({})).1.is_err());
    let counted = |kind: &str| scene.call("getMetrics", json!([kind]));
    assert_eq!(counted("completed")["meta"]["count"].as_u64(), Some(3));
    assert_eq!(counted("failed")["meta"]["count"].as_u64(), Some(1));
    // As though they had ended two minutes ago.
    let before = (now_ms() - 120_000).to_string();
    scene.redis.client().run(&["HSET", &scene.key("metrics:completed"), "prevTS", &before]);
    assert!(scene.outcome("noop", json!({"i": 1}), json!({})).1.is_ok());
    let theirs = counted("completed");
    let points: Vec<u64> = theirs["data"]
        .as_array()
        .expect("points")
        .iter()
        .map(|point| point.as_u64().or_else(|| point.as_str()?.parse().ok()).expect("a count"))
        .collect();
    assert_eq!((theirs["meta"]["count"].as_u64(), &points), (Some(4), &vec![0, 3]), "{theirs}");
    let ours = ours(scene, &["queue", "metrics"], &[]);
    assert_eq!(
        (&ours["completed"]["total"], &ours["completed"]["points"]),
        (&json!(4), &json!(points)),
        "{ours}"
    );
    assert_eq!(ours["failed"]["total"], 1);
}

fn metrics_per_queue(scene: &Scene<'_>) {
    let config = scene.own_config("metrics-points = 2")
        + &format!(
            "[queues.{0}-none]\nhandler = \"basic\"\nmetrics-points = 0\n[queues.{0}-long]\nhandler = \"basic\"\nmetrics-points = 5\n",
            scene.queue
        );
    let host = Host::start(&Site::redis(scene.redis, &config));
    for (suffix, kept) in [("", 2), ("-none", 0), ("-long", 5)] {
        let queue = format!("{}{suffix}", scene.queue);
        let run = || {
            let id = scene.bull.add(&queue, "noop", json!({"i": 1}), json!({}));
            assert!(scene.bull.finished(&queue, &id).is_ok());
        };
        run();
        let key = format!("bull:{queue}:metrics:completed");
        if kept > 0 {
            let before = (now_ms() - 3_600_000).to_string();
            scene.redis.client().run(&["HSET", &key, "prevTS", &before]);
        }
        run();
        let length = scene.redis.client().run(&["LLEN", &format!("{key}:data")]);
        assert_eq!(length.int(), kept, "{queue}");
    }
    host.stop();
}

fn workers(scene: &Scene<'_>) {
    let named = |name: &str| {
        let names: Vec<String> = scene
            .call("getWorkers", json!([]))
            .as_array()
            .expect("workers")
            .iter()
            .filter_map(|worker| Some(worker["rawname"].as_str().or(worker["name"].as_str())?.to_owned()))
            .collect();
        names.iter().any(|seen| seen.ends_with(name)).then_some(names)
    };
    wait::until("BullMQ sees our worker", || named(":w:media-1"));
    scene.bull.work(scene.queue, json!({"name": "theirs"}));
    let seen = wait::until("we see both", || {
        let seen = ours(scene, &["queue", "workers"], &[]);
        let seen = seen.as_array().expect("workers").clone();
        (seen.len() == 2).then_some(seen)
    });
    let mut names: Vec<_> = seen.iter().filter_map(|worker| worker["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["media-1", "theirs"]);
    assert!(
        seen.iter().all(|worker| worker["address"].as_str().is_some_and(|at| at.contains(':'))),
        "{seen:?}"
    );
    assert_eq!(scene.call("getWorkersCount", json!([])), 2);
}

fn priorities(scene: &Scene<'_>) {
    let jobs = waiting(scene, 3, &json!({}));
    let changed = ours(scene, &["job", "priority"], &[&jobs[0], "5"]);
    assert_eq!((&changed["id"], &changed["state"]), (&json!(jobs[0]), &json!("prioritized")));
    ours(scene, &["job", "priority"], &[&jobs[1], "5", "--front"]);
    assert_eq!(scene.call("getCountsPerPriority", json!([[0, 5, 6]])), json!({"0": 1, "5": 2, "6": 0}));
    let prioritized = scene.call("getPrioritized", json!([]));
    assert_eq!(ids(&prioritized), [&jobs[1], &jobs[0]]);
    assert_eq!(scene.get(&jobs[0])["priority"], 5);
    ours(scene, &["job", "priority"], &[&jobs[0], "0"]);
    assert_eq!(scene.state(&jobs[0]), "waiting");
}

fn delays(scene: &Scene<'_>) {
    let jobs = waiting(scene, 2, &json!({"delay": 3_600_000}));
    let before = now_ms();
    ours(scene, &["job", "delay"], &[&jobs[1], "10m"]);
    assert_eq!(ids(&scene.call("getDelayed", json!([]))), [&jobs[1], &jobs[0]]);
    assert_eq!(scene.get(&jobs[1])["delay"], 600_000);
    let told = wait::until("it is told", || {
        scene.seen_of(&jobs[1]).into_iter().filter(|event| event["event"] == "delayed").nth(1)
    });
    let due = told["delay"].as_u64().or_else(|| told["delay"].as_str()?.parse().ok());
    assert!(due >= Some(before + 600_000) && due <= Some(now_ms() + 600_000), "{told}");
    let gone = scene.site.cli(&["job", "delay", scene.queue, "nobody", "5"]).exits(1);
    let _ = gone.says(&["\"nobody\" does not exist"]);
}

fn cleaned(scene: &Scene<'_>) {
    let old = waiting(scene, 3, &json!({"timestamp": now_ms() - 7_200_000}));
    let young = waiting(scene, 2, &json!({}));
    let removed = ours(scene, &["queue", "clean"], &["--state", "waiting", "--older", "1h", "--limit", "2"]);
    assert_eq!(removed, json!({"name": scene.queue, "removed": 2}));
    let heard = scene.wait_any("cleaned");
    assert_eq!(
        heard["count"].as_str().map(str::to_owned).or(Some(heard["count"].to_string())),
        Some("2".into())
    );
    assert!(scene.get(&old[0]).is_null() && scene.get(&old[1]).is_null());
    assert!(scene.get(&old[2]).is_object() && scene.get(&young[0]).is_object());
    assert_eq!(scene.count("waiting"), 3);
    assert_eq!(scene.redis.client().run(&["EXISTS", &scene.key(&old[0])]).int(), 0);
    assert_eq!(ours(scene, &["queue", "clean"], &["--state", "failed"])["removed"], 0);
}

fn promoted_and_retried(scene: &Scene<'_>) {
    let delayed = waiting(scene, 3, &json!({"delay": 3_600_000}));
    assert_eq!(ours(scene, &["queue", "promote"], &["--limit", "2"])["promoted"], 2);
    assert_eq!((scene.count("delayed"), scene.count("waiting")), (1, 2));
    let heard = wait::until("it is told", || {
        scene.seen_of(&delayed[0]).into_iter().find(|event| event["prev"] == "delayed")
    });
    assert_eq!(heard["event"], "waiting");
    ours(scene, &["queue", "drain"], &["--delayed"]);

    let bad = json!({"kind": "fatal", "message": "no"});
    let failing: Vec<String> = (0..3).map(|_| scene.add("fail", bad.clone(), json!({}))).collect();
    let config = scene.own_config("concurrency = 1");
    let host = Host::start(&Site::redis(scene.redis, &config));
    wait::until("they have failed", || (scene.count("failed") == 3).then_some(()));
    host.stop();
    assert_eq!(ours(scene, &["queue", "retry"], &["--older", "1h"])["retried"], 0);
    assert_eq!(ours(scene, &["queue", "retry"], &[])["retried"], 3);
    assert_eq!((scene.count("failed"), scene.count("waiting")), (0, 3));
    let job = scene.get(&failing[0]);
    assert!(job["failedReason"].is_null() && job["finishedOn"].is_null(), "{job}");
}

fn obliterated(scene: &Scene<'_>) {
    waiting(scene, 2, &json!({}));
    waiting(scene, 1, &json!({"delay": 3_600_000}));
    waiting(scene, 1, &json!({"priority": 3, "deduplication": {"id": "d", "ttl": 3_600_000}}));
    let _ = scene.site.cli(&["--yes", "queue", "obliterate", scene.queue]).exits(1).says(&["queue pause"]);
    scene.call("pause", json!([]));
    let _ = scene.site.cli(&["queue", "obliterate", scene.queue]).exits(2).says(&["--yes"]);
    assert_eq!(ours(scene, &["queue", "obliterate"], &[])["obliterated"], true);
    let left = scene.redis.client().run(&["KEYS", &scene.key("*")]).texts();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(scene.add("noop", json!({}), json!({})), "1", "BullMQ goes on with a new queue");
}

fn trimmed(scene: &Scene<'_>) {
    waiting(scene, 20, &json!({}));
    let length = || scene.redis.client().run(&["XLEN", &scene.key("events")]).int();
    assert_eq!(length(), 40);
    assert_eq!(ours(scene, &["queue", "trim"], &["--events", "7"])["removed"], 33);
    assert_eq!(length(), 7);
}

fn deduplication_ids(scene: &Scene<'_>) {
    let id = scene.add("noop", json!({}), json!({"deduplication": {"id": "a:b"}}));
    let shown = ours(scene, &["queue", "dedup"], &["a:b"]);
    assert_eq!((&shown["owner"], &shown["released"]), (&json!(id), &json!(false)));
    assert_eq!(scene.call("getDeduplicationJobId", json!(["a:b"])), json!(id));
    assert_eq!(ours(scene, &["queue", "dedup"], &["a:b", "--release"])["released"], true);
    assert_eq!(scene.call("getDeduplicationJobId", json!(["a:b"])), Value::Null);
    let _ = scene.site.cli(&["queue", "dedup", scene.queue, "a:b"]).exits(1).says(&["nobody owns"]);
}

fn deduplication_modes(scene: &Scene<'_>) {
    // What is told under which name depends on the version that the queue's client has written.
    assert_eq!(scene.count("waiting"), 0);
    wait::until("the client has told its version", || {
        scene.redis.client().run(&["HGET", &scene.key("meta"), "version"]).text()
    });
    let enqueue = |more: &[&str]| {
        let ran = scene.site.cli(&[&["enqueue", scene.queue, "noop", "--delay", "1h"], more].concat()).ok();
        ran.stdout.trim().to_owned()
    };
    let owner = enqueue(&["--dedup", "d"]);
    let again = scene.site.cli(&[
        "enqueue",
        scene.queue,
        "noop",
        "--delay",
        "2h",
        "--dedup",
        "d",
        "--dedup-mode",
        "reschedule",
    ]);
    assert_eq!(again.ok().stdout.trim(), owner);
    assert_eq!(scene.get(&owner)["delay"], 7_200_000);
    let replacing = enqueue(&["--dedup", "d", "--dedup-mode", "replace"]);
    assert_ne!(replacing, owner);
    assert!(scene.get(&owner).is_null());
    assert_eq!(scene.call("getDeduplicationJobId", json!(["d"])), json!(replacing));
    enqueue(&["--dedup", "t:1000"]);
    enqueue(&["--dedup", "t:1h", "--dedup-mode", "extend"]);
    let ttl = scene.redis.client().run(&["PTTL", &scene.key("de:t")]).int();
    assert!(ttl > 3_500_000, "{ttl}");
    let heard = wait::until("all three are told", || {
        let seen = scene.seen();
        (seen.iter().filter(|event| event["event"] == "deduplicated").count() == 3).then_some(seen)
    });
    let old_name = heard.iter().filter(|event| event["event"] == "debounced").count();
    let expected = if scene.client == Client::Six { 0 } else { 3 };
    assert_eq!(old_name, expected, "{heard:?}");
    let _ = scene
        .site
        .cli(&["enqueue", scene.queue, "noop", "--dedup", "x", "--dedup-mode", "extend"])
        .exits(2)
        .says(&["--dedup ID:TTL"]);
}
