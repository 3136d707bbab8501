//! Redis ends and comes back: with its data, without it, after the locks have run out, while it still loads.

use std::time::Duration;

use jobcell_tests::wait;
use serde_json::json;

use super::outage::Outage;

fn wait_idle(outage: &Outage) {
    wait::until("what ran has ended", || (outage.metric("jobcell_cells_active")? == 0.0).then_some(()));
}

#[test]
fn a_restart_costs_no_result_whose_lock_still_holds() {
    let mut outage = Outage::prepare("20s");
    let slow = outage.run_for(Duration::from_millis(1500));
    outage.redis.down();
    let reason = outage.wait_not_ready();
    assert!(reason.contains("127.0.0.1"), "the place is named: {reason}");
    wait_idle(&outage);
    outage.redis.up();
    outage.back("restart");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"), "its result was written, it did not run again");
    outage.settle();
}

#[test]
fn jobs_whose_locks_ran_out_meanwhile_run_again_and_count_once() {
    let mut outage = Outage::prepare("1s");
    let slow = outage.run_for(Duration::from_millis(2500));
    outage.redis.down();
    let _ = outage.wait_not_ready();
    // What cannot be written any more is not run to its end either.
    outage.host.wait_log("ran out before it could be renewed");
    wait_idle(&outage);
    outage.redis.up();
    outage.back("restart after the locks ran out");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("2"));
    assert_eq!(outage.ledger.field(&slow, "stc").as_deref(), Some("1"), "recovered as stalled, once");
    outage.settle();
}

#[test]
fn a_restart_without_the_data_is_a_new_beginning() {
    let mut outage = Outage::prepare("20s");
    let slow = outage.run_for(Duration::from_millis(1500));
    outage.redis.lose_everything();
    let _ = outage.wait_not_ready();
    wait_idle(&outage);
    outage.forget();
    outage.redis.up();
    outage.ledger.keep_events();
    // Ids begin anew. Some job gets the id of the one whose result is about to come, and it is another job.
    let wanted: usize = slow.parse().unwrap();
    outage.push(wanted + 5);
    outage.back("restart without data");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    let result = outage.ledger.field(&slow, "returnvalue").unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&result).unwrap(),
        json!({"ok": true, "i": wanted - 1}),
        "the result of the old job is not written to the new one"
    );
    outage.settle();
}

#[test]
fn a_server_that_still_loads_is_waited_for() {
    let mut outage = Outage::prepare("30s");
    let slow = outage.run_for(Duration::from_millis(1000));
    let filler = "for i = 1, 6000 do redis.call('SET', 'filler:' .. i, 'x') end";
    outage.redis.client().run(&["EVAL", filler, "0"]);
    outage.redis.down();
    let _ = outage.wait_not_ready();
    // It answers LOADING to everything for a few seconds.
    outage.redis.set_arguments(&["--key-load-delay", "500"]);
    outage.redis.begin_up();
    wait::until("the host says that it loads", || {
        outage.host.get("/readyz")?.1.contains("LOADING").then_some(())
    });
    wait::until("it has loaded", || {
        jobcell_tests::Resp::connect(outage.redis.port(), None).ok()?.try_run(&["PING"]).ok()
    });
    outage.back("loading");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"));
    outage.settle();
}

#[test]
fn a_host_that_starts_to_stop_during_an_outage_writes_its_results_once_redis_is_back() {
    let mut outage = Outage::prepare("20s");
    let slow = outage.run_for(Duration::from_millis(1500));
    outage.redis.down();
    let _ = outage.wait_not_ready();
    outage.host.terminate();
    outage.host.wait_log("stopping");
    wait::until("what ran has ended", || {
        outage.host.get("/metrics")?.1.lines().any(|line| line == "jobcell_cells_active 0").then_some(())
    });
    outage.redis.up();
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.host.code(), Some(0));
    outage.ledger.check_nothing_left();
}
