//! The series of jobs, kept so that counting a job allocates nothing and takes no lock that another job holds long.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use jobcell_core::{QueueName, Receipt};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::retired::{Gone, VersionName};
use super::seconds;

type Seconds = Counter<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything counted for each job.
#[derive(Debug)]
pub(super) struct JobSeries {
    jobs: Family<JobLabels, Counter>,
    job_seconds: Histograms<RouteLabels>,
    wait_seconds: Histograms<QueueLabels>,
    cpu_seconds: Family<VersionLabels, Seconds>,
    memory_peak: Histograms<VersionLabels>,
    kept: Kept<QueueName, QueueSeries>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    queue: String,
    handler: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    queue: String,
    handler: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    handler: String,
    version: String,
}

/// The series of one queue.
#[derive(Debug)]
struct QueueSeries {
    wait_seconds: Histogram,
    routes: Kept<String, RouteSeries>,
}

/// The series of one handler in one queue.
#[derive(Debug)]
struct RouteSeries {
    seconds: Histogram,
    outcomes: [OnceLock<Counter>; OUTCOMES.len()],
    versions: Kept<String, VersionSeries>,
}

/// The series of one version.
#[derive(Debug)]
struct VersionSeries {
    cpu: Seconds,
    memory_peak: Histogram,
}

/// Every [`jobcell_core::Outcome::label`].
const OUTCOMES: [&str; 10] = [
    "completed",
    "retry",
    "fatal",
    "invalid",
    "rate-limited",
    "delayed",
    "requeued",
    "waiting-children",
    "cancelled",
    "stopped",
];

/// The handler of jobs that none takes.
pub(super) const NOBODY: &str = "-";

/// Buckets for attempts: a no-op takes tens of microseconds, a long job minutes.
const JOB_SECONDS: [f64; 16] =
    [1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];
/// Buckets for waiting: under load jobs wait hours.
const WAIT_SECONDS: [f64; 14] =
    [1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0];

// === impl JobSeries ===

impl JobSeries {
    pub(super) fn new() -> Self {
        Self {
            jobs: Family::default(),
            job_seconds: Family::new_with_constructor(|| Histogram::new(JOB_SECONDS)),
            wait_seconds: Family::new_with_constructor(|| Histogram::new(WAIT_SECONDS)),
            cpu_seconds: Family::default(),
            // 128 KiB to 1 GiB: what limits can be.
            memory_peak: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(131_072.0, 2.0, 14))
            }),
            kept: Kept::default(),
        }
    }

    pub(super) fn announce(&self, queue: &QueueName) {
        drop(self.queue(queue));
    }

    pub(super) fn started(&self, queue: &QueueName, waited: Duration) {
        self.queue(queue).wait_seconds.observe(waited.as_secs_f64());
    }

    pub(super) fn ended(
        &self,
        queue: &QueueName,
        handler: &str,
        version: &str,
        outcome: &'static str,
        receipt: &Receipt,
    ) {
        let queue_series = self.queue(queue);
        let route = queue_series.routes.get(handler, str::to_owned, || self.new_route(queue, handler));
        let labels = || JobLabels { queue: queue.to_string(), handler: handler.to_owned(), outcome };
        match OUTCOMES.iter().position(|known| *known == outcome) {
            Some(i) => {
                route.outcomes[i].get_or_init(|| self.jobs.get_or_create_owned(&labels())).inc();
            }
            None => {
                self.jobs.get_or_create_owned(&labels()).inc();
            }
        }
        if handler == NOBODY {
            return;
        }
        route.seconds.observe(seconds(receipt.wall_us));
        let new = || {
            let labels = VersionLabels { handler: handler.to_owned(), version: version.to_owned() };
            VersionSeries {
                cpu: self.cpu_seconds.get_or_create_owned(&labels),
                memory_peak: self.memory_peak.get_or_create_owned(&labels),
            }
        };
        let VersionSeries { cpu, memory_peak } = &*route.versions.get(version, str::to_owned, new);
        cpu.inc_by(seconds(receipt.cpu_us));
        if receipt.memory_peak_bytes > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes needs no exact bytes")]
            memory_peak.observe(receipt.memory_peak_bytes as f64);
        }
    }

    /// Every version that something was counted for.
    pub(super) fn versions(&self) -> HashSet<VersionName> {
        let mut versions = HashSet::new();
        self.kept.each(|_, queue| {
            queue.routes.each(|handler, route| {
                route.versions.each(|version, _| {
                    versions.insert((handler.clone(), version.clone()));
                });
            });
        });
        versions
    }

    /// Drops what was counted for versions and handlers that are gone. Should one of their attempts still end, counting
    /// begins anew.
    pub(super) fn forget(&self, gone: &Gone) {
        let Gone { versions, handlers } = gone;
        self.kept.each(|queue, series| {
            series.routes.each(|handler, route| {
                let own = versions.iter().filter(|(name, _)| name == handler);
                own.for_each(|(_, version)| route.versions.remove(version));
            });
            for handler in handlers {
                series.routes.remove(handler);
                let (queue, handler) = (queue.to_string(), handler.clone());
                for outcome in OUTCOMES {
                    self.jobs.remove(&JobLabels { queue: queue.clone(), handler: handler.clone(), outcome });
                }
                self.job_seconds.remove(&RouteLabels { queue, handler });
            }
        });
        for (handler, version) in versions {
            let labels = VersionLabels { handler: handler.clone(), version: version.clone() };
            self.cpu_seconds.remove(&labels);
            self.memory_peak.remove(&labels);
        }
    }

    fn queue(&self, queue: &QueueName) -> Arc<QueueSeries> {
        self.kept.get(
            queue.as_str(),
            |_| queue.clone(),
            || {
                let labels = QueueLabels { queue: queue.to_string() };
                let wait_seconds = self.wait_seconds.get_or_create_owned(&labels);
                QueueSeries { wait_seconds, routes: Kept::default() }
            },
        )
    }

    fn new_route(&self, queue: &QueueName, handler: &str) -> RouteSeries {
        let (queue, handler) = (queue.to_string(), handler.to_owned());
        RouteSeries {
            seconds: self.job_seconds.get_or_create_owned(&RouteLabels { queue, handler }),
            outcomes: Default::default(),
            versions: Kept::default(),
        }
    }

    pub(super) fn each(
        &self,
        mut take: impl FnMut(&str, &str, &dyn EncodeMetric) -> fmt::Result,
    ) -> fmt::Result {
        let Self { jobs, job_seconds, wait_seconds, cpu_seconds, memory_peak, kept: _ } = self;
        let help = "Attempts that ended, by what they came to; the store may refuse that end afterwards, which \
                    jobcell_ends_refused_total and jobcell_locks_lost_total count.";
        take("jobcell_jobs", help, jobs)?;
        take("jobcell_job_seconds", "Time from the start of an attempt to its outcome.", job_seconds)?;
        let help = "Time from when a job could have started to when it did.";
        take("jobcell_wait_seconds", help, wait_seconds)?;
        let help = "Time cells spent computing, host calls included, waiting excluded.";
        take("jobcell_cell_cpu_seconds", help, cpu_seconds)?;
        let help = "Most bytes of memory and tables that a cell held.";
        take("jobcell_cell_memory_peak_bytes", help, memory_peak)
    }
}

/// Things that are made once and looked up for every job.
#[derive(Debug)]
struct Kept<K, V>(RwLock<HashMap<K, Arc<V>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Borrow<str> + Eq + Hash, V> Kept<K, V> {
    fn get(&self, key: &str, own: impl FnOnce(&str) -> K, new: impl FnOnce() -> V) -> Arc<V> {
        // A panic elsewhere cannot have left the map half changed.
        if let Some(value) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Arc::clone(value);
        }
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(map.entry(own(key)).or_insert_with(|| Arc::new(new())))
    }

    fn each(&self, mut see: impl FnMut(&K, &V)) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().for_each(|(key, value)| see(key, value));
    }

    fn remove(&self, key: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use jobcell_core::{Outcome, StopCause};

    #[test]
    fn every_outcome_has_its_place() {
        let all = [
            Outcome::Complete(Bytes::new()),
            Outcome::Retry { reason: String::new(), after: None },
            Outcome::Fatal(String::new()),
            Outcome::Invalid(String::new()),
            Outcome::RateLimited(Duration::ZERO),
            Outcome::DelayUntil(0),
            Outcome::Requeue,
            Outcome::WaitForChildren,
            Outcome::stopped(StopCause::Cancelled, ""),
            Outcome::stopped(StopCause::Trap, ""),
        ];
        assert_eq!(all.each_ref().map(Outcome::label), OUTCOMES);
    }
}
