//! Schedulers: rules that make jobs again and again.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Page, StoreError};
use crate::clock::Millis;
use crate::names::{JobId, QueueName};
use crate::options::JobOptions;
use crate::schedule::Timetable;

/// Job schedulers, as BullMQ has them: each has one pending job, and when that is claimed the next one is made.
#[async_trait]
pub trait Schedulers: Send + Sync + 'static {
    /// Makes a scheduler, or changes the one with this id; its pending job is replaced.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the timetable never comes round, or another job is in the way.
    async fn set_scheduler(
        &self,
        queue: &QueueName,
        spec: SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        let _ = (spec, now);
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// Removes a scheduler with its pending job; a run that has begun goes on. False when there is none.
    async fn remove_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// One scheduler.
    async fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// Schedulers, those that come next first.
    async fn schedulers(&self, queue: &QueueName, page: Page) -> Result<Vec<Scheduler>, StoreError> {
        let _ = page;
        Err(StoreError::unsupported(queue, "schedulers"))
    }
}

/// A scheduler as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerSpec {
    /// Names it within its queue; without a `:`, which separates the parts of its jobs' ids.
    pub id: String,
    /// When its jobs run.
    pub timetable: Timetable,
    /// The name of its jobs.
    pub name: String,
    /// Their payload (JSON text); none is `{}`.
    pub data: Option<Bytes>,
    /// Their options. `delay`, `job_id`, `timestamp`, `parent` and `deduplication` have no effect.
    pub options: JobOptions,
}

/// A scheduler as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// What was asked for.
    pub spec: SchedulerSpec,
    /// When its pending job is due; none once its timetable has ended.
    pub next: Option<Millis>,
    /// The jobs it has made.
    pub iterations: u64,
}

/// What [`Schedulers::set_scheduler`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The pending job.
    pub job: JobId,
    /// When it is due.
    pub due: Millis,
}
