//! Schedulers: rules that make jobs again and again.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Page, StoreError};
use crate::clock::Millis;
use crate::names::{JobId, QueueName};
use crate::options::JobOptions;
use crate::schedule::{ScheduleError, Timetable};

/// A scheduler's id is part of its jobs' ids, which bounds it.
const ID_BYTES_MAX: usize = 512;
/// The greatest priority, as in BullMQ.
const PRIORITY_MAX: u64 = 2_097_151;

/// Job schedulers, as BullMQ has them: each has one pending job, and when that is claimed the next one is made. Slots
/// that go by while nobody claims are left out; a scheduler never has two jobs pending.
#[async_trait]
pub trait Schedulers: Send + Sync + 'static {
    /// Makes a scheduler, or changes the one with this id: its pending job is replaced, one that runs goes on. A rule of
    /// the same distance keeps its slots, so setting it at each start of a program makes no more jobs. May be repeated.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the timetable never comes round or makes no sense, or another job is in the way;
    /// nothing was changed.
    async fn set_scheduler(
        &self,
        queue: &QueueName,
        spec: SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        let _ = (spec, now);
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// Removes a scheduler with its pending job; one that is due already or runs goes on. False when there is none.
    async fn remove_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// One scheduler.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when its record cannot be read.
    async fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>, StoreError> {
        let _ = id;
        Err(StoreError::unsupported(queue, "schedulers"))
    }

    /// Schedulers, those that come next first. One whose record cannot be read is left out, and the log says why.
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
    /// What was asked for. An offset that was left open is the one the first run decided.
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

// === impl SchedulerSpec ===

impl SchedulerSpec {
    /// What is wrong with it apart from its timetable.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] with the fix.
    pub fn check(&self) -> Result<(), StoreError> {
        let Self { id, options, .. } = self;
        let rejected = |text: String| Err(StoreError::Rejected(text));
        if id.is_empty() {
            return rejected("a scheduler's id is empty; give it one".to_owned());
        }
        if id.contains(':') {
            return rejected(format!(
                "scheduler {id:?}: its id has a ':', which separates the parts of its jobs' ids; use '-' or '.'"
            ));
        }
        if id.len() > ID_BYTES_MAX {
            let start: String = id.chars().take(32).collect();
            return rejected(format!(
                "scheduler {start:?}…: its id has {} bytes; the limit is {ID_BYTES_MAX}",
                id.len()
            ));
        }
        if options.priority > PRIORITY_MAX {
            return rejected(format!(
                "scheduler {id:?}: priority {} is over {PRIORITY_MAX}; 1 is the highest priority, 0 is none",
                options.priority
            ));
        }
        Ok(())
    }

    /// Why its timetable cannot be kept, as the store's error.
    #[must_use]
    pub fn rejected(&self, cause: &ScheduleError) -> StoreError {
        StoreError::Rejected(format!("scheduler {:?}: {cause}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Rule;

    #[test]
    fn an_id_can_be_part_of_its_jobs_ids() {
        let rule = Rule::Every { every: 5, offset: None };
        let timetable = Timetable { rule, start: None, end: None, limit: None };
        let spec = |id: &str, priority| SchedulerSpec {
            id: id.into(),
            timetable: timetable.clone(),
            name: "n".into(),
            data: None,
            options: JobOptions { priority, ..JobOptions::default() },
        };
        assert!(spec("nightly", 7).check().is_ok());
        for (bad, said) in [
            (spec("", 0), "empty"),
            (spec("a:b", 0), "use '-'"),
            (spec(&"x".repeat(513), 0), "513"),
            (spec("s", 1 << 21), "2097151"),
        ] {
            let told = bad.check().unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
        }
    }
}
