//! The cache, buckets and the publisher.
#![expect(clippy::unwrap_used, reason = "a test: what fails is the report")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::clock::ManualClock;
use jobcell_core::keyvalue::{Bucket, KeyValue};
use jobcell_core::publish::Publisher;
use jobcell_core::store::Store;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore, InProcessPublisher, Received};

struct Rig {
    store: EmbeddedStore,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let store = open(directory.path(), &clock);
        Self { store, clock, directory }
    }
}

fn open(directory: &std::path::Path, clock: &Arc<ManualClock>) -> EmbeddedStore {
    let options = EmbeddedOptions { clock: Some(clock.clone()), ..EmbeddedOptions::default() };
    EmbeddedStore::open(directory, options).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

#[tokio::test(flavor = "multi_thread")]
async fn values_stay_until_they_expire() {
    let rig = Rig::new();
    let cache = rig.store.cache();
    assert_eq!(cache.get("k").await.unwrap(), None);
    cache.set("k", bytes("v"), MINUTE).await.unwrap();
    cache.set("forever", Bytes::from_static(b"\x00\xff"), None).await.unwrap();
    rig.clock.advance(59_999);
    assert_eq!(cache.get("k").await.unwrap(), Some(bytes("v")));
    rig.clock.advance(1);
    assert_eq!(cache.get("k").await.unwrap(), None);
    rig.clock.advance(1_000_000_000);
    assert_eq!(cache.get("forever").await.unwrap(), Some(Bytes::from_static(b"\x00\xff")));
    cache.delete("forever").await.unwrap();
    cache.delete("forever").await.unwrap();
    assert_eq!(cache.get("forever").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_has_its_own_expiry() {
    let rig = Rig::new();
    let cache = rig.store.cache();
    cache.set("k", bytes("1"), MINUTE).await.unwrap();
    rig.clock.advance(30_000);
    cache.set("k", bytes("2"), MINUTE).await.unwrap();
    rig.clock.advance(45_000);
    // Sweeps what expired: the first expiry must be forgotten.
    cache.set("other", bytes("x"), None).await.unwrap();
    assert_eq!(cache.get("k").await.unwrap(), Some(bytes("2")));
    cache.set("k", bytes("3"), None).await.unwrap();
    rig.clock.advance(600_000);
    cache.set("other", bytes("x"), None).await.unwrap();
    assert_eq!(cache.get("k").await.unwrap(), Some(bytes("3")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_sets_an_absent_value() {
    let rig = Rig::new();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let cache = rig.store.cache();
        tasks.spawn(async move { cache.set_if_absent("seen", n.to_string().into(), MINUTE).await.unwrap() });
    }
    let set = tasks.join_all().await;
    assert_eq!(set.into_iter().filter(|set| *set).count(), 1);
    rig.clock.advance(60_000);
    let cache = rig.store.cache();
    assert!(cache.set_if_absent("seen", bytes("again"), None).await.unwrap(), "it had expired");
    assert!(!cache.set_if_absent("seen", bytes("more"), None).await.unwrap());
    assert_eq!(cache.get("seen").await.unwrap(), Some(bytes("again")));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_count_and_keep_their_first_expiry() {
    let rig = Rig::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let cache = rig.store.cache();
        tasks.spawn(async move { cache.increment("n", 2, MINUTE).await.unwrap() });
    }
    let mut sums = tasks.join_all().await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=20).map(|n| n * 2).collect::<Vec<i64>>());
    let cache = rig.store.cache();
    rig.clock.advance(59_000);
    assert_eq!(cache.increment("n", -50, MINUTE).await.unwrap(), -10);
    assert_eq!(cache.get("n").await.unwrap(), Some(bytes("-10")));
    rig.clock.advance(1000);
    assert_eq!(cache.increment("n", 1, None).await.unwrap(), 1, "it began anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_number_cannot_be_counted() {
    let rig = Rig::new();
    let cache = rig.store.cache();
    cache.set("text", bytes("abc"), None).await.unwrap();
    cache.set("huge", i64::MAX.to_string().into(), None).await.unwrap();
    for key in ["text", "huge"] {
        let refused = cache.increment(key, 1, None).await;
        assert!(matches!(&refused, Err(CacheError::NotANumber(named)) if named == key), "{refused:?}");
    }
    assert_eq!(cache.get("text").await.unwrap(), Some(bytes("abc")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_survives_a_restart() {
    let rig = Rig::new();
    rig.store.cache().set("k", bytes("v"), MINUTE).await.unwrap();
    rig.store.close().await;
    let store = open(rig.directory.path(), &rig.clock);
    assert_eq!(store.cache().get("k").await.unwrap(), Some(bytes("v")));
    rig.clock.advance(60_000);
    assert_eq!(store.cache().get("k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_survive_a_restart_and_are_apart_from_the_cache() {
    let rig = Rig::new();
    let bucket = Bucket::new(Some("acme"), "media");
    let values = rig.store.keyvalue();
    values.set(&bucket, "k", bytes("v")).await.unwrap();
    values.increment(&bucket, "n", 41).await.unwrap();
    rig.store.cache().set("acme:media:k", bytes("cached"), MINUTE).await.unwrap();
    rig.store.close().await;
    rig.clock.advance(1_000_000_000);
    let store = open(rig.directory.path(), &rig.clock);
    let values = store.keyvalue();
    // Sweeps the cache; buckets know no expiry.
    store.cache().set("other", bytes("x"), None).await.unwrap();
    assert_eq!(values.get(&bucket, "k").await.unwrap(), Some(bytes("v")));
    assert_eq!(values.increment(&bucket, "n", 1).await.unwrap(), 42);
    assert_eq!(values.keys(&bucket, 0, 9).await.unwrap().keys, ["k", "n"]);
}

#[tokio::test]
async fn messages_reach_those_who_listen() {
    let publisher = InProcessPublisher::default();
    publisher.publish("a", bytes("nobody hears")).await.unwrap();
    let mut one = publisher.subscribe("a");
    let mut two = publisher.clone().subscribe("a");
    let mut other = publisher.subscribe("b");
    publisher.publish("a", bytes("1")).await.unwrap();
    publisher.publish("b", bytes("2")).await.unwrap();
    assert_eq!(one.next().await, Received::Message(bytes("1")));
    assert_eq!(two.next().await, Received::Message(bytes("1")));
    assert_eq!(other.next().await, Received::Message(bytes("2")));
    for _ in 0..1500 {
        publisher.publish("a", bytes("many")).await.unwrap();
    }
    assert!(matches!(one.next().await, Received::Missed(missed) if missed > 0), "a slow listener is told");
    drop((one, two));
    publisher.publish("a", bytes("nobody")).await.unwrap();
    drop(publisher);
    assert_eq!(other.next().await, Received::Closed);
}
