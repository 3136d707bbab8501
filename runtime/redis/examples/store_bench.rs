//! How many no-op jobs a second the store alone carries, and what one costs Redis.
//!
//! `cargo run --release -p jobcell-redis --example store_bench [JOBS [BATCH:CALLERS ...]]`
//!
//! Starts a redis-server of its own without persistence, fills a queue, and takes every job through
//! finish-and-claim: BATCH jobs a call, CALLERS calls in flight on the one connection. Redis's processor time comes
//! from `INFO cpu`, the time inside scripts from `INFO commandstats`.

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobcell_core::store::{Claim, ClaimRequest, Finish, NewJob, Verdict};
use jobcell_core::{Clock, Keep, QueueName, Store, SystemClock};
use jobcell_redis::{BullStore, ConnectOptions};
use redis::aio::MultiplexedConnection;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a way of running is called on the command line and measured with.
const WAYS: [(usize, usize); 6] = [(1, 1), (1, 16), (1, 64), (8, 4), (8, 16), (32, 4)];
const JOBS: usize = 60_000;
const ROUNDS: usize = 3;

struct Bench {
    store: BullStore,
    raw: MultiplexedConnection,
    queue: QueueName,
    tokens: AtomicU64,
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let jobs = args.next().map_or(Ok(JOBS), |n| n.parse())?;
    let ways = args
        .map(|way| {
            let (batch, callers) = way.split_once(':').ok_or("write BATCH:CALLERS")?;
            Ok((batch.parse()?, callers.parse()?))
        })
        .collect::<Fallible<Vec<(usize, usize)>>>()?;
    let ways = if ways.is_empty() { WAYS.to_vec() } else { ways };

    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()?;
    let done = run(port, jobs, &ways).await;
    server.kill()?;
    server.wait()?;
    done
}

async fn run(port: u16, jobs: usize, ways: &[(usize, usize)]) -> Fallible<()> {
    let url = format!("redis://127.0.0.1:{port}");
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let bench = Arc::new(Bench {
        store: BullStore::connect(ConnectOptions::from_url(&url)?).await?,
        raw: redis::Client::open(url)?.get_multiplexed_async_connection().await?,
        queue: QueueName::new("bench")?,
        tokens: AtomicU64::new(0),
    });
    println!("batch  callers      jobs/s   script µs/job   redis µs/job   own µs/job   (median of {ROUNDS})");
    for &(batch, callers) in ways {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&bench, jobs, batch, callers).await?);
        }
        rounds.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let [rate, script, redis, own] = rounds[ROUNDS / 2];
        println!("{batch:5}  {callers:7}  {rate:10.0}  {script:14.1}  {redis:13.1}  {own:11.1}");
    }
    Ok(())
}

/// Jobs a second; and µs a job: in scripts, of Redis's processor, of this process's.
async fn round(bench: &Arc<Bench>, jobs: usize, batch: usize, callers: usize) -> Fallible<[f64; 4]> {
    let mut raw = bench.raw.clone();
    redis::cmd("FLUSHALL").query_async::<()>(&mut raw).await?;
    let now = SystemClock.now();
    let new = |i| NewJob::new("noop", format!(r#"{{"i":{i},"amount":1250,"currency":"EUR"}}"#));
    bench.store.add(&bench.queue, (0..jobs).map(new).collect(), now).await?;
    redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut raw).await?;
    let (redis_before, own_before, started) = (redis_cpu(&mut raw).await?, own_cpu()?, Instant::now());
    let calls = (0..callers).map(|_| tokio::spawn(cycle(bench.clone(), batch)));
    let mut done = 0;
    for call in calls.collect::<Vec<_>>() {
        done += call.await??;
    }
    let (took, n) = (started.elapsed(), f64::from(u32::try_from(done)?));
    if done != jobs {
        return Err(format!("{done} of {jobs} jobs were finished").into());
    }
    Ok([
        n / took.as_secs_f64(),
        script_us(&mut raw).await? / n,
        (redis_cpu(&mut raw).await? - redis_before) * 1e6 / n,
        (own_cpu()? - own_before) * 1e6 / n,
    ])
}

async fn cycle(bench: Arc<Bench>, batch: usize) -> Fallible<usize> {
    let mut claim = bench.store.claim(&bench.queue, &bench.request(batch)).await?;
    let mut done = 0;
    while !claim.jobs.is_empty() {
        let request = bench.request(batch);
        let finishes = ends(claim);
        let reply = bench.store.finish(&bench.queue, finishes, Some(&request), request.now).await?;
        for finished in &reply.finished {
            (*finished)?;
            done += 1;
        }
        claim = reply.claim;
    }
    Ok(done)
}

fn ends(claim: Claim) -> Vec<Finish> {
    let end = |job: jobcell_core::store::Claimed| {
        let result = format!(r#"{{"ok":true,"i":{}}}"#, job.id.as_str()).into();
        Finish::new(job.id, job.token, Verdict::Complete { result, keep: Keep::All })
    };
    claim.jobs.into_iter().map(end).collect()
}

impl Bench {
    fn request(&self, max: usize) -> ClaimRequest {
        ClaimRequest {
            max,
            token_prefix: "0b9e7c1a-5a52-4d4f-9f0c-6b1a3f0e2d11".into(),
            token_first: self.tokens.fetch_add(max as u64, Ordering::Relaxed),
            lock: Duration::from_secs(30),
            worker_name: None,
            rate: None,
            now: SystemClock.now(),
        }
    }
}

fn field(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split(',').next()?.trim().parse().ok());
    value.unwrap_or_default()
}

async fn info(raw: &mut MultiplexedConnection, section: &str) -> Fallible<String> {
    Ok(redis::cmd("INFO").arg(section).query_async(raw).await?)
}

async fn redis_cpu(raw: &mut MultiplexedConnection) -> Fallible<f64> {
    let cpu = info(raw, "cpu").await?;
    Ok(field(&cpu, "used_cpu_user:") + field(&cpu, "used_cpu_sys:"))
}

async fn script_us(raw: &mut MultiplexedConnection) -> Fallible<f64> {
    let stats = info(raw, "commandstats").await?;
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default();
    Ok(line.split(',').find_map(|part| part.strip_prefix("usec=")?.parse().ok()).unwrap_or_default())
}

/// Processor seconds of this process, in hundredths.
fn own_cpu() -> Fallible<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
