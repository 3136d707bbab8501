//! The port, verb by verb; each is told in the file of its kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::store::{
    Added, Admin, AttemptReceipt, Cancelled, Claim, ClaimRequest, Counts, Elsewhere, Finish, FinishReply,
    NewJob, Page, Recovered, Removed, Schedulers, StallPolicy, StoreHealth, StoredEvent, Token, Waiter,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, Store, StoreError};
use redis::{Cmd, RedisError, Value};

use super::claim::Unanswered;
use super::keys::ListKeys;
use super::needs::needs;
use super::options::ListOptions;
use super::script;
use super::waiter::{ListWaiter, Rest};
use crate::bullmq::events::{self, READERS};
use crate::error;
use crate::health;
use crate::link::{Readers, Redis};
use crate::permissions::{Needs, Permissions};
use crate::reply;
use crate::script::{Call, Script};

/// The jobs of one queue that is a plain list in Redis. Cheap to clone. Its verbs serve this queue, whatever queue they
/// are called with.
#[derive(Debug, Clone)]
pub struct ListStore {
    pub(super) redis: Redis,
    pub(super) queue: QueueName,
    pub(super) options: Arc<ListOptions>,
    pub(super) keys: Arc<ListKeys>,
    pub(super) unanswered: Unanswered,
    pub(super) rest: Rest,
    readers: Readers,
    permissions: Permissions,
    needs: Arc<Needs>,
    /// It has been said that updates cannot be published.
    told: Arc<AtomicBool>,
}

// === impl ListStore ===

impl ListStore {
    /// The store of this queue, over this connection.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the options cannot be used.
    pub fn new(redis: Redis, queue: QueueName, options: ListOptions) -> Result<Self, StoreError> {
        if let Some(fault) = options.fault() {
            return Err(StoreError::Rejected(format!("list queue {queue:?}: {fault}")));
        }
        if let Some(fault) = options.cluster_fault().filter(|_| redis.options().is_cluster()) {
            return Err(StoreError::Rejected(format!("list queue {queue:?}: {fault}")));
        }
        let keys = ListKeys::new(&options);
        Ok(Self {
            readers: Readers::new(READERS),
            permissions: Permissions::default(),
            needs: Arc::new(needs(queue.as_str(), &keys, &options)),
            keys: Arc::new(keys),
            options: Arc::new(options),
            redis,
            queue,
            unanswered: Unanswered::default(),
            rest: Rest::default(),
            told: Arc::default(),
        })
    }

    /// The connection.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The list itself.
    pub(crate) fn list(&self) -> &str {
        self.keys.list()
    }

    /// The queue it holds.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Starts a call of a script.
    pub(super) fn call<'a>(&self, script: &'a Script) -> Call<'a> {
        let mut call = script.call(self.keys.list());
        call.arg(&self.options.updates);
        call
    }

    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Value, StoreError> {
        match call.send(&self.redis).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(&e).await),
        }
    }

    pub(super) async fn ask(&self, cmd: &Cmd) -> Result<Value, StoreError> {
        match self.redis.call(cmd).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(&e).await),
        }
    }

    /// The error in the port's words. Redis does not say which key was of the wrong type, nor what the user may not do,
    /// so this looks.
    pub(super) async fn explain(&self, e: &RedisError) -> StoreError {
        if error::is_denied(e) {
            return self.redis.denied(e, &self.permissions, &self.needs, self.keys.list()).await;
        }
        if !error::has_code(e, "WRONGTYPE") {
            return self.redis.error(e);
        }
        let typed = self.keys.typed();
        let mut types = redis::pipe();
        for (key, _) in &typed {
            types.cmd("TYPE").arg(key);
        }
        let found = match self.redis.call_all(&types).await {
            Ok(found) => found,
            Err(e) => return e,
        };
        let wrong = typed.iter().zip(found).filter_map(|((key, wanted), found)| {
            let found = reply::text(found).ok()??;
            (found != "none" && found != *wanted)
                .then(|| format!("key {key:?} holds a {found}, not a {wanted}"))
        });
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() {
            let list = self.keys.list();
            return StoreError::Corrupt(format!("a key of list {list:?} holds another type than it should"));
        }
        StoreError::Corrupt(format!("{}; rename or delete it", wrong.join(", ")))
    }

    /// Says once that listeners hear nothing. Jobs do not depend on it.
    pub(super) fn note_untold(&self, why: Value) {
        if let Ok(Some(why)) = reply::text(why)
            && !why.is_empty()
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                queue = %self.queue, channel = %self.options.updates, cause = why,
                "updates cannot be published; let this user publish to the channel: ACL SETUSER <user> &<channel>"
            );
        }
    }

    /// What the user may not do with the keys and the channel of this queue, with the fix; none when nothing is
    /// missing, or Redis cannot tell.
    pub async fn denied(&self) -> Option<String> {
        let node = self.redis.node_of(self.keys.list())?;
        self.permissions.fault(&node, &self.needs, self.redis.options().user()).await
    }
}

#[async_trait]
impl Store for ListStore {
    async fn add(&self, _: &QueueName, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError> {
        self.add_jobs(jobs, now).await
    }

    async fn claim(&self, _: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError> {
        Ok(self.finish_and_claim(&[], Some(request), request.now).await?.claim)
    }

    async fn finish(
        &self,
        _: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.finish_all(finishes, claim, now).await
    }

    async fn renew(
        &self,
        _: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        self.renew_locks(locks, lock).await
    }

    async fn recover_stalled(
        &self,
        _: &QueueName,
        policy: StallPolicy,
        now: Millis,
    ) -> Result<Recovered, StoreError> {
        self.recover(policy, now).await
    }

    async fn cancelled(&self, _: &QueueName, running: &[(JobId, Token)]) -> Result<Vec<Token>, StoreError> {
        self.read_cancelled(running).await
    }

    async fn waiter(&self, _: &QueueName, _worker_name: Option<&str>) -> Result<Box<dyn Waiter>, StoreError> {
        Ok(Box::new(ListWaiter::connect(&self.redis, &self.keys, self.rest.clone()).await?))
    }

    /// Every idle worker hears of an item anyway, see [`ListWaiter`].
    async fn wake(&self, _: &QueueName) -> Result<(), StoreError> {
        Ok(())
    }

    async fn set_progress(&self, _: &QueueName, id: &JobId, progress: Bytes) -> Result<(), StoreError> {
        self.write_said(id, "progress", &progress, &[]).await.map(drop)
    }

    async fn append_logs(
        &self,
        _: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError> {
        let keep = keep.map(|n| n.to_string()).unwrap_or_default();
        self.write_said(id, "logs", keep.as_bytes(), lines).await
    }

    async fn update_data(&self, _: &QueueName, id: &JobId, data: Bytes) -> Result<(), StoreError> {
        self.write_said(id, "data", &data, &[]).await.map(drop)
    }

    /// A list queue has no flows, so no job has children.
    async fn children_values(&self, _: &QueueName, _: &JobId) -> Result<Vec<(String, String)>, StoreError> {
        Ok(Vec::new())
    }

    /// As [`Self::children_values`].
    async fn children_failures(&self, _: &QueueName, _: &JobId) -> Result<Vec<(String, String)>, StoreError> {
        Ok(Vec::new())
    }

    async fn get(&self, _: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.read_job(id).await
    }

    async fn state(&self, _: &QueueName, id: &JobId) -> Result<Option<JobState>, StoreError> {
        self.read_state(id).await
    }

    async fn list(&self, _: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>, StoreError> {
        self.read_list(state, page).await
    }

    async fn counts(&self, _: &QueueName) -> Result<Counts, StoreError> {
        self.read_counts().await
    }

    async fn logs(&self, _: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>, StoreError> {
        self.read_logs(id, page).await
    }

    async fn receipts(&self, _: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        self.read_receipts(id).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        Ok(vec![self.queue.clone()])
    }

    async fn last_event(&self, _: &QueueName) -> Result<String, StoreError> {
        let newest = self.ask(&events::newest(&self.keys.of("events"))).await?;
        events::id_of_newest(newest)
    }

    async fn events(
        &self,
        _: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.readers.events(&self.redis, &self.keys.of("events"), after, wait).await
    }

    async fn pause(&self, _: &QueueName) -> Result<(), StoreError> {
        self.run(self.call(&script::PAUSE).arg("paused")).await.map(drop)
    }

    async fn resume(&self, _: &QueueName) -> Result<(), StoreError> {
        self.run(self.call(&script::PAUSE).arg("resumed")).await.map(drop)
    }

    async fn is_paused(&self, _: &QueueName) -> Result<bool, StoreError> {
        let paused = self.ask(redis::cmd("EXISTS").arg(self.keys.of("paused"))).await?;
        Ok(reply::int(&paused)? == 1)
    }

    async fn remove(&self, _: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        self.remove_job(id).await
    }

    async fn cancel(&self, _: &QueueName, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        self.cancel_job(id, now).await
    }

    async fn promote(&self, _: &QueueName, id: &JobId) -> Result<(), StoreError> {
        self.promote_job(id).await
    }

    async fn retry(&self, _: &QueueName, id: &JobId, reset_attempts: bool) -> Result<(), StoreError> {
        self.retry_job(id, reset_attempts).await
    }

    async fn drain(&self, _: &QueueName, delayed: bool) -> Result<u64, StoreError> {
        self.drain_queue(delayed).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let mut health = health::read(&self.redis, &self.permissions, None).await?;
        health.faults.extend(self.denied().await);
        Ok(health)
    }

    async fn close(&self) {
        self.readers.clear();
        self.redis.close();
    }
}

impl Schedulers for ListStore {}

#[async_trait]
impl Admin for ListStore {
    async fn elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        self.read_elsewhere(queue).await
    }
}
