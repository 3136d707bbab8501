//! HUP: configuration and handlers are read again, all or nothing, while the queue runs.

use std::io::Write;

use jobcell_tests::{Host, Site, artifacts, wait};
use rustix::process::Signal;
use serde_json::json;

use crate::stage::Stage;

const CONFIG: &str = r#"
[queues.work]
handler = "mine"
[handlers.mine]
source = "mine.wasm"
# What this is about is HUP; a watched file is taken without it.
watch = false
"#;

fn site(stage: &Stage) -> Site {
    let site = stage.site(CONFIG);
    site.write("mine.wasm", guest("basic"));
    site
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(artifacts::guest(name)).unwrap()
}

fn metrics(host: &Host) -> String {
    host.get("/metrics").map(|(_, page)| page).unwrap_or_default()
}

#[test]
fn a_good_handler_takes_over_and_a_bad_one_does_not() {
    let stage = Stage::redis();
    let site = site(&stage);
    let host = Host::start(&site);
    let run = |name: &str, data| {
        let id = site.enqueue("work", name, &data, &[]);
        wait::until("the job ends", || {
            let job = site.job("work", &id);
            ["completed", "failed"].contains(&job["state"].as_str().unwrap_or_default()).then_some(job)
        })
    };
    assert_eq!(run("noop", json!({"i": 1}))["state"], "completed");

    // Cut off on its way: refused, and the version before goes on.
    site.write("mine.wasm", &guest("basic")[..2000]);
    host.signal(Signal::HUP);
    host.wait_log("handlers not changed");
    assert_eq!(run("noop", json!({"i": 2}))["state"], "completed");

    // A fault in the configuration keeps a good handler out too.
    let sound = site.config();
    site.write("mine.wasm", guest("settings"));
    site.write_config(&format!("{sound}\n[queuess.x]\nhandler = \"mine\"\n"));
    host.signal(Signal::HUP);
    host.wait_log("configuration not changed");
    site.write_config(&sound);
    assert_eq!(run("noop", json!({"i": 3}))["state"], "completed");

    host.signal(Signal::HUP);
    host.wait_log("handler changed");
    let job = run("noop", json!({"i": 4}));
    assert_eq!(job["state"], "failed", "the new plugin has no `noop`: {job}");
    assert!(job["failedReason"].as_str().unwrap_or_default().contains("setting"), "{job}");
    let page = metrics(&host);
    assert!(page.contains(r#"jobcell_swaps_total{handler="mine",kind="change"} 1"#), "{page}");
    host.stop();
}

#[test]
fn a_host_that_waits_for_a_file_hears_that_it_is_to_stop() {
    let stage = Stage::redis();
    let site = site(&stage);
    let mut host = Host::start(&site);
    let mut writer = std::fs::File::create(site.path().join("mine.wasm")).unwrap();
    writer.write_all(&guest("settings")[..2000]).unwrap();
    host.signal(Signal::HUP);
    host.wait_log("waiting until its file is left alone");
    host.terminate();
    assert_eq!(host.code(), Some(0));
    let log = host.log();
    assert!(!log.iter().any(|line| line.contains("has not rested")), "it waited to the end: {log:?}");
}
