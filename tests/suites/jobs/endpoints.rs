//! The pages for supervisors and monitoring.

use jobcell_tests::{Host, Site, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage};

fn metric(host: &Host, start: &str) -> Option<f64> {
    let (_, text) = host.get("/metrics")?;
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_host_says_that_it_lives_is_ready_and_what_it_stands_on() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    assert_eq!(host.get("/livez").unwrap().0, 200);
    assert_eq!(host.get("/readyz").unwrap().0, 200);
    let (status, health) = host.get("/health").unwrap();
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(status, 200);
    assert_eq!(health["redis"]["status"], "connected", "{health}");
    assert!(health["redis"]["latency"].is_number(), "{health}");
    for key in ["status", "store", "handlers", "queues", "version", "wasmtime"] {
        assert!(!health[key].is_null(), "{key}: {health}");
    }
    host.stop();
}

#[test]
fn a_host_without_redis_says_so() {
    let site = Site::embedded(BASIC);
    let host = Host::start(&site);
    let health: Value = serde_json::from_str(&host.get("/health").unwrap().1).unwrap();
    assert_eq!(health["redis"]["status"], "not_configured", "{health}");
    host.stop();
}

#[test]
fn jobs_are_counted_by_queue_handler_and_outcome() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    for i in 0..3 {
        site.enqueue("work", "noop", &json!({"i": i}), &[]);
    }
    site.enqueue("work", "spin", &json!("not an object, and not needed"), &["--attempts", "1"]);
    wait::until("three completions are counted", || {
        let (_, text) = host.get("/metrics")?;
        let line = text.lines().find(|line| {
            line.starts_with("jobcell_jobs_total{")
                && line.contains("\"completed\"")
                && line.contains("\"work\"")
        })?;
        line.ends_with(" 3").then_some(())
    });
    wait::until("the cell that spins is counted", || {
        metric(&host, "jobcell_cells_active").filter(|n| *n >= 1.0)
    });
    assert_eq!(metric(&host, "jobcell_store_up"), Some(1.0));
    assert!(metric(&host, "jobcell_wait_seconds_count").is_some_and(|n| n >= 4.0));
    // The job that spins would hold a polite stop until its deadline.
    host.terminate();
    host.signal(Signal::TERM);
}

#[test]
fn a_quiet_host_is_alive_and_not_ready_and_takes_nothing() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    host.signal(Signal::TSTP);
    wait::until("not ready", || (host.get("/readyz")?.0 == 503).then_some(()));
    assert_eq!(host.get("/livez").unwrap().0, 200);
    let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    assert_eq!(site.job("work", &id)["state"], "waiting");
    host.stop();
}
