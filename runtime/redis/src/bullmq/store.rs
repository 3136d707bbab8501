//! The port, verb by verb; each is told in the file of its kind.

mod administration;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::store::{
    Added, AddedFlow, AttemptReceipt, Cancelled, Claim, ClaimRequest, Counts, Finish, FinishReply, Flow,
    NewJob, Page, Recovered, Removed, Scheduled, Scheduler, SchedulerSpec, Schedulers, SeriesPoints,
    StallPolicy, StoreHealth, StoredEvent, Token, Waiter,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, Store, StoreError};
use redis::{RedisError, Value};

use super::events::READERS;
use super::needs::needs;
use super::unanswered::Unanswered;
use super::waiter::MarkerWaiter;
use crate::connect::{ConnectError, ConnectOptions};
use crate::error;
use crate::health;
use crate::keys::{JOB_KEYS, QUEUE_KEYS, QueueKeys};
use crate::link::{Readers, Redis};
use crate::permissions::Permissions;
use crate::reply;
use crate::script::Call;

/// What a [`BullStore`] does beyond the port.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Minutes of completed and failed counts kept of each queue, which BullMQ's `getMetrics` shows too. None by
    /// default, which saves four commands a batch.
    pub series: SeriesPoints,
}

/// Jobs in Redis, shared with BullMQ's own clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BullStore {
    pub(super) redis: Redis,
    pub(super) options: StoreOptions,
    pub(super) readers: Readers,
    pub(super) unanswered: Unanswered,
    pub(super) permissions: Permissions,
}

// === impl BullStore ===

impl BullStore {
    /// Connects and makes a store.
    ///
    /// # Errors
    /// When the first connection fails; each names the address and the fix.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        Ok(Self::new(Redis::connect(options).await?, StoreOptions::default()))
    }

    /// A store over this connection.
    #[must_use]
    pub fn new(redis: Redis, options: StoreOptions) -> Self {
        Self {
            redis,
            options,
            readers: Readers::new(READERS),
            unanswered: Unanswered::default(),
            permissions: Permissions::default(),
        }
    }

    /// The connection, for the other things that live in the same Redis.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(super) fn keys(&self, queue: &QueueName) -> QueueKeys {
        self.redis.keys().queue(queue)
    }

    /// Runs a script that touches these jobs, or only the queue.
    pub(super) async fn run(
        &self,
        call: &Call<'_>,
        keys: &QueueKeys,
        jobs: &[&JobId],
    ) -> Result<Value, StoreError> {
        match call.send(&self.redis).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(e, keys, jobs).await),
        }
    }

    /// The error in the port's words. Redis does not say which key was of the wrong type, so this looks.
    pub(super) async fn explain(&self, e: RedisError, keys: &QueueKeys, jobs: &[&JobId]) -> StoreError {
        if error::is_denied(&e) {
            let needs = needs(self.redis.options().key_prefix());
            return self.redis.denied(&e, &self.permissions, &needs, &keys.meta()).await;
        }
        if !error::has_code(&e, "WRONGTYPE") {
            return self.redis.error(&e);
        }
        match self.wrong_types(keys, jobs).await {
            Err(e) => e,
            Ok(wrong) if wrong.is_empty() => {
                StoreError::Corrupt(format!("a key of {:?} holds another type than BullMQ's", keys.of("*")))
            }
            Ok(wrong) => StoreError::Corrupt(format!("{}; rename or delete it", wrong.join(", "))),
        }
    }

    /// The keys of the queue that hold another type than BullMQ's, as sentences.
    pub(crate) async fn misused(&self, queue: &QueueName) -> Result<Vec<String>, StoreError> {
        self.wrong_types(&self.keys(queue), &[]).await
    }

    /// The keys of the queue and of these jobs that hold another type than BullMQ's, as sentences.
    pub(super) async fn wrong_types(
        &self,
        keys: &QueueKeys,
        jobs: &[&JobId],
    ) -> Result<Vec<String>, StoreError> {
        let mut suspects: Vec<(String, &str)> =
            QUEUE_KEYS.iter().map(|(last, wanted)| (keys.of(last), *wanted)).collect();
        for id in jobs.iter().take(100) {
            suspects.extend(JOB_KEYS.iter().map(|(last, wanted)| (keys.of_job(id, last), *wanted)));
        }
        let mut types = redis::pipe();
        for (key, _) in &suspects {
            types.cmd("TYPE").arg(key);
        }
        let found = self.redis.call_all(&types).await?;
        let wrong = suspects
            .into_iter()
            .zip(found)
            .filter_map(|((key, wanted), found)| {
                let found = reply::text(found).ok()??;
                (found != "none" && found != wanted)
                    .then(|| format!("key {key:?} holds a {found}, not a {wanted}"))
            })
            .collect();
        Ok(wrong)
    }
}

#[async_trait]
impl Store for BullStore {
    async fn add(&self, queue: &QueueName, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError> {
        self.add_jobs(queue, jobs, now).await
    }

    async fn add_flow(&self, flow: Flow, now: Millis) -> Result<AddedFlow, StoreError> {
        self.add_tree(flow, now).await
    }

    async fn claim(&self, queue: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError> {
        Ok(self.finish_and_claim(queue, &[], Some(request), request.now).await?.claim)
    }

    async fn finish(
        &self,
        queue: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.finish_all(queue, finishes, claim, now).await
    }

    async fn renew(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        self.renew_locks(queue, locks, lock).await
    }

    async fn recover_stalled(
        &self,
        queue: &QueueName,
        policy: StallPolicy,
        now: Millis,
    ) -> Result<Recovered, StoreError> {
        self.recover(queue, policy, now).await
    }

    async fn cancelled(
        &self,
        queue: &QueueName,
        running: &[(JobId, Token)],
    ) -> Result<Vec<Token>, StoreError> {
        self.read_cancelled(queue, running).await
    }

    async fn waiter(
        &self,
        queue: &QueueName,
        worker_name: Option<&str>,
    ) -> Result<Box<dyn Waiter>, StoreError> {
        let name = self.redis.keys().client_name(queue, worker_name);
        Ok(Box::new(MarkerWaiter::connect(&self.redis, self.keys(queue).of("marker"), name).await?))
    }

    async fn wake(&self, queue: &QueueName) -> Result<(), StoreError> {
        let marker = self.keys(queue).of("marker");
        self.redis
            .call(redis::cmd("ZADD").arg(marker).arg(0).arg("0"))
            .await
            .map_err(|e| self.redis.error(&e))?;
        Ok(())
    }

    async fn set_progress(&self, queue: &QueueName, id: &JobId, progress: Bytes) -> Result<(), StoreError> {
        self.write_progress(queue, id, &progress).await
    }

    async fn append_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError> {
        self.write_logs(queue, id, lines, keep).await
    }

    async fn update_data(&self, queue: &QueueName, id: &JobId, data: Bytes) -> Result<(), StoreError> {
        self.write_data(queue, id, &data).await
    }

    async fn children_values(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_children(queue, id, ":processed").await
    }

    async fn children_failures(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_children(queue, id, ":failed").await
    }

    async fn get(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.read_job(queue, id).await
    }

    async fn state(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobState>, StoreError> {
        self.read_state(queue, id).await
    }

    async fn list(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>, StoreError> {
        self.read_list(queue, state, page).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<Counts, StoreError> {
        self.read_counts(queue).await
    }

    async fn logs(&self, queue: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>, StoreError> {
        self.read_logs(queue, id, page).await
    }

    async fn receipts(&self, queue: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        self.read_receipts(queue, id).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        self.read_queues().await
    }

    async fn last_event(&self, queue: &QueueName) -> Result<String, StoreError> {
        self.newest_event(queue).await
    }

    async fn events(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.events_after(queue, after, wait).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.set_paused(queue, true).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.set_paused(queue, false).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.read_paused(queue).await
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        self.remove_whole(queue, id, false).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        self.cancel_job(queue, id, now).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<(), StoreError> {
        self.promote_job(queue, id).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId, reset_attempts: bool) -> Result<(), StoreError> {
        self.retry_job(queue, id, reset_attempts).await
    }

    async fn drain(&self, queue: &QueueName, delayed: bool) -> Result<u64, StoreError> {
        self.drain_queue(queue, delayed).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let needs = needs(self.redis.options().key_prefix());
        health::read(&self.redis, &self.permissions, Some(&needs)).await
    }

    async fn close(&self) {
        self.readers.clear();
        self.redis.close();
    }
}

#[async_trait]
impl Schedulers for BullStore {
    async fn set_scheduler(
        &self,
        queue: &QueueName,
        spec: SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        self.write_scheduler(queue, &spec, now).await
    }

    async fn remove_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        self.drop_scheduler(queue, id).await
    }

    async fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>, StoreError> {
        self.read_scheduler(queue, id).await
    }

    async fn schedulers(&self, queue: &QueueName, page: Page) -> Result<Vec<Scheduler>, StoreError> {
        self.read_schedulers(queue, page).await
    }
}
