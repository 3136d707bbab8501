//! No-op jobs a second from a queue filled beforehand, peers alternating within each round.

use std::collections::BTreeMap;

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::server::{Server, used};
use crate::stats::{median, rounded};
use crate::{Plan, bound, queue};

/// More child processes than this only wait for two cores.
const CHILDREN_MAX: usize = 8;

/// One peer, or the bound.
type Who = Option<Peer>;

/// What one run of one peer gave.
#[derive(Debug, Clone, Copy)]
struct Run {
    jobs_per_sec: f64,
    redis_us: f64,
    script_us: f64,
    worker_us: f64,
}

/// Measures and prints the table; returns the raw runs.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let server = Server::start().await?;
    let mut connection = server.connect().await?;
    let mut runs: BTreeMap<(usize, Who), Vec<Run>> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for &concurrency in &plan.concurrency {
            for who in line_up(concurrency) {
                let run = one(&server, &mut connection, who, concurrency, plan.jobs)
                    .await
                    .with_context(|| format!("{} at concurrency {concurrency}", name(who)))?;
                println!("  round {round}, c={concurrency}, {}: {:.0} jobs/s", name(who), run.jobs_per_sec);
                runs.entry((concurrency, who)).or_default().push(run);
            }
        }
    }
    print(plan, &runs);
    Ok(raw(plan, &runs))
}

/// The peers for this concurrency; child processes are slow enough to be measured at one only.
fn line_up(concurrency: usize) -> Vec<Who> {
    let mut peers = vec![Some(Peer::Jobcell), Some(Peer::BullmqNode), Some(Peer::BullmqRust), None];
    if concurrency == 10 {
        peers.push(Some(Peer::BullmqSandboxed));
    }
    peers
}

fn name(who: Who) -> &'static str {
    who.map_or("bound: lean script, nothing else", Peer::name)
}

async fn one(
    server: &Server,
    connection: &mut MultiplexedConnection,
    who: Who,
    concurrency: usize,
    jobs: u64,
) -> anyhow::Result<Run> {
    let jobs = if who == Some(Peer::BullmqSandboxed) || concurrency == 1 { jobs / 3 } else { jobs };
    queue::fill(connection, "noop", queue::PAYLOAD, jobs).await?;
    let concurrency =
        if who == Some(Peer::BullmqSandboxed) { concurrency.min(CHILDREN_MAX) } else { concurrency };
    let worker = match who {
        Some(peer) => Some(peer.start(&server.url(), concurrency).await?),
        None => None,
    };
    // What starting up left behind in caches and timers should not be measured.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let before = used(connection).await?;
    let cpu_before = worker.as_ref().map_or(0.0, |worker| worker.cpu_secs());
    queue::open(connection).await?;
    match &worker {
        Some(_) => queue::wait_completed(connection, jobs).await?,
        None => bound::work(&server.connect().await?, concurrency).await?,
    }
    let cpu = worker.as_ref().map_or(0.0, |worker| worker.cpu_secs()) - cpu_before;
    let after = used(connection).await?;
    let span = queue::span_secs(connection).await?;
    queue::check_result(connection, jobs).await?;
    if let Some(worker) = worker {
        worker.stop().await?;
    }
    let each = |total: f64| total / jobs as f64;
    Ok(Run {
        jobs_per_sec: jobs as f64 / span,
        redis_us: each((after.cpu - before.cpu) * 1e6),
        script_us: each(after.scripts - before.scripts),
        worker_us: each(cpu * 1e6),
    })
}

fn middle(runs: &[Run], field: fn(&Run) -> f64) -> f64 {
    median(&runs.iter().map(field).collect::<Vec<_>>())
}

fn print(plan: &Plan, runs: &BTreeMap<(usize, Who), Vec<Run>>) {
    let Plan { rounds, jobs, .. } = plan;
    println!("\n  No-op jobs over Redis, {jobs} jobs, medians of {rounds} round(s)");
    println!(
        "  {:>4}  {:<34} {:>9} {:>9} {:>10} {:>10} {:>11}",
        "c", "worker", "jobs/s", "× ours", "Redis µs", "script µs", "worker µs"
    );
    for ((concurrency, who), runs_of) in runs {
        let rate = middle(runs_of, |run| run.jobs_per_sec);
        let ours = runs
            .get(&(*concurrency, Some(Peer::Jobcell)))
            .map_or(0.0, |ours| middle(ours, |run| run.jobs_per_sec));
        println!(
            "  {concurrency:>4}  {:<34} {rate:>9.0} {:>9.2} {:>10.1} {:>10.1} {:>11.1}",
            name(*who),
            ours / rate,
            middle(runs_of, |run| run.redis_us),
            middle(runs_of, |run| run.script_us),
            middle(runs_of, |run| run.worker_us)
        );
    }
    println!("\n  Each at its best concurrency:");
    let best = |wanted: Who| {
        let rates = runs
            .iter()
            .filter(|((_, who), _)| *who == wanted)
            .map(|(_, runs)| middle(runs, |run| run.jobs_per_sec));
        rates.fold(0.0, f64::max)
    };
    let ours = best(Some(Peer::Jobcell));
    for who in [Some(Peer::BullmqNode), Some(Peer::BullmqRust), Some(Peer::BullmqSandboxed), None] {
        let theirs = best(who);
        if theirs > 0.0 {
            println!("  ours ÷ {:<34} {:>6.2}   ({ours:.0} ÷ {theirs:.0} jobs/s)", name(who), ours / theirs);
        }
    }
}

fn raw(plan: &Plan, runs: &BTreeMap<(usize, Who), Vec<Run>>) -> Value {
    let rows: Vec<Value> = runs
        .iter()
        .map(|((concurrency, who), runs)| {
            let each =
                |field: fn(&Run) -> f64| runs.iter().map(|run| rounded(field(run), 1)).collect::<Vec<_>>();
            json!({
                "worker": name(*who),
                "concurrency": concurrency,
                "jobs_per_sec": each(|run| run.jobs_per_sec),
                "redis_cpu_us_per_job": each(|run| run.redis_us),
                "script_us_per_job": each(|run| run.script_us),
                "worker_cpu_us_per_job": each(|run| run.worker_us),
            })
        })
        .collect();
    json!({ "jobs": plan.jobs, "payload": queue::PAYLOAD, "rows": rows })
}
