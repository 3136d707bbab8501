//! Changing queues and jobs from outside: limits, bulk changes, cleaning up.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{Children, Elsewhere, Page, RateLimit, Schedulers, Store, StoreError};
use crate::clock::Millis;
use crate::job::{Job, JobState};
use crate::names::{JobId, QueueName};

/// What operators do to queues and jobs, beyond what every [`Store`] can. The behaviour is BullMQ's; each verb that
/// changes something is atomic for each job it touches. A store that lacks one of them refuses it
/// ([`StoreError::Rejected`]), which is what the provided bodies do.
#[async_trait]
pub trait Admin: Store + Schedulers {
    // --- limits ---

    /// The limits that hold for all workers of the queue.
    async fn limits(&self, queue: &QueueName) -> Result<Limits, StoreError> {
        Err(StoreError::unsupported(queue, "limits"))
    }

    /// At most so many jobs are active at once over all workers; none lifts the limit. Holds from the next claim on:
    /// running jobs go on, and when more may run than before, waiting workers are woken.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when `max` is 0, which would stop the queue: pause it instead.
    async fn set_concurrency(&self, queue: &QueueName, max: Option<u64>) -> Result<(), StoreError> {
        let _ = max;
        Err(StoreError::unsupported(queue, "a global concurrency"))
    }

    /// At most so many starts over all workers; none lifts the limit. Where workers have a limit of their own, this one's
    /// number of starts and their window hold, as in BullMQ. A window that has begun ends no later than the new one
    /// would, and waiting workers are woken.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when a part of it is 0.
    async fn set_rate(&self, queue: &QueueName, rate: Option<RateLimit>) -> Result<(), StoreError> {
        let _ = rate;
        Err(StoreError::unsupported(queue, "a global rate limit"))
    }

    /// No worker starts a job for so long; none ends such a rest, and the current window of a rate limit. Of BullMQ's own
    /// workers only those obey whose queue has a rate limit, theirs or its own.
    async fn rest(&self, queue: &QueueName, rest: Option<Duration>) -> Result<(), StoreError> {
        let _ = rest;
        Err(StoreError::unsupported(queue, "rests"))
    }

    // --- one job ---

    /// Removes a job and all its descendants, in whatever state and queue they are; not when one of them is running.
    async fn remove_tree(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "flows"))
    }

    /// Removes the descendants of a job that have not finished and are not running. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn remove_unprocessed_children(&self, queue: &QueueName, id: &JobId) -> Result<u64, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "flows"))
    }

    /// Takes a job out of its flow: its parent no longer waits for it. False when it had no such parent.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn leave_parent(&self, queue: &QueueName, id: &JobId) -> Result<bool, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "flows"))
    }

    /// The children of a job, at most `limit` of each kind.
    async fn children(&self, queue: &QueueName, id: &JobId, limit: u64) -> Result<Children, StoreError> {
        let _ = (id, limit);
        Err(StoreError::unsupported(queue, "flows"))
    }

    /// Makes a delayed job due so long after `now`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::WrongState`].
    async fn change_delay(
        &self,
        queue: &QueueName,
        id: &JobId,
        delay: Duration,
        now: Millis,
    ) -> Result<(), StoreError> {
        let _ = (id, delay, now);
        Err(StoreError::unsupported(queue, "changing a delay"))
    }

    /// Gives a job another priority, and moves it there when it waits; `front` puts it before others of its kind. In any
    /// other state it has the priority the next time it waits.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Rejected`] when there is no such priority.
    async fn change_priority(
        &self,
        queue: &QueueName,
        id: &JobId,
        priority: u64,
        front: bool,
    ) -> Result<(), StoreError> {
        let _ = (id, priority, front);
        Err(StoreError::unsupported(queue, "priorities"))
    }

    // --- many jobs ---

    /// Makes up to `limit` delayed jobs due now, those due first first. As in BullMQ they wait without a priority,
    /// whatever theirs is. Those that are delayed meanwhile may be left out. Returns how many.
    async fn promote_all(&self, queue: &QueueName, limit: u64) -> Result<u64, StoreError> {
        let _ = limit;
        Err(StoreError::unsupported(queue, "promoting many jobs at once"))
    }

    /// Puts up to `limit` jobs that completed or failed no later than `before` back among the waiting ones, oldest
    /// first. As in BullMQ they wait without a priority, whatever theirs is, and keep their count of attempts; their
    /// parents wait for them again. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when `state` is not a finished one.
    async fn retry_all(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let _ = (state, before, limit);
        Err(StoreError::unsupported(queue, "retrying many jobs at once"))
    }

    /// Removes up to `limit` jobs of this state that are no younger than `before`: finished ones by their end, others
    /// by when they were last started or made. Active ones go only when nobody holds their lock. The pending job of a
    /// scheduler stays. A parent of the same queue that waited for nothing but a removed job goes with it. Tells
    /// `cleaned` once. Returns what was removed, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] for `WaitingChildren`: such jobs go with their trees.
    async fn clean(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<Vec<JobId>, StoreError> {
        let _ = (state, before, limit);
        Err(StoreError::unsupported(queue, "cleaning"))
    }

    /// Removes the queue with everything in it: jobs, schedulers, events, counters, settings. It must be paused, and
    /// have no active job unless `force`. Goes step by step, and stays paused to the last one: what was begun and broken
    /// off can be called again.
    async fn obliterate(&self, queue: &QueueName, force: bool) -> Result<Obliterated, StoreError> {
        let _ = force;
        Err(StoreError::unsupported(queue, "obliterating"))
    }

    /// Removes events except about the newest `keep`. Returns how many went.
    async fn trim_events(&self, queue: &QueueName, keep: u64) -> Result<u64, StoreError> {
        let _ = keep;
        Err(StoreError::unsupported(queue, "an event stream"))
    }

    // --- looking ---

    /// Jobs of a state behind this one, in the order of [`Store::list`], found without going through those before it.
    /// None where the store has no quicker way than [`Store::list`] with an offset, or the job is not in that state.
    async fn list_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        let _ = (queue, state, behind, limit);
        Ok(None)
    }

    /// How many delayed jobs are due at `now`: they stay delayed while no worker is up. Counts no further than `most`.
    async fn count_due(&self, queue: &QueueName, now: Millis, most: u64) -> Result<u64, StoreError> {
        let jobs = self.list(queue, JobState::Delayed, Page::first(most)).await?;
        Ok(jobs.iter().take_while(|job| job.timestamp.saturating_add(job.delay) <= now).count() as u64)
    }

    /// How many jobs wait at each of these priorities; 0 are those that wait without one.
    async fn counts_by_priority(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>, StoreError> {
        let _ = priorities;
        Err(StoreError::unsupported(queue, "priorities"))
    }

    /// Finished jobs by the minute, newest first: of `state` `Completed` or `Failed`. Empty where no worker keeps them.
    async fn series(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Series, StoreError> {
        let _ = (state, page);
        Err(StoreError::unsupported(queue, "per-minute series"))
    }

    /// The workers that wait on the queue now, of every kind.
    async fn workers(&self, queue: &QueueName) -> Result<Vec<WorkerSeen>, StoreError> {
        Err(StoreError::unsupported(queue, "a list of workers"))
    }

    /// What lies beside the queue: jobs of its name where no worker of it looks. For people who miss jobs; it takes up to
    /// a few seconds on a store that holds much else, and may be incomplete there. The provided body knows of nothing.
    async fn elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        let _ = queue;
        Ok(Elsewhere { whole: true, ..Elsewhere::default() })
    }

    /// The job that owns a deduplication id.
    async fn deduplication_owner(&self, queue: &QueueName, id: &str) -> Result<Option<JobId>, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "deduplication"))
    }

    /// Frees a deduplication id, whoever owns it. False when nobody did. A job that was kept back until the owner
    /// finishes is made all the same.
    async fn release_deduplication(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "deduplication"))
    }
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Yes,
    /// There was none.
    NotFound,
    /// It is running; stop it first.
    Running,
    /// It is the latest job of a scheduler that still exists; remove the scheduler first.
    Scheduled,
}

/// The limits of a queue over all its workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Nothing is given out.
    pub paused: bool,
    /// Active jobs at once.
    pub concurrency: Option<u64>,
    /// Starts per time.
    pub rate: Option<RateLimit>,
    /// How much longer no job starts, because the window of `rate` is used up or somebody asked for a rest. Windows of
    /// workers' own limits are not seen.
    pub rests_for: Option<Duration>,
}

/// What became of [`Admin::obliterate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obliterated {
    /// The queue is gone.
    Yes,
    /// It is not paused.
    NotPaused,
    /// A job is active.
    Active,
}

/// Finished jobs by the minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Series {
    /// All that were ever counted.
    pub total: u64,
    /// When the newest point was written: the first end of a job after its minute.
    pub last: Option<Millis>,
    /// Jobs of one minute each, newest first.
    pub points: Vec<u64>,
    /// How many points there are in all.
    pub length: u64,
    /// Jobs that ended in the minute of `last`, which becomes a point with the first end after it.
    pub current: u64,
}

/// A worker as the store sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerSeen {
    /// The name it was given, if any.
    pub name: Option<String>,
    /// Where it connects from.
    pub address: String,
    /// How long it has been connected.
    pub age: Duration,
}
