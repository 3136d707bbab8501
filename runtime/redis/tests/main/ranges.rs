//! Buckets over keys that other programs use too: on one server, on a cluster, and with no more rights than they need.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::conformance::keyvalue::{self as cases, HOSTILE_KEYS};
use jobcell_core::keyvalue::{Bucket, Fingerprint, KeyRange, KeyValue, KeyValueError};
use jobcell_redis::{ConnectOptions, Redis, RedisKeyRange};
use jobcell_tests::fleet::RedisCluster;

use crate::server::{Bench, Raw, Server};

fn range(prefix: &str, ttl: Option<Duration>) -> KeyRange {
    KeyRange { prefix: prefix.to_owned(), ttl }
}

async fn over(url: &str, range: KeyRange) -> RedisKeyRange {
    RedisKeyRange::new(Redis::connect(ConnectOptions::from_url(url).unwrap()).await.unwrap(), range)
}

fn nobody() -> Bucket {
    Bucket::new(None, "feeds")
}

async fn ttl(raw: &mut Raw, key: &str) -> i64 {
    raw.run(&["PTTL", key]).await
}

/// The cases of all back ends that ask for no order of a listing.
async fn conforms(url: &str, prefix: &str) {
    let store = |name: &str| {
        let range = range(&format!("{prefix}{name}:"), None);
        async { Arc::new(over(url, range).await) as Arc<dyn KeyValue> }
    };
    cases::what_is_set_is_there_until_it_is_deleted(store("1").await).await;
    cases::values_are_any_bytes(store("2").await).await;
    cases::a_large_value_comes_whole(store("3").await).await;
    cases::counters_count_once_for_everybody(store("4").await).await;
    cases::what_is_no_number_is_not_counted_and_stays(store("5").await).await;
    cases::a_swap_needs_what_was_seen(store("6").await).await;
    cases::a_swap_makes_a_key_only_where_there_is_none(store("7").await).await;
    cases::of_many_swaps_of_one_value_one_wins(store("8").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_what_buckets_do() {
    let server = Server::start();
    conforms(&server.url(), "feed:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_so_on_a_cluster() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    conforms(&cluster.url(), "{ranges}feed:").await;
    // Single keys are wherever they are; a listing would have to ask everywhere.
    let store = over(&cluster.url(), range("spread:", None)).await;
    for key in HOSTILE_KEYS {
        store.set(&nobody(), key, key.to_owned().into()).await.unwrap();
        assert_eq!(store.get(&nobody(), key).await.unwrap().unwrap(), key);
    }
    let refused = store.keys(&nobody(), 0, 10).await;
    assert!(
        matches!(&refused, Err(KeyValueError::Rejected(why)) if why.contains("{spread}:")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_guests_key_is_the_end_of_the_key_and_nothing_else() {
    let mut b = Bench::new().await;
    let _: () =
        b.raw.run(&["MSET", "feed", "own", "feedback:1", "own", "other", "own", "feed:", "own"]).await;
    let before = b.raw.keys().await;
    let store = over(&b.server.url(), range("feed:", None)).await;
    let long = "k".repeat(64 * 1024);
    for key in HOSTILE_KEYS.into_iter().chain(["\r\nDEL other\r\n", "*\r\n$3\r\nDEL", &*long]) {
        store.set(&nobody(), key, "v".into()).await.unwrap();
        assert_eq!(store.increment(&nobody(), &format!("{key}#"), 2).await.unwrap(), 2);
        assert!(store.swap(&nobody(), key, Some(Fingerprint::of(b"v")), "w".into()).await.unwrap());
        let held: Option<String> = b.raw.run(&["GET", &format!("feed:{key}")]).await;
        assert_eq!(held.as_deref(), Some("w"), "{key:?}");
        let listed = store.keys(&nobody(), 0, 1000).await.unwrap().keys;
        assert!(
            listed.contains(&key.to_owned()) && !listed.iter().any(|key| key.contains("back")),
            "{listed:?}"
        );
        store.delete(&nobody(), key).await.unwrap();
        store.delete(&nobody(), &format!("{key}#")).await.unwrap();
        assert_eq!(b.raw.keys().await, before, "{key:?} reached something else");
    }
}

#[tokio::test]
async fn a_prefix_that_looks_like_a_pattern_is_none() {
    let mut b = Bench::new().await;
    let _: () = b.raw.run(&["MSET", "fxed:1", "v", "f[a-z]ed:2", "v"]).await;
    // The configuration refuses such prefixes; this crate does not count on it.
    let store = over(&b.server.url(), range("f[a-z]ed:", None)).await;
    assert_eq!(store.keys(&nobody(), 0, 10).await.unwrap().keys, ["2"]);
}

#[tokio::test]
async fn tenants_have_keys_of_their_own() {
    let mut b = Bench::new().await;
    let store = over(&b.server.url(), range("cms:{tenant}:", None)).await;
    for tenant in ["acme", "acme:x", "a*", "{tenant}"] {
        let bucket = Bucket::new(Some(tenant), "feeds");
        assert_eq!(store.get(&bucket, "k").await.unwrap(), None, "{tenant}");
        store.set(&bucket, "k", tenant.to_owned().into()).await.unwrap();
        assert_eq!(store.keys(&bucket, 0, 10).await.unwrap().keys, ["k"], "{tenant}");
    }
    let keys = b.raw.keys().await;
    assert_eq!(keys, ["cms:%7Btenant%7D:k", "cms:a%2A:k", "cms:acme%3Ax:k", "cms:acme:k"]);
}

#[tokio::test]
async fn lifetimes_are_those_of_the_range_or_of_the_key() {
    let mut b = Bench::new().await;
    let timed = over(&b.server.url(), range("t:", Some(Duration::from_secs(600)))).await;
    let store = over(&b.server.url(), range("s:", None)).await;
    let is_about = |ttl: i64, most: i64| assert!((most - 5_000..=most).contains(&ttl), "{ttl} of {most}");
    timed.set(&nobody(), "set", "v".into()).await.unwrap();
    assert!(timed.swap(&nobody(), "swapped", None, "v".into()).await.unwrap());
    assert_eq!(timed.increment(&nobody(), "n", 1).await.unwrap(), 1);
    for key in ["t:set", "t:swapped", "t:n"] {
        is_about(ttl(&mut b.raw, key).await, 600_000);
    }
    // A counter keeps the time it was made with.
    let _: () = b.raw.run(&["PEXPIRE", "t:n", "50000"]).await;
    timed.increment(&nobody(), "n", 1).await.unwrap();
    is_about(ttl(&mut b.raw, "t:n").await, 50_000);
    // A session stays as long as whoever made it said.
    let _: () = b.raw.run(&["SET", "s:sess", "{}", "PX", "90000"]).await;
    store.set(&nobody(), "sess", "{\"seen\":1}".into()).await.unwrap();
    is_about(ttl(&mut b.raw, "s:sess").await, 90_000);
    let seen = Some(Fingerprint::of(b"{\"seen\":1}"));
    assert!(store.swap(&nobody(), "sess", seen, "{}".into()).await.unwrap());
    is_about(ttl(&mut b.raw, "s:sess").await, 90_000);
    store.set(&nobody(), "new", "v".into()).await.unwrap();
    assert_eq!(ttl(&mut b.raw, "s:new").await, -1);
}

#[tokio::test]
async fn what_is_no_text_is_told_and_left_alone() {
    let mut b = Bench::new().await;
    let store = over(&b.server.url(), range("post:", None)).await;
    let _: () = b.raw.run(&["HSET", "post:7", "title", "Hello"]).await;
    let refusals = [
        store.get(&nobody(), "7").await.map(drop),
        store.set(&nobody(), "7", "v".into()).await,
        store.delete(&nobody(), "7").await,
        store.increment(&nobody(), "7", 1).await.map(drop),
        store.swap(&nobody(), "7", None, "v".into()).await.map(drop),
    ];
    for refusal in refusals {
        let Err(KeyValueError::Rejected(why)) = &refusal else { panic!("{refusal:?}") };
        assert!(why.contains("\"post:7\"") && why.contains("is no text"), "{why}");
    }
    assert!(store.exists(&nobody(), "7").await.unwrap());
    let title: String = b.raw.run(&["HGET", "post:7", "title"]).await;
    assert_eq!(title, "Hello");
}

#[tokio::test]
async fn a_listing_finds_every_key_among_many_others_page_by_page() {
    let mut b = Bench::new().await;
    let store = over(&b.server.url(), range("feed:", None)).await;
    let script = "for i = 1, 20000 do redis.call('SET', 'x:' .. i, 'v') end \
                  for i = 1, 700 do redis.call('SET', 'feed:' .. i, 'v') end return 1";
    let _: i64 = b.raw.run(&["EVAL", script, "0"]).await;
    // No guest could name this one.
    let _: () = b.raw.run(&["EVAL", "return redis.call('SET', 'feed:\\255', 'v')", "0"]).await;
    let (mut seen, mut from, mut pages) = (std::collections::BTreeSet::new(), 0, 0);
    loop {
        let page = store.keys(&nobody(), from, 100).await.unwrap();
        assert!(page.keys.len() <= 120, "a page of {}", page.keys.len());
        pages += 1;
        for key in page.keys {
            store.delete(&nobody(), &key).await.unwrap();
            seen.insert(key);
        }
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 700);
    assert!(pages < 100, "{pages}");
}

#[tokio::test]
async fn it_asks_for_the_rights_it_needs_and_no_more() {
    let b = Bench::new().await;
    let mut raw = b.server.raw().await;
    let url = format!("redis://guest:pw@127.0.0.1:{}", b.server.port);
    for (writes, rights) in [(false, "+get +exists"), (true, "")] {
        let start =
            format!("ACL SETUSER guest reset on >pw +evalsha +script|load +client|setname +ping {rights}");
        let _: () = raw.run(&start.split_whitespace().collect::<Vec<_>>()).await;
        let range = range("feed:", None);
        for _ in 0..3 {
            let Some(fault) = over(&url, range.clone()).await.denied(writes).await else { break };
            assert!(fault.contains("the keys \"feed:\"") && fault.contains("~feed:*"), "{fault}");
            let (_, fix) = fault.split_once("; ACL SETUSER guest ").unwrap();
            let (rules, _) = fix.split_once(", and the same").unwrap();
            let _: () = raw
                .run(&["ACL", "SETUSER", "guest"].into_iter().chain(rules.split(' ')).collect::<Vec<_>>())
                .await;
        }
        let store = over(&url, range).await;
        assert_eq!(store.denied(writes).await, None);
        assert_eq!(store.get(&nobody(), "k").await.unwrap(), None);
        assert_eq!(store.keys(&nobody(), 0, 10).await.unwrap().keys, Vec::<String>::new());
        let set = store.set(&nobody(), "n", "1".into()).await;
        if writes {
            set.unwrap();
            assert_eq!(store.increment(&nobody(), "n", 1).await.unwrap(), 2);
            store.delete(&nobody(), "n").await.unwrap();
        } else {
            assert!(matches!(&set, Err(KeyValueError::Other(why)) if why.contains("ACL SETUSER")), "{set:?}");
        }
    }
}
