//! Jobs that take their cell down in the same way again and again.

use jobcell_tests::Site;
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

fn run(site: &Site, name: &str, data: Value, attempts: &str) -> Value {
    let id = site.enqueue("work", name, &data, &["--attempts", attempts]);
    let _ = site.burst();
    site.job("work", &id)
}

on_both_stores! {
    fn the_third_equal_crash_in_a_row_is_the_last(stage: &Stage) {
        let site = stage.site(BASIC);
        for (name, cause) in [("panic", "panic at"), ("recurse", "stack in"), ("grow", "3 times in a row")] {
            let job = run(&site, name, json!({"message": "the roof is on fire"}), "9");
            assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(3)), "{name}: {job}");
            let reason = job["failedReason"].as_str().unwrap_or_default();
            for part in ["3 times in a row", "attempts are left", cause] {
                assert!(reason.contains(part), "{name}: {part:?} in {reason}");
            }
            assert_eq!(job["stacktrace"].as_array().map(Vec::len), Some(3), "{name}: {job}");
        }
    }

    fn a_retry_by_hand_begins_anew(stage: &Stage) {
        let site = stage.site(BASIC);
        let job = run(&site, "panic", json!({"message": "again"}), "9");
        assert_eq!(job["attemptsMade"], 3, "{job}");
        let id = job["id"].as_str().expect("an id");
        let _ = site.cli(&["job", "retry", "work", id]).ok();
        let _ = site.burst();
        let job = site.job("work", id);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(6)), "{job}");
    }

    fn failures_that_a_handler_reports_and_time_do_not_count(stage: &Stage) {
        let site = stage.site(&format!("{BASIC}limits = {{ deadline = \"200ms\" }}\n"));
        let job = run(&site, "fail", json!({"kind": "retry", "message": "busy"}), "5");
        assert_eq!((&job["attemptsMade"], &job["failedReason"]), (&json!(5), &json!("busy")), "{job}");
        let job = run(&site, "sleep", json!({"ms": 60_000}), "4");
        assert_eq!(job["attemptsMade"], 4, "{job}");
    }

    fn the_bound_is_the_queues(stage: &Stage) {
        for (poison, attempts) in [("0", 5), ("2", 2)] {
            let site = stage.site(&BASIC.replace("concurrency = 4", &format!("concurrency = 4\npoison = {poison}")));
            let job = run(&site, "panic", json!({"message": "x"}), "5");
            assert_eq!(job["attemptsMade"], attempts, "{poison}: {job}");
        }
    }
}
