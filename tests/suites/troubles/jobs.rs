//! Jobs were added and do not run: what `queue explain` and `check` say of each cause, on both stores.

use jobcell_tests::{Host, RedisServer, Site, wait};
use serde_json::json;

use super::{manual, said};
use crate::stage::{BASIC, Stage, on_both_stores};

/// A queue whose handler takes one name only.
const NAMED: &str = r#"
[queues.mediaQueue]
handlers = { noop = "basic" }
[handlers.basic]
source = "${basic}"
"#;

/// What `queue explain` says of a queue, held against the manual. It ends with 1 when something should be mended.
#[track_caller]
fn explained(test: &str, site: &Site, queue: &str, code: i32) {
    let ran = site.cli(&["queue", "explain", queue]).exits(code);
    manual::quotes(test, &said(&ran));
    // `check` has it too, and is content with the configuration all the same.
    let ran = site.cli(&["check"]).ok();
    manual::quotes(test, &said(&ran));
}

fn add(site: &Site, queue: &str, more: &[&str]) -> String {
    site.enqueue(queue, "noop", &json!({"i": 1}), more)
}

on_both_stores! {
    fn no_host(stage: &Stage) {
        let site = stage.site(BASIC);
        let _ = site.cli(&["queue", "explain", "work"]).ok().answers(&["work: no job waits"]);
        add(&site, "work", &[]);
        explained("jobs::no_host", &site, "work", 1);
        let all = site.cli(&["--json", "queue", "explain"]).exits(1).json();
        assert_eq!((&all[0]["queue"], &all[0]["reasons"][0]["code"]), (&json!("work"), &json!("no-worker")));
        site.burst();
        let _ = site.cli(&["queue", "why", "work"]).ok().answers(&["work: no job waits"]);
    }

    fn paused(stage: &Stage) {
        let site = stage.site(BASIC);
        add(&site, "work", &[]);
        let _ = site.cli(&["queue", "pause", "work"]).ok();
        explained("jobs::paused", &site, "work", 1);
    }

    fn delayed(stage: &Stage) {
        let site = stage.site(BASIC);
        add(&site, "work", &["--delay", "3h"]);
        explained("jobs::delayed", &site, "work", 1);
    }

    fn resting(stage: &Stage) {
        let site = stage.site(BASIC);
        add(&site, "work", &[]);
        let _ = site.cli(&["queue", "rate", "work", "--rest", "10m"]).ok();
        explained("jobs::resting", &site, "work", 1);
    }

    fn similar_name(stage: &Stage) {
        let site = stage.site(NAMED);
        add(&site, "media", &[]);
        explained("jobs::similar_name", &site, "media", 1);
    }

    fn unhandled_name(stage: &Stage) {
        let site = stage.site(NAMED);
        site.enqueue("mediaQueue", "resize", &json!({}), &[]);
        explained("jobs::unhandled_name", &site, "mediaQueue", 1);
        let _ = site.cli(&["run", "--burst"]).ok();
        let ran = site.cli(&["queue", "explain", "mediaQueue"]).exits(1);
        manual::quotes("jobs::unhandled_name", &said(&ran));
        manual::all_said("jobs::unhandled_name");
    }
}

#[test]
fn the_host_itself_says_what_holds_jobs_up() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let _ = site.cli(&["queue", "pause", "work"]).ok();
    add(&site, "work", &[]);
    add(&site, "worc", &[]);
    let host = Host::start(&site);
    let line = host.wait_log("it is paused");
    assert!(line.contains("WARN") && line.contains("jobcell queue resume work"), "{line}");
    let health = host.get("/health").unwrap().1;
    assert!(health.contains("\"held_up\":[\"it is paused"), "{health}");
    let line = host.wait_log("did you mean \"work\"?");
    assert!(line.contains("queue=\"worc\""), "{line}");
    // With a host that works it, nobody is missed any more.
    let ran = site.cli(&["queue", "explain", "work"]).exits(1).answers(&["worked by", "paused"]);
    assert!(!ran.stdout.contains("no-worker"), "{ran}");
    host.stop();
}

#[test]
fn a_host_answers_for_the_embedded_store_that_only_it_may_open() {
    let site = Site::embedded(BASIC);
    let host = Host::start(&site);
    let post = |path: &str, body: serde_json::Value| {
        let (status, answer) = host.request("POST", path, &[], Some(&body)).unwrap();
        assert!((200..300).contains(&status), "{status} {answer}");
    };
    post("/api/v1/queues/work/pause", json!({}));
    post("/api/v1/queues/work/jobs", json!({"name": "noop", "data": {"i": 1}}));
    let ran = site.cli(&["queue", "explain", "work"]).exits(1).answers(&["worked by"]);
    manual::quotes("jobs::paused", &said(&ran));
    let ran = site.cli(&["--json", "queue", "explain"]).exits(1).json();
    assert_eq!(ran[0]["reasons"][0]["code"], "paused");
    host.stop();
}

#[test]
fn busy() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &BASIC.replace("concurrency = 4", "concurrency = 1"));
    let host = Host::start(&site);
    let slow = site.enqueue("work", "sleep", &json!({"ms": 20_000}), &[]);
    wait::until("it runs", || (site.job("work", &slow)["state"] == "active").then_some(()));
    add(&site, "work", &[]);
    wait::until("it is explained", || {
        let ran = site.cli(&["queue", "explain", "work"]).ok();
        ran.stdout.contains("busy: ").then(|| manual::quotes("jobs::busy", &said(&ran)))
    });
    let _ = site.cli(&["queue", "concurrency", "work", "1"]).ok();
    let ran = site.cli(&["queue", "explain", "work"]).ok();
    manual::quotes("jobs::busy", &said(&ran));
    manual::all_said("jobs::busy");
    host.kill();
}

#[test]
fn quiet() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let host = Host::start(&site);
    wait::until("the host has joined", || {
        site.cli(&["queue", "explain", "work"]).stdout.contains("worked by").then_some(())
    });
    let hosts = site.cli(&["--json", "host", "ls"]).ok().json();
    let hosts = hosts.as_array().or_else(|| hosts["items"].as_array()).unwrap();
    let _ = site.cli(&["host", "quiet", hosts[0]["id"].as_str().unwrap()]).ok();
    wait::until("it is quiet", || (host.get("/readyz")?.0 == 503).then_some(()));
    add(&site, "work", &[]);
    wait::until("it is explained", || {
        let ran = site.cli(&["queue", "explain", "work"]);
        ran.stdout.contains("host-quiet").then(|| manual::quotes("jobs::quiet", &said(&ran)))
    });
    host.stop();
}
