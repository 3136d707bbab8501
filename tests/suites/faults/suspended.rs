//! A host that does not run for a while, as in a container that is frozen or a laptop that sleeps, while others go on.

use std::time::Duration;

use jobcell_tests::wait;
use rustix::process::Signal;

use super::outage::Outage;

#[test]
fn a_host_that_wakes_up_without_its_locks_drops_what_is_not_its_own() {
    let mut outage = Outage::prepare("1s");
    let slow = outage.run_for(Duration::from_secs(4));
    outage.host.signal(Signal::STOP);
    let (_site, other) = outage.another_host("1s");
    // The other host finds the job without a lock and runs it.
    wait::until("the job is started again", || (outage.starts(&slow)? == "2").then_some(()));
    outage.host.signal(Signal::CONT);
    outage.host.wait_log("lock");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.ledger.field(&slow, "stc").as_deref(), Some("1"));
    outage.back("SIGSTOP and SIGCONT");
    outage.settle();
    other.stop();
}

#[test]
fn a_host_that_sleeps_over_and_over_loses_nothing() {
    let mut outage = Outage::prepare("1s");
    let (_site, other) = outage.another_host("1s");
    for _ in 0..4 {
        outage.push(60);
        outage.host.signal(Signal::STOP);
        // Longer than its locks hold: the other host takes over what it had.
        wait::until("the other host has done the rest", || {
            let mut client = outage.redis.client();
            let left = client.run(&["LLEN", &outage.ledger.key("wait")]).int();
            let active = client.run(&["LLEN", &outage.ledger.key("active")]).int();
            (left + active == 0).then_some(())
        });
        outage.host.signal(Signal::CONT);
    }
    outage.back("several sleeps");
    outage.settle();
    other.stop();
}
