//! What hosts share: the suite of all back ends on one server and on a cluster, and what is particular to Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jobcell_core::StoreError;
use jobcell_core::conformance::documents::DocumentsFixture;
use jobcell_core::documents::{Documents, Expect, Folder, Log, Put};
use jobcell_redis::{ConnectOptions, Redis, RedisDocuments};
use jobcell_tests::fleet::{RedisCluster, RedisSentinels};

use crate::server::{Bench, Raw, Server};

/// The time anything may take on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
const FOLDER: Folder = Folder::Handlers;

async fn connected(url: &str, prefix: &str) -> RedisDocuments {
    let options = ConnectOptions::from_url(url).unwrap().prefix(prefix);
    RedisDocuments::new(Redis::connect(options).await.unwrap())
}

async fn user(raw: &mut Raw, rules: &str) {
    let mut words = vec!["ACL", "SETUSER", "guest", "reset", "on", ">pw"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
}

/// Does what the message about missing rights says.
async fn allow(raw: &mut Raw, fault: &str) {
    let (_, fix) = fault.split_once("; ACL SETUSER guest ").unwrap();
    let (rules, _) = fix.split_once(", and the same").unwrap();
    let mut words = vec!["ACL", "SETUSER", "guest"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
}

async fn fresh() -> DocumentsFixture {
    let server = Server::start();
    let mut raw = server.raw().await;
    // With no more rights than the messages about missing ones tell to give: this proves that they are enough. What is
    // allowed at first is what it takes to ask.
    user(&mut raw, "+evalsha +script|load +client|setname +ping").await;
    let url = format!("redis://guest:pw@127.0.0.1:{}", server.port);
    for _ in 0..3 {
        let Some(fault) = connected(&url, "bull").await.denied().await else { break };
        assert!(fault.contains("~jobcell-fleet/{:bull}/*"), "{fault}");
        allow(&mut raw, &fault).await;
    }
    let documents = connected(&url, "bull").await;
    assert_eq!(documents.denied().await, None);
    DocumentsFixture { documents: Arc::new(documents), guard: Box::new(server) }
}

jobcell_core::documents_conformance!(fresh);

mod on_a_cluster {
    use super::*;

    async fn fresh() -> DocumentsFixture {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Starting one takes seconds, in which no other test of this thread could run.
        let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
        // Queues need braces there; documents have their own, wherever the prefix has some.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = if number.is_multiple_of(2) { format!("{{d{number}}}") } else { format!("d{number}") };
        let documents = connected(&cluster.url(), &prefix).await;
        DocumentsFixture { documents: Arc::new(documents), guard: Box::new(()) }
    }

    jobcell_core::documents_conformance!(fresh);
}

/// Writes over whatever there is.
async fn put(documents: &RedisDocuments, name: &str, content: &str) -> u64 {
    written(documents.put(FOLDER, name, content.to_owned().into(), Expect::Anything, None).await.unwrap())
}

fn written(put: Put) -> u64 {
    match put {
        Put::Written(revision) => revision,
        Put::Conflict(there) => panic!("{there:?} is in the way"),
    }
}

/// The same where the store may be away for a while: what is not written over anything may be repeated.
async fn put_at_last(documents: &RedisDocuments, name: &str, content: &str) -> u64 {
    let deadline = Instant::now() + SOON;
    loop {
        match documents.put(FOLDER, name, content.to_owned().into(), Expect::Anything, None).await {
            Ok(put) => return written(put),
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits, beside what else is done, for another revision than this.
fn watch(documents: &RedisDocuments, seen: u64) -> tokio::task::JoinHandle<Result<u64, StoreError>> {
    let documents = documents.clone();
    tokio::spawn(async move { documents.changed(FOLDER, Some(seen), 2 * SOON).await })
}

/// Waits until somebody is blocked on the server.
async fn until_blocked(raw: &mut Raw) {
    let deadline = Instant::now() + SOON;
    loop {
        let clients: String = raw.run(&["INFO", "clients"]).await;
        if clients.contains("blocked_clients:1") {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_folder_is_three_keys_whatever_its_documents_are_called() {
    let mut b = Bench::new().await;
    let documents = connected(&b.server.url(), "{bull}").await;
    for name in ["a", "{x}", "*", "a\r\nDEL b"] {
        put(&documents, name, "1").await;
        let soon = Some(Duration::from_secs(60));
        documents.put(Folder::Hosts, name, "1".into(), Expect::Absent, soon).await.unwrap();
    }
    documents.keep_blob("sha256:00", "x".into()).await.unwrap();
    documents.append(&Log::Audit, "x".into(), 9).await.unwrap();
    documents.append(&Log::Handler("media".into()), "x".into(), 9).await.unwrap();
    let names = [
        "blob:sha256:00",
        "handlers",
        "handlers:changes",
        "hosts",
        "hosts:changes",
        "hosts:expiries",
        "log:audit",
        "log:handler:media",
    ];
    let expected: Vec<String> =
        names.iter().map(|name| format!("jobcell-fleet/{{:%7Bbull%7D}}/{name}")).collect();
    assert_eq!(b.raw.keys().await, expected);
    let changes: u64 = b.raw.run(&["XLEN", "jobcell-fleet/{:%7Bbull%7D}/handlers:changes"]).await;
    assert_eq!(changes, 1, "changes do not pile up");
}

#[tokio::test]
async fn what_has_expired_is_swept_out() {
    let mut b = Bench::new().await;
    let documents = connected(&b.server.url(), "bull").await;
    for n in 0..250 {
        let soon = Some(Duration::from_millis(1));
        documents.put(FOLDER, &n.to_string(), "1".into(), Expect::Anything, soon).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    for _ in 0..3 {
        put(&documents, "stays", "1").await;
    }
    let kept: Vec<String> = b.raw.run(&["HKEYS", "jobcell-fleet/{:bull}/handlers"]).await;
    let due: u64 = b.raw.run(&["EXISTS", "jobcell-fleet/{:bull}/handlers:expiries"]).await;
    assert_eq!((kept, due), (vec!["stays".to_owned()], 0));
}

#[tokio::test]
async fn deployments_with_other_prefixes_do_not_meet() {
    let b = Bench::new().await;
    let mut all = Vec::new();
    for prefix in ["a", "a/b", "{a}", "a:b", "%61", ""] {
        let documents = connected(&b.server.url(), prefix).await;
        assert_eq!(documents.list(FOLDER).await.unwrap(), [], "{prefix}");
        put(&documents, "x", prefix).await;
        all.push((prefix, documents));
    }
    for (prefix, documents) in all {
        assert_eq!(documents.get(FOLDER, "x").await.unwrap().unwrap().content, prefix);
    }
}

#[tokio::test]
async fn what_is_kept_outlives_a_restart_and_a_wait_goes_on_after_it() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let documents = connected(&server.url(), "bull").await;
    let seen = put(&documents, "a", "1").await;
    documents.keep_blob("d", "blob".into()).await.unwrap();
    let number = documents.append(&Log::Audit, "entry".into(), 9).await.unwrap();
    let waiting = watch(&documents, seen);
    until_blocked(&mut server.raw().await).await;
    server.kill();
    // A wait that begins while Redis is away waits for it, too.
    let deadline = Instant::now() + SOON;
    while documents.get(FOLDER, "a").await.is_ok() {
        assert!(Instant::now() < deadline);
    }
    let later = watch(&documents, seen);
    let impatient = documents.changed(FOLDER, Some(seen), Duration::from_millis(300)).await;
    assert!(matches!(&impatient, Err(e) if e.is_transient()), "{impatient:?}");
    server.restart();
    let made = put_at_last(&documents, "a", "2").await;
    assert!(made > seen);
    for waiting in [waiting, later] {
        assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), made);
    }
    assert_eq!(documents.blob("d").await.unwrap().unwrap(), "blob");
    let entries = documents.entries(&Log::Audit, None, 9).await.unwrap();
    assert_eq!((entries.len(), entries[0].number, &entries[0].content[..]), (1, number, &b"entry"[..]));
}

#[tokio::test]
async fn a_wait_over_a_connection_that_has_died_silently_hears_of_changes() {
    let server = Server::start();
    let proxy = server.lossy().await;
    let (near, documents) = (connected(&server.url(), "bull").await, connected(&proxy.url(), "bull").await);
    let seen = put(&near, "a", "1").await;
    let waiting = watch(&documents, seen);
    until_blocked(&mut server.raw().await).await;
    proxy.mute();
    let made = put(&near, "a", "2").await;
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), made);
}

/// Writes that were lost with a server must not make its successor give their revisions to others.
#[tokio::test]
async fn revisions_are_not_used_again_by_a_server_that_has_lost_them() {
    let mut server = Server::start();
    let documents = connected(&server.url(), "bull").await;
    put(&documents, "a", "1").await;
    let lost = put(&documents, "a", "seen by somebody").await;
    let waiting = watch(&documents, lost);
    until_blocked(&mut server.raw().await).await;
    server.kill();
    server.restart();
    let number = put_at_last(&documents, "a", "another").await;
    assert!(number > lost, "{number} is not {lost}");
    let over = documents.put(FOLDER, "a", "mix".into(), Expect::Revision(lost), None).await.unwrap();
    assert!(matches!(over, Put::Conflict(Some(_))), "{over:?}");
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), number);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_sent_again() {
    let server = Server::start();
    let proxy = server.lossy().await;
    let (near, documents) = (connected(&server.url(), "bull").await, connected(&proxy.url(), "bull").await);
    let seen = put(&documents, "a", "1").await;
    proxy.lose_replies(true);
    let lost = documents.put(FOLDER, "a", "2".into(), Expect::Revision(seen), None).await;
    assert!(matches!(&lost, Err(e) if e.is_transient()), "{lost:?}");
    let there = near.get(FOLDER, "a").await.unwrap().unwrap();
    assert_eq!(there.content, "2", "it was written");
    proxy.lose_replies(false);
    let deadline = Instant::now() + SOON;
    let again = loop {
        match documents.put(FOLDER, "a", "3".into(), Expect::Revision(seen), None).await {
            Ok(put) => break put,
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(again, Put::Conflict(Some(there)), "once");
}

#[tokio::test]
async fn a_large_blob_keeps_nobody_waiting() {
    let server = Server::start();
    let documents = connected(&server.url(), "bull").await;
    put(&documents, "a", "1").await;
    let content = Bytes::from(vec![7u8; 32 << 20]);
    documents.keep_blob("d", content.clone()).await.unwrap();
    let reads = async {
        for _ in 0..4 {
            assert!(documents.blob("d").await.unwrap().unwrap() == content);
        }
    };
    let calls = async {
        let mut slowest = Duration::ZERO;
        loop {
            let begun = Instant::now();
            documents.get(FOLDER, "a").await.unwrap();
            slowest = slowest.max(begun.elapsed());
            assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        }
    };
    tokio::select! {
        () = reads => {}
        () = calls => {}
    }
    assert!(!server.raw().await.keys().await.is_empty());
}

#[tokio::test]
async fn a_full_server_refuses_and_changes_nothing() {
    let mut b = Bench::new().await;
    let documents = connected(&b.server.url(), "bull").await;
    let made = put(&documents, "a", "1").await;
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = documents.put(FOLDER, "a", "2".into(), Expect::Anything, None).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("OOM")), "{refused:?}");
    assert!(matches!(documents.append(&Log::Audit, "x".into(), 9).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(documents.keep_blob("d", "x".into()).await, Err(StoreError::Unavailable(_))));
    assert_eq!(documents.get(FOLDER, "a").await.unwrap().unwrap().revision, made);
    assert_eq!(documents.changed(FOLDER, None, SOON).await.unwrap(), made);
    let _: () = b.raw.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    put(&documents, "a", "2").await;
}

#[tokio::test]
async fn what_is_no_folder_is_told_and_left_alone() {
    let mut b = Bench::new().await;
    let documents = connected(&b.server.url(), "bull").await;
    let (folder, changes) = ("jobcell-fleet/{:bull}/handlers", "jobcell-fleet/{:bull}/handlers:changes");
    for key in [folder, changes] {
        let _: () = b.raw.run(&["SET", key, "x"]).await;
        let refused = documents.put(FOLDER, "a", "1".into(), Expect::Anything, None).await;
        assert!(matches!(&refused, Err(StoreError::Corrupt(why)) if why.contains("handlers")), "{refused:?}");
        assert_eq!(b.raw.keys().await, [key], "nothing was written");
        let _: () = b.raw.run(&["DEL", key]).await;
    }
    let _: () = b.raw.run(&["HSET", folder, "a", "nonsense"]).await;
    for refused in [documents.get(FOLDER, "a").await.map(drop), documents.list(FOLDER).await.map(drop)] {
        assert!(matches!(&refused, Err(e) if e.to_string().contains("document a is none")), "{refused:?}");
    }
}

#[tokio::test]
async fn who_may_not_is_told_what_to_type() {
    let server = Server::start();
    let mut raw = server.raw().await;
    user(&mut raw, "+@all ~bull:*").await;
    let documents = connected(&format!("redis://guest:pw@127.0.0.1:{}", server.port), "bull").await;
    let refused = documents.put(FOLDER, "a", "1".into(), Expect::Anything, None).await;
    let Err(StoreError::Denied(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("ACL SETUSER guest ~jobcell-fleet/{:bull}/*"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_follows_its_slot_to_another_node() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::start).await.unwrap();
    let documents = connected(&cluster.url(), "bull").await;
    let seen = put(&documents, "a", "1").await;
    let waiting = watch(&documents, seen);
    let cluster = tokio::task::spawn_blocking(move || {
        let key = "jobcell-fleet/{:bull}/handlers";
        let both = cluster.begin_move(key);
        while cluster.move_keys(key, both, 20) > 0 {}
        cluster.end_move(key, both);
        cluster
    })
    .await
    .unwrap();
    let made = put_at_last(&documents, "a", "2").await;
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), made);
    assert_eq!(documents.get(FOLDER, "a").await.unwrap().unwrap().revision, made);
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_follows_the_master_that_sentinels_name() {
    let mut fleet = tokio::task::spawn_blocking(RedisSentinels::start).await.unwrap();
    let documents = connected(&fleet.url(), "bull").await;
    let seen = put(&documents, "a", "1").await;
    let waiting = watch(&documents, seen);
    let fleet = tokio::task::spawn_blocking(move || {
        fleet.nodes()[0].client().wait_replicated(2);
        fleet.nodes()[0].kill();
        jobcell_tests::wait::until("another master", || fleet.master().filter(|now| *now != 0));
        fleet
    })
    .await
    .unwrap();
    let made = put_at_last(&documents, "a", "2").await;
    assert!(made > seen);
    assert_eq!(tokio::time::timeout(2 * SOON, waiting).await.unwrap().unwrap().unwrap(), made);
    drop(fleet);
}
