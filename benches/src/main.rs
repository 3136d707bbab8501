//! Measures Jobcell beside its peers, in one run on one quiet machine, and keeps the raw results.
//!
//! Absolute figures move by a fifth from run to run; the ratios inside one run are what counts. Started by
//! `cargo xtask bench`, which builds everything in release and says where it is. What is measured and how:
//! `benches/README.md`.

mod api;
mod bound;
mod cell;
mod latency;
mod memory;
mod peer;
mod process;
mod queue;
mod report;
mod server;
mod stats;
mod throughput;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// What is measured, by name.
const PARTS: [&str; 6] = ["cell", "throughput", "latency", "memory", "live", "reads"];

/// How much is measured.
#[derive(Debug, Clone)]
struct Plan {
    parts: Vec<String>,
    /// Rounds of everything that alternates between peers; the median counts.
    rounds: usize,
    /// Jobs in a filled queue. One second of work or more at the fastest, so that the ramp does not count.
    jobs: u64,
    /// Jobs in flight.
    concurrency: Vec<usize>,
}

impl Plan {
    fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut plan =
            Self { parts: Vec::new(), rounds: 3, jobs: 30_000, concurrency: vec![1, 10, 100, 500] };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut number = || -> anyhow::Result<u64> {
                let text = args.next().with_context(|| format!("{arg} needs a number"))?;
                text.parse().with_context(|| format!("{arg} {text:?}"))
            };
            match arg.as_str() {
                "--rounds" => plan.rounds = usize::try_from(number()?)?.max(1),
                "--jobs" => plan.jobs = number()?.max(100),
                "--concurrency" => plan.concurrency = vec![usize::try_from(number()?)?.max(1)],
                part if PARTS.contains(&part) => plan.parts.push(part.to_owned()),
                other => bail!("bench does not know {other:?}; it measures {}", PARTS.join(", ")),
            }
        }
        if plan.parts.is_empty() {
            plan.parts = PARTS.map(str::to_owned).to_vec();
        }
        Ok(plan)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let plan = Plan::parse(std::env::args().skip(1))?;
    let mut results = Map::new();
    for part in &plan.parts {
        println!("\n▸ {part}");
        let result = match part.as_str() {
            "cell" => cell::measure()?,
            "throughput" => throughput::measure(&plan).await?,
            "latency" => latency::measure(&plan).await?,
            "memory" => memory::measure().await?,
            "live" => api::live(&plan).await?,
            "reads" => api::reads().await?,
            other => bail!("no part {other}"),
        };
        results.insert(part.clone(), result);
    }
    report::keep(&plan, &Value::Object(results))
}
