//! The engine of a process: how guests are compiled, where their memory comes from, and what interrupts them.

mod fingerprint;
mod pool;
mod settings;
mod tier;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::admit::AdmitError;
use crate::compile::Workshop;
use crate::error::WasmError;
use crate::ticker::Ticker;

pub(crate) use fingerprint::fingerprint;
pub(crate) use pool::Pool;
use pool::Pools;
pub use settings::{EngineConfig, WASMTIME_VERSION};
pub(crate) use settings::{PROPOSALS, compiler_config};
pub use tier::Tier;

/// Makes cells. Cheap to clone; the last clone to go ends the ticker.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    // Dropped first: it must not outlive what it ticks.
    ticker: Ticker,
    pools: Pools,
    /// One permit a cell, whichever pool it is of; each pool has as many places. Attempts wait their turn instead of
    /// failing.
    cells: Arc<Semaphore>,
    config: EngineConfig,
    workshop: Workshop,
    report: EngineReport,
}

/// How the engine runs on this machine, for `doctor` and the health page.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EngineReport {
    /// Wasmtime's version.
    pub wasmtime: &'static str,
    /// Cells that can be alive at once; their memory is reserved beforehand.
    pub cells: u32,
    /// Most bytes one memory can have.
    pub memory_max: usize,
    /// How the memory of ended cells is cleared.
    pub clearing: Clearing,
    /// Milliseconds between interrupts of a computing guest.
    pub tick_ms: u64,
    /// Whether artifacts are compiled in a process of their own.
    pub compiles_apart: bool,
    /// Whether versions that are wanted at once begin on code of the baseline compiler.
    pub baseline: bool,
}

/// How the memory of ended cells is cleared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "by", content = "reason")]
pub enum Clearing {
    /// The kernel tells which pages were touched, and only those are cleared: the fast way.
    PagemapScan,
    /// Memory is given back to the kernel and faulted in again: about twice the cost of a cell.
    Remapping(String),
}

// === impl Engine ===

impl Engine {
    /// Sets the engine up and starts its ticker.
    ///
    /// # Errors
    /// When the settings contradict each other, or address space is short.
    pub fn new(config: EngineConfig) -> Result<Self, WasmError> {
        crate::http::tls::install_provider();
        let clearing = settings::clearing(&config);
        let ticker = Ticker::start(config.tick)?;
        let pools = Pools::new(&config, &clearing, &ticker)?;
        let workshop = Workshop::new(config.compiler.clone());
        let report = EngineReport {
            wasmtime: WASMTIME_VERSION,
            cells: config.cells,
            memory_max: config.memory_max,
            clearing,
            tick_ms: u64::try_from(config.tick.as_millis()).unwrap_or(u64::MAX),
            compiles_apart: workshop.compiler().is_some(),
            baseline: pools.has_baseline(),
        };
        let cells = Arc::new(Semaphore::new(config.cells as usize));
        Ok(Self(Arc::new(Inner { ticker, pools, cells, config, workshop, report })))
    }

    /// How the engine runs on this machine.
    #[must_use]
    pub fn report(&self) -> &EngineReport {
        &self.0.report
    }

    /// Has each compiler process leave half of the cores (rounded down) to jobs from now on, for as long as the engine
    /// lives. For a host whose jobs begin to run: one that starts, with nothing compiled before, is to have all of them.
    /// It changes nothing for [`Compiler::Inline`](crate::Compiler::Inline), which takes all cores.
    pub fn leave_room(&self) {
        self.0.workshop.leave_room();
    }

    /// Cells that are alive now.
    #[must_use]
    pub fn cells_active(&self) -> usize {
        (self.0.config.cells as usize).saturating_sub(self.0.cells.available_permits())
    }

    /// Cells that can be alive at once.
    #[must_use]
    pub fn cells_max(&self) -> usize {
        self.0.config.cells as usize
    }

    /// Pools of cells in use: one for each size of stacks, and for each compiler whose code runs on it.
    #[must_use]
    pub fn pools(&self) -> usize {
        self.0.pools.len()
    }

    /// Where cells with this code and stacks of this size come from.
    ///
    /// # Errors
    /// When there are too many sizes, or address space is short.
    pub(crate) fn pool(&self, tier: Tier, stack: usize) -> Result<Arc<Pool>, AdmitError> {
        let Inner { pools, config, report, ticker, .. } = &*self.0;
        pools.of((tier, stack), config, &report.clearing, ticker)
    }

    pub(crate) fn workshop(&self) -> &Workshop {
        &self.0.workshop
    }

    pub(crate) fn cells(&self) -> &Semaphore {
        &self.0.cells
    }

    pub(crate) fn artifact_max(&self) -> usize {
        self.0.config.artifact_max
    }

    pub(crate) fn memory_max(&self) -> usize {
        self.0.config.memory_max
    }

    pub(crate) fn table_elements_max(&self) -> usize {
        self.0.config.table_elements
    }

    pub(crate) fn tick(&self) -> Duration {
        self.0.config.tick
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.0.report).finish()
    }
}

impl fmt::Display for Clearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PagemapScan => f.write_str("pagemap scan"),
            Self::Remapping(reason) => write!(f, "remapping ({reason})"),
        }
    }
}
