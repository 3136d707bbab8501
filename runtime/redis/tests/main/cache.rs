//! The cache and publish capabilities.

use std::time::Duration;

use futures::StreamExt as _;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::publish::Publisher;
use jobcell_redis::{RedisCache, RedisPublisher};

use crate::server::Bench;

#[tokio::test]
async fn values_are_set_read_and_expire() {
    let mut b = Bench::new().await;
    let cache = RedisCache::new(b.store.redis().clone());
    let value = bytes::Bytes::from_static(b"\x00\xff raw");
    assert_eq!(cache.get("h/k").await.unwrap(), None);
    cache.set("h/k", value.clone(), None).await.unwrap();
    assert_eq!(cache.get("h/k").await.unwrap(), Some(value.clone()));
    assert!(!cache.set_if_absent("h/k", "other".into(), None).await.unwrap());
    cache.delete("h/k").await.unwrap();
    assert!(cache.set_if_absent("h/k", value, Some(Duration::from_secs(9))).await.unwrap());
    assert_eq!(b.raw.keys().await, ["jobcell-cache/bull/h/k"]);
    assert!((1..=9000).contains(&b.raw.run::<i64>(&["PTTL", "jobcell-cache/bull/h/k"]).await));
    assert!(b.store.redis().is_up());
}

#[tokio::test]
async fn counters_keep_their_first_expiry_and_refuse_what_is_no_number() {
    let mut b = Bench::new().await;
    let cache = RedisCache::new(b.store.redis().clone());
    assert_eq!(cache.increment("n", 5, Some(Duration::from_secs(60))).await.unwrap(), 5);
    assert_eq!(cache.increment("n", -7, Some(Duration::from_secs(900))).await.unwrap(), -2);
    assert!(b.raw.run::<i64>(&["PTTL", "jobcell-cache/bull/n"]).await <= 60_000);
    assert_eq!(cache.increment("big", i64::MAX, None).await.unwrap(), i64::MAX);
    assert!(
        matches!(cache.increment("big", 1, None).await, Err(CacheError::NotANumber(key)) if key == "big")
    );
    cache.set("text", "x".into(), None).await.unwrap();
    assert!(matches!(cache.increment("text", 1, None).await, Err(CacheError::NotANumber(_))));
}

#[tokio::test]
async fn a_message_reaches_who_listens() {
    let b = Bench::new().await;
    let client = redis::Client::open(b.server.url()).unwrap();
    let mut listener = client.get_async_pubsub().await.unwrap();
    listener.subscribe("job_updates").await.unwrap();
    let publisher = RedisPublisher::new(b.store.redis().clone());
    publisher.publish("job_updates", "hello".into()).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(5), listener.on_message().next()).await;
    assert_eq!(heard.unwrap().unwrap().get_payload_bytes(), b"hello");
}
