//! A job store that takes jobs and tells of children, and can do nothing else.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::store::{
    Added, Claim, ClaimRequest, Counts, Finish, FinishReply, NewJob, Page, Recovered, Removed, StallPolicy,
    StoreHealth, StoredEvent, Token, Waiter,
};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, Store, StoreError};

/// Remembers what was added.
#[derive(Default)]
pub(crate) struct Remembering(pub(crate) Mutex<Vec<(String, NewJob)>>);

fn nothing_else<T>() -> Result<T, StoreError> {
    Err(StoreError::Other("this store only takes jobs".to_owned()))
}

#[async_trait]
impl Store for Remembering {
    async fn add(&self, queue: &QueueName, jobs: Vec<NewJob>, _: Millis) -> Result<Vec<Added>, StoreError> {
        if queue.as_str() == "more-trouble" {
            return Err(StoreError::Unavailable("out for lunch".to_owned()));
        }
        let mut added = self.0.lock().unwrap();
        let ids = jobs.iter().map(|job| job.options.job_id.clone().unwrap_or_else(|| "1".to_owned()));
        let ids = ids.map(|id| Added::New(JobId::new(id).unwrap())).collect();
        added.extend(jobs.into_iter().map(|job| (queue.to_string(), job)));
        Ok(ids)
    }

    async fn children_values(&self, _: &QueueName, id: &JobId) -> Result<Vec<(String, String)>, StoreError> {
        Ok(vec![(format!("bull:children:of-{id}"), "{\"done\":1}".to_owned())])
    }

    async fn children_failures(
        &self,
        _: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(vec![(format!("bull:children:failed-of-{id}"), "broke".to_owned())])
    }

    async fn claim(&self, _: &QueueName, _: &ClaimRequest) -> Result<Claim, StoreError> {
        nothing_else()
    }

    async fn finish(
        &self,
        _: &QueueName,
        _: Vec<Finish>,
        _: Option<&ClaimRequest>,
        _: Millis,
    ) -> Result<FinishReply, StoreError> {
        nothing_else()
    }

    async fn renew(
        &self,
        _: &QueueName,
        _: &[(JobId, Token)],
        _: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        nothing_else()
    }

    async fn recover_stalled(
        &self,
        _: &QueueName,
        _: StallPolicy,
        _: Millis,
    ) -> Result<Recovered, StoreError> {
        nothing_else()
    }

    async fn waiter(&self, _: &QueueName, _: Option<&str>) -> Result<Box<dyn Waiter>, StoreError> {
        nothing_else()
    }

    async fn set_progress(&self, _: &QueueName, _: &JobId, _: Bytes) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn append_logs(
        &self,
        _: &QueueName,
        _: &JobId,
        _: &[String],
        _: Option<u64>,
    ) -> Result<u64, StoreError> {
        nothing_else()
    }

    async fn update_data(&self, _: &QueueName, _: &JobId, _: Bytes) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn get(&self, _: &QueueName, _: &JobId) -> Result<Option<Job>, StoreError> {
        nothing_else()
    }

    async fn state(&self, _: &QueueName, _: &JobId) -> Result<Option<JobState>, StoreError> {
        nothing_else()
    }

    async fn list(&self, _: &QueueName, _: JobState, _: Page) -> Result<Vec<Job>, StoreError> {
        nothing_else()
    }

    async fn counts(&self, _: &QueueName) -> Result<Counts, StoreError> {
        nothing_else()
    }

    async fn logs(&self, _: &QueueName, _: &JobId, _: Page) -> Result<Vec<String>, StoreError> {
        nothing_else()
    }

    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        nothing_else()
    }

    async fn last_event(&self, _: &QueueName) -> Result<String, StoreError> {
        nothing_else()
    }

    async fn events(&self, _: &QueueName, _: &str, _: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        nothing_else()
    }

    async fn pause(&self, _: &QueueName) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn resume(&self, _: &QueueName) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn is_paused(&self, _: &QueueName) -> Result<bool, StoreError> {
        nothing_else()
    }

    async fn remove(&self, _: &QueueName, _: &JobId) -> Result<Removed, StoreError> {
        nothing_else()
    }

    async fn promote(&self, _: &QueueName, _: &JobId) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn retry(&self, _: &QueueName, _: &JobId, _: bool) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn drain(&self, _: &QueueName, _: bool) -> Result<u64, StoreError> {
        nothing_else()
    }

    async fn wake(&self, _: &QueueName) -> Result<(), StoreError> {
        nothing_else()
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        nothing_else()
    }

    async fn close(&self) {}
}
