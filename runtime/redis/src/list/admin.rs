//! Changing single jobs and the whole queue from outside a worker.

use bytes::Bytes;
use jobcell_core::store::Removed;
use jobcell_core::{JobId, JobState, StoreError};
use redis::Value;

use super::item::Item;
use super::look::Place;
use super::script;
use super::store::ListStore;
use crate::reply;

/// Items one call drains.
const DRAINED_A_CALL: u64 = 500;

impl ListStore {
    pub(super) async fn write_said(
        &self,
        id: &JobId,
        what: &str,
        value: &[u8],
        lines: &[String],
    ) -> Result<u64, StoreError> {
        let Some(record) = self.keys.record(id) else { return Err(StoreError::NotFound(id.clone())) };
        let mut call = self.call(&script::SAID);
        call.arg(record).arg(id.as_str()).arg(what).arg(value);
        for line in lines {
            call.arg(line);
        }
        match reply::int(&self.run(&call).await?)? {
            -1 => Err(StoreError::NotFound(id.clone())),
            count => Ok(u64::try_from(count).unwrap_or(0)),
        }
    }

    /// Changes an item that was found. False when it has gone meanwhile.
    async fn change(&self, verb: &str, raw: &[u8], id: &JobId, how: &str) -> Result<bool, StoreError> {
        let mut call = self.call(&script::CHANGE);
        call.arg(verb).arg(raw).arg(id.as_str()).arg(self.keys.record(id).unwrap_or_default()).arg(how);
        Ok(reply::int(&self.run(&call).await?)? == 1)
    }

    async fn wrong_state(&self, id: &JobId, expected: &'static str) -> StoreError {
        match self.read_state(id).await {
            Ok(None) => StoreError::NotFound(id.clone()),
            Ok(actual) => StoreError::WrongState { id: id.clone(), expected, actual },
            Err(e) => e,
        }
    }

    /// Of a job that has ended only its record is left, and that goes only when nobody else made it.
    pub(super) async fn remove_job(&self, id: &JobId) -> Result<Removed, StoreError> {
        if self.read_state(id).await? == Some(JobState::Active) {
            return Ok(Removed::Running);
        }
        let gone = match self.find(id, &Place::ALL).await? {
            Some((place, raw)) => self.change("remove", &raw, id, place.state().as_str()).await?,
            None => self.change("forget", b"", id, "").await?,
        };
        Ok(if gone { Removed::Yes } else { Removed::NotFound })
    }

    pub(super) async fn promote_job(&self, id: &JobId) -> Result<(), StoreError> {
        match self.find(id, &[Place::Delayed]).await? {
            Some((_, raw)) if self.change("promote", &raw, id, "").await? => Ok(()),
            _ => Err(self.wrong_state(id, "delayed").await),
        }
    }

    pub(super) async fn retry_job(&self, id: &JobId, reset_attempts: bool) -> Result<(), StoreError> {
        let how = if reset_attempts { "1" } else { "" };
        match self.find(id, &[Place::Failed]).await? {
            Some((_, raw)) if self.change("retry", &raw, id, how).await? => Ok(()),
            _ => Err(self.wrong_state(id, "failed").await),
        }
    }

    pub(super) async fn drain_queue(&self, delayed: bool) -> Result<u64, StoreError> {
        let places: &[&str] = if delayed { &["waiting", "delayed"] } else { &["waiting"] };
        let mut drained = 0;
        for place in places {
            loop {
                let mut call = self.call(&script::DRAIN);
                call.arg(*place).arg(DRAINED_A_CALL);
                let [count, items] = reply::tuple(self.run(&call).await?)?;
                let count = reply::count(&count)?;
                if count == 0 {
                    break;
                }
                drained += count;
                self.forget_items(reply::array(items)?).await;
            }
        }
        Ok(drained)
    }

    /// Lets go of the records that were made here for items that are gone. One that stays because of a fault is no job
    /// any more and harms nobody.
    pub(super) async fn forget_items(&self, items: Vec<Value>) {
        for item in items {
            let Ok(Some(raw)) = reply::bytes(item) else { continue };
            let Ok(item) = Item::read(&Bytes::from(raw)) else { continue };
            if let Err(error) = self.change("forget", b"", &item.id, "").await {
                tracing::debug!(queue = %self.queue, job = %item.id, %error, "the record of a removed item stays");
            }
        }
    }
}
