//! From baseline to optimised code while the handler takes jobs.
//!
//! A version that is wanted at once begins on code of the baseline compiler; the other one takes its second meanwhile,
//! and has the attempts that begin from then on. It is one version all the while: of the same bytes, with the same limits
//! and grants. No attempt changes its code on the way.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use jobcell_core::Stopped;
use tokio_util::sync::CancellationToken;

use crate::admit::{AdmitError, AdmitOptions};
use crate::engine::{Engine, Tier};
use crate::error::WasmError;
use crate::runner::{Handler, HandlerRunner};

/// A handler stays on the code that it has.
#[derive(Debug, thiserror::Error)]
pub enum OptimiseError {
    /// There is no optimised code.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// It does not fit what the handler has.
    #[error(transparent)]
    Handler(#[from] WasmError),
    /// The bytes are those of another version.
    #[error("the bytes are those of version {0}")]
    Another(String),
    /// No cell can be made of it.
    #[error("it breaks before its first job, while its cell is made: {}", .0.reason)]
    Broken(Stopped),
}

/// Brings a handler onto optimised code. Keeps it from nothing: where nobody can run it any more, there is nothing to do.
pub struct Optimiser {
    engine: Engine,
    handler: Weak<Handler>,
    gone: CancellationToken,
}

// === impl HandlerRunner ===

impl HandlerRunner {
    /// What code new attempts run.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.template().tier()
    }

    /// What brings it onto optimised code.
    #[must_use]
    pub fn optimiser(&self) -> Optimiser {
        let (engine, gone) = (self.template().engine().clone(), self.0.gone.clone());
        Optimiser { engine, handler: Arc::downgrade(&self.0), gone }
    }
}

// === impl Optimiser ===

impl Optimiser {
    /// When nobody can run the handler any more.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Has the optimised code of these bytes, which must be those that the handler was admitted with, made and put in the
    /// place of the baseline code. Attempts that run end on the code that they began on. False when the handler is gone,
    /// which also ends the compiling.
    ///
    /// Cancel safety: a dropped future ends the compiling, and changes nothing.
    ///
    /// # Errors
    /// Why it stays on the code that it has.
    pub async fn optimise(&self, bytes: Bytes, options: AdmitOptions) -> Result<bool, OptimiseError> {
        let options = AdmitOptions { baseline: false, ..options };
        let admitted = tokio::select! {
            biased;
            () = self.gone() => return Ok(false),
            admitted = self.engine.admit(bytes, options) => admitted?,
        };
        let Some(handler) = self.handler.upgrade() else { return Ok(false) };
        if admitted.version() != handler.version {
            return Err(OptimiseError::Another(admitted.version().to_owned()));
        }
        let template = handler.template.load_full().renewed(&admitted, handler.spec.clone())?;
        template.warm().await.map_err(OptimiseError::Broken)?;
        handler.template.store(Arc::new(template));
        Ok(true)
    }
}
