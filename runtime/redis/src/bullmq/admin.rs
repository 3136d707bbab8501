//! Changing single jobs and whole queues from outside a worker.

use std::time::Duration;

use jobcell_core::{JobId, Millis, QueueName, StoreError};

use super::BullStore;
use super::add::{DUE_MAX, PRIORITY_MAX};
use crate::reply;
use crate::script::{self, Call};

/// Jobs one call drains: it holds Redis for about 10 µs each.
const DRAINED_A_CALL: u64 = 500;

impl BullStore {
    /// Runs a script about one job. -1 is that there is none.
    pub(super) async fn run_on_job(
        &self,
        queue: &QueueName,
        id: &JobId,
        call: &Call<'_>,
    ) -> Result<i64, StoreError> {
        match reply::int(&self.run(call, &self.keys(queue), &[id]).await?)? {
            -1 => Err(StoreError::NotFound(id.clone())),
            code => Ok(code),
        }
    }

    async fn wrong_state(&self, queue: &QueueName, id: &JobId, expected: &'static str) -> StoreError {
        match self.read_state(queue, id).await {
            Ok(actual) => StoreError::WrongState { id: id.clone(), expected, actual },
            Err(e) => e,
        }
    }

    pub(super) async fn write_progress(
        &self,
        queue: &QueueName,
        id: &JobId,
        progress: &[u8],
    ) -> Result<(), StoreError> {
        let mut call = script::PROGRESS.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(progress);
        self.run_on_job(queue, id, &call).await.map(drop)
    }

    pub(super) async fn write_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError> {
        let mut call = script::LOGS.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(keep.map(|n| n.to_string()).unwrap_or_default());
        for line in lines {
            call.arg(line);
        }
        Ok(u64::try_from(self.run_on_job(queue, id, &call).await?).unwrap_or(0))
    }

    pub(super) async fn write_data(
        &self,
        queue: &QueueName,
        id: &JobId,
        data: &[u8],
    ) -> Result<(), StoreError> {
        let mut call = script::DATA.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(data);
        self.run_on_job(queue, id, &call).await.map(drop)
    }

    pub(super) async fn set_paused(&self, queue: &QueueName, paused: bool) -> Result<(), StoreError> {
        let keys = self.keys(queue);
        let script = if paused { &script::PAUSE } else { &script::RESUME };
        self.run(&script.call(&keys.meta()), &keys, &[]).await.map(drop)
    }

    pub(super) async fn promote_job(&self, queue: &QueueName, id: &JobId) -> Result<(), StoreError> {
        let mut call = script::PROMOTE.call(&self.keys(queue).meta());
        call.arg(id.as_str());
        match self.run_on_job(queue, id, &call).await? {
            0 => Ok(()),
            _ => Err(self.wrong_state(queue, id, "delayed").await),
        }
    }

    pub(super) async fn retry_job(
        &self,
        queue: &QueueName,
        id: &JobId,
        reset_attempts: bool,
    ) -> Result<(), StoreError> {
        let mut call = script::RETRY.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(u8::from(reset_attempts));
        match self.run_on_job(queue, id, &call).await? {
            0 => Ok(()),
            _ => Err(self.wrong_state(queue, id, "failed or completed").await),
        }
    }

    pub(super) async fn move_due(
        &self,
        queue: &QueueName,
        id: &JobId,
        delay: Duration,
        now: Millis,
    ) -> Result<(), StoreError> {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_add(delay) > DUE_MAX {
            return Err(StoreError::Rejected(format!(
                "job {id:?}: a delay of {delay} ms ends after 2039, which this layout cannot hold; make it shorter"
            )));
        }
        let mut call = script::DELAY.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(delay).arg(now);
        match self.run_on_job(queue, id, &call).await? {
            0 => Ok(()),
            _ => Err(self.wrong_state(queue, id, "delayed").await),
        }
    }

    pub(super) async fn write_priority(
        &self,
        queue: &QueueName,
        id: &JobId,
        priority: u64,
        front: bool,
    ) -> Result<(), StoreError> {
        if priority > PRIORITY_MAX {
            return Err(StoreError::Rejected(format!(
                "job {id:?}: priority {priority} is over {PRIORITY_MAX}; 1 is the highest priority, 0 is none"
            )));
        }
        let mut call = script::PRIORITY.call(&self.keys(queue).meta());
        call.arg(id.as_str()).arg(priority).arg(u8::from(front));
        self.run_on_job(queue, id, &call).await.map(drop)
    }

    pub(super) async fn drain_queue(&self, queue: &QueueName, delayed: bool) -> Result<u64, StoreError> {
        let keys = self.keys(queue);
        let mut drained = 0;
        for set in ["wait", "paused", "prioritized", "delayed"] {
            if set == "delayed" && !delayed {
                continue;
            }
            let mut kept = 0;
            loop {
                let mut call = script::DRAIN.call(&keys.meta());
                call.arg(set).arg(kept).arg(DRAINED_A_CALL);
                let [gone, stayed] = reply::tuple(self.run(&call, &keys, &[]).await?)?;
                let (gone, stayed) = (reply::count(&gone)?, reply::count(&stayed)?);
                drained += gone;
                kept += stayed;
                if gone + stayed == 0 {
                    break;
                }
            }
        }
        Ok(drained)
    }
}
