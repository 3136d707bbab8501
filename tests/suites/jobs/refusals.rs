//! Bad input: a clear error, and nothing lost.

use jobcell_tests::Site;
use serde_json::json;

use crate::stage::{BASIC, Stage, on_both_stores};

on_both_stores! {
    fn a_name_that_no_handler_has_fails_and_says_which_there_are(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "no-such-thing", &json!({}), &["--attempts", "3"]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(1)), "{job}");
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert!(reason.contains("no-such-thing") && reason.contains("noop"), "{reason}");
    }

    fn a_name_without_a_route_fails_and_says_which_routes_there_are(stage: &Stage) {
        let site = stage.site(
            r#"
[queues.work]
handlers = { "noop" = "basic" }
[handlers.basic]
source = "${basic}"
"#,
        );
        let id = site.enqueue("work", "elsewhere", &json!({}), &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!(job["state"], "failed", "{job}");
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert!(reason.contains("elsewhere") && reason.contains("noop"), "{reason}");
    }

    fn a_payload_of_the_wrong_shape_fails_with_its_path(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "noop", &json!({"i": "seven"}), &["--attempts", "3"]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(1)), "{job}");
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert!(reason.contains('i') && reason.contains("invalid type"), "{reason}");
    }
}

#[test]
fn a_payload_that_is_no_json_is_not_taken() {
    let site = Site::embedded(BASIC);
    let _ = site.cli(&["enqueue", "work", "noop", "--data", "{not json"]).exits(2).says(&["JSON"]);
    let counts = site.cli(&["--json", "queue", "counts", "work"]).ok().json();
    assert!(!counts.to_string().contains(":1"), "nothing was stored: {counts}");
}

#[test]
fn an_unknown_queue_is_named_with_those_that_are_known() {
    let site = Site::embedded(BASIC);
    let _ = site.cli(&["run", "--queue", "wrok", "--burst"]).exits(2).says(&["wrok", "work"]);
}

#[test]
fn every_fault_of_a_config_is_said_at_once() {
    let site = Site::raw(
        r#"
[servr]
listen = "127.0.0.1:1"
[queues.work]
handler = "basic"
concurency = 3
lock = "soon"
[handlers.basic]
source = "nowhere.wasm"
limits = { memory = "12 parsecs" }
"#,
    );
    let keys = [
        "servr",
        "server",
        "concurency",
        "concurrency",
        "jobcell.toml:7",
        "lock",
        "soon",
        "memory",
        "parsecs",
    ];
    let _ = site.cli(&["check"]).exits(2).answers(&keys);
    let _ = site.cli(&["run"]).exits(2).says(&keys);
}

#[test]
fn files_that_are_no_handler_are_refused_by_name() {
    let whole = std::fs::read(jobcell_tests::artifacts::guest("basic")).unwrap();
    let core_module = b"\0asm\x01\0\0\0";
    // Well-formed, and exports nothing.
    let other_world = b"\0asm\x0d\0\x01\0";
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "not webassembly"),
        ("text", b"#!/bin/sh\nexit\n", "not webassembly"),
        ("core", core_module, "component"),
        ("other", other_world, "handle"),
        ("half", &whole[..whole.len() / 2], "half"),
    ];
    for (name, bytes, word) in cases {
        let site = Site::embedded(&format!(
            "[queues.work]\nhandler = \"{name}\"\n[handlers.{name}]\nsource = \"{name}.wasm\"\n"
        ));
        site.write(&format!("{name}.wasm"), bytes);
        for command in [&["check"][..], &["run", "--burst"][..]] {
            let ran = site.cli(command).exits(78);
            let said = format!("{}{}", ran.stdout, ran.stderr).to_lowercase();
            // To a host, what has no end yet is cut off before it is anything else.
            let word = if (name, command[0]) == ("empty", "run") { "its 0 bytes" } else { word };
            assert!(said.contains(word), "{word:?} is not said by\n{ran}");
            assert!(said.contains(name), "the handler is not named by\n{ran}");
        }
        // To look at a component of another world is no fault.
        let inspected = if name == "other" { 0 } else { 78 };
        let _ = site.cli(&["handler", "inspect", &format!("{name}.wasm")]).exits(inspected);
    }
}

#[test]
fn a_handler_that_wants_more_than_it_is_granted_is_refused_with_the_line_to_add() {
    let site =
        Site::embedded("[queues.work]\nhandler = \"capable\"\n[handlers.capable]\nsource = \"${capable}\"\n");
    let words = ["handlers.capable.grants", "blobs", "cache", "kv", "publish", "enqueue", "secrets", "http"];
    let _ = site.cli(&["check"]).exits(78).answers(&words);
    let _ = site.cli(&["run"]).exits(78).says(&words);
}

#[test]
fn a_config_that_is_not_there_is_said() {
    let site = Site::raw("");
    let _ = site.cli(&["-c", "other.toml", "check"]).exits(2).answers(&["other.toml"]);
    let _ = site.cli(&["-c", "other.toml", "run"]).exits(2).says(&["other.toml"]);
}
