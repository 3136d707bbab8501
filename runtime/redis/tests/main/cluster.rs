//! On a Redis Cluster: the whole conformance suite, and working on while slots move and nodes die.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobcell_core::cache::Cache;
use jobcell_core::conformance::Fixture;
use jobcell_core::conformance::series::POINTS;
use jobcell_core::publish::Publisher;
use jobcell_core::store::{NewJob, Parent, SeriesPoints, Wake};
use jobcell_core::{JobState, QueueName, Store, StoreError};
use jobcell_redis::{
    BullStore, ConnectError, ConnectOptions, Redis, RedisCache, RedisPublisher, Resolve, StoreOptions,
};
use jobcell_tests::fleet::RedisCluster;

use crate::proxy::Proxy;
use crate::server::{NOW, claim, complete, finish, ids, plain, queue};

/// The time that a worker may take to go on after a fault is mended; it takes a fraction of it, on idle cores.
const SOON: Duration = Duration::from_secs(20);

async fn fresh() -> Fixture {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Starting one takes seconds, in which no other test of this thread could run.
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let prefix = format!("{{case{}}}", NEXT.fetch_add(1, Ordering::Relaxed));
    let options = ConnectOptions::from_url(&cluster.url()).unwrap().prefix(&prefix);
    let redis = Redis::connect(options).await.unwrap();
    let store = BullStore::new(redis, StoreOptions { series: SeriesPoints::all(POINTS) });
    Fixture::new(Arc::new(store), prefix, ())
}

jobcell_core::store_conformance!(fresh);

async fn connect(url: &str, prefix: &str) -> BullStore {
    BullStore::connect(ConnectOptions::from_url(url).unwrap().prefix(prefix)).await.unwrap()
}

async fn start() -> RedisCluster {
    tokio::task::spawn_blocking(RedisCluster::start).await.unwrap()
}

/// Claims and finishes until so many are done; returns their ids.
async fn work(store: BullStore, q: QueueName, total: usize) -> Vec<String> {
    let mut done = Vec::new();
    let deadline = Instant::now() + 3 * SOON;
    let stalled = jobcell_core::store::StallPolicy { interval: Duration::from_millis(50), max: 1000 };
    while done.len() < total {
        assert!(Instant::now() < deadline, "{} of {total} are done", done.len());
        let mut request = claim(8, NOW);
        request.lock = Duration::from_millis(500);
        let claimed = match store.claim(&q, &request).await {
            Ok(claimed) => claimed,
            Err(e) => {
                assert!(e.is_transient(), "{e}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if claimed.jobs.is_empty() {
            let _ = store.recover_stalled(&q, stalled, NOW).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            if store.counts(&q).await.is_ok_and(|counts| counts.pending() == 0) {
                break;
            }
        }
        for job in claimed.jobs {
            let end = vec![finish(&job.id, &job.token, complete("1"))];
            loop {
                match store.finish(&q, end.clone(), None, NOW).await {
                    Ok(reply) => {
                        if reply.finished[0].is_ok() {
                            done.push(job.id.to_string());
                        }
                        break;
                    }
                    Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    done
}

#[tokio::test]
async fn a_queue_without_braces_is_refused_before_anything_is_written() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let store = connect(&cluster.url(), "unbraced").await;
    let q = queue("mail");
    for error in [
        store.add(&q, vec![plain("n")], NOW).await.unwrap_err(),
        store.claim(&q, &claim(1, NOW)).await.unwrap_err(),
        store.pause(&q).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(!error.is_transient() && text.contains("mail") && text.contains("{bull}"), "{text}");
    }
    for node in cluster.nodes() {
        assert!(!node.run(&["KEYS", "unbraced:*"]).texts().iter().any(|key| key.contains("mail")));
    }
    // A queue whose own name has braces needs none in the prefix.
    let q = queue("{mail}");
    store.add(&q, vec![plain("n")], NOW).await.unwrap();
    assert_eq!(store.queues().await.unwrap(), [q]);
}

#[tokio::test]
async fn a_parent_in_another_slot_is_refused_and_both_queues_are_named() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let store = connect(&cluster.url(), "crossed").await;
    let (parents, children) = (queue("{a}"), queue("{b}"));
    let parent = store.add(&parents, vec![plain("p")], NOW).await.unwrap()[0].id().clone();
    let child = NewJob {
        parent: Some(Parent { queue_key: "crossed:{a}".into(), id: parent }),
        ..NewJob::new("c", "{}")
    };
    let error = store.add(&children, vec![child], NOW).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Rejected(text) if text.contains("{a}") && text.contains("{b}")),
        "{error}"
    );
    assert_eq!(store.counts(&children).await.unwrap().pending(), 0);
}

#[tokio::test]
async fn cache_and_publish_reach_every_node() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let store = connect(&cluster.url(), "{cached}").await;
    let cache = RedisCache::new(store.redis().clone());
    for n in 0..30 {
        let key = format!("k{n}");
        cache.set(&key, format!("v{n}").into(), None).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap().unwrap(), format!("v{n}"));
        assert_eq!(cache.increment(&format!("c{n}"), 2, Some(SOON)).await.unwrap(), 2);
    }
    let mut listener = cluster.nodes()[4].client();
    listener.run(&["SUBSCRIBE", "news"]);
    RedisPublisher::new(store.redis().clone()).publish("news", "hello".into()).await.unwrap();
    let heard = tokio::task::spawn_blocking(move || listener.message().texts()).await.unwrap();
    assert_eq!(heard, ["message", "news", "hello"]);
}

#[tokio::test]
async fn health_is_told_of_every_master() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let store = connect(&cluster.url(), "unbraced").await;
    let health = store.health().await.unwrap();
    assert!(health.kind.starts_with("redis ") && health.kind.ends_with("cluster of 3"), "{}", health.kind);
    assert_eq!(health.faults, Vec::<String>::new());
    for node in &cluster.nodes()[..3] {
        let place = format!("127.0.0.1:{}: nothing is saved", node.port());
        assert!(health.warnings.iter().any(|line| line.starts_with(&place)), "{health:?}");
    }
    assert!(health.warnings.iter().any(|line| line.contains("prefix = \"{unbraced}\"")), "{health:?}");
    assert!(store.redis().is_up());
}

#[tokio::test]
async fn what_is_no_cluster_is_told_what_to_write() {
    let server = crate::server::Server::start();
    let url = server.url().replace("redis://", "redis+cluster://");
    let error = BullStore::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::NoCluster { .. }) && error.to_string().contains("redis://"),
        "{error}"
    );
    let nobody = ConnectOptions::from_url("redis+cluster://127.0.0.1:1,127.0.0.1:2").unwrap();
    let error = BullStore::connect(nobody).await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_transient() && text.contains("127.0.0.1:1,") && text.contains("127.0.0.1:2"), "{text}");
    // A node of a cluster reached as if it were alone.
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let node = connect(&cluster.nodes()[0].url(), "bull").await;
    assert!(node.health().await.unwrap().faults.iter().any(|fault| fault.contains("redis+cluster://")));
    let mut errors = Vec::new();
    for n in 0..9 {
        errors.extend(node.add(&queue(&format!("q{n}")), vec![plain("n")], NOW).await.err());
    }
    assert!(errors.iter().any(|e| e.to_string().contains("redis+cluster://")), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_or_done_twice_while_the_slot_moves() {
    const JOBS: usize = 300;
    let cluster = start().await;
    let store = connect(&cluster.url(), "{bull}").await;
    let q = queue("q");
    store.add(&q, (0..JOBS).map(|_| plain("n")).collect(), NOW).await.unwrap();
    let mut waiter = store.waiter(&queue("idle"), None).await.unwrap();
    let waiting = tokio::spawn(async move { waiter.wait(SOON).await });
    let workers: Vec<_> = (0..3).map(|_| tokio::spawn(work(store.clone(), q.clone(), JOBS))).collect();
    let key = "{bull}:q:meta";
    let cluster = tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            let both = cluster.begin_move(key);
            while cluster.move_keys(key, both, 20) > 0 {}
            cluster.end_move(key, both);
        }
        cluster
    })
    .await
    .unwrap();
    let mut done = Vec::new();
    for worker in workers {
        done.extend(tokio::time::timeout(3 * SOON, worker).await.unwrap().unwrap());
    }
    let distinct: HashSet<_> = done.iter().collect();
    assert_eq!((done.len(), distinct.len()), (JOBS, JOBS));
    let counts = store.counts(&q).await.unwrap();
    assert_eq!((counts.get(JobState::Completed), counts.pending()), (JOBS as u64, 0));
    // The one that blocked was sent on, and heard that it should look.
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), Wake::TimedOut);
    assert_eq!(cluster.owner(key), (cluster_slot_home(&cluster, key) + 2) % 3);
}

/// The master that the slot belonged to when the cluster was made.
fn cluster_slot_home(cluster: &RedisCluster, key: &str) -> usize {
    usize::try_from(cluster.slot(key) / (16384 / 3)).unwrap().min(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_is_replaced_by_its_replica() {
    let mut cluster = start().await;
    let store = connect(&cluster.url(), "{bull}").await;
    let q = queue("q");
    store.add(&q, vec![plain("a"), plain("b")], NOW).await.unwrap();
    let mut waiter = store.waiter(&queue("idle"), None).await.unwrap();
    assert_eq!(ids(&store.claim(&q, &claim(1, NOW)).await.unwrap()), ["1"]);
    let dead = cluster.owner("{bull}:q:meta");
    // What was acknowledged must have reached the replica; else the test would be about asynchronous replication.
    cluster.nodes()[dead].client().wait_replicated(1);
    cluster.node(dead).kill();
    let error = loop {
        match store.claim(&q, &claim(0, NOW)).await {
            Err(e) => break e,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(error.is_transient(), "{error}");
    assert!(!store.redis().is_up());
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.settle();
        assert_eq!(cluster.owner("{bull}:q:meta"), dead + 3);
        cluster
    })
    .await
    .unwrap();
    let writable = Instant::now();
    let claimed = until_claimed(&store, &q).await;
    println!("claimed {:?} after the replica had taken over", writable.elapsed());
    assert_eq!(claimed, ["2"]);
    while waiter.wait(Duration::from_secs(1)).await.is_err() {
        assert!(writable.elapsed() < SOON);
    }
    assert!(store.redis().is_up());
    drop(cluster);
}

async fn until_claimed(store: &BullStore, q: &QueueName) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    loop {
        match store.claim(q, &claim(1, NOW)).await {
            Ok(claimed) if !claimed.jobs.is_empty() => {
                return ids(&claimed).iter().map(|&id| id.to_owned()).collect();
            }
            Ok(_) => panic!("the queue is empty"),
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Leads every node's port through a proxy of its own.
struct Detour(Vec<(u16, Proxy)>);

#[async_trait::async_trait]
impl Resolve for Detour {
    async fn resolve(&self, _: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(self.0.iter().filter(|(node, _)| *node == port).map(|(_, proxy)| proxy.address).collect())
    }
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_not_sent_again() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let mut ways = Vec::new();
    for node in cluster.nodes() {
        ways.push((node.port(), Proxy::to(node.port()).await));
    }
    let detour = Arc::new(Detour(ways));
    let options = ConnectOptions::from_url(&cluster.url()).unwrap().prefix("{lossy}");
    let store = BullStore::connect(options.resolver(Arc::clone(&detour) as _)).await.unwrap();
    let q = queue("q");
    store.add(&q, vec![plain("a"), plain("b")], NOW).await.unwrap();
    store.claim(&queue("other"), &claim(1, NOW)).await.unwrap();
    detour.0.iter().for_each(|(_, proxy)| {
        // With its end: the key that guards the call begins in the same way.
        proxy.count("{lossy}:q:meta\r\n");
        proxy.lose_replies(true);
    });
    let error = store.claim(&q, &claim(1, NOW)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let owner = &cluster.nodes()[cluster.owner("{lossy}:q:meta")];
    let active = || owner.run(&["LRANGE", "{lossy}:q:active", "0", "-1"]).texts();
    assert_eq!(active(), ["1"], "the script ran");
    // Long enough for anything that would send it again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(detour.0.iter().map(|(_, proxy)| proxy.counted()).sum::<usize>(), 1);
    assert_eq!(active(), ["1"]);
    detour.0.iter().for_each(|(_, proxy)| proxy.lose_replies(false));
    // What nobody heard of is given back first.
    assert_eq!(until_claimed(&store, &q).await, ["1"]);
}

#[tokio::test]
async fn who_has_written_cluster_already_is_told_of_the_braces() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let store = connect(&cluster.url(), "unbraced").await;
    let q = queue("mail");
    for error in
        [store.counts(&q).await.unwrap_err(), store.add(&q, vec![plain("n")], NOW).await.unwrap_err()]
    {
        let text = error.to_string();
        assert!(text.contains("braces") && text.contains("{bull}"), "{text}");
        assert!(!text.contains("redis+cluster:// instead"), "{text}");
    }
}
