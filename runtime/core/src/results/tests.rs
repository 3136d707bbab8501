use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::attempt::AttemptIo;
use crate::clock::ManualClock;
use crate::effects::{Player, Recording, Tape};
use crate::job::Job;
use crate::names::{JobId, QueueName};
use crate::outcome::StopCause;

const TTL: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(30);

/// A cache whose values expire by the paused clock, and that can be away or silent.
#[derive(Default)]
struct Fake {
    values: Mutex<HashMap<String, (Bytes, Option<Instant>)>>,
    is_away: AtomicBool,
    is_silent: AtomicBool,
}

impl Fake {
    async fn reach(&self) -> Result<(), CacheError> {
        if self.is_silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if self.is_away.load(Ordering::SeqCst) {
            return Err(CacheError::Unavailable("away".to_owned()));
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    fn there(&self, key: &str) -> Option<Bytes> {
        let values = self.values.lock().unwrap();
        let (value, until) = values.get(key)?;
        until.is_none_or(|until| until > Instant::now()).then(|| value.clone())
    }

    fn keys(&self, start: &str) -> usize {
        let keys: Vec<String> = self.values.lock().unwrap().keys().cloned().collect();
        keys.iter().filter(|key| key.starts_with(start) && self.there(key).is_some()).count()
    }
}

#[async_trait]
impl Cache for Fake {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        self.reach().await?;
        Ok(self.there(key))
    }
    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        self.reach().await?;
        let until = ttl.map(|ttl| Instant::now() + ttl);
        self.values.lock().unwrap().insert(key.to_owned(), (value, until));
        Ok(())
    }
    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        self.reach().await?;
        let is_absent = self.there(key).is_none();
        if is_absent {
            let until = ttl.map(|ttl| Instant::now() + ttl);
            self.values.lock().unwrap().insert(key.to_owned(), (value, until));
        }
        Ok(is_absent)
    }
    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.reach().await?;
        self.values.lock().unwrap().remove(key);
        Ok(())
    }
    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, CacheError> {
        unreachable!("results are not counted with")
    }
}

/// Ends as its job's name says, after as many milliseconds as the payload has at `ms`.
#[derive(Default)]
struct Works {
    runs: AtomicUsize,
}

#[async_trait]
impl Runner for Works {
    fn handler(&self) -> &str {
        "works"
    }
    fn version(&self) -> &str {
        "0123456789ab"
    }
    fn deadline(&self) -> Duration {
        DEADLINE
    }
    fn plays(&self) -> bool {
        true
    }
    async fn run(&self, attempt: Attempt) -> Report {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let data: serde_json::Value = serde_json::from_slice(&attempt.job.data).unwrap_or_default();
        sleep(Duration::from_millis(data["ms"].as_u64().unwrap_or(0))).await;
        let outcome = match attempt.job.name.as_str() {
            "fails" => Outcome::Retry { reason: "no".to_owned(), after: None },
            "refuses" => Outcome::Fatal("no".to_owned()),
            "breaks" => Outcome::stopped(StopCause::Trap, "no"),
            "mumbles" => Outcome::Complete(Bytes::from_static(b"no json")),
            _ => Outcome::Complete(format!("{{\"run\":{run}}}").into()),
        };
        Report { outcome, receipt: Receipt { cpu_us: 5, ..Receipt::default() } }
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl Observer for Heard {
    fn on(&self, event: &Event) {
        let Event::Results { handler, found } = event else { return };
        assert_eq!(handler, "works");
        self.0.lock().unwrap().push(found.as_str());
    }
}

struct Host {
    results: Results,
    works: Arc<Works>,
    heard: Arc<Heard>,
    clock: Arc<ManualClock>,
}

impl Host {
    fn with(cache: &Arc<Fake>, rule: KeepResults, digest: &str) -> Self {
        let (works, heard) = (Arc::new(Works::default()), Arc::new(Heard::default()));
        let clock = Arc::new(ManualClock::new(1_000_000));
        let shelf = Shelf {
            cache: Arc::clone(cache) as _,
            clock: Arc::clone(&clock) as _,
            observer: Arc::clone(&heard) as _,
        };
        let results = Results::new(Arc::clone(&works) as _, digest.to_owned(), rule, shelf);
        Self { results, works, heard, clock }
    }

    fn new(cache: &Arc<Fake>) -> Self {
        Self::with(cache, KeepResults::new(TTL), "sha256:a")
    }

    fn runs(&self) -> usize {
        self.works.runs.load(Ordering::SeqCst)
    }

    fn heard(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }

    async fn run(&self, job: Job) -> Report {
        self.results.run(attempt(job)).await
    }

    /// As a worker does: what is given back is started again when it is due. How often it was started.
    async fn finish(&self, mut job: Job) -> (Outcome, u64) {
        loop {
            job.attempts_started += 1;
            match self.run(job.clone()).await.outcome {
                Outcome::DelayUntil(at) => sleep(Duration::from_millis(at - self.clock.now())).await,
                ended => return (ended, job.attempts_started),
            }
        }
    }
}

fn job(id: &str, name: &str, data: &str) -> Job {
    let mut job = Job::new(JobId::new(id).unwrap(), name, data.to_owned());
    job.attempts_started = 1;
    job
}

fn attempt(job: Job) -> Attempt {
    Attempt {
        queue: QueueName::new("q").unwrap(),
        job: Arc::new(job),
        deadline: Instant::now() + DEADLINE,
        deadline_at: 0,
        cancel: CancellationToken::new(),
        io: AttemptIo::new(LogLimits::default()),
    }
}

fn completed(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Complete(result) => std::str::from_utf8(result).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_content_is_run_once_while_its_result_lasts() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    assert_eq!(completed(&host.run(job("1", "n", r#"{"a":1,"b":2}"#)).await.outcome), r#"{"run":0}"#);
    host.clock.advance(3_000);
    let second = attempt(job("2", "n", r#"{ "b":2, "a":1 }"#));
    let report = host.results.run(second.clone()).await;
    assert_eq!(completed(&report.outcome), r#"{"run":0}"#);
    assert_eq!((report.receipt.cached, report.receipt.computed_by.as_deref()), (true, Some("q/1")));
    assert_eq!(report.receipt.cpu_us, 0);
    let log = second.io.take().logs;
    assert_eq!(log, ["[the result of job q/1, which had the same content 3 s ago; not run again]"]);
    assert_eq!(host.runs(), 1);
    assert_eq!(completed(&host.run(job("3", "n", r#"{"a":2,"b":2}"#)).await.outcome), r#"{"run":1}"#);
    sleep(TTL).await;
    assert_eq!(completed(&host.run(job("4", "n", r#"{"a":1,"b":2}"#)).await.outcome), r#"{"run":2}"#);
    assert_eq!(host.heard(), ["miss", "hit", "miss", "miss"]);
    assert_eq!(cache.keys("#computing:"), 0, "no lock is left");
}

#[tokio::test(start_paused = true)]
async fn only_results_are_kept() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    for name in ["fails", "refuses", "breaks", "mumbles"] {
        for id in ["1", "2"] {
            assert!(!host.run(job(id, name, "{}")).await.receipt.cached, "{name}");
        }
    }
    assert_eq!((host.runs(), cache.keys("")), (8, 0));
}

#[tokio::test(start_paused = true)]
async fn versions_tenants_and_names_are_apart() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    host.run(job("1", "n", "{}")).await;
    let mut other = job("2", "n", "{}");
    other.options.tenant = Some("acme".to_owned());
    assert!(!host.run(other).await.receipt.cached);
    assert!(!host.run(job("3", "m", "{}")).await.receipt.cached);
    let next = Host::with(&cache, KeepResults::new(TTL), "sha256:b");
    assert!(!next.run(job("4", "n", "{}")).await.receipt.cached, "a new version has no results yet");
    // Unless it is told to take them.
    let shared = KeepResults { across_versions: true, ..KeepResults::new(TTL) };
    let old = Host::with(&cache, shared.clone(), "sha256:a");
    assert!(
        !old.run(job("5", "n", "{}")).await.receipt.cached,
        "what a version keeps for itself is no other's"
    );
    assert!(Host::with(&cache, shared, "sha256:b").run(job("6", "n", "{}")).await.receipt.cached);
}

#[tokio::test(start_paused = true)]
async fn a_producer_can_ask_for_a_fresh_one() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    host.run(job("1", "n", "{}")).await;
    let mut fresh = job("2", "n", "{}");
    fresh.options.fresh = true;
    assert_eq!(completed(&host.run(fresh).await.outcome), r#"{"run":1}"#);
    let third = host.run(job("3", "n", "{}")).await;
    assert_eq!(
        (completed(&third.outcome), third.receipt.computed_by.as_deref()),
        (r#"{"run":1}"#, Some("q/2"))
    );
    assert_eq!(host.heard(), ["miss", "bypass", "hit"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_the_content_runs_and_says_why_nothing_was_looked_for() {
    let cache = Arc::new(Fake::default());
    let rule = KeepResults { key: vec!["/sha256".to_owned()], ..KeepResults::new(TTL) };
    let host = Host::with(&cache, rule, "sha256:a");
    for id in ["1", "2"] {
        let bare = attempt(job(id, "n", "{}"));
        assert!(!host.results.run(bare.clone()).await.receipt.cached);
        assert_eq!(bare.io.take().logs, ["[no kept result is looked for: the payload has no /sha256]"]);
    }
    assert_eq!((host.heard(), cache.keys("")), (vec!["bypass", "bypass"], 0));
}

#[tokio::test(start_paused = true)]
async fn of_fifty_at_once_on_two_hosts_one_computes() {
    let cache = Arc::new(Fake::default());
    let hosts = [Host::new(&cache), Host::new(&cache)];
    let jobs = (0..50).map(|n| hosts[n % 2].finish(job(&n.to_string(), "n", r#"{"ms":3000}"#)));
    let began = Instant::now();
    let ended = futures::future::join_all(jobs).await;
    assert_eq!(hosts[0].runs() + hosts[1].runs(), 1);
    assert!(ended.iter().all(|(outcome, _)| completed(outcome) == r#"{"run":0}"#));
    // Looks of one that waits: at 0, 0.1, 0.3, 0.7, 1.5, 2.5 and 3.5 s.
    assert!(ended.iter().all(|(_, starts)| *starts <= 9), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_fails_lets_the_next_one_try_at_once() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    let jobs = (0..4).map(|n| host.finish(job(&n.to_string(), "fails", r#"{"ms":50}"#)));
    let began = Instant::now();
    futures::future::join_all(jobs).await;
    assert_eq!(host.runs(), 4);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_attempt_keeps_its_lock_and_a_host_that_dies_does_not() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    let long = tokio::spawn({
        let host = Host::new(&cache);
        async move { host.run(job("1", "n", r#"{"ms":25000}"#)).await }
    });
    sleep(LOCK * 3).await;
    assert!(matches!(host.run(job("2", "n", r#"{"ms":25000}"#)).await.outcome, Outcome::DelayUntil(_)));
    // As if by a power cut: nothing is tidied up.
    long.abort();
    let died = Instant::now();
    let (outcome, _) = host.finish(job("3", "n", r#"{"ms":25000}"#)).await;
    assert_eq!(completed(&outcome), r#"{"run":0}"#);
    let waited = died.elapsed().saturating_sub(Duration::from_secs(25));
    assert!(waited <= LOCK + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_as_long_as_an_attempt_may_take_computes() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    let content = host.results.content(&attempt(job("1", "n", "{}"))).unwrap();
    // Somebody holds the lock for ever.
    cache.set(&content.lock_key(), Bytes::from_static(b"x"), None).await.unwrap();
    let began = Instant::now();
    let (outcome, _) = host.finish(job("1", "n", "{}")).await;
    assert_eq!(completed(&outcome), r#"{"run":0}"#);
    assert!(began.elapsed() <= DEADLINE + LOCK + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(cache.keys("#computing:"), 1, "and leaves what is not its own");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_away_or_silent_costs_no_result() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    cache.is_away.store(true, Ordering::SeqCst);
    assert_eq!(completed(&host.run(job("1", "n", "{}")).await.outcome), r#"{"run":0}"#);
    cache.is_silent.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert_eq!(completed(&host.run(job("2", "n", "{}")).await.outcome), r#"{"run":1}"#);
    assert!(began.elapsed() <= ASK, "{:?}", began.elapsed());
    assert_eq!(host.heard(), ["error", "error"]);
    // It comes back in the middle of an attempt, or goes then.
    cache.is_silent.store(false, Ordering::SeqCst);
    cache.is_away.store(false, Ordering::SeqCst);
    let (slow, away) = (host.run(job("3", "n", r#"{"ms":10000}"#)), async {
        sleep(Duration::from_secs(5)).await;
        cache.is_away.store(true, Ordering::SeqCst);
    });
    let (report, ()) = futures::future::join(slow, away).await;
    assert_eq!(completed(&report.outcome), r#"{"run":2}"#);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_in_time_is_not_held_up_beyond_its_deadline() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    let began = Instant::now();
    // The last renewal before the deadline hangs, then what comes after the run.
    let (slow, silent) = (host.run(job("1", "n", r#"{"ms":28500}"#)), async {
        sleep(Duration::from_millis(27_500)).await;
        cache.is_silent.store(true, Ordering::SeqCst);
    });
    let (report, ()) = futures::future::join(slow, silent).await;
    assert_eq!(completed(&report.outcome), r#"{"run":0}"#);
    assert!(began.elapsed() <= DEADLINE + KEEP_BEYOND, "{:?}", began.elapsed());
    cache.is_silent.store(false, Ordering::SeqCst);
    let began = Instant::now();
    let (slow, silent) = (host.run(job("2", "m", r#"{"ms":29990}"#)), async {
        sleep(Duration::from_millis(29_500)).await;
        cache.is_silent.store(true, Ordering::SeqCst);
    });
    let (report, ()) = futures::future::join(slow, silent).await;
    assert_eq!(completed(&report.outcome), r#"{"run":1}"#);
    assert!(began.elapsed() <= DEADLINE + KEEP_BEYOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_played_is_run_whatever_is_kept() {
    let cache = Arc::new(Fake::default());
    let host = Host::new(&cache);
    host.run(job("1", "n", "{}")).await;
    let copy = attempt(job("2", "n", "{}"));
    copy.io.set_tape(Tape::Play(Arc::new(Player::new(Arc::new(Recording::default())))));
    assert!(!host.results.run(copy.clone()).await.receipt.cached);
    assert_eq!((host.runs(), host.heard()), (2, vec!["miss"]));
    assert!(copy.io.is_played(), "the tape is left to the runner");
}
