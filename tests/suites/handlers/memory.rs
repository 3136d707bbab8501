//! What versions cost: those that are gone nothing, those that are idle little.

use std::fmt::Write as _;

use jobcell_handlers::version::State;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};

use super::fleet::{Operator, STORED, ended_on};
use super::guest::Guest;

/// Resident KiB of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Compiled components that a process has mapped.
fn mapped(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let files: std::collections::BTreeSet<&str> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".cwasm"))
        .collect();
    files.len()
}

/// How many deploys; `JOBCELL_DEPLOYS` for the whole proof.
fn deploys() -> usize {
    std::env::var("JOBCELL_DEPLOYS").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
}

#[test]
fn deploys_in_a_row_leave_nothing_behind() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    operator.activate(&Guest::marked("first"));
    // A cache of its own, so that what is mapped is its own as well.
    let site = Site::redis(&redis, &format!("{STORED}[cells]\ncache = \"cache\"\n"));
    let mut host = Host::start(&site);
    let (pid, ledger) = (host.id(), Ledger::of(&redis, "work"));
    let deploys = deploys();
    let mut early = 0;
    for n in 0..deploys {
        let guest = Guest::marked(&format!("deploy {n}"));
        operator.activate(&guest);
        wait::until("the host runs it", || {
            (operator.hosts().get(&pid)?.active == Some(guest.name())).then_some(())
        });
        if n % 10 == 0 {
            let ids = ledger.push_noops(1);
            ledger.wait_completed(&ids, wait::SOON);
            assert_eq!(ended_on(&ledger, &ids[0]).1, Some(guest.name()));
        }
        // Allocators and tables have grown to their size by then.
        if n == deploys / 3 {
            early = resident(pid);
        }
    }
    let late = resident(pid);
    println!(
        "{deploys} deploys: {early} KiB resident after a third of them, {late} KiB after all; {} mapped",
        mapped(pid)
    );
    wait::until("only the active version and the one before are mapped", || (mapped(pid) <= 2).then_some(()));
    assert!(late < early + early / 5 + 8 * 1024, "{early} KiB grew to {late} KiB");
    let desired = operator.desired();
    assert!(desired.versions.len() <= 50, "{}", desired.versions.len());
    let draining = desired.versions.iter().filter(|version| version.state == State::Draining).count();
    println!("{} versions are known, {draining} of them draining", desired.versions.len());
}

#[test]
fn two_hundred_idle_handlers_cost_little() {
    let mut config = String::new();
    let redis = RedisServer::start();
    let count = 200;
    let folder = tempfile_folder(count);
    writeln!(config, "[queues.work]\nhandler = \"h0\"").unwrap();
    for n in 0..count {
        writeln!(config, "[handlers.h{n}]\nsource = \"{}\"", folder.path().display()).unwrap();
    }
    let site = Site::redis(&redis, &config);
    let few = Site::redis(&redis, &config.lines().take(4).collect::<Vec<_>>().join("\n"));
    let mut one = Host::start(&few);
    let mut host = Host::start(&site);
    let (alone, all) = (resident(one.id()), resident(host.id()));
    println!("one idle handler: {alone} KiB resident; {count}: {all} KiB");
    assert!(all < alone + 200 * 1024, "200 idle handlers take {all} KiB, one {alone} KiB");
    let ledger = Ledger::of(&redis, "work");
    let ids = ledger.push_noops(2);
    ledger.wait_completed(&ids, wait::SOON);
}

fn tempfile_folder(count: usize) -> Folder {
    let folder = Folder(std::env::temp_dir().join(format!("jobcell-idle-{}", std::process::id())));
    std::fs::create_dir_all(folder.path()).unwrap();
    for n in 0..count {
        let guest = Guest::marked(&format!("idle {n}"));
        std::fs::write(folder.path().join(format!("h{n}.wasm")), guest.bytes).unwrap();
    }
    folder
}

/// A folder that is removed with its value.
struct Folder(std::path::PathBuf);

impl Folder {
    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
