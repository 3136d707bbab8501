//! A host that cannot start says why and touches nothing.

use std::net::TcpListener;

use jobcell_tests::{Host, Site, artifacts};
use rustix::process::Signal;
use serde_json::json;

use crate::stage::{BASIC, Stage};

#[test]
fn a_port_in_use_is_named() {
    let site = Site::embedded(BASIC);
    let _taken = TcpListener::bind(("127.0.0.1", site.port())).unwrap();
    let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    let port = site.port().to_string();
    let ran = site.cli(&["run"]).exits(1).says(&[&port, "server.listen"]);
    assert!(ran.stderr.contains("in use"), "{ran}");
    assert_eq!(site.job("work", &id)["state"], "waiting", "nothing was claimed");
}

#[test]
fn the_embedded_store_belongs_to_one_process() {
    let site = Site::embedded(BASIC);
    let host = Host::start(&site);
    let ran = site.cli(&["enqueue", "work", "noop"]).exits(69);
    assert!(ran.stderr.contains(".jobcell"), "the directory is named: {ran}");
    host.stop();
    let _ = site.cli(&["enqueue", "work", "noop"]).ok();
}

#[test]
fn a_damaged_embedded_store_is_not_overwritten() {
    let site = Site::embedded(BASIC);
    site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    let folder = site.path().join(".jobcell");
    let database = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |file| file.len()))
        .expect("a database file");
    std::fs::write(&database, b"this is no database").unwrap();
    let ran = site.cli(&["queue", "ls"]).exits(69);
    assert!(ran.stderr.contains(".jobcell"), "{ran}");
    assert_eq!(std::fs::read(&database).unwrap(), b"this is no database");
}

/// The component with a section more: another version of the same handler.
fn another_version(bytes: &[u8]) -> Vec<u8> {
    // A custom section: id, size, the length of its name, its name.
    [bytes, &[0, 2, 1, b'x']].concat()
}

#[test]
fn handlers_are_read_again_when_asked_and_a_bad_one_is_not_taken() {
    let stage = Stage::redis();
    let site = stage.site(&BASIC.replace("${basic}", "basic.wasm"));
    let first = std::fs::read(artifacts::guest("basic")).unwrap();
    site.write("basic.wasm", &first);
    let host = Host::start(&site);
    let run = |i: u64| {
        let data = json!({"i": i}).to_string();
        let ran = site.cli(&["--json", "enqueue", "work", "noop", "--data", &data, "--wait=30"]).ok();
        assert_eq!(ran.json()["result"]["i"], i, "{ran}");
    };
    run(1);
    site.write("basic.wasm", &first[..first.len() / 2]);
    host.signal(Signal::HUP);
    host.wait_log("handlers not changed");
    run(2);
    site.write("basic.wasm", another_version(&first));
    host.signal(Signal::HUP);
    host.wait_log("handler changed");
    run(3);
    host.stop();
}

#[test]
fn the_config_is_read_again_when_asked_and_a_bad_one_is_not_taken() {
    let site = Site::embedded(BASIC);
    let good = site.config();
    let host = Host::start(&site);
    site.write_config(&good.replace("concurrency = 4", "concurency = 4"));
    host.signal(Signal::HUP);
    host.wait_log("concurency");
    assert_eq!(host.get("/readyz").unwrap().0, 200, "the old one stays");
    host.stop();
}

#[test]
fn a_secret_that_is_not_there_is_named_at_the_start() {
    let config = BASIC.replace(
        "source = \"${basic}\"",
        "source = \"${basic}\"\n[handlers.basic.grants]\nsecrets = [\"key\"]\n[secrets]\nkey = { env = \"NO_SUCH_VARIABLE\" }",
    );
    let site = Site::embedded(&config);
    let _ = site.cli(&["check"]).exits(2).answers(&["NO_SUCH_VARIABLE"]);
    let _ = site.cli(&["run"]).exits(2).says(&["NO_SUCH_VARIABLE"]);
}
