//! Measures what attackers do to a well-behaved neighbour. Both cores are loaded all the time: first by two honest guests
//! that compute, then by two of each attacker. Meanwhile an honest job comes every few milliseconds, and what counts is
//! how long it takes from its coming to its end.
//!
//! `cargo run --release -p jobcell-hostile --example neighbour_bench [ROW…]`; needs the basic guest, see the message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jobcell_core::attempt::LogLimits;
use jobcell_core::{Attempt, AttemptIo, Job, JobId, Outcome, QueueName, Runner};
use jobcell_hostile::catalogue;
use jobcell_wasm::{
    AdmitOptions, Engine, EngineConfig, Grants, HandlerRunner, HandlerSpec, Limits, Services,
};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

type Fault = Box<dyn std::error::Error>;

/// Cores that are loaded, and guests that load them.
const CORES: usize = 2;
/// Between two jobs of the neighbour.
const EVERY: Duration = Duration::from_millis(5);
/// Jobs of the neighbour that are measured under each load.
const JOBS: usize = 500;
/// Jobs before that.
const WARM_UP: usize = 50;
/// How long an honest guest computes.
const HONEST: Duration = Duration::from_millis(200);

fn main() -> Result<(), Fault> {
    jobcell_wasm::compiler_entry();
    let rows: Vec<String> = std::env::args().skip(1).collect();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target/wasm32-wasip2/guest/basic.wasm");
    let bytes = std::fs::read(guest).map_err(|error| {
        format!("{guest}: {error}; run `cargo build --target wasm32-wasip2 --profile guest -p jobcell-guest-basic`")
    })?;
    let cells = Builder::new_multi_thread().worker_threads(CORES).enable_all().build()?;
    let here = Builder::new_current_thread().enable_all().build()?;
    let engine = cells.block_on(async { Engine::new(EngineConfig::default()) })?;
    let limits =
        || Limits { deadline: Duration::from_secs(2), cpu: Duration::from_secs(2), ..Limits::default() };
    let admit = |name: &str, bytes: Vec<u8>| -> Result<HandlerRunner, Fault> {
        let admitted = cells.block_on(engine.admit(bytes, AdmitOptions::new(name, Grants::default())))?;
        let spec = HandlerSpec { name: name.to_owned(), limits: limits(), grants: Grants::default() };
        Ok(HandlerRunner::new(&engine, &admitted, spec, Services::default())?)
    };
    let honest = admit("basic", bytes)?;
    let rounds = calibrated(&cells.block_on(timed(&honest, "work", "{\"rounds\":20000000}")?)?);
    let work = format!("{{\"rounds\":{rounds}}}");
    let measure = |runner: &HandlerRunner, name: &'static str, data: String| {
        here.block_on(under(cells.handle(), &honest, runner.clone(), name, data))
    };
    let base = measure(&honest, "work", work)?;
    println!("{:<4} {:<26} {:>9} {:>9} {:>7}", "row", "load", "p50 ms", "p99 ms", "p99 ×");
    let told = |row: &str, load: &str, found: &Found| {
        let ratio = found.p99 / base.p99;
        println!("{row:<4} {load:<26} {:>9.2} {:>9.2} {ratio:>7.2}", found.p50, found.p99);
    };
    told("-", "honest guests that compute", &base);
    for guest in catalogue() {
        if !rows.is_empty() && !rows.iter().any(|row| guest.row.starts_with(row.as_str())) {
            continue;
        }
        // What is refused at admission loads nothing, and the rest needs what is not granted here.
        let Ok(runner) = admit(guest.name, guest.wasm.bytes().into_owned()) else { continue };
        told(guest.row, guest.name, &measure(&runner, "attack", "{}".to_owned())?);
    }
    Ok(())
}

/// How long the neighbour's jobs took, in milliseconds.
struct Found {
    p50: f64,
    p99: f64,
}

/// Rounds that take about [`HONEST`], where 20 million took so long.
fn calibrated(took: &Duration) -> u64 {
    (20_000_000.0 * HONEST.as_secs_f64() / took.as_secs_f64().max(1e-6)) as u64
}

fn timed<'a>(
    runner: &'a HandlerRunner,
    name: &str,
    data: &str,
) -> Result<impl Future<Output = Result<Duration, Fault>> + 'a, Fault> {
    let attempt = attempt(name, data, CancellationToken::new())?;
    Ok(async move {
        let began = Instant::now();
        match runner.run(attempt).await.outcome {
            Outcome::Complete(_) => Ok(began.elapsed()),
            outcome => Err(format!("the honest guest ended as {outcome:?}").into()),
        }
    })
}

/// The neighbour while two of these run again and again.
async fn under(
    cells: &Handle,
    neighbour: &HandlerRunner,
    load: HandlerRunner,
    name: &'static str,
    data: String,
) -> Result<Found, Fault> {
    let stop = CancellationToken::new();
    let loads: Vec<_> = (0..CORES)
        .map(|_| {
            let (load, data, stop) = (load.clone(), data.clone(), stop.clone());
            cells.spawn(async move {
                while !stop.is_cancelled() {
                    let Ok(attempt) = attempt(name, &data, stop.child_token()) else { return };
                    let _ = load.run(attempt).await;
                    // One that ends at once leaves room, as jobs that come from a store do.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut pace = tokio::time::interval(EVERY);
    let mut running = Vec::new();
    for _ in 0..WARM_UP + JOBS {
        pace.tick().await;
        let (neighbour, came) = (neighbour.clone(), Instant::now());
        let attempt = attempt("noop", "{\"i\":7}", CancellationToken::new())?;
        running.push(cells.spawn(async move {
            let outcome = neighbour.run(attempt).await.outcome;
            matches!(outcome, Outcome::Complete(_)).then(|| came.elapsed())
        }));
    }
    let mut taken = Vec::with_capacity(JOBS);
    for (n, ended) in running.into_iter().enumerate() {
        let took = ended.await?.ok_or("a job of the neighbour did not complete")?;
        if n >= WARM_UP {
            taken.push(took.as_secs_f64() * 1000.0);
        }
    }
    stop.cancel();
    for load in loads {
        load.await?;
    }
    taken.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| taken[(share * (taken.len() - 1) as f64) as usize];
    Ok(Found { p50: at(0.5), p99: at(0.99) })
}

fn attempt(name: &str, data: &str, cancel: CancellationToken) -> Result<Attempt, Fault> {
    Ok(Attempt {
        queue: QueueName::new("bench")?,
        job: Arc::new(Job::new(JobId::new("1")?, name, Bytes::from(data.to_owned()))),
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
        deadline_at: 0,
        cancel,
        io: AttemptIo::new(LogLimits::default()),
    })
}
