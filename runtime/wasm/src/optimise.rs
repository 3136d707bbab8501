//! From baseline to optimised code while the handler takes jobs.
//!
//! A version that is wanted at once begins on code of the baseline compiler; the other one takes its second meanwhile,
//! and has the attempts that begin from then on. It is one version all the while: of the same bytes, with the same limits
//! and grants. No attempt changes its code on the way.

use std::sync::Arc;

use bytes::Bytes;

use crate::admit::{AdmitError, AdmitOptions};
use crate::engine::Tier;
use crate::error::WasmError;
use crate::runner::HandlerRunner;
use crate::template::Template;

/// A handler stays on baseline code: it goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum OptimiseError {
    /// There is no optimised code.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// It does not fit what the handler has.
    #[error(transparent)]
    Handler(#[from] WasmError),
    /// No cell can be made of it.
    #[error("a cell of it breaks while it is made: {0}")]
    Broken(String),
}

impl OptimiseError {
    /// True when the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Admit(fault) if fault.is_transient())
    }
}

// === impl HandlerRunner ===

impl HandlerRunner {
    /// What code new attempts run.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.template().tier()
    }

    /// Has the optimised code of these bytes, which must be those that the handler was admitted with, made and put in the
    /// place of the baseline code. Attempts that run end on the code that they began on.
    ///
    /// The future keeps the handler from nothing: it ends, with false, once nobody can run it any more. Cancel safety: a
    /// dropped future ends the compiling, and changes nothing.
    ///
    /// # Errors
    /// Why it stays on the code that it has.
    pub fn optimise(
        &self,
        bytes: Bytes,
        options: AdmitOptions,
    ) -> impl Future<Output = Result<bool, OptimiseError>> + Send + use<> {
        let (engine, gone) = (self.template().engine().clone(), self.0.gone.clone());
        let handler = Arc::downgrade(&self.0);
        async move {
            let options = AdmitOptions { baseline: false, ..options };
            let admitted = tokio::select! {
                biased;
                () = gone.cancelled() => return Ok(false),
                admitted = engine.admit(bytes, options) => admitted?,
            };
            let Some(handler) = handler.upgrade() else { return Ok(false) };
            let (spec, services) = (handler.spec.clone(), handler.services.clone());
            let template = Template::new(&engine, &admitted, spec, services)?;
            template.warm().await.map_err(|stopped| OptimiseError::Broken(stopped.reason))?;
            handler.template.store(Arc::new(template));
            Ok(true)
        }
    }
}
