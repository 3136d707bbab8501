//! A Redis that is not there, goes away, hangs, or drops connections.

use std::time::{Duration, Instant};

use jobcell_tests::{Answer, Bull, Client, Host, Receiver, RedisServer, Site, wait};
use serde_json::json;

use crate::stage::{BASIC, Stage, capable_site};

/// From the return of the server to the next claim.
const BACK: Duration = Duration::from_secs(2);
/// What two busy cores add to that.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn a_redis_that_is_not_there_is_named_with_what_to_do() {
    let redis = RedisServer::absent();
    let site = Site::redis(&redis, BASIC);
    let place = format!("127.0.0.1:{}", redis.port());
    for command in [&["run", "--burst"][..], &["check"], &["queue", "ls"], &["enqueue", "work", "noop"]] {
        let ran = site.cli(command).exits(69);
        // `check` answers its findings, the others say why they failed.
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(&place) && said.contains("start redis-server"), "{ran}");
    }
}

#[test]
fn a_wrong_password_is_said_without_saying_it() {
    let redis = RedisServer::with_password("the-right-one");
    let site =
        Site::raw(&format!("[redis]\nurl = \"redis://:a-wrong-one@127.0.0.1:{}\"\n{BASIC}", redis.port()));
    for command in [&["run"][..], &["check"]] {
        let ran = site.cli(command).exits(69);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("a-wrong-one"), "{ran}");
        assert!(said.contains("REDIS_PASSWORD"), "what to set: {ran}");
    }
    let site = Site::redis(&redis, BASIC);
    let _ = site.cli(&["check"]).ok();
}

#[test]
fn a_result_is_written_after_redis_came_back() {
    let mut stage = Stage::redis();
    let receiver = Receiver::start([Answer::new(200).after(Duration::from_millis(1500)), Answer::new(200)]);
    // The lock must outlive the outage, else the job is another's by then.
    let site = capable_site(&stage, &receiver.url());
    site.write_config(&site.config().replace("lock = \"1s\"", "lock = \"20s\""));
    let host = Host::start(&site);
    let url = format!("{}/slow", receiver.url());
    let id = site.enqueue("work", "fetch", &json!({"url": url}), &[]);
    let _ = receiver.wait_for(1);
    let redis = stage.redis.as_mut().unwrap();
    redis.down();
    wait::until("the host is not ready", || (host.get("/readyz")?.0 == 503).then_some(()));
    // The handler ends meanwhile: its result has nowhere to go yet.
    wait::until("the handler has ended", || {
        host.get("/metrics")?.1.lines().any(|line| line == "jobcell_cells_active 0").then_some(())
    });
    redis.up();
    let back = Instant::now();
    wait::until("the result is written", || (site.job("work", &id)["state"] == "completed").then_some(()));
    assert_eq!(site.job("work", &id)["attemptsStarted"], 1, "the job ran once");
    assert_eq!(receiver.heard().len(), 1, "the job ran once");
    let next = site.enqueue("other", "noop", &json!({"i": 1}), &[]);
    wait::until("the next job is done", || (site.job("other", &next)["state"] == "completed").then_some(()));
    assert!(back.elapsed() < BACK + SLACK, "claims again after {:?}", back.elapsed());
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    host.stop();
}

#[test]
fn an_idle_host_claims_again_after_redis_came_back() {
    let mut redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let host = Host::start(&site);
    for round in 0..2 {
        redis.down();
        wait::until("the host is not ready", || (host.get("/readyz")?.0 == 503).then_some(()));
        redis.up();
        let bull = Bull::start(Client::Six, &redis);
        bull.listen("work");
        let back = Instant::now();
        let id = bull.add("work", "noop", json!({"i": round}), json!({}));
        assert_eq!(bull.finished("work", &id), Ok(json!({"ok": true, "i": round})));
        assert!(back.elapsed() < BACK + SLACK, "claimed after {:?}", back.elapsed());
    }
    host.stop();
}

#[test]
fn dropped_connections_are_made_again() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let host = Host::start(&site);
    let mut client = redis.client();
    for round in 0..5 {
        client.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let bull = Bull::start(Client::Six, &redis);
        bull.listen("work");
        let id = bull.add("work", "noop", json!({"i": round}), json!({}));
        assert_eq!(bull.finished("work", &id), Ok(json!({"ok": true, "i": round})));
        // The connection that waits for work is back under its name, so that BullMQ lists us.
        wait::until("we are listed", || {
            (bull.queue("work", "getWorkersCount", json!([])) == 1).then_some(())
        });
    }
    host.stop();
}

#[test]
fn a_redis_that_hangs_stops_nothing_for_good() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, BASIC);
    let host = Host::start(&site);
    redis.freeze();
    wait::within(Duration::from_secs(60), "the host is not ready", || {
        (host.get("/readyz")?.0 == 503).then_some(())
    });
    assert_eq!(host.get("/livez").unwrap().0, 200, "a host whose store hangs is still alive");
    redis.thaw();
    let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    wait::until("the job is done", || (site.job("work", &id)["state"] == "completed").then_some(()));
    host.stop();
}
