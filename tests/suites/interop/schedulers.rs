//! Job schedulers: made by one side and carried on by the other, each slot run exactly once whoever runs it.

use std::collections::BTreeSet;

use jobcell_tests::{Bull, Client, Host, Site, wait};
use serde_json::{Value, json};

use super::rig::{Case, Scene, UNSERVED, case, now_ms, tests_of};

const NODE: &[Client] = Client::NODE;
/// The floor counts slots in another way than all later releases: its workers and theirs, or ours, end each other's
/// schedulers with `every`, by taking the next slot for one that is there already. Changing one that runs does it, too.
const SINCE_FIVE: &[Client] = Client::NODE_SINCE_FIVE;
const FIVES: &[Client] = &[Client::Floor, Client::Five];

const CASES: &[Case] = &[
    case!(every, Schedulers, NODE, "a scheduler with `every` runs each of its slots exactly once"),
    case!(
        pattern,
        Schedulers,
        NODE,
        "a scheduler with a `pattern` of seconds and a `tz` runs each of its slots once"
    ),
    case!(limit, Schedulers, NODE, "a `limit` ends it"),
    case!(template, Schedulers, NODE, "its jobs have the payload and the options of the template"),
    case!(retries, Schedulers, NODE, "a failing run is retried without a further run for it"),
    case!(changed, Schedulers, SINCE_FIVE, "`upsertJobScheduler` changes it while our host works on it"),
    case!(removed, Schedulers, NODE, "`removeJobScheduler` ends it while our host works on it"),
    case!(
        ours_read,
        Schedulers,
        NODE,
        "`getJobScheduler` and `getJobSchedulers` show what `jobcell schedule set` made, and the other way round",
        UNSERVED
    ),
    case!(
        ours_changed,
        Schedulers,
        NODE,
        "`upsertJobScheduler` and `removeJobScheduler` change and remove one of `jobcell schedule set`, and the other \
         way round",
        UNSERVED
    ),
    case!(
        held,
        Schedulers,
        NODE,
        "the pending job of a scheduler is removed by neither side, whoever made it",
        UNSERVED
    ),
    case!(
        theirs_runs_ours,
        Schedulers,
        NODE,
        "its worker carries on a scheduler of `jobcell schedule set`",
        UNSERVED
    ),
    case!(
        both,
        Schedulers,
        SINCE_FIVE,
        "its worker and ours carry on one scheduler in turn, and each slot is run exactly once",
        UNSERVED
    ),
    case!(
        killed,
        Schedulers,
        NODE,
        "a scheduler goes on when our host is killed in the middle of its runs",
        UNSERVED
    ),
    case!(old, Schedulers, FIVES, "a repeatable job of the old kind goes on"),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six }

fn upsert(scene: &Scene<'_>, repeat: Value, template: Value) {
    scene.call("upsertJobScheduler", json!(["s", repeat, template]));
}

fn scheduler(scene: &Scene<'_>) -> Value {
    scene.call("getJobScheduler", json!(["s"]))
}

fn remove(scene: &Scene<'_>) {
    assert_eq!(scene.call("removeJobScheduler", json!(["s"])), true);
}

/// Our own command on the queue of this case.
fn ours(scene: &Scene<'_>, verb: &str, more: &[&str]) -> Value {
    scene.site.cli(&[&["--json", "--yes", "schedule", verb, scene.queue], more].concat()).ok().json()
}

fn slot(id: &str) -> u64 {
    let told = || panic!("not a job of the scheduler: {id}");
    id.strip_prefix("repeat:s:").and_then(|slot| slot.parse().ok()).unwrap_or_else(told)
}

/// The slots that completed, in order, once there are so many; each only once.
fn slots(scene: &Scene<'_>, count: usize) -> Vec<u64> {
    let mut slots: Vec<u64> = scene.completed(count).iter().map(|id| slot(id)).collect();
    slots.sort_unstable();
    let distinct: BTreeSet<u64> = slots.iter().copied().collect();
    assert_eq!(distinct.len(), slots.len(), "a slot completed twice: {slots:?}");
    slots
}

/// Jobs that wait for their time. A scheduler has one at most. Counted before those that are active: a job that starts
/// between two looks is seen by one of them.
fn pending(scene: &Scene<'_>) -> u64 {
    scene.count("delayed") + scene.count("waiting") + scene.count("prioritized")
}

fn every(scene: &Scene<'_>) {
    upsert(scene, json!({"every": 150}), json!({"name": "noop", "data": {"i": 7}}));
    let slots = slots(scene, 8);
    // The floor puts the first slot elsewhere than those that follow.
    let steady = &slots[usize::from(scene.client == Client::Floor)..];
    assert!(steady.windows(2).all(|pair| (pair[1] - pair[0]) % 150 == 0), "{slots:?}");
    for event in scene.seen().iter().filter(|event| event["event"] == "completed") {
        assert_eq!(event["returnvalue"], json!({"ok": true, "i": 7}));
    }
    remove(scene);
    wait::until("its last run is done", || (pending(scene) + scene.count("active") == 0).then_some(()));
    let all = scene.count("completed");
    let made = scene.seen().iter().filter(|event| event["event"] == "added").count() as u64;
    let taken = scene.seen().iter().filter(|event| event["event"] == "removed").count() as u64;
    assert_eq!(made, all + taken, "nothing was made that neither ran nor was removed");
}

fn pattern(scene: &Scene<'_>) {
    upsert(
        scene,
        json!({"pattern": "* * * * * *", "tz": "Asia/Tokyo"}),
        json!({"name": "noop", "data": {"i": 1}}),
    );
    let slots = slots(scene, 3);
    assert!(slots.iter().all(|slot| slot % 1000 == 0), "{slots:?}");
    let now = scheduler(scene);
    assert_eq!((&now["pattern"], &now["tz"]), (&json!("* * * * * *"), &json!("Asia/Tokyo")), "{now}");
    assert!(now["next"].as_u64() > slots.last().copied(), "{now}");
    remove(scene);
}

fn limit(scene: &Scene<'_>) {
    upsert(scene, json!({"every": 60, "limit": 3}), json!({"name": "noop", "data": {"i": 1}}));
    slots(scene, 3);
    scene.wait_any("drained");
    assert_eq!((pending(scene), scene.count("completed")), (0, 3));
    let shown = ours(scene, "ls", &["s"]);
    assert_eq!(
        (&shown["next"], &shown["iterationCount"], &shown["limit"]),
        (&Value::Null, &json!(3), &json!(3))
    );
}

fn template(scene: &Scene<'_>) {
    let data = json!({"i": 5, "list": [], "path": "a/b"});
    let opts = json!({"attempts": 3, "backoff": {"type": "fixed", "delay": 9}, "priority": 4, "removeOnComplete": 50});
    upsert(scene, json!({"every": 100}), json!({"name": "noop", "data": data, "opts": opts}));
    slots(scene, 3);
    let next = scene.call("getDelayed", json!([])).as_array().and_then(|jobs| jobs.first().cloned());
    // Between two runs there may be none that is delayed.
    let next = next.unwrap_or_else(|| scene.get(&scene.completed(4)[3]));
    assert_eq!(next["data"], data, "{next}");
    for name in ["attempts", "backoff", "priority", "removeOnComplete"] {
        assert_eq!(next["opts"][name], opts[name], "{next}");
    }
    assert!(next["opts"]["repeat"]["count"].as_u64() >= Some(2), "{next}");
    assert_eq!(scheduler(scene)["template"]["data"], data);
    remove(scene);
}

fn retries(scene: &Scene<'_>) {
    let template = json!({"name": "flaky", "data": {"until": 3}, "opts": {"attempts": 3, "backoff": 20}});
    upsert(scene, json!({"every": 400, "limit": 3}), template);
    let slots = slots(scene, 3);
    scene.wait_any("drained");
    assert_eq!((pending(scene), scene.count("failed")), (0, 0));
    let added = scene.seen().iter().filter(|event| event["event"] == "added").count();
    assert_eq!(added, slots.len(), "a retry makes no further run");
    for slot in slots {
        let job = scene.get(&format!("repeat:s:{slot}"));
        assert_eq!(job["attemptsMade"], 3, "{job}");
    }
}

fn changed(scene: &Scene<'_>) {
    upsert(scene, json!({"every": 100}), json!({"name": "noop", "data": {"i": 1}}));
    slots(scene, 2);
    upsert(scene, json!({"every": 130}), json!({"name": "noop", "data": {"i": 2}}));
    let second = |event: &Value| event["event"] == "completed" && event["returnvalue"]["i"] == 2;
    let runs = wait::until("runs of the new rule", || {
        let runs: Vec<Value> = scene.seen().into_iter().filter(second).collect();
        (runs.len() >= 3).then_some(runs)
    });
    let slots: Vec<u64> = runs.iter().map(|run| slot(run["jobId"].as_str().expect("an id"))).collect();
    assert!(slots.windows(2).all(|pair| (pair[1] - pair[0]) % 130 == 0), "{slots:?}");
    assert!(pending(scene) <= 1);
    remove(scene);
}

fn removed(scene: &Scene<'_>) {
    upsert(scene, json!({"every": 80}), json!({"name": "sleep", "data": {"ms": 60}}));
    slots(scene, 2);
    remove(scene);
    wait::until("its last run is done", || (pending(scene) + scene.count("active") == 0).then_some(()));
    assert!(scheduler(scene).is_null());
    assert_eq!(ours(scene, "ls", &[]), json!([]));
}

fn ours_read(scene: &Scene<'_>) {
    let data = r#"{"i":[],"path":"a/b"}"#;
    let more = [
        "--name",
        "report",
        "--data",
        data,
        "--attempts",
        "4",
        "--priority",
        "2",
        "--limit",
        "9",
        "--end",
        "2039-01-01",
    ];
    let set = ours(scene, "set", &[&["s", "--every", "1h", "--offset", "5m"][..], &more].concat());
    let theirs = scheduler(scene);
    assert_eq!((&theirs["key"], &theirs["name"]), (&json!("s"), &json!("report")), "{theirs}");
    assert_eq!(
        (&theirs["every"], &theirs["offset"], &theirs["limit"]),
        (&json!(3_600_000), &json!(300_000), &json!(9))
    );
    assert_eq!((&theirs["next"], &theirs["iterationCount"]), (&set["next"], &json!(1)), "{theirs}");
    assert_eq!(theirs["endDate"], 2_177_452_800_000_u64, "{theirs}");
    assert_eq!(theirs["template"]["data"], json!({"i": [], "path": "a/b"}));
    assert_eq!(theirs["template"]["opts"], json!({"attempts": 4, "priority": 2}));
    ours(scene, "set", &["cron", "--cron", "0 9 * * MON-FRI", "--tz", "Europe/Berlin"]);
    let all = scene.call("getJobSchedulers", json!([0, -1, true]));
    let keys: BTreeSet<&str> =
        all.as_array().expect("a list").iter().filter_map(|one| one["key"].as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["cron", "s"]), "{all}");
    assert_eq!(scene.call("getJobSchedulersCount", json!([])), 2);
    let theirs = scene.call("getJobScheduler", json!(["cron"]));
    assert_eq!(
        (&theirs["pattern"], &theirs["tz"]),
        (&json!("0 9 * * MON-FRI"), &json!("Europe/Berlin")),
        "{theirs}"
    );
    let job = scene.get(set["job"].as_str().expect("a job"));
    assert_eq!(
        (&job["repeatJobKey"], &job["opts"]["repeat"]["every"]),
        (&json!("s"), &json!(3_600_000)),
        "{job}"
    );

    let repeat =
        json!({"pattern": "0 0 1 1 *", "tz": "Asia/Tokyo", "limit": 2, "endDate": "2038-01-01T00:00:00Z"});
    scene.call(
        "upsertJobScheduler",
        json!(["theirs", repeat, {"name": "n", "data": [1], "opts": {"attempts": 2}}]),
    );
    let shown = ours(scene, "ls", &["theirs"]);
    assert_eq!(
        (&shown["pattern"], &shown["tz"], &shown["limit"]),
        (&json!("0 0 1 1 *"), &json!("Asia/Tokyo"), &json!(2))
    );
    assert_eq!(
        (&shown["name"], &shown["data"], &shown["opts"]["attempts"]),
        (&json!("n"), &json!([1]), &json!(2))
    );
    assert_eq!(shown["endDate"], 2_145_916_800_000_u64, "{shown}");
    assert_eq!(shown["next"], scene.call("getJobScheduler", json!(["theirs"]))["next"]);
}

fn ours_changed(scene: &Scene<'_>) {
    let first = ours(scene, "set", &["s", "--cron", "0 0 1 1 *"]);
    upsert(scene, json!({"every": 3_600_000, "offset": 1000}), json!({"name": "n"}));
    assert_eq!(pending(scene), 1, "theirs took the place of ours");
    assert!(scene.get(first["job"].as_str().expect("a job")).is_null());
    let shown = ours(scene, "ls", &["s"]);
    assert_eq!((&shown["every"], &shown["pattern"]), (&json!(3_600_000), &Value::Null), "{shown}");
    let again = ours(scene, "set", &["s", "--every", "1h", "--offset", "1s"]);
    assert_eq!(again["next"], shown["next"], "the same distance keeps its slots");
    assert_eq!(pending(scene), 1);
    ours(scene, "set", &["s", "--cron", "0 0 2 1 *"]);
    let theirs = scheduler(scene);
    assert_eq!((&theirs["pattern"], &theirs["every"]), (&json!("0 0 2 1 *"), &Value::Null), "{theirs}");
    remove(scene);
    assert_eq!((ours(scene, "ls", &[]), pending(scene)), (json!([]), 0));
    upsert(scene, json!({"pattern": "0 0 1 1 *"}), json!({"name": "n"}));
    ours(scene, "rm", &["s"]);
    assert!(scheduler(scene).is_null());
    assert_eq!(pending(scene), 0);
}

fn held(scene: &Scene<'_>) {
    let of_ours =
        ours(scene, "set", &["ours", "--cron", "0 0 1 1 *"])["job"].as_str().expect("a job").to_owned();
    let told = scene.refusal(&of_ours, "remove", json!([]));
    assert!(told.contains("belongs to a job scheduler"), "{told}");
    upsert(scene, json!({"pattern": "0 0 1 1 *"}), json!({"name": "n"}));
    let of_theirs = format!("repeat:s:{}", scheduler(scene)["next"]);
    let said = ["belongs to scheduler \"s\"", "schedule rm"];
    let _ = scene.site.cli(&["--yes", "job", "remove", scene.queue, &of_theirs]).exits(1).says(&said);
    let _ = scene.site.cli(&["--yes", "queue", "drain", scene.queue, "--delayed"]).ok();
    scene.call("drain", json!([true]));
    assert_eq!(pending(scene), 2);
}

fn theirs_runs_ours(scene: &Scene<'_>) {
    ours(scene, "set", &["s", "--every", "150", "--data", r#"{"i":3}"#]);
    scene.bull.work(scene.queue, json!({}));
    let slots = slots(scene, 5);
    // The floor puts the slots where it would have put them.
    let in_step = slots.windows(2).all(|pair| (pair[1] - pair[0]) % 150 == 0);
    assert!(in_step || scene.client == Client::Floor, "{slots:?}");
    let by_them = |event: &&Value| event["event"] == "completed" && event["returnvalue"]["by"] == "node";
    assert!(scene.seen().iter().filter(by_them).count() >= 5);
    let shown = ours(scene, "ls", &["s"]);
    assert!(shown["iterationCount"].as_u64() >= Some(6), "{shown}");
    stop(scene);
}

fn both(scene: &Scene<'_>) {
    let site = Site::redis(scene.redis, &scene.own_config("concurrency = 2"));
    let host = Host::start(&site);
    scene.bull.work(scene.queue, json!({"concurrency": 2}));
    upsert(scene, json!({"every": 60}), json!({"name": "noop", "data": {"i": 1}}));
    slots(scene, 15);
    stop(scene);
    // Ours alone, then theirs alone.
    let count = scene.completed(15).len();
    slots(scene, count + 5);
    host.stop();
    let count = scene.completed(count + 5).len();
    let again = Bull::start(scene.client, scene.redis);
    again.work(scene.queue, json!({"concurrency": 2}));
    let slots = slots(scene, count + 5);
    assert!(slots.windows(2).all(|pair| (pair[1] - pair[0]) % 60 == 0), "{slots:?}");
    let seen = scene.seen();
    assert!(seen.iter().all(|event| event["event"] != "stalled" && event["event"] != "failed"), "{seen:?}");
    let ends =
        |by: &dyn Fn(&Value) -> bool| seen.iter().filter(|e| e["event"] == "completed" && by(e)).count();
    let (ours, theirs) =
        (ends(&|e| e["returnvalue"]["ok"] == true), ends(&|e| e["returnvalue"]["by"] == "node"));
    assert!(ours >= 5 && theirs >= 5, "ours {ours}, theirs {theirs}");
    assert!(pending(scene) <= 1);
    remove(scene);
}

fn killed(scene: &Scene<'_>) {
    let site = Site::redis(
        scene.redis,
        &scene.own_config("concurrency = 2\nlock = \"1s\"\nstalled-interval = \"1s\""),
    );
    upsert(scene, json!({"every": 50}), json!({"name": "sleep", "data": {"ms": 30}}));
    let mut done = 0;
    for round in 1..=3 {
        let host = Host::start(&site);
        done = scene.completed(done + 4).len();
        wait::until("a run is under way", || (scene.count("active") > 0).then_some(()));
        host.kill();
        assert!(pending(scene) <= 1, "round {round}");
        assert!(!scheduler(scene)["next"].is_null());
    }
    let host = Host::start(&site);
    let slots = slots(scene, done + 10);
    assert!(slots.iter().all(|slot| *slot <= now_ms()), "{slots:?}");
    remove(scene);
    // What the killed hosts ran is run again, each slot once in the end.
    // A stalled job moves behind the back of whoever counts one state after the other; so the whole has to come out even.
    let of = |kind: &str| scene.seen().iter().filter(|event| event["event"] == kind).count();
    wait::until("every slot is done or was taken back", || {
        let is_left = pending(scene) + scene.count("active") > 0;
        (!is_left && scene.count("completed") as usize + of("removed") == of("added")).then_some(())
    });
    let seen = scene.seen();
    let made: BTreeSet<_> = seen
        .iter()
        .filter(|event| event["event"] == "added")
        .map(|event| event["jobId"].to_string())
        .collect();
    assert_eq!((made.len(), scene.count("failed")), (of("added"), 0), "a slot was made twice");
    host.stop();
}

fn old(scene: &Scene<'_>) {
    scene.add("noop", json!({"i": 9}), json!({"repeat": {"every": 200, "limit": 4}, "attempts": 2}));
    let done = scene.completed(4);
    let distinct: BTreeSet<&String> = done.iter().collect();
    assert_eq!(distinct.len(), done.len(), "{done:?}");
    scene.wait_any("drained");
    assert_eq!((pending(scene), scene.count("completed")), (0, 4), "its limit ends it");
    // One that is named by what it is, as the oldest clients do.
    let repeat = json!({"pattern": "* * * * * *", "limit": 2, "key": "noop:::Asia/Tokyo:* * * * * *"});
    scene.add("noop", json!({"i": 9}), json!({"repeat": repeat}));
    scene.completed(6);
    wait::until("its limit ends it", || (pending(scene) + scene.count("active") == 0).then_some(()));
    assert_eq!(scene.count("completed"), 6);
}

fn stop(scene: &Scene<'_>) {
    scene.bull.call(json!({"on": "worker", "queue": scene.queue, "method": "stop"}));
}
