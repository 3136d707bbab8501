//! Where cells come from: a pool of places for them, all with stacks of one size and code of one compiler.
//!
//! Wasmtime takes the size of a guest's stack with its engine and not with a call, so handlers with stacks of different
//! sizes run in different engines. They make and take the same code, are ticked by one ticker, and share the bound on
//! cells; what each has of its own is the address space of its places. One is made when the first version that needs it
//! is admitted, and goes with the last. Code of the baseline compiler runs in engines of its own too, which reserve nothing:
//! their cells take what they need when they are made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::component::Linker;

use super::settings::{self, EngineConfig};
use super::{Clearing, Tier, fingerprint};
use crate::admit::AdmitError;
use crate::cell::Cell;
use crate::error::WasmError;
use crate::limits::Limits;
use crate::stop::bytes;
use crate::ticker::Ticker;

/// Pools with places of their own at once: those of a configuration, and those of the one that takes its place.
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
    /// Made at the start, and there as long as the host runs.
    first: Arc<Pool>,
    /// By what runs in them: as long as a version needs them.
    others: Mutex<BTreeMap<(Tier, usize), Weak<Pool>>>,
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
    /// With the first one.
    pub(super) fn new(
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
    ) -> Result<Self, WasmError> {
        let kind = (Tier::Optimised, config.stack);
        let first = Pool::new(config, clearing, ticker, kind).map_err(WasmError::Engine)?;
        Ok(Self { first: Arc::new(first), others: Mutex::default() })
    }

    /// The pool for this code with stacks of this size, made where there is none.
    pub(super) fn of(
        &self,
        (tier, stack): (Tier, usize),
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
    ) -> Result<Arc<Pool>, AdmitError> {
        if (tier, stack) == (self.first.tier, self.first.stack) {
            return Ok(Arc::clone(&self.first));
        }
        // Held while one is made: two at once would both reserve their places.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, pool| pool.strong_count() > 0);
        if let Some(pool) = others.get(&(tier, stack)).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        if tier == Tier::Optimised && reserving(&others).count() + 1 >= POOLS_MAX {
            let mut used = bytes(self.first.stack);
            reserving(&others).for_each(|stack| {
                let _ = write!(used, ", {}", bytes(stack));
            });
            return Err(AdmitError::Stacks { stack, used });
        }
        let made = Pool::new(config, clearing, ticker, (tier, stack));
        let pool = Arc::new(made.map_err(|error| AdmitError::Pool { stack, cause: format!("{error:#}") })?);
        others.insert((tier, stack), Arc::downgrade(&pool));
        Ok(pool)
    }

    /// How many there are that reserve places.
    pub(super) fn len(&self) -> usize {
        1 + reserving(&self.others.lock().unwrap_or_else(PoisonError::into_inner)).count()
    }
}

/// The stacks of those in use that reserve places.
fn reserving(others: &BTreeMap<(Tier, usize), Weak<Pool>>) -> impl Iterator<Item = usize> {
    let in_use = others.iter().filter(|(_, pool)| pool.strong_count() > 0);
    in_use.filter(|((tier, _), _)| *tier == Tier::Optimised).map(|((_, stack), _)| *stack)
}
