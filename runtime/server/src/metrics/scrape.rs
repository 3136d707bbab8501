//! A scrape: asks how queues stand, at most once a second and not for long, and writes the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::{Counts, Page};
use jobcell_core::{JobState, QueueName, Store, StoreError};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Format, Metrics, write};

/// Knows how things stand now.
#[async_trait]
pub trait Gauges: Send + Sync + 'static {
    /// How the host itself stands. Asked at every scrape, also while the store is away: must not wait.
    fn host(&self) -> HostGauges;

    /// How the store and its queues stand. Asked at most once a second whoever scrapes, and given 4 s. What cannot be had
    /// is left out: no value is better than an old one.
    async fn store(&self) -> StoreGauges;
}

/// How a host stands.
#[derive(Debug, Clone, Default)]
pub struct HostGauges {
    /// Cells alive now.
    pub cells_active: u64,
    /// Cells that can be alive at once; 0 where no handler needs one.
    pub cells_max: u64,
    /// The program's version, and the engine's.
    pub build: (&'static str, &'static str),
    /// Spans of traces; none where traces are not collected.
    pub spans: SpanCounts,
    /// Since the worker of each queue last had an answer when it asked for jobs; zero while it has no reason to ask.
    pub last_polls: BTreeMap<QueueName, Duration>,
    /// Every version of every handler that this host has loaded or refused.
    pub handlers: Vec<HandlerGauge>,
}

/// What became of the spans of traces since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector took them.
    pub sent: u64,
    /// They came faster than they could be sent, and were dropped here.
    pub dropped: u64,
    /// They were sent and not taken.
    pub failed: u64,
}

/// How a store stands.
#[derive(Debug, Clone, Default)]
pub struct StoreGauges {
    /// Whether it answers, and takes what workers ask of it.
    pub up: bool,
    /// How many things about it an operator should know, as `/health` words them.
    pub warnings: u64,
    /// Hosts of the fleet that are alive; none where that is not known.
    pub hosts: Option<u64>,
    /// The queues of this host.
    pub queues: BTreeMap<QueueName, QueueGauges>,
}

/// How a queue stands.
#[derive(Debug, Clone, Default)]
pub struct QueueGauges {
    /// How many jobs are in each state.
    pub counts: Counts,
    /// How long the job that has waited longest has waited; zero when none waits.
    pub oldest: Duration,
    /// Whether the queue is paused.
    pub paused: bool,
}

/// A version of a handler.
#[derive(Debug, Clone)]
pub struct HandlerGauge {
    /// The handler.
    pub handler: String,
    /// The first 12 hex digits of the version's digest, or `native`.
    pub version: String,
    /// `active`, `draining`, `refused`, …
    pub state: &'static str,
}

/// How one queue stands, from its store. Three or four round trips.
///
/// # Errors
/// When the store fails.
pub async fn queue_gauges(store: &dyn Store, queue: &QueueName, now: u64) -> Result<QueueGauges, StoreError> {
    let counts = store.counts(queue).await?;
    let paused = store.is_paused(queue).await?;
    let mut oldest_ms = 0;
    for state in [JobState::Waiting, JobState::Prioritized] {
        if counts.get(state) == 0 {
            continue;
        }
        // By arrival the first waits longest; by priority that is only likely, and reading all would cost too much.
        // Whoever pushes to a plain list does not say when.
        for job in store.list(queue, state, Page::first(1)).await?.into_iter().filter(|job| job.timestamp > 0)
        {
            oldest_ms = oldest_ms.max(now.saturating_sub(job.timestamp.saturating_add(job.delay)));
        }
    }
    Ok(QueueGauges { counts, oldest: Duration::from_millis(oldest_ms), paused })
}

/// How old the store's gauges may be: several scrapers cost the store no more than one.
const AGE_MAX: Duration = Duration::from_secs(1);
/// How long the store may take to answer. Prometheus gives up on a scrape after 10 s by default.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// Writes pages of metrics.
pub(crate) struct Scrape {
    metrics: Arc<Metrics>,
    gauges: Arc<dyn Gauges>,
    /// Held while asking, so that scrapes at the same time ask once. An async mutex: it is held over an await.
    last: Mutex<Option<(Instant, Arc<StoreGauges>)>>,
}

impl Scrape {
    pub(crate) fn new(metrics: Arc<Metrics>, gauges: Arc<dyn Gauges>) -> Self {
        Self { metrics, gauges, last: Mutex::new(None) }
    }

    /// The page.
    pub(crate) async fn page(&self, format: Format) -> Result<String, fmt::Error> {
        let store = self.store().await;
        // After the wait, so that it is as fresh as can be.
        let host = self.gauges.host();
        let named = |h: &HandlerGauge| (h.handler.clone(), h.version.clone());
        self.metrics.settle(&host.handlers.iter().map(named).collect(), Instant::now());
        format.write(Everything { metrics: Arc::clone(&self.metrics), host, store })
    }

    async fn store(&self) -> Arc<StoreGauges> {
        let mut last = self.last.lock().await;
        if let Some((at, store)) = &*last
            && at.elapsed() < AGE_MAX
        {
            return Arc::clone(store);
        }
        let asked = tokio::time::timeout(ANSWER_MAX, self.gauges.store()).await;
        let store = Arc::new(asked.unwrap_or_else(|_| {
            tracing::warn!(
                "the store did not answer a scrape within {ANSWER_MAX:?}; queues are left out of it"
            );
            StoreGauges::default()
        }));
        *last = Some((Instant::now(), Arc::clone(&store)));
        store
    }
}

/// Counters and gauges together.
#[derive(Debug)]
struct Everything {
    metrics: Arc<Metrics>,
    host: HostGauges,
    store: Arc<StoreGauges>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    wasmtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
    version: String,
    state: &'static str,
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { metrics, host, store } = self;
        metrics.each(|name, help, metric| write(&mut encoder, name, help, metric))?;
        let HostGauges { cells_active, cells_max, build, spans, last_polls, handlers } = host;
        let StoreGauges { up, warnings, hosts, queues } = &**store;
        let jobs = Family::<StateLabels, Gauge<u64, AtomicU64>>::default();
        let oldest = Family::<QueueLabels, Gauge<f64, AtomicU64>>::default();
        let paused = Family::<QueueLabels, Gauge<u64, AtomicU64>>::default();
        for (name, queue) in queues {
            let labels = QueueLabels { queue: name.to_string() };
            for state in JobState::ALL {
                let labels = StateLabels { queue: name.to_string(), state: state.as_str() };
                jobs.get_or_create(&labels).set(queue.counts.get(state));
            }
            oldest.get_or_create(&labels).set(queue.oldest.as_secs_f64());
            paused.get_or_create(&labels).set(u64::from(queue.paused));
        }
        let polls = Family::<QueueLabels, Gauge<f64, AtomicU64>>::default();
        for (name, since) in last_polls {
            polls.get_or_create(&QueueLabels { queue: name.to_string() }).set(since.as_secs_f64());
        }
        let versions = Family::<HandlerLabels, Gauge<u64, AtomicU64>>::default();
        for HandlerGauge { handler, version, state } in handlers {
            let labels = HandlerLabels { handler: handler.clone(), version: version.clone(), state };
            versions.get_or_create(&labels).set(1);
        }
        let mut gauge = |name, help, metric: &dyn prometheus_client::encoding::EncodeMetric| {
            write(&mut encoder, name, help, metric)
        };
        gauge("jobcell_queue_jobs", "Jobs in each state.", &jobs)?;
        gauge(
            "jobcell_queue_oldest_seconds",
            "How long the job that has waited longest has waited.",
            &oldest,
        )?;
        gauge("jobcell_paused", "1 when the queue is paused.", &paused)?;
        gauge("jobcell_cells_active", "Cells alive now.", &ConstGauge::new(*cells_active))?;
        gauge("jobcell_cells_max", "Cells that can be alive at once.", &ConstGauge::new(*cells_max))?;
        gauge("jobcell_handler_info", "1 for each version of each handler.", &versions)?;
        gauge(
            "jobcell_worker_last_poll_seconds",
            "Since the queue's worker last had an answer when it asked for jobs; 0 while it has no reason to ask. \
             Above half a minute something is wrong.",
            &polls,
        )?;
        let help = "1 when the store answers and takes what workers ask of it.";
        gauge("jobcell_store_up", help, &ConstGauge::new(u64::from(*up)))?;
        let help = "Things about the store that an operator should know; /health has their words.";
        gauge("jobcell_store_warnings", help, &ConstGauge::new(*warnings))?;
        if let Some(hosts) = hosts {
            gauge("jobcell_hosts", "Hosts of the fleet that are alive.", &ConstGauge::new(*hosts))?;
        }
        let info = Family::<BuildLabels, Gauge<u64, AtomicU64>>::default();
        info.get_or_create(&BuildLabels { version: build.0, wasmtime: build.1 }).set(1);
        gauge("jobcell_build_info", "1, with the versions of the program and of its engine.", &info)?;
        let told = Family::<SpanLabels, Counter>::default();
        let SpanCounts { sent, dropped, failed } = *spans;
        for (result, count) in [("sent", sent), ("dropped", dropped), ("failed", failed)] {
            told.get_or_create(&SpanLabels { result }).inc_by(count);
        }
        gauge("jobcell_spans", "Spans of traces, by what became of them.", &told)?;
        metrics.start.encode(&mut encoder)
    }
}
