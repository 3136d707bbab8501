//! What is counted, under the names of the public contract.
//!
//! Labels are bounded: queues and handlers are those of the configuration, everything else is one of a few words.
//! Versions come and go, and what was counted for those that are gone is dropped after a while (`retired`).
//! Counting happens for every job, so the series of a job are looked up once and kept (`series`); how queues stand is
//! asked for at each scrape (`scrape`).
//!
//! `jobcell_jobs_total` counts attempts as they end, before their ends are written. What was not written then is in
//! `jobcell_ends_refused_total{queue,reason}`, or in `jobcell_locks_lost_total` when the lock was known to be lost
//! before the attempt ended: such a job runs again, and is counted again.

mod doors;
mod process;
mod retired;
mod scrape;
mod series;
mod spool;
mod text;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobcell_core::event::{Event, Found, Observer, SwapKind};
use jobcell_core::store::Refusal;
use jobcell_core::{QueueName, Receipt, StopCause};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

pub use scrape::{Gauges, HandlerGauge, HostGauges, QueueGauges, SpanCounts, StoreGauges, queue_gauges};

pub(crate) use scrape::Scrape;
pub(crate) use text::Format;

use doors::DoorSeries;
use process::Start;
use retired::{ByHandler, Retired, VersionName};
use series::JobSeries;
use spool::SpoolSeries;

/// Counts what happens. Give it to a host as its [`Observer`]; [`crate::Server`] shows it at `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    jobs: JobSeries,
    cell_start: Histogram,
    traps: ByHandler<TrapLabels>,
    denied: ByHandler<DeniedLabels>,
    swaps: ByHandler<SwapLabels>,
    results: ByHandler<ResultLabels>,
    ends_refused: Family<RefusedLabels, Counter>,
    locks_lost: Counter,
    stalled: Counter,
    audit_lost: Counter,
    spool: SpoolSeries,
    doors: DoorSeries,
    store_seconds: Family<StoreLabels, Histogram, fn() -> Histogram>,
    store_errors: Family<StoreLabels, Counter>,
    start: Start,
    retired: Mutex<Retired>,
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
struct ResultLabels {
    handler: String,
    result: &'static str,
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
            traps: ByHandler::new(),
            denied: ByHandler::new(),
            swaps: ByHandler::new(),
            results: ByHandler::new(),
            ends_refused: Family::default(),
            locks_lost: Counter::default(),
            stalled: Counter::default(),
            audit_lost: Counter::default(),
            spool: SpoolSeries::default(),
            doors: DoorSeries::default(),
            store_seconds: Family::new_with_constructor(|| Histogram::new(STORE_SECONDS)),
            store_errors: Family::default(),
            start: Start::now(),
            retired: Mutex::default(),
        }
    }

    /// Shows the series of handlers that are loaded from zero on, so that the first change or trap is seen as one, and drops
    /// what was counted for versions that have not been among them for a while.
    fn settle(&self, loaded: &HashSet<VersionName>, now: Instant) {
        for (handler, _) in loaded {
            for kind in SwapKind::ALL {
                self.swaps.announce(handler, &SwapLabels { handler: handler.clone(), kind: kind.as_str() });
            }
            for reason in StopCause::ALL.into_iter().filter_map(trap) {
                self.traps.announce(handler, &TrapLabels { handler: handler.clone(), reason });
            }
        }
        let mut counted = self.jobs.versions();
        // What nobody takes is no handler's, and stays.
        counted.retain(|(handler, _)| handler != series::NOBODY);
        let gone = self.retired.lock().unwrap_or_else(PoisonError::into_inner).look(counted, loaded, now);
        self.jobs.forget(&gone);
        for handler in &gone.handlers {
            self.traps.forget(handler);
            self.denied.forget(handler);
            self.swaps.forget(handler);
            self.results.forget(handler);
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

    /// Counts a look for a kept result. The first one of a handler shows all that can come of it, from zero on.
    fn found(&self, handler: &str, found: Found) {
        let labels = |found: Found| ResultLabels { handler: handler.to_owned(), result: found.as_str() };
        for other in Found::ALL {
            self.results.announce(handler, &labels(other));
        }
        self.results.count(handler, &labels(found));
    }

    /// Hands out every metric: name without the `_total` that the encoder gives counters, help, values.
    fn each(&self, mut take: impl FnMut(&str, &str, &dyn EncodeMetric) -> fmt::Result) -> fmt::Result {
        let Self { jobs, cell_start, traps, denied, swaps, ends_refused, locks_lost, stalled, .. } = self;
        let Self { audit_lost, spool, doors, results, .. } = self;
        let Self { store_seconds, store_errors, start: _, retired: _, .. } = self;
        jobs.each(&mut take)?;
        take("jobcell_cell_start_seconds", "Time to make a cell.", cell_start)?;
        take("jobcell_traps", "Attempts that were stopped or broke, by reason.", &traps.family)?;
        take("jobcell_denied", "Things that handlers asked for and were not granted.", &denied.family)?;
        let help = "Changes of handlers while the host runs, by kind: load, change, remove, canary, promote, rollback, \
                    quarantine.";
        take("jobcell_swaps", help, &swaps.family)?;
        let help = "Attempts by what came of looking for a kept result of the same content: hit, miss, wait (another job \
                    computes it), bypass, error.";
        take("jobcell_result_cache", help, &results.family)?;
        let help = "Ends of attempts that the store did not take; the result was dropped.";
        take("jobcell_ends_refused", help, ends_refused)?;
        let help = "Locks that ran out or were taken while their job ran; its result was dropped.";
        take("jobcell_locks_lost", help, locks_lost)?;
        let help =
            "Jobs recovered after their lock ran out: their host vanished, or was cut off from the store.";
        take("jobcell_stalled", help, stalled)?;
        take("jobcell_audit_lost", "Entries that the audit could not keep; the log has them.", audit_lost)?;
        spool.each(&mut take)?;
        doors.each(&mut take)?;
        take("jobcell_store_seconds", "Time for a call to the store, by command.", store_seconds)?;
        take("jobcell_store_errors", "Calls to the store that failed, by command.", store_errors)
    }
}

impl Observer for Metrics {
    fn on(&self, event: &Event) {
        match event {
            Event::Started { queue, waited } => self.jobs.started(queue, *waited),
            Event::Ended { queue, handler, version, outcome, stop, receipt, .. } => {
                self.ended(queue, (handler, version), outcome, receipt);
                if let Some(reason) = stop.and_then(trap) {
                    self.traps.count(handler, &TrapLabels { handler: handler.clone(), reason });
                }
            }
            Event::Refused { queue, refusal, id: _ } => {
                let labels = RefusedLabels { queue: queue.to_string(), reason: reason(*refusal) };
                self.ends_refused.get_or_create(&labels).inc();
            }
            Event::LockLost { .. } => drop(self.locks_lost.inc()),
            Event::Stalled { .. } => drop(self.stalled.inc()),
            Event::StoreCall { verb, took, ok } => {
                let labels = StoreLabels { command: verb };
                if !ok {
                    self.store_errors.get_or_create(&labels).inc();
                }
                self.store_seconds.get_or_create(&labels).observe(took.as_secs_f64());
            }
            Event::Denied { handler, capability } => {
                self.denied.count(handler, &DeniedLabels { handler: handler.clone(), capability });
            }
            Event::Swapped { handler, kind } => {
                let labels = SwapLabels { handler: handler.clone(), kind: kind.as_str() };
                self.swaps.count(handler, &labels);
            }
            Event::Results { handler, found } => self.found(handler, *found),
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
