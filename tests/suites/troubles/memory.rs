//! Memory that is short, an eviction policy that deletes jobs, and a Redis that keeps nothing.

use jobcell_tests::{Host, RedisServer, Resp, Value, wait};

use super::{manual, said, site};

/// Sets a value that another program may keep there too.
fn fill(client: &mut Resp, values: usize) {
    let value = "x".repeat(100_000);
    for n in 0..values {
        // Where memory is short it is refused, or something else goes for it.
        let _ = client.try_run(&["SET", &format!("cache:media:{n}"), &value]);
    }
}

#[test]
fn eviction_policy() {
    let redis = RedisServer::start();
    let site = site(&[("REDIS_URL", &redis.url())]);
    for policy in ["allkeys-lru", "volatile-ttl"] {
        redis.client().run(&["CONFIG", "SET", "maxmemory-policy", policy]);
        let ran = site.cli(&["check"]).exits(1);
        manual::quotes("memory::eviction_policy", &said(&ran));
        assert!(ran.stdout.contains("CONFIG SET maxmemory-policy noeviction"), "{ran}");
    }
    let host = Host::start(&site);
    manual::quotes("memory::eviction_policy", &host.wait_log("maxmemory-policy is volatile-ttl"));
    let (_, health) = host.get("/health").unwrap();
    assert!(health.contains("\"degraded\"") && health.contains("maxmemory-policy"), "{health}");
    host.stop();
}

#[test]
fn evicted() {
    let redis = RedisServer::start();
    let site = site(&[("REDIS_URL", &redis.url())]);
    let mut client = redis.client();
    client.run(&["CONFIG", "SET", "maxmemory", "4mb"]);
    client.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    fill(&mut client, 100);
    // Mended too late: what is gone is told all the same.
    client.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let ran = site.cli(&["check"]).ok();
    manual::quotes("memory::evicted", &said(&ran));
}

#[test]
fn nothing_is_cached() {
    let redis = RedisServer::start();
    let site = site(&[
        ("REDIS_URL", &redis.url()),
        ("JOBCELL_BUCKETS__CACHED__PREFIX", "cache:"),
        ("JOBCELL_HANDLERS__BASIC__GRANTS__KV", "[\"cached\"]"),
    ]);
    let mut client = redis.client();
    let empty = |what: &str| {
        let ran = site.cli(&["check"]).ok();
        assert!(ran.stdout.contains("bucket cached: keys \"cache:…\""), "{what}: {ran}");
        manual::quotes("memory::nothing_is_cached", &said(&ran));
    };
    client.run(&["SET", "Cache:media:456", "under another name"]);
    empty("another name");
    client.run(&["SET", "cache:media:456", "here", "PX", "60000"]);
    let ran = site.cli(&["check"]).ok();
    assert!(ran.stdout.contains("1 there now"), "{ran}");
    client.run(&["PEXPIRE", "cache:media:456", "1"]);
    wait::until("its time is over", || {
        (client.run(&["EXISTS", "cache:media:456"]) == Value::Int(0)).then_some(())
    });
    empty("its time is over");
}

#[test]
fn nearly_full() {
    let redis = RedisServer::start();
    let mut client = redis.client();
    client.run(&["CONFIG", "SET", "maxmemory", "8mb"]);
    fill(&mut client, 100);
    let ran = site(&[("REDIS_URL", &redis.url())]).cli(&["check"]).ok();
    manual::quotes("memory::nearly_full", &said(&ran));
}

#[test]
fn full() {
    let redis = RedisServer::start();
    let site = site(&[("REDIS_URL", &redis.url())]);
    let host = Host::start(&site);
    let mut client = redis.client();
    client.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let ran = site.cli(&["enqueue", "work", "noop"]).exits(69);
    manual::quotes("memory::full", &said(&ran));
    let answer =
        host.request("POST", "/api/v1/queues/work/jobs", &[], Some(&serde_json::json!({"name": "noop"})));
    let (status, body) = answer.unwrap();
    assert!(status == 503 && body.contains("OOM"), "{status} {body}");
    client.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let _ = site.cli(&["enqueue", "work", "noop", "--data", "{\"i\":1}", "--wait=30"]).ok();
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    host.stop();
}

#[test]
fn nothing_is_saved() {
    let redis = RedisServer::start();
    redis.client().run(&["CONFIG", "SET", "appendonly", "no"]);
    let site = site(&[("REDIS_URL", &redis.url())]);
    let ran = site.cli(&["check"]).ok();
    manual::quotes("memory::nothing_is_saved", &said(&ran));
    let host = Host::start(&site);
    manual::quotes("memory::nothing_is_saved", &host.wait_log("nothing is saved to disk"));
    host.stop();
}
