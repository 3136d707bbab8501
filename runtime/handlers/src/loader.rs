//! The seam to whatever makes something that runs of an artifact: this crate knows no engine.

use std::sync::Arc;

use async_trait::async_trait;
use jobcell_core::Runner;
use tokio::sync::oneshot;

use crate::artifact::{Artifact, ArtifactError};

/// Turns an artifact into something that runs: admits, compiles, links and warms it.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// Loads this version of this handler.
    ///
    /// What it returns may go on getting faster by itself where it was made in haste; it is the same version throughout.
    ///
    /// Cancel safety: nothing is left of a dropped future but what it has put into a cache.
    ///
    /// # Errors
    /// When it is refused; nothing of it stays behind.
    async fn load(&self, handler: &str, artifact: Artifact, haste: Haste) -> Result<Made, LoadError>;

    /// What it was told of this handler, as a text that is another one whenever that is. To be compared, not to be shown.
    fn settings(&self, handler: &str) -> String;
}

/// What was made of an artifact.
pub struct Made {
    /// What runs.
    pub runner: Arc<dyn Runner>,
    /// Of what was made in haste: that it is as it stays, or why it is refused after all. Closed without a word it says
    /// neither.
    pub verdict: Option<oneshot::Receiver<Result<(), LoadError>>>,
}

/// How soon a version is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Jobs are to run on it: the sooner the better, be it slower at first.
    Now,
    /// It is held against another one, or kept ready: as it is to stay.
    Later,
}

/// Whose fault it is that a version cannot be loaded, which says what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Its bytes': no host can load it.
    Bytes,
    /// This host's: its configuration, its version. Another one may load it.
    Host,
    /// Nobody's: it may go well the next time.
    Passing,
}

/// A handler's version cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// It is refused; the text names the handler, the reason and the fix.
    #[error("handler {handler:?} is refused: {reason}")]
    Refused {
        /// The handler.
        handler: String,
        /// Why.
        reason: String,
        /// Whose fault that is.
        blame: Blame,
    },
}

// === impl Made ===

impl Made {
    /// As it is to stay.
    #[must_use]
    pub fn whole(runner: Arc<dyn Runner>) -> Self {
        Self { runner, verdict: None }
    }
}

// === impl LoadError ===

impl LoadError {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Artifact(_) => Blame::Passing,
            Self::Refused { blame, .. } => *blame,
        }
    }

    /// Why, without the handler's name.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Artifact(fault) => fault.to_string(),
            Self::Refused { reason, .. } => reason.clone(),
        }
    }
}
