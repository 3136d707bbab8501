//! Jobs were added where no worker looks: another prefix, another database, the other protocol, the other major release.

use jobcell_tests::{Bull, Client, RedisServer, Site};
use serde_json::json;

use super::{manual, said};
use crate::stage::BASIC;

const LISTED: &str = r#"
[queues.overlay]
protocol = "list"
key = "job_queue"
handler = "basic"
[handlers.basic]
source = "${basic}"
"#;

#[track_caller]
fn explained(test: &str, site: &Site, queue: &str) {
    for command in [&["queue", "explain", queue][..], &["check"]] {
        let ran = site.cli(command);
        manual::quotes(test, &said(&ran));
    }
}

#[test]
fn other_prefix() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let with = |prefix: &str| {
        Site::raw(&format!("[redis]\nurl = \"{}\"\nprefix = \"{prefix}\"\n{BASIC}", redis.url()))
    };
    with("foo:").enqueue("work", "noop", &json!({}), &[]);
    explained("strays::other_prefix", &site, "work");
    let ran = site.cli(&["--json", "queue", "explain", "work"]).exits(1).json();
    assert_eq!((&ran["waiting"], &ran["reasons"][0]["code"]), (&json!(0), &json!("other-prefix")));
}

#[test]
fn other_database() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    Site::at(&format!("{}/1", redis.url()), BASIC).enqueue("work", "noop", &json!({}), &[]);
    explained("strays::other_database", &site, "work");
}

#[test]
fn a_list_where_bullmq_is_expected() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    redis.client().run(&["LPUSH", "work", "job-1"]);
    explained("strays::a_list_where_bullmq_is_expected", &site, "work");
}

#[test]
fn lists_are_explained_as_well() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, LISTED);
    redis.client().run(&["LPUSH", "job_queue", "job-1"]);
    let ran =
        site.cli(&["queue", "explain", "overlay"]).exits(1).answers(&["overlay: 1 job waits, none runs"]);
    manual::quotes("jobs::no_host", &said(&ran));
    assert!(!ran.stdout.contains("BullMQ"), "nobody but a host works a list: {ran}");
    let _ = site.cli(&["queue", "pause", "overlay"]).ok();
    let ran = site.cli(&["queue", "explain", "overlay"]).exits(1);
    manual::quotes("jobs::paused", &said(&ran));
    let other = Site::at(&format!("{}/2", redis.url()), LISTED);
    let ran = other.cli(&["queue", "explain", "overlay"]).exits(1);
    assert!(said(&ran).contains("1 job waits in database 0 of this Redis"), "{ran}");
}

#[test]
fn bullmq_where_a_list_is_expected() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, LISTED);
    let bull = Bull::start(Client::Six, &redis);
    bull.add("job_queue", "noop", json!({}), json!({}));
    explained("strays::bullmq_where_a_list_is_expected", &site, "overlay");
}

#[test]
fn mixed_releases() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let (five, six) = (Bull::start(Client::Five, &redis), Bull::start(Client::Six, &redis));
    six.add("work", "noop", json!({"i": 1}), json!({}));
    six.queue("work", "pause", json!([]));
    six.add("work", "noop", json!({"i": 2}), json!({}));
    five.add("work", "noop", json!({"i": 3}), json!({}));
    explained("strays::mixed_releases", &site, "work");
    let _ = site.cli(&["queue", "resume", "work"]).ok();
    let found = site.cli(&["--json", "queue", "explain", "work"]).json();
    assert_eq!(found["waiting"], 3, "what the message says helps: {found}");
}

#[test]
fn parked() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    site.enqueue("work", "noop", &json!({}), &[]);
    // As a resume that was broken off leaves it.
    redis.client().run(&["RENAME", "bull:work:wait", "bull:work:paused"]);
    explained("strays::parked", &site, "work");
    let _ = site.cli(&["queue", "resume", "work"]).ok();
    site.burst();
}

#[test]
fn a_key_of_another_type() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    redis.client().run(&["SET", "bull:work:wait", "mine"]);
    explained("strays::a_key_of_another_type", &site, "work");
}

#[test]
fn missing_child() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let flow = json!({
        "name": "noop", "queueName": "work", "opts": { "jobId": "parent" },
        "children": [{ "name": "noop", "queueName": "thumbs", "data": {}, "opts": { "jobId": "child" } }],
    });
    let _ = site.cli_with(&["flow", "add", "-"], &flow.to_string()).ok();
    explained("strays::missing_child", &site, "work");
    // As an eviction policy takes it.
    let mut client = redis.client();
    client.run(&["DEL", "bull:thumbs:child"]);
    client.run(&["DEL", "bull:thumbs:wait"]);
    explained("strays::missing_child", &site, "work");
    manual::all_said("strays::missing_child");
}
