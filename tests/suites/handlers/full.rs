//! Where nothing more can be written: what runs goes on, and what to do is said.

use std::fs;

use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};
use serde_json::{Value, json};

use super::fleet::{Operator, STORED, ended_on};
use super::guest::Guest;

/// No file of a process may become larger: to it, the disk is full.
fn with_files_of(site: Site, bytes: u64) -> Site {
    // Writing more is an error only where the signal for it is ignored.
    let limited = format!("trap '' XFSZ; exec prlimit --fsize={bytes} -- \"$0\" \"$@\"");
    site.under(&["sh", "-c", &limited])
}

#[test]
fn a_full_disk_under_the_compile_cache_keeps_no_version_from_running() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (one, two) = (Guest::marked("one"), Guest::marked("two"));
    operator.activate(&one);
    let site = Site::redis(&redis, &format!("{STORED}[cells]\ncache = \"cache\"\n"));
    let site = with_files_of(site, 4096);
    let host = Host::start(&site);
    let told = host.wait_log("could not be kept");
    assert!(told.contains("Make room there, or name another folder as cells.cache"), "{told}");
    let ledger = Ledger::of(&redis, "work");
    for guest in [&one, &two] {
        operator.activate(guest);
        wait::until("the version runs", || {
            operator.hosts().values().all(|of| of.active == Some(guest.name())).then_some(())
        });
        let ids = ledger.push_noops(3);
        ledger.wait_completed(&ids, wait::SOON);
        assert_eq!(ended_on(&ledger, &ids[0]), (Some(guest.result.clone()), Some(guest.name())));
    }
    let left: Vec<_> = fs::read_dir(site.path().join("cache/cells")).unwrap().map(|it| it.unwrap()).collect();
    let names: Vec<_> = left.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["key"], "no half of anything is left");
    host.stop();
}

#[test]
fn a_full_disk_under_the_embedded_store_refuses_a_version_and_keeps_the_one_before() {
    let site = Site::embedded("[queues.work]\nhandler = \"mine\"\n[handlers.mine]\nsource = \"store\"\n");
    let one = Guest::marked("one");
    let file = site.write("one.wasm", &one.bytes).display().to_string();
    let _ = site.cli(&["handler", "deploy", "mine", &file]).ok();
    let store =
        fs::read_dir(site.path().join(".jobcell")).unwrap().map(|it| it.unwrap().metadata().unwrap().len());
    // Room for jobs, and not for six megabytes.
    let room = store.max().unwrap() + (2 << 20);
    let site = with_files_of(site, room);
    let host = Host::start(&site);
    let ran = |host: &Host| {
        let job = json!({ "name": "noop", "data": {} });
        let answer = host.request("POST", "/api/v1/queues/work/jobs?wait=60", &[], Some(&job)).unwrap();
        let done: Value = serde_json::from_str(&answer.1).unwrap();
        assert_eq!((answer.0, &done["state"]), (200, &json!("completed")), "{done}");
        let id = done["id"].as_str().unwrap();
        let job: Value =
            serde_json::from_str(&host.get(&format!("/api/v1/queues/work/jobs/{id}")).unwrap().1).unwrap();
        assert_eq!(job["returnvalue"], json!("one"), "{job}");
    };
    ran(&host);
    let mut large = Guest::marked("large").bytes;
    // A custom section with nothing of worth in it.
    large.extend([0, 0x80, 0x80, 0x80, 0x03, 1, b'x']);
    large.resize(large.len() + (6 << 20) - 2, 7);
    let large = site.write("large.wasm", &large).display().to_string();
    let refused = site.cli(&["handler", "deploy", "mine", &large]).exits(69);
    let blobs = site.path().join(".jobcell/blobs");
    let _ = refused.says(&[".jobcell/blobs", "raise the limit on file sizes, nothing stored is lost"]);
    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 1, "no half of it is left");
    ran(&host);
    let standing = site.cli(&["--json", "handler", "ls", "mine"]).ok().json();
    assert_eq!(standing["active"], json!(one.name()));
    ran(&host);
    host.stop();
}
