//! Open-loop latency: jobs arrive at a fixed rate whatever the worker does; one observer reads the queue's event
//! stream for every peer alike.
//!
//! Start is when the observer has the `active` event, end when it has `completed`; both include its own way to Redis,
//! which is the same for all.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context;
use redis::Value as Reply;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Plan;
use crate::peer::Peer;
use crate::queue::{self, PREFIX};
use crate::server::Server;
use crate::stats::{median, percentile, rounded};

const RATE: u64 = 200;
const CONCURRENCY: usize = 50;
/// Jobs that only warm up.
const WARM_UP: usize = 400;
const MEASURED: usize = 2_000;
/// After the last job was added.
const GRACE: Duration = Duration::from_secs(10);

/// Milliseconds from enqueueing, one value a job.
struct Times {
    start: Vec<f64>,
    end: Vec<f64>,
}

/// Measures and prints the table; returns the raw percentiles.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let server = Server::start().await?;
    let mut rows: BTreeMap<Peer, Vec<[f64; 5]>> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for peer in [Peer::Jobcell, Peer::BullmqNode, Peer::BullmqRust] {
            let Times { start, end } = one(&server, peer).await.with_context(|| peer.name().to_owned())?;
            let at = |values: &[f64], share| rounded(percentile(values, share), 3);
            let row = [at(&start, 0.5), at(&start, 0.95), at(&start, 0.99), at(&end, 0.5), at(&end, 0.99)];
            println!("  round {round}, {}: start p50 {} p99 {}", peer.name(), row[0], row[2]);
            rows.entry(peer).or_default().push(row);
        }
    }
    println!("\n  Latency in ms at {RATE}/s, concurrency {CONCURRENCY}, medians of {} round(s)", plan.rounds);
    println!("  {:<34} {:>30} {:>20}", "worker", "enqueue → start p50/p95/p99", "→ completed p50/p99");
    for (peer, runs) in &rows {
        let of = |index: usize| median(&runs.iter().map(|row| row[index]).collect::<Vec<_>>());
        let [p50, p95, p99, end50, end99] = [0, 1, 2, 3, 4].map(of);
        println!("  {:<34} {p50:>14.2} / {p95:.2} / {p99:.2} {end50:>12.2} / {end99:.2}", peer.name());
    }
    let raw: Vec<Value> = rows
        .iter()
        .map(|(peer, runs)| {
            let of = |index: usize| runs.iter().map(|row| row[index]).collect::<Vec<_>>();
            json!({
                "worker": peer.name(),
                "start_p50_ms": of(0), "start_p95_ms": of(1), "start_p99_ms": of(2),
                "completed_p50_ms": of(3), "completed_p99_ms": of(4),
            })
        })
        .collect();
    Ok(json!({ "rate_per_sec": RATE, "concurrency": CONCURRENCY, "jobs": MEASURED, "rows": raw }))
}

async fn one(server: &Server, peer: Peer) -> anyhow::Result<Times> {
    let mut connection = server.connect().await?;
    queue::fill(&mut connection, "noop", queue::PAYLOAD, 0).await?;
    queue::open(&mut connection).await?;
    let worker = peer.start(&server.url(), CONCURRENCY).await?;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let observer = tokio::spawn(observe(server.connect().await?, sender));
    let added = produce(connection).await?;
    let mut started: HashMap<String, Instant> = HashMap::new();
    let mut ended: HashMap<String, Instant> = HashMap::new();
    while ended.len() < WARM_UP + MEASURED {
        let (id, is_end, at) = timeout(GRACE, heard.recv())
            .await
            .with_context(|| format!("{} jobs ended, then nothing", ended.len()))?
            .context("the observer ended")?;
        let times = if is_end { &mut ended } else { &mut started };
        times.insert(id, at);
    }
    observer.abort();
    worker.stop().await?;
    let measured = &added[WARM_UP..];
    let since = |times: &HashMap<String, Instant>| {
        let of = |(id, at): &(String, Instant)| Some(times.get(id)?.duration_since(*at).as_secs_f64() * 1e3);
        measured.iter().filter_map(of).collect::<Vec<_>>()
    };
    Ok(Times { start: since(&started), end: since(&ended) })
}

/// Adds jobs at the rate; returns id and time of each, in order.
async fn produce(connection: MultiplexedConnection) -> anyhow::Result<Vec<(String, Instant)>> {
    let mut tick = interval(Duration::from_micros(1_000_000 / RATE));
    // Open loop: a late tick is made up for, so that a stall is seen by all the jobs it delays.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut adding = Vec::with_capacity(WARM_UP + MEASURED);
    for _ in 0..WARM_UP + MEASURED {
        tick.tick().await;
        let mut connection = connection.clone();
        adding.push(tokio::spawn(async move {
            let at = Instant::now();
            let script = queue::add_script();
            let mut call = script.prepare_invoke();
            call.key(PREFIX).arg(1).arg(queue::now_ms()).arg("noop").arg(queue::PAYLOAD);
            let id: String = call.invoke_async(&mut connection).await?;
            Ok::<_, redis::RedisError>((id, at))
        }));
    }
    let mut added = Vec::with_capacity(adding.len());
    for add in adding {
        added.push(add.await.context("adding")??);
    }
    Ok(added)
}

/// Sends id, whether it ended, and when that was heard.
async fn observe(
    mut connection: MultiplexedConnection,
    heard: mpsc::UnboundedSender<(String, bool, Instant)>,
) {
    let key = format!("{PREFIX}events");
    let mut from = "0".to_owned();
    loop {
        let mut read = redis::cmd("XREAD");
        read.arg("BLOCK").arg(1_000).arg("STREAMS").arg(&key).arg(&from);
        let reply: Reply = match read.query_async(&mut connection).await {
            Ok(reply) => reply,
            // The measuring side notices that nothing comes any more, with its own limit.
            Err(_) => return,
        };
        let at = Instant::now();
        for (entry, fields) in entries(&reply) {
            let field =
                |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let event = field("event").unwrap_or_default();
            if let (Some(id), "active" | "completed") = (field("jobId"), event.as_str())
                && heard.send((id, event == "completed", at)).is_err()
            {
                return;
            }
            from = entry;
        }
    }
}

/// An entry's id and its fields, name and value by turns.
type Flat = (String, Vec<String>);
/// An entry's id and its fields.
type Entry = (String, Vec<(String, String)>);

/// The entries of an `XREAD` of one stream.
fn entries(reply: &Reply) -> Vec<Entry> {
    let streams: Vec<(String, Vec<Flat>)> = redis::from_redis_value_ref(reply).unwrap_or_default();
    let all = streams.into_iter().flat_map(|(_, entries)| entries);
    all.map(|(id, flat)| (id, flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
        .collect()
}
