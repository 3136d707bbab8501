//! What runs beside a job's attempts, and interventions from outside.

use jobcell_core::store::StoreError;
use jobcell_core::{JobId, JobState, Millis, QueueName};
use redb::ReadableTable;

use crate::add::PRIORITY_MAX;
use crate::children;
use crate::error::Result;
use crate::record::{Body, Record};
use crate::schema::{self, Output};
use crate::tx::Tx;

impl Tx<'_> {
    /// Replaces the progress and tells; the caller saves the record.
    pub(crate) fn set_progress(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        progress: &[u8],
    ) -> Result<()> {
        self.set_output(number, id.as_str(), record, Output::Progress, progress)?;
        let text = String::from_utf8_lossy(progress);
        self.tell(number, "progress", &[("jobId", id.as_str()), ("data", &text)]);
        Ok(())
    }

    /// Replaces the payload.
    pub(crate) fn set_data(&mut self, number: u32, id: &JobId, data: &[u8]) -> Result<()> {
        let bytes = {
            let Some(old) = self.tables().bodies.get((number, id.as_str()))? else {
                return Err(StoreError::NotFound(id.clone()).into());
            };
            Body { data, ..Body::decode(old.value())? }.encode()?
        };
        self.change().bodies.insert((number, id.as_str()), bytes.as_slice())?;
        Ok(())
    }

    /// The queue of a job that must exist, and its record.
    fn need_in(&mut self, queue: &QueueName, id: &JobId) -> Result<(u32, Record)> {
        let number = self.find_queue(queue)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
        Ok((number, self.need(number, id)?))
    }
}

pub(crate) fn set_progress(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId, progress: &[u8]) -> Result<()> {
    let (number, mut record) = tx.need_in(queue, id)?;
    tx.set_progress(number, id, &mut record, progress)?;
    tx.save(number, id.as_str(), &record)
}

pub(crate) fn append_logs(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    id: &JobId,
    lines: &[String],
    keep: Option<u64>,
) -> Result<u64> {
    let (number, mut record) = tx.need_in(queue, id)?;
    let left = tx.append_logs(number, id.as_str(), &mut record, lines, keep)?;
    tx.save(number, id.as_str(), &record)?;
    Ok(left)
}

pub(crate) fn update_data(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId, data: &[u8]) -> Result<()> {
    let (number, _) = tx.need_in(queue, id)?;
    tx.set_data(number, id, data)
}

pub(crate) fn set_paused(tx: &mut Tx<'_>, queue: &QueueName, paused: bool) -> Result<()> {
    let number = tx.make_queue(queue)?;
    tx.queue_mut(number).paused = paused;
    tx.tell(number, if paused { "paused" } else { "resumed" }, &[]);
    if !paused && !tx.queue(number).is_idle() {
        tx.wake(number);
    }
    Ok(())
}

pub(crate) fn promote(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId) -> Result<()> {
    let (number, mut record) = tx.need_in(queue, id)?;
    if record.state() != JobState::Delayed {
        return Err(wrong_state(id, "delayed", &record).into());
    }
    tx.undelay(number, id, &mut record)
}

pub(crate) fn retry(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId, reset_attempts: bool) -> Result<()> {
    let (number, mut record) = tx.need_in(queue, id)?;
    let state = record.state();
    if !state.is_finished() {
        return Err(wrong_state(id, "completed or failed", &record).into());
    }
    tx.take(number, &record)?;
    tx.unfinish(number, id, &mut record)?;
    if reset_attempts {
        record.attempts_made = 0;
        record.attempts_started = 0;
        tx.drop_output(number, id.as_str(), &mut record, Output::Receipts)?;
    }
    tx.reattach_child(number, id, &record)?;
    let front = record.lifo && record.priority == 0;
    tx.make_ready(number, id, &mut record, front, Some(state.as_str()))
}

pub(crate) fn change_delay(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    id: &JobId,
    delay: Millis,
    now: Millis,
) -> Result<()> {
    let (number, mut record) = tx.need_in(queue, id)?;
    if record.state() != JobState::Delayed {
        return Err(wrong_state(id, "delayed", &record).into());
    }
    tx.redelay(number, id, &mut record, delay, now)
}

pub(crate) fn change_priority(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    id: &JobId,
    priority: u64,
    front: bool,
) -> Result<()> {
    if priority > PRIORITY_MAX {
        return Err(StoreError::Rejected(format!(
            "job {id:?}: priority {priority} is out of range; use 0 for none, or 1 (first) to {PRIORITY_MAX} (last)"
        ))
        .into());
    }
    let (number, mut record) = tx.need_in(queue, id)?;
    record.priority = priority;
    match record.state() {
        JobState::Waiting | JobState::Prioritized => tx.move_ready(number, id, &mut record, front),
        _ => tx.save(number, id.as_str(), &record),
    }
}

/// Keeps the newest so many events. Returns how many went.
pub(crate) fn trim_events(tx: &mut Tx<'_>, queue: &QueueName, keep: u64) -> Result<u64> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(0) };
    tx.trim_events(number, keep)
}

fn wrong_state(id: &JobId, expected: &'static str, record: &Record) -> StoreError {
    StoreError::WrongState { id: id.clone(), expected, actual: Some(record.state()) }
}

pub(crate) fn drain(tx: &mut Tx<'_>, queue: &QueueName, delayed: bool) -> Result<u64> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(0) };
    let mut drained = 0;
    for state in [JobState::Waiting, JobState::Prioritized, JobState::Delayed] {
        if state == JobState::Delayed && !delayed {
            continue;
        }
        for id in tx.ids(schema::all(number, state), usize::MAX)? {
            // A parent may have gone together with its last child.
            let Some(record) = tx.record(number, id.as_str())? else { continue };
            if tx.is_scheduled(number, &id, &record)? {
                continue;
            }
            remove_whole(tx, number, &id, &record)?;
            drained += 1;
        }
    }
    Ok(drained)
}

/// Removes a job, and its parent with it when that waited for nothing else: in a drained queue it would run without
/// its children's results.
pub(crate) fn remove_whole(tx: &mut Tx<'_>, number: u32, id: &JobId, record: &Record) -> Result<()> {
    let mut next = Some((id.clone(), record.clone()));
    while let Some((id, record)) = next.take() {
        tx.take(number, &record)?;
        next = tx.last_child_of(number, &id, &record)?;
        if next.is_none() {
            tx.detach_child(number, &id, &record)?;
        }
        tx.disown(number, &id, &record)?;
        tx.erase(number, &id, &record)?;
    }
    Ok(())
}

impl Tx<'_> {
    /// The parent of this queue that waits for this child only.
    fn last_child_of(&self, number: u32, id: &JobId, record: &Record) -> Result<Option<(JobId, Record)>> {
        let queue = self.queue_name(number);
        let Some(parent) = record.parent.as_ref().filter(|parent| parent.queue() == queue.as_str()) else {
            return Ok(None);
        };
        let Some(found) = self.record(number, &parent.id)? else { return Ok(None) };
        let child = children::key(&queue, id);
        let pending = self.is_pending(number, &parent.id, &child)?;
        let last = pending && found.pending == 1 && found.state() == JobState::WaitingChildren;
        Ok(if last { Some((crate::rows::job_id(&parent.id)?, found)) } else { None })
    }
}
