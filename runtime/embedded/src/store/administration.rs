//! What administrators do beyond looking, each handed to the writer or to a reader.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::{
    Admin, Children, Limits, Obliterated, Page, RateLimit, Removed, Series, WorkerSeen,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, StoreError};

use super::EmbeddedStore;
use crate::locks::millis;
use crate::tx::Tx;
use crate::{admin, flow, limits};

#[async_trait]
impl Admin for EmbeddedStore {
    // --- limits ---

    async fn limits(&self, queue: &QueueName) -> Result<Limits, StoreError> {
        let (queue, now) = (queue.clone(), self.0.shared.clocks.wall.now());
        self.read(move |view| view.limits(&queue, now)).await
    }

    async fn set_concurrency(&self, queue: &QueueName, max: Option<u64>) -> Result<(), StoreError> {
        let queue = queue.clone();
        self.write(move |tx| limits::set_concurrency(tx, &queue, max)).await
    }

    async fn set_rate(&self, queue: &QueueName, rate: Option<RateLimit>) -> Result<(), StoreError> {
        let queue = queue.clone();
        self.write(move |tx| limits::set_rate(tx, &queue, rate)).await
    }

    async fn rest(&self, queue: &QueueName, rest: Option<Duration>) -> Result<(), StoreError> {
        let queue = queue.clone();
        self.write(move |tx| limits::rest(tx, &queue, rest)).await
    }

    // --- one job ---

    async fn change_delay(
        &self,
        queue: &QueueName,
        id: &JobId,
        delay: Duration,
        now: Millis,
    ) -> Result<(), StoreError> {
        let (queue, id, delay) = (queue.clone(), id.clone(), millis(delay));
        self.write(move |tx| admin::change_delay(tx, &queue, &id, delay, now)).await
    }

    async fn change_priority(
        &self,
        queue: &QueueName,
        id: &JobId,
        priority: u64,
        front: bool,
    ) -> Result<(), StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| admin::change_priority(tx, &queue, &id, priority, front)).await
    }

    // --- many jobs ---

    async fn promote_all(&self, queue: &QueueName, limit: u64) -> Result<u64, StoreError> {
        self.make_all_wait(queue, JobState::Delayed, Millis::MAX, limit).await
    }

    async fn retry_all(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        if !state.is_finished() {
            return Err(StoreError::Rejected(format!(
                "{state} jobs cannot be retried; only completed and failed ones can"
            )));
        }
        self.make_all_wait(queue, state, before, limit).await
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
        let queue = queue.clone();
        self.write(move |tx| admin::trim_events(tx, &queue, keep)).await
    }

    // --- looking ---

    async fn list_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        let (queue, behind) = (queue.clone(), behind.clone());
        self.read(move |view| view.list_behind(&queue, state, &behind, limit)).await
    }

    async fn count_due(&self, queue: &QueueName, now: Millis, most: u64) -> Result<u64, StoreError> {
        let queue = queue.clone();
        self.read(move |view| view.count_due(&queue, now, most)).await
    }

    async fn counts_by_priority(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>, StoreError> {
        let (queue, priorities) = (queue.clone(), priorities.to_vec());
        self.read(move |view| view.counts_by_priority(&queue, &priorities)).await
    }

    async fn series(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Series, StoreError> {
        if !state.is_finished() {
            return Err(StoreError::Rejected(format!(
                "there is no series of {state} jobs; there is one of completed and one of failed ones"
            )));
        }
        let queue = queue.clone();
        self.read(move |view| view.series(&queue, state, page)).await
    }

    /// Those of this process: no other can use the store.
    async fn workers(&self, queue: &QueueName) -> Result<Vec<WorkerSeen>, StoreError> {
        Ok(self.0.shared.workers.of(queue))
    }

    async fn deduplication_owner(&self, queue: &QueueName, id: &str) -> Result<Option<JobId>, StoreError> {
        let (queue, id, now) = (queue.clone(), id.to_owned(), self.0.shared.clocks.wall.now());
        self.read(move |view| view.owner(&queue, &id, now)).await
    }

    async fn release_deduplication(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let (queue, id) = (queue.clone(), id.to_owned());
        let release = move |tx: &mut Tx<'_>| match tx.find_queue(&queue)? {
            Some(number) => tx.release_owner(number, &id),
            None => Ok(false),
        };
        self.write(release).await
    }

    // --- flows ---

    async fn remove_tree(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| flow::remove(tx, &queue, &id, true)).await
    }

    async fn remove_unprocessed_children(&self, queue: &QueueName, id: &JobId) -> Result<u64, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| flow::remove_unprocessed(tx, &queue, &id)).await
    }

    async fn leave_parent(&self, queue: &QueueName, id: &JobId) -> Result<bool, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.write(move |tx| flow::leave(tx, &queue, &id)).await
    }

    async fn children(&self, queue: &QueueName, id: &JobId, limit: u64) -> Result<Children, StoreError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |view| view.family(&queue, &id, limit)).await
    }
}
