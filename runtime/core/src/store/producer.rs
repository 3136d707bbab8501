//! What a producer hands in.

use bytes::Bytes;

use crate::clock::Millis;
use crate::names::{JobId, QueueName};
use crate::options::JobOptions;

/// A job to be added.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The kind of job, by which a handler is chosen.
    pub name: String,
    /// The payload, stored byte for byte; JSON text on BullMQ queues.
    pub data: Bytes,
    /// The options. `job_id`, `delay`, `priority`, `lifo`, `timestamp`, `parent` and `deduplication` take effect; all are stored.
    pub options: JobOptions,
    /// The parent in a flow; must exist.
    pub parent: Option<Parent>,
}

/// The parent a new job becomes a child of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// `<prefix>:<queue>` of the parent.
    pub queue_key: String,
    /// Its id.
    pub id: JobId,
}

impl NewJob {
    /// A job with this name and JSON payload and default options.
    #[must_use]
    pub fn new(name: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { name: name.into(), data: data.into(), options: JobOptions::default(), parent: None }
    }

    /// When it was made: the producer's time, else `now`.
    #[must_use]
    pub fn timestamp(&self, now: Millis) -> Millis {
        self.options.timestamp.unwrap_or(now)
    }
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It is in the store under this id.
    New(JobId),
    /// A job with this id exists; nothing was added.
    Duplicate(JobId),
    /// This job owns the deduplication id; nothing was added.
    Deduplicated(JobId),
}

impl Added {
    /// The id of the job that is in the store now.
    #[must_use]
    pub fn id(&self) -> &JobId {
        match self {
            Self::New(id) | Self::Duplicate(id) | Self::Deduplicated(id) => id,
        }
    }
}

/// A tree of jobs: each runs after its children are done. Children may be in other queues than their parent.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The queue of the job at the top.
    pub queue: QueueName,
    /// The job at the top. Only the topmost job of a tree may name a parent of its own.
    pub job: NewJob,
    /// What it waits for; none makes it an ordinary job.
    pub children: Vec<Flow>,
}

/// What became of a [`Flow`], in its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFlow {
    /// The queue of the job at the top.
    pub queue: QueueName,
    /// What became of it.
    pub added: Added,
    /// What became of its children, in order.
    pub children: Vec<AddedFlow>,
}

// === impl Flow ===

impl Flow {
    /// A job without children.
    #[must_use]
    pub fn new(queue: QueueName, job: NewJob) -> Self {
        Self { queue, job, children: Vec::new() }
    }

    /// The same with another child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }
}
