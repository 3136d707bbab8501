//! Connections that are killed, half-open, slow, or lose an answer; a server that moves behind its name.

use std::time::{Duration, Instant};

use jobcell_tests::{Bull, Client, RedisServer, Way, wait};
use serde_json::json;

use super::outage::Outage;

/// Kills every connection of the host but the test's own.
fn kill_all(redis: &RedisServer) {
    let mut client = redis.client();
    for kind in ["normal", "pubsub"] {
        client.run(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

#[test]
fn connections_killed_while_idle_come_back_by_themselves() {
    let mut outage = Outage::prepare("20s");
    for round in 0..5 {
        kill_all(&outage.redis);
        outage.back(&format!("CLIENT KILL while idle, round {round}"));
    }
    // The connection that waits for work is back under its name, so that BullMQ lists us.
    let bull = Bull::start(Client::Six, &outage.redis);
    wait::until("we are listed", || (bull.queue("work", "getWorkersCount", json!([])) == 1).then_some(()));
    outage.settle();
}

#[test]
fn connections_killed_under_load_lose_and_repeat_nothing() {
    let mut outage = Outage::prepare("20s");
    for _ in 0..30 {
        outage.push(30);
        // Whatever is under way then: claims, ends, renewals, waits, their answers.
        kill_all(&outage.redis);
    }
    outage.back("CLIENT KILL under load");
    outage.settle();
}

#[test]
fn each_kind_of_connection_may_be_killed_alone() {
    let mut outage = Outage::prepare("20s");
    let mut client = outage.redis.client();
    for waiting in [true, false] {
        let id = wait::until("there is such a connection", || {
            let list = client.run(&["CLIENT", "LIST"]).text()?;
            let of_host = list.lines().filter(|line| line.contains("cmd=bzpopmin") == waiting);
            let mut of_host = of_host.filter(|line| !line.contains("cmd=client"));
            of_host.find_map(|line| line.strip_prefix("id=")?.split(' ').next().map(str::to_owned))
        });
        assert_eq!(client.run(&["CLIENT", "KILL", "ID", &id]).int(), 1);
        outage.back(if waiting { "the waiting connection killed" } else { "the shared connection killed" });
    }
    outage.settle();
}

#[test]
fn tries_to_connect_are_neither_too_many_nor_too_few_and_never_end() {
    let mut outage = Outage::prepare("60s");
    let slow = outage.run_for(Duration::from_secs(2));
    outage.proxy.refuse();
    let _ = outage.wait_not_ready();
    let (before, began) = (outage.proxy.accepted(), Instant::now());
    // Counted until there are so many, not for so long: a machine that stands still in between makes it neither.
    wait::within(Duration::from_secs(60), "it was tried 25 times", || {
        (outage.proxy.accepted() - before >= 25).then_some(())
    });
    let took = began.elapsed();
    eprintln!("25 tries to connect in {took:?}");
    // Two connections, the one for calls and the one that waits for work, with pauses that have grown to half a second, of which
    // chance takes up to a half: twelve pauses of a quarter of a second at least.
    assert!(took >= Duration::from_secs(3), "25 tries in {took:?}");
    let silent = outage.metric("jobcell_worker_last_poll_seconds").unwrap();
    assert!(silent >= took.as_secs_f64(), "the worker is known to have had no answer: {silent}");
    outage.proxy.pass();
    outage.back("refused 25 times");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"));
    outage.settle();
}

/// Connections become half-open while jobs come; new connections work.
fn half_open(way: Way) {
    let mut outage = Outage::prepare("60s");
    let slow = outage.run_for(Duration::from_millis(500));
    outage.proxy.stall(way);
    outage.push(5);
    outage.proxy.pass();
    let began = Instant::now();
    // Found out by a call that has no answer for 10 s, or by a wait that ends a second late.
    let last = outage.ledger.push_noops(1);
    let _ = outage.ledger.wait_completed(&last, wait::SOON);
    eprintln!("half-open {way:?}: found and mended after {:?}", began.elapsed());
    outage.back(&format!("half-open {way:?}"));
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"), "its result was written, it did not run again");
    outage.settle();
}

#[test]
fn a_connection_on_which_nothing_gets_to_the_server() {
    half_open(Way::ToServer);
}

#[test]
fn a_connection_on_which_no_answer_comes_back() {
    half_open(Way::ToClient);
}

#[test]
fn a_connection_on_which_nothing_moves_at_all() {
    half_open(Way::Both);
}

#[test]
fn a_network_that_swallows_everything_for_a_while() {
    let mut outage = Outage::prepare("60s");
    let slow = outage.run_for(Duration::from_millis(500));
    outage.proxy.stall(Way::Both);
    let reason = outage.wait_not_ready();
    assert!(reason.contains("answer"), "{reason}");
    wait::until("the connection is given up", || {
        outage.host.log().iter().any(|line| line.contains("connection lost")).then_some(())
    });
    // New ones are swallowed too, for a while.
    let tries = outage.proxy.accepted();
    wait::until("it is tried again", || (outage.proxy.accepted() > tries + 1).then_some(()));
    outage.proxy.pass();
    outage.back("everything swallowed");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"));
    outage.settle();
}

#[test]
fn a_slow_network_only_makes_it_slow() {
    let mut outage = Outage::prepare("20s");
    outage.proxy.delay(Duration::from_millis(100));
    outage.push(40);
    outage.back("100 ms each way");
    outage.settle();
}

#[test]
fn a_claim_whose_answer_is_lost_gives_its_jobs_back_and_uses_no_attempt() {
    let mut outage = Outage::prepare("60s");
    for round in 1..=3 {
        // The answer to a claim has the job's payload in it.
        outage.proxy.lose_answers_with("\"lost-claim\"", 1);
        let ids = outage.ledger.push("echo", [json!("lost-claim")]);
        wait::until("an answer is lost", || (outage.proxy.lost() == round).then_some(()));
        let took = outage.ledger.wait_completed(&ids, wait::SOON);
        eprintln!("a claim's answer lost: the job is done {took:?} later");
        // It counts as started twice, because it was; not as stalled, and one attempt was made.
        let field = |name| outage.ledger.field(&ids[0], name);
        assert_eq!((field("atm").as_deref(), field("stc")), (Some("1"), None));
        outage.ledger.check_completed_once(&ids);
    }
    outage.back("lost answers to claims");
    outage.settle();
}

#[test]
fn an_end_whose_answer_is_lost_is_written_once() {
    let mut outage = Outage::prepare("60s");
    for round in 1..=3 {
        // The request that writes the end has the result in it. A result is also a payload here, but of a job that is
        // claimed no more.
        let ids = outage.ledger.push("flaky", [json!({"until": 0})]);
        let _ = outage.ledger.wait_completed(&ids, wait::SOON);
        outage.proxy.lose_answers_to("\"ok\":true", 1);
        outage.push(8);
        wait::until("an answer is lost", || (outage.proxy.lost() == round).then_some(()));
        outage.back(&format!("lost answer to an end, round {round}"));
    }
    outage.settle();
}

#[test]
fn a_server_that_moves_behind_its_address_is_found() {
    let mut outage = Outage::prepare("30s");
    let slow = outage.run_for(Duration::from_millis(1500));
    let mut second = RedisServer::start();
    let mut there = second.client();
    let port = outage.redis.port().to_string();
    there.run(&["REPLICAOF", "127.0.0.1", &port]);
    wait::until("the replica has everything", || {
        let info = there.run(&["INFO", "replication"]).text()?;
        (info.contains("master_link_status:up") && info.contains("master_sync_in_progress:0")).then_some(())
    });
    outage.redis.client().wait_replicated(1);
    there.run(&["REPLICAOF", "NO", "ONE"]);
    outage.redis.down();
    let _ = outage.wait_not_ready();
    outage.proxy.aim(second.port());
    std::mem::swap(&mut outage.redis, &mut second);
    outage.ledger = jobcell_tests::Ledger::of(&outage.redis, "work");
    outage.back("another server behind the same address");
    let _ = outage.ledger.wait_completed(std::slice::from_ref(&slow), wait::SOON);
    assert_eq!(outage.starts(&slow).as_deref(), Some("1"));
    outage.settle();
}
