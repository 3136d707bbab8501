//! A canary takes its share, and goes forward or back by itself.

use std::time::Duration;

use jobcell_handlers::CanaryRules;
use jobcell_handlers::version::State;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};

use super::fleet::{Operator, STORED, ended_on};
use super::guest::{Does, Guest};

/// Judged soon, on few jobs.
fn rules(promote_after_ms: Option<u64>) -> CanaryRules {
    CanaryRules { window_ms: 30_000, min_jobs: 10, promote_after_ms, ..CanaryRules::default() }
}

/// Gives jobs and waits until all of them have ended, in whatever way.
#[track_caller]
fn work(ledger: &Ledger) -> Vec<String> {
    let ids = ledger.push_noops(20);
    wait::until("the jobs have ended", || {
        ids.iter().all(|id| ledger.field(id, "finishedOn").is_some()).then_some(())
    });
    ids
}

/// Gives jobs until the version is in this state.
#[track_caller]
fn work_until(operator: &Operator, ledger: &Ledger, guest: &Guest, state: State) -> Vec<String> {
    let mut ids = Vec::new();
    wait::within(Duration::from_secs(60), &format!("the canary is {state}"), || {
        ids.extend(work(ledger));
        (operator.state(guest) == Some(state)).then_some(())
    });
    ids
}

#[test]
fn one_that_is_no_worse_takes_its_share_and_then_everything() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (old, new) = (Guest::marked("old"), Guest::marked("new"));
    operator.activate(&old);
    let sites: Vec<Site> = (0..2).map(|_| Site::redis(&redis, STORED)).collect();
    let hosts: Vec<Host> = sites.iter().map(Host::start).collect();
    let ledger = Ledger::of(&redis, "work");
    operator.canary(&new, 30, rules(Some(5_000)));
    wait::until("every host has the canary", || {
        operator.hosts().values().all(|of| of.canary == Some(new.name())).then_some(())
    });
    let first = ledger.push_noops(400);
    ledger.wait_completed(&first, wait::SOON);
    let share = first.iter().filter(|id| ended_on(&ledger, id).1 == Some(new.name())).count();
    assert!((70..180).contains(&share), "{share} of 400 at 30 %");

    work_until(&operator, &ledger, &new, State::Active);
    assert_eq!(operator.desired().canary, None);
    wait::until("every host runs it", || {
        operator.hosts().values().all(|of| of.active == Some(new.name())).then_some(())
    });
    let after = ledger.push_noops(20);
    ledger.wait_completed(&after, wait::SOON);
    assert!(after.iter().all(|id| ended_on(&ledger, id).1 == Some(new.name())));
    // Nothing runs on the old one any more, and somebody notes it.
    operator.wait_state(&old, State::Retired);
    drop(hosts);
}

#[test]
fn one_that_traps_is_rolled_back() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (old, new) = (Guest::marked("old"), Guest::new("new", Does::Trap));
    operator.activate(&old);
    // What is judged here is the canary's rate; a quarantine would come first.
    let site = Site::redis(&redis, &format!("{STORED}quarantine = 0\n"));
    let _host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    operator.canary(&new, 30, rules(None));
    wait::until("the host has the canary", || {
        operator.hosts().values().all(|of| of.canary == Some(new.name())).then_some(())
    });
    wait::within(Duration::from_secs(60), "the canary is rolled back", || {
        let _ = work(&ledger);
        operator.desired().canary.is_none().then_some(())
    });
    assert_eq!(operator.desired().active, Some(old.digest()));
    let why = operator.desired().version(&new.digest()).unwrap().why.clone();
    assert!(why.contains("trap") || why.contains("fail"), "{why}");
    wait::until("no host has the canary", || {
        operator.hosts().values().all(|of| of.canary.is_none()).then_some(())
    });
    let after = ledger.push_noops(20);
    ledger.wait_completed(&after, wait::SOON);
}
