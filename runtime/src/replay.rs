//! `jobcell replay`: a recorded attempt once more, in a cell that is answered from the recording and reaches nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::effects::{Blob, Player, Tape};
use jobcell_core::recordings::{Kept, KeptEnd, Recordings};
use jobcell_core::{
    Attempt, AttemptIo, Documents, Job, JobId, Millis, Outcome, QueueName, Receipt, Report, Runner,
    StoreError,
};
use jobcell_handlers::{Artifact, Haste, LoadError, Loader, file};
use jobcell_wasm::{Engine, EngineConfig, Services, WasmError};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::builder::StartError;
use crate::config::{Config, HandlerSource};
use crate::configured;
use crate::handler::Handler;
use crate::invoke::{Invoked, describe};
use crate::loader::WasmLoader;
use crate::stores::OpenStore;

/// What to run again.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The job's queue.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Which of its recorded attempts. None for the newest.
    pub attempt: Option<u64>,
    /// Another component in place of the version that ran it.
    pub with: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// The job's queue.
    pub queue: String,
    /// The job.
    pub id: String,
    /// The attempt's number.
    pub attempt: u64,
    /// How the recorded attempt ended.
    pub recorded: RecordedEnd,
    /// How this one did.
    pub replayed: Invoked,
    /// Nothing differs.
    pub agrees: bool,
    /// What differs: answers that the recording does not have, the end, and what was not done any more.
    pub differences: Vec<String>,
    /// Questions that the recording has no answer for.
    pub diverged: u64,
    /// The recording is not whole.
    pub truncated: bool,
}

/// How a recorded attempt ended.
#[derive(Debug, Clone, Serialize)]
pub struct RecordedEnd {
    /// The version that ran it.
    pub version: String,
    /// When it ended.
    pub at: Millis,
    /// In one word.
    pub outcome: String,
    /// Which bound ended it, or how it broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its result, where it was short enough to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// What it cost.
    pub receipt: Receipt,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No attempt of the job was recorded, or it was long ago.
    #[error(
        "no attempt of job {id:?} in queue {queue:?} is recorded; record = \"failed\" under [handlers.NAME] records those that \
         fail, and the newest 100 of a queue are kept"
    )]
    NotRecorded {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
    },
    /// Not this one.
    #[error("attempt {asked} of job {id:?} is not recorded; there {there}")]
    NoSuchAttempt {
        /// The job.
        id: JobId,
        /// What was asked for.
        asked: u64,
        /// What there is.
        there: String,
    },
    /// The job is gone, and its payload with it.
    #[error(
        "job {id:?} is not in queue {queue:?} any more, and its payload is gone with it; keep failed jobs longer (keep.failed)"
    )]
    NoJob {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
    },
    /// The job has another payload now.
    #[error("{0}; it cannot be run again as it was")]
    Payload(String),
    /// The handler is not configured.
    #[error(
        "handler {0:?}, which ran it, is not configured here; add [handlers.{0}], which says what it may use"
    )]
    NoHandler(String),
    /// The version that ran it is not to be had.
    #[error(
        "version {version} of handler {handler:?}, which ran it, is neither in the store nor what its source holds now; name a \
         component: --with FILE.wasm"
    )]
    NoVersion {
        /// The handler.
        handler: String,
        /// The version.
        version: String,
    },
    /// The file that was named cannot be read.
    #[error("{} cannot be read: {cause}; build it, or correct the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The component is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// The configuration asks for what cannot be.
    #[error(transparent)]
    Config(#[from] StartError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs a recorded attempt again.
///
/// # Errors
/// When nothing could be run. What the attempt does is in [`Replayed`].
pub async fn replay(config: &Config, open: &OpenStore, replay: Replay) -> Result<Replayed, ReplayError> {
    let Replay { queue, id, attempt, with } = replay;
    let kept = find(open, &queue, &id, attempt).await?;
    let job = open.store.get(&queue, &id).await?;
    let job = job.ok_or_else(|| ReplayError::NoJob { queue: queue.clone(), id: id.clone() })?;
    let job = kept.job(&job).map_err(ReplayError::Payload)?;
    let handler = match config.handlers.get(&kept.handler) {
        Some(handler) => configured::handler(handler),
        None => return Err(ReplayError::NoHandler(kept.handler.clone())),
    };
    let artifact = match &with {
        Some(path) => Artifact::new(read(path).await?),
        None => artifact(config, &*open.documents, &kept).await?,
    };
    let runner = load(config, &open.prefix, handler, artifact).await?;
    Ok(run(queue, job, kept, &*runner).await)
}

/// The attempt that is meant.
async fn find(
    open: &OpenStore,
    queue: &QueueName,
    id: &JobId,
    attempt: Option<u64>,
) -> Result<Kept, ReplayError> {
    let mut kept = Recordings::new(Arc::clone(&open.documents)).of(queue, id).await?;
    if kept.is_empty() {
        return Err(ReplayError::NotRecorded { queue: queue.clone(), id: id.clone() });
    }
    let at = match attempt {
        None => 0,
        Some(asked) => kept.iter().position(|kept| kept.attempt == asked).ok_or_else(|| {
            let numbers: Vec<String> = kept.iter().rev().map(|kept| kept.attempt.to_string()).collect();
            let there = if let [one] = &numbers[..] {
                format!("is {one}")
            } else {
                format!("are {}", numbers.join(", "))
            };
            ReplayError::NoSuchAttempt { id: id.clone(), asked, there }
        })?,
    };
    Ok(kept.swap_remove(at))
}

async fn read(path: &Path) -> Result<Bytes, ReplayError> {
    let read = tokio::fs::read(path).await;
    read.map(Bytes::from).map_err(|cause| ReplayError::Unreadable { path: path.to_owned(), cause })
}

/// The version that ran the attempt: out of the store, or out of its source where that still holds it.
async fn artifact(config: &Config, documents: &dyn Documents, kept: &Kept) -> Result<Artifact, ReplayError> {
    if let Some(digest) = &kept.digest
        && let Some(bytes) = documents.blob(digest).await?
    {
        return Ok(Artifact::new(bytes));
    }
    let source = config.handlers.get(&kept.handler).map(|handler| &handler.source);
    if let Some(HandlerSource::Path(path)) = source
        && let Ok(artifact) = file::read(&kept.handler, path).await
        && artifact.digest.short() == kept.version
    {
        return Ok(artifact);
    }
    Err(ReplayError::NoVersion { handler: kept.handler.clone(), version: kept.version.clone() })
}

async fn load(
    config: &Config,
    prefix: &str,
    handler: Handler,
    artifact: Artifact,
) -> Result<Arc<dyn Runner>, ReplayError> {
    let name = handler.name.clone();
    // The prefix is a part of what a guest is told of its job.
    let services =
        Services { key_prefix: prefix.to_owned(), ..configured::services(config, &handler.grants)? };
    let stack = handler.limits.stack;
    let engine = Engine::new(EngineConfig { cells: 1, stack, ..configured::engine(config) })?;
    let loader = WasmLoader::new(engine, None, services, vec![handler]);
    Ok(loader.load(&name, artifact, Haste::Later).await?.runner)
}

async fn run(queue: QueueName, job: Job, kept: Kept, runner: &dyn Runner) -> Replayed {
    let Kept { id, attempt: number, deadline_at, at, version, end, receipt: cost, recording, .. } = kept;
    let truncated = recording.truncated;
    let player = Arc::new(Player::new(Arc::new(recording)));
    let io = AttemptIo::new(runner.log_limits());
    io.set_tape(Tape::Play(Arc::clone(&player)));
    let attempt = Attempt {
        queue: queue.clone(),
        job: Arc::new(job),
        deadline: Instant::now() + runner.deadline(),
        deadline_at,
        cancel: CancellationToken::new(),
        io: Arc::clone(&io),
    };
    let Report { outcome, receipt } = runner.run(attempt).await;
    let played = player.played();
    let mut differences: Vec<String> = played.divergences.iter().map(ToString::to_string).collect();
    differences.extend(end.difference(&KeptEnd::of(&outcome, &io)));
    differences.extend(played.left_out.iter().map(|what| format!("{what}: not done this time")));
    Replayed {
        queue: queue.as_str().to_owned(),
        id,
        attempt: number,
        recorded: recorded(version, at, end, cost),
        replayed: invoked(runner, outcome, receipt, &io),
        agrees: differences.is_empty(),
        differences,
        diverged: played.diverged,
        truncated,
    }
}

fn recorded(version: String, at: Millis, end: KeptEnd, receipt: Receipt) -> RecordedEnd {
    let KeptEnd { outcome, stopped_by, reason, result, .. } = end;
    let result = result.map(|Blob(bytes)| {
        let text = || String::from_utf8_lossy(&bytes).into();
        if bytes.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
        }
    });
    RecordedEnd { version, at, outcome, stopped_by, reason, result, receipt }
}

fn invoked(runner: &dyn Runner, outcome: Outcome, receipt: Receipt, io: &AttemptIo) -> Invoked {
    let said = io.take();
    let mut invoked = Invoked {
        handler: runner.handler().to_owned(),
        version: runner.version().to_owned(),
        outcome: outcome.label(),
        result: None,
        reason: None,
        stopped_by: None,
        backtrace: Vec::new(),
        logs: said.logs,
        progress: said.progress.and_then(|json| serde_json::from_slice(&json).ok()),
        receipt,
    };
    describe(&mut invoked, outcome);
    invoked
}
