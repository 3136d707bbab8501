//! Reading, beside the writer: every read sees one whole state of the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use jobcell_core::keyvalue::Keys;
use jobcell_core::store::{AttemptReceipt, Counts, Limits, Malformed, Page, Scheduler, Series, StoredEvent};
use jobcell_core::{Job, JobId, JobState, QueueName, StoreError};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use serde_json::value::RawValue;

use crate::children::{self, Child};
use crate::error::{Fault, Result};
use crate::events;
use crate::queue::Queue;
use crate::record::{Body, Record};
use crate::rows::job_id;
use crate::schedulers;
use crate::schema::{self, Output};
use crate::series;
use crate::tx::{decode_queue, read_queue};

/// The most that one page gives.
const PAGE_MAX: u64 = 1000;

/// One state of the store.
pub(crate) struct View {
    pub(crate) read: ReadTransaction,
}

/// The job of a record; inner errors are about the job, outer ones about the store.
pub(crate) fn read_job(
    bodies: &impl ReadableTable<(u32, &'static str), &'static [u8]>,
    outputs: &impl ReadableTable<(u32, &'static str, u8), &'static [u8]>,
    number: u32,
    id: &JobId,
    record: &Record,
) -> Result<Result<Job, Malformed>> {
    let Some(body) = bodies.get((number, id.as_str()))? else {
        return Ok(Err(Malformed { field: "body".into(), cause: "it is missing".into() }));
    };
    let mut job = match Body::decode(body.value()).and_then(|body| record.job(id, &body)) {
        Ok(job) => job,
        Err(malformed) => return Ok(Err(malformed)),
    };
    // Receipts are looked at by themselves.
    let looked_at = |output: &Output| record.has(*output) && *output != Output::Receipts;
    for output in Output::ALL.into_iter().filter(looked_at) {
        let Some(bytes) = outputs.get((number, id.as_str(), output as u8))? else { continue };
        match output {
            Output::Result => job.result = Some(Bytes::copy_from_slice(bytes.value())),
            Output::Progress => job.progress = Some(Bytes::copy_from_slice(bytes.value())),
            Output::Receipts => {}
            Output::Stacktrace => match serde_json::from_slice(bytes.value()) {
                Ok(stacktrace) => job.stacktrace = stacktrace,
                Err(e) => return Ok(Err(Malformed { field: "stacktrace".into(), cause: e.to_string() })),
            },
        }
    }
    Ok(Ok(job))
}

impl View {
    pub(crate) fn of(database: &Database) -> Result<Self> {
        Ok(Self { read: database.begin_read()? })
    }

    pub(crate) fn queue(&self, name: &QueueName) -> Result<Option<Queue>> {
        read_queue(&self.read.open_table(schema::QUEUES)?, name)
    }

    fn record(&self, number: u32, id: &JobId) -> Result<Option<Record>> {
        match self.read.open_table(schema::JOBS)?.get((number, id.as_str()))? {
            Some(bytes) => Ok(Some(Record::decode(bytes.value())?)),
            None => Ok(None),
        }
    }

    fn job(&self, number: u32, id: &JobId) -> Result<Option<Job>> {
        let Some(record) = self.record(number, id)? else { return Ok(None) };
        let bodies = self.read.open_table(schema::BODIES)?;
        let outputs = self.read.open_table(schema::OUTPUTS)?;
        let job = read_job(&bodies, &outputs, number, id, &record)?;
        let of_this = |malformed| Fault::Verb(StoreError::Corrupt(format!("job {id:?}: {malformed}")));
        job.map(Some).map_err(of_this)
    }

    pub(crate) fn get(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        match self.queue(queue)? {
            Some(queue) => self.job(queue.number, id),
            None => Ok(None),
        }
    }

    pub(crate) fn state(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobState>> {
        let Some(queue) = self.queue(queue)? else { return Ok(None) };
        Ok(self.record(queue.number, id)?.map(|record| record.state()))
    }

    pub(crate) fn receipts(&self, queue: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>> {
        let Some(queue) = self.queue(queue)? else { return Ok(Vec::new()) };
        let outputs = self.read.open_table(schema::OUTPUTS)?;
        let Some(rows) = outputs.get((queue.number, id.as_str(), Output::Receipts as u8))? else {
            return Ok(Vec::new());
        };
        let all: Vec<&RawValue> = serde_json::from_slice(rows.value()).unwrap_or_default();
        // What a newer version wrote and this one cannot read is left out.
        Ok(all.into_iter().filter_map(|json| serde_json::from_str(json.get()).ok()).collect())
    }

    pub(crate) fn list(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>> {
        let Some(queue) = self.queue(queue)? else { return Ok(Vec::new()) };
        let mut jobs = Vec::new();
        for id in self.ids(queue.number, state, page)? {
            jobs.extend(self.job(queue.number, &id)?);
        }
        Ok(jobs)
    }

    fn ids(&self, number: u32, state: JobState, page: Page) -> Result<Vec<JobId>> {
        let Page { offset, limit } = page;
        let places = self.read.open_table(schema::PLACES)?;
        let range = places.range(schema::all(number, state))?;
        let entries: Box<dyn Iterator<Item = _>> =
            if state.is_finished() { Box::new(range.rev()) } else { Box::new(range) };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let take = usize::try_from(limit.min(PAGE_MAX)).unwrap_or(usize::MAX);
        entries.skip(skip).take(take).map(|entry| job_id(entry?.1.value())).collect()
    }

    /// The jobs of a state behind this one; none where it is not in that state.
    pub(crate) fn list_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>> {
        let Some(queue) = self.queue(queue)? else { return Ok(None) };
        let number = queue.number;
        let Some(record) = self.record(number, behind)?.filter(|record| record.state() == state) else {
            return Ok(None);
        };
        let (places, at) = (self.read.open_table(schema::PLACES)?, record.place().key(number));
        let take = usize::try_from(limit.min(PAGE_MAX)).unwrap_or(usize::MAX);
        let (first, last) = schema::all(number, state).into_inner();
        let ids: Vec<JobId> = if state.is_finished() {
            let before = places.range(first..at)?.rev().take(take);
            before.map(|entry| job_id(entry?.1.value())).collect::<Result<_>>()?
        } else {
            let after = places.range((Bound::Excluded(at), Bound::Included(last)))?.take(take);
            after.map(|entry| job_id(entry?.1.value())).collect::<Result<_>>()?
        };
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            jobs.extend(self.job(number, &id)?);
        }
        Ok(Some(jobs))
    }

    /// How many delayed jobs are due, counted no further than `most`.
    pub(crate) fn count_due(&self, queue: &QueueName, now: u64, most: u64) -> Result<u64> {
        let Some(queue) = self.queue(queue)? else { return Ok(0) };
        let places = self.read.open_table(schema::PLACES)?;
        let due = places.range(schema::up_to(queue.number, JobState::Delayed, now))?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(due.take(most).count() as u64)
    }

    pub(crate) fn counts(&self, queue: &QueueName) -> Result<Counts> {
        let mut counts = Counts::default();
        if let Some(queue) = self.queue(queue)? {
            for (state, count) in &mut counts.0 {
                *count = queue.count(*state);
            }
        }
        Ok(counts)
    }

    pub(crate) fn logs(&self, queue: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>> {
        let Some(queue) = self.queue(queue)? else { return Ok(Vec::new()) };
        let Some(record) = self.record(queue.number, id)? else { return Ok(Vec::new()) };
        let (first, next) = record.logs;
        let from = first.saturating_add(page.offset).min(next);
        let to = from.saturating_add(page.limit.min(PAGE_MAX)).min(next);
        let logs = self.read.open_table(schema::LOGS)?;
        let range = logs.range((queue.number, id.as_str(), from)..(queue.number, id.as_str(), to))?;
        range.map(|entry| Ok(entry?.1.value().to_owned())).collect()
    }

    pub(crate) fn queues(&self) -> Result<Vec<(QueueName, Queue)>> {
        let table = self.read.open_table(schema::QUEUES)?;
        let mut queues = Vec::new();
        for entry in table.iter()? {
            let (name, bytes) = entry?;
            let queue = decode_queue(name.value(), bytes.value())?;
            let name = QueueName::new(name.value()).map_err(|e| StoreError::Corrupt(e.to_string()))?;
            queues.push((name, queue));
        }
        Ok(queues)
    }

    /// The active jobs of a queue.
    pub(crate) fn active(&self, queue: &Queue) -> Result<Vec<JobId>> {
        let places = self.read.open_table(schema::PLACES)?;
        let range = places.range(schema::all(queue.number, JobState::Active))?;
        range.map(|entry| job_id(entry?.1.value())).collect()
    }

    pub(crate) fn next_due(&self, queue: &Queue) -> Result<Option<u64>> {
        crate::rows::next_due(&self.read.open_table(schema::PLACES)?, queue.number)
    }

    /// The table of what parents know of their children.
    pub(crate) fn children_table(&self) -> Result<children::Rows> {
        Ok(self.read.open_table(schema::CHILDREN)?)
    }

    pub(crate) fn children(
        &self,
        queue: &QueueName,
        id: &JobId,
        status: Child,
    ) -> Result<Vec<(String, String)>> {
        let Some(queue) = self.queue(queue)? else { return Ok(Vec::new()) };
        children::with_status(&self.children_table()?, queue.number, id.as_str(), status)
    }

    pub(crate) fn events(&self, queue: &QueueName, after: u64) -> Result<Vec<StoredEvent>> {
        match self.queue(queue)? {
            Some(queue) if queue.last_event > after => {
                events::read(&self.read.open_table(schema::EVENTS)?, queue.number, after)
            }
            _ => Ok(Vec::new()),
        }
    }

    pub(crate) fn scheduler(&self, queue: &QueueName, id: &str) -> Result<Option<Scheduler>> {
        match self.queue(queue)? {
            Some(queue) => schedulers::read(&self.read, queue.number, id),
            None => Ok(None),
        }
    }

    pub(crate) fn schedulers(&self, queue: &QueueName, page: Page) -> Result<Vec<Scheduler>> {
        match self.queue(queue)? {
            Some(queue) => schedulers::list(&self.read, queue.number, page, PAGE_MAX),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn limits(&self, queue: &QueueName, now: u64) -> Result<Limits> {
        Ok(self.queue(queue)?.map_or_else(Limits::default, |queue| queue.limits(now)))
    }

    pub(crate) fn counts_by_priority(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>> {
        let queue = self.queue(queue)?.unwrap_or_default();
        let places = self.read.open_table(schema::PLACES)?;
        let state = schema::code(JobState::Prioritized);
        let mut counts = BTreeMap::new();
        for priority in priorities {
            let count = match *priority {
                0 => queue.count(JobState::Waiting),
                // Counted by the queue; without any the search is spared, and without the queue it has no number.
                _ if queue.count(JobState::Prioritized) == 0 => 0,
                a => places.range((queue.number, state, a, 0)..=(queue.number, state, a, u64::MAX))?.count()
                    as u64,
            };
            counts.insert(*priority, count);
        }
        Ok(counts)
    }

    pub(crate) fn series(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Series> {
        let Some(mut queue) = self.queue(queue)? else { return Ok(Series::default()) };
        series::read(&self.read.open_table(schema::SERIES)?, &mut queue, state, page, PAGE_MAX)
    }

    /// Who has taken a deduplication id.
    pub(crate) fn owner(&self, queue: &QueueName, id: &str, now: u64) -> Result<Option<JobId>> {
        let Some(queue) = self.queue(queue)? else { return Ok(None) };
        let owners = self.read.open_table(schema::OWNERS)?;
        let Some(row) = owners.get((queue.number, id))? else { return Ok(None) };
        let (until, owner) = row.value();
        if until > now { job_id(owner).map(Some) } else { Ok(None) }
    }

    pub(crate) fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>> {
        let row = self.read.open_table(schema::VALUES)?.get((bucket, key))?;
        Ok(row.map(|row| Bytes::copy_from_slice(row.value().1)))
    }

    pub(crate) fn has_value(&self, bucket: &str, key: &str) -> Result<bool> {
        Ok(self.read.open_table(schema::VALUES)?.get((bucket, key))?.is_some())
    }

    /// At most `limit` keys of a bucket from a place on.
    pub(crate) fn keys(&self, bucket: &str, from: u64, limit: u32) -> Result<Keys> {
        let mut found = Keys::default();
        for row in self.read.open_table(schema::VALUE_KEYS)?.range((bucket, from)..=(bucket, u64::MAX))? {
            let (place, key) = row?;
            if found.keys.len() == limit as usize {
                found.next = Some(place.value().1);
                break;
            }
            found.keys.push(key.value().to_owned());
        }
        Ok(found)
    }

    pub(crate) fn cached(&self, key: &str, now: u64) -> Result<Option<Bytes>> {
        let cache = self.read.open_table(schema::CACHE)?;
        let Some(row) = cache.get(key)? else { return Ok(None) };
        let (expires, value) = row.value();
        Ok((expires > now).then(|| Bytes::copy_from_slice(value)))
    }
}
