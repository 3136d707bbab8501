//! Where cells come from: a pool of places for them, all with stacks of one size.
//!
//! Wasmtime takes the size of a guest's stack with its engine and not with a call, so handlers with stacks of different
//! sizes run in different engines. They make and take the same code, are ticked by one ticker, and share the bound on
//! cells; what each has of its own is the address space of its places. One is made when the first version that needs it
//! is admitted, and goes with the last.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::component::Linker;

use super::Clearing;
use super::settings::{self, EngineConfig};
use crate::admit::AdmitError;
use crate::cell::Cell;
use crate::error::WasmError;
use crate::limits::Limits;
use crate::stop::bytes;
use crate::ticker::Ticker;

/// Pools at once: those of a configuration, and those of the one that takes its place.
const POOLS_MAX: usize = 2 * Limits::STACKS_MAX;

/// Places for cells with stacks of one size.
pub(crate) struct Pool {
    engine: wasmtime::Engine,
    /// Everything the host offers. Whether a handler may use it is decided at admission and again at each call.
    linker: Linker<Cell>,
    stack: usize,
}

/// The pools in use.
pub(crate) struct Pools {
    /// Made at the start, and there as long as the host runs.
    first: Arc<Pool>,
    /// By the size of their stacks: as long as a version needs them.
    others: Mutex<BTreeMap<usize, Weak<Pool>>>,
}

// === impl Pool ===

impl Pool {
    fn new(
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
        stack: usize,
    ) -> wasmtime::Result<Self> {
        if !(Limits::STACK_MIN..=Limits::STACK_MAX).contains(&stack) {
            return Err(wasmtime::Error::msg("a guest's stack has from 64 KiB to 64 MiB"));
        }
        let engine = wasmtime::Engine::new(&settings::wasmtime_config(config, clearing, stack))?;
        let linker = crate::capability::linker(&engine)?;
        ticker.add(&engine);
        Ok(Self { engine, linker, stack })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    pub(crate) fn linker(&self) -> &Linker<Cell> {
        &self.linker
    }

    /// Bytes that a guest has of its stack.
    pub(crate) fn stack(&self) -> usize {
        self.stack
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
        let first = Pool::new(config, clearing, ticker, config.stack).map_err(WasmError::Engine)?;
        Ok(Self { first: Arc::new(first), others: Mutex::default() })
    }

    pub(super) fn first(&self) -> &Pool {
        &self.first
    }

    /// The pool with stacks of this size, made where there is none.
    pub(super) fn of(
        &self,
        stack: usize,
        config: &EngineConfig,
        clearing: &Clearing,
        ticker: &Ticker,
    ) -> Result<Arc<Pool>, AdmitError> {
        if stack == self.first.stack {
            return Ok(Arc::clone(&self.first));
        }
        // Held while one is made: two at once would both reserve their places.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, pool| pool.strong_count() > 0);
        if let Some(pool) = others.get(&stack).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        if others.len() + 1 >= POOLS_MAX {
            let mut used = bytes(self.first.stack);
            others.keys().for_each(|stack| {
                let _ = write!(used, ", {}", bytes(*stack));
            });
            return Err(AdmitError::Stacks { stack, used });
        }
        let made = Pool::new(config, clearing, ticker, stack);
        let pool = Arc::new(made.map_err(|error| AdmitError::Pool { stack, cause: format!("{error:#}") })?);
        others.insert(stack, Arc::downgrade(&pool));
        Ok(pool)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        1 + others.values().filter(|pool| pool.strong_count() > 0).count()
    }
}
