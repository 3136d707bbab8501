//! Where cells come from: a pool of places for them, all with stacks of one size and code of one compiler.
//!
//! Wasmtime takes the size of a guest's stack with its engine and not with a call, so handlers with stacks of different
//! sizes run in different engines. They make and take the same code, are ticked by one ticker, and share the bound on
//! cells; what each has of its own is the address space of its places. One is made when the first version that needs it
//! is admitted, and goes with the last. Code of the baseline compiler runs in engines of its own too, since an engine runs
//! that of one compiler.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::Linker;

use super::settings::{self, EngineConfig};
use super::{Clearing, Tier, fingerprint};
use crate::admit::AdmitError;
use crate::cell::Cell;
use crate::error::WasmError;
use crate::limits::Limits;
use crate::stop::bytes;
use crate::ticker::Ticker;

/// Pools for code of one compiler at once: those of a configuration, and those of the one that takes its place.
const POOLS_MAX: usize = 2 * Limits::STACKS_MAX;

/// Places for cells with stacks of one size.
pub(crate) struct Pool {
    engine: wasmtime::Engine,
    /// Everything the host offers. Whether a handler may use it is decided at admission and again at each call.
    linker: Linker<Cell>,
    stack: usize,
    tier: Tier,
    fingerprint: String,
}

/// The pools in use.
pub(crate) struct Pools {
    /// For the usual stack: made at the start, and there as long as the host runs.
    usual: Arc<Pool>,
    others: Mutex<Others>,
}

#[derive(Default)]
struct Others {
    /// By what runs in them: as long as a version needs them.
    pools: BTreeMap<(Tier, usize), Weak<Pool>>,
    /// For baseline code with the usual stack: made at the start as well, so that no deploy waits for it. It goes where what
    /// has to run needs its room.
    baseline: Option<Arc<Pool>>,
}

// === impl Pool ===

impl Pool {
    fn new(
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
        (tier, stack): (Tier, usize),
    ) -> wasmtime::Result<Self> {
        if !(Limits::STACK_MIN..=Limits::STACK_MAX).contains(&stack) {
            return Err(wasmtime::Error::msg("a guest's stack has from 64 KiB to 64 MiB"));
        }
        let engine = wasmtime::Engine::new(&settings::wasmtime_config(config, clearing, stack, tier))?;
        let linker = crate::capability::linker(&engine)?;
        ticker.add(&engine);
        let fingerprint = fingerprint(&engine);
        Ok(Self { engine, linker, stack, tier, fingerprint })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    pub(crate) fn linker(&self) -> &Linker<Cell> {
        &self.linker
    }

    /// Bytes that a guest has of its stack, on optimised code.
    pub(crate) fn stack(&self) -> usize {
        self.stack
    }

    /// What code it runs.
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// What code must fit to run here.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

// === impl Pools ===

impl Pools {
    /// With the usual ones. Where there is no room for the second, for baseline code, it is done without: that is there to be
    /// quicker, and must not keep a host from running.
    pub(super) fn new(
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
    ) -> Result<Self, WasmError> {
        let make = |tier| Pool::new(config, clearing, ticker, (tier, config.stack)).map(Arc::new);
        let usual = make(Tier::Optimised).map_err(WasmError::Engine)?;
        let mut others = Others::default();
        match Tier::baseline(config).map(make) {
            Some(Ok(pool)) => others.keep_baseline(pool),
            Some(Err(error)) => tracing::warn!(
                error = format!("{error:#}"),
                "no cells for baseline code: every version waits for its optimised code; with a smaller cells.max there is \
                 room for both, and with cells.baseline = false nobody asks for them"
            ),
            None => {}
        }
        Ok(Self { usual, others: Mutex::new(others) })
    }

    /// Whether there are places for baseline code at the start.
    pub(super) fn has_baseline(&self) -> bool {
        self.others().baseline.is_some()
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        // Pools are added whole or not at all: a panic elsewhere leaves nothing half done.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool for this code with stacks of this size, made where there is none.
    pub(super) fn of(
        &self,
        (tier, stack): (Tier, usize),
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
    ) -> Result<Arc<Pool>, AdmitError> {
        if (self.usual.tier, self.usual.stack) == (tier, stack) {
            return Ok(Arc::clone(&self.usual));
        }
        if !(Limits::STACK_MIN..=Limits::STACK_MAX).contains(&stack) {
            let cause = "a guest's stack has from 64 KiB to 64 MiB".to_owned();
            return Err(AdmitError::Pool { stack, cause });
        }
        // Held while one is made: two at once would both reserve their places.
        let mut others = self.others();
        others.pools.retain(|_, pool| pool.strong_count() > 0);
        if let Some(pool) = others.pools.get(&(tier, stack)).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        let usual = (self.usual.tier, self.usual.stack);
        let kinds = std::iter::once(usual).chain(others.pools.keys().copied()).filter(|(of, _)| *of == tier);
        let stacks: Vec<String> = kinds.map(|(_, stack)| bytes(stack)).collect();
        if stacks.len() >= POOLS_MAX {
            return Err(AdmitError::Stacks { stack, used: stacks.join(", ") });
        }
        let make = |kind| Pool::new(config, clearing, ticker, kind);
        let made = make((tier, stack)).or_else(|error| {
            let spare = others.baseline.take_if(|pool| tier == Tier::Optimised && Arc::strong_count(pool) == 1);
            let Some(spare) = spare else { return Err(error) };
            let kind = (spare.tier, spare.stack);
            drop(spare);
            let made = make((tier, stack));
            match &made {
                Ok(_) => tracing::warn!(
                    "no address space is left for cells with a further size of stacks, so the cells for baseline code \
                     go: new versions wait for their optimised code; with a smaller cells.max there is room for both, \
                     and with cells.baseline = false nobody asks for them"
                ),
                // It made no room, so there is still that.
                Err(_) => make(kind).into_iter().for_each(|pool| others.keep_baseline(Arc::new(pool))),
            }
            made
        });
        let pool = Arc::new(made.map_err(|error| AdmitError::Pool { stack, cause: format!("{error:#}") })?);
        others.pools.insert((tier, stack), Arc::downgrade(&pool));
        Ok(pool)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        1 + self.others().pools.values().filter(|pool| pool.strong_count() > 0).count()
    }
}

// === impl Others ===

impl Others {
    fn keep_baseline(&mut self, pool: Arc<Pool>) {
        self.pools.insert((pool.tier, pool.stack), Arc::downgrade(&pool));
        self.baseline = Some(pool);
    }
}
