//! Looking, without changing anything.
//!
//! A job that runs or has run is found by its record. One that waits is where its item is, and an item is found by
//! reading the lists: at once where it is the bare id, page by page where it may be in an envelope. People look, workers
//! do not.

use bytes::Bytes;
use futures::StreamExt;
use jobcell_core::store::{Counts, Page};
use jobcell_core::{Job, JobId, JobState, Millis, StoreError};
use redis::Value;

use super::item::{self, Item};
use super::keys::ListKeys;
use super::record::{LOOKED_AT, Record, Status};
use super::script;
use super::store::ListStore;
use crate::reply;

/// Jobs a page may have, as the port says.
const PAGE_MAX: u64 = 1000;
/// Items read at once while one is looked for.
const SEARCHED_AT_ONCE: i64 = 200;

/// Records read at a time: they travel in one pipeline by themselves.
const READS_AT_ONCE: usize = 64;

/// Where an item is that no host holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Delayed,
    Failed,
}

// === impl Place ===

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Waiting, Self::Delayed, Self::Failed];

    pub(super) fn state(self) -> JobState {
        match self {
            Self::Waiting => JobState::Waiting,
            Self::Delayed => JobState::Delayed,
            Self::Failed => JobState::Failed,
        }
    }
}

impl ListStore {
    pub(super) async fn read_record(&self, id: &JobId) -> Result<Record, StoreError> {
        let Some(key) = self.keys.record(id) else { return Ok(Record::default()) };
        match self.redis.call(redis::cmd("HMGET").arg(key).arg(&LOOKED_AT)).await {
            Ok(values) => Record::of_look(values),
            // Whatever it is, it is no record of a job.
            Err(e) if crate::error::has_code(&e, "WRONGTYPE") => Ok(Record::default()),
            Err(e) => Err(self.redis.error(&e)),
        }
    }

    /// The item of a job that runs.
    async fn running(&self, id: &JobId) -> Result<Option<Bytes>, StoreError> {
        let Some(record) = self.keys.record(id) else { return Ok(None) };
        let item = self.run(self.call(&script::RUNNING).arg(record)).await?;
        Ok(reply::bytes(item)?.map(Into::into))
    }

    /// Looks for the item of a job in these places.
    pub(super) async fn find(
        &self,
        id: &JobId,
        places: &[Place],
    ) -> Result<Option<(Place, Bytes)>, StoreError> {
        let bare = item::bytes_of(id);
        let (list, delayed, dead) = (self.keys.list(), self.keys.of("delayed"), self.keys.of("dead"));
        for place in places {
            let found = match place {
                Place::Waiting => self.ask(redis::cmd("LPOS").arg(list).arg(&bare)).await?,
                Place::Delayed => self.ask(redis::cmd("ZSCORE").arg(&delayed).arg(&bare)).await?,
                Place::Failed => self.ask(redis::cmd("LPOS").arg(&dead).arg(&bare)).await?,
            };
            if found != Value::Nil && item::name_of(&bare).is_ok_and(|name| name == *id) {
                return Ok(Some((*place, bare.into())));
            }
        }
        for place in places {
            let mut first = 0;
            loop {
                let items = self.items(*place, first, first + SEARCHED_AT_ONCE - 1).await?;
                if items.is_empty() {
                    break;
                }
                for raw in items {
                    if Item::read(&raw).is_ok_and(|item| item.id == *id) {
                        return Ok(Some((*place, raw)));
                    }
                }
                first += SEARCHED_AT_ONCE;
            }
        }
        Ok(None)
    }

    /// Items of a place, those that come next first; dead ones newest first.
    async fn items(&self, place: Place, first: i64, last: i64) -> Result<Vec<Bytes>, StoreError> {
        let mut range = redis::cmd(if place == Place::Delayed { "ZRANGE" } else { "LRANGE" });
        match place {
            Place::Waiting => range.arg(self.keys.list()).arg(-1 - last).arg(-1 - first),
            Place::Delayed => range.arg(self.keys.of("delayed")).arg(first).arg(last),
            Place::Failed => range.arg(self.keys.of("dead")).arg(first).arg(last),
        };
        let mut items = raws(self.ask(&range).await?)?;
        if place == Place::Waiting {
            items.reverse();
        }
        Ok(items)
    }

    /// The items that hosts hold, host by host, those claimed first first.
    async fn held_items(&self) -> Result<Vec<Bytes>, StoreError> {
        let hosts = reply::texts(self.ask(redis::cmd("SMEMBERS").arg(self.keys.of("hosts"))).await?)?;
        let mut pipe = redis::pipe();
        for host in &hosts {
            pipe.cmd("LRANGE").arg(self.keys.processing(host)).arg(0).arg(-1);
        }
        let mut held = Vec::new();
        for items in self.redis.call_all(&pipe).await? {
            held.extend(raws(items)?.into_iter().rev());
        }
        Ok(held)
    }

    pub(super) async fn read_state(&self, id: &JobId) -> Result<Option<JobState>, StoreError> {
        let record = self.read_record(id).await?;
        self.state_of(id, &record).await
    }

    pub(super) async fn state_of(&self, id: &JobId, record: &Record) -> Result<Option<JobState>, StoreError> {
        let waits = async || match record.due_at() {
            Some(due) if due > self.redis_now().await? => Ok(JobState::Delayed),
            _ => Ok::<_, StoreError>(JobState::Waiting),
        };
        Ok(match record.status {
            Status::Completed => Some(JobState::Completed),
            Status::Failed => Some(JobState::Failed),
            Status::Waiting | Status::Retrying => Some(waits().await?),
            Status::Running if self.running(id).await?.is_some() => Some(JobState::Active),
            // Only the record says so: the lists have the last word.
            Status::Running | Status::None => {
                self.find(id, &Place::ALL).await?.map(|(place, _)| place.state())
            }
        })
    }

    async fn redis_now(&self) -> Result<Millis, StoreError> {
        let now = self.redis.call_near(self.keys.list(), &redis::cmd("TIME")).await;
        let now = now.map_err(|e| self.redis.error(&e))?;
        let [seconds, micros] = reply::tuple(now)?;
        Ok(reply::count(&seconds)? * 1000 + reply::count(&micros)? / 1000)
    }

    pub(super) async fn read_job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        let record = self.read_record(id).await?;
        let raw = match record.status {
            Status::Completed => None,
            Status::Running => self.running(id).await?,
            Status::Failed => self.find(id, &[Place::Failed]).await?.map(|(_, raw)| raw),
            Status::Waiting | Status::Retrying => {
                self.find(id, &[Place::Delayed, Place::Waiting]).await?.map(|(_, raw)| raw)
            }
            Status::None => self.find(id, &Place::ALL).await?.map(|(_, raw)| raw),
        };
        // A record that nobody here has touched is its owner's affair.
        if raw.is_none() && record.status == Status::None {
            return Ok(None);
        }
        let item =
            raw.as_ref().map(Item::read).transpose().map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Some(record.into_job(self, id.clone(), item.as_ref().zip(raw.as_ref()))))
    }

    pub(super) async fn read_list(&self, state: JobState, page: Page) -> Result<Vec<Job>, StoreError> {
        let limit = page.limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let first = i64::try_from(page.offset).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
        let last = first + i64::try_from(limit).unwrap_or(0) - 1;
        let raws = match state {
            JobState::Waiting => self.items(Place::Waiting, first, last).await?,
            JobState::Delayed => self.items(Place::Delayed, first, last).await?,
            JobState::Failed => self.items(Place::Failed, first, last).await?,
            JobState::Active => {
                let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
                let take = usize::try_from(limit).unwrap_or(usize::MAX);
                self.held_items().await?.into_iter().skip(skip).take(take).collect()
            }
            // A list queue does not list the completed, and has no other states.
            JobState::Completed | JobState::Prioritized | JobState::WaitingChildren => Vec::new(),
        };
        let mut jobs = Vec::with_capacity(raws.len());
        let mut reads = futures::stream::iter(raws).map(|raw| self.job_of(raw)).buffered(READS_AT_ONCE);
        while let Some(job) = reads.next().await {
            jobs.push(job?);
        }
        Ok(jobs)
    }

    async fn job_of(&self, raw: Bytes) -> Result<Job, StoreError> {
        let item = Item::read(&raw).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let record = self.read_record(&item.id).await?;
        Ok(record.into_job(self, item.id.clone(), Some((&item, &raw))))
    }

    pub(super) async fn read_counts(&self) -> Result<Counts, StoreError> {
        let [waiting, delayed, active, dead] = reply::tuple(self.run(&self.call(&script::COUNTS)).await?)?;
        let mut counts = Counts::default();
        for (state, n) in [
            (JobState::Waiting, waiting),
            (JobState::Delayed, delayed),
            (JobState::Active, active),
            (JobState::Failed, dead),
        ] {
            counts.0.insert(state, reply::count(&n)?);
        }
        Ok(counts)
    }

    pub(super) async fn read_logs(&self, id: &JobId, page: Page) -> Result<Vec<String>, StoreError> {
        let (Some(record), true) = (self.keys.record(id), page.limit > 0) else { return Ok(Vec::new()) };
        let last = page.offset.saturating_add(page.limit.min(PAGE_MAX)) - 1;
        let mut range = redis::cmd("LRANGE");
        range.arg(ListKeys::logs(&record)).arg(page.offset).arg(last);
        reply::texts(self.ask(&range).await?)
    }
}

fn raws(items: Value) -> Result<Vec<Bytes>, StoreError> {
    reply::array(items)?.into_iter().map(|item| Ok(reply::bytes(item)?.unwrap_or_default().into())).collect()
}
