//! Sentinel and Cluster in earnest: masters that are replaced, killed, or freeze and come back; slots that move. Jobs
//! come from the real BullMQ, over its own connections to the same servers.
//!
//! A failover forgets what the old master had acknowledged and not yet passed on. So that a test tells our faults from
//! that, it waits for the replicas after adding jobs. An end that is forgotten so is no fault either: its job is active
//! again on the new master, and completed there once.

use std::time::{Duration, Instant};

use jobcell_tests::fleet::{RedisCluster, RedisNode, RedisSentinels};
use jobcell_tests::{Bull, Client, Host, Ledger, Site, wait};
use serde_json::{Value, json};

/// From when a new master takes writes to the next claim. What is promised is 2 s; two busy cores may add to that, and
/// clients learn of a new master after the server itself.
const BACK: Duration = Duration::from_secs(15);
/// For everything to be done.
const SETTLED: Duration = Duration::from_secs(60);

const WORK: &str = r#"
[queues.work]
handler = "basic"
concurrency = 8
lock = "8s"
stalled-interval = "1s"
max-stalled = 5
[handlers.basic]
source = "${basic}"
"#;

/// Jobs under way when something happens, and the books on the server that has the queue.
struct Load {
    bull: Bull,
    jobs: Vec<String>,
}

impl Load {
    fn start(bull: Bull) -> Self {
        // The queue exists, and its events are kept, before anything is counted.
        bull.queue("work", "getJobCounts", json!(["waiting"]));
        Self { bull, jobs: Vec::new() }
    }

    fn add(&mut self, jobs: Vec<Value>) -> Vec<String> {
        let added = self.bull.queue("work", "addBulk", json!([jobs]));
        let ids = added.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        let ids: Vec<String> = ids.collect();
        self.jobs.extend_from_slice(&ids);
        ids
    }

    /// Many short jobs, and some that run for a while; returns those once they run.
    fn put_under_way(&mut self, ledger: &Ledger) -> Vec<String> {
        let sleeps = (0..4).map(|i| json!({"name": "sleep", "data": {"i": i, "ms": 1500}})).collect();
        let sleeps = self.add(sleeps);
        self.add((0..300).map(|i| json!({"name": "noop", "data": {"i": i}})).collect());
        wait::until("jobs are under way", || {
            let active = ledger.count("active");
            sleeps.iter().all(|id| active.contains_key(id)).then_some(())
        });
        sleeps
    }

    /// A new master takes writes: the host goes on soon.
    fn goes_on(&mut self, what: &str, ledger: &Ledger) {
        let back = Instant::now();
        // BullMQ's own client may take longer than we do to find the new master.
        let first = self.add(vec![json!({"name": "noop", "data": {"i": 1}})]);
        let added = back.elapsed();
        let took = ledger.wait_completed(&first, BACK);
        eprintln!("{what}: BullMQ adds again after {added:?}, its job is done {took:?} later");
    }

    /// The same with a job that is put there past any client.
    fn goes_on_without_bullmq(&mut self, what: &str, ledger: &Ledger) {
        let first = ledger.push_noops(1);
        let took = ledger.wait_completed(&first, BACK);
        eprintln!("{what}: a job is done {took:?} after there is a new master");
        self.jobs.extend(first);
    }

    fn settle(&self, ledger: &Ledger) {
        let _ = ledger.wait_completed(&self.jobs, SETTLED);
        ledger.check_completed_once(&self.jobs);
    }
}

fn sentinels_as_json(fleet: &RedisSentinels) -> String {
    let url = fleet.url();
    let (hosts, name) = url.trim_start_matches("redis+sentinel://").split_once('/').unwrap();
    json!({"sentinels": places(hosts), "name": name}).to_string()
}

fn places(hosts: &str) -> Vec<Value> {
    let place = |host: &str| {
        let (host, port) = host.split_once(':').unwrap();
        json!({"host": host, "port": port.parse::<u16>().unwrap()})
    };
    hosts.split(',').map(place).collect()
}

/// How a master is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Ordered,
    Killed,
    /// It stops answering, is replaced, and comes back believing that it is still the master.
    Frozen,
}

fn loses_its_master(loss: Loss, client: Client) {
    let mut fleet = RedisSentinels::start();
    let site = Site::at(&fleet.url(), WORK);
    let host = Host::start(&site);
    let mut load = Load::start(Bull::at(client, &sentinels_as_json(&fleet)));
    let before = fleet.master().unwrap();
    let ledger = Ledger::at(fleet.nodes()[before].port(), "bull", "work");
    let sleeps = load.put_under_way(&ledger);
    fleet.nodes()[before].client().wait_replicated(2);
    match loss {
        Loss::Ordered => fleet.fail_over(),
        Loss::Killed => fleet.nodes()[before].kill(),
        Loss::Frozen => fleet.nodes()[before].freeze(),
    }
    let after = wait::within(SETTLED, "there is another master", || {
        let says = |node: &RedisNode| node.info("role").as_deref() == Some("master");
        match loss {
            // For a moment both are, and what the old one takes then is forgotten.
            Loss::Ordered | Loss::Killed => fleet.master().filter(|n| *n != before),
            // It cannot be asked.
            Loss::Frozen => (0..3).filter(|n| *n != before).find(|n| says(&fleet.nodes()[*n])),
        }
    });
    let ledger = Ledger::at(fleet.nodes()[after].port(), "bull", "work");
    match loss {
        Loss::Ordered | Loss::Killed => load.goes_on(&format!("Sentinel, {loss:?}"), &ledger),
        // BullMQ's client waits for the frozen server until that wakes.
        Loss::Frozen => load.goes_on_without_bullmq("Sentinel, the old master is frozen", &ledger),
    }
    if matches!(loss, Loss::Frozen) {
        fleet.nodes()[before].thaw();
        wait::within(SETTLED, "the old master is a replica", || {
            (fleet.nodes()[before].info("role")? == "slave").then_some(())
        });
        // Nobody works for the old one any more.
        load.goes_on("Sentinel, the old master is back", &ledger);
    }
    load.settle(&ledger);
    for id in &sleeps {
        let starts = ledger.field(id, "ats").unwrap();
        match loss {
            Loss::Killed | Loss::Frozen => assert_eq!(starts, "1", "{loss:?}: its lock held, it ran once"),
            // For about a second the old master still takes ends that nobody will know of.
            Loss::Ordered => assert!(["1", "2"].contains(&starts.as_str()), "{starts} starts"),
        }
    }
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    host.stop();
}

#[test]
fn a_master_that_is_replaced_by_order_is_followed() {
    loses_its_master(Loss::Ordered, Client::Five);
}

#[test]
fn a_master_that_is_killed_is_replaced_and_followed() {
    loses_its_master(Loss::Killed, Client::Six);
}

#[test]
fn a_master_that_freezes_is_left_and_not_gone_back_to() {
    loses_its_master(Loss::Frozen, Client::Six);
}

/// A cluster with a host and a producer on it.
fn on_cluster(client: Client) -> (RedisCluster, Site, Host, Load) {
    let cluster = RedisCluster::start();
    let site = Site::at(&cluster.url(), &format!("prefix = \"{{bull}}\"\n{WORK}"));
    let host = Host::start(&site);
    let url = cluster.url();
    let nodes = places(url.trim_start_matches("redis+cluster://"));
    let bull = Bull::at(client, &json!({"cluster": nodes, "prefix": "{bull}"}).to_string());
    (cluster, site, host, Load::start(bull))
}

fn ledger_of(cluster: &RedisCluster) -> Ledger {
    Ledger::at(cluster.nodes()[cluster.owner(KEY)].port(), "{bull}", "work")
}

/// A key in the slot that everything here is in.
const KEY: &str = "{bull}:work:meta";

#[test]
fn a_cluster_node_that_is_killed_is_replaced_by_its_replica() {
    let (mut cluster, _site, host, mut load) = on_cluster(Client::Five);
    let before = cluster.owner(KEY);
    let ledger = ledger_of(&cluster);
    let sleeps = load.put_under_way(&ledger);
    cluster.nodes()[before].client().wait_replicated(1);
    cluster.node(before).kill();
    wait::within(SETTLED, "the replica has taken over", || (cluster.owner(KEY) != before).then_some(()));
    let ledger = ledger_of(&cluster);
    load.goes_on("Cluster, a node killed", &ledger);
    load.settle(&ledger);
    for id in sleeps {
        assert_eq!(ledger.field(&id, "ats").as_deref(), Some("1"), "its lock held, it ran once");
    }
    host.stop();
}

#[test]
fn slots_that_move_under_load_are_followed() {
    let (cluster, _site, host, mut load) = on_cluster(Client::Six);
    for round in 0..2 {
        let ledger = ledger_of(&cluster);
        let _ = load.put_under_way(&ledger);
        let (from, to) = cluster.begin_move(KEY);
        while cluster.move_keys(KEY, (from, to), 200) > 0 {}
        cluster.end_move(KEY, (from, to));
        let ledger = Ledger::at(cluster.nodes()[to].port(), "{bull}", "work");
        load.goes_on(&format!("Cluster, slots moved, round {round}"), &ledger);
        load.settle(&ledger);
    }
    host.stop();
}
