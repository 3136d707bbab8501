//! A job that broke on one version runs on another: what comes of that shows whose fault it was.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::attempt::LogLimits;
use jobcell_core::{Attempt, Report, Runner};

use crate::loaded::Loaded;

/// The other version, for one attempt.
pub(crate) struct SecondOpinion {
    /// Where the job broke.
    of: Arc<Loaded>,
    by: Arc<Loaded>,
}

// === impl SecondOpinion ===

impl SecondOpinion {
    pub(crate) fn new(of: &Arc<Loaded>, by: &Arc<Loaded>) -> Self {
        Self { of: Arc::clone(of), by: Arc::clone(by) }
    }
}

#[async_trait]
impl Runner for SecondOpinion {
    fn handler(&self) -> &str {
        self.by.handler()
    }

    fn version(&self) -> &str {
        Runner::version(&*self.by)
    }

    fn digest(&self) -> Option<&str> {
        self.by.digest()
    }

    fn deadline(&self) -> Duration {
        self.by.deadline()
    }

    fn log_limits(&self) -> LogLimits {
        self.by.log_limits()
    }

    fn plays(&self) -> bool {
        self.by.plays()
    }

    async fn run(&self, attempt: Attempt) -> Report {
        self.by.run_for(&self.of, attempt).await
    }
}
