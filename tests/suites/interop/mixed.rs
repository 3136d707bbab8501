//! A fleet of our hosts and real BullMQ workers on one queue.

use std::time::{Duration, Instant};

use jobcell_tests::parity::{self, Area};
use jobcell_tests::{Bull, Client, Host, Ledger, RedisServer, Site, wait};
use serde_json::{Value, json};

/// Jobs of one run.
const JOBS: usize = 10_000;
/// Jobs that a producer adds with one call.
const TOGETHER: usize = 500;
/// For all of them, on two busy cores.
const LIMIT: Duration = Duration::from_secs(180);

/// Locks are short, so that what a killed worker had is soon another's.
const CONFIG: &str = r#"
[queues.work]
handler = "basic"
concurrency = 8
lock = "2s"
stalled-interval = "1s"
max-stalled = 50
[handlers.basic]
source = "${basic}"
"#;

/// The `i`th job, and how many attempts it takes.
fn job(i: usize) -> (Value, u64) {
    let backoff = json!({"type": "fixed", "delay": 50});
    let noop = |opts: Value| json!({"name": "noop", "data": {"i": i}, "opts": opts});
    let flaky =
        |until: u64, opts: Value| json!({"name": "flaky", "data": {"i": i, "until": until}, "opts": opts});
    match i % 20 {
        0 | 1 => (noop(json!({"priority": i % 5 + 1})), 1),
        2 | 3 => (noop(json!({"delay": i % 3000})), 1),
        4 => (noop(json!({"delay": i % 2000, "priority": i % 3 + 1})), 1),
        5 => (flaky(2, json!({"attempts": 3})), 2),
        6 => (flaky(3, json!({"attempts": 3, "backoff": backoff})), 3),
        7 => (flaky(2, json!({"attempts": 2, "priority": 4, "backoff": backoff})), 2),
        // Long enough to be under way when a worker is killed.
        8 if i.is_multiple_of(3) => (json!({"name": "sleep", "data": {"i": i, "ms": 150}}), 1),
        9 => (noop(json!({"lifo": true})), 1),
        _ => (noop(json!({})), 1),
    }
}

/// A real BullMQ worker in a process of its own; dropped, it is killed.
fn node_worker(major: Client, redis: &RedisServer, ledger: &Ledger) -> Bull {
    let worker = Bull::start(major, redis);
    let options =
        json!({"concurrency": 8, "lockDuration": 2000, "stalledInterval": 1000, "maxStalledCount": 50});
    worker.work("work", options);
    ledger.keep_events();
    worker
}

fn until_done(ledger: &Ledger, jobs: usize) {
    wait::within(LIMIT, &format!("{jobs} jobs are completed"), || (ledger.completed() >= jobs).then_some(()));
}

/// Two kills of ours and one of BullMQ's, each in the middle of the work.
fn fleet(major: Client) {
    let _case = parity::case(
        major,
        Area::Fleet,
        "10,000 jobs that fail, wait and have priorities are each completed once, though workers of both kinds are killed",
    );
    let redis = RedisServer::start();
    let producer = Bull::start(major, &redis);
    producer.queue("work", "pause", json!([]));
    let ledger = Ledger::of(&redis, "work");
    let mut attempts = Vec::with_capacity(JOBS);
    let all: Vec<usize> = (0..JOBS).collect();
    let mut ids = Vec::with_capacity(JOBS);
    for part in all.chunks(TOGETHER) {
        let (jobs, takes): (Vec<Value>, Vec<u64>) = part.iter().map(|i| job(*i)).unzip();
        let added = producer.queue("work", "addBulk", json!([jobs]));
        ids.extend(added.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        attempts.extend(takes);
    }
    let sites = [Site::redis(&redis, CONFIG), Site::redis(&redis, CONFIG)];
    let survivor = Host::start(&sites[0]);
    let mut ours = Host::start(&sites[1]);
    let theirs = node_worker(major, &redis, &ledger);
    ledger.keep_events();
    let began = Instant::now();
    producer.queue("work", "resume", json!([]));

    until_done(&ledger, JOBS * 15 / 100);
    ours.kill();
    ours = Host::start(&sites[1]);
    until_done(&ledger, JOBS * 40 / 100);
    drop(theirs);
    let theirs = node_worker(major, &redis, &ledger);
    until_done(&ledger, JOBS * 65 / 100);
    ours.kill();
    ours = Host::start(&sites[1]);
    until_done(&ledger, JOBS);
    eprintln!("{major}: {JOBS} jobs with three kills in {:?}", began.elapsed());

    let mut shares = [0_usize; 2];
    let mut wrong = Vec::new();
    let completions = ledger.completions();
    for (id, takes) in ids.iter().zip(&attempts) {
        let times = completions.get(id).copied().unwrap_or(0);
        let (made, result) = (ledger.field(id, "atm"), ledger.field(id, "returnvalue").unwrap_or_default());
        if times != 1 || made != Some(takes.to_string()) {
            wrong.push(format!("job {id}: completed {times} times with {made:?} of {takes} attempts"));
        }
        shares[usize::from(result.contains("node"))] += 1;
    }
    assert!(wrong.is_empty(), "{major}:\n{}", wrong.join("\n"));
    let stalled = ledger.count("stalled").len();
    eprintln!("{major}: {} by us, {} by BullMQ, {stalled} recovered after a kill", shares[0], shares[1]);
    assert!(shares.iter().all(|share| *share > JOBS / 20), "{major}: both had a share: {shares:?}");
    assert!(stalled > 0, "{major}: no kill hit a job, so nothing was tested");
    let states = json!(["completed", "failed", "active", "waiting", "delayed"]);
    let counts = producer.queue("work", "getJobCounts", states);
    for (state, count) in [("completed", JOBS), ("failed", 0), ("active", 0), ("waiting", 0), ("delayed", 0)]
    {
        assert_eq!(counts[state], count, "{major}: {state} in {counts}");
    }
    drop(theirs);
    survivor.stop();
    ours.stop();
    ledger.check_nothing_left();
}

#[test]
fn ten_thousand_jobs_of_a_fleet_with_bullmq_5_are_each_completed_once_whoever_is_killed() {
    fleet(Client::Five);
}

#[test]
fn ten_thousand_jobs_of_a_fleet_with_bullmq_6_are_each_completed_once_whoever_is_killed() {
    fleet(Client::Six);
}
