//! Behind sentinels: the master is found, followed, and nobody else is written to.

use std::time::{Duration, Instant};

use jobcell_core::store::Wake;
use jobcell_core::{QueueName, Store};
use jobcell_redis::{BullStore, ConnectError, ConnectOptions};
use jobcell_tests::fleet::RedisSentinels;
use jobcell_tests::wait::within;

use crate::server::{NOW, claim, complete, finish, ids, plain, queue};

/// The time that a worker may take to go on; it takes a fraction of it, on idle cores.
const SOON: Duration = Duration::from_secs(20);
/// What sentinels may take: one that was kept from its core for two seconds does nothing for thirty (Redis calls it TILT).
const TILTED: Duration = Duration::from_secs(90);

async fn start() -> RedisSentinels {
    blocking(RedisSentinels::start).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn connect(fleet: &RedisSentinels) -> BullStore {
    BullStore::connect(ConnectOptions::from_url(&fleet.url()).unwrap()).await.unwrap()
}

/// Claims one job; every failure on the way must be a passing one.
async fn take(store: &BullStore, q: &QueueName) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        match store.claim(q, &claim(1, NOW)).await {
            Ok(claimed) if !claimed.jobs.is_empty() => {
                let job = &claimed.jobs[0];
                let end = vec![finish(&job.id, &job.token, complete("1"))];
                if store.finish(q, end, None, NOW).await.is_ok() {
                    return ids(&claimed)[0].to_owned();
                }
            }
            Ok(_) => {}
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
        assert!(Instant::now() < deadline, "nothing is claimed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for another master than this; returns its place.
async fn other_master(fleet: RedisSentinels, before: usize) -> (RedisSentinels, usize) {
    blocking(move || {
        let now = within(TILTED, "another master", || fleet.master().filter(|now| *now != before));
        (fleet, now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_and_then_a_frozen_one_are_followed() {
    let mut fleet = start().await;
    // A sentinel often dies with its master's machine.
    fleet.kill_sentinel(0);
    let (store, q) = (connect(&fleet).await, queue("q"));
    let mut waiter = store.waiter(&queue("idle"), Some("w")).await.unwrap();
    let waiting = tokio::spawn(async move { (waiter.wait(Duration::from_secs(60)).await, waiter) });
    store.add(&q, vec![plain("a"), plain("b"), plain("c")], NOW).await.unwrap();
    assert_eq!(take(&store, &q).await, "1");

    fleet.nodes()[0].client().wait_replicated(2);
    fleet.nodes()[0].kill();
    let (mut fleet, _) = other_master(fleet, 0).await;
    let writable = Instant::now();
    assert_eq!(take(&store, &q).await, "2");
    println!("claimed {:?} after another master was there", writable.elapsed());
    let (woke, mut waiter) = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(!matches!(woke, Ok(Wake::Now | Wake::At(_))), "{woke:?}");

    // The old one comes back as a replica, so that there is somebody to take over again.
    fleet.nodes()[0].up();
    // Under load that may be a third one by then: half a second of silence is a master's end here.
    let (mut fleet, second) = blocking(move || {
        let now = within(TILTED, "two replicas in step", || {
            let (master, nodes) = (fleet.master()?, fleet.nodes());
            (nodes[master].info("connected_slaves")? == "2").then_some(())?;
            let in_step = |n: usize| nodes[n].info("master_link_status").as_deref() == Some("up");
            (0..3).filter(|n| *n != master).all(in_step).then_some(master)
        });
        (fleet, now)
    })
    .await;
    // Established again, where the master is now.
    while waiter.wait(Duration::from_millis(10)).await.is_err() {}
    let waiting = tokio::spawn(async move { waiter.wait(Duration::from_secs(60)).await });
    fleet.nodes()[second].client().wait_replicated(2);
    fleet.nodes()[second].freeze();
    let deaf = fleet.nodes()[second].port();
    let (mut fleet, third) = blocking(move || {
        let now = within(TILTED, "another master", || {
            (0..3)
                .filter(|n| *n != second)
                .find(|n| fleet.nodes()[*n].info("role").as_deref() == Some("master"))
        });
        (fleet, now)
    })
    .await;
    let writable = Instant::now();
    assert_eq!(take(&store, &q).await, "3");
    println!("claimed {:?} after a frozen master was replaced", writable.elapsed());
    // Nothing told it that its connection is of no use any more, but that another one was opened.
    let woke = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(!matches!(woke, Ok(Wake::Now | Wake::At(_))), "{woke:?}");
    // Awake again it believes to be the master until it is told; nobody writes to it.
    fleet.nodes()[second].thaw();
    store.add(&q, vec![plain("d")], NOW).await.unwrap();
    assert_eq!(fleet.nodes()[third].run(&["HGET", "bull:q:4", "name"]).text().as_deref(), Some("d"));
    assert_ne!(fleet.nodes()[third].port(), deaf);
    assert!(store.redis().is_up());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hands_over_is_left_at_once() {
    let fleet = start().await;
    let (store, q) = (connect(&fleet).await, queue("q"));
    store.add(&q, vec![plain("a")], NOW).await.unwrap();
    let fleet = blocking(move || {
        fleet.fail_over();
        fleet
    })
    .await;
    let (_fleet, _) = other_master(fleet, 0).await;
    assert_eq!(take(&store, &q).await, "1");
    let health = store.health().await.unwrap();
    assert_eq!(health.faults, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let fleet = blocking(|| RedisSentinels::with_password("s3cret")).await;
    let options = ConnectOptions::from_url(&fleet.url()).unwrap();
    let error = BullStore::connect(options.clone()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, ConnectError::Denied { .. }) && text.contains("sentinel-password"), "{text}");
    let error = BullStore::connect(options.clone().sentinel_password("wr0ng")).await.unwrap_err().to_string();
    assert!(error.contains("sentinel-password") && !error.contains("wr0ng"), "{error}");
    let store = BullStore::connect(options.sentinel_password("s3cret")).await.unwrap();
    store.add(&queue("q"), vec![plain("n")], NOW).await.unwrap();

    let other = fleet.url().replace("/main", "/mian");
    let options = ConnectOptions::from_url(&other).unwrap().sentinel_password("s3cret");
    let error = BullStore::connect(options).await.unwrap_err();
    assert!(matches!(&error, ConnectError::UnknownMaster { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("\"mian\""), "{error}");

    let nobody = ConnectOptions::from_url("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main").unwrap();
    let error = BullStore::connect(nobody).await.unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_transient() && text.contains("127.0.0.1:1 refuses") && text.contains("127.0.0.1:2"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_told_apart() {
    let mut fleet = start().await;
    let url = fleet.url();
    let (sentinels, _) = url.trim_start_matches("redis+sentinel://").split_once('/').unwrap();
    let sentinel = sentinels.split(',').next().unwrap();
    let server = format!("127.0.0.1:{}", fleet.nodes()[0].port());
    for (url, part) in [
        (
            format!("redis://{sentinel}"),
            format!("is a sentinel, which holds no jobs; write redis+sentinel://{sentinel}/"),
        ),
        (format!("redis://{sentinel}/3"), "is a sentinel".to_owned()),
        (format!("redis+cluster://{sentinel}"), "is a sentinel".to_owned()),
        (format!("redis+sentinel://{server}/main"), format!("no sentinel; write redis://{server} instead")),
    ] {
        let error = BullStore::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(&part) && !error.is_transient(), "{url}: {error}");
    }
}
