//! One deploy reaches every host of a fleet, while jobs run, hosts die and Redis restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobcell_core::documents::{Documents, Folder};
use jobcell_core::fleet::{HostHandler, HostStatus};
use jobcell_core::{StoreError, SystemClock};
use jobcell_handlers::catalog::{Inspect, Inspected};
use jobcell_handlers::version::{State, Version};
use jobcell_handlers::{
    Artifact, CanaryRules, Catalog, CatalogError, Command, DeployOptions, Desired, Trust,
};
use jobcell_redis::{ConnectOptions, Redis, RedisDocuments};
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};
use rustix::process::Signal;

use super::baseline::OWN_CACHE;
use super::guest::{Does, Guest};

/// A queue of a handler that is deployed, and one of another that is there.
pub(super) const STORED: &str = r#"
[queues.work]
handler = "mine"
concurrency = 8
lock = "3s"
stalled-interval = "1s"
max-stalled = 9
[handlers.mine]
source = "store"
"#;

/// Deploys as the command line does, straight into the store.
pub(super) struct Operator {
    runtime: tokio::runtime::Runtime,
    documents: Arc<dyn Documents>,
    catalog: Catalog,
}

/// Takes everything: what is deployed is judged by the hosts.
struct Anything;

impl Inspect for Anything {
    fn inspect(&self, _: &[u8]) -> Result<Inspected, String> {
        Ok(Inspected::default())
    }
}

impl Operator {
    pub(super) fn on(redis: &RedisServer) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = ConnectOptions::from_url(&redis.url()).unwrap();
        let connected = runtime.block_on(Redis::connect(options)).unwrap();
        let documents: Arc<dyn Documents> = Arc::new(RedisDocuments::new(connected));
        let (inspect, clock) = (Arc::new(Anything), Arc::new(SystemClock));
        let catalog = Catalog::new(Arc::clone(&documents), Trust::default(), inspect, clock);
        Self { runtime, documents, catalog }
    }

    pub(super) fn deploy(&self, guest: &Guest, options: DeployOptions) -> Result<(), CatalogError> {
        let artifact = Artifact::new(guest.bytes.clone());
        let options = DeployOptions { approve: true, who: "test".to_owned(), ..options };
        // A store that restarts is asked again: the same version deployed twice is one.
        let end = Instant::now() + wait::SOON;
        loop {
            let deployed =
                self.runtime.block_on(self.catalog.deploy("mine", artifact.clone(), None, options.clone()));
            match deployed {
                Err(CatalogError::Store(StoreError::Unavailable(_))) if Instant::now() < end => {}
                deployed => return deployed.map(drop),
            }
        }
    }

    /// Makes it active.
    pub(super) fn activate(&self, guest: &Guest) {
        self.deploy(guest, DeployOptions { activate: true, ..DeployOptions::default() }).unwrap();
    }

    /// Makes it the canary.
    pub(super) fn canary(&self, guest: &Guest, percent: u8, rules: CanaryRules) {
        self.deploy(guest, DeployOptions { canary: Some((percent, rules)), ..DeployOptions::default() })
            .unwrap();
    }

    pub(super) fn apply(&self, command: Command) -> Result<(), CatalogError> {
        self.runtime.block_on(self.catalog.apply("mine", command, "test", None)).map(drop)
    }

    pub(super) fn desired(&self) -> Desired {
        self.runtime
            .block_on(self.catalog.desired("mine"))
            .unwrap()
            .map(|(_, desired)| desired)
            .unwrap_or_default()
    }

    pub(super) fn state(&self, guest: &Guest) -> Option<State> {
        self.desired().version(&guest.digest()).map(|version| version.state)
    }

    #[track_caller]
    pub(super) fn wait_state(&self, guest: &Guest, state: State) {
        wait::until(&format!("the version is {state}"), || (self.state(guest) == Some(state)).then_some(()));
    }

    /// Waits until so many hosts, which are all of them, run the second version and can go back to the first.
    #[track_caller]
    pub(super) fn wait_swapped(&self, hosts: usize, from: &Guest, to: &Guest) {
        wait::until("every host runs the new version, and has the one before", || {
            let running = self.hosts();
            let is_there =
                |of: &HostHandler| of.active == Some(to.name()) && of.previous == Some(from.name());
            (running.len() == hosts && running.values().all(is_there)).then_some(())
        });
    }

    /// What each living host runs, by its process.
    pub(super) fn hosts(&self) -> BTreeMap<u32, HostHandler> {
        let listed = self.runtime.block_on(self.documents.list(Folder::Hosts)).unwrap_or_default();
        let statuses = listed.iter().filter_map(|(id, found)| HostStatus::decode(id, &found.content).ok());
        statuses
            .map(|status| (status.pid, status.handlers.get("mine").cloned().unwrap_or_default()))
            .collect()
    }

    /// Whether all of these hosts run this version.
    fn all_run(&self, pids: &BTreeSet<u32>, guest: &Guest) -> bool {
        let hosts = self.hosts();
        let runs = |pid| hosts.get(pid).is_some_and(|of: &HostHandler| of.active == Some(guest.name()));
        pids.iter().all(runs)
    }
}

/// What a job came to: its result, and the version in the receipt of its attempt.
pub(super) fn ended_on(ledger: &Ledger, id: &str) -> (Option<String>, Option<String>) {
    let receipt = ledger.field(id, "receipt:1").and_then(|text| serde_json::from_str(&text).ok());
    let receipt: Option<serde_json::Value> = receipt;
    let digest = receipt.and_then(|receipt| receipt["digest"].as_str().map(str::to_owned));
    (ledger.field(id, "returnvalue"), digest)
}

#[test]
fn a_host_waits_for_a_first_deploy_and_serves_its_other_queues() {
    let redis = RedisServer::start();
    let more = "[queues.other]\nhandler = \"basic\"\n[handlers.basic]\nsource = \"${basic}\"\n";
    let site = Site::redis(&redis, &format!("{STORED}{more}"));
    let host = Host::launch(&site, &[]);
    host.wait_log(" ready");
    let other = Ledger::of(&redis, "other");
    let ids = other.push_noops(3);
    other.wait_completed(&ids, wait::SOON);
    let (status, page) = host.get("/readyz").unwrap();
    assert_eq!(status, 503, "{page}");
    assert!(page.contains("mine") && page.contains("jobcell handler deploy mine"), "{page}");

    let ledger = Ledger::of(&redis, "work");
    let waiting = ledger.push_noops(3);
    let (operator, guest) = (Operator::on(&redis), Guest::marked("first"));
    operator.activate(&guest);
    ledger.wait_completed(&waiting, wait::SOON);
    for id in &waiting {
        assert_eq!(ended_on(&ledger, id), (Some(guest.result.clone()), Some(guest.name())));
    }
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    operator.wait_state(&guest, State::Active);
    wait::until("it is admitted", || operator.desired().version(&guest.digest())?.admitted_at);
    ledger.check_completed_once(&waiting);

    // A host that comes later starts with the right set.
    let late = Site::redis(&redis, STORED);
    let late = Host::start(&late);
    assert!(
        late.log().iter().any(|line| line.contains(&format!("mine@{}", guest.version()))),
        "{:?}",
        late.log()
    );
}

#[test]
fn what_no_host_can_run_is_refused_and_the_version_before_goes_on() {
    let redis = RedisServer::start();
    let (operator, good) = (Operator::on(&redis), Guest::marked("good"));
    operator.activate(&good);
    let site = Site::redis(&redis, STORED);
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    let half = Guest { bytes: good.bytes[..good.bytes.len() / 2].to_vec(), ..good.clone() };
    let core_module = Guest { bytes: wat::parse_str("(module)").unwrap(), ..good.clone() };
    let other_world = Guest { bytes: wat::parse_str("(component)").unwrap(), ..good.clone() };
    let at_start = Guest::new("at start", Does::TrapAtStart);
    for (bad, why) in [
        (half, "malformed"),
        (core_module, "core module"),
        (other_world, "another world"),
        (at_start, "before its first job"),
    ] {
        // Bytes that are cut off are not even taken by the catalog itself.
        if operator.deploy(&bad, DeployOptions { activate: true, ..DeployOptions::default() }).is_ok() {
            operator.wait_state(&bad, State::Refused);
            let desired = operator.desired();
            assert_eq!(desired.active, Some(good.digest()), "{why}");
            let told = &desired.version(&bad.digest()).unwrap().why;
            assert!(told.contains(why), "{told:?} should say {why:?}");
        }
        let ids = ledger.push_noops(2);
        ledger.wait_completed(&ids, wait::SOON);
        assert_eq!(ended_on(&ledger, &ids[0]).1, Some(good.name()), "{why}");
    }
    drop(host);
}

/// What `capable` imports.
const GRANTED: &str = r#"
[handlers.mine.grants]
http = [{ url = "https://granted.example" }]
blobs = ["files"]
cache = true
kv = ["any"]
enqueue = ["other"]
publish = ["any"]
secrets = ["any"]
[blobs.files]
url = "file://${site}"
[secrets]
any = { file = "${site}/any" }
"#;

#[test]
fn a_host_that_has_died_is_none_that_refuses() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (first, second) = (Guest::marked("first"), Guest::marked("second"));
    operator.activate(&first);
    let sites = [0, 1].map(|_| Site::redis(&redis, STORED));
    let [dead, alive] = sites.each_ref().map(Host::start);
    dead.kill();
    let file = sites[1].write("second.wasm", &second.bytes);
    // Until the fleet knows, it seems to be one that has not followed yet.
    let said = sites[1].cli(&["handler", "deploy", "mine", file.to_str().unwrap()]).ok();
    // On the optimised code or on the baseline code, whichever it came upon.
    assert!(said.stderr.contains(&format!(" runs {} ", second.version())), "{said}");
    alive.stop();
}

#[test]
fn a_host_without_the_grants_keeps_the_old_version_and_says_why() {
    let redis = RedisServer::start();
    let (operator, good) = (Operator::on(&redis), Guest::marked("good"));
    operator.activate(&good);
    let site = Site::redis(&redis, STORED);
    let mut host = Host::start(&site);
    // Another one can run it, so it stays what is wanted.
    let granted = Site::redis(&redis, &format!("{STORED}{GRANTED}"));
    granted.write("any", "of no value");
    let able = Host::start(&granted);
    let capable = std::fs::read(jobcell_tests::artifacts::guest("capable")).unwrap();
    let capable = Guest { bytes: capable, ..good.clone() };
    operator.activate(&capable);
    let lag = wait::until("the host says why it lags", || operator.hosts().get(&host.id())?.lag.clone());
    assert!(lag.contains("without the grant") && lag.contains("[handlers.mine.grants]"), "{lag}");
    let running = operator.hosts()[&host.id()].clone();
    assert_eq!((running.active, running.refuses), (Some(good.name()), vec![capable.name()]));
    wait::until("the other host runs it", || {
        operator.hosts().values().any(|of| of.active == Some(capable.name())).then_some(())
    });
    // It lags, and can have a canary all the same: that is all that was asked of it.
    let file = site.write("beside.wasm", &Guest::marked("beside").bytes);
    let canary = ["handler", "deploy", "mine", file.to_str().unwrap(), "--canary", "10"];
    let _ = site.cli(&canary).ok().says(&[&format!("runs {} and ", good.version())]);
    operator.apply(Command::Rollback { why: None }).unwrap();
    able.stop();
    let ledger = Ledger::of(&redis, "work");
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, wait::SOON);
    assert_eq!(ended_on(&ledger, &ids[0]).1, Some(good.name()));

    // A host that starts serves the old version as well, is ready, and says why.
    host.stop();
    let mut host = Host::start(&site);
    assert_eq!(host.get("/readyz").map(|(status, _)| status), Some(200));
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, wait::SOON);
    assert_eq!(ended_on(&ledger, &ids[0]).1, Some(good.name()));
    let lag = wait::until("the host says why it lags", || operator.hosts().get(&host.id())?.lag.clone());
    assert!(lag.contains("cannot be run here") && lag.contains("without the grant"), "{lag}");
    assert_eq!(operator.desired().active, Some(capable.digest()), "a host has run it, and may come back");
    // Back to the version that runs: nothing lags any more.
    operator.apply(Command::Rollback { why: None }).unwrap();
    wait::until("nothing lags", || operator.hosts().get(&host.id())?.lag.is_none().then_some(()));
}

#[test]
fn whoever_deploys_is_told_when_the_store_goes_away_meanwhile() {
    let mut redis = RedisServer::start();
    let (operator, good) = (Operator::on(&redis), Guest::marked("good"));
    operator.activate(&good);
    let site = Site::redis(&redis, STORED);
    let host = Host::start(&site);
    // Without its grants it cannot be run here: the command waits a while for somebody to give them.
    let capable = std::fs::read(jobcell_tests::artifacts::guest("capable")).unwrap();
    let capable = Guest { bytes: capable, ..good.clone() };
    let file = site.write("capable.wasm", &capable.bytes);
    let deploy = ["handler", "deploy", "mine", file.to_str().unwrap(), "--approve", "--wait", "4"];
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| site.cli(&deploy));
        wait::until("the change is made", || {
            (operator.desired().active != Some(good.digest())).then_some(())
        });
        redis.down();
        ran.join().unwrap()
    });
    let ran = ran
        .exits(69)
        .says(&["the change is made; who follows cannot be seen now", "error: the change is made"]);
    assert!(!ran.stderr.contains("still runs"), "nobody knows that: {ran}");
    redis.up();
    // Hosts go on where they were: no one can run it.
    let operator = Operator::on(&redis);
    operator.wait_state(&capable, State::Refused);
    assert_eq!(operator.desired().active, Some(good.digest()));
    host.stop();
}

#[test]
fn a_reload_while_the_store_is_away_loses_no_version_that_runs() {
    let mut redis = RedisServer::start();
    let good = Guest::marked("good");
    Operator::on(&redis).activate(&good);
    let site = Site::redis(&redis, STORED);
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, wait::SOON);

    redis.down();
    host.signal(Signal::HUP);
    host.wait_log("what runs stays until that passes");
    // Told something else, it cannot be loaded that way now: the whole change is none.
    site.write_config(&format!("{}quarantine = 2\n", site.config()));
    host.signal(Signal::HUP);
    assert!(host.wait_log("handlers not changed").contains("what is wanted of it cannot be read"));
    let removed = || {
        let (_, metrics) = host.get("/metrics").unwrap();
        let is_removal = |line: &str| line.starts_with("jobcell_swaps_total{") && line.contains("\"remove\"");
        metrics.lines().any(|line| is_removal(line) && !line.ends_with(" 0"))
    };
    assert!(!removed(), "it goes on");

    redis.up();
    let ids = ledger.push_noops(3);
    ledger.wait_completed(&ids, wait::SOON);
    assert_eq!(ended_on(&ledger, &ids[0]).1, Some(good.name()));
    assert!(!removed(), "it went on all the time");
    host.stop();
}

/// How long, at how many jobs a second, and how soon every host must have followed every deploy. `JOBCELL_SOAK` is for the
/// whole proof, in seconds at 500 jobs a second: on a machine that is not shared with every other suite, two seconds are
/// promised.
fn soak() -> (u32, usize, Duration) {
    let seconds = std::env::var("JOBCELL_SOAK").ok().and_then(|text| text.parse().ok());
    seconds.map_or((15, 100, Duration::from_secs(15)), |seconds| (seconds, 500, Duration::from_secs(2)))
}

#[test]
fn swaps_under_load_lose_nothing_and_mix_nothing() {
    let (seconds, rate, converges) = soak();
    let mut redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let ledger = Ledger::of(&redis, "work");
    let mut guests = vec![Guest::marked("0")];
    operator.activate(&guests[0]);
    // Two of them change the code of each version while its jobs run; the first is killed.
    let changing = format!("{STORED}{OWN_CACHE}");
    let lasting = format!("{changing}baseline = false\n");
    let sites = [&changing, &lasting, &changing].map(|config| Site::redis(&redis, config));
    let mut hosts: Vec<Host> = sites.iter().map(Host::start).collect();
    let mut pids: BTreeSet<u32> = hosts.iter_mut().map(Host::id).collect();
    let (mut ids, mut converged) = (Vec::new(), Vec::new());
    for second in 1..=seconds {
        if second == seconds / 3 {
            let mut host = hosts.remove(0);
            pids.remove(&host.id());
            host.kill();
        }
        if second == seconds / 2 {
            redis.down();
            redis.up();
            ledger.keep_events();
        }
        let (guest, begin) = (Guest::marked(&second.to_string()), Instant::now());
        operator.activate(&guest);
        let deployed = Instant::now();
        let mut reached = None;
        for slice in 1..=10 {
            ids.extend(ledger.push_noops(rate / 10));
            if reached.is_none() && operator.all_run(&pids, &guest) {
                reached = Some(deployed.elapsed());
            }
            let next = begin + Duration::from_millis(100) * slice;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let reached = reached.unwrap_or_else(|| {
            wait::until("every host runs what was deployed", || {
                operator.all_run(&pids, &guest).then_some(())
            });
            deployed.elapsed()
        });
        converged.push(reached);
        guests.push(guest);
    }
    ledger.wait_completed(&ids, Duration::from_secs(60));
    ledger.check_completed_once(&ids);
    let versions: BTreeMap<&str, String> = guests.iter().map(|g| (g.result.as_str(), g.name())).collect();
    let mut used = BTreeSet::new();
    for id in &ids {
        let (result, digest) = ended_on(&ledger, id);
        let result = result.unwrap();
        assert_eq!(versions.get(result.as_str()), digest.as_ref(), "job {id} answered {result}");
        used.insert(result);
    }
    assert!(used.len() > guests.len() / 2, "most versions ran jobs: {used:?}");
    converged.sort();
    println!(
        "{} jobs, {} swaps on three hosts, one killed, Redis restarted: none lost, none twice, none mixed; hosts \
         converged in {:?} (median), {:?} (longest)",
        ids.len(),
        guests.len(),
        converged[converged.len() / 2],
        converged[converged.len() - 1]
    );
    assert!(converged[converged.len() / 2] < Duration::from_secs(2), "{converged:?}");
    assert!(converged[converged.len() - 1] <= converges, "{converged:?}");
    // What the swaps left behind ends with its last job.
    let last = Instant::now();
    wait::until("no version is draining", || {
        let is_draining = |version: &Version| version.state == State::Draining;
        (!operator.desired().versions.iter().any(is_draining)).then_some(())
    });
    println!("no version was draining any more {:?} later", last.elapsed());
}
