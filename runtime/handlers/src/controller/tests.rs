use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jobcell_core::documents::MemoryDocuments;
use jobcell_core::event::Silent;
use jobcell_core::{
    Attempt, AttemptIo, Job, JobId, Outcome, Receipt, Report, Route, Router, Runner, StopCause, SystemClock,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::canary::CanaryRules;
use crate::catalog::{Applied, DeployOptions, HistoryEntry, Inspected};
use crate::desired::Command;
use crate::digest::Digest;
use crate::loader::{Haste, Made};
use crate::version::State;
use crate::wants::Capability;

mod away;
mod files;
mod verdicts;

/// Does what its bytes say: `trap…` breaks every job, anything else completes them.
struct Version {
    handler: String,
    version: String,
    traps: bool,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Runner for Version {
    fn handler(&self) -> &str {
        &self.handler
    }
    fn version(&self) -> &str {
        &self.version
    }
    fn deadline(&self) -> Duration {
        Duration::from_secs(5)
    }
    async fn run(&self, _: Attempt) -> Report {
        let outcome = if self.traps {
            Outcome::stopped(StopCause::Trap, "it trapped")
        } else {
            Outcome::Complete(bytes::Bytes::new())
        };
        Report { outcome, receipt: Receipt::default() }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `bad…` is refused for its bytes, `here…` by this host, `busy…` by bad luck, `slow…` waits for the gate. Of a
/// `doubtful…` one that is made in haste the verdict is open; else this host refuses it.
struct Fake {
    settings: StdMutex<String>,
    loads: StdMutex<Vec<(String, Haste)>>,
    verdicts: StdMutex<HashMap<String, oneshot::Sender<Result<(), LoadError>>>>,
    gate: Semaphore,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Loader for Fake {
    async fn load(&self, handler: &str, artifact: Artifact, haste: Haste) -> Result<Made, LoadError> {
        let text = String::from_utf8_lossy(&artifact.bytes[12..]).into_owned();
        self.loads.lock().unwrap().push((text.clone(), haste));
        let refused = |blame| LoadError::Refused { handler: handler.to_owned(), reason: text.clone(), blame };
        if text.starts_with("slow") {
            self.gate.acquire().await.unwrap().forget();
        }
        match text.split_whitespace().next() {
            Some("bad") => Err(refused(Blame::Bytes)),
            Some("here") => Err(refused(Blame::Host)),
            Some("doubtful") if haste == Haste::Later => Err(refused(Blame::Host)),
            Some("busy") if self.loads.lock().unwrap().iter().filter(|(of, _)| *of == text).count() < 3 => {
                Err(refused(Blame::Passing))
            }
            _ => {
                self.alive.fetch_add(1, Ordering::SeqCst);
                let runner = Arc::new(Version {
                    handler: handler.to_owned(),
                    version: artifact.digest.short(),
                    traps: text.starts_with("trap"),
                    alive: Arc::clone(&self.alive),
                });
                let is_open = haste == Haste::Now && text.starts_with("doubtful");
                let verdict = is_open.then(|| {
                    let (judge, verdict) = oneshot::channel();
                    self.verdicts.lock().unwrap().insert(text, judge);
                    verdict
                });
                Ok(Made { runner, verdict })
            }
        }
    }

    fn settings(&self, _: &str) -> String {
        self.settings.lock().unwrap().clone()
    }
}

/// A component that holds nothing but this text, in a section that no engine looks at.
fn component(text: &str) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend([0, u8::try_from(text.len() + 2).unwrap(), 1, b't']);
    bytes.extend(text.as_bytes());
    bytes
}

fn digest(text: &str) -> Digest {
    Digest::of(&component(text))
}

struct Anything;

impl Inspect for Anything {
    fn inspect(&self, component: &[u8]) -> Result<Inspected, String> {
        let needs = if component.ends_with(b"wants kv") { vec![Capability::Kv] } else { Vec::new() };
        Ok(Inspected { needs, ..Inspected::default() })
    }
}

struct Host {
    controller: Controller,
    registry: Arc<Registry>,
    loader: Arc<Fake>,
    documents: Arc<dyn Documents>,
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

impl Host {
    fn on(documents: &Arc<dyn Documents>) -> Self {
        Self::named(documents, "test-1-0000")
    }

    fn named(documents: &Arc<dyn Documents>, name: &str) -> Self {
        let registry = Arc::new(Registry::new(HashMap::new()));
        let ground = Ground {
            registry: Arc::clone(&registry),
            documents: Arc::clone(documents),
            inspect: Arc::new(Anything),
            clock: Arc::new(SystemClock),
            observer: Arc::new(Silent),
            host: name.to_owned(),
        };
        let controller = Controller::new(ground, Arc::new(MemoryDocuments::default()));
        let loader = Arc::new(Fake {
            settings: StdMutex::default(),
            loads: StdMutex::default(),
            verdicts: StdMutex::default(),
            gate: Semaphore::new(0),
            alive: Arc::default(),
        });
        Self { controller, registry, loader, documents: Arc::clone(documents) }
    }

    fn setup(&self, plans: Vec<Plan>) -> Setup {
        Setup {
            loader: Arc::clone(&self.loader) as _,
            routes: HashMap::from([(queue(), Routes::all(plans[0].name.clone()))]),
            plans,
            trust: Trust::default(),
            registries: OciRegistries::default(),
        }
    }

    /// With the handler `a`, which is deployed.
    async fn stored() -> Self {
        let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
        let host = Self::on(&documents);
        host.controller.start(host.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
        host
    }

    async fn deploy(&self, text: &str) -> Digest {
        self.hand_in_as(text, true).await
    }

    /// Without activating it.
    async fn hand_in(&self, text: &str) -> Digest {
        self.hand_in_as(text, false).await
    }

    async fn hand_in_as(&self, text: &str, activate: bool) -> Digest {
        let catalog = self.controller.catalogs().unwrap().shared;
        let options =
            DeployOptions { activate, approve: true, who: "t".to_owned(), ..DeployOptions::default() };
        let artifact = Artifact::new(component(text));
        let digest = artifact.digest;
        catalog.deploy("a", artifact, None, options).await.unwrap();
        digest
    }

    async fn apply(&self, command: Command) -> Applied {
        let catalog = self.controller.catalogs().unwrap().shared;
        catalog.apply("a", command, "t", None).await.unwrap()
    }

    async fn desired(&self) -> Desired {
        let catalog = self.controller.catalogs().unwrap().shared;
        catalog.desired("a").await.unwrap().map(|(_, desired)| desired).unwrap_or_default()
    }

    /// Says that this version, which was made in haste, is refused after all.
    fn refuse(&self, text: &str, blame: Blame) {
        let judge = self.loader.verdicts.lock().unwrap().remove(text).expect("it was made in haste");
        let refused =
            LoadError::Refused { handler: "a".to_owned(), reason: format!("{text} is over"), blame };
        judge.send(Err(refused)).expect("somebody listens");
    }

    fn lag(&self) -> Option<String> {
        self.controller.statuses()["a"].lag.clone()
    }

    fn loads(&self, text: &str) -> usize {
        self.loader.loads.lock().unwrap().iter().filter(|(of, _)| *of == text).count()
    }

    fn route(&self, id: &str) -> Route {
        self.registry.route(&queue(), &Job::new(JobId::new(id).unwrap(), "n", "{}"))
    }

    fn runs(&self) -> Option<String> {
        match self.route("1") {
            Route::To(runner) => runner.digest().map(str::to_owned),
            Route::Nobody(_) | Route::Later(_) => None,
        }
    }

    async fn wait_runs(&self, digest: Digest) {
        until("the version runs", || self.runs() == Some(digest.to_string())).await;
    }

    async fn run(&self, id: &str) -> Outcome {
        self.report(id).await.outcome
    }

    async fn report(&self, id: &str) -> Report {
        let Route::To(runner) = self.route(id) else { panic!("somebody takes it") };
        let attempt = Attempt {
            queue: queue(),
            job: Arc::new(Job::new(JobId::new(id).unwrap(), "n", "{}")),
            deadline: Instant::now() + Duration::from_secs(5),
            deadline_at: SystemClock.now() + 5_000,
            cancel: CancellationToken::new(),
            io: Arc::new(AttemptIo::default()),
        };
        runner.run(attempt).await
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "{what}: not in time");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_version_is_loaded_before_it_takes_jobs_and_a_rollback_loads_nothing() {
    let host = Host::stored().await;
    assert_eq!(host.controller.waiting().len(), 1, "{:?}", host.controller.waiting());
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    assert!(host.controller.waiting().is_empty());

    let two = host.deploy("slow two").await;
    until("it is being loaded", || host.loads("slow two") == 1).await;
    assert_eq!(host.runs(), Some(one.to_string()), "nothing flips before it is ready");
    let status = host.controller.statuses()["a"].clone();
    assert_eq!((status.loading, status.active), (Some(two.to_string()), Some(one.to_string())));
    host.loader.gate.add_permits(1);
    host.wait_runs(two).await;
    let registry = Arc::clone(&host.registry);
    assert_eq!(registry.slots("a").unwrap().previous.as_ref().unwrap().loaded.version(), Some(one));

    host.apply(Command::Rollback { why: None }).await;
    host.wait_runs(one).await;
    assert_eq!((host.loads("one"), host.loads("slow two")), (1, 1));
    let desired = host.desired().await;
    assert!(desired.version(&one).unwrap().admitted_at.is_some());
}

#[tokio::test]
async fn only_what_is_to_take_jobs_at_once_is_loaded_in_haste() {
    let host = Host::stored().await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    // Held against the active version, it has to be as fast as it is going to be.
    let two = host.hand_in("two").await;
    let rules = CanaryRules::default();
    host.apply(Command::Canary { digest: two, percent: 50, rules, approve: true }).await;
    until("the canary is loaded", || host.registry.slots("a").is_some_and(|slots| slots.canary.is_some()))
        .await;
    let three = host.hand_in("three").await;
    until("it is tried", || host.loads("three") == 1).await;
    host.apply(Command::Activate { digest: three, approve: true }).await;
    host.wait_runs(three).await;
    let loads = host.loader.loads.lock().unwrap().clone();
    let of = |text: &str| -> Vec<Haste> {
        loads.iter().filter(|(of, _)| of == text).map(|(_, haste)| *haste).collect()
    };
    assert_eq!(of("one"), [Haste::Now]);
    assert_eq!(of("three"), [Haste::Later, Haste::Now], "once to see whether it can be, then for its jobs");
    assert!(!of("two").is_empty() && of("two").iter().all(|haste| *haste == Haste::Later), "{loads:?}");
}

#[tokio::test]
async fn what_cannot_be_loaded_leaves_what_runs_and_says_why() {
    let host = Host::stored().await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;

    host.deploy("here it lacks a grant").await;
    until("it lags", || host.controller.statuses()["a"].lag.is_some()).await;
    assert!(host.controller.statuses()["a"].lag.as_ref().unwrap().contains("lacks a grant"));
    assert_eq!(host.runs(), Some(one.to_string()));

    let bad = host.deploy("bad bytes").await;
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&bad).unwrap().state != State::Refused {
        assert!(Instant::now() < end, "it is refused for all hosts");
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(host.runs(), Some(one.to_string()));

    let busy = host.deploy("busy once or twice").await;
    host.wait_runs(busy).await;
    until("nothing lags", || host.controller.statuses()["a"].lag.is_none()).await;
    assert_eq!(host.loads("busy once or twice"), 3);
}

#[tokio::test]
async fn a_slow_load_is_overtaken() {
    let host = Host::stored().await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    host.deploy("slow two").await;
    until("it is being loaded", || host.loads("slow two") == 1).await;
    // Nobody opens the gate: the version in between is never finished.
    let three = host.deploy("three").await;
    host.wait_runs(three).await;
}

#[tokio::test]
async fn a_staged_version_is_compiled_whatever_is_decided_meanwhile() {
    let host = Host::stored().await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    let ahead = host.hand_in("slow ahead").await;
    until("it is being loaded", || host.loads("slow ahead") == 1).await;
    let two = host.deploy("two").await;
    host.wait_runs(two).await;
    until("it is being loaded again", || host.loads("slow ahead") == 2).await;
    host.loader.gate.add_permits(1);
    wait_admitted(&host, ahead).await;

    // Nor does one that fails by nobody's fault keep others from it, or stay untried.
    let (busy, other) = (host.hand_in("busy ahead").await, host.hand_in("other ahead").await);
    for digest in [other, busy] {
        wait_admitted(&host, digest).await;
    }
    assert_eq!(host.loads("busy ahead"), 3);
}

async fn wait_admitted(host: &Host, digest: Digest) {
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&digest).is_none_or(|version| version.state != State::Admitted) {
        assert!(Instant::now() < end, "{digest} is not admitted");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nothing_stays_of_versions_that_are_gone() {
    let host = Host::stored().await;
    for n in 0..200 {
        let digest = host.deploy(&format!("version {n}")).await;
        host.wait_runs(digest).await;
    }
    until("two are left", || host.loader.alive.load(Ordering::SeqCst) <= 2).await;
    assert!(host.desired().await.versions.len() <= 50);
    assert_eq!(host.registry.versions().len(), 2);
}

#[tokio::test]
async fn a_version_at_fault_is_quarantined_and_its_jobs_are_given_back() {
    let host = Host::stored().await;
    let good = host.deploy("good").await;
    host.wait_runs(good).await;
    let bad = host.deploy("trap always").await;
    host.wait_runs(bad).await;
    until("the one before is kept", || host.registry.slots("a").unwrap().previous.is_some()).await;
    for id in 10..15 {
        let Report { outcome, receipt } = host.report(&id.to_string()).await;
        assert!(matches!(outcome, Outcome::DelayUntil(_)), "job {id} is given back: {outcome:?}");
        assert_eq!(receipt.stopped_by, Some(StopCause::Trap), "and counted as what it is");
    }
    assert_eq!(host.runs(), Some(bad.to_string()), "it may be the jobs");
    for id in 10..15 {
        assert!(matches!(host.run(&id.to_string()).await, Outcome::Complete(_)), "it runs on the one before");
    }
    host.wait_runs(good).await;
    assert!(matches!(host.run("10").await, Outcome::Complete(_)));
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&bad).unwrap().state != State::Quarantined {
        assert!(Instant::now() < end, "the fleet hears of it");
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(host.desired().await.active, Some(good));
    let why = host.desired().await.version(&bad).unwrap().why.clone();
    assert!(why.contains("5 different jobs"), "{why}");

    // Released and made active again, it gets a new chance.
    host.apply(Command::Release { digest: bad }).await;
    host.apply(Command::Activate { digest: bad, approve: true }).await;
    host.wait_runs(bad).await;
    assert!(matches!(host.run("9").await, Outcome::DelayUntil(_)));
    assert!(matches!(host.run("9").await, Outcome::Complete(_)), "on the one before");
    assert!(matches!(host.run("9").await, Outcome::Stopped(_)), "once, then it is an attempt");
}

#[tokio::test]
async fn every_host_follows_and_a_late_one_begins_with_what_is_wanted() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let hosts = [Host::on(&documents), Host::on(&documents), Host::on(&documents)];
    for host in &hosts {
        host.controller.start(host.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    }
    let one = hosts[0].deploy("one").await;
    for host in &hosts {
        host.wait_runs(one).await;
    }
    let late = Host::on(&documents);
    late.controller.start(late.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    assert_eq!(late.runs(), Some(one.to_string()), "before it takes a job");
    assert!(Arc::ptr_eq(&late.documents, &documents));
}

#[tokio::test]
async fn where_the_wanted_version_cannot_be_run_a_late_host_runs_the_one_before_and_says_so() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let plans = || vec![Plan::new("a", Source::Store)];
    let early = Host::on(&documents);
    early.controller.start(early.setup(plans())).await.unwrap();
    let one = early.deploy("one").await;
    early.wait_runs(one).await;
    let wanted = early.deploy("here it lacks a grant").await;
    early.deploy("here it lacks two").await;
    let wanted = [wanted, digest("here it lacks two")];
    let late = Host::on(&documents);
    late.controller.start(late.setup(plans())).await.unwrap();
    assert_eq!(late.runs(), Some(one.to_string()), "the nearest that can be run, before it takes a job");
    assert!(late.controller.waiting().is_empty());
    let said = format!("runs {} because {} cannot be run here", one.short(), wanted[1].short());
    let lag = || late.controller.statuses()["a"].lag.clone().unwrap_or_default();
    assert!(lag().contains(&said), "{}", lag());
    until("the follower has looked at it", || late.controller.statuses()["a"].generation > 0).await;
    assert!(lag().contains(&said), "{}", lag());

    // Another configuration changes nothing about it.
    assert_eq!(late.controller.change(late.setup(plans())).await.unwrap(), []);
    assert_eq!(late.runs(), Some(one.to_string()));
    let three = early.deploy("three").await;
    late.wait_runs(three).await;
    until("nothing lags", || late.controller.statuses()["a"].lag.is_none()).await;
}

#[tokio::test]
async fn what_every_host_refuses_is_wanted_no_more_where_another_one_runs() {
    let host = Host::stored().await;
    // The first of all is waited for: a host that can run it may come.
    host.deploy("here it lacks one").await;
    until("it lags", || host.controller.statuses()["a"].lag.is_some()).await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    let two = host.deploy("here it lacks two").await;
    until("it is refused here", || host.controller.statuses()["a"].refuses == [two.to_string()]).await;
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&two).unwrap().state != State::Refused {
        assert!(Instant::now() < end, "the fleet hears of it");
        sleep(Duration::from_millis(2)).await;
    }
    let desired = host.desired().await;
    assert_eq!(desired.active, Some(one), "what runs is what is wanted");
    let why = &desired.version(&two).unwrap().why;
    assert!(why.starts_with("the only host refuses it: ") && why.contains("lacks two"), "{why}");
    until("nothing lags", || host.controller.statuses()["a"].lag.is_none()).await;
    // Given what it lacks it is deployed again.
    host.deploy("here it lacks two").await;
    assert_eq!(host.desired().await.active, Some(two));
}
