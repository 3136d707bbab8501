//! What becomes of a job for everything that a handler can answer, seen through the command line.

use jobcell_tests::Site;
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

/// Runs one job to its end and returns it.
fn outcome(site: &Site, name: &str, data: Value, more: &[&str]) -> Value {
    let id = site.enqueue("work", name, &data, more);
    let _ = site.burst();
    site.job("work", &id)
}

on_both_stores! {
    fn a_result_is_stored_with_the_job(stage: &Stage) {
        let site = stage.site(BASIC);
        let job = outcome(&site, "noop", json!({"i": 7, "amount": 1250, "currency": "EUR"}), &[]);
        assert_eq!(job["state"], "completed", "{job}");
        assert_eq!(job["returnvalue"], json!({"ok": true, "i": 7}), "{job}");
        assert_eq!(job["attemptsMade"], 1, "{job}");
        let (made, started, finished) = (&job["timestamp"], &job["processedOn"], &job["finishedOn"]);
        assert!(made.as_u64() <= started.as_u64() && started.as_u64() <= finished.as_u64(), "{job}");
    }

    fn an_empty_result_is_null_and_bytes_come_back_as_they_went(stage: &Stage) {
        let site = stage.site(BASIC);
        let quiet = outcome(&site, "logs", json!({"lines": 0}), &[]);
        assert_eq!((&quiet["state"], &quiet["returnvalue"]), (&json!("completed"), &Value::Null), "{quiet}");
        // Nothing on the way may parse and print the payload again: 0.10 would become 0.1.
        let ran = site.cli(&["enqueue", "work", "echo", "--data", r#"{"price":0.10, "z":1,"a":[ ]}"#]).ok();
        let _ = site.burst();
        let ran = site.cli(&["--json", "job", "get", "work", ran.stdout.trim()]).ok();
        assert!(ran.stdout.contains("0.10"), "{ran}");
    }

    fn a_failure_is_tried_again_by_its_backoff_and_then_succeeds(stage: &Stage) {
        let site = stage.site(BASIC);
        let job = outcome(&site, "flaky", json!({"until": 3}), &["--attempts", "5", "--backoff", "fixed:150"]);
        assert_eq!((&job["state"], &job["returnvalue"]), (&json!("completed"), &json!(3)), "{job}");
        assert_eq!(job["attemptsMade"], 3, "{job}");
        assert_eq!(job["stacktrace"].as_array().map(Vec::len), Some(2), "one entry a failed attempt: {job}");
        let took = job["finishedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(end, start)| end - start);
        assert!(took >= Some(300), "two waits of 150 ms: {job}");
    }

    fn attempts_run_out_and_the_last_reason_stays(stage: &Stage) {
        let site = stage.site(BASIC);
        let job = outcome(&site, "flaky", json!({"until": 9}), &["--attempts", "2", "--backoff", "exponential:20"]);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(2)), "{job}");
        assert!(job["failedReason"].as_str().is_some_and(|why| why.contains("attempt 2 fails")), "{job}");
    }

    fn fatal_and_invalid_use_one_attempt_only(stage: &Stage) {
        let site = stage.site(BASIC);
        for kind in ["fatal", "invalid"] {
            let job = outcome(&site, "fail", json!({"kind": kind, "message": "never again"}), &["--attempts", "5"]);
            assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(1)), "{kind}: {job}");
            assert!(job["failedReason"].as_str().is_some_and(|why| why.contains("never again")), "{kind}: {job}");
        }
    }

    fn a_retry_after_overrides_the_backoff(stage: &Stage) {
        let site = stage.site(BASIC);
        let more = ["--attempts", "2", "--backoff", "fixed:60000"];
        let data = json!({"kind": "retry-after", "message": "busy", "ms": 100});
        let job = outcome(&site, "fail", data, &more);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(2)), "{job}");
    }

    fn delays_given_by_the_handler_use_no_attempt(stage: &Stage) {
        let site = stage.site(BASIC);
        // A time that has passed: the job runs again at once, and again; so the handler's start count ends it.
        let id = site.enqueue("work", "job", &json!({}), &["--delay", "200"]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!((&job["state"], &job["returnvalue"]["attempt"]), (&json!("completed"), &json!(1)), "{job}");
        let waited = job["processedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(start, made)| start - made);
        assert!(waited >= Some(200), "{job}");
    }

    fn the_handler_sees_its_job(stage: &Stage) {
        let site = stage.site(BASIC);
        let more = ["--id", "order-1", "--attempts", "4", "--tenant", "acme", "--priority", "3"];
        let job = outcome(&site, "job", json!({"some": "payload"}), &more);
        let seen = &job["returnvalue"];
        for (field, value) in [
            ("id", json!("order-1")),
            ("queue", json!("work")),
            ("name", json!("job")),
            ("bytes", json!(r#"{"some":"payload"}"#.len())),
            ("attempt", json!(1)),
            ("max_attempts", json!(4)),
            ("starts", json!(1)),
            ("stalls", json!(0)),
            ("tenant", json!("acme")),
            ("parent", Value::Null),
        ] {
            assert_eq!(seen[field], value, "{field}: {job}");
        }
        assert!(seen["deadline"].as_u64() > seen["enqueued_at"].as_u64(), "{job}");
        assert!(seen["idempotency_key"].as_str().is_some_and(|key| key.contains("order-1")), "{job}");
    }

    fn logs_progress_and_a_changed_payload_are_kept(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "logs", &json!({"lines": 2}), &[]);
        let steps = site.enqueue("work", "progress", &json!({"steps": 3}), &[]);
        let count = site.enqueue("work", "update-data", &json!({"count": 1}), &["--attempts", "2"]);
        let _ = site.burst();
        let logs = site.logs("work", &id);
        for line in ["stdout 0", "stderr 1", "log 0", "log 1"] {
            assert!(logs.iter().any(|logged| logged.contains(line)), "{line}: {logs:?}");
        }
        let job = site.job("work", &steps);
        assert_eq!(job["progress"], json!({"done": 3, "total": 3}), "{job}");
        let job = site.job("work", &count);
        assert_eq!((&job["returnvalue"], &job["data"]), (&json!(3), &json!({"count": 3})), "{job}");
    }

    fn each_way_of_breaking_is_named_and_retried(stage: &Stage) {
        let site = stage.site(
            r#"
[queues.work]
handler = "basic"
[handlers.basic]
source = "${basic}"
limits = { deadline = "400ms", memory = "16MiB", result = "64KiB", log = "8KiB" }
"#,
        );
        let cases = [
            ("panic", json!({"message": "the roof is on fire"}), "the roof is on fire"),
            ("spin", json!({}), "deadline"),
            ("sleep", json!({"ms": 60_000}), "deadline"),
            ("recurse", json!({}), "stack"),
            ("grow", json!({}), "memory"),
            ("big", json!({"bytes": 100_000}), "64"),
            ("not-json", json!({}), "JSON"),
        ];
        let ids: Vec<String> =
            cases.iter().map(|(name, data, _)| site.enqueue("work", name, data, &["--attempts", "2"])).collect();
        let _ = site.burst();
        for ((name, _, word), id) in cases.iter().zip(&ids) {
            let job = site.job("work", id);
            assert_eq!(job["state"], "failed", "{name}: {job}");
            let reason = job["failedReason"].as_str().unwrap_or_default();
            assert!(reason.to_lowercase().contains(&word.to_lowercase()), "{name}: {word:?} in {reason:?}");
            if ["panic", "spin", "recurse"].contains(name) {
                let traces = job["stacktrace"].as_array().map_or(0, Vec::len);
                assert_eq!((traces, &job["attemptsMade"]), (2, &json!(2)), "{name}: {job}");
                let trace = job["stacktrace"].to_string();
                assert!(trace.contains("basic"), "{name}: no frame of the guest's own in {trace}");
            }
        }
    }

    fn a_flooded_log_is_cut_and_the_job_ends(stage: &Stage) {
        let site = stage.site(
            r#"
[queues.work]
handler = "basic"
[handlers.basic]
source = "${basic}"
limits = { deadline = "500ms", log = "8KiB" }
"#,
        );
        let id = site.enqueue("work", "flood", &json!({}), &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!(job["state"], "failed", "{job}");
        let bytes: usize = site.logs("work", &id).iter().map(String::len).sum();
        assert!(bytes < 32 * 1024, "{bytes} bytes of log");
    }
}
