//! Clients that take their time, over real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::{
    ConnectionBounds, Gauges, Health, HealthReport, HostGauges, Metrics, Pages, RedisHealth, RedisStatus,
    Server, Status, StoreGauges, StoreReport,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// The head of a request whose body is said to have a hundred bytes.
const HEAD: &str = "POST /api/v1/queues/work/jobs HTTP/1.1\r\nhost: localhost\r\n\
                    content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";

struct Well;

#[async_trait]
impl Health for Well {
    async fn ready(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    async fn health(&self) -> HealthReport {
        let redis = RedisHealth { status: RedisStatus::NotConfigured, message: String::new(), latency: None };
        let store =
            StoreReport { kind: "embedded".to_owned(), up: true, latency: None, warnings: Vec::new() };
        let (handlers, queues) = (BTreeMap::new(), BTreeMap::new());
        HealthReport { status: Status::Healthy, redis, store, handlers, queues, version: "0", wasmtime: "0" }
    }
}

#[async_trait]
impl Gauges for Well {
    fn host(&self) -> HostGauges {
        HostGauges::default()
    }

    async fn store(&self) -> StoreGauges {
        StoreGauges::default()
    }
}

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl Served {
    async fn start(bounds: ConnectionBounds) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap());
        let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
        let api = api(&store, &documents, Vec::new());
        let metrics = Arc::new(Metrics::new());
        let pages = Pages { health: Arc::new(Well), gauges: Arc::new(Well), metrics, api: Some(api) };
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_connections(bounds);
        let (address, stop) = (server.local_addr(), CancellationToken::new());
        let task = tokio::spawn(server.serve(pages, stop.clone().cancelled_owned()));
        Self { address, stop, task, _directory: directory }
    }

    /// A connection that comes from this address of the machine.
    async fn connect(&self, from: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// A request whose body is awaited by now, and does not come.
    async fn dawdle(&self, from: [u8; 4]) -> TcpStream {
        let mut stream = self.connect(from).await;
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        timeout(PATIENCE, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100"));
        stream
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A connection that is cut may end with an error.
    let _ = timeout(Duration::from_secs(120), stream.read_to_end(&mut all)).await.expect("it ends");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let served = Served::start(ConnectionBounds::default()).await;
    let mut slow = served.dawdle([127, 0, 0, 1]).await;
    slow.write_all(b"{").await.unwrap();
    // Time is paused, so this takes none unless the host waits for ever.
    let answer = rest(slow).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("did not answer within 30 s"), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn an_address_that_dawdles_on_all_its_connections_keeps_out_only_itself() {
    let served = Served::start(ConnectionBounds { all: 20, per_address: 5 }).await;
    let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(served.dawdle(one).await);
    }
    assert_eq!(rest(served.connect(one).await).await, "", "closed at once");
    let ask = async |path: &str| {
        let mut stream = served.connect(other).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        rest(stream).await
    };
    assert!(ask("/api/v1/queues").await.starts_with("HTTP/1.1 200"));
    let page = ask("/metrics").await;
    assert!(page.contains("jobcell_connections_closed_total{reason=\"address\"} 1\n"), "{page}");
    assert!(page.contains("\njobcell_connections 6\n"), "{page}");
    // What it lets go of is free again.
    drop(slow);
    let again = async {
        loop {
            let mut stream = served.connect(one).await;
            let asked =
                stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let answer = if asked.await.is_ok() { rest(stream).await } else { String::new() };
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("it is let in again");
    served.stop().await;
}
