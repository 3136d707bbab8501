//! The store itself: the port's verbs, each handed to the writer or to a reader.

mod administration;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::store::{
    Added, AddedFlow, AttemptReceipt, Cancelled, Claim, ClaimRequest, Counts, Finish, FinishReply, Flow,
    NewJob, Page, Recovered, Removed, Scheduled, Scheduler, SchedulerSpec, Schedulers, StallPolicy, Store,
    StoreHealth, StoredEvent, Token, Waiter,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, StoreError};
use tokio::time::timeout_at;

use crate::add::{self, Checked};
use crate::blobs::Blobs;
use crate::cache::EmbeddedCache;
use crate::children::{Child, PREFIX};
use crate::documents::EmbeddedDocuments;
use crate::error::{EmbeddedError, Result};
use crate::file::DatabaseFile;
use crate::flow::Node;
use crate::keyvalue::EmbeddedKeyValue;
use crate::open::{EmbeddedOptions, Shared};
use crate::read::View;
use crate::signals::EmbeddedWaiter;
use crate::tx::Tx;
use crate::writer::Writer;
use crate::{admin, claim, events, finish, flow, schedulers};

/// Free space under which [`Store::health`] warns, while there is still time to act.
const SPACE_LOW_BYTES: u64 = 256 * 1024 * 1024;

/// A store in a directory of its own. Clones are handles of the same store; it is closed by [`Store::close`], or when
/// the last handle is gone.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: Writer,
}

impl EmbeddedStore {
    /// Opens the store in this directory, which is made when it does not exist.
    ///
    /// After a crash the file is checked first, which takes longer the larger it is. Blocks; a host does it once at its
    /// start.
    ///
    /// # Errors
    /// [`EmbeddedError::InUse`] when another process has it open; [`EmbeddedError::Io`]; [`EmbeddedError::Newer`] and
    /// [`EmbeddedError::Unreadable`] when the file there is none that this version can use.
    pub fn open(directory: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let (shared, lock) = Shared::open(directory.as_ref(), options)?;
        let shared = Arc::new(shared);
        let writer = Writer::start(shared.clone(), lock)
            .map_err(|cause| EmbeddedError::Io { path: shared.directory.clone(), cause })?;
        Ok(Self(Arc::new(Inner { shared, writer })))
    }

    /// The cache in the same database.
    #[must_use]
    pub fn cache(&self) -> EmbeddedCache {
        EmbeddedCache::new(self.clone())
    }

    /// The key-value buckets in the same database.
    #[must_use]
    pub fn keyvalue(&self) -> EmbeddedKeyValue {
        EmbeddedKeyValue::new(self.clone())
    }

    /// What hosts share, in the same database, and blobs beside it.
    #[must_use]
    pub fn documents(&self) -> EmbeddedDocuments {
        EmbeddedDocuments::new(self.clone())
    }

    /// Where the store is.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.0.shared.directory.clone()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Runs a verb in a write transaction.
    pub(crate) async fn write<R: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Tx<'_>) -> Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.0.writer.call(verb).await
    }

    /// Looks at one state of the store, on a thread that may wait for the disk.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.apart(move |file| file.with(|database| look(&View::of(database)?))).await
    }

    /// Uses the blobs, on a thread that may wait for the disk.
    pub(crate) async fn blobs<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Blobs) -> Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.apart(move |file| file.with_blobs(call)).await
    }

    async fn apart<R: Send + 'static>(
        &self,
        call: impl FnOnce(&DatabaseFile) -> Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        let shared = self.0.shared.clone();
        let called = tokio::task::spawn_blocking(move || call(&shared.file)).await;
        let called = called.map_err(|e| StoreError::Other(format!("using the embedded store: {e}")))?;
        called.map_err(|fault| {
            if fault.breaks_database() {
                self.0.writer.reopen();
            }
            fault.into_store_error(self.0.shared.file.path())
        })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn add(&self, queue: &QueueName, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError> {
        let mut checked = Vec::with_capacity(jobs.len());
        let mut refused = Ok(());
        for job in jobs {
            match Checked::new(job) {
                Ok(job) => checked.push(job),
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        let queue = queue.clone();
        let (added, ended) = self.write(move |tx| add::add(tx, &queue, &checked, now)).await?;
        ended.and(refused).map(|()| added)
    }

    async fn add_flow(&self, flow: Flow, now: Millis) -> Result<AddedFlow, StoreError> {
        let jobs = flow.laid_out(PREFIX, rand::random)?;
        let nodes: Vec<Node> = jobs.iter().map(Node::new).collect::<Result<_, _>>()?;
        let added = self.write(move |tx| flow::add(tx, &nodes, now)).await?;
        let missing = || StoreError::Other("not every job of the flow was answered for".into());
        AddedFlow::assemble(&jobs, added).ok_or_else(missing)
    }

    async fn claim(&self, queue: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError> {
        let (queue, request) = (queue.clone(), request.clone());
        self.write(move |tx| claim::claim(tx, &queue, &request)).await
    }

    async fn finish(
        &self,
        queue: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        let (queue, claim) = (queue.clone(), claim.cloned());
        self.write(move |tx| finish::finish(tx, &queue, &finishes, claim.as_ref(), now)).await
    }

    async fn renew(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        let Shared { locks: held, clocks, .. } = &*self.0.shared;
        Ok(held.renew(queue, locks, lock, clocks.steady.now()))
    }

    /// The interval is measured by the store's own clock, as locks are.
    async fn recover_stalled(
        &self,
        queue: &QueueName,
        policy: StallPolicy,
        _: Millis,
    ) -> Result<Recovered, StoreError> {
        let queue = queue.clone();
        self.write(move |tx| claim::recover_stalled(tx, &queue, policy)).await
    }

    async fn cancelled(
        &self,
        queue: &QueueName,
        running: &[(JobId, Token)],
    ) -> Result<Vec<Token>, StoreError> {
        Ok(self.0.shared.locks.cancelled(queue, running))
    }

    async fn waiter(&self, queue: &QueueName, name: Option<&str>) -> Result<Box<dyn Waiter>, StoreError> {
        let Shared { signals, clocks, workers, .. } = &*self.0.shared;
        let presence = workers.enter(queue, name);
        Ok(Box::new(EmbeddedWaiter::new(&signals.of(queue), clocks.wall.clone(), presence)))
    }

    async fn wake(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.0.shared.signals.wake(queue);
        Ok(())
    }

    async fn set_progress(&self, queue: &QueueName, id: &JobId, progress: Bytes) -> Result<(), StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| admin::set_progress(tx, &queue, &id, &progress)).await
    }

    async fn append_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError> {
        let (queue, id, lines) = (queue.clone(), id.clone(), lines.to_vec());
        self.write(move |tx| admin::append_logs(tx, &queue, &id, &lines, keep)).await
    }

    async fn update_data(&self, queue: &QueueName, id: &JobId, data: Bytes) -> Result<(), StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| admin::update_data(tx, &queue, &id, &data)).await
    }

    async fn children_values(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.children(&queue, &id, Child::Completed)).await
    }

    async fn children_failures(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.children(&queue, &id, Child::Ignored)).await
    }

    async fn get(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.get(&queue, &id)).await
    }

    async fn state(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobState>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.state(&queue, &id)).await
    }

    async fn list(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>, StoreError> {
        let queue = queue.clone();
        self.read(move |view| view.list(&queue, state, page)).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<Counts, StoreError> {
        let queue = queue.clone();
        self.read(move |view| view.counts(&queue)).await
    }

    async fn logs(&self, queue: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.logs(&queue, &id, page)).await
    }

    async fn receipts(&self, queue: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.receipts(&queue, &id)).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        // The table is ordered by name.
        self.read(|view| Ok(view.queues()?.into_iter().map(|(name, _)| name).collect())).await
    }

    async fn last_event(&self, queue: &QueueName) -> Result<String, StoreError> {
        let queue = queue.clone();
        let queue = self.read(move |view| view.queue(&queue)).await?;
        Ok(queue.map_or(0, |queue| queue.last_event).to_string())
    }

    async fn events(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let after = events::parse_id(after)?;
        let end = tokio::time::Instant::now() + wait;
        // Before the first look: what comes after it is noticed.
        let mut news = self.0.shared.signals.of(queue).events.subscribe();
        loop {
            let of = queue.clone();
            let events = self.read(move |view| view.events(&of, after)).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            if timeout_at(end, news.changed()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn pause(&self, queue: &QueueName) -> Result<(), StoreError> {
        let queue = queue.clone();
        self.write(move |tx| admin::set_paused(tx, &queue, true)).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<(), StoreError> {
        let queue = queue.clone();
        self.write(move |tx| admin::set_paused(tx, &queue, false)).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        let queue = queue.clone();
        let queue = self.read(move |view| view.queue(&queue)).await?;
        Ok(queue.is_some_and(|queue| queue.paused))
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| flow::remove(tx, &queue, &id, false)).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        self.cancel_job(queue, id, now).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<(), StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| admin::promote(tx, &queue, &id)).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId, reset_attempts: bool) -> Result<(), StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| admin::retry(tx, &queue, &id, reset_attempts)).await
    }

    async fn drain(&self, queue: &QueueName, delayed: bool) -> Result<u64, StoreError> {
        let queue = queue.clone();
        self.write(move |tx| admin::drain(tx, &queue, delayed)).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let begun = Instant::now();
        self.write(|_| Ok(())).await?;
        let latency = begun.elapsed();
        let directory = self.directory();
        let mut warnings = Vec::new();
        if let Ok(disk) = rustix::fs::statvfs(&directory) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < SPACE_LOW_BYTES {
                let (free, shown) = (free / 1024 / 1024, directory.display());
                warnings.push(format!("only {free} MiB are free for the store in {shown}; free space there"));
            }
        }
        Ok(StoreHealth { kind: "embedded".into(), latency, faults: Vec::new(), warnings })
    }

    async fn close(&self) {
        self.0.writer.close().await;
    }
}

#[async_trait]
impl Schedulers for EmbeddedStore {
    async fn set_scheduler(
        &self,
        queue: &QueueName,
        spec: SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        let queue = queue.clone();
        self.write(move |tx| schedulers::set(tx, &queue, &spec, now)).await
    }

    async fn remove_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let (queue, id) = (queue.clone(), id.to_owned());
        self.write(move |tx| schedulers::remove(tx, &queue, &id)).await
    }

    async fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>, StoreError> {
        let (queue, id) = (queue.clone(), id.to_owned());
        self.read(move |view| view.scheduler(&queue, &id)).await
    }

    async fn schedulers(&self, queue: &QueueName, page: Page) -> Result<Vec<Scheduler>, StoreError> {
        let queue = queue.clone();
        self.read(move |view| view.schedulers(&queue, page)).await
    }
}
