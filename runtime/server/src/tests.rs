//! The server over real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::event::{Event, Found, SwapKind};
use jobcell_core::store::{Counts, Refusal};
use jobcell_core::{JobId, Observer, QueueName, Receipt, StopCause};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A host of which everything is known.
#[derive(Default)]
struct Fake {
    reasons: Vec<String>,
    /// Never answers.
    hangs: bool,
    collected: AtomicUsize,
}

#[async_trait]
impl Health for Fake {
    async fn ready(&self) -> Result<(), Vec<String>> {
        if self.reasons.is_empty() { Ok(()) } else { Err(self.reasons.clone()) }
    }

    async fn health(&self) -> HealthReport {
        let store =
            StoreReport { kind: "redis 7.0.15".to_owned(), up: true, latency: None, warnings: Vec::new() };
        let redis = RedisHealth {
            status: RedisStatus::Connected,
            message: "Redis answers".to_owned(),
            latency: Some(Duration::from_micros(250)),
        };
        HealthReport {
            status: Status::Healthy,
            redis,
            store,
            handlers: BTreeMap::new(),
            queues: BTreeMap::new(),
            version: "0.1.0",
            wasmtime: "48.0.8",
        }
    }
}

#[async_trait]
impl Gauges for Fake {
    fn host(&self) -> HostGauges {
        HostGauges {
            cells_active: 2,
            cells_max: 8,
            build: ("0.1.0", "48.0.8"),
            spans: SpanCounts { sent: 5, dropped: 1, failed: 0 },
            last_polls: BTreeMap::from([(queue_name(), Duration::from_millis(1250))]),
            handlers: vec![HandlerGauge {
                handler: "media".to_owned(),
                version: "0123456789ab".to_owned(),
                state: "active",
            }],
        }
    }

    async fn store(&self) -> StoreGauges {
        self.collected.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let mut counts = Counts::default();
        counts.0.insert(jobcell_core::JobState::Waiting, 3);
        let queue = QueueGauges { counts, oldest: Duration::from_millis(1500), paused: true };
        StoreGauges { up: true, warnings: 2, hosts: Some(3), queues: BTreeMap::from([(queue_name(), queue)]) }
    }
}

fn queue_name() -> QueueName {
    QueueName::new("a \"quoted\" queue").unwrap()
}

struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    fake: Arc<Fake>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(fake: Fake) -> Self {
        Self::start_with(fake, ConnectionBounds::default().all).await
    }

    /// With room for so many connections.
    async fn start_with(fake: Fake, connections: usize) -> Self {
        let (fake, metrics) = (Arc::new(fake), Arc::new(Metrics::new()));
        let (health, gauges): (Arc<dyn Health>, Arc<dyn Gauges>) =
            (Arc::clone(&fake) as _, Arc::clone(&fake) as _);
        let pages = Pages { health, gauges, metrics: Arc::clone(&metrics), api: None };
        let bounds = ConnectionBounds { all: connections, per_address: connections };
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_connections(bounds);
        let (address, stop) = (server.local_addr(), CancellationToken::new());
        let task = tokio::spawn(server.serve(pages, stop.clone().cancelled_owned()));
        Self { address, metrics, fake, stop, task }
    }

    /// Status line and headers, and the body, of one request on its own connection.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn probes_tell_alive_from_ready() {
    let running =
        Running::start(Fake { reasons: vec!["the host is quiet".to_owned()], ..Fake::default() }).await;
    let (head, _) = running.ask("GET /livez").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, body) = running.ask("GET /readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, r#"{"status":"not ready","reasons":["the host is quiet"]}"#);
    running.stop().await;
    let running = Running::start(Fake::default()).await;
    assert!(running.ask("GET /readyz").await.0.starts_with("http/1.1 200"));
    assert!(running.ask("HEAD /readyz").await.0.starts_with("http/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn health_is_json_with_the_documented_members() {
    let running = Running::start(Fake::default()).await;
    let (head, body) = running.ask("GET /health").await;
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    let members: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["handlers", "queues", "redis", "status", "store", "version", "wasmtime"]);
    assert_eq!(report["redis"]["status"], "connected");
    assert_eq!(report["redis"]["latency"], 0.25);
    running.stop().await;
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let running = Running::start(Fake::default()).await;
    let (head, body) = running.ask("GET /nothing").await;
    assert!(
        head.starts_with("http/1.1 404") && head.contains("content-type: application/problem+json"),
        "{head}"
    );
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(404), Some("Not Found")));
    assert!(problem["detail"].as_str().unwrap().contains("/readyz"), "{problem}");
    let (head, _) = running.ask("POST /health").await;
    assert!(head.starts_with("http/1.1 405") && head.contains("application/problem+json"), "{head}");
    assert!(head.contains("allow: get,head"), "{head}");
    let (head, _) = running.ask("GET /health HTTP/1.1\r\ncontent-length: 999999999\r\nx:").await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    running.stop().await;
}

#[tokio::test]
async fn a_port_in_use_names_address_cause_and_fix() {
    let running = Running::start(Fake::default()).await;
    let Err(error) = Server::bind(running.address).await else { panic!("the port was free") };
    let told = error.to_string();
    for part in [&running.address.to_string(), "in use", "server.listen", "JOBCELL_SERVER__LISTEN"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(error.is_transient());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_whole_head_is_cut() {
    let running = Running::start(Fake::default()).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    // Time is paused, so this takes no time unless the server waits for ever.
    let read = timeout(Duration::from_secs(60), slow.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection stayed open");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let running = Running::start(Fake::default()).await;
    let mut kept = TcpStream::connect(running.address).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(60), kept.read_to_end(&mut all)).await;
    assert!(read.is_ok() && all.starts_with(b"HTTP/1.1 200"), "answered, and closed when nothing else came");
    running.stop().await;
}

#[tokio::test]
async fn silent_connections_keep_no_probe_out() {
    let running = Running::start_with(Fake::default(), 20).await;
    // Some send nothing, some half a head, and one has been answered and waits.
    let mut kept = TcpStream::connect(running.address).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    kept.read_exact(&mut [0; 12]).await.unwrap();
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        if n % 2 == 0 {
            // One that had to make room already is cut.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").await;
        }
        silent.push(stream);
        if n % 10 == 0 {
            let (head, _) = timeout(PATIENCE, running.ask("GET /readyz")).await.expect("it is answered");
            assert!(head.starts_with("http/1.1 200"), "{head}");
        }
    }
    // Those that came first have made room.
    let mut rest = Vec::new();
    let cut = timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "the first is still there");
    let (_, page) = running.ask("GET /metrics").await;
    let closed =
        page.lines().find_map(|line| line.strip_prefix("jobcell_connections_closed_total{reason=\"idle\"} "));
    assert!(closed.is_some_and(|closed| closed.parse::<u64>().unwrap() >= 80), "{closed:?}");
    running.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let running = Running::start(Fake::default()).await;
    for request in ["GET /livez", "GET /nothing", "POST /health", "GET /metrics"] {
        let (head, _) = running.ask(request).await;
        assert!(head.contains("x-request-id: "), "{request}: {head}");
        let (head, _) = running.ask(&format!("{request} HTTP/1.1\r\nx-request-id: mine-1\r\nx:")).await;
        assert!(head.contains("x-request-id: mine-1\r\n") || head.starts_with("http/1.1 400"), "{head}");
        let long = "a".repeat(500);
        let (head, _) = running.ask(&format!("{request} HTTP/1.1\r\nx-request-id: {long}\r\nx:")).await;
        assert!(!head.contains(&long) && head.contains("x-request-id: "), "{head}");
    }
    running.stop().await;
}

#[tokio::test]
async fn stopping_answers_what_was_asked_and_closes_idle_connections() {
    let running = Running::start(Fake::default()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, idle.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    running.stop().await;
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
}

fn ended(handler: &str, outcome: &'static str, stop: Option<StopCause>) -> Event {
    Event::Ended {
        queue: queue_name(),
        id: JobId::new("1").unwrap(),
        handler: handler.to_owned(),
        version: "0123456789ab".to_owned(),
        outcome,
        stop,
        attempt: 1,
        receipt: Receipt {
            wall_us: 2000,
            cpu_us: 1500,
            start_us: 12,
            memory_peak_bytes: 1 << 20,
            ..Receipt::default()
        },
        trace: None,
    }
}

fn everything_happens(metrics: &Metrics) {
    let queue = queue_name();
    let id = JobId::new("1").unwrap();
    for event in [
        Event::Started { queue: queue.clone(), waited: Duration::from_millis(4) },
        ended("media", "completed", None),
        ended("media", "completed", None),
        ended("media", "stopped", Some(StopCause::Memory)),
        ended("media", "stopped", Some(StopCause::Shutdown)),
        Event::LockLost { queue: queue.clone(), id: id.clone() },
        Event::Refused { queue: queue.clone(), id: id.clone(), refusal: Refusal::LockTaken },
        Event::Stalled { queue, id },
        Event::Swapped { handler: "media".to_owned(), kind: SwapKind::Change },
        Event::Swapped { handler: "media".to_owned(), kind: SwapKind::Change },
        Event::Swapped { handler: "media".to_owned(), kind: SwapKind::Remove },
        Event::Results { handler: "media".to_owned(), found: Found::Hit },
        Event::StoreCall { verb: "claim", took: Duration::from_micros(300), ok: true },
        Event::Denied { handler: "media".to_owned(), capability: "http" },
    ] {
        metrics.on(&event);
    }
}

/// Every name of the public contract that has a source, as its `TYPE` line in Prometheus text.
const CONTRACT: [&str; 42] = [
    "jobcell_connections gauge",
    "jobcell_connections_closed_total counter",
    "jobcell_jobs_total counter",
    "jobcell_job_seconds histogram",
    "jobcell_queue_jobs gauge",
    "jobcell_queue_oldest_seconds gauge",
    "jobcell_wait_seconds histogram",
    "jobcell_cell_start_seconds histogram",
    "jobcell_cell_cpu_seconds_total counter",
    "jobcell_cell_memory_peak_bytes histogram",
    "jobcell_cells_active gauge",
    "jobcell_traps_total counter",
    "jobcell_denied_total counter",
    "jobcell_handler_info gauge",
    "jobcell_swaps_total counter",
    "jobcell_result_cache_total counter",
    "jobcell_ends_refused_total counter",
    "jobcell_locks_lost_total counter",
    "jobcell_stalled_total counter",
    "jobcell_store_seconds histogram",
    "jobcell_store_up gauge",
    "jobcell_worker_last_poll_seconds gauge",
    "jobcell_paused gauge",
    "jobcell_store_errors_total counter",
    "jobcell_store_warnings gauge",
    "jobcell_hosts gauge",
    "jobcell_cells_max gauge",
    "jobcell_build_info gauge",
    "jobcell_spans_total counter",
    "jobcell_memory_limit_bytes gauge",
    "process_cpu_seconds_total counter",
    "process_start_time_seconds gauge",
    "process_resident_memory_bytes gauge",
    "process_open_fds gauge",
    "process_max_fds gauge",
    "jobcell_audit_lost_total counter",
    "jobcell_spool_kept_total counter",
    "jobcell_spool_forwarded_total counter",
    "jobcell_spool_refused_total counter",
    "jobcell_spool_full_total counter",
    "jobcell_spool_jobs gauge",
    "jobcell_spool_bytes gauge",
];

#[tokio::test]
async fn the_metrics_page_keeps_the_contract() {
    let running = Running::start(Fake::default()).await;
    let (_, empty) = running.ask("GET /metrics").await;
    let types: Vec<&str> = empty.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let (mut shown, mut contract) = (types.clone(), CONTRACT.to_vec());
    shown.sort_unstable();
    contract.sort_unstable();
    assert_eq!(shown, contract, "also before anything happened");

    everything_happens(&running.metrics);
    let (head, page) = running.ask("GET /metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    check_prometheus_text(&page);
    let queue = r#"queue="a \"quoted\" queue""#;
    for line in [
        format!(r#"jobcell_jobs_total{{{queue},handler="media",outcome="completed"}} 2"#),
        format!(r#"jobcell_job_seconds_count{{{queue},handler="media"}} 4"#),
        format!("jobcell_wait_seconds_count{{{queue}}} 1"),
        format!(r#"jobcell_queue_jobs{{{queue},state="waiting"}} 3"#),
        format!(r#"jobcell_queue_jobs{{{queue},state="waiting-children"}} 0"#),
        format!("jobcell_queue_oldest_seconds{{{queue}}} 1.5"),
        format!("jobcell_paused{{{queue}}} 1"),
        "jobcell_cell_start_seconds_count 4".to_owned(),
        r#"jobcell_cell_cpu_seconds_total{handler="media",version="0123456789ab"} 0.006"#.to_owned(),
        r#"jobcell_cell_memory_peak_bytes_count{handler="media",version="0123456789ab"} 4"#.to_owned(),
        "jobcell_cells_active 2".to_owned(),
        r#"jobcell_traps_total{handler="media",reason="memory"} 1"#.to_owned(),
        r#"jobcell_denied_total{handler="media",capability="http"} 1"#.to_owned(),
        r#"jobcell_handler_info{handler="media",version="0123456789ab",state="active"} 1"#.to_owned(),
        r#"jobcell_swaps_total{handler="media",kind="change"} 2"#.to_owned(),
        r#"jobcell_swaps_total{handler="media",kind="remove"} 1"#.to_owned(),
        r#"jobcell_result_cache_total{handler="media",result="hit"} 1"#.to_owned(),
        r#"jobcell_result_cache_total{handler="media",result="miss"} 0"#.to_owned(),
        format!(r#"jobcell_ends_refused_total{{{queue},reason="lock-taken"}} 1"#),
        "jobcell_locks_lost_total 1".to_owned(),
        "jobcell_stalled_total 1".to_owned(),
        r#"jobcell_store_seconds_count{command="claim"} 1"#.to_owned(),
        "jobcell_store_up 1".to_owned(),
        format!("jobcell_worker_last_poll_seconds{{{queue}}} 1.25"),
        "jobcell_hosts 3".to_owned(),
        "jobcell_cells_max 8".to_owned(),
        "jobcell_store_warnings 2".to_owned(),
        r#"jobcell_build_info{version="0.1.0",wasmtime="48.0.8"} 1"#.to_owned(),
        r#"jobcell_spans_total{result="dropped"} 1"#.to_owned(),
    ] {
        assert!(page.lines().any(|shown| shown == line), "missing {line}\n{page}");
    }
    let help = page.lines().find(|line| line.starts_with("# HELP jobcell_jobs_total")).unwrap();
    assert!(help.contains("jobcell_ends_refused_total"), "{help}");
    let help = page.lines().find(|line| line.starts_with("# HELP jobcell_stalled_total")).unwrap();
    assert!(help.contains("cut off"), "a vanished host is only one reason: {help}");
    assert!(!page.contains("shutdown"), "a shutdown is no trap\n{page}");
    assert_eq!(running.fake.collected.load(Ordering::SeqCst), 1, "the second scrape came within a second");
    running.stop().await;
}

#[tokio::test]
async fn scrapers_that_want_open_metrics_get_it() {
    let running = Running::start(Fake::default()).await;
    let accept =
        "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\nx:";
    let (head, page) = running.ask(accept).await;
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(page.ends_with("# EOF\n") && page.contains("# TYPE jobcell_jobs counter"), "{page}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_the_gauges_not_the_page() {
    let running = Running::start(Fake { hangs: true, ..Fake::default() }).await;
    everything_happens(&running.metrics);
    let (head, page) = running.ask("GET /metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(page.contains("jobcell_store_up 0\n") && page.contains("jobcell_stalled_total 1\n"), "{page}");
    assert!(!page.contains("jobcell_paused{"), "{page}");
    // What the host knows by itself is there most of all now.
    assert!(page.contains("jobcell_worker_last_poll_seconds{") && page.contains("jobcell_cells_active 2\n"));
    running.stop().await;
}

/// What a parser of Prometheus text insists on: each sample belongs to the family announced before it, families come
/// once and in one piece, values are numbers, buckets are cumulative and end in +Inf with the count.
fn check_prometheus_text(page: &str) {
    let mut families: Vec<&str> = Vec::new();
    let mut buckets: (f64, u64) = (f64::NEG_INFINITY, 0);
    let (mut kind, mut help) = ("", "");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split(' ').next().unwrap();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "HELP before TYPE");
            assert!(!families.contains(&name), "{name} comes twice");
            families.push(name);
            kind = of;
        } else {
            let name_end = line.find(['{', ' ']).unwrap();
            let (name, family) = (&line[..name_end], *families.last().unwrap());
            let (labels, value) = line[name_end..].rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            if kind == "histogram" {
                let suffix = name.strip_prefix(family).unwrap();
                assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                if suffix == "_bucket" {
                    let bound = labels.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
                    let bound: f64 = bound.parse().unwrap();
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a small count"
                    )]
                    let count = value as u64;
                    if bound > buckets.0 {
                        assert!(count >= buckets.1, "buckets are cumulative: {line}");
                    }
                    buckets = if bound.is_infinite() { (f64::NEG_INFINITY, 0) } else { (bound, count) };
                }
            } else {
                assert_eq!(name, family, "{line}");
            }
        }
    }
}
