//! A version that breaks the same way on many jobs is taken out of use, and its jobs run on the one before.

use jobcell_core::fleet::VersionBreaks;
use jobcell_handlers::Command;
use jobcell_handlers::version::State;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};
use serde_json::json;

use super::baseline::OWN_CACHE;
use super::fleet::{Operator, STORED, ended_on};
use super::guest::{Does, Guest};

#[test]
fn jobs_of_a_version_at_fault_run_on_the_one_before_and_use_no_attempt() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (good, bad) = (Guest::marked("good"), Guest::new("bad", Does::Trap));
    operator.activate(&good);
    // It breaks on baseline code as well, which a version begins on that is not in a cache.
    let sites: Vec<Site> = (0..2).map(|_| Site::redis(&redis, &format!("{STORED}{OWN_CACHE}"))).collect();
    let hosts: Vec<Host> = sites.iter().map(Host::start).collect();
    let ledger = Ledger::of(&redis, "work");
    let before = ledger.push_noops(5);
    ledger.wait_completed(&before, wait::SOON);

    operator.activate(&bad);
    wait::until("every host runs the bad version", || {
        let running = operator.hosts();
        let all = running.len() == 2 && running.values().all(|of| of.active == Some(bad.name()));
        all.then_some(())
    });
    // Each has one attempt: used on the bad version, it would have failed for good.
    let ids = ledger.push_noops(60);
    ledger.wait_completed(&ids, wait::SOON);
    ledger.check_completed_once(&ids);
    for id in &ids {
        assert_eq!(ended_on(&ledger, id), (Some(good.result.clone()), Some(good.name())), "job {id}");
    }
    operator.wait_state(&bad, State::Quarantined);
    let desired = operator.desired();
    assert_eq!(desired.active, Some(good.digest()));
    let why = &desired.version(&bad.digest()).unwrap().why;
    assert!(why.contains("different jobs") && why.contains("unreachable"), "{why}");
    assert!(ledger.count("failed").is_empty(), "nothing was told as failed");
    let counted = |host: &Host| {
        let (_, metrics) = host.get("/metrics").unwrap_or_default();
        metrics.contains("jobcell_traps_total{handler=\"mine\",reason=\"trap\"}")
    };
    assert!(hosts.iter().any(counted), "what broke is counted, although no attempt was used");
    let told = hosts.iter().any(|host| {
        host.log().iter().any(|line| line.contains("the version is at fault: it is quarantined"))
    });
    assert!(told, "one host says so");
    let warned = |host: &Host| host.log().iter().any(|line| line.contains("a job broke on the version"));
    assert!(hosts.iter().any(warned), "and it said so from the first one on");
}

#[test]
fn hosts_find_a_version_at_fault_together_that_none_of_them_saw_break_enough_jobs() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (good, bad) = (Guest::marked("good"), Guest::new("bad", Does::Trap));
    operator.activate(&good);
    // A queue each, so that neither of them sees more than two jobs.
    let queues = ["work", "other"];
    let sites = queues.map(|queue| {
        let stored = STORED.replace("[queues.work]", &format!("[queues.{queue}]"));
        Site::redis(&redis, &format!("{stored}quarantine = 4\n"))
    });
    let _hosts = sites.each_ref().map(Host::start);
    operator.activate(&bad);
    operator.wait_swapped(2, &good, &bad);
    let ledgers = queues.map(|queue| Ledger::of(&redis, queue));
    for ledger in &ledgers {
        let ids = ledger.push_noops(2);
        ledger.wait_completed(&ids, wait::SOON);
        ledger.check_completed_once(&ids);
        for id in &ids {
            assert_eq!(ended_on(ledger, id), (Some(good.result.clone()), Some(good.name())), "job {id}");
        }
    }
    operator.wait_state(&bad, State::Quarantined);
    let desired = operator.desired();
    let why = &desired.version(&bad.digest()).unwrap().why;
    assert!(why.starts_with("4 different jobs of 4 attempts"), "{why}");
    assert!(why.contains("unreachable"), "how they broke is told in words: {why}");
    assert_eq!(desired.active, Some(good.digest()));

    wait::until("every host has left it", || {
        operator.hosts().values().all(|of| of.active == Some(good.name())).then_some(())
    });
    // Released, it begins anew: what it broke before is held against it nowhere.
    operator.apply(Command::Release { digest: bad.digest() }).unwrap();
    operator.activate(&bad);
    wait::until("every host runs it and knows of no job that it broke", || {
        let running = operator.hosts();
        let is_clean = |of: &jobcell_core::fleet::HostHandler| {
            of.active == Some(bad.name()) && of.breaks.get(&bad.name()) == Some(&VersionBreaks::default())
        };
        (running.len() == 2 && running.values().all(is_clean)).then_some(())
    });
    assert_eq!(operator.state(&bad), Some(State::Active));
}

#[test]
fn jobs_that_break_every_version_put_none_at_fault() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (old, new) = (Guest::new("old", Does::Dive), Guest::new("new", Does::Dive));
    operator.activate(&old);
    let sites: Vec<Site> = (0..2).map(|_| Site::redis(&redis, STORED)).collect();
    let hosts: Vec<Host> = sites.iter().map(Host::start).collect();
    operator.activate(&new);
    operator.wait_swapped(2, &old, &new);
    let ledger = Ledger::of(&redis, "work");
    // Deeper than any stack: a producer's fault, whatever version runs them. No others hide them.
    let poison = ledger.push("dive", (0..30).map(|_| json!(100_000_000)));
    wait::until("every one of them has failed", || {
        poison.iter().all(|id| ledger.field(id, "failedReason").is_some()).then_some(())
    });
    for id in &poison {
        let reason = ledger.field(id, "failedReason").unwrap();
        assert!(reason.contains("stack overflowed"), "{reason}");
        assert_eq!(ledger.field(id, "atm").as_deref(), Some("1"), "the job had one attempt");
    }
    let fine = ledger.push("dive", (0..10).map(|n| json!(n)));
    ledger.wait_completed(&fine, wait::SOON);
    assert!(fine.iter().all(|id| ended_on(&ledger, id).1 == Some(new.name())), "it goes on");
    let desired = operator.desired();
    assert_eq!(desired.active, Some(new.digest()));
    assert!(desired.versions.iter().all(|version| version.state != State::Quarantined));
    let told = sites[0].logs("work", &poison[0]).join("\n");
    assert!(told.contains("broke on version") && told.contains("not the version"), "{told}");
    drop(hosts);
}
