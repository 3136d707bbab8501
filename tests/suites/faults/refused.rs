//! Redis answers and refuses: it is a replica, out of memory, cannot save, runs somebody's script, is paused, or has
//! forgotten our scripts.

use std::time::Duration;

use jobcell_tests::{Resp, wait};
use rustix::process::Signal;

use super::outage::Outage;

/// While `begin` holds nothing can be written: the host says so, with a word of the reason, and goes on after `end`.
fn survives(what: &str, reason: &str, begin: impl Fn(&mut Resp, &Outage), end: impl Fn(&mut Resp, &Outage)) {
    let mut outage = Outage::prepare("20s");
    let slow = outage.run_for(Duration::from_millis(1500));
    let mut client = outage.redis.client();
    begin(&mut client, &outage);
    let told = outage.wait_not_ready();
    // At one moment it may say no more than that it connects anew.
    wait::until(&format!("{what}: the reason is told; first it was {told}"), || {
        (told.contains(reason) || outage.host.get("/readyz")?.1.contains(reason)).then_some(())
    });
    end(&mut client, &outage);
    outage.back(what);
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"), "{what}: the job ran once");
    outage.settle();
}

#[test]
fn a_master_that_becomes_a_replica_for_a_while() {
    survives(
        "READONLY",
        "READONLY",
        |client, _| drop(client.run(&["REPLICAOF", "127.0.0.1", "1"])),
        |client, _| drop(client.run(&["REPLICAOF", "NO", "ONE"])),
    );
}

#[test]
fn memory_that_is_full_stops_no_job_that_runs() {
    let mut outage = Outage::prepare("20s");
    let slow = outage.run_for(Duration::from_millis(1500));
    let mut client = outage.redis.client();
    client.run(&["CONFIG", "SET", "maxmemory", "1"]);
    client.try_run(&["SET", "key", "value"]).expect_err("nothing can be added");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    client.run(&["CONFIG", "SET", "maxmemory", "0"]);
    outage.back("OOM");
    outage.settle();
}

#[test]
fn memory_that_is_full_is_told_where_it_stops_the_next_claim() {
    let mut outage = Outage::prepare_with("20s", 1);
    let mut client = outage.redis.client();
    outage.host.signal(Signal::TSTP);
    wait::until("the host takes nothing", || (outage.host.get("/readyz")?.0 == 503).then_some(()));
    outage.push(3);
    client.run(&["CONFIG", "SET", "maxmemory", "1"]);
    outage.host.signal(Signal::CONT);
    wait::until("the reason is told", || outage.host.get("/readyz")?.1.contains("OOM").then_some(()));
    let told = outage.wait_not_ready();
    assert!(told.contains("raise maxmemory"), "with what to do: {told}");
    client.run(&["CONFIG", "SET", "maxmemory", "0"]);
    outage.back("OOM at a claim");
    outage.settle();
}

#[test]
fn a_disk_that_takes_no_snapshot_for_a_while() {
    fn save(client: &mut Resp, status: &str) {
        wait::until("the snapshot has ended", || {
            // One may be under way.
            let _ = client.try_run(&["BGSAVE"]);
            let info = client.run(&["INFO", "persistence"]).text()?;
            info.contains(&format!("rdb_last_bgsave_status:{status}")).then_some(())
        });
    }
    survives(
        "MISCONF",
        "MISCONF",
        |client, outage| {
            // A folder where the file should go.
            std::fs::create_dir(outage.redis.folder().join("dump.rdb")).unwrap();
            client.run(&["CONFIG", "SET", "save", "3600 1"]);
            save(client, "err");
        },
        |client, outage| {
            std::fs::remove_dir(outage.redis.folder().join("dump.rdb")).unwrap();
            save(client, "ok");
        },
    );
}

#[test]
fn a_script_of_somebody_elses_that_does_not_end() {
    survives(
        "BUSY",
        "BUSY",
        |client, outage| {
            client.run(&["CONFIG", "SET", "busy-reply-threshold", "100"]);
            let port = outage.redis.port();
            std::thread::spawn(move || {
                // It is killed.
                let _ = Resp::connect(port, None).unwrap().try_run(&["EVAL", "while true do end", "0"]);
            });
            wait::until("the server is busy", || client.try_run(&["PING"]).err());
        },
        |client, _| {
            client.run(&["SCRIPT", "KILL"]);
            wait::until("the script has ended", || client.try_run(&["PING"]).ok());
        },
    );
}

#[test]
fn a_server_that_is_paused_for_a_while() {
    survives(
        "CLIENT PAUSE",
        "did not answer",
        |client, _| drop(client.run(&["CLIENT", "PAUSE", "9000", "ALL"])),
        |client, _| drop(client.run(&["CLIENT", "UNPAUSE"])),
    );
}

#[test]
fn scripts_that_are_forgotten_under_load() {
    let mut outage = Outage::prepare("20s");
    let mut client = outage.redis.client();
    for _ in 0..20 {
        outage.push(20);
        client.run(&["SCRIPT", "FLUSH"]);
    }
    outage.back("SCRIPT FLUSH");
    outage.settle();
}
