//! What is counted of connections to the host.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The series of connections.
#[derive(Debug)]
pub(super) struct DoorSeries {
    open: Gauge<u64, AtomicU64>,
    closed: Family<ClosedLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    reason: &'static str,
}

/// Why a connection was closed: `idle` made room for another one; its `address` has all that one may have, or `all`
/// are being answered.
const REASONS: [&str; 3] = ["idle", "address", "all"];

// === impl Metrics ===

impl super::Metrics {
    /// So many connections are open now.
    pub(crate) fn connections(&self, open: usize) {
        self.doors.open.set(open as u64);
    }

    /// A connection was closed for this reason, one of [`REASONS`].
    pub(crate) fn connection_closed(&self, reason: &'static str) {
        self.doors.closed.get_or_create(&ClosedLabels { reason }).inc();
    }
}

// === impl DoorSeries ===

impl Default for DoorSeries {
    fn default() -> Self {
        let closed = Family::default();
        for reason in REASONS {
            drop(closed.get_or_create(&ClosedLabels { reason }));
        }
        Self { open: Gauge::default(), closed }
    }
}

impl DoorSeries {
    pub(super) fn each(
        &self,
        mut take: impl FnMut(&str, &str, &dyn EncodeMetric) -> fmt::Result,
    ) -> fmt::Result {
        let Self { open, closed } = self;
        take("jobcell_connections", "Connections to the host that are open.", open)?;
        let help = "Connections that were closed because there were too many: idle ones made room, or all of an address, or \
                    all at all, were being answered.";
        take("jobcell_connections_closed", help, closed)
    }
}
