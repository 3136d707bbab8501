//! What a producer hands in.

use bytes::Bytes;

use super::StoreError;
use crate::clock::Millis;
use crate::names::JobId;
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

    /// The parent it names, here or in its options.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the parent's id is empty.
    pub fn parent(&self) -> Result<Option<Parent>, StoreError> {
        if self.parent.is_some() {
            return Ok(self.parent.clone());
        }
        let Some(named) = &self.options.parent else { return Ok(None) };
        let id = JobId::new(&named.id)
            .map_err(|e| StoreError::Rejected(format!("job {:?}: its parent: {e}", self.name)))?;
        Ok(Some(Parent { queue_key: named.queue.clone(), id }))
    }

    /// Looks for what no store can store.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when its options contradict each other.
    pub fn check(&self) -> Result<(), StoreError> {
        let asked = self.options.parent_policies();
        if asked.len() <= 1 {
            return Ok(());
        }
        Err(StoreError::Rejected(format!(
            "job {:?}: {} cannot be used together; keep one of them",
            self.name,
            asked.join(", ")
        )))
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
