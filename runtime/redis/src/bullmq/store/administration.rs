//! What administrators do beyond looking, verb by verb; each is told in the file of its kind.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::{
    Admin, Children, Elsewhere, Limits, Obliterated, Page, RateLimit, Removed, Series, WorkerSeen,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, StoreError};

use super::BullStore;

#[async_trait]
impl Admin for BullStore {
    // --- limits ---

    async fn limits(&self, queue: &QueueName) -> Result<Limits, StoreError> {
        self.read_limits(queue).await
    }

    async fn set_concurrency(&self, queue: &QueueName, max: Option<u64>) -> Result<(), StoreError> {
        self.write_concurrency(queue, max).await
    }

    async fn set_rate(&self, queue: &QueueName, rate: Option<RateLimit>) -> Result<(), StoreError> {
        self.write_rate(queue, rate).await
    }

    async fn rest(&self, queue: &QueueName, rest: Option<Duration>) -> Result<(), StoreError> {
        self.write_rest(queue, rest).await
    }

    // --- one job ---

    async fn remove_tree(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        self.remove_whole(queue, id, true).await
    }

    async fn remove_unprocessed_children(&self, queue: &QueueName, id: &JobId) -> Result<u64, StoreError> {
        self.prune(queue, id).await
    }

    async fn leave_parent(&self, queue: &QueueName, id: &JobId) -> Result<bool, StoreError> {
        self.leave(queue, id).await
    }

    async fn children(&self, queue: &QueueName, id: &JobId, limit: u64) -> Result<Children, StoreError> {
        self.read_family(queue, id, limit).await
    }

    async fn change_delay(
        &self,
        queue: &QueueName,
        id: &JobId,
        delay: Duration,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.move_due(queue, id, delay, now).await
    }

    async fn change_priority(
        &self,
        queue: &QueueName,
        id: &JobId,
        priority: u64,
        front: bool,
    ) -> Result<(), StoreError> {
        self.write_priority(queue, id, priority, front).await
    }

    // --- many jobs ---

    async fn promote_all(&self, queue: &QueueName, limit: u64) -> Result<u64, StoreError> {
        self.promote_many(queue, limit).await
    }

    async fn retry_all(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        self.retry_many(queue, state, before, limit).await
    }

    async fn clean(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<Vec<JobId>, StoreError> {
        self.clean_jobs(queue, state, before, limit).await
    }

    async fn obliterate(&self, queue: &QueueName, force: bool) -> Result<Obliterated, StoreError> {
        self.obliterate_queue(queue, force).await
    }

    async fn trim_events(&self, queue: &QueueName, keep: u64) -> Result<u64, StoreError> {
        self.trim_stream(queue, keep).await
    }

    // --- looking ---

    async fn counts_by_priority(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>, StoreError> {
        self.read_priorities(queue, priorities).await
    }

    async fn list_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        self.read_behind(queue, state, behind, limit).await
    }

    async fn count_due(&self, queue: &QueueName, now: Millis, most: u64) -> Result<u64, StoreError> {
        self.read_due(queue, now, most).await
    }

    async fn series(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Series, StoreError> {
        self.read_series(queue, state, page).await
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<WorkerSeen>, StoreError> {
        self.read_workers(queue).await
    }

    async fn elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        self.read_elsewhere(queue).await
    }

    async fn deduplication_owner(&self, queue: &QueueName, id: &str) -> Result<Option<JobId>, StoreError> {
        self.read_owner(queue, id).await
    }

    async fn release_deduplication(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        self.release_owner(queue, id).await
    }
}
