//! What the real BullMQ sees of a job that we run.

use jobcell_tests::{Bull, Host, Major, RedisServer, Site, wait};
use serde_json::{Value, json};

use crate::stage::BASIC;

fn names_of(events: &[Value], id: &str) -> Vec<String> {
    let of_job = events.iter().filter(|event| event["jobId"] == id);
    of_job.filter_map(|event| Some(event["event"].as_str()?.to_owned())).collect()
}

#[test]
fn queue_events_hears_the_life_of_a_job() {
    for major in Major::ALL {
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        let host = Host::start(&Site::redis(&redis, BASIC));
        bull.listen("work");
        let good = bull.add("work", "noop", json!({"i": 1}), json!({}));
        let completed = bull.wait_event("work", "completed", &good);
        assert_eq!(completed["returnvalue"], json!({"ok": true, "i": 1}), "{completed}");
        assert_eq!(completed["prev"], "active", "{completed}");
        assert_eq!(
            names_of(&bull.seen("work"), &good),
            ["added", "waiting", "active", "completed"],
            "{major:?}"
        );

        let bad = bull.add("work", "flaky", json!({"until": 9}), json!({"attempts": 2}));
        let failed = bull.wait_event("work", "failed", &bad);
        assert!(
            failed["failedReason"].as_str().is_some_and(|why| why.contains("attempt 2 fails")),
            "{failed}"
        );
        let exhausted = bull.wait_event("work", "retries-exhausted", &bad);
        assert_eq!(exhausted["attemptsMade"], "2", "{exhausted}");
        assert_eq!(
            names_of(&bull.seen("work"), &bad),
            ["added", "waiting", "active", "waiting", "active", "failed", "retries-exhausted"],
            "{major:?}"
        );

        let steps = bull.add("work", "progress", json!({"steps": 3}), json!({}));
        bull.wait_event("work", "completed", &steps);
        let seen = bull.seen("work");
        let last =
            seen.iter().rfind(|event| event["event"] == "progress" && event["jobId"] == steps.as_str());
        assert_eq!(last.expect("progress was heard")["data"], json!({"done": 3, "total": 3}));
        wait::until("drained is heard", || {
            bull.seen("work").iter().any(|event| event["event"] == "drained").then_some(())
        });
        let errors: Vec<_> =
            bull.seen("work").into_iter().filter(|event| event["event"] == "error").collect();
        assert!(errors.is_empty(), "an entry that BullMQ cannot read ends its loop: {errors:?}");
        host.stop();
    }
}

#[test]
fn progress_logs_and_changed_payloads_are_in_bullmqs_getters() {
    for major in Major::ALL {
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        let host = Host::start(&Site::redis(&redis, BASIC));
        bull.listen("work");
        let id = bull.add("work", "logs", json!({"lines": 2}), json!({}));
        bull.wait_event("work", "completed", &id);
        let logs = bull.queue("work", "getJobLogs", json!([id]));
        assert_eq!(logs["count"].as_u64(), logs["logs"].as_array().map(|lines| lines.len() as u64), "{logs}");
        for line in ["stdout 1", "stderr 1", "log 1"] {
            assert!(logs.to_string().contains(line), "{line}: {logs}");
        }
        let kept = bull.add("work", "logs", json!({"lines": 20}), json!({"keepLogs": 5}));
        bull.wait_event("work", "completed", &kept);
        assert_eq!(bull.queue("work", "getJobLogs", json!([kept]))["count"], 5);

        let steps = bull.add("work", "progress", json!({"steps": 2}), json!({}));
        bull.wait_event("work", "completed", &steps);
        assert_eq!(bull.get("work", &steps)["progress"], json!({"done": 2, "total": 2}));

        let count = bull.add("work", "update-data", json!({"count": 1}), json!({"attempts": 2}));
        assert_eq!(bull.finished("work", &count), Ok(json!(3)));
        assert_eq!(bull.get("work", &count)["data"], json!({"count": 3}));
        host.stop();
    }
}

#[test]
fn bullmq_counts_us_among_its_workers() {
    for major in Major::ALL {
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        let named = BASIC.replace("concurrency = 4", "concurrency = 4\nname = \"cells-1\"");
        let host = Host::start(&Site::redis(&redis, &named));
        bull.listen("work");
        let workers = wait::until("a worker is listed", || {
            let workers = bull.queue("work", "getWorkers", json!([]));
            (workers.as_array().map(Vec::len) >= Some(1)).then_some(workers)
        });
        assert_eq!(workers.as_array().map(Vec::len), Some(1), "{workers}");
        assert!(workers.to_string().contains("cells-1"), "{workers}");
        let id = bull.add("work", "noop", json!({"i": 1}), json!({}));
        bull.wait_event("work", "completed", &id);
        assert_eq!(redis.hash(&format!("bull:work:{id}"))["pb"], "cells-1");
        host.stop();
        wait::until("no worker is listed", || {
            (bull.queue("work", "getWorkersCount", json!([])) == 0).then_some(())
        });
    }
}

#[test]
fn our_own_jobs_look_like_bullmqs() {
    for major in Major::ALL {
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        let site = Site::redis(&redis, BASIC);
        let more = ["--attempts", "3", "--backoff", "exponential:250", "--delay", "3600000", "--id", "ours"];
        site.enqueue("work", "noop", &json!({"i": 1}), &more);
        let job = bull.get("work", "ours");
        assert_eq!((&job["name"], &job["data"]), (&json!("noop"), &json!({"i": 1})), "{job}");
        assert_eq!(job["opts"]["attempts"], 3, "{job}");
        assert_eq!(job["opts"]["backoff"], json!({"type": "exponential", "delay": 250}), "{job}");
        assert_eq!(bull.state("work", "ours"), "delayed");
        bull.job("work", "ours", "promote", json!([]));
        assert_eq!(site.job("work", "ours")["state"], "waiting");
        let prioritized = site.enqueue("work", "noop", &json!({"i": 2}), &["--priority", "5"]);
        assert_eq!(bull.state("work", &prioritized), "prioritized");
        assert_eq!(bull.get("work", &prioritized)["priority"], 5);
        bull.work("work", json!({}));
        bull.listen("work");
        assert_eq!(bull.finished("work", "ours"), Ok(json!({"by": "node", "i": 1})));
    }
}
