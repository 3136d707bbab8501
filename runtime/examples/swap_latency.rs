//! How long a deploy, an activation and a rollback take until the first job has run on the other version, and what that
//! does to the jobs beside it. On the embedded store, one host.
//!
//! What a deploy takes from jobs is partly what anything takes from them that computes on the same machine. So each round also
//! measures that: processes that do nothing but compute, of the same priority as the compilers, one after the other, each on as many
//! cores and for as long as the compiler of the first deploy. Every other round has it after its deploy.
//!
//! `cargo run --release --example swap_latency -- target/wasm32-wasip2/guest/basic.wasm [MS [optimised]]`
//!
//! The second argument is the time between two jobs: 2 ms by default, which is up to 500 jobs a second beside the swaps, with
//! which compiling shares the cores. 20 shows a host that has little to do. With the third, versions begin on optimised code,
//! as with `cells.baseline = false`.
//!
//! It is granted one of each thing, none of which the jobs reach: they are of a name that no handler has, or a no-op. So
//! any component can be measured, `media.wasm` for one.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jobcell::{Builder, EngineConfig, Event, Grants, Handler, JobId, NewJob, Observer, Queue, Runtime};
use jobcell_core::priority::behind;
use jobcell_handlers::{Artifact, Catalog, Command, DeployOptions, Digest};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How often each step is measured.
const ROUNDS: u8 = 20;
/// How long jobs are looked at with nothing beside them, from each deploy on, and from the begin of each computing: what else
/// the machine does falls on all alike. Longer than both compilers take together for a component of 1 MiB.
const LOOK: Duration = Duration::from_secs(2);
/// The argument with which this program is one of these.
const COMPUTE: &str = "--compute";
/// Before each look with nothing beside the jobs: what the last round left is cleared away by then.
const SETTLE: Duration = Duration::from_secs(2);
/// Milliseconds between two jobs.
const PACE: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// When the first attempt of each version ended, and how long jobs took.
#[derive(Default)]
struct Watch {
    seen: Mutex<Seen>,
    /// Some version has ended its first attempt.
    news: Notify,
}

#[derive(Default)]
struct Seen {
    first: HashMap<String, Instant>,
    /// When the producer began to add those that have not ended.
    added: HashMap<JobId, Instant>,
    took: Took,
}

/// How long jobs took, in microseconds.
#[derive(Default)]
struct Took {
    /// From the begin of the attempt.
    attempts: Vec<u64>,
    /// From when the producer began to add it: what whoever waits for the job sees.
    whole: Vec<u64>,
}

impl Observer for Watch {
    fn on(&self, event: &Event) {
        if let Event::Ended { id, version, receipt, .. } = event {
            let mut seen = self.seen();
            seen.first.entry(version.clone()).or_insert_with(|| {
                self.news.notify_waiters();
                Instant::now()
            });
            seen.took.attempts.push(receipt.wall_us);
            if let Some(added) = seen.added.remove(id) {
                seen.took.whole.push(u64::try_from(added.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adds(&self, id: JobId) {
        self.seen().added.insert(id, Instant::now());
    }

    fn clear(&self) {
        let mut seen = self.seen();
        seen.first.clear();
        seen.took = Took::default();
    }

    /// How long after `begin` the first attempt on this version ended.
    async fn first(&self, digest: Digest, begin: Instant) -> anyhow::Result<Duration> {
        let version = digest.short();
        let at = async {
            loop {
                // Before the look: what comes after it is noticed. Nothing here takes time from the jobs that are looked at.
                let news = self.news.notified();
                if let Some(at) = self.seen().first.get(&version) {
                    return *at;
                }
                news.await;
            }
        };
        if let Ok(at) = timeout(PATIENCE, at).await {
            return Ok(at.saturating_duration_since(begin));
        }
        anyhow::bail!("no job ran on {version}")
    }

    /// How long jobs took since the last time.
    fn took(&self) -> Took {
        std::mem::take(&mut self.seen().took)
    }
}

/// Processor time that the machine below has given to others since it started, in hundredths of a second; zero where nobody
/// tells. Rounds in which it did say more of those others than of us.
fn stolen() -> u64 {
    let told = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // "cpu", then user, nice, system, idle, iowait, irq, softirq, steal.
    told.split_ascii_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or_default()
}

impl Took {
    fn extend(&mut self, more: Self) {
        self.attempts.extend(more.attempts);
        self.whole.extend(more.whole);
    }
}

/// The time below which this share of them stayed.
fn quantile(took: &mut [u64], percent: usize) -> Duration {
    took.sort_unstable();
    let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    Duration::from_micros(took.get(at).copied().unwrap_or_default())
}

/// One of everything.
fn grants() -> Result<Grants, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "http": ["https://granted.example"], "blobs": ["files"], "cache": true, "kv": ["any"], "enqueue": ["other"],
        "publish": ["any"], "secrets": ["any"],
    }))
}

/// The same code under another name: a custom section more.
fn variant(bytes: &[u8], number: u8) -> Artifact {
    let mut bytes = bytes.to_vec();
    // Section 0 of three bytes: a name of one byte, and the number.
    bytes.extend([0, 3, 1, b'v', number]);
    Artifact::new(bytes)
}

/// Beside jobs that are looked at: processes that only compute, one for so long as each of these.
async fn computing(watch: &Watch, compilers: [Duration; 2]) -> anyhow::Result<Took> {
    let processes = async {
        for long in compilers {
            compute(long).await?;
        }
        anyhow::Ok(())
    };
    let look = async {
        sleep(LOOK).await;
        watch.took()
    };
    watch.clear();
    let (ended, took) = tokio::join!(processes, look);
    ended.map(|()| took)
}

/// A process that only computes, for so long.
async fn compute(long: Duration) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let millis = long.as_millis().to_string();
    let run = move || std::process::Command::new(program).args([COMPUTE, &millis]).status();
    let Ok(ended) = behind(run).await else { anyhow::bail!("starting a process panicked") };
    anyhow::ensure!(ended?.success(), "a process that only computes failed");
    Ok(())
}

/// What such a process does. On as many cores as a compiler takes beside jobs: half of them, four at most.
fn spend(long: Duration) {
    let begin = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2).min(4);
    std::thread::scope(|scope| {
        for seed in 0..cores {
            scope.spawn(move || {
                let mut sum = seed;
                while begin.elapsed() < long {
                    sum = (0..10_000).fold(sum, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n)));
                }
            });
        }
    });
}

fn main() -> anyhow::Result<()> {
    jobcell::compiler_entry();
    if std::env::args().nth(1).as_deref() == Some(COMPUTE) {
        spend(Duration::from_millis(std::env::args().nth(2).unwrap_or_default().parse()?));
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "target/wasm32-wasip2/guest/basic.wasm".to_owned());
    let bytes = std::fs::read(&file)?;
    let pace = Duration::from_millis(std::env::args().nth(2).map_or(Ok(PACE), |ms| ms.parse())?);
    let baseline = match std::env::args().nth(3).as_deref() {
        None => EngineConfig::default().baseline,
        Some("optimised") => false,
        Some(other) => anyhow::bail!("{other:?} is not known; the third argument is `optimised`, or none"),
    };
    let directory = std::env::temp_dir().join(format!("jobcell-swap-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("files"))?;
    let watch = Arc::new(Watch::default());
    let runtime = Builder::new()
        .embedded(directory.join("store"))
        .compiled(directory.join("compiled"))
        .engine(EngineConfig { baseline, ..EngineConfig::default() })
        .blobs("files", format!("file://{}", directory.join("files").display()))
        .secret("any", "of no value")
        .handler(Handler::stored("h").grants(grants()?).quarantine(0))
        .queue(Queue::new("work").to("h").concurrency(4))
        .observer(Arc::clone(&watch) as Arc<_>)
        .start()
        .await?;
    let catalogs = runtime.controller().catalogs();
    let Some(catalogs) = catalogs else { anyhow::bail!("the host has started") };
    let measured = tokio::select! {
        never = produce(&runtime, pace, &watch) => never.map(|()| String::new()),
        measured = rounds(&catalogs.shared, &bytes, &watch) => measured,
    };
    let code = if baseline { "baseline code first" } else { "optimised code only" };
    println!("{file}, {} KiB, {code}, a job each {pace:?}\n{}", bytes.len() / 1024, measured?);
    runtime.shutdown(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn produce(runtime: &Runtime, pace: Duration, watch: &Watch) -> anyhow::Result<()> {
    for number in 0_u64.. {
        let mut job = NewJob::new("noop", r#"{"i":7,"amount":1250,"currency":"EUR"}"#);
        // Named here, to be known before it can end.
        let id = format!("n-{number}");
        watch.adds(JobId::custom(&id)?);
        job.options.job_id = Some(id);
        runtime.enqueue("work", job).await?;
        sleep(pace).await;
    }
    Ok(())
}

/// When the host has noted that it has admitted the version: its optimised code is in place, or ready.
async fn admitted(catalog: &Catalog, digest: Digest) -> anyhow::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if catalog
            .desired("h")
            .await?
            .and_then(|(_, desired)| desired.version(&digest)?.admitted_at)
            .is_some()
        {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("no host has admitted {}", digest.short())
}

async fn rounds(catalog: &Catalog, bytes: &[u8], watch: &Watch) -> anyhow::Result<String> {
    let options =
        |activate| DeployOptions { activate, approve: true, who: "example".to_owned(), ..Default::default() };
    let base = variant(bytes, 0);
    let base_digest = base.digest;
    let begin = Instant::now();
    catalog.deploy("h", base, None, options(true)).await?;
    let first = watch.first(base_digest, begin).await?;
    admitted(catalog, base_digest).await?;
    let compilers = [first, begin.elapsed().saturating_sub(first)];
    let [mut calm, mut beside_computing, mut beside] = [(); 3].map(|()| Took::default());
    let (mut deploys, mut undisturbed) = (Vec::new(), Vec::new());
    let (mut activations, mut rollbacks) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        let (fresh, ahead) = (variant(bytes, 100 + number), variant(bytes, 200 + number));
        let (fresh_digest, ahead_digest) = (fresh.digest, ahead.digest);
        sleep(SETTLE).await;
        watch.clear();
        sleep(LOOK).await;
        calm.extend(watch.took());
        let is_before = number % 2 == 0;
        if is_before {
            beside_computing.extend(computing(watch, compilers).await?);
        }
        watch.clear();
        let (begin, before) = (Instant::now(), stolen());
        catalog.deploy("h", fresh, None, options(true)).await?;
        let took = watch.first(fresh_digest, begin).await?;
        deploys.push(took);
        undisturbed.extend((stolen() == before).then_some(took));
        sleep(LOOK.saturating_sub(begin.elapsed())).await;
        beside.extend(watch.took());

        catalog.deploy("h", ahead, None, options(false)).await?;
        admitted(catalog, ahead_digest).await?;
        let begin = Instant::now();
        catalog
            .apply("h", Command::Activate { digest: ahead_digest, approve: true }, "example", None)
            .await?;
        activations.push(watch.first(ahead_digest, begin).await?);

        watch.clear();
        let begin = Instant::now();
        catalog.apply("h", Command::Rollback { why: None }, "example", None).await?;
        rollbacks.push(watch.first(fresh_digest, begin).await?);
        if !is_before {
            sleep(SETTLE).await;
            beside_computing.extend(computing(watch, compilers).await?);
        }
    }
    let line = |what: &str, mut took: Vec<Duration>| {
        took.sort_unstable();
        let Some(longest) = took.last() else { return format!("{what:<44} none\n") };
        format!("{what:<44} median {:>9.1?}  longest {longest:>9.1?}\n", took[took.len() / 2])
    };
    let moved = |of_what: &str, calm: &mut [u64], computing: &mut [u64], deploy: &mut [u64]| {
        let line = |percent: usize| {
            let [calm, computing, deploy] =
                [&mut *calm, &mut *computing, &mut *deploy].map(|took| quantile(took, percent));
            let moved = |to: Duration| {
                format!("{to:.1?} ({:+.0} %)", (to.as_secs_f64() / calm.as_secs_f64() - 1.0) * 100.0)
            };
            format!(
                "p{percent} of {of_what}: {calm:.1?} with nothing beside it, {} with a deploy, {} with computing\n",
                moved(deploy),
                moved(computing)
            )
        };
        // The last is the longest.
        [50, 99, 100].map(line).concat()
    };
    let rounds = undisturbed.len();
    Ok([
        line("deploy, compiled, to the first job", deploys),
        line(&format!("  {rounds} in which no core was taken away"), undisturbed),
        line("activation of what is compiled, to the first", activations),
        line("rollback, to the first job", rollbacks),
        moved("an attempt", &mut calm.attempts, &mut beside_computing.attempts, &mut beside.attempts),
        moved("a job from its add", &mut calm.whole, &mut beside_computing.whole, &mut beside.whole),
        format!(
            "of {} attempts with nothing beside them, {} with a deploy, {} with computing",
            calm.attempts.len(),
            beside.attempts.len(),
            beside_computing.attempts.len()
        ),
    ]
    .concat())
}
