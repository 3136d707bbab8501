//! `jobcell invoke`: one attempt of one job in a cell, with no store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::{Attempt, AttemptIo, Clock, Job, JobId, Outcome, QueueName, Receipt, Report, SystemClock};
use jobcell_handlers::{Artifact, ArtifactError, Haste, LoadError, Loader, Source, file};
use jobcell_wasm::{Engine, EngineConfig, WasmError};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::builder::StartError;
use crate::config::{Config, HandlerConfig, HandlerSource};
use crate::configured;
use crate::handler::Handler;
use crate::loader::WasmLoader;

/// What to invoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A component in a file. It has the grants and limits of the configured handler whose source it is, else none.
    File(PathBuf),
    /// A configured handler.
    Handler(String),
}

/// The job it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The queue's name.
    pub queue: QueueName,
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// The payload.
    pub data: Bytes,
    /// The number of the attempt, from 1.
    pub attempt: u64,
    /// How many attempts the job has.
    pub attempts: u64,
    /// Whose job it is.
    pub tenant: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Invoked {
    /// The handler.
    pub handler: String,
    /// Its version: 12 hex digits.
    pub version: String,
    /// In one word: `completed`, `retry`, `fatal`, `invalid`, `stopped`, …
    pub outcome: &'static str,
    /// The result, when it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which bound ended it, or how it broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<&'static str>,
    /// The guest's frames, innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// The job's log.
    pub logs: Vec<String>,
    /// The last progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<serde_json::Value>,
    /// What it cost.
    pub receipt: Receipt,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The handler is not configured.
    #[error("handler {name:?} is not configured; {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file that was named cannot be read.
    #[error("{} cannot be read: {cause}; build it, or correct the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It cannot be read or is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The handler's versions are not files of this machine.
    #[error("handler {name:?} comes from {from}; give the .wasm file of the version to run")]
    Elsewhere {
        /// The handler.
        name: String,
        /// Where from.
        from: String,
    },
    /// The engine cannot be set up.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// The configuration asks for what cannot be.
    #[error(transparent)]
    Config(#[from] StartError),
}

/// Runs one attempt.
///
/// # Errors
/// When nothing could be run. What the attempt does is in [`Invoked`].
pub async fn invoke(
    config: &Config,
    target: &Target,
    invocation: Invocation,
) -> Result<Invoked, InvokeError> {
    let handler = find(config, target)?;
    let name = handler.name.clone();
    let Source::File(path) = &handler.source else {
        return Err(InvokeError::Elsewhere { name, from: handler.source.to_string() });
    };
    let artifact = file::read(&name, path).await.map_err(|fault| match (target, fault) {
        (Target::File(_), ArtifactError::Unreadable { path, cause, .. }) => {
            InvokeError::Unreadable { path, cause }
        }
        (_, fault) => InvokeError::Load(fault.into()),
    })?;
    let services = configured::services(config, &handler.grants)?;
    let stack = handler.limits.stack;
    let engine = Engine::new(EngineConfig { cells: 1, stack, ..configured::engine(config) })?;
    let loader = WasmLoader::new(engine, None, services, vec![handler]);
    let runner = loader.load(&name, Artifact::new(artifact.bytes), Haste::Later).await?.runner;

    let (io, now) = (Arc::new(AttemptIo::default()), SystemClock.now());
    io.limit(runner.log_limits());
    let deadline = runner.deadline();
    let attempt = Attempt {
        job: Arc::new(job(&invocation, now)),
        queue: invocation.queue,
        deadline: Instant::now() + deadline,
        deadline_at: now + u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX / 2),
        cancel: CancellationToken::new(),
        io: Arc::clone(&io),
    };
    let Report { outcome, receipt } = runner.run(attempt).await;
    let recorded = io.take();
    let mut invoked = Invoked {
        handler: name,
        version: runner.version().to_owned(),
        outcome: outcome.label(),
        result: None,
        reason: None,
        stopped_by: None,
        backtrace: Vec::new(),
        logs: recorded.logs,
        progress: recorded.progress.and_then(|json| serde_json::from_slice(&json).ok()),
        receipt,
    };
    describe(&mut invoked, outcome);
    Ok(invoked)
}

fn find(config: &Config, target: &Target) -> Result<Handler, InvokeError> {
    match target {
        Target::Handler(name) => {
            let Some(handler) = config.handlers.get(name) else {
                let known: Vec<String> = config.handlers.keys().map(|name| format!("{name:?}")).collect();
                let known = match &known[..] {
                    [] => "no handler is; name a .wasm file, or add it to the configuration".to_owned(),
                    known => format!("there are {}", known.join(", ")),
                };
                return Err(InvokeError::Unknown { name: name.clone(), known });
            };
            Ok(configured::handler(handler))
        }
        Target::File(file) => {
            let same = |handler: &&HandlerConfig| match &handler.source {
                HandlerSource::Path(path) => is_same(path, file),
                HandlerSource::Store | HandlerSource::Oci(_) => false,
            };
            let name = || {
                file.file_stem().map_or_else(|| "handler".to_owned(), |stem| stem.to_string_lossy().into())
            };
            match config.handlers.values().find(same) {
                Some(handler) => Ok(configured::handler(handler)),
                None => Ok(Handler::wasm(name(), file)),
            }
        }
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn job(invocation: &Invocation, now: u64) -> Job {
    let mut job = Job::new(invocation.id.clone(), &invocation.name, invocation.data.clone());
    job.options.attempts = invocation.attempts;
    job.options.tenant.clone_from(&invocation.tenant);
    job.timestamp = now;
    job.processed_on = Some(now);
    job.attempts_made = invocation.attempt.saturating_sub(1);
    job.attempts_started = invocation.attempt;
    job
}

/// Says how it ended.
pub(crate) fn describe(invoked: &mut Invoked, outcome: Outcome) {
    match outcome {
        Outcome::Complete(result) if result.is_empty() => invoked.result = Some(serde_json::Value::Null),
        Outcome::Complete(result) => match serde_json::from_slice(&result) {
            Ok(value) => invoked.result = Some(value),
            Err(_) => {
                invoked.reason =
                    Some("the result is not JSON; on a BullMQ queue this would fail the attempt".to_owned());
                invoked.result = Some(String::from_utf8_lossy(&result).into());
            }
        },
        Outcome::Retry { reason, after: None } | Outcome::Fatal(reason) | Outcome::Invalid(reason) => {
            invoked.reason = Some(reason);
        }
        Outcome::Retry { reason, after: Some(after) } => {
            invoked.reason = Some(format!("{reason} (again after {} ms)", after.as_millis()));
        }
        Outcome::RateLimited(rest) => {
            invoked.reason = Some(format!("the queue is to rest {} ms", rest.as_millis()));
        }
        Outcome::DelayUntil(at) => invoked.reason = Some(format!("to run at {at} ms since 1970")),
        Outcome::Requeue => invoked.reason = Some("given back to the front of its queue".to_owned()),
        Outcome::WaitForChildren => {
            invoked.reason = Some("given back until its children are done".to_owned());
        }
        Outcome::Stopped(stopped) => {
            invoked.stopped_by = Some(stopped.cause.as_str());
            invoked.reason = Some(stopped.reason);
            invoked.backtrace = stopped.backtrace;
        }
    }
}
