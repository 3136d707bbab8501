//! What the suites about outages share: a host on a Redis behind a proxy, with jobs under way; what must be true while
//! the store is away, and once it is back.

use std::time::{Duration, Instant};

use jobcell_tests::{Host, Ledger, Proxy, RedisServer, Site, wait};
use serde_json::json;

/// From when Redis takes writes again to the next claim. What is promised is 2 s; two busy cores may add to that.
const BACK: Duration = Duration::from_secs(10);
/// Attempts at once on a host.
const SLOTS: usize = 4;
/// Longer than any lock or recovery in these suites takes.
const SETTLED: Duration = Duration::from_secs(40);

/// See the module.
pub(super) struct Outage {
    pub(super) redis: RedisServer,
    pub(super) proxy: Proxy,
    pub(super) ledger: Ledger,
    pub(super) host: Host,
    site: Site,
    /// Every job so far.
    jobs: Vec<String>,
}

fn config(lock: &str, slots: usize) -> String {
    format!(
        r#"
[queues.work]
handler = "basic"
concurrency = {slots}
lock = "{lock}"
stalled-interval = "1s"
max-stalled = 5
[handlers.basic]
source = "${{basic}}"
"#
    )
}

impl Outage {
    /// A host whose locks hold so long, which has shown that it works.
    pub(super) fn prepare(lock: &str) -> Self {
        Self::prepare_with(lock, SLOTS)
    }

    /// The same with so many slots.
    pub(super) fn prepare_with(lock: &str, slots: usize) -> Self {
        let redis = RedisServer::start();
        let proxy = Proxy::start(redis.port());
        let ledger = Ledger::of(&redis, "work");
        let site = Site::at(&proxy.url(), &config(lock, slots));
        let host = Host::start(&site);
        let mut outage = Self { redis, proxy, ledger, host, site, jobs: Vec::new() };
        outage.push(20);
        let _ = outage.ledger.wait_completed(&outage.jobs, wait::SOON);
        outage
    }

    /// Another host on the same server, not behind the proxy.
    pub(super) fn another_host(&self, lock: &str) -> (Site, Host) {
        let site = Site::redis(&self.redis, &config(lock, SLOTS));
        let host = Host::start(&site);
        (site, host)
    }

    /// Adds so many jobs that take no time.
    pub(super) fn push(&mut self, count: usize) {
        self.jobs.extend(self.ledger.push_noops(count));
    }

    /// Adds a job that takes so long, and waits until it runs.
    pub(super) fn run_for(&mut self, takes: Duration) -> String {
        let data = json!({"ms": u64::try_from(takes.as_millis()).unwrap()});
        let id = self.ledger.push("sleep", [data]).remove(0);
        wait::until("the job is claimed", || self.ledger.count("active").get(&id).copied());
        // The host may not have heard yet that the job is its own, and would rightly give it back.
        wait::until("the job runs", || {
            let runs = self.metric("jobcell_cells_active").is_some_and(|cells| cells >= 1.0);
            (runs || self.ledger.count("completed").contains_key(&id)).then_some(())
        });
        self.jobs.push(id.clone());
        id
    }

    /// Forgets the jobs so far, because the server has.
    pub(super) fn forget(&mut self) {
        self.jobs.clear();
    }

    /// Waits until the host says everywhere that it cannot work, and why.
    pub(super) fn wait_not_ready(&self) -> String {
        let (reason, _) = wait::until("the host is not ready", || {
            let (status, body) = self.host.get("/readyz")?;
            let (_, health) = self.host.get("/health")?;
            (status == 503 && health.contains("\"unhealthy\"")).then_some((body, health))
        });
        wait::until("the store counts as away", || (self.metric("jobcell_store_up")? == 0.0).then_some(()));
        assert_eq!(self.host.get("/livez").unwrap().0, 200, "a host without its store is still alive");
        reason
    }

    /// A metric without labels or of the queue `work`.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.host.get("/metrics")?;
        let of_queue = format!("{name}{{queue=\"work\"}} ");
        let line = page.lines().find(|line| {
            line.starts_with(&of_queue) || line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Redis takes writes again: the host must claim again soon, and say that all is well.
    pub(super) fn back(&mut self, what: &str) {
        let back = Instant::now();
        self.push(1);
        let first = self.jobs.last().cloned().unwrap();
        wait::within(BACK, "a new job is claimed", || self.ledger.count("active").get(&first).copied());
        eprintln!("{what}: claims again after {:?}", back.elapsed());
        wait::until("the host is ready", || (self.host.get("/readyz")?.0 == 200).then_some(()));
        wait::until("the store counts as up", || (self.metric("jobcell_store_up")? == 1.0).then_some(()));
        let since = self.metric("jobcell_worker_last_poll_seconds").unwrap();
        assert!(since < 10.0, "the worker asked {since} s ago");
    }

    /// Everything is done, once; then the host ends well.
    pub(super) fn settle(self) {
        let _ = self.ledger.wait_completed(&self.jobs, SETTLED);
        wait::until("no lock is left", || {
            let locks = self.redis.client().run(&["KEYS", &self.ledger.key("*:lock")]).texts();
            locks.is_empty().then_some(())
        });
        self.ledger.check_completed_once(&self.jobs);
        self.host.stop();
        drop(self.site);
    }

    /// How often a job was started.
    pub(super) fn starts(&self, id: &str) -> Option<String> {
        self.ledger.field(id, "ats")
    }
}
