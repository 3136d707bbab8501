//! The commands around a job: what they print, what they change, how they end.

use jobcell_tests::{Host, Site};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

/// How many jobs of a queue are in this state.
fn count(site: &Site, queue: &str, state: &str) -> u64 {
    let counts = site.cli(&["--json", "queue", "counts", queue]).ok().json();
    counts[0][state].as_u64().unwrap_or_else(|| panic!("no count of {state} in {counts}"))
}

fn ids(list: &Value) -> Vec<&str> {
    let jobs = list.as_array().unwrap_or_else(|| panic!("not a list: {list}"));
    jobs.iter().map(|job| job["id"].as_str().expect("an id")).collect()
}

on_both_stores! {
    fn a_waiting_queue_is_counted_listed_paused_and_drained(stage: &Stage) {
        let site = stage.site(BASIC);
        let first = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
        let second = site.enqueue("work", "noop", &json!({"i": 2}), &[]);
        let later = site.enqueue("work", "noop", &json!({"i": 3}), &["--delay", "3600000"]);
        let urgent = site.enqueue("work", "noop", &json!({"i": 4}), &["--priority", "1"]);
        assert_eq!(
            ["waiting", "delayed", "prioritized", "active"].map(|state| count(&site, "work", state)),
            [2, 1, 1, 0]
        );
        let list = site.cli(&["--json", "job", "list", "work", "--state", "waiting"]).ok().json();
        let mut waiting = ids(&list);
        waiting.sort_unstable();
        let mut expected = [first.as_str(), second.as_str()];
        expected.sort_unstable();
        assert_eq!(waiting, expected);
        let list = site.cli(&["--json", "job", "list", "work", "--state", "delayed", "--limit", "1"]).ok().json();
        assert_eq!(ids(&list), [later.as_str()]);
        assert_eq!(site.job("work", &urgent)["state"], "prioritized");

        let queues = site.cli(&["--json", "queue", "ls"]).ok().stdout;
        assert!(queues.contains("work"), "{queues}");
        let _ = site.cli(&["queue", "pause", "work"]).ok();
        let queues = site.cli(&["--json", "queue", "ls"]).ok().stdout;
        assert!(queues.contains("\"paused\":true") || queues.contains("\"paused\": true"), "{queues}");
        let _ = site.cli(&["queue", "resume", "work"]).ok();

        // Without a terminal nobody can be asked, so what destroys needs to be told.
        let _ = site.cli(&["queue", "drain", "work"]).exits(2).says(&["--yes"]);
        assert_eq!(count(&site, "work", "waiting"), 2);
        let _ = site.cli(&["--yes", "queue", "drain", "work"]).ok();
        assert_eq!(["waiting", "prioritized"].map(|state| count(&site, "work", state)), [0, 0]);
    }

    fn a_delayed_job_is_promoted_a_failed_one_retried_a_done_one_removed(stage: &Stage) {
        let site = stage.site(BASIC);
        let later = site.enqueue("work", "noop", &json!({"i": 1}), &["--delay", "3600000"]);
        let broken = site.enqueue("work", "fail", &json!({"kind": "fatal", "message": "no"}), &[]);
        let _ = site.cli(&["job", "promote", "work", &later]).ok();
        let _ = site.burst();
        assert_eq!(site.job("work", &later)["state"], "completed");
        assert_eq!(site.job("work", &broken)["state"], "failed");

        let _ = site.cli(&["job", "retry", "work", &broken]).ok();
        assert_eq!(site.job("work", &broken)["state"], "waiting");
        let _ = site.burst();
        assert_eq!(site.job("work", &broken)["state"], "failed");

        let _ = site.cli(&["--yes", "job", "remove", "work", &later]).ok();
        let _ = site.cli(&["job", "get", "work", &later]).exits(1).says(&[&later]);
        let _ = site.cli(&["job", "promote", "work", &broken]).exits(1);
    }

    fn payloads_come_from_a_file_or_stdin_and_ids_are_the_producers(stage: &Stage) {
        let site = stage.site(BASIC);
        site.write("payload.json", r#"{"i": 11}"#);
        let from_file = site.cli(&["enqueue", "work", "noop", "--data", "@payload.json", "--id", "mine"]).ok();
        assert_eq!(from_file.stdout.trim(), "mine");
        let piped = site.cli_with(&["enqueue", "work", "noop", "--data", "-"], r#"{"i": 12}"#).ok();
        let again = site.cli(&["enqueue", "work", "noop", "--data", r#"{"i": 13}"#, "--id", "mine"]).ok();
        assert_eq!(again.stdout.trim(), "mine", "the same id is the same job");
        let _ = site.burst();
        assert_eq!(site.job("work", "mine")["returnvalue"]["i"], 11);
        assert_eq!(site.job("work", piped.stdout.trim())["returnvalue"]["i"], 12);
    }

    fn a_done_job_goes_when_its_producer_said_so(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "noop", &json!({"i": 1}), &["--remove-on-complete"]);
        let _ = site.burst();
        let _ = site.cli(&["job", "get", "work", &id]).exits(1);
        assert_eq!(count(&site, "work", "completed"), 0);
    }

    fn lifo_and_priority_decide_who_is_next(stage: &Stage) {
        let site = stage.site(&BASIC.replace("concurrency = 4", "concurrency = 1"));
        let plain = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
        let low = site.enqueue("work", "noop", &json!({"i": 2}), &["--priority", "9"]);
        let high = site.enqueue("work", "noop", &json!({"i": 3}), &["--priority", "1"]);
        let front = site.enqueue("work", "noop", &json!({"i": 4}), &["--lifo"]);
        let _ = site.burst();
        let mut ended: Vec<(u64, u64, &str)> = [(&front, "front"), (&plain, "plain"), (&high, "high"), (&low, "low")]
            .into_iter()
            .map(|(id, name)| {
                let job = site.job("work", id);
                let time = |field: &str| job[field].as_u64().expect("a time");
                (time("processedOn"), time("finishedOn"), name)
            })
            .collect();
        // Stable, so jobs of one millisecond stay in the order expected here.
        ended.sort_by_key(|(started, finished, _)| (*started, *finished));
        assert_eq!(ended.iter().map(|(_, _, name)| *name).collect::<Vec<_>>(), ["front", "plain", "high", "low"]);
    }
}

#[test]
fn enqueue_waits_for_the_result() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    waits_for_the_result(&site);
    host.stop();
}

#[test]
fn enqueue_runs_the_job_itself_where_only_one_process_fits() {
    waits_for_the_result(&Stage::embedded().site(BASIC));
}

fn waits_for_the_result(site: &Site) {
    let ran = site.cli(&["enqueue", "work", "noop", "--data", r#"{"i":5}"#, "--wait=30"]).ok();
    let last = ran.stdout.trim().lines().last().unwrap_or_default();
    assert_eq!(serde_json::from_str::<Value>(last).ok(), Some(json!({"ok": true, "i": 5})), "{ran}");

    let bad = r#"{"kind":"fatal","message":"out of ink"}"#;
    let _ = site.cli(&["enqueue", "work", "fail", "--data", bad, "--wait=30"]).exits(1).says(&["out of ink"]);

    let one =
        site.cli(&["--json", "enqueue", "work", "noop", "--data", r#"{"i":6}"#, "--wait=30"]).ok().json();
    assert_eq!((&one["state"], &one["result"]), (&json!("completed"), &json!({"ok": true, "i": 6})), "{one}");
}

#[test]
fn a_job_runs_once_without_a_store() {
    let site = Site::embedded(BASIC);
    let guest = jobcell_tests::artifacts::guest("basic").display().to_string();
    let ran = site.cli(&["invoke", &guest, "--name", "noop", "--data", r#"{"i":9}"#]).ok();
    assert!(ran.stdout.contains("\"i\":9") || ran.stdout.contains("\"i\": 9"), "{ran}");
    assert!(ran.stdout.contains("\ncost ") && ran.stdout.contains(" ms cpu"), "{ran}");
    let one =
        site.cli(&["--json", "invoke", "basic", "--name", "logs", "--data", r#"{"lines":1}"#]).ok().json();
    assert!(one.to_string().contains("stdout 0"), "{one}");
    let receipt = &one["receipt"];
    assert!(
        receipt["wall_us"].as_u64() > Some(0) && receipt["memory_peak_bytes"].as_u64() > Some(0),
        "{one}"
    );
    assert!(receipt["host_calls"]["context"].as_u64() >= Some(1), "{one}");
    assert!(receipt["host_calls"]["http"].is_null() && receipt["stopped_by"].is_null(), "{one}");
    site.write("job.json", r#"{"name": "fail", "data": {"kind": "fatal", "message": "broken wing"}}"#);
    let ran = site.cli(&["invoke", &guest, "--job", "job.json"]).exits(1);
    assert!(format!("{ran}").contains("broken wing"), "{ran}");
    assert!(!site.path().join(".jobcell").exists(), "no store was made");
}

#[test]
fn a_component_is_inspected_without_a_config() {
    let site = Site::raw("");
    let guest = jobcell_tests::artifacts::guest("capable").display().to_string();
    let one = site.cli(&["--json", "handler", "inspect", &guest]).ok().json();
    let text = one.to_string();
    for word in
        ["digest", "imports", "wit", "grants", "size", "wasi:http/outgoing-handler", "jobcell:job/secrets"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let ran = site.cli(&["handler", "inspect", &guest]).ok();
    assert!(ran.stdout.contains("0.1.0"), "{ran}");
}

#[test]
fn check_and_doctor_report_on_both_stores() {
    for stage in [Stage::embedded(), Stage::redis()] {
        let site = stage.site(BASIC);
        let ran = site.cli(&["check"]).ok();
        assert!(format!("{ran}").contains("basic"), "{ran}");
        let _ = site.cli(&["--json", "check"]).ok().json();
        let ran = site.cli(&["doctor"]).ok();
        assert!(!ran.stdout.trim().is_empty(), "{ran}");
        let _ = site.cli(&["--json", "doctor"]).ok().json();
    }
}

#[test]
fn check_refuses_a_redis_that_would_lose_jobs() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let redis = stage.redis.as_ref().unwrap();
    redis.client().run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let _ =
        site.cli(&["check"]).exits(1).answers(&["FAULT", "maxmemory-policy is allkeys-lru", "noeviction"]);
}

#[test]
fn completions_are_scripts_of_the_shell() {
    let site = Site::raw("");
    for shell in ["bash", "zsh", "fish"] {
        let ran = site.cli(&["completions", shell]).ok();
        assert!(ran.stdout.contains("jobcell") && ran.stdout.contains("enqueue"), "{shell}");
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    let site = Site::embedded(BASIC);
    for args in [
        &["enqueue"][..],
        &["no-such-command"],
        &["job", "get", "work"],
        &["enqueue", "work", "noop", "--delay", "soon"],
    ] {
        let _ = site.cli(args).exits(2);
    }
    let _ = site.cli(&["--help"]).ok();
    let version = site.cli(&["--version"]).ok();
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn what_is_answered_stays_apart_from_what_is_logged() {
    let site = Site::embedded(BASIC);
    let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    let ran = site.cli(&["-v", "run", "--burst"]).ok();
    assert!(ran.stdout.is_empty(), "{ran}");
    assert!(ran.stderr.contains("embedded"), "one line says which store: {ran}");
    let ran = site.cli(&["--json", "-v", "job", "get", "work", &id]).ok();
    let _ = ran.json();
}
