//! List queues while Redis is out of memory, has another master, or moves their slot: every item is done, and once.
//!
//! What each of them does to queues in BullMQ's layout is in `refused` and `failover`.

use std::time::Duration;

use jobcell_tests::fleet::{RedisCluster, RedisSentinels};
use jobcell_tests::{Host, RedisServer, Resp, Site, wait};
use serde_json::json;

/// For everything to be done.
const SETTLED: Duration = Duration::from_secs(60);

const WORK: &str = r#"
[queues.work]
protocol = "list"
key = "{jobs}"
record = "{jobs}:job:{id}"
handler = "basic"
concurrency = 8
backoff = { type = "fixed", delay = "100ms", jitter = 0.0 }
lock = "20s"
stalled-interval = "1s"
max-stalled = 5
[handlers.basic]
source = "${basic}"
"#;

/// The items that were pushed.
#[derive(Default)]
struct Items(Vec<String>);

impl Items {
    /// Pushes so many that take no time, and some that run for a while; returns those once they run.
    fn put_under_way(&mut self, client: &mut Resp) -> Vec<String> {
        let slow: Vec<String> = (0..4).map(|_| self.push(client, "sleep", 1500)).collect();
        wait::until("items are under way", || {
            slow.iter().all(|id| field(client, id, "status").as_deref() == Some("RUNNING")).then_some(())
        });
        for _ in 0..100 {
            self.push(client, "noop", 0);
        }
        slow
    }

    fn push(&mut self, client: &mut Resp, name: &str, ms: u64) -> String {
        let id = format!("i{}", self.0.len());
        let item = json!({"id": id, "name": name, "data": {"i": self.0.len(), "ms": ms}}).to_string();
        client.run(&["LPUSH", "{jobs}", &item]);
        self.0.push(id.clone());
        id
    }

    /// Redis takes writes again: one more item is done soon.
    fn go_on(&mut self, what: &str, client: &mut Resp) {
        let began = std::time::Instant::now();
        let id = self.push(client, "noop", 0);
        wait::within(SETTLED, "a new item is done", || is_done(client, &id).then_some(()));
        eprintln!("{what}: a new item is done after {:?}", began.elapsed());
    }

    /// Every item has been done, once, and nothing is left of any.
    fn settle(&self, client: &mut Resp) {
        wait::within(SETTLED, "every item is done", || {
            self.0.iter().all(|id| is_done(client, id)).then_some(())
        });
        wait::until("nothing is left beside the list", || {
            let mut left = client.run(&["KEYS", "{jobs}*"]).texts();
            left.retain(|key| {
                let own = ["{jobs}:events", "{jobs}:stalled-check", "{jobs}:hosts"].contains(&key.as_str());
                !own && !key.starts_with("{jobs}:job:") && !key.starts_with("{jobs}:heartbeat:")
            });
            left.is_empty().then_some(())
        });
        let events = client.run(&["XRANGE", "{jobs}:events", "-", "+"]);
        let jobcell_tests::Value::List(events) = events else { panic!("{events:?}") };
        let mut ends: Vec<String> = events
            .iter()
            .filter_map(|entry| {
                let jobcell_tests::Value::List(parts) = entry else { panic!("{entry:?}") };
                let fields = parts[1].texts();
                (fields[1] == "completed").then(|| fields[3].clone())
            })
            .collect();
        ends.sort();
        let mut all = self.0.clone();
        all.sort();
        assert_eq!(ends, all, "each ends once");
    }
}

fn field(client: &mut Resp, id: &str, name: &str) -> Option<String> {
    client.run(&["HGET", &format!("{{jobs}}:job:{id}"), name]).text()
}

fn is_done(client: &mut Resp, id: &str) -> bool {
    field(client, id, "status").as_deref() == Some("COMPLETED")
}

#[test]
fn memory_that_is_full_stops_no_item_that_runs_and_loses_none_that_waits() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, WORK);
    let host = Host::start(&site);
    let (mut items, mut client) = (Items::default(), redis.client());
    let slow = items.put_under_way(&mut client);
    client.run(&["CONFIG", "SET", "maxmemory", "1"]);
    client.try_run(&["SET", "key", "value"]).expect_err("nothing can be added");
    wait::until("what runs ends all the same", || {
        slow.iter().all(|id| is_done(&mut client, id)).then_some(())
    });
    let told = wait::until("the reason is told", || {
        let (status, told) = host.get("/readyz")?;
        (status == 503 && told.contains("OOM")).then_some(told)
    });
    assert!(told.contains("raise maxmemory"), "{told}");
    client.run(&["CONFIG", "SET", "maxmemory", "0"]);
    items.go_on("OOM", &mut client);
    items.settle(&mut client);
    for id in &slow {
        assert_eq!(field(&mut client, id, "starts").as_deref(), Some("1"));
    }
    host.stop();
}

/// How a master is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Killed,
    Ordered,
    /// Ordered, where a master without all of its replicas takes no writes.
    Guarded,
}

fn another_master(loss: Loss) {
    let guard: &[&str] = if loss == Loss::Guarded { &["--min-replicas-to-write", "2"] } else { &[] };
    let mut fleet = RedisSentinels::with(guard, &[], |_| Vec::new());
    let site = Site::at(&fleet.url(), WORK);
    let host = Host::start(&site);
    let before = fleet.master().unwrap();
    let mut items = Items::default();
    let slow = items.put_under_way(&mut fleet.nodes()[before].client());
    fleet.nodes()[before].client().wait_replicated(2);
    match loss {
        Loss::Killed => fleet.nodes()[before].kill(),
        Loss::Ordered | Loss::Guarded => fleet.fail_over(),
    }
    let after = wait::within(SETTLED, "there is another master", || fleet.master().filter(|n| *n != before));
    let mut client = fleet.nodes()[after].client();
    if loss == Loss::Guarded {
        wait::within(SETTLED, "the new master has all replicas", || {
            client.try_run(&["SET", "probe", "1"]).ok()
        });
    }
    items.go_on("Sentinel", &mut client);
    items.settle(&mut client);
    for id in &slow {
        let starts = field(&mut client, id, "starts").unwrap();
        // An old master that hands over still takes ends for about a second that nobody will know of.
        let is_well = starts == "1" || (loss == Loss::Ordered && starts == "2");
        assert!(is_well, "{id} was started {starts} times");
    }
    host.stop();
}

#[test]
fn a_master_that_is_killed_is_replaced_and_followed() {
    another_master(Loss::Killed);
}

#[test]
fn a_master_that_is_replaced_by_order_is_followed() {
    another_master(Loss::Ordered);
}

#[test]
fn a_master_that_takes_no_writes_without_its_replicas_forgets_no_end() {
    another_master(Loss::Guarded);
}

#[test]
fn a_slot_that_moves_under_load_is_followed() {
    let cluster = RedisCluster::start();
    let site = Site::at(&cluster.url(), WORK);
    let host = Host::start(&site);
    let mut items = Items::default();
    for round in 0..2 {
        let mut client = cluster.nodes()[cluster.owner("{jobs}")].client();
        let _ = items.put_under_way(&mut client);
        let (from, to) = cluster.begin_move("{jobs}");
        while cluster.move_keys("{jobs}", (from, to), 50) > 0 {}
        cluster.end_move("{jobs}", (from, to));
        let mut client = cluster.nodes()[to].client();
        items.go_on(&format!("Cluster, the slot moved, round {round}"), &mut client);
        items.settle(&mut client);
    }
    host.stop();
}
