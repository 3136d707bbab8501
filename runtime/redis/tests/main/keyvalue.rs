//! Key-value buckets: the suite of all back ends on one server and on a cluster, and what is particular to Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jobcell_core::conformance::keyvalue::{HOSTILE_KEYS, KeyValueFixture};
use jobcell_core::keyvalue::{Bucket, KeyValue, KeyValueError};
use jobcell_redis::{ConnectOptions, Redis, RedisKeyValue};
use jobcell_tests::fleet::RedisCluster;

use crate::server::{Bench, Raw, Server};

async fn connected(url: &str, prefix: &str) -> RedisKeyValue {
    let options = ConnectOptions::from_url(url).unwrap().prefix(prefix);
    RedisKeyValue::new(Redis::connect(options).await.unwrap())
}

async fn user(raw: &mut Raw, rules: &str) {
    let mut words = vec!["ACL", "SETUSER", "guest", "reset", "on", ">pw"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
}

/// Does what the message about missing rights says, and returns the rules it names.
async fn allow(raw: &mut Raw, fault: &str) -> String {
    let (_, fix) = fault.split_once("; ACL SETUSER guest ").unwrap();
    let (rules, _) = fix.split_once(", and the same").unwrap();
    let mut words = vec!["ACL", "SETUSER", "guest"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
    rules.to_owned()
}

async fn fresh() -> KeyValueFixture {
    let server = Server::start();
    let mut raw = server.raw().await;
    // With no more rights than the messages about missing ones tell to give: this proves that they are enough. What is
    // allowed at first is what it takes to ask.
    user(&mut raw, "+evalsha +script|load +client|setname +ping").await;
    let url = format!("redis://guest:pw@127.0.0.1:{}", server.port);
    for _ in 0..3 {
        let Some(fault) = connected(&url, "bull").await.denied().await else { break };
        let rules = allow(&mut raw, &fault).await;
        assert!(rules.contains("~jobcell-kv/bull/*"), "{fault}");
    }
    let store = connected(&url, "bull").await;
    assert_eq!(store.denied().await, None);
    KeyValueFixture { store: Arc::new(store), guard: Box::new(server) }
}

jobcell_core::keyvalue_conformance!(fresh);

mod on_a_cluster {
    use super::*;

    async fn fresh() -> KeyValueFixture {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Starting one takes seconds, in which no other test of this thread could run.
        let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
        // Queues need braces there; buckets have their own, wherever the prefix has some.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = if number.is_multiple_of(2) { format!("{{kv{number}}}") } else { format!("kv{number}") };
        KeyValueFixture { store: Arc::new(connected(&cluster.url(), &prefix).await), guard: Box::new(()) }
    }

    jobcell_core::keyvalue_conformance!(fresh);
}

#[tokio::test]
async fn a_bucket_is_two_keys_whatever_its_keys_are_called() {
    let mut b = Bench::new().await;
    let store = connected(&b.server.url(), "{bull}").await;
    let bucket = Bucket::new(Some("acme"), "media");
    for key in HOSTILE_KEYS {
        store.set(&bucket, key, "v".into()).await.unwrap();
        store.increment(&bucket, &format!("{key}n"), 1).await.unwrap();
        assert!(store.swap(&bucket, &format!("{key}s"), None, "v".into()).await.unwrap());
    }
    let base = "jobcell-kv/%7Bbull%7D/{acme:media}";
    let mut keys = b.raw.keys().await;
    keys.sort();
    assert_eq!(keys, [format!("{base}:keys"), format!("{base}:values")]);
    for key in store.keys(&bucket, 0, 1000).await.unwrap().keys {
        store.delete(&bucket, &key).await.unwrap();
    }
    assert_eq!(b.raw.keys().await, Vec::<String>::new(), "an empty bucket leaves nothing");
}

#[tokio::test]
async fn deployments_with_other_prefixes_do_not_meet() {
    let b = Bench::new().await;
    let mut stores = Vec::new();
    for prefix in ["a", "a/b", "{a}", "a:b", "%61"] {
        let (store, bucket) = (connected(&b.server.url(), prefix).await, Bucket::new(Some("b/t"), "x"));
        assert_eq!(store.get(&bucket, "k").await.unwrap(), None, "{prefix}");
        store.set(&bucket, "k", prefix.into()).await.unwrap();
        stores.push((prefix, store, bucket));
    }
    for (prefix, store, bucket) in stores {
        assert_eq!(store.get(&bucket, "k").await.unwrap().unwrap(), prefix);
    }
}

#[tokio::test]
async fn what_is_stored_outlives_a_restart() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (store, bucket) = (connected(&server.url(), "bull").await, Bucket::new(None, "b"));
    store.set(&bucket, "k", "v".into()).await.unwrap();
    store.increment(&bucket, "n", 41).await.unwrap();
    server.kill();
    server.restart();
    let store = connected(&server.url(), "bull").await;
    assert_eq!(store.get(&bucket, "k").await.unwrap().unwrap(), "v");
    assert_eq!(store.increment(&bucket, "n", 1).await.unwrap(), 42);
    assert_eq!(store.keys(&bucket, 0, 9).await.unwrap().keys, ["k", "n"]);
}

#[tokio::test]
async fn a_full_server_refuses_and_changes_nothing() {
    let mut b = Bench::new().await;
    let (store, bucket) = (connected(&b.server.url(), "bull").await, Bucket::new(None, "b"));
    store.set(&bucket, "k", "v".into()).await.unwrap();
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = store.set(&bucket, "new", "v".into()).await;
    assert!(matches!(&refused, Err(KeyValueError::Unavailable(why)) if why.contains("OOM")), "{refused:?}");
    assert!(matches!(store.increment(&bucket, "n", 1).await, Err(KeyValueError::Unavailable(_))));
    // Reading and deleting go on: that is how room is made.
    assert_eq!(store.get(&bucket, "k").await.unwrap().unwrap(), "v");
    store.delete(&bucket, "k").await.unwrap();
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(b.raw.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_bucket_is_told_and_left_alone() {
    let mut b = Bench::new().await;
    let (store, bucket) = (connected(&b.server.url(), "bull").await, Bucket::new(None, "b"));
    let _: () = b.raw.run(&["SET", "jobcell-kv/bull/{:b}:values", "x"]).await;
    assert!(matches!(store.get(&bucket, "k").await, Err(KeyValueError::Other(_))));
    assert!(matches!(store.set(&bucket, "k", "v".into()).await, Err(KeyValueError::Other(_))));
    assert_eq!(b.raw.keys().await, ["jobcell-kv/bull/{:b}:values"]);
}
