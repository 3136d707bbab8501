//! Handlers written as async functions of the embedding program. They run with its rights: no sandbox, no limits but
//! the deadline.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use jobcell_core::{Attempt, Outcome, Receipt, Report, Runner, StopCause};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The job a native handler is given.
#[derive(Clone)]
pub struct NativeJob {
    attempt: Attempt,
}

/// Why a native handler has no result. Any error converts with `?` into one that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeFailure(Outcome);

// === impl NativeJob ===

impl NativeJob {
    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.attempt.job.id.as_str()
    }

    /// The queue it came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.attempt.queue.as_str()
    }

    /// The producer's name for this kind of job.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.attempt.job.name
    }

    /// The number of this attempt: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempt.job.attempt()
    }

    /// The payload as the producer stored it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.attempt.job.data
    }

    /// The payload, decoded from JSON.
    ///
    /// # Errors
    /// A failure that is not tried again, with the place of the fault.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, NativeFailure> {
        serde_json::from_slice(self.bytes())
            .map_err(|fault| NativeFailure::invalid(format!("payload: {fault}")))
    }

    /// Adds a line to the job's log.
    pub fn log(&self, line: impl AsRef<str>) {
        self.attempt.io.log(line.as_ref());
    }

    /// Reports progress: any JSON value.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub fn progress(&self, value: &impl Serialize) -> Result<(), NativeFailure> {
        self.attempt.io.progress(serde_json::to_vec(value)?.into());
        Ok(())
    }

    /// Waits until the attempt must end: somebody cancelled the job, its deadline has passed, its lock is lost or the host
    /// shuts down. The function is dropped soon after; once the job was cancelled, after its queue's grace. Cancel safe.
    pub async fn cancelled(&self) {
        tokio::select! {
            () = self.attempt.cancel.cancelled() => {}
            () = self.attempt.io.asked() => {}
        }
    }
}

// === impl NativeFailure ===

impl NativeFailure {
    /// Tried again by the job's own backoff, while attempts are left.
    pub fn retry(reason: impl Display) -> Self {
        Self(Outcome::Retry { reason: reason.to_string(), after: None })
    }

    /// Tried again after this long, while attempts are left.
    pub fn retry_after(reason: impl Display, after: Duration) -> Self {
        Self(Outcome::Retry { reason: reason.to_string(), after: Some(after) })
    }

    /// Never tried again.
    pub fn fatal(reason: impl Display) -> Self {
        Self(Outcome::Fatal(reason.to_string()))
    }

    /// The payload is not what this handler takes; never tried again.
    pub fn invalid(reason: impl Display) -> Self {
        Self(Outcome::Invalid(reason.to_string()))
    }

    /// The queue must rest this long; uses no attempt.
    #[must_use]
    pub fn rate_limited(rest: Duration) -> Self {
        Self(Outcome::RateLimited(rest))
    }

    /// Given back to the front of the queue; uses no attempt.
    #[must_use]
    pub fn requeue() -> Self {
        Self(Outcome::Requeue)
    }
}

impl<E: std::error::Error> From<E> for NativeFailure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::retry(reason)
    }
}

type Function = dyn Fn(NativeJob) -> BoxFuture<'static, Outcome> + Send + Sync;

/// A native handler as a [`Runner`].
pub(crate) struct NativeRunner {
    name: String,
    deadline: Duration,
    function: Arc<Function>,
}

impl NativeRunner {
    pub(crate) fn new<F, Fut, T>(name: String, deadline: Duration, function: F) -> Self
    where
        F: Fn(NativeJob) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, NativeFailure>> + Send + 'static,
        T: Serialize,
    {
        let function = move |job| -> BoxFuture<'static, Outcome> {
            let run = function(job);
            Box::pin(async move {
                match run.await {
                    Ok(value) => match serde_json::to_vec(&value) {
                        Ok(json) => Outcome::Complete(json.into()),
                        Err(fault) => {
                            Outcome::Fatal(format!("the result cannot be encoded as JSON: {fault}"))
                        }
                    },
                    Err(NativeFailure(outcome)) => outcome,
                }
            })
        };
        Self { name, deadline, function: Arc::new(function) }
    }
}

#[async_trait]
impl Runner for NativeRunner {
    fn handler(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        "native"
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn run(&self, attempt: Attempt) -> Report {
        let started = Instant::now();
        let (cancel, io, deadline) = (attempt.cancel.clone(), Arc::clone(&attempt.io), attempt.deadline);
        let run = (self.function)(NativeJob { attempt });
        let outcome = tokio::select! {
            biased;
            outcome = run => outcome,
            () = tokio::time::sleep_until(deadline) => {
                Outcome::stopped(StopCause::Deadline, format!("handler {:?} went on past its deadline", self.name))
            }
            () = cancel.cancelled() => {
                let cause = io.stop_cause().unwrap_or(StopCause::Cancelled);
                Outcome::stopped(cause, format!("the attempt was ended: {}", cause.as_str()))
            }
        };
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Report { outcome, receipt: Receipt { wall_us, ..Receipt::default() } }
    }
}
