//! The seam to whatever runs a job: a cell, or a function of the embedding program.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::{Attempt, LogLimits};
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::Outcome;
pub use crate::receipt::Receipt;

/// Runs attempts of jobs. One runner serves many attempts at once.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// The handler's name, for messages and metrics.
    fn handler(&self) -> &str;

    /// The version: the first 12 hex digits of the artifact's digest, or `native`.
    fn version(&self) -> &str;

    /// The whole digest of that artifact, `sha256:` and 64 hex digits; none where there is no artifact.
    fn digest(&self) -> Option<&str> {
        None
    }

    /// The longest one attempt may take.
    fn deadline(&self) -> Duration;

    /// What one attempt may leave in its job's log.
    fn log_limits(&self) -> LogLimits {
        LogLimits::default()
    }

    /// Whether an attempt with a tape that plays ([`crate::effects::Tape::Play`]) touches nothing outside. A runner that
    /// says so never looks further than the recording; what wraps another one passes its answer on.
    fn plays(&self) -> bool {
        false
    }

    /// Runs one attempt to its outcome. It must end soon after `attempt.cancel` fires or `attempt.deadline` passes;
    /// the worker drops the future when it does not. Never panics for what a job or a handler contains.
    async fn run(&self, attempt: Attempt) -> Report;
}

/// What a runner hands back.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the attempt said.
    pub outcome: Outcome,
    /// What it cost.
    pub receipt: Receipt,
}

/// Finds who runs a job.
pub trait Router: Send + Sync + 'static {
    /// The runner for this job of this queue, chosen anew for every attempt: by the job's name which handler, by its id
    /// and the version that ran it last which version. Called on the hot path: must not block.
    fn route(&self, queue: &QueueName, job: &Job) -> Route;
}

/// What a [`Router`] found.
#[derive(Clone)]
pub enum Route {
    /// This runner.
    To(Arc<dyn Runner>),
    /// Nobody takes it; the text says what is registered. The job fails for good.
    Nobody(String),
    /// Somebody will, but not now (the handler is being loaded): give the job back after this long.
    Later(Duration),
}
