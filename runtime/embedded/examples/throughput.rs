//! How many jobs a second the embedded store takes through add, claim and complete, on this machine's disk.
//!
//! `cargo run --release -p jobcell-embedded --example throughput [directory]`
//!
//! The directory decides what a flush to the disk costs, and that decides most of the rest; without one a temporary
//! directory is used.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobcell_core::options::Keep;
use jobcell_core::store::{ClaimRequest, Finish, NewJob, Store, StoreError, Verdict};
use jobcell_core::{Clock, QueueName, SystemClock};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let store = EmbeddedStore::open(&directory, EmbeddedOptions::default())?;
    let queue = QueueName::new("throughput")?;
    println!("{:>8} {:>6} {:>12} {:>18}", "callers", "batch", "adds/s", "claim+complete/s");
    for (callers, batch, jobs) in
        [(1, 1, 1000), (16, 1, 8000), (64, 1, 16_000), (1, 16, 8000), (4, 16, 20_000)]
    {
        let added = rate(jobs, callers, |share| add(store.clone(), queue.clone(), share, batch)).await?;
        let worked = rate(jobs, callers, |_| work(store.clone(), queue.clone(), batch)).await?;
        println!("{callers:>8} {batch:>6} {added:>12.0} {worked:>18.0}");
    }
    let claims = 2000;
    let begun = Instant::now();
    for n in 0..claims {
        store.claim(&queue, &request(1, n)).await?;
    }
    println!("a claim of nothing takes {:?}", begun.elapsed() / claims);
    store.close().await;
    Ok(())
}

/// Jobs a second when so many callers share them.
async fn rate<F>(jobs: usize, callers: usize, run: impl Fn(usize) -> F) -> Result<f64, Failed>
where
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(run(jobs / callers));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let jobs = u32::try_from(jobs / callers * callers)?;
    Ok(f64::from(jobs) / begun.elapsed().as_secs_f64())
}

async fn add(store: EmbeddedStore, queue: QueueName, jobs: usize, batch: usize) -> Result<(), StoreError> {
    let job = NewJob::new("n", format!("{{\"text\":\"{}\"}}", "x".repeat(200)));
    for _ in 0..jobs / batch {
        store.add(&queue, vec![job.clone(); batch], SystemClock.now()).await?;
    }
    Ok(())
}

/// Completes jobs and claims the next ones in the same call, as a worker under load does, until none is left.
async fn work(store: EmbeddedStore, queue: QueueName, batch: usize) -> Result<(), StoreError> {
    let mut finishes = Vec::new();
    loop {
        let reply = store.finish(&queue, finishes, Some(&request(batch, 0)), SystemClock.now()).await?;
        if reply.claim.jobs.is_empty() {
            return Ok(());
        }
        finishes = reply
            .claim
            .jobs
            .into_iter()
            .map(|claimed| {
                let verdict = Verdict::Complete { result: "null".into(), keep: Keep::None };
                Finish::new(claimed.id, claimed.token, verdict)
            })
            .collect();
    }
}

fn request(max: usize, first: u32) -> ClaimRequest {
    ClaimRequest {
        max,
        token_prefix: "throughput".into(),
        token_first: first.into(),
        lock: Duration::from_secs(30),
        worker_name: None,
        rate: None,
        now: SystemClock.now(),
    }
}
