//! What getters and counts say about jobs and workers of ours.

use jobcell_tests::{Client, Host, Site, wait};
use serde_json::{Value, json};

use super::rig::{Case, ONE_BY_ONE, Scene, UNSERVED, case, tests_of};

const NODE: &[Client] = Client::NODE;
const NODE_AND_PYTHON: &[Client] = &[Client::Floor, Client::Five, Client::Six, Client::Python];

const CASES: &[Case] = &[
    case!(
        states,
        Getters,
        NODE_AND_PYTHON,
        "`getState` and `getJobCounts` follow a job through every state",
        ONE_BY_ONE
    ),
    case!(
        lists,
        Getters,
        NODE_AND_PYTHON,
        "`getWaiting`, `getActive`, `getDelayed` and the like list the jobs in their order",
        ONE_BY_ONE
    ),
    case!(
        job_fields,
        Getters,
        NODE,
        "`Job` has every field that BullMQ's own worker fills",
        "name = \"cells-7\""
    ),
    case!(
        per_priority,
        Getters,
        NODE_AND_PYTHON,
        "`getCountsPerPriority` counts what waits by priority",
        UNSERVED
    ),
    case!(metrics, Getters, NODE, "`getMetrics` counts what we complete and fail", "metrics-points = 60"),
    case!(
        prometheus,
        Getters,
        Client::NODE_SINCE_FIVE,
        "`exportPrometheusMetrics` counts our jobs",
        "metrics-points = 60"
    ),
    case!(
        workers,
        Getters,
        NODE,
        "`getWorkers` lists our worker by name while it runs, and `pb` names it",
        UNSERVED
    ),
    case!(unnamed_worker, Getters, NODE, "`getWorkersCount` counts a worker without a name", UNSERVED),
    case!(job_log_pages, Getters, NODE, "`getJobLogs` pages through a log in both directions"),
    case!(finished_pages, Getters, NODE, "`getJobs` pages through finished jobs, newest first"),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python }

fn states(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 900}), json!({}));
    scene.wait_state(&running, "active");
    let waiting = scene.add("noop", json!({"i": 1}), json!({}));
    let prioritized = scene.add("fail", json!({"kind": "fatal", "message": "no"}), json!({"priority": 3}));
    let delayed = scene.add("noop", json!({"i": 2}), json!({"delay": 3_600_000}));
    let all =
        [(&running, "active"), (&waiting, "waiting"), (&prioritized, "prioritized"), (&delayed, "delayed")];
    for (id, state) in all {
        assert_eq!(scene.state(id), state);
        assert_eq!(scene.count(state), 1, "{state}");
    }
    assert!(scene.finished(&running).is_ok() && scene.finished(&waiting).is_ok());
    assert!(scene.finished(&prioritized).is_err());
    for (state, count) in
        [("active", 0), ("waiting", 0), ("prioritized", 0), ("delayed", 1), ("completed", 2), ("failed", 1)]
    {
        assert_eq!(scene.count(state), count, "{state}");
    }
    assert_eq!(scene.state(&prioritized), "failed");
}

fn ids(jobs: &Value) -> Vec<String> {
    let jobs = jobs.as_array().expect("jobs").iter();
    jobs.map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
}

fn lists(scene: &Scene<'_>) {
    let running = scene.add("sleep", json!({"ms": 900}), json!({}));
    scene.wait_state(&running, "active");
    let waiting: Vec<_> = (0..3).map(|i| scene.add("noop", json!({"i": i}), json!({}))).collect();
    let later = scene.add("noop", json!({"i": 4}), json!({"delay": 7_200_000}));
    let sooner = scene.add("noop", json!({"i": 5}), json!({"delay": 3_600_000}));
    assert_eq!(ids(&scene.call("getActive", json!([]))), [running]);
    assert_eq!(ids(&scene.call("getWaiting", json!([]))), waiting);
    assert_eq!(ids(&scene.call("getDelayed", json!([]))), [sooner, later]);
    let mut done = scene.completed(4);
    done.reverse();
    assert_eq!(ids(&scene.call("getCompleted", json!([]))), done, "newest first");
}

fn job_fields(scene: &Scene<'_>) {
    let opts = json!({"attempts": 3, "backoff": 10, "priority": 4, "jobId": "whole"});
    let (id, _) = scene.outcome("flaky", json!({"until": 2}), opts);
    let job = scene.get(&id);
    for (field, value) in [
        ("id", json!("whole")),
        ("name", json!("flaky")),
        ("attemptsMade", json!(2)),
        ("attemptsStarted", json!(2)),
        ("returnvalue", json!(2)),
        ("priority", json!(4)),
        ("delay", json!(0)),
        ("processedBy", json!("cells-7")),
    ] {
        assert_eq!(job[field], value, "{field} of {job}");
    }
    for field in ["timestamp", "processedOn", "finishedOn"] {
        assert!(job[field].is_u64(), "{field} of {job}");
    }
    assert_eq!(job["stacktrace"].as_array().map(Vec::len), Some(1), "{job}");
    assert_eq!(job["opts"]["backoff"], json!({"type": "fixed", "delay": 10}), "{job}");
}

fn per_priority(scene: &Scene<'_>) {
    for priority in [0, 0, 1, 7, 7, 7] {
        scene.add("noop", json!({"i": 1}), json!({"priority": priority}));
    }
    let counts = scene.call("getCountsPerPriority", json!([[0, 1, 7, 9]]));
    assert_eq!(counts, json!({"0": 2, "1": 1, "7": 3, "9": 0}));
    let host = Host::start(&Site::redis(scene.redis, &scene.own_config("")));
    scene.completed(6);
    assert_eq!(scene.call("getCountsPerPriority", json!([[0, 1, 7]])), json!({"0": 0, "1": 0, "7": 0}));
    host.stop();
}

fn metrics(scene: &Scene<'_>) {
    for i in 0..3 {
        assert!(scene.outcome("noop", json!({"i": i}), json!({})).1.is_ok());
    }
    assert!(scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({})).1.is_err());
    // The counts are written with the end of a job, before anybody is told.
    assert_eq!(scene.call("getMetrics", json!(["completed"]))["meta"]["count"], 3);
    assert_eq!(scene.call("getMetrics", json!(["failed"]))["meta"]["count"], 1);
    // A minute later the next end closes the minute; the clock of the queue is turned back instead of waiting.
    let key = scene.key("metrics:completed");
    let earlier = scene.get(&scene.outcome("noop", json!({"i": 9}), json!({})).0)["finishedOn"]
        .as_u64()
        .expect("a time");
    scene.redis.client().run(&["HSET", &key, "prevTS", &(earlier - 120_000).to_string()]);
    assert!(scene.outcome("noop", json!({"i": 10}), json!({})).1.is_ok());
    let metrics = scene.call("getMetrics", json!(["completed"]));
    assert_eq!(metrics["meta"]["count"], 5, "{metrics}");
    // The minute that was closed, and an empty one since; the floor gives them as texts.
    let points: Vec<String> =
        metrics["data"].as_array().expect("points").iter().map(Value::to_string).collect();
    let points: Vec<_> = points.iter().map(|point| point.trim_matches('"')).collect();
    assert_eq!(points, ["0", "4"]);
}

fn prometheus(scene: &Scene<'_>) {
    assert!(scene.outcome("noop", json!({"i": 1}), json!({})).1.is_ok());
    scene.add("noop", json!({"i": 2}), json!({"delay": 3_600_000}));
    let text = scene.call("exportPrometheusMetrics", json!([]));
    let text = text.as_str().expect("a text");
    let line = |state: &str| format!("bullmq_job_count{{queue=\"{}\", state=\"{state}\"}} 1", scene.queue);
    assert!(text.contains(&line("completed")) && text.contains(&line("delayed")), "{text}");
}

fn workers(scene: &Scene<'_>) {
    let host = Host::start(&Site::redis(scene.redis, &scene.own_config("name = \"cells-1\"")));
    let workers = wait::until("a worker is listed", || {
        let workers = scene.call("getWorkers", json!([]));
        workers.as_array().is_some_and(|workers| !workers.is_empty()).then_some(workers)
    });
    assert_eq!(workers.as_array().map(Vec::len), Some(1), "{workers}");
    assert!(workers[0]["rawname"].as_str().is_some_and(|name| name.ends_with(":w:cells-1")), "{workers}");
    let (id, _) = scene.outcome("noop", json!({"i": 1}), json!({}));
    assert_eq!(scene.hash(&id)["pb"], "cells-1");
    host.stop();
    wait::until("no worker is listed", || (scene.call("getWorkersCount", json!([])) == 0).then_some(()));
}

fn unnamed_worker(scene: &Scene<'_>) {
    assert_eq!(scene.call("getWorkersCount", json!([])), 0);
    let host = Host::start(&Site::redis(scene.redis, &scene.own_config("")));
    wait::until("a worker is counted", || (scene.call("getWorkersCount", json!([])) == 1).then_some(()));
    let (id, _) = scene.outcome("noop", json!({"i": 1}), json!({}));
    assert!(!scene.hash(&id).contains_key("pb"));
    host.stop();
}

fn job_log_pages(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("logs", json!({"lines": 5}), json!({"keepLogs": 4}));
    let all = scene.call("getJobLogs", json!([id]));
    let all = all["logs"].as_array().expect("lines");
    assert_eq!(all.len(), 4);
    let page = scene.call("getJobLogs", json!([id, 1, 2]));
    assert_eq!((&page["logs"], &page["count"]), (&json!(all[1..3]), &json!(4)));
    let backwards = scene.call("getJobLogs", json!([id, 0, 1, false]));
    let newest: Vec<_> = all.iter().rev().take(2).collect();
    let mut backwards: Vec<_> = backwards["logs"].as_array().expect("lines").iter().collect();
    // Which of the two comes first is the client's affair.
    backwards.sort_by_key(|line| std::cmp::Reverse(all.iter().position(|other| other == *line)));
    assert_eq!(backwards, newest);
}

fn finished_pages(scene: &Scene<'_>) {
    for i in 0..6 {
        assert!(scene.outcome("noop", json!({"i": i}), json!({})).1.is_ok());
    }
    let mut newest = scene.completed(6);
    newest.reverse();
    assert_eq!(ids(&scene.call("getJobs", json!([["completed"], 0, 2]))), newest[..3]);
    assert_eq!(ids(&scene.call("getJobs", json!([["completed"], 3, 5]))), newest[3..]);
    assert_eq!(scene.call("getCompletedCount", json!([])), 6);
}
