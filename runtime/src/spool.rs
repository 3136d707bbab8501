//! Jobs that came in over the API while Redis was away: a file that keeps them, and the way from there to their queues.
//!
//! Jobs are numbered in the order they came, and forwarded in that order, one queue's neighbours at a time. They are
//! removed from the file after the store has them: a crash in between adds them once more, under the same ids, which
//! changes nothing as long as the store still knows the job. (One that ran and was removed from the store within that
//! moment would run again: keep completed jobs for a while where that matters.) What the store refuses for good is put
//! aside in the file, logged and counted, so that it stops no other job.

mod file;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::NewJob;
use jobcell_core::{Admin, Clock, Millis, QueueName, StoreError, SystemClock};
use jobcell_server::{Metrics, SpoolError};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::config::SpoolConfig;
use file::{Held, Numbered, SpoolFile, Spooled};

/// Jobs that are forwarded at once.
const BATCH: usize = 100;
/// Between two tries while the store is away, at first; it doubles up to the longest.
const AWAY_FIRST: Duration = Duration::from_millis(250);
const AWAY_LONGEST: Duration = Duration::from_secs(5);

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the spool {} cannot be used: {cause}; correct [spool] path, or end the host that uses it", path.display())]
pub struct SpoolFault {
    path: PathBuf,
    cause: String,
}

/// See the module.
pub(crate) struct Spool {
    file: Arc<SpoolFile>,
    bounds: Held,
    /// What is in the file and on its way into it.
    held: Mutex<Held>,
    /// Queues in which adding twice makes two jobs.
    lists: BTreeSet<QueueName>,
    metrics: Arc<Metrics>,
    /// Told when a job has come.
    news: Notify,
}

// === impl Spool ===

impl Spool {
    /// Opens the file, with what an earlier run left in it.
    pub(crate) async fn open(
        config: &SpoolConfig,
        lists: impl IntoIterator<Item = QueueName>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, SpoolFault> {
        let SpoolConfig { path, jobs_max, bytes_max } = config.clone();
        let opened = path.clone();
        let opening = tokio::task::spawn_blocking(move || SpoolFile::open(&opened));
        let opened = opening.await.map_err(|panic| panic.to_string()).and_then(|opened| opened);
        let (file, held) = opened.map_err(|cause| SpoolFault { path, cause })?;
        if held.jobs > 0 {
            tracing::warn!(jobs = held.jobs, "the spool holds jobs of an earlier run");
        }
        metrics.spool_holds(held.jobs, held.bytes);
        Ok(Arc::new(Self {
            file: Arc::new(file),
            bounds: Held { jobs: jobs_max, bytes: bytes_max },
            held: Mutex::new(held),
            lists: lists.into_iter().collect(),
            metrics,
            news: Notify::new(),
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for what is to be kept.
    fn reserve(&self, more: Held) -> Result<(), SpoolError> {
        let mut held = self.held();
        let sum = Held { jobs: held.jobs + more.jobs, bytes: held.bytes + more.bytes };
        if sum.jobs > self.bounds.jobs || sum.bytes > self.bounds.bytes {
            let Held { jobs, bytes } = *held;
            drop(held);
            self.metrics.spool_full();
            return Err(SpoolError::Full { jobs, bytes });
        }
        *held = sum;
        self.metrics.spool_holds(sum.jobs, sum.bytes);
        Ok(())
    }

    fn release(&self, gone: Held) {
        let mut held = self.held();
        held.jobs = held.jobs.saturating_sub(gone.jobs);
        held.bytes = held.bytes.saturating_sub(gone.bytes);
        self.metrics.spool_holds(held.jobs, held.bytes);
    }

    /// Runs this on the file, where it may block.
    async fn on_file<T: Send + 'static>(
        &self,
        act: impl FnOnce(&SpoolFile) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let file = Arc::clone(&self.file);
        let acting = tokio::task::spawn_blocking(move || act(&file));
        acting.await.map_err(|panic| panic.to_string())?
    }

    /// Forwards jobs to the store as long as it lives. Dropping it loses nothing.
    pub(crate) async fn forward(self: Arc<Self>, store: Arc<dyn Admin>) {
        let mut pause = AWAY_FIRST;
        loop {
            let batch = match self.on_file(|file| file.first(BATCH)).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(error, "the spool cannot be read");
                    sleep(AWAY_LONGEST).await;
                    continue;
                }
            };
            if batch.is_empty() {
                self.news.notified().await;
                continue;
            }
            match self.forward_batch(&*store, batch).await {
                Ok(()) => pause = AWAY_FIRST,
                Err(error) => {
                    tracing::debug!(error, "the spool waits");
                    sleep(pause).await;
                    pause = (pause * 2).min(AWAY_LONGEST);
                }
            }
        }
    }

    /// Forwards the first jobs of one queue. The error says why to wait.
    async fn forward_batch(&self, store: &dyn Admin, batch: Vec<Numbered>) -> Result<(), String> {
        let Some(queue) = batch.first().map(|first| first.job.queue.clone()) else { return Ok(()) };
        let first: Vec<Numbered> = batch.into_iter().take_while(|next| next.job.queue == queue).collect();
        let name = QueueName::new(&queue).map_err(|error| error.to_string())?;
        let jobs = first.iter().map(|next| next.job.new_job()).collect();
        match store.add(&name, jobs, SystemClock.now()).await {
            Ok(_) => self.forwarded(&first).await,
            Err(error) if waits(&error) => Err(error.to_string()),
            // One of them is refused: each by itself tells which.
            Err(_) => {
                for next in first {
                    match store.add(&name, vec![next.job.new_job()], SystemClock.now()).await {
                        Ok(_) => self.forwarded(std::slice::from_ref(&next)).await?,
                        Err(error) if waits(&error) => return Err(error.to_string()),
                        Err(error) => self.refused(next, &error).await?,
                    }
                }
                Ok(())
            }
        }
    }

    async fn forwarded(&self, jobs: &[Numbered]) -> Result<(), String> {
        let numbers: Vec<u64> = jobs.iter().map(|job| job.number).collect();
        self.on_file(move |file| file.remove(&numbers)).await?;
        let gone = Held { jobs: jobs.len() as u64, bytes: jobs.iter().map(|job| job.bytes).sum() };
        self.release(gone);
        self.metrics.spool_forwarded(gone.jobs);
        Ok(())
    }

    async fn refused(&self, job: Numbered, error: &StoreError) -> Result<(), String> {
        let Numbered { number, bytes, job: Spooled { queue, id, .. } } = job;
        tracing::error!(queue, id, %error, "the store refuses a job of the spool; it is put aside there");
        self.on_file(move |file| file.put_aside(number)).await?;
        self.release(Held { jobs: 1, bytes });
        self.metrics.spool_refused();
        Ok(())
    }
}

/// Whether the store may take the job later.
fn waits(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Denied(_))
}

#[async_trait]
impl jobcell_server::Spool for Spool {
    fn takes(&self, queue: &QueueName) -> bool {
        !self.lists.contains(queue)
    }

    fn holds_jobs(&self) -> bool {
        self.held().jobs > 0
    }

    fn new_id(&self) -> String {
        // With a letter in front: an id may be no number.
        format!("s{:032x}", rand::random::<u128>())
    }

    async fn keep(&self, queue: &QueueName, jobs: &[NewJob], now: Millis) -> Result<(), SpoolError> {
        let spooled = jobs.iter().map(|job| Spooled::new(queue, job, now)).collect::<Result<Vec<_>, _>>()?;
        let rows = spooled.iter().map(Spooled::encoded).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(SpoolError::Write)?;
        let more = Held { jobs: rows.len() as u64, bytes: rows.iter().map(|row| row.len() as u64).sum() };
        self.reserve(more)?;
        if let Err(cause) = self.on_file(move |file| file.append(&rows)).await {
            self.release(more);
            return Err(SpoolError::Write(cause));
        }
        self.metrics.spool_kept(more.jobs);
        self.news.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
