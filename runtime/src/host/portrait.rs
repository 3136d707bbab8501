//! How this host looks to the others of its fleet.

use std::net::SocketAddr;
use std::sync::Arc;

use jobcell_core::fleet::{HostCells, HostQueue, HostStatus, Phase};
use jobcell_core::worker::Pulse;
use jobcell_core::{Clock, QueueName, SystemClock};
use jobcell_wasm::Engine;
use tokio::sync::Notify;

use super::condition::Condition;
use crate::fleet::{Portrait, Running, local};
use crate::runtime::Runtime;

/// Puts together what the others are shown.
pub(super) struct HostPortrait {
    id: String,
    name: String,
    started_at: u64,
    address: String,
    condition: Arc<Condition>,
    /// With the jobs that each runs at once at most.
    queues: Vec<(QueueName, usize)>,
    pulses: Vec<(QueueName, Arc<Pulse>)>,
    engine: Option<Engine>,
    cells_max: u32,
    handlers: Running,
}

// === impl HostPortrait ===

impl HostPortrait {
    pub(super) fn new(
        runtime: &Runtime,
        condition: Arc<Condition>,
        queues: Vec<(QueueName, usize)>,
        cells_max: u32,
        address: SocketAddr,
    ) -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            id: runtime.id().to_owned(),
            name,
            started_at: SystemClock.now(),
            address: local::url(address),
            condition,
            queues,
            pulses: runtime.workers.pulses().to_vec(),
            engine: runtime.engine.clone(),
            cells_max,
            handlers: runtime.running_handlers(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Portrait for HostPortrait {
    fn status(&self) -> HostStatus {
        let active = |name: &QueueName| {
            let pulse = self.pulses.iter().find(|(queue, _)| queue == name);
            pulse.map_or(0, |(_, pulse)| small(pulse.running()))
        };
        let queues = self.queues.iter().map(|(name, concurrency)| HostQueue {
            name: name.to_string(),
            concurrency: small(*concurrency),
            active: active(name),
        });
        HostStatus {
            id: self.id.clone(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            seen_at: SystemClock.now(),
            pid: std::process::id(),
            address: Some(self.address.clone()),
            phase: self.condition.phase(),
            queues: queues.collect(),
            handlers: (self.handlers)(),
            memory_bytes: resident_bytes().unwrap_or(0),
            cells: HostCells {
                active: self.engine.as_ref().map_or(0, |engine| small(engine.cells_active())),
                max: self.cells_max,
            },
            load: load().unwrap_or(0.0),
            shortened: false,
        }
    }

    fn changed(&self) -> &Notify {
        self.condition.changed()
    }
}

impl Condition {
    fn phase(&self) -> Phase {
        if self.is_stopping() {
            Phase::Stopping
        } else if self.is_quiet() {
            Phase::Quiet
        } else {
            Phase::Running
        }
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Resident bytes of this process, where the machine tells.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The load over the last minute, where the machine tells.
fn load() -> Option<f64> {
    let loads = std::fs::read_to_string("/proc/loadavg").ok()?;
    loads.split_ascii_whitespace().next()?.parse().ok()
}
