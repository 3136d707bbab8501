//! The HTTP side under load: what clients of live updates cost the jobs, and how long reading takes over a store that is
//! full of finished jobs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::peer::Peer;
use crate::server::Server;
use crate::stats::{median, percentile, rounded};
use crate::{Plan, queue};

/// Clients of live updates, half of them by server-sent events, half by WebSocket.
const CLIENTS: usize = 200;
/// Jobs that come in a second, and for how many seconds.
const RATE: u64 = 2_000;
const SECONDS: u64 = 15;
/// Jobs that are put on the queue at once.
const CHUNK: u64 = 100;
/// Jobs that run at once.
const CONCURRENCY: usize = 100;
/// Finished jobs in the store while it is read.
const FINISHED: u64 = 1_000_000;
/// How often each page is read.
const READS: usize = 500;
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What one run with so many clients gave.
struct Run {
    jobs_per_sec: f64,
    cpu_secs: f64,
    bytes_told: u64,
}

/// Jobs a second with clients of live updates and without, in alternation; the medians' ratio is what counts.
pub(crate) async fn live(plan: &Plan) -> anyhow::Result<Value> {
    let server = Server::start().await?;
    let mut connection = server.connect().await?;
    let (mut with, mut without, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        for clients in [0, CLIENTS] {
            let run = told(&server, &mut connection, clients).await?;
            let Run { jobs_per_sec, cpu_secs, bytes_told } = run;
            println!(
                "  round {round}, {clients:>3} clients: {jobs_per_sec:.0} jobs/s, host {cpu_secs:.1} CPU s, {} MiB told",
                bytes_told >> 20
            );
            raw.push(json!({ "clients": clients, "jobs_per_sec": rounded(jobs_per_sec, 1), "cpu_secs": rounded(cpu_secs, 2), "bytes_told": bytes_told }));
            if clients == 0 { &mut without } else { &mut with }.push(jobs_per_sec);
        }
    }
    let ratio = median(&with) / median(&without);
    println!("\n  {CLIENTS} clients ÷ none, at {RATE} jobs/s: {ratio:.3} (at least 0.9 is wanted)");
    Ok(json!({ "ratio": rounded(ratio, 4), "runs": raw }))
}

async fn told(
    server: &Server,
    connection: &mut MultiplexedConnection,
    clients: usize,
) -> anyhow::Result<Run> {
    queue::fill(connection, "noop", queue::PAYLOAD, 0).await?;
    queue::open(connection).await?;
    let host = Peer::Jobcell.start(&server.url(), CONCURRENCY).await?;
    let address = host.address().context("a host listens")?;
    let (bytes, mut listening) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for n in 0..clients {
        listening.spawn(listen(address, n % 2 == 0, Arc::clone(&bytes)));
    }
    let cpu_before = host.cpu_secs();
    produce(connection).await?;
    queue::wait_completed(connection, RATE * SECONDS).await?;
    let span = queue::span_secs(connection).await?;
    let cpu_secs = host.cpu_secs() - cpu_before;
    if clients > 0 && listening.len() < clients {
        bail!("{} of {clients} clients were let go", clients - listening.len());
    }
    listening.shutdown().await;
    host.stop().await?;
    let bytes_told = bytes.load(Ordering::Relaxed);
    Ok(Run { jobs_per_sec: (RATE * SECONDS) as f64 / span, cpu_secs, bytes_told })
}

/// Puts jobs on the queue at an even rate.
async fn produce(connection: &mut MultiplexedConnection) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_millis(1_000 * CHUNK / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..RATE * SECONDS / CHUNK {
        ticks.tick().await;
        queue::add(connection, "noop", queue::PAYLOAD, CHUNK).await?;
    }
    Ok(())
}

/// Reads updates and throws them away.
async fn listen(address: SocketAddr, by_events: bool, bytes: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = if by_events {
        format!("GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\n\r\n")
    } else {
        format!(
            "GET /ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => bail!("a client was let go"),
            read => bytes.fetch_add(read as u64, Ordering::Relaxed),
        };
    }
}

/// How long pages take to be read from a store with a million finished jobs.
pub(crate) async fn reads() -> anyhow::Result<Value> {
    let server = Server::start().await?;
    let mut connection = server.connect().await?;
    queue::fill(&mut connection, "noop", queue::PAYLOAD, FINISHED).await?;
    let host = Peer::Jobcell.start(&server.url(), CONCURRENCY).await?;
    let address = host.address().context("a host listens")?;
    println!("  finishing {FINISHED} jobs");
    queue::open(&mut connection).await?;
    queue::wait_completed(&mut connection, FINISHED).await?;
    let bench = queue::QUEUE;
    let pages = [
        "/api/v1/queues".to_owned(),
        format!("/api/v1/queues/{bench}"),
        format!("/api/v1/queues/{bench}/jobs?state=completed&limit=50"),
        format!("/api/v1/queues/{bench}/jobs/{}", FINISHED / 2),
        format!("/api/v1/queues/{bench}/jobs/{}/logs", FINISHED / 2),
        format!("/api/v1/queues/{bench}/schedulers"),
        "/api/v1/hosts".to_owned(),
        "/api/v1/audit".to_owned(),
        "/scale".to_owned(),
        "/metrics".to_owned(),
        "/health".to_owned(),
    ];
    let mut results = Map::new();
    println!("  {:<64} {:>9} {:>9}", "page", "p50 ms", "p99 ms");
    for page in pages {
        let mut times = Vec::with_capacity(READS);
        for _ in 0..READS {
            times.push(read(address, &page).await?);
        }
        let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
        println!("  {page:<64} {p50:>9.2} {p99:>9.2}");
        results.insert(page, json!({ "p50_ms": rounded(p50, 2), "p99_ms": rounded(p99, 2) }));
    }
    host.stop().await?;
    Ok(Value::Object(results))
}

/// Milliseconds from the request to the last byte of its answer, on a connection of its own.
async fn read(address: SocketAddr, page: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET {page} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(ANSWER_MAX, asked).await.with_context(|| format!("{page} gives no answer"))??;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("{page}: {}", String::from_utf8_lossy(&answer[..answer.len().min(300)]));
    }
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}
