//! What is counted of the spool: jobs that were accepted while the store was away.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The series of the spool; all zero where there is none.
#[derive(Debug, Default)]
pub(super) struct SpoolSeries {
    kept: Counter,
    forwarded: Counter,
    refused: Counter,
    full: Counter,
    jobs: Gauge<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
}

// === impl Metrics ===

impl super::Metrics {
    /// The audit could not keep an entry.
    pub(crate) fn audit_lost(&self) {
        self.audit_lost.inc();
    }

    /// So many jobs went into the spool.
    pub fn spool_kept(&self, jobs: u64) {
        self.spool.kept.inc_by(jobs);
    }

    /// So many jobs of the spool are in the store now.
    pub fn spool_forwarded(&self, jobs: u64) {
        self.spool.forwarded.inc_by(jobs);
    }

    /// The store refused a job of the spool for good.
    pub fn spool_refused(&self) {
        self.spool.refused.inc();
    }

    /// Jobs were refused because the spool is full.
    pub fn spool_full(&self) {
        self.spool.full.inc();
    }

    /// What is in the spool now.
    pub fn spool_holds(&self, jobs: u64, bytes: u64) {
        self.spool.jobs.set(jobs);
        self.spool.bytes.set(bytes);
    }
}

// === impl SpoolSeries ===

impl SpoolSeries {
    pub(super) fn each(
        &self,
        mut take: impl FnMut(&str, &str, &dyn EncodeMetric) -> fmt::Result,
    ) -> fmt::Result {
        let Self { kept, forwarded, refused, full, jobs, bytes } = self;
        take("jobcell_spool_kept", "Jobs accepted while the store was away.", kept)?;
        take("jobcell_spool_forwarded", "Jobs of the spool that are in the store now.", forwarded)?;
        let help = "Jobs of the spool that the store refused for good; the log says which and why.";
        take("jobcell_spool_refused", help, refused)?;
        take("jobcell_spool_full", "Requests refused because the spool was full.", full)?;
        take("jobcell_spool_jobs", "Jobs in the spool.", jobs)?;
        take("jobcell_spool_bytes", "Bytes of the jobs in the spool.", bytes)
    }
}
