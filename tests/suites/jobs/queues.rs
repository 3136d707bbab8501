//! The commands on whole queues, and what a running host makes of them.

use jobcell_tests::{Host, wait};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

/// `BASIC` that looks again soon.
fn attentive() -> String {
    BASIC.replace(
        "concurrency = 4",
        "concurrency = 4\npoll = \"300ms\"\nmetrics-points = 10\nname = \"media-1\"",
    )
}

on_both_stores! {
    fn a_queue_is_cleaned_retried_promoted_and_obliterated(stage: &Stage) {
        let site = stage.site(BASIC);
        let bad = json!({"kind": "fatal", "message": "no"});
        for i in 0..3 {
            site.enqueue("work", "noop", &json!({"i": i}), &[]);
            site.enqueue("work", "fail", &bad, &[]);
        }
        let later = site.enqueue("work", "noop", &json!({"i": 9}), &["--delay", "1h"]);
        let _ = site.cli(&["queue", "promote", "work"]).ok().answers(&["1 job is due now"]);
        let _ = site.burst();
        assert_eq!(site.job("work", &later)["state"], "completed");
        let count = |state: &str| site.cli(&["--json", "queue", "counts", "work"]).ok().json()[0][state].clone();
        assert_eq!((count("completed"), count("failed")), (json!(4), json!(3)));

        let one = |words: &[&str]| -> Value {
            site.cli(&[&["--json", "--yes", "queue"], words].concat()).ok().json()
        };
        assert_eq!(one(&["retry", "work", "--limit", "2"])["retried"], 2);
        assert_eq!(one(&["clean", "work", "--state", "waiting"])["removed"], 2);
        assert_eq!(one(&["clean", "work", "--older", "1h"])["removed"], 0);
        assert_eq!(one(&["clean", "work", "--limit", "3"])["removed"], 3);
        assert_eq!((count("completed"), count("failed"), count("waiting")), (json!(1), json!(1), json!(0)));
        assert!(one(&["trim", "work", "--events", "5"])["removed"].as_u64() > Some(10));

        let _ = site.cli(&["--yes", "queue", "obliterate", "work"]).exits(1).says(&["queue pause work"]);
        let _ = site.cli(&["queue", "pause", "work"]).ok();
        let _ = site.cli(&["queue", "obliterate", "work"]).exits(2).says(&["--yes"]);
        assert_eq!(one(&["obliterate", "work"])["obliterated"], true);
        let queues = site.cli(&["--json", "queue", "ls"]).ok().json();
        assert_eq!((&queues[0]["name"], &queues[0]["paused"], &queues[0]["failed"]), (&json!("work"), &json!(false), &json!(0)));
        let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
        let _ = site.burst();
        assert_eq!(site.job("work", &id)["state"], "completed");
    }

    fn limits_set_before_a_burst_hold_in_it(stage: &Stage) {
        let site = stage.site(BASIC);
        let _ = site.cli(&["queue", "concurrency", "work", "1"]).ok().answers(&["at most 1 job at once"]);
        let _ = site.cli(&["queue", "rate", "work", "2/400ms"]).ok().answers(&["at most 2 jobs in 400ms"]);
        let ids: Vec<String> =
            (0..5).map(|i| site.enqueue("work", "noop", &json!({"i": i}), &[])).collect();
        let _ = site.burst();
        let mut spans: Vec<(u64, u64)> = ids
            .iter()
            .map(|id| {
                let job = site.job("work", id);
                let time = |field: &str| job[field].as_u64().unwrap_or_else(|| panic!("no {field} in {job}"));
                (time("processedOn"), time("finishedOn"))
            })
            .collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "one after the other: {spans:?}");
        }
        // The first of a window and the first of the next.
        assert!(spans[4].0 + 15 >= spans[0].0 + 800, "two in 400 ms: {spans:?}");
    }
}

#[test]
fn a_running_host_follows_limits_that_are_changed() {
    let stage = Stage::redis();
    let site = stage.site(&attentive());
    let host = Host::start(&site);
    let state = |id: &str| site.job("work", id)["state"].clone();
    let done = |id: &str| wait::until("the job completes", || (state(id) == "completed").then_some(()));

    let _ = site.cli(&["queue", "rate", "work", "1/1h"]).ok();
    let first = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    done(&first);
    let second = site.enqueue("work", "noop", &json!({"i": 2}), &[]);
    wait::until("the queue rests", || {
        let shown = site.cli(&["--json", "queue", "rate", "work"]).ok().json();
        shown["rests_for_ms"].as_u64().filter(|rest| *rest > 3_000_000)
    });
    assert_eq!(state(&second), "waiting");
    let _ = site.cli(&["queue", "rate", "work", "--off"]).ok();
    done(&second);

    let _ = site.cli(&["queue", "rate", "work", "--rest", "1h"]).ok().answers(&["rests for"]);
    let third = site.enqueue("work", "noop", &json!({"i": 3}), &[]);
    let workers = site.cli(&["--json", "queue", "workers", "work"]).ok().json();
    assert_eq!(workers[0]["name"], "media-1", "{workers}");
    assert_eq!(state(&third), "waiting");
    let _ = site.cli(&["queue", "rate", "work", "--rest", "0"]).ok();
    done(&third);

    let _ = site.cli(&["queue", "concurrency", "work", "1"]).ok();
    let slow = site.enqueue("work", "sleep", &json!({"ms": 60_000}), &[]);
    wait::until("it runs", || (state(&slow) == "active").then_some(()));
    let held = site.enqueue("work", "noop", &json!({"i": 4}), &[]);
    let _ = site.cli(&["queue", "workers", "work"]).ok();
    assert_eq!(state(&held), "waiting");
    let _ = site.cli(&["queue", "concurrency", "work", "2"]).ok();
    done(&held);

    let metrics = site.cli(&["--json", "queue", "metrics", "work"]).ok().json();
    assert_eq!(metrics["completed"]["total"], 4, "{metrics}");
    host.kill();
}
