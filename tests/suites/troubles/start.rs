//! A host that is started before its Redis, or without one.

use std::time::Duration;

use jobcell_tests::{Host, RedisServer, wait};
use serde_json::{Value, json};

use super::{manual, said, site};

#[test]
fn redis_is_not_there_yet() {
    let mut redis = RedisServer::absent();
    let site = site(&[("REDIS_URL", &redis.url())]);
    let host = Host::launch(&site, &[]);
    manual::quotes("start::redis_is_not_there_yet", &host.wait_log("waiting for the store"));
    let (status, reason) = wait::until("it says that it is not ready", || host.get("/readyz"));
    assert_eq!(status, 503);
    manual::quotes("start::redis_is_not_there_yet", &reason);
    manual::all_said("start::redis_is_not_there_yet");
    assert_eq!(host.get("/livez").unwrap().0, 200, "nobody needs to restart it");
    let health: Value = serde_json::from_str(&host.get("/health").unwrap().1).unwrap();
    assert_eq!(health["redis"]["status"], "disconnected");
    assert!(health["redis"]["message"].as_str().unwrap().contains("refuses the connection"), "{health}");
    redis.up();
    wait::within(Duration::from_secs(90), "the host is ready", || {
        (host.get("/readyz")?.0 == 200).then_some(())
    });
    let _ = site.cli(&["enqueue", "work", "noop", "--data", "{\"i\":1}", "--wait=30"]).ok();
    // It was said when it began, and not with each of the tries.
    let lines = host.log().iter().filter(|line| line.contains("waiting for the store")).count();
    assert!(lines <= 3, "{:?}", host.log());
    host.stop();
}

#[test]
fn redis_goes_away() {
    let mut redis = RedisServer::start();
    let site = site(&[("REDIS_URL", &redis.url())]);
    let host = Host::start(&site);
    let before = host.log().len();
    redis.down();
    wait::until("the reason is told", || {
        let (status, reason) = host.get("/readyz")?;
        (status == 503 && reason.contains("refuses"))
            .then(|| manual::quotes("start::redis_goes_away", &reason))
    });
    let health: Value = serde_json::from_str(&host.get("/health").unwrap().1).unwrap();
    assert_eq!(health["redis"]["status"], "disconnected", "{health}");
    wait::until("it has been away for a while", || {
        let (_, page) = host.get("/metrics")?;
        let silent = page.lines().find(|line| line.starts_with("jobcell_worker_last_poll_seconds"))?;
        (silent.rsplit(' ').next()?.parse::<f64>().ok()? > 5.0).then_some(())
    });
    // By then it has been tried a dozen times.
    let log = host.log().split_off(before);
    assert!((1..=10).contains(&log.len()), "it is said, and not with each try: {log:#?}");
    redis.up();
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    let _ = host.wait_log("redis connection is back");
    host.stop();
}

#[test]
fn told_to_stop_while_it_waits() {
    let redis = RedisServer::absent();
    let site = site(&[("REDIS_URL", &redis.url())]);
    let host = Host::launch(&site, &[]);
    let _ = host.wait_log("waiting for the store");
    host.stop();
}

#[test]
fn what_does_not_pass_is_not_waited_for() {
    let redis = RedisServer::with_password("s3cret");
    let port = redis.port().to_string();
    let ran = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port)]).cli(&["run"]).exits(69);
    assert!(said(&ran).contains("NOAUTH"), "{ran}");
    let absent = RedisServer::absent();
    let _ = site(&[("REDIS_URL", &absent.url())])
        .cli(&["run", "--burst"])
        .exits(69)
        .says(&["start redis-server"]);
}

#[test]
fn not_configured() {
    let site = site(&[]);
    let host = Host::start(&site);
    manual::quotes("start::not_configured", &host.wait_log("no Redis is configured"));
    let health: Value = serde_json::from_str(&host.get("/health").unwrap().1).unwrap();
    assert_eq!(
        (&health["status"], &health["redis"]["status"]),
        (&json!("healthy"), &json!("not_configured"))
    );
    host.stop();
}

#[test]
fn parts_without_a_host() {
    let site = site(&[("REDIS_PASSWORD", "s3cret")]);
    for command in [&["check"][..], &["run"], &["enqueue", "work", "noop"]] {
        manual::quotes("start::parts_without_a_host", &said(&site.cli(command).exits(2)));
    }
}
