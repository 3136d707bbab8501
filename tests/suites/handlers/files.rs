//! A handler's file is watched: it may be renamed over or written in place, and nothing half is ever taken.

use std::time::{Duration, Instant};

use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};

use super::fleet::ended_on;
use super::guest::Guest;

const CONFIG: &str = r#"
[queues.work]
handler = "mine"
concurrency = 4
[handlers.mine]
source = "mine.wasm"
"#;

/// Gives jobs until one ran on this version; each of them completed, on whichever.
#[track_caller]
fn wait_taken(ledger: &Ledger, guest: &Guest) {
    wait::until("the file's version runs jobs", || {
        let ids = ledger.push_noops(1);
        ledger.wait_completed(&ids, wait::SOON);
        (ended_on(ledger, &ids[0]) == (Some(guest.result.clone()), Some(guest.name()))).then_some(())
    });
}

fn rename_over(site: &Site, bytes: &[u8]) {
    let draft = site.write("draft", bytes);
    std::fs::rename(draft, site.path().join("mine.wasm")).unwrap();
}

#[test]
fn a_file_is_taken_when_it_is_whole_and_not_before() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, CONFIG);
    let ledger = Ledger::of(&redis, "work");
    let [one, two, three, four] = ["one", "two", "three", "four"].map(Guest::marked);
    site.write("mine.wasm", &one.bytes);
    let host = Host::start(&site);
    wait_taken(&ledger, &one);

    rename_over(&site, &two.bytes);
    wait_taken(&ledger, &two);
    site.write("mine.wasm", &three.bytes);
    wait_taken(&ledger, &three);

    // Written in two parts with a rest between them that is longer than a file has to rest.
    site.write("mine.wasm", &four.bytes[..four.bytes.len() / 2]);
    host.wait_log("is cut off");
    wait_taken(&ledger, &three);
    site.write("mine.wasm", &four.bytes);
    wait_taken(&ledger, &four);

    for (bytes, why) in [
        (b"no wasm at all".to_vec(), "not WebAssembly"),
        (wat::parse_str("(component)").unwrap(), "another world"),
    ] {
        rename_over(&site, &bytes);
        host.wait_log(why);
        wait_taken(&ledger, &four);
    }
    std::fs::remove_file(site.path().join("mine.wasm")).unwrap();
    host.wait_log("cannot be read");
    wait_taken(&ledger, &four);
    site.write("mine.wasm", &one.bytes);
    wait_taken(&ledger, &one);
    assert!(ledger.count("failed").is_empty(), "no job failed by all that");
}

#[test]
fn a_storm_of_renames_ends_with_the_last_version() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, CONFIG);
    let ledger = Ledger::of(&redis, "work");
    let guests: Vec<Guest> = (0..10).map(|n| Guest::marked(&format!("storm {n}"))).collect();
    site.write("mine.wasm", &guests[0].bytes);
    let host = Host::start(&site);
    let end = Instant::now() + Duration::from_secs(3);
    let (mut renames, mut ids) = (0, Vec::new());
    while Instant::now() < end {
        rename_over(&site, &guests[renames % guests.len()].bytes);
        renames += 1;
        if renames % 20 == 0 {
            ids.extend(ledger.push_noops(2));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let last = Guest::marked("after the storm");
    rename_over(&site, &last.bytes);
    let began = Instant::now();
    wait_taken(&ledger, &last);
    println!("{renames} renames; the last version ran jobs {:?} after it", began.elapsed());
    ledger.wait_completed(&ids, wait::SOON);
    ledger.check_completed_once(&ids);
    for id in &ids {
        let (result, digest) = ended_on(&ledger, id);
        let guest = guests.iter().find(|guest| Some(&guest.result) == result.as_ref()).unwrap();
        assert_eq!(Some(guest.name()), digest, "job {id}");
    }
    drop(host);
}
