//! What every key-value store must do, as tests that each back end runs on itself.
//!
//! The line in a back end's test file, where `fresh` is an `async fn() -> KeyValueFixture`:
//!
//! ```text
//! jobcell_core::keyvalue_conformance!(fresh);
//! ```

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::keyvalue::{Bucket, Fingerprint, KeyValue, KeyValueError};

/// An empty key-value store, and what must live as long as it does.
pub struct KeyValueFixture {
    /// The store.
    pub store: Arc<dyn KeyValue>,
    /// Dropped after the case.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// Makes the module `keyvalue_conformance` with one test for each case. Takes the name of an
/// `async fn() -> KeyValueFixture` of the calling module.
#[macro_export]
macro_rules! keyvalue_conformance {
    ($make:ident) => {
        mod keyvalue_conformance {
            use super::$make;
            $crate::keyvalue_conformance!(@table tests [$make]);
        }
    };
    (@tests [$make:ident] $($case:ident)*) => {
        $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let fixture = $make().await;
            let case = $crate::conformance::keyvalue::$case(fixture.store.clone());
            let limit = $crate::conformance::CASE_TIMEOUT;
            ::tokio::time::timeout(limit, Box::pin(case)).await.expect("the case did not end in time");
            drop(fixture);
        })*
    };
    (@names [] $($case:ident)*) => { &[$(stringify!($case)),*] };
    (@table $then:ident [$($arg:tt)*]) => {
        $crate::keyvalue_conformance! { @$then [$($arg)*]
            what_is_set_is_there_until_it_is_deleted
            values_are_any_bytes
            a_large_value_comes_whole
            keys_are_any_text_and_all_different
            buckets_do_not_mix
            keys_are_listed_page_by_page_in_the_order_they_were_made
            a_value_that_is_set_again_keeps_its_place
            deleting_while_listing_skips_nothing
            a_page_of_nothing_and_a_place_beyond_the_end
            counters_count_from_nothing_and_read_as_text
            counters_count_once_for_everybody
            what_is_no_number_is_not_counted_and_stays
            a_swap_needs_what_was_seen
            a_swap_makes_a_key_only_where_there_is_none
            of_many_swaps_of_one_value_one_wins
            it_does_what_a_map_does
        }
    };
}

/// The cases: the table of [`keyvalue_conformance!`](crate::keyvalue_conformance).
pub const CASES: &[&str] = crate::keyvalue_conformance!(@table names []);

/// Keys that have meaning to somebody: to Redis's patterns and slots, to paths, to parsers, to people.
pub const HOSTILE_KEYS: [&str; 32] = [
    " ",
    ":",
    "::",
    "{}",
    "{x}",
    "}{",
    ".",
    "..",
    "../x",
    "/",
    "//",
    "/etc/passwd",
    "a/../../b",
    "a\\..\\b",
    "\0",
    "a\0b",
    "\n",
    "a\r\nSET b 1",
    "*",
    "?",
    "[a-z]",
    "\\*",
    "%",
    "%2e%2e%2f",
    "%00",
    "\u{430}", // Cyrillic, looks like `a`.
    "a",
    "e\u{301}",
    "\u{e9}", // The same letter in one character.
    "\u{202e}txt.exe",
    "\u{fffd}",
    "\u{10ffff}",
];

type Store = Arc<dyn KeyValue>;

fn bucket(name: &str) -> Bucket {
    Bucket::new(Some("tenant"), name)
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn get(store: &Store, bucket: &Bucket, key: &str) -> Option<Bytes> {
    store.get(bucket, key).await.unwrap()
}

/// All keys, by pages of so many.
async fn listed(store: &Store, bucket: &Bucket, limit: u32) -> Vec<String> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let page = store.keys(bucket, from, limit).await.unwrap();
        assert!(page.keys.len() <= limit as usize, "a page of {} where {limit} is the most", page.keys.len());
        all.extend(page.keys);
        match page.next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

pub async fn what_is_set_is_there_until_it_is_deleted(store: Store) {
    let b = bucket("b");
    assert_eq!(get(&store, &b, "k").await, None);
    assert!(!store.exists(&b, "k").await.unwrap());
    store.set(&b, "k", text("1")).await.unwrap();
    store.set(&b, "k", text("2")).await.unwrap();
    assert_eq!(get(&store, &b, "k").await, Some(text("2")));
    assert!(store.exists(&b, "k").await.unwrap());
    for _ in 0..2 {
        store.delete(&b, "k").await.unwrap();
        assert_eq!(get(&store, &b, "k").await, None);
        assert!(!store.exists(&b, "k").await.unwrap());
    }
    assert_eq!(listed(&store, &b, 10).await, Vec::<String>::new());
}

pub async fn values_are_any_bytes(store: Store) {
    let b = bucket("b");
    let all: Bytes = (0..=255u8).collect();
    for value in [Bytes::new(), Bytes::from_static(b"\0"), all, text("\u{1f9ea}")] {
        store.set(&b, "k", value.clone()).await.unwrap();
        assert_eq!(get(&store, &b, "k").await, Some(value));
        assert!(store.exists(&b, "k").await.unwrap());
    }
}

pub async fn a_large_value_comes_whole(store: Store) {
    let b = bucket("b");
    let value: Bytes = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    store.set(&b, "k", value.clone()).await.unwrap();
    assert_eq!(get(&store, &b, "k").await, Some(value.clone()));
    assert!(store.swap(&b, "k", Some(Fingerprint::of(&value)), text("short")).await.unwrap());
    assert_eq!(get(&store, &b, "k").await, Some(text("short")));
}

pub async fn keys_are_any_text_and_all_different(store: Store) {
    let b = bucket("b");
    let long = "k".repeat(100_000);
    let keys: Vec<&str> = HOSTILE_KEYS.into_iter().chain([&*long]).collect();
    for (i, key) in keys.iter().enumerate() {
        store.set(&b, key, text(&i.to_string())).await.unwrap();
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(get(&store, &b, key).await, Some(text(&i.to_string())), "{key:?}");
        assert_eq!(store.increment(&b, key, 100).await.unwrap(), 100 + i as i64, "{key:?}");
    }
    assert_eq!(listed(&store, &b, 7).await, keys);
    // Each names itself alone, whatever it would mean as a pattern.
    for (i, key) in keys.iter().enumerate() {
        store.delete(&b, key).await.unwrap();
        assert_eq!(listed(&store, &b, 100).await, keys[i + 1..], "{key:?}");
    }
}

pub async fn buckets_do_not_mix(store: Store) {
    let names = HOSTILE_KEYS.into_iter().chain(["", "tenant", "a:b"]);
    let buckets: Vec<Bucket> = names
        .flat_map(|name| {
            [Bucket::new(Some(name), "x"), Bucket::new(Some("x"), name), Bucket::new(None, name)]
        })
        .collect();
    for (i, bucket) in buckets.iter().enumerate() {
        assert_eq!(get(&store, bucket, "k").await, None, "{bucket:?}");
        store.set(bucket, "k", text(&i.to_string())).await.unwrap();
        store.set(bucket, &format!("only {i}"), text("")).await.unwrap();
    }
    for (i, bucket) in buckets.iter().enumerate() {
        assert_eq!(get(&store, bucket, "k").await, Some(text(&i.to_string())), "{bucket:?}");
        assert_eq!(listed(&store, bucket, 10).await, ["k".to_owned(), format!("only {i}")], "{bucket:?}");
    }
}

pub async fn keys_are_listed_page_by_page_in_the_order_they_were_made(store: Store) {
    let b = bucket("b");
    let keys: Vec<String> = (0..25).map(|i| format!("k{}", (i * 7) % 25)).collect();
    for key in &keys {
        store.set(&b, key, text("v")).await.unwrap();
    }
    for limit in [1, 5, 24, 25, 26] {
        assert_eq!(listed(&store, &b, limit).await, keys, "pages of {limit}");
    }
    // The last page says that it is, though it is full.
    assert_eq!(store.keys(&b, 0, 25).await.unwrap().next, None);
    assert!(store.keys(&b, 0, 24).await.unwrap().next.is_some());
}

pub async fn a_value_that_is_set_again_keeps_its_place(store: Store) {
    let b = bucket("b");
    for key in ["a", "b", "c"] {
        store.set(&b, key, text("1")).await.unwrap();
    }
    store.set(&b, "a", text("2")).await.unwrap();
    store.increment(&b, "b", 1).await.unwrap();
    assert!(store.swap(&b, "c", Some(Fingerprint::of(b"1")), text("2")).await.unwrap());
    assert_eq!(listed(&store, &b, 10).await, ["a", "b", "c"]);
    store.delete(&b, "a").await.unwrap();
    store.increment(&b, "a", 1).await.unwrap();
    assert_eq!(listed(&store, &b, 10).await, ["b", "c", "a"]);
}

pub async fn deleting_while_listing_skips_nothing(store: Store) {
    let b = bucket("b");
    let made: BTreeSet<String> = (0..30).map(|i| format!("k{i}")).collect();
    for key in &made {
        store.set(&b, key, text("v")).await.unwrap();
    }
    let (mut seen, mut from) = (BTreeSet::new(), 0);
    loop {
        let page = store.keys(&b, from, 4).await.unwrap();
        for key in page.keys {
            store.delete(&b, &key).await.unwrap();
            assert!(seen.insert(key.clone()), "{key} was listed twice");
        }
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!(seen, made);
    assert_eq!(listed(&store, &b, 10).await, Vec::<String>::new());
}

pub async fn a_page_of_nothing_and_a_place_beyond_the_end(store: Store) {
    let b = bucket("b");
    for from in [0, 1, 1 << 52, i64::MAX as u64, u64::MAX] {
        let page = store.keys(&b, from, 10).await.unwrap();
        assert_eq!((page.keys.len(), page.next), (0, None), "{from}");
    }
    store.set(&b, "k", text("v")).await.unwrap();
    assert_eq!(store.keys(&b, u64::MAX, 10).await.unwrap().keys, Vec::<String>::new());
    assert_eq!(store.keys(&b, 0, 0).await.unwrap().keys, Vec::<String>::new());
}

pub async fn counters_count_from_nothing_and_read_as_text(store: Store) {
    let b = bucket("b");
    assert_eq!(store.increment(&b, "n", -5).await.unwrap(), -5);
    assert_eq!(store.increment(&b, "n", 0).await.unwrap(), -5);
    assert_eq!(get(&store, &b, "n").await, Some(text("-5")));
    store.set(&b, "n", text("9223372036854775806")).await.unwrap();
    assert_eq!(store.increment(&b, "n", 1).await.unwrap(), i64::MAX);
    assert_eq!(store.increment(&b, "low", i64::MIN).await.unwrap(), i64::MIN);
    assert_eq!(get(&store, &b, "low").await, Some(text("-9223372036854775808")));
    assert_eq!(listed(&store, &b, 10).await, ["n", "low"]);
}

pub async fn counters_count_once_for_everybody(store: Store) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        tasks.spawn(async move { store.increment(&bucket("b"), "n", 3).await.unwrap() });
    }
    let mut sums = tasks.join_all().await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=20).map(|n| n * 3).collect::<Vec<i64>>());
}

pub async fn what_is_no_number_is_not_counted_and_stays(store: Store) {
    let b = bucket("b");
    for value in ["", "x", "1.5", "+1", "01", " 1", "9223372036854775808"] {
        store.set(&b, "n", text(value)).await.unwrap();
        let refused = store.increment(&b, "n", 1).await;
        assert!(
            matches!(&refused, Err(KeyValueError::NotANumber(key)) if key == "n"),
            "{value:?}: {refused:?}"
        );
        assert_eq!(get(&store, &b, "n").await, Some(text(value)));
    }
    for (value, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        store.set(&b, "n", text(&value.to_string())).await.unwrap();
        assert!(matches!(store.increment(&b, "n", by).await, Err(KeyValueError::NotANumber(_))));
        assert_eq!(get(&store, &b, "n").await, Some(text(&value.to_string())));
    }
}

pub async fn a_swap_needs_what_was_seen(store: Store) {
    let b = bucket("b");
    let seen = |value: &str| Some(Fingerprint::of(value.as_bytes()));
    store.set(&b, "k", text("1")).await.unwrap();
    assert!(!store.swap(&b, "k", None, text("x")).await.unwrap());
    assert!(!store.swap(&b, "k", seen("2"), text("x")).await.unwrap());
    assert_eq!(get(&store, &b, "k").await, Some(text("1")));
    assert!(store.swap(&b, "k", seen("1"), text("2")).await.unwrap());
    assert!(!store.swap(&b, "k", seen("1"), text("x")).await.unwrap());
    // The empty value is one.
    assert!(store.swap(&b, "k", seen("2"), text("")).await.unwrap());
    assert!(!store.swap(&b, "k", None, text("x")).await.unwrap());
    assert!(store.swap(&b, "k", seen(""), text("3")).await.unwrap());
    store.delete(&b, "k").await.unwrap();
    assert!(!store.swap(&b, "k", seen("3"), text("x")).await.unwrap());
    assert_eq!(get(&store, &b, "k").await, None);
}

pub async fn a_swap_makes_a_key_only_where_there_is_none(store: Store) {
    let b = bucket("b");
    assert!(store.swap(&b, "k", None, text("1")).await.unwrap());
    assert!(!store.swap(&b, "k", None, text("2")).await.unwrap());
    assert_eq!(get(&store, &b, "k").await, Some(text("1")));
    assert_eq!(listed(&store, &b, 10).await, ["k"]);
}

pub async fn of_many_swaps_of_one_value_one_wins(store: Store) {
    let b = bucket("b");
    store.set(&b, "k", text("old")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..16 {
        let (store, b) = (store.clone(), b.clone());
        tasks.spawn(async move {
            store.swap(&b, "k", Some(Fingerprint::of(b"old")), text(&format!("new {i}"))).await.unwrap()
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

pub async fn it_does_what_a_map_does(store: Store) {
    let b = bucket("b");
    let mut model: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut random = 88_172_645_463_325_252u64;
    for step in 0..600u32 {
        // Xorshift: the same steps every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = HOSTILE_KEYS[(random >> 8) as usize % HOSTILE_KEYS.len()];
        let value = text(&format!("{}", random % 50));
        let held = model.get(key).cloned();
        match random % 6 {
            0 | 1 => {
                store.set(&b, key, value.clone()).await.unwrap();
                model.insert(key.to_owned(), value);
            }
            2 => {
                store.delete(&b, key).await.unwrap();
                model.remove(key);
            }
            3 => {
                let sum = store.increment(&b, key, 7).await.unwrap();
                let old: i64 = held.map_or(0, |old| std::str::from_utf8(&old).unwrap().parse().unwrap());
                assert_eq!(sum, old + 7, "step {step}");
                model.insert(key.to_owned(), text(&sum.to_string()));
            }
            4 => {
                let seen = held.as_deref().map(Fingerprint::of);
                assert!(store.swap(&b, key, seen, value.clone()).await.unwrap(), "step {step}");
                model.insert(key.to_owned(), value);
            }
            _ => assert_eq!(get(&store, &b, key).await, held, "step {step}: {key:?}"),
        }
    }
    let keys: BTreeSet<String> = listed(&store, &b, 5).await.into_iter().collect();
    assert_eq!(keys, model.keys().cloned().collect());
    for (key, value) in model {
        assert_eq!(get(&store, &b, &key).await, Some(value), "{key:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::CASES;

    #[test]
    fn every_case_written_is_in_the_table() {
        let source = include_str!("keyvalue.rs");
        let written: Vec<&str> =
            source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
        assert_eq!(written, CASES);
    }
}
