//! Job schedulers: their records, and the next job of each when its pending one is claimed.

use bytes::Bytes;
use jobcell_core::options::JobOptions;
use jobcell_core::schedule::{Draft, Last, Repeat, Rule, ScheduleError, Template, Timetable};
use jobcell_core::store::{NewJob, Page, Scheduled, Scheduler, SchedulerSpec, StoreError};
use jobcell_core::{JobId, JobState, Millis, QueueName};
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};

use crate::add::{self, Checked};
use crate::error::{Fault, Result};
use crate::record::{Body, Record};
use crate::rows::job_id;
use crate::schema;
use crate::tx::Tx;

/// Slots that are tried where jobs of an earlier life of the scheduler are in the way.
const FREE_SLOT_TRIES: u64 = 32;

/// A scheduler as the file holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(rename = "o")]
    options: JobOptions,
    #[serde(rename = "t")]
    timetable: Timetable,
    /// When its pending job is due, or its last one was.
    #[serde(rename = "s")]
    slot: Millis,
    /// Jobs made in its whole life.
    #[serde(rename = "i")]
    iterations: u64,
    /// Jobs made since it was last set.
    #[serde(rename = "m")]
    made: u64,
}

// === setting and removing ===

pub(crate) fn set(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    spec: &SchedulerSpec,
    now: Millis,
) -> Result<Scheduled> {
    spec.check()?;
    let SchedulerSpec { id, timetable, name, data, options } = spec;
    let rejected = |e: ScheduleError| Fault::Verb(spec.rejected(&e));
    let data = match data.as_deref().map(str::from_utf8).transpose() {
        Ok(data) => data.map(str::to_owned),
        Err(e) => {
            return Err(
                StoreError::Rejected(format!("scheduler {id:?}: its payload is not text: {e}")).into()
            );
        }
    };
    let found = tx.find_queue(queue)?;
    let before = found.map_or(Ok(None), |number| tx.scheduler_row(number, id))?;
    let pending = match (found, &before) {
        (Some(number), Some(row)) => tx.waiting_job(number, &slot_id(id, row.slot)?)?,
        _ => None,
    };
    let last = before.as_ref().map(|row| Last {
        slot: row.slot,
        every: row.timetable.every().map(|every| every.every),
        waits: pending.is_some(),
    });
    let mut slot = timetable.first(last, now).map_err(rejected)?;
    if let Some(number) = found {
        let replaced = pending.as_ref().map(|(id, _)| id);
        slot = free_slot(tx, number, spec, slot, replaced)?;
    }
    let template = Template::new(options).map_err(rejected)?;
    let mut draft = Draft::first(&template, id, timetable, now).map_err(rejected)?;
    let mut timetable = timetable.clone();
    let every = timetable.every();
    match (&mut timetable.rule, every) {
        (Rule::Every { offset, .. }, Some(every)) => *offset = Some(every.offset_of(slot)),
        (Rule::Cron { immediately, .. }, _) => {
            *immediately = false;
            draft.note_slot(slot).map_err(rejected)?;
        }
        (Rule::Every { .. }, None) => {}
    }

    let number = tx.make_queue(queue)?;
    if let Some((id, record)) = pending {
        tx.take(number, &record)?;
        tx.disown(number, &id, &record)?;
        tx.erase(number, &id, &record)?;
    }
    let options = serde_json::from_str(template.as_str().unwrap_or("{}"))
        .map_err(|e| StoreError::Rejected(format!("scheduler {id:?}: its options cannot be stored: {e}")))?;
    let iterations = before.map_or(1, |row| row.iterations);
    let row = Row { name: name.clone(), data, options, timetable, slot, iterations, made: 1 };
    let job = make(tx, number, id, &row, &draft, now)?;
    tx.save_scheduler(number, id, &row)?;
    Ok(Scheduled { job, due: slot })
}

pub(crate) fn remove(tx: &mut Tx<'_>, queue: &QueueName, id: &str) -> Result<bool> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(false) };
    let Some(row) = tx.scheduler_row(number, id)? else { return Ok(false) };
    if let Some((id, record)) = tx.waiting_job(number, &slot_id(id, row.slot)?)?
        && record.state() == JobState::Delayed
    {
        tx.take(number, &record)?;
        tx.disown(number, &id, &record)?;
        tx.erase(number, &id, &record)?;
        tx.tell(number, "removed", &[("jobId", id.as_str()), ("prev", JobState::Delayed.as_str())]);
    }
    tx.change().schedulers.remove((number, id))?;
    Ok(true)
}

/// The first slot from this one on whose job does not exist. Only slots at equal distances can give way.
fn free_slot(
    tx: &Tx<'_>,
    number: u32,
    spec: &SchedulerSpec,
    first: Millis,
    replaced: Option<&JobId>,
) -> Result<Millis> {
    let step = spec.timetable.every().map(|every| every.every);
    let tries = if step.is_some() { FREE_SLOT_TRIES } else { 0 };
    let mut slot = first;
    for _ in 0..=tries {
        let job = slot_id(&spec.id, slot)?;
        if !tx.exists(number, job.as_str())? || replaced == Some(&job) {
            return Ok(slot);
        }
        slot = slot.saturating_add(step.unwrap_or(0));
    }
    let (id, job) = (&spec.id, slot_id(&spec.id, first)?);
    let fix = "remove it, or give the scheduler another id";
    Err(StoreError::Rejected(format!("scheduler {id:?}: job {job:?} is in the way; {fix}")).into())
}

// === going on ===

/// Makes the next job of the scheduler whose job is being claimed. Only the pending one makes it, so that every claim of
/// the same job after the first makes none. What cannot be made is told, and keeps nobody from running this one.
pub(crate) fn iterate(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    record: &mut Record,
    now: Millis,
) -> Result<()> {
    let Some(scheduler) = record.scheduler.clone() else { return Ok(()) };
    let cause = match next(tx, number, id, &scheduler, now) {
        Ok(None) => return Ok(()),
        Ok(Some((row, draft))) => {
            make(tx, number, &scheduler, &row, &draft, now)?;
            return tx.save_scheduler(number, &scheduler, &row);
        }
        Err(fault) if fault.breaks_database() => return Err(fault),
        Err(fault) => told(fault),
    };
    let queue = tx.queue_name(number);
    tracing::error!(
        %queue, scheduler, job = %id, cause,
        "a scheduler makes no further jobs; mend the cause and set the scheduler again"
    );
    let line = format!(
        "scheduler {scheduler:?} makes no further jobs: {cause}; mend the cause and set the scheduler again"
    );
    tx.append_logs(number, id.as_str(), record, &[line], None)?;
    tx.save(number, id.as_str(), record)
}

/// The scheduler's record as it is after its next job, and the options of that; none when it makes none now.
fn next(tx: &Tx<'_>, number: u32, id: &JobId, scheduler: &str, now: Millis) -> Result<Option<(Row, Draft)>> {
    let Some(row) = tx.scheduler_row(number, scheduler)? else { return Ok(None) };
    if slot_id(scheduler, row.slot)? != *id {
        return Ok(None);
    }
    let rejected = |cause: ScheduleError| Fault::Verb(StoreError::Rejected(cause.to_string()));
    let Some(slot) = row.timetable.next(row.slot, row.made, now).map_err(rejected)? else { return Ok(None) };
    let next = slot_id(scheduler, slot)?;
    if tx.exists(number, next.as_str())? {
        return Err(StoreError::Rejected(format!("job {next:?} exists already; remove it")).into());
    }
    let Some(body) = tx.tables().bodies.get((number, id.as_str()))? else {
        return Err(StoreError::Corrupt("the job's body is missing".to_owned()).into());
    };
    let options = Body::decode(body.value())?.options;
    let repeat = Repeat::read(options).map_err(rejected)?;
    let mut draft = Draft::after(options, &repeat, scheduler, now).map_err(rejected)?;
    if row.timetable.every().is_none() {
        draft.note_slot(slot).map_err(rejected)?;
    }
    let (made, iterations) = (row.made + 1, row.iterations + 1);
    Ok(Some((Row { slot, made, iterations, ..row }, draft)))
}

/// Makes the job of a row's slot.
fn make(
    tx: &mut Tx<'_>,
    number: u32,
    scheduler: &str,
    row: &Row,
    draft: &Draft,
    now: Millis,
) -> Result<JobId> {
    let id = slot_id(scheduler, row.slot)?;
    let delay = row.slot.saturating_sub(now);
    let job = NewJob {
        name: row.name.clone(),
        data: row.data.clone().map_or_else(|| Bytes::from_static(b"{}"), Bytes::from),
        options: JobOptions { delay, timestamp: Some(now), ..row.options.clone() },
        parent: None,
    };
    let options = draft.close(id.as_str(), delay);
    add::store(tx, number, &id, &Checked::of_scheduler(job, scheduler, options), now)?;
    Ok(id)
}

/// The id of the job that is due then.
fn slot_id(scheduler: &str, slot: Millis) -> Result<JobId> {
    job_id(&format!("repeat:{scheduler}:{slot}"))
}

// === looking ===

impl Tx<'_> {
    fn scheduler_row(&self, number: u32, id: &str) -> Result<Option<Row>> {
        match self.tables().schedulers.get((number, id))? {
            Some(bytes) => decode(id, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    fn save_scheduler(&mut self, number: u32, id: &str, row: &Row) -> Result<()> {
        let bytes = serde_json::to_vec(row)
            .map_err(|e| StoreError::Rejected(format!("scheduler {id:?} cannot be stored: {e}")))?;
        self.change().schedulers.insert((number, id), bytes.as_slice())?;
        Ok(())
    }

    /// The job, when it waits to be claimed.
    fn waiting_job(&self, number: u32, id: &JobId) -> Result<Option<(JobId, Record)>> {
        let waits = |record: &Record| {
            matches!(record.state(), JobState::Waiting | JobState::Prioritized | JobState::Delayed)
        };
        Ok(self.record(number, id.as_str())?.filter(waits).map(|record| (id.clone(), record)))
    }

    /// Whether the scheduler that made the job still exists.
    pub(crate) fn has_scheduler(&self, number: u32, record: &Record) -> Result<bool> {
        match &record.scheduler {
            Some(scheduler) => Ok(self.tables().schedulers.get((number, scheduler.as_str()))?.is_some()),
            None => Ok(false),
        }
    }

    /// Whether the job is the latest of a scheduler that exists; such a job goes only with its scheduler.
    pub(crate) fn is_scheduled(&self, number: u32, id: &JobId, record: &Record) -> Result<bool> {
        let Some(scheduler) = &record.scheduler else { return Ok(false) };
        match self.scheduler_row(number, scheduler)? {
            Some(row) => Ok(slot_id(scheduler, row.slot)? == *id),
            None => Ok(false),
        }
    }
}

/// One scheduler, in one state of the store.
pub(crate) fn read(transaction: &ReadTransaction, number: u32, id: &str) -> Result<Option<Scheduler>> {
    let rows = transaction.open_table(schema::SCHEDULERS)?;
    let jobs = transaction.open_table(schema::JOBS)?;
    match rows.get((number, id))? {
        Some(bytes) => scheduler(&jobs, number, id, decode(id, bytes.value())?).map(Some),
        None => Ok(None),
    }
}

/// Schedulers, those that come next first.
pub(crate) fn list(
    transaction: &ReadTransaction,
    number: u32,
    page: Page,
    max: u64,
) -> Result<Vec<Scheduler>> {
    let Page { offset, limit } = page;
    let rows = transaction.open_table(schema::SCHEDULERS)?;
    let jobs = transaction.open_table(schema::JOBS)?;
    let mut found = Vec::new();
    for entry in rows.range((number, "")..(number + 1, ""))? {
        let (key, bytes) = entry?;
        let (_, id) = key.value();
        match decode(id, bytes.value()) {
            Ok(row) => found.push((row.slot, id.to_owned(), row)),
            Err(fault) => tracing::error!(scheduler = id, cause = %told(fault), "a scheduler cannot be read"),
        }
    }
    found.sort_by(|(a, a_id, _), (b, b_id, _)| (a, a_id).cmp(&(b, b_id)));
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let take = usize::try_from(limit.min(max)).unwrap_or(usize::MAX);
    found.into_iter().skip(skip).take(take).map(|(_, id, row)| scheduler(&jobs, number, &id, row)).collect()
}

fn scheduler(
    jobs: &impl ReadableTable<(u32, &'static str), &'static [u8]>,
    number: u32,
    id: &str,
    row: Row,
) -> Result<Scheduler> {
    let pending = match jobs.get((number, slot_id(id, row.slot)?.as_str()))? {
        Some(bytes) => Some(Record::decode(bytes.value())?),
        None => None,
    };
    // One that was started has its successor, unless there is to be none.
    let waits = pending.is_some_and(|record| record.attempts_started == 0);
    let Row { name, data, options, timetable, slot, iterations, made: _ } = row;
    let spec = SchedulerSpec { id: id.to_owned(), timetable, name, data: data.map(Bytes::from), options };
    Ok(Scheduler { spec, next: Some(slot).filter(|_| waits), iterations })
}

fn decode(id: &str, bytes: &[u8]) -> Result<Row> {
    serde_json::from_slice(bytes)
        .map_err(|e| Fault::Verb(StoreError::Corrupt(format!("the record of scheduler {id:?}: {e}"))))
}

fn told(fault: Fault) -> String {
    match fault {
        Fault::Verb(error) => error.to_string(),
        Fault::Database(error) => error.to_string(),
        Fault::Beside { path, cause } => format!("{}: {cause}", path.display()),
    }
}
