//! What a host tells about itself: readiness, health, gauges.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use jobcell_core::clock::SystemClock;
use jobcell_core::documents::{Documents, Folder};
use jobcell_core::store::{Counts, StoreHealth};
use jobcell_core::worker::{Pulse, WorkerHealth};
use jobcell_core::{Clock, JobState, QueueName, Store};
use jobcell_handlers::registry::WAITING;
use jobcell_handlers::{Controller, Registry};
use jobcell_server::{
    Gauges, HandlerGauge, HandlerHealth, Health, HealthReport, HostGauges, QueueHealth, RedisHealth,
    RedisStatus, Status, StoreGauges, StoreReport, WorkerReport, queue_gauges,
};
use jobcell_wasm::Engine;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::stuck::HeldUp;
use crate::runtime::Runtime;
use crate::telemetry::Spans;

/// How long the store may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may then take to tell how the queues stand; all are asked at once.
const QUEUES_PATIENCE: Duration = Duration::from_millis(1500);

/// How often a burst looks whether a queue is paused: soon for a person, rarely for a store.
pub(super) const PAUSE_LOOK: Duration = Duration::from_secs(2);

/// What a host tells about itself.
pub(super) struct Condition {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    controller: Arc<Controller>,
    engine: Option<Engine>,
    queues: Vec<QueueName>,
    pulses: Vec<(QueueName, Arc<Pulse>)>,
    /// Where the hosts of the fleet are written down.
    documents: Arc<dyn Documents>,
    /// What became of spans; none where traces are not collected.
    spans: Option<Arc<Spans>>,
    /// Whether the store is Redis.
    redis: bool,
    /// Why jobs of queues do not run, by queue and in one word, as far as it was looked at.
    held_up: Mutex<HeldUp>,
    quiet: AtomicBool,
    stopping: AtomicBool,
    /// Told when the fleet should hear of something at once.
    changed: Notify,
}

impl Condition {
    pub(super) fn new(runtime: &Runtime, redis: bool, queues: Vec<QueueName>) -> Self {
        Self {
            store: Arc::clone(&runtime.open.store) as Arc<_>,
            registry: Arc::clone(&runtime.registry),
            controller: Arc::clone(&runtime.controller),
            engine: runtime.engine.clone(),
            queues,
            pulses: runtime.workers.pulses().to_vec(),
            documents: Arc::clone(&runtime.open.documents),
            spans: None,
            redis,
            held_up: Mutex::default(),
            quiet: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Shows what becomes of the spans of traces.
    pub(super) fn with_spans(mut self, spans: Option<Arc<Spans>>) -> Self {
        self.spans = spans;
        self
    }

    /// Shows what holds queues up.
    pub(super) fn set_held_up(&self, held_up: HeldUp) {
        *self.held_up.lock().unwrap_or_else(PoisonError::into_inner) = held_up;
    }

    fn held_up(&self, queue: &QueueName) -> Vec<String> {
        let known = self.held_up.lock().unwrap_or_else(PoisonError::into_inner);
        let of_queue = known.iter().filter(|((name, _), _)| name == queue.as_str());
        of_queue.map(|(_, message)| message.clone()).collect()
    }

    pub(super) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    async fn store_health(&self) -> Result<StoreHealth, String> {
        match timeout(PATIENCE, self.store.health()).await {
            Ok(Ok(health)) => Ok(health),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the store did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Logs what an operator should know of the store before trusting it with jobs.
    pub(super) async fn log_store(&self) {
        let Ok(StoreHealth { faults, warnings, .. }) = self.store_health().await else { return };
        for fault in faults {
            tracing::error!("store: {fault}");
        }
        for warning in warnings {
            tracing::warn!("store: {warning}");
        }
    }

    /// In burst mode: says once of each queue that is paused with jobs in it that they are waited for, because a host
    /// that waits for somebody else looks like one that hangs. Goes on until it is dropped.
    pub(super) async fn warn_of_paused(&self) -> Infallible {
        let mut told = HashSet::new();
        loop {
            for queue in &self.queues {
                let Some((true, jobs)) = self.queue_standing(queue).await else { continue };
                // What runs already ends by itself.
                let waiting = jobs.pending() - jobs.get(JobState::Active);
                if waiting > 0 && told.insert(queue) {
                    tracing::warn!(
                        queue = queue.as_str(),
                        waiting,
                        "the queue is paused and not empty: the burst ends when it goes on; \
                         run `jobcell queue resume {queue}`"
                    );
                }
            }
            sleep(PAUSE_LOOK).await;
        }
    }

    /// Whether a queue is paused, and its jobs by state.
    async fn queue_standing(&self, queue: &QueueName) -> Option<(bool, Counts)> {
        let ask = async {
            let jobs = self.store.counts(queue).await.ok()?;
            let paused = self.store.is_paused(queue).await.ok()?;
            Some((paused, jobs))
        };
        timeout(QUEUES_PATIENCE, ask).await.ok().flatten()
    }

    /// What is wrong with the workers, a sentence each.
    fn worker_faults(&self) -> Vec<String> {
        let told = self.pulses.iter().filter_map(|(queue, pulse)| {
            let WorkerHealth { silent, fault, stuck, still: _ } = pulse.look();
            match fault {
                Some(fault) => Some(format!("queue {queue}: {fault}")),
                None if stuck => Some(format!(
                    "queue {queue}: its worker has had no answer for {} s; if this lasts, restart the host and report it",
                    silent.as_secs()
                )),
                None => None,
            }
        });
        told.collect()
    }

    /// How many hosts of the fleet are alive.
    async fn hosts(&self) -> Option<u64> {
        let asked = timeout(QUEUES_PATIENCE, self.documents.list(Folder::Hosts));
        asked.await.ok()?.ok().map(|hosts| hosts.len() as u64)
    }

    async fn queue_reports(&self, store_up: bool) -> BTreeMap<String, QueueHealth> {
        let ask = self.queues.iter().map(|queue| async move {
            let standing = if store_up { self.queue_standing(queue).await } else { None };
            let (paused, jobs) = standing.unzip();
            let pulse = self.pulses.iter().find(|(name, _)| name == queue);
            let worker = pulse.map_or_else(WorkerReport::default, |(_, pulse)| {
                let WorkerHealth { silent, fault, stuck: _, still: _ } = pulse.look();
                WorkerReport { last_poll: Some(silent), fault }
            });
            let held_up = self.held_up(queue);
            (queue.as_str().to_owned(), QueueHealth { paused, jobs, held_up, worker })
        });
        join_all(ask).await.into_iter().collect()
    }
}

#[async_trait]
impl Health for Condition {
    async fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        if self.is_stopping() {
            reasons.push("the host is stopping".to_owned());
        }
        if self.is_quiet() {
            reasons.push("the host is quiet; send CONT to go on".to_owned());
        }
        reasons.extend(self.controller.waiting());
        match self.store_health().await {
            Err(reason) => reasons.push(reason),
            // It answers, and may refuse every write all the same: a replica, memory or disk that is full.
            Ok(_) => reasons.extend(self.worker_faults()),
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    async fn health(&self) -> HealthReport {
        let answer = self.store_health().await;
        let latency = answer.as_ref().ok().map(|health| health.latency);
        let message = match &answer {
            Ok(health) => format!("{} answers", health.kind),
            Err(reason) => reason.clone(),
        };
        let redis = match (self.redis, &answer) {
            (true, Ok(_)) => RedisHealth { status: RedisStatus::Connected, message, latency },
            (true, Err(_)) => RedisHealth { status: RedisStatus::Disconnected, message, latency: None },
            (false, _) => RedisHealth {
                status: RedisStatus::NotConfigured,
                message: "no Redis is configured; jobs live in the embedded store".to_owned(),
                latency: None,
            },
        };
        let kind = if self.redis { "redis" } else { "embedded" };
        let store = match &answer {
            Ok(StoreHealth { kind, latency, faults, warnings }) => StoreReport {
                kind: kind.clone(),
                up: true,
                latency: Some(*latency),
                warnings: faults.iter().chain(warnings).cloned().collect(),
            },
            Err(_) => StoreReport { kind: kind.to_owned(), up: false, latency: None, warnings: Vec::new() },
        };
        let faults = self.worker_faults();
        let queues = self.queue_reports(store.up).await;
        let handlers = self.registry.list().into_iter();
        HealthReport {
            status: if !store.up || (!faults.is_empty() && faults.len() == self.pulses.len()) {
                Status::Unhealthy
            } else if !store.warnings.is_empty() || !faults.is_empty() {
                Status::Degraded
            } else {
                Status::Healthy
            },
            redis,
            store,
            handlers: handlers
                .map(|h| {
                    let state = if h.version == WAITING { "waiting" } else { "active" };
                    (h.name, HandlerHealth { version: h.version, state })
                })
                .collect(),
            queues,
            version: env!("CARGO_PKG_VERSION"),
            wasmtime: jobcell_wasm::WASMTIME_VERSION,
        }
    }
}

#[async_trait]
impl Gauges for Condition {
    fn host(&self) -> HostGauges {
        let versions = self.registry.versions().into_iter();
        HostGauges {
            cells_active: self.engine.as_ref().map_or(0, |engine| engine.cells_active() as u64),
            cells_max: self.engine.as_ref().map_or(0, |engine| engine.cells_max() as u64),
            build: (env!("CARGO_PKG_VERSION"), jobcell_wasm::WASMTIME_VERSION),
            spans: self.spans.as_ref().map(|spans| spans.counts()).unwrap_or_default(),
            last_polls: self
                .pulses
                .iter()
                .map(|(queue, pulse)| (queue.clone(), pulse.look().silent))
                .collect(),
            handlers: versions
                .map(|v| HandlerGauge { handler: v.handler, version: v.version, state: v.state })
                .collect(),
        }
    }

    async fn store(&self) -> StoreGauges {
        let answer = self.store_health().await;
        let answers = answer.is_ok();
        let warnings = answer.map_or(0, |health| health.faults.len() + health.warnings.len());
        let ask = self.queues.iter().filter(|_| answers).map(|queue| async move {
            let asked = queue_gauges(&*self.store, queue, SystemClock.now());
            let gauges = timeout(QUEUES_PATIENCE, asked).await.ok()?.ok()?;
            Some((queue.clone(), gauges))
        });
        let queues = join_all(ask).await.into_iter().flatten().collect();
        let refuses = self.pulses.iter().any(|(_, pulse)| pulse.look().fault.is_some());
        let hosts = if answers { self.hosts().await } else { None };
        StoreGauges { up: answers && !refuses, warnings: warnings as u64, hosts, queues }
    }
}
