//! What is counted, under the names of the public contract.
//!
//! Labels are bounded: queues and handlers are those of the configuration, everything else is one of a few words.
//! Counting happens for every job, so the series of a job are looked up once and kept (`series`); how queues stand is
//! asked for at each scrape (`scrape`).
//!
//! `jobcell_jobs_total` counts attempts as they end, before their ends are written. What was not written then is in
//! `jobcell_ends_refused_total{queue,reason}`, or in `jobcell_locks_lost_total` when the lock was known to be lost
//! before the attempt ended: such a job runs again, and is counted again.

mod scrape;
mod series;
mod text;

use std::fmt;
use std::time::Duration;

use jobcell_core::event::{Event, Observer};
use jobcell_core::store::Refusal;
use jobcell_core::{QueueName, Receipt, StopCause};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

pub use scrape::{Gauges, HandlerGauge, HostGauges, QueueGauges, StoreGauges, queue_gauges};

pub(crate) use scrape::Scrape;
pub(crate) use text::Format;

use series::JobSeries;

/// Counts what happens. Give it to a host as its [`Observer`]; [`crate::Server`] shows it at `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    jobs: JobSeries,
    cell_start: Histogram,
    traps: Family<TrapLabels, Counter>,
    denied: Family<DeniedLabels, Counter>,
    swaps: Family<SwapLabels, Counter>,
    ends_refused: Family<RefusedLabels, Counter>,
    locks_lost: Counter,
    stalled: Counter,
    store_seconds: Family<StoreLabels, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrapLabels {
    handler: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeniedLabels {
    handler: String,
    capability: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SwapLabels {
    handler: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    queue: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    command: &'static str,
}

/// Buckets for making a cell: it takes tens of microseconds, and a page fault storm shows at the other end.
const CELL_START_SECONDS: [f64; 12] = [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 2e-2, 0.1];
/// Buckets for calls to the store: from a neighbour that is idle to the timeout of a connection.
const STORE_SECONDS: [f64; 14] =
    [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0];

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With everything at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            jobs: JobSeries::new(),
            cell_start: Histogram::new(CELL_START_SECONDS),
            traps: Family::default(),
            denied: Family::default(),
            swaps: Family::default(),
            ends_refused: Family::default(),
            locks_lost: Counter::default(),
            stalled: Counter::default(),
            store_seconds: Family::new_with_constructor(|| Histogram::new(STORE_SECONDS)),
        }
    }

    /// Shows the series of this queue from the start on, so that a rate over its first job is not lost.
    pub fn announce(&self, queue: &QueueName) {
        self.jobs.announce(queue);
    }

    fn ended(&self, queue: &QueueName, who: (&str, &str), outcome: &'static str, receipt: &Receipt) {
        let (handler, version) = who;
        self.jobs.ended(queue, handler, version, outcome, receipt);
        if receipt.start_us > 0 {
            self.cell_start.observe(seconds(receipt.start_us));
        }
    }

    /// Hands out every metric: name without the `_total` that the encoder gives counters, help, values.
    fn each(&self, mut take: impl FnMut(&str, &str, &dyn EncodeMetric) -> fmt::Result) -> fmt::Result {
        let Self { jobs, cell_start, traps, denied, swaps, ends_refused, locks_lost, stalled, store_seconds } =
            self;
        jobs.each(&mut take)?;
        take("jobcell_cell_start_seconds", "Time to make a cell.", cell_start)?;
        take("jobcell_traps", "Attempts that were stopped or broke, by reason.", traps)?;
        take("jobcell_denied", "Things that handlers asked for and were not granted.", denied)?;
        take("jobcell_swaps", "Handlers loaded, changed or removed while the host runs.", swaps)?;
        let help = "Ends of attempts that the store did not take; the result was dropped.";
        take("jobcell_ends_refused", help, ends_refused)?;
        let help = "Locks that ran out or were taken while their job ran; its result was dropped.";
        take("jobcell_locks_lost", help, locks_lost)?;
        let help =
            "Jobs recovered after their lock ran out: their host vanished, or was cut off from the store.";
        take("jobcell_stalled", help, stalled)?;
        take("jobcell_store_seconds", "Time for a call to the store, by command.", store_seconds)
    }
}

impl Observer for Metrics {
    fn on(&self, event: &Event) {
        match event {
            Event::Started { queue, waited } => self.jobs.started(queue, *waited),
            Event::Ended { queue, handler, version, outcome, stop, receipt, .. } => {
                self.ended(queue, (handler, version), outcome, receipt);
                if let Some(reason) = stop.and_then(trap) {
                    self.traps.get_or_create(&TrapLabels { handler: handler.clone(), reason }).inc();
                }
            }
            Event::Refused { queue, refusal, id: _ } => {
                let labels = RefusedLabels { queue: queue.to_string(), reason: reason(*refusal) };
                self.ends_refused.get_or_create(&labels).inc();
            }
            Event::LockLost { .. } => drop(self.locks_lost.inc()),
            Event::Stalled { .. } => drop(self.stalled.inc()),
            Event::StoreCall { verb, took, ok: _ } => {
                let labels = StoreLabels { command: verb };
                self.store_seconds.get_or_create(&labels).observe(took.as_secs_f64());
            }
            Event::Denied { handler, capability } => {
                self.denied.get_or_create(&DeniedLabels { handler: handler.clone(), capability }).inc();
            }
            Event::Swapped { handler, kind } => {
                let labels = SwapLabels { handler: handler.clone(), kind: kind.as_str() };
                self.swaps.get_or_create(&labels).inc();
            }
            // Events of later versions of the core are counted once this crate knows them.
            _ => {}
        }
    }
}

/// The reason as a label. None for ends that are no fault of the attempt.
fn trap(cause: StopCause) -> Option<&'static str> {
    match cause {
        StopCause::Deadline
        | StopCause::Cpu
        | StopCause::Memory
        | StopCause::Stack
        | StopCause::Panic
        | StopCause::Trap
        | StopCause::Abi
        | StopCause::HostCall
        | StopCause::Resources
        | StopCause::Result
        | StopCause::Payload
        | StopCause::Host => Some(cause.as_str()),
        StopCause::Cancelled | StopCause::Shutdown | StopCause::LockLost => None,
    }
}

/// The refusal as a label.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Missing => "missing",
        Refusal::LockExpired => "lock-expired",
        Refusal::LockTaken => "lock-taken",
        Refusal::NotActive => "not-active",
        Refusal::Unwritable => "unwritable",
        Refusal::PendingChildren => "pending-children",
        Refusal::FailedChildren => "failed-children",
        Refusal::NothingToWaitFor => "nothing-to-wait-for",
    }
}

fn seconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64()
}

/// Writes one metric, also one without any series yet: dashboards and alerts then find its name.
fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &dyn EncodeMetric,
) -> fmt::Result {
    let inner = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(inner)
}
