//! The host's own log, as collectors read it.

use jobcell_tests::{Host, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::text;
use crate::stage::{BASIC, Stage};

#[test]
fn every_line_is_one_json_object_whatever_jobs_are_called() {
    let stage = Stage::redis();
    let site = stage.site(&format!("{BASIC}[log]\nformat = \"json\"\n"));
    let host = Host::start(&site);
    let forged = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}";
    let body = json!({"name": forged, "data": {"kind": "fatal", "message": forged}, "opts": {"attempts": 1, "tenant": forged}});
    let (status, _) = host.request("POST", "/api/v1/queues/work/jobs", &[], Some(&body)).unwrap();
    assert_eq!(status, 201);
    let fail = json!({"name": "fail", "data": {"kind": "fatal", "message": forged}, "opts": {"attempts": 1}});
    let (_, added) = host.request("POST", "/api/v1/queues/work/jobs?wait=20", &[], Some(&fail)).unwrap();
    let added: Value = serde_json::from_str(&added).unwrap();
    site.write_config("this is\nno configuration");
    host.signal(Signal::HUP);
    host.wait_log("configuration not changed");
    let entry = wait::until("the attempt's line", || {
        let entries = host.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        entries.into_iter().find(|entry| entry["message"] == "attempt ended" && entry["job"] == added["id"])
    });
    for (field, value) in [("level", "INFO"), ("queue", "work"), ("handler", "basic"), ("outcome", "fatal")] {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["version"].as_str().map(str::len), Some(12), "{entry}");
    assert_eq!(entry["attempt"], 1, "{entry}");
    assert!(entry["timestamp"].is_string() && entry["wall_ms"].is_number(), "{entry}");
    let document = text("docs/observability.md");
    for field in entry.as_object().unwrap().keys() {
        assert!(
            document.contains(&format!("| `{field}` |")),
            "docs/observability.md does not explain {field}"
        );
    }
    host.terminate();
    wait::until("the host has stopped", || {
        host.log().iter().any(|line| line.contains("\"stopped\"")).then_some(())
    });
    for line in host.log().iter().filter(|line| !line.starts_with("unfinished jobs")) {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
        assert_ne!(entry["message"], "forged", "{line}");
    }
}

#[test]
fn a_host_that_does_not_start_says_why_in_json_too() {
    let stage = Stage::embedded();
    let site = stage.site(
        "[queues.work]\nhandler = \"h\"\n[handlers.h]\nsource = \"missing.wasm\"\n[log]\nformat = \"json\"\n",
    );
    let ran = site.cli(&["run"]);
    let entries: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let told = entries.iter().any(|entry| {
        entry["level"] == "ERROR" && entry["message"].as_str().is_some_and(|m| m.contains("missing.wasm"))
    });
    assert!(told, "{}", ran.stderr);
}

#[test]
fn a_line_for_people_cannot_be_forged_either() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    let name = "x\n2026-01-01T00:00:00.000000Z ERROR forged\u{1b}[2J";
    site.write_config(&format!("[queues.{name:?}]\nhandler = \"x\"\n\"a\\nb\" = 1\n"));
    host.signal(Signal::HUP);
    host.wait_log("configuration not changed");
    for line in host.log() {
        assert!(!line.starts_with("2026-01-01") && !line.contains('\u{1b}'), "{line:?}");
    }
    host.stop();
}
