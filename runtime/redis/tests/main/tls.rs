//! Connections with TLS, to one server, to sentinels and to a cluster; and what is said when they fail.

use jobcell_core::Store;
use jobcell_redis::{BullStore, ConnectError, ConnectOptions};
use jobcell_tests::Proxy;
use jobcell_tests::fleet::{Certificates, Identity, RedisCluster, RedisNode, RedisSentinels};

use crate::server::{NOW, plain, queue};

/// A server that speaks TLS on a port of its own.
struct Guarded {
    port: u16,
    _node: RedisNode,
}

impl Guarded {
    fn start(certificates: &Certificates, identity: &Identity, mutual: bool, more: &[&str]) -> Self {
        let port = Certificates::free_port();
        let mut args = certificates.server_args(port, identity, mutual);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        Self { port, _node: RedisNode::start(&args.iter().map(String::as_str).collect::<Vec<_>>()) }
    }

    fn options(&self, host: &str) -> ConnectOptions {
        ConnectOptions::from_url(&format!("rediss://{host}:{}", self.port)).unwrap()
    }
}

async fn works(options: ConnectOptions) {
    let store = BullStore::connect(options).await.unwrap();
    store.add(&queue("q"), vec![plain("n")], NOW).await.unwrap();
    assert_eq!(store.queues().await.unwrap(), [queue("q")]);
    // A connection of its own, which uses TLS too.
    let mut waiter = store.waiter(&queue("q"), None).await.unwrap();
    waiter.wait(std::time::Duration::from_secs(1)).await.unwrap();
}

async fn fault(options: ConnectOptions) -> String {
    let error = BullStore::connect(options).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Tls { .. }) && !error.is_transient(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_trusted_server_is_used_and_others_are_told_apart() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let good = Guarded::start(&ours, &ours.identity("server", &["127.0.0.1", "localhost"]), false, &[]);
    works(good.options("127.0.0.1").ca(ours.ca())).await;
    works(good.options("localhost").ca(ours.ca())).await;

    let text = fault(good.options("127.0.0.1").ca(theirs.ca())).await;
    assert!(text.contains("not signed by the authority in") && text.contains("ca.crt"), "{text}");
    let twins = [Certificates::named("twin"), Certificates::named("twin")];
    let twin = Guarded::start(&twins[0], &twins[0].identity("server", &["127.0.0.1"]), false, &[]);
    let text = fault(twin.options("127.0.0.1").ca(twins[1].ca())).await;
    assert!(text.contains("not signed by the authority in"), "{text}");
    let text = fault(good.options("127.0.0.1")).await;
    assert!(text.contains("does not know") && text.contains("[redis] ca"), "{text}");
    let text = fault(good.options("127.0.0.1").ca("/nowhere/ca.crt")).await;
    assert!(text.contains("/nowhere/ca.crt") && text.contains("[redis] ca"), "{text}");
    let key = ours.identity("other", &["other"]).key;
    let text = fault(good.options("127.0.0.1").ca(&key)).await;
    assert!(text.contains("holds no certificate"), "{text}");

    let elsewhere = Guarded::start(&ours, &ours.identity("elsewhere", &["redis.example"]), false, &[]);
    let text = fault(elsewhere.options("127.0.0.1").ca(ours.ca())).await;
    assert!(text.contains("not for \"127.0.0.1\"") && text.contains("subjectAltName"), "{text}");
    let old = Guarded::start(&ours, &ours.expired("old", &["127.0.0.1"]), false, &[]);
    let text = fault(old.options("127.0.0.1").ca(ours.ca())).await;
    assert!(text.contains("expired") && text.contains("renew"), "{text}");
}

#[tokio::test]
async fn a_server_that_wants_to_know_us_gets_a_certificate() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let identity = ours.identity("server", &["127.0.0.1"]);
    let us = ours.identity("us", &["jobcell"]);
    let stranger = theirs.identity("stranger", &["jobcell"]);
    for protocol in ["TLSv1.3", "TLSv1.2"] {
        let server = Guarded::start(&ours, &identity, true, &["--tls-protocols", protocol]);
        let options = server.options("127.0.0.1").ca(ours.ca());
        works(options.clone().certificate(&us.cert, &us.key)).await;
        let text = fault(options.clone()).await;
        assert!(
            text.contains("asks for a client certificate") && text.contains("cert and key"),
            "{protocol}: {text}"
        );
        let text = fault(options.clone().certificate(&stranger.cert, &stranger.key)).await;
        assert!(text.contains("does not accept") && text.contains("stranger.crt"), "{protocol}: {text}");
        let text = fault(options.certificate(&us.cert, &stranger.key)).await;
        assert!(text.contains("belongs to the certificate"), "{protocol}: {text}");
    }
}

#[tokio::test]
async fn one_side_with_tls_and_the_other_without_is_told() {
    let ours = Certificates::new();
    let server = Guarded::start(&ours, &ours.identity("server", &["127.0.0.1"]), false, &[]);
    let plain = ConnectOptions::from_url(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let text = BullStore::connect(plain).await.unwrap_err().to_string();
    assert!(text.contains("rediss://"), "{text}");
    let bare = crate::server::Server::start();
    let options = ConnectOptions::from_url(&format!("rediss://127.0.0.1:{}", bare.port)).unwrap();
    let text = BullStore::connect(options.ca(ours.ca())).await.unwrap_err().to_string();
    assert!(text.contains("redis://"), "{text}");
}

#[tokio::test]
async fn sentinels_and_the_master_speak_tls() {
    let ours = Certificates::new();
    let identity = ours.identity("server", &["127.0.0.1"]);
    let lines: Vec<String> = ours
        .server_args(0, &identity, false)
        .chunks(2)
        .map(|pair| format!("{} {}", pair[0].trim_start_matches("--"), pair[1]))
        .filter(|line| !line.starts_with("tls-port"))
        .collect();
    let (ours, fleet) = tokio::task::spawn_blocking(move || {
        let each = |_| ours.server_args(Certificates::free_port(), &identity, false);
        let fleet = RedisSentinels::with_tls(&lines, each);
        (ours, fleet)
    })
    .await
    .unwrap();
    let options = ConnectOptions::from_url(&fleet.tls_url()).unwrap();
    works(options.clone().ca(ours.ca())).await;
    let text = fault(options).await;
    assert!(text.contains("[redis] ca"), "{text}");
}

#[tokio::test]
async fn a_cluster_speaks_tls() {
    let ours = Certificates::new();
    let identity = ours.identity("server", &["127.0.0.1"]);
    let ports: Vec<u16> = (0..6).map(|_| Certificates::free_port()).collect();
    let url = format!("rediss+cluster://127.0.0.1:{}", ports[0]);
    let (ours, cluster) = tokio::task::spawn_blocking(move || {
        let cluster = RedisCluster::with(|n| {
            let mut args = ours.server_args(ports[n], &identity, false);
            args.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned));
            args
        });
        (ours, cluster)
    })
    .await
    .unwrap();
    let options = ConnectOptions::from_url(&url).unwrap().prefix("{bull}");
    works(options.clone().ca(ours.ca())).await;
    let text = fault(options).await;
    assert!(text.contains("[redis] ca"), "{text}");
    drop(cluster);
}

#[tokio::test]
async fn a_certificate_of_ours_that_has_expired_is_named() {
    let ours = Certificates::new();
    let old = ours.expired("old-us", &["jobcell"]);
    for protocol in ["TLSv1.3", "TLSv1.2"] {
        let identity = ours.identity("server", &["127.0.0.1"]);
        let server = Guarded::start(&ours, &identity, true, &["--tls-protocols", protocol]);
        let options = server.options("127.0.0.1").ca(ours.ca());
        let text = fault(options.certificate(&old.cert, &old.key)).await;
        assert!(
            text.contains("old-us.crt") && text.contains("has expired") && text.contains("renew it"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_certificate_that_expires_is_told_until_it_is_renewed() {
    let ours = Certificates::new();
    let names = ["127.0.0.1"];
    let good = Guarded::start(&ours, &ours.identity("server", &names), false, &[]);
    let old = Guarded::start(&ours, &ours.expired("old", &names), false, &[]);
    let proxy = Proxy::start(good.port);
    let url = proxy.url().replace("redis://", "rediss://");
    let store = BullStore::connect(ConnectOptions::from_url(&url).unwrap().ca(ours.ca())).await.unwrap();
    let q = queue("q");
    store.add(&q, vec![plain("n")], NOW).await.unwrap();
    proxy.aim(old.port);
    proxy.cut();
    let until = |part: &'static str| {
        let (store, q) = (store.clone(), q.clone());
        async move {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            loop {
                let told = match store.counts(&q).await {
                    Ok(_) => "fine".to_owned(),
                    Err(e) => {
                        // A host must not give up: somebody will renew it.
                        assert!(e.is_transient(), "{e}");
                        e.to_string()
                    }
                };
                if told.contains(part) {
                    return;
                }
                assert!(std::time::Instant::now() < deadline, "{told}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    until("its certificate has expired").await;
    proxy.aim(good.port);
    until("fine").await;
}
