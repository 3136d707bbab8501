//! Measures one warm cell: make, call with JSON in and out, drop.
//!
//! `cargo run --release -p jobcell-wasm --example cell_bench [ROUNDS]`; needs the basic guest, see the message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobcell_core::attempt::LogLimits;
use jobcell_core::{Attempt, AttemptIo, Job, JobId, Outcome, QueueName, Runner};
use jobcell_wasm::{AdmitOptions, Engine, EngineConfig, Grants, HandlerRunner, HandlerSpec, Services};
use tokio_util::sync::CancellationToken;

type Fault = Box<dyn std::error::Error>;

const WARM_UP: usize = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/wasm32-wasip2/guest/basic.wasm");
    let bytes = std::fs::read(guest).map_err(|error| {
        format!("{guest}: {error}; run `cargo build --target wasm32-wasip2 --profile guest -p jobcell-guest-basic`")
    })?;
    for (what, config) in variants() {
        let engine = Engine::new(config)?;
        let admitted = engine.admit(bytes.clone(), AdmitOptions::new("basic", Grants::default())).await?;
        let spec = HandlerSpec { name: "basic".to_owned(), ..HandlerSpec::default() };
        let runner = HandlerRunner::new(&engine, &admitted, spec, Services::default())?;
        measure(what, &runner, WARM_UP).await?;
        let mut taken = measure(what, &runner, rounds).await?;
        let total: Duration = taken.iter().sum();
        taken.sort_unstable();
        let at = |share: f64| taken[(share * (taken.len() - 1) as f64) as usize].as_nanos() as f64 / 1000.0;
        println!(
            "{what}: p50 {:.1} µs, p90 {:.1}, p99 {:.1}, {:.0} cells/s ({}, {rounds} rounds)",
            at(0.5),
            at(0.9),
            at(0.99),
            taken.len() as f64 / total.as_secs_f64(),
            engine.report().clearing,
        );
    }
    Ok(())
}

fn variants() -> [(&'static str, EngineConfig); 3] {
    let defaults = EngineConfig::default();
    [
        ("default", defaults.clone()),
        ("stacks not cleared", EngineConfig { stack_zeroing: false, ..defaults.clone() }),
        ("no pagemap scan", EngineConfig { pagemap_scan: false, ..defaults }),
    ]
}

async fn measure(what: &str, runner: &HandlerRunner, rounds: usize) -> Result<Vec<Duration>, Fault> {
    let queue = QueueName::new("bench")?;
    let job = Arc::new(Job::new(JobId::new("1")?, "noop", &br#"{"i":7,"amount":1250,"currency":"EUR"}"#[..]));
    let io = AttemptIo::new(LogLimits::default());
    let cancel = CancellationToken::new();
    let mut taken = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let attempt = Attempt {
            queue: queue.clone(),
            job: Arc::clone(&job),
            deadline: tokio::time::Instant::now() + Duration::from_secs(30),
            deadline_at: 0,
            cancel: cancel.clone(),
            io: Arc::clone(&io),
        };
        let before = Instant::now();
        let report = runner.run(attempt).await;
        taken.push(before.elapsed());
        match report.outcome {
            Outcome::Complete(result) if &result[..] == br#"{"ok":true,"i":7}"# => {}
            outcome => return Err(format!("{what}: {outcome:?}").into()),
        }
    }
    Ok(taken)
}
