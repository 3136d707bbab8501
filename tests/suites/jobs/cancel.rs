//! `job cancel`: ending jobs from another process than the one that runs them.

use std::time::{Duration, Instant};

use jobcell_tests::{Host, RedisServer, Site, wait};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

/// One queue, whose handler may run for a long time.
fn long(more: &str) -> String {
    format!(
        r#"
[queues.work]
handler = "basic"
concurrency = 4
lock = "1s"
stalled-interval = "1s"
max-stalled = 3
{more}
[handlers.basic]
source = "${{basic}}"
limits = {{ deadline = "60s" }}
"#
    )
}

fn cancel(site: &Site, id: &str) -> Value {
    site.cli(&["--json", "job", "cancel", "work", id]).ok().json()
}

/// Waits until the job is in this state, and returns it.
#[track_caller]
fn until(site: &Site, id: &str, state: &str) -> Value {
    wait::until(&format!("job {id} is {state}"), || {
        Some(site.job("work", id)).filter(|job| job["state"] == state)
    })
}

#[track_caller]
fn is_cancelled(job: &Value) {
    assert_eq!(job["state"], "failed", "{job}");
    assert!(
        job["failedReason"].as_str().is_some_and(|why| why.starts_with("the job was cancelled")),
        "{job}"
    );
}

on_both_stores! {
    fn a_job_that_waits_is_ended_at_once_and_can_be_retried(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "noop", &json!({"i": 1}), &["--delay", "600000"]);
        let said = cancel(&site, &id);
        assert_eq!(said, json!({"id": id, "queue": "work", "was": "delayed", "state": "failed"}));
        let job = site.job("work", &id);
        is_cancelled(&job);
        assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(0), &json!(0)), "{job}");
        let _ = site.cli(&["job", "cancel", "work", &id]).exits(1).says(&["is failed already"]);

        let _ = site.cli(&["job", "retry", "work", &id]).ok();
        let _ = site.cli(&["job", "cancel", "work", &id]).ok().answers(&["was waiting and has ended"]);
        let _ = site.cli(&["job", "retry", "work", &id]).ok();
        let _ = site.burst();
        assert_eq!(site.job("work", &id)["state"], "completed");
        let _ = site.cli(&["job", "cancel", "work", &id]).exits(1).says(&["is completed already"]);
    }

    fn what_cannot_be_cancelled_is_said(stage: &Stage) {
        let site = stage.site(BASIC);
        let _ = site.cli(&["job", "cancel", "work", "nobody"]).exits(1).says(&["\"nobody\"", "does not exist"]);
        let _ = site.cli(&["schedule", "set", "work", "daily", "--every", "1d", "--name", "noop"]).ok();
        let list = site.cli(&["--json", "job", "list", "work"]).ok().json();
        let id = list[0]["id"].as_str().expect("the scheduler's job").to_owned();
        let _ = site.cli(&["job", "cancel", "work", &id]).exits(1).says(&["schedule rm work daily"]);
        assert_eq!(site.cli(&["--json", "job", "list", "work"]).ok().json()[0]["state"], list[0]["state"]);
    }
}

#[test]
fn a_handler_that_looks_ends_by_itself() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"60s\""));
    let host = Host::start(&site);
    let id = site.enqueue("work", "wait-for-cancel", &json!({}), &[]);
    let _ = until(&site, &id, "active");
    let said = cancel(&site, &id);
    assert_eq!(said, json!({"id": id, "queue": "work", "was": "active", "state": "active"}));
    // It answers a result, and work that is done counts.
    assert_eq!(until(&site, &id, "completed")["returnvalue"], "cancelled");
    host.stop();
}

#[test]
fn handlers_that_do_not_look_are_ended_after_the_grace_and_their_neighbours_go_on() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"500ms\""));
    let host = Host::start(&site);
    let sleeper = site.enqueue("work", "sleep", &json!({"ms": 50_000}), &["--attempts", "5"]);
    let spinner = site.enqueue("work", "spin", &json!({}), &["--attempts", "5"]);
    let neighbour = site.enqueue("work", "sleep", &json!({"ms": 6_000}), &[]);
    for id in [&sleeper, &spinner, &neighbour] {
        let _ = until(&site, id, "active");
    }
    let start = Instant::now();
    let _ = site.cli(&["job", "cancel", "work", &sleeper]).ok().answers(&["is running and is being ended"]);
    let _ = cancel(&site, &spinner);
    for id in [&sleeper, &spinner] {
        let job = until(&site, id, "failed");
        is_cancelled(&job);
        assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(1)), "{job}");
        assert_eq!(
            site.cli(&["--json", "job", "receipt", "work", id]).ok().json()[0]["outcome"],
            "cancelled"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let count = wait::until("the cancelled are counted", || {
        let page = host.get("/metrics")?.1;
        page.lines().find(|line| line.contains("outcome=\"cancelled\"")).map(str::to_owned)
    });
    assert!(count.starts_with("jobcell_jobs_total{") && count.ends_with(" 2"), "{count}");
    let _ = until(&site, &neighbour, "completed");
    let keys = redis.client().run(&["KEYS", "bull:work:jobcell:*"]).texts();
    // What is left of the requests goes by itself.
    for key in keys {
        let left = redis.client().run(&["PTTL", &key]).int();
        assert!((1..=600_000).contains(&left), "{key}: {left}");
    }
    host.stop();
}

#[test]
fn a_job_whose_host_dies_before_it_heard_is_not_run_again() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"30s\""));
    let host = Host::start(&site);
    let id = site.enqueue("work", "spin", &json!({}), &["--attempts", "5"]);
    let _ = until(&site, &id, "active");
    let _ = cancel(&site, &id);
    host.kill();
    let host = Host::start(&site);
    let job = until(&site, &id, "failed");
    is_cancelled(&job);
    assert_eq!(job["stalledCounter"], 1, "{job}");
    host.stop();
}

#[test]
fn a_later_job_with_the_same_id_is_left_alone() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"0s\""));
    let host = Host::start(&site);
    let start = |ms: u64| {
        let id = site.enqueue("work", "sleep", &json!({"ms": ms}), &["--id", "order", "--remove-on-fail"]);
        let _ = until(&site, &id, "active");
    };
    start(50_000);
    let _ = cancel(&site, "order");
    wait::until("it is gone", || (site.cli(&["job", "get", "work", "order"]).code == Some(1)).then_some(()));
    // Longer than the host takes to look again.
    start(3_000);
    let job = until(&site, "order", "completed");
    assert_eq!(job["attemptsStarted"], 1, "{job}");
    host.stop();
}

#[test]
fn a_parent_hears_of_it_by_its_policy() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"0s\""));
    let host = Host::start(&site);
    let tree = json!({
        "name": "noop", "queueName": "work", "data": {"i": 1}, "opts": {"jobId": "top"},
        "children": [{"name": "spin", "queueName": "work", "opts": {"failParentOnFailure": true, "jobId": "kid"}}],
    });
    let _ = site.cli(&["flow", "add", &tree.to_string()]).ok();
    let _ = until(&site, "kid", "active");
    let _ = cancel(&site, "kid");
    is_cancelled(&until(&site, "kid", "failed"));
    assert_eq!(until(&site, "top", "failed")["failedReason"], "child bull:work:kid failed");
    host.stop();
}

#[test]
fn a_cancel_reaches_a_host_that_lost_its_connections() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &long("cancel-grace = \"0s\"").replace("lock = \"1s\"", "lock = \"30s\""));
    let host = Host::start(&site);
    let id = site.enqueue("work", "spin", &json!({}), &[]);
    let _ = until(&site, &id, "active");
    let _ = redis.client().run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let _ = cancel(&site, &id);
    is_cancelled(&until(&site, &id, "failed"));
    host.stop();
}

#[test]
fn jobs_of_a_list_queue_are_cancelled_too() {
    let redis = RedisServer::start();
    let site = Site::redis(
        &redis,
        &format!(
            "{}[queues.overlay]\nprotocol = \"list\"\nkey = \"jobs\"\nrecord = \"job:{{id}}\"\nhandler = \"basic\"\n\
             cancel-grace = \"0s\"\nconcurrency = 1\n",
            long("")
        ),
    );
    let mut client = redis.client();
    for id in ["a", "b"] {
        let _ = client.run(&["LPUSH", "jobs", &format!(r#"{{"id":"{id}","name":"spin"}}"#)]);
    }
    let state = |id: &str| {
        let ran = site.cli(&["--json", "job", "get", "overlay", id]);
        (ran.code == Some(0)).then(|| ran.json())
    };
    let failed = |id: &str| {
        let job = wait::until("it has failed", || state(id).filter(|job| job["state"] == "failed"));
        is_cancelled(&job);
        job
    };
    let host = Host::start(&site);
    wait::until("it runs", || state("a").filter(|job| job["state"] == "active"));
    let said = site.cli(&["--json", "job", "cancel", "overlay", "b"]).ok().json();
    assert_eq!((&said["was"], &said["state"]), (&json!("waiting"), &json!("failed")), "{said}");
    assert_eq!(failed("b")["attemptsMade"], 0);
    let said = site.cli(&["--json", "job", "cancel", "overlay", "a"]).ok().json();
    assert_eq!(said["was"], "active", "{said}");
    assert_eq!(failed("a")["attemptsMade"], 1);
    let receipts = site.cli(&["--json", "job", "receipt", "overlay", "a"]).ok().json();
    assert_eq!(
        (&receipts[0]["attempt"], &receipts[0]["outcome"]),
        (&json!(1), &json!("cancelled")),
        "{receipts}"
    );
    let dead = client.run(&["LRANGE", "jobs:dead", "0", "-1"]).texts();
    assert_eq!(dead.len(), 2, "{dead:?}");
    host.stop();
}
