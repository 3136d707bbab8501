//! Several stores as one: each verb goes to the store of its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::store::{
    Added, AddedFlow, AttemptReceipt, Cancelled, Children, Claim, ClaimRequest, Counts, Elsewhere, Finish,
    FinishReply, Flow, Limits, NewJob, Obliterated, Page, RateLimit, Recovered, Removed, Scheduled,
    Scheduler, SchedulerSpec, Schedulers, Series, StallPolicy, StoreHealth, StoredEvent, Token, Waiter,
    WorkerSeen,
};
use jobcell_core::{Admin, Job, JobId, JobState, Millis, QueueName, Store, StoreError};
use jobcell_redis::{
    BullStore, ListStore, RedisCache, RedisDocuments, RedisKeyRange, RedisKeyValue, RedisPublisher,
};

use super::Uses;

/// BullMQ's queues and queues that are plain lists, in one Redis.
pub(super) struct RoutedStore {
    pub(super) bull: BullStore,
    pub(super) lists: BTreeMap<QueueName, ListStore>,
    pub(super) beside: Beside,
}

/// What else lives in that Redis, which is only asked about when it is used.
pub(super) struct Beside {
    pub(super) uses: Uses,
    pub(super) cache: RedisCache,
    pub(super) keyvalue: RedisKeyValue,
    /// Keys that other programs use too, each with whether they are written to.
    pub(super) ranges: Vec<(RedisKeyRange, bool)>,
    pub(super) publisher: RedisPublisher,
    pub(super) documents: RedisDocuments,
}

// === impl RoutedStore ===

impl RoutedStore {
    fn of(&self, queue: &QueueName) -> &dyn Admin {
        self.lists.get(queue).map_or(&self.bull as &dyn Admin, |list| list)
    }

    /// A queue of this tree that is a list.
    fn list_in<'a>(&self, flow: &'a Flow) -> Option<&'a QueueName> {
        if self.lists.contains_key(&flow.queue) {
            return Some(&flow.queue);
        }
        flow.children.iter().find_map(|child| self.list_in(child))
    }
}

// === impl Beside ===

impl Beside {
    /// What the user may not do.
    async fn denied(&self) -> Vec<String> {
        let Self { uses, cache, keyvalue, ranges, publisher, documents: _ } = self;
        let mut denied = Vec::new();
        if uses.cache {
            denied.extend(cache.denied().await);
        }
        if uses.keyvalue {
            denied.extend(keyvalue.denied().await);
        }
        for (range, writes) in ranges {
            denied.extend(range.denied(*writes).await);
        }
        for channel in &uses.channels {
            denied.extend(publisher.denied(channel).await);
        }
        denied
    }
}

#[async_trait]
impl Store for RoutedStore {
    async fn add(&self, queue: &QueueName, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError> {
        self.of(queue).add(queue, jobs, now).await
    }

    async fn add_flow(&self, flow: Flow, now: Millis) -> Result<AddedFlow, StoreError> {
        match self.list_in(&flow) {
            Some(list) => Err(StoreError::unsupported(list, "flows")),
            None => self.bull.add_flow(flow, now).await,
        }
    }

    async fn claim(&self, queue: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.of(queue).claim(queue, request).await
    }

    async fn finish(
        &self,
        queue: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.of(queue).finish(queue, finishes, claim, now).await
    }

    async fn renew(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        self.of(queue).renew(queue, locks, lock).await
    }

    async fn recover_stalled(
        &self,
        queue: &QueueName,
        policy: StallPolicy,
        now: Millis,
    ) -> Result<Recovered, StoreError> {
        self.of(queue).recover_stalled(queue, policy, now).await
    }

    async fn cancelled(
        &self,
        queue: &QueueName,
        running: &[(JobId, Token)],
    ) -> Result<Vec<Token>, StoreError> {
        self.of(queue).cancelled(queue, running).await
    }

    async fn waiter(&self, queue: &QueueName, name: Option<&str>) -> Result<Box<dyn Waiter>, StoreError> {
        self.of(queue).waiter(queue, name).await
    }

    async fn wake(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.of(queue).wake(queue).await
    }

    async fn set_progress(&self, queue: &QueueName, id: &JobId, progress: Bytes) -> Result<(), StoreError> {
        self.of(queue).set_progress(queue, id, progress).await
    }

    async fn append_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError> {
        self.of(queue).append_logs(queue, id, lines, keep).await
    }

    async fn update_data(&self, queue: &QueueName, id: &JobId, data: Bytes) -> Result<(), StoreError> {
        self.of(queue).update_data(queue, id, data).await
    }

    async fn children_values(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.of(queue).children_values(queue, id).await
    }

    async fn children_failures(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.of(queue).children_failures(queue, id).await
    }

    async fn get(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.of(queue).get(queue, id).await
    }

    async fn state(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobState>, StoreError> {
        self.of(queue).state(queue, id).await
    }

    async fn look_at(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Option<(Job, Option<JobState>)>, StoreError> {
        self.of(queue).look_at(queue, id).await
    }

    async fn list(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>, StoreError> {
        self.of(queue).list(queue, state, page).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<Counts, StoreError> {
        self.of(queue).counts(queue).await
    }

    async fn logs(&self, queue: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>, StoreError> {
        self.of(queue).logs(queue, id, page).await
    }

    async fn receipts(&self, queue: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        self.of(queue).receipts(queue, id).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        let bull = match self.bull.queues().await {
            // A user for list queues alone need not be able to look for others.
            Err(StoreError::Denied(_)) if !self.beside.uses.bull => Vec::new(),
            found => found?,
        };
        let mut all: BTreeSet<QueueName> = bull.into_iter().collect();
        all.extend(self.lists.keys().cloned());
        Ok(all.into_iter().collect())
    }

    async fn last_event(&self, queue: &QueueName) -> Result<String, StoreError> {
        self.of(queue).last_event(queue).await
    }

    async fn events(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.of(queue).events(queue, after, wait).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.of(queue).pause(queue).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<(), StoreError> {
        self.of(queue).resume(queue).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.of(queue).is_paused(queue).await
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        self.of(queue).remove(queue, id).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        self.of(queue).cancel(queue, id, now).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<(), StoreError> {
        self.of(queue).promote(queue, id).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId, reset_attempts: bool) -> Result<(), StoreError> {
        self.of(queue).retry(queue, id, reset_attempts).await
    }

    async fn drain(&self, queue: &QueueName, delayed: bool) -> Result<u64, StoreError> {
        self.of(queue).drain(queue, delayed).await
    }

    /// That of the server, and of each kind of queue what the user may not do with it.
    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let mut lists = self.lists.values();
        let mut health = match lists.next() {
            Some(first) if !self.beside.uses.bull => first.health().await?,
            first => {
                let mut health = self.bull.health().await?;
                if let Some(first) = first {
                    health.faults.extend(first.denied().await);
                }
                health
            }
        };
        for list in lists {
            health.faults.extend(list.denied().await);
        }
        health.faults.extend(self.beside.denied().await);
        // Jobs run without it.
        health.warnings.extend(self.beside.documents.denied().await);
        Ok(health)
    }

    async fn close(&self) {
        for list in self.lists.values() {
            list.close().await;
        }
        self.bull.close().await;
    }
}

#[async_trait]
impl Schedulers for RoutedStore {
    async fn set_scheduler(
        &self,
        queue: &QueueName,
        spec: SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        self.of(queue).set_scheduler(queue, spec, now).await
    }

    async fn remove_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        self.of(queue).remove_scheduler(queue, id).await
    }

    async fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>, StoreError> {
        self.of(queue).scheduler(queue, id).await
    }

    async fn schedulers(&self, queue: &QueueName, page: Page) -> Result<Vec<Scheduler>, StoreError> {
        self.of(queue).schedulers(queue, page).await
    }
}

#[async_trait]
impl Admin for RoutedStore {
    async fn limits(&self, queue: &QueueName) -> Result<Limits, StoreError> {
        self.of(queue).limits(queue).await
    }

    async fn set_concurrency(&self, queue: &QueueName, max: Option<u64>) -> Result<(), StoreError> {
        self.of(queue).set_concurrency(queue, max).await
    }

    async fn set_rate(&self, queue: &QueueName, rate: Option<RateLimit>) -> Result<(), StoreError> {
        self.of(queue).set_rate(queue, rate).await
    }

    async fn rest(&self, queue: &QueueName, rest: Option<Duration>) -> Result<(), StoreError> {
        self.of(queue).rest(queue, rest).await
    }

    async fn remove_tree(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        self.of(queue).remove_tree(queue, id).await
    }

    async fn remove_unprocessed_children(&self, queue: &QueueName, id: &JobId) -> Result<u64, StoreError> {
        self.of(queue).remove_unprocessed_children(queue, id).await
    }

    async fn leave_parent(&self, queue: &QueueName, id: &JobId) -> Result<bool, StoreError> {
        self.of(queue).leave_parent(queue, id).await
    }

    async fn children(&self, queue: &QueueName, id: &JobId, limit: u64) -> Result<Children, StoreError> {
        self.of(queue).children(queue, id, limit).await
    }

    async fn change_delay(
        &self,
        queue: &QueueName,
        id: &JobId,
        delay: Duration,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.of(queue).change_delay(queue, id, delay, now).await
    }

    async fn change_priority(
        &self,
        queue: &QueueName,
        id: &JobId,
        priority: u64,
        front: bool,
    ) -> Result<(), StoreError> {
        self.of(queue).change_priority(queue, id, priority, front).await
    }

    async fn promote_all(&self, queue: &QueueName, limit: u64) -> Result<u64, StoreError> {
        self.of(queue).promote_all(queue, limit).await
    }

    async fn retry_all(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        self.of(queue).retry_all(queue, state, before, limit).await
    }

    async fn clean(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<Vec<JobId>, StoreError> {
        self.of(queue).clean(queue, state, before, limit).await
    }

    async fn obliterate(&self, queue: &QueueName, force: bool) -> Result<Obliterated, StoreError> {
        self.of(queue).obliterate(queue, force).await
    }

    async fn trim_events(&self, queue: &QueueName, keep: u64) -> Result<u64, StoreError> {
        self.of(queue).trim_events(queue, keep).await
    }

    async fn counts_by_priority(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>, StoreError> {
        self.of(queue).counts_by_priority(queue, priorities).await
    }

    async fn list_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        self.of(queue).list_behind(queue, state, behind, limit).await
    }

    async fn count_due(&self, queue: &QueueName, now: Millis, most: u64) -> Result<u64, StoreError> {
        self.of(queue).count_due(queue, now, most).await
    }

    async fn series(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Series, StoreError> {
        self.of(queue).series(queue, state, page).await
    }

    async fn workers(&self, queue: &QueueName) -> Result<Vec<WorkerSeen>, StoreError> {
        self.of(queue).workers(queue).await
    }

    async fn elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        self.of(queue).elsewhere(queue).await
    }

    async fn deduplication_owner(&self, queue: &QueueName, id: &str) -> Result<Option<JobId>, StoreError> {
        self.of(queue).deduplication_owner(queue, id).await
    }

    async fn release_deduplication(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        self.of(queue).release_deduplication(queue, id).await
    }
}

#[cfg(test)]
mod tests {
    /// Verbs with a provided body would be refused here for every queue, and nothing else would say so.
    #[test]
    fn every_verb_of_the_port_is_sent_on() {
        let own = include_str!("routed.rs");
        for port in [
            include_str!("../../core/src/store.rs"),
            include_str!("../../core/src/store/admin.rs"),
            include_str!("../../core/src/store/scheduler.rs"),
        ] {
            for verb in
                port.lines().filter_map(|line| line.trim().strip_prefix("async fn ")?.split('(').next())
            {
                assert!(own.contains(&format!("async fn {verb}(")), "{verb} is not sent on");
            }
        }
    }
}
