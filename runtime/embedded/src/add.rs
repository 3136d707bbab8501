//! Adding jobs.

use jobcell_core::store::{Added, NewJob, Parent, StoreError};
use jobcell_core::{JobId, Millis, QueueName};

use crate::children;
use crate::error::{Fault, Result};
use crate::record::{Body, Record};
use crate::tx::Tx;

/// The greatest priority, as in BullMQ.
const PRIORITY_MAX: u64 = 2_097_151;

/// A job that passed the checks that need no store, ready to be written.
pub(crate) struct Checked {
    job: NewJob,
    id: Option<JobId>,
    options: Vec<u8>,
}

/// What adding several gave: those before the first that was refused, and why that one was.
pub(crate) type AddedUntil = (Vec<Added>, Result<(), StoreError>);

impl Checked {
    /// # Errors
    /// [`StoreError::Rejected`] when the job can never be stored.
    pub(crate) fn new(mut job: NewJob) -> Result<Self, StoreError> {
        let id = job.options.job_id.as_deref().map(JobId::custom).transpose();
        let id = id.map_err(|e| StoreError::Rejected(e.to_string()))?;
        let priority = job.options.priority;
        if priority > PRIORITY_MAX {
            return Err(StoreError::Rejected(format!(
                "priority {priority} is out of range; use 0 for none, or 1 (first) to {PRIORITY_MAX} (last)"
            )));
        }
        // Stored and not honoured, it would let run twice what the producer wants to run once.
        if let Some(deduplication) = &job.options.deduplication {
            return Err(StoreError::Rejected(format!(
                "deduplication id {:?}: the embedded store does not deduplicate yet; give the job an id of its own (a \
                 second one with the same id is not added), or use Redis",
                deduplication.id
            )));
        }
        job.parent = match (job.parent.take(), job.options.parent.as_ref()) {
            (Some(parent), _) => Some(parent),
            (None, Some(named)) => {
                let id =
                    JobId::new(&named.id).map_err(|e| StoreError::Rejected(format!("the parent: {e}")))?;
                Some(Parent { queue_key: named.queue.clone(), id })
            }
            (None, None) => None,
        };
        let options = serde_json::to_vec(&job.options).map_err(|e| {
            StoreError::Rejected(format!("the options of job {:?} cannot be stored: {e}", job.name))
        })?;
        Ok(Self { job, id, options })
    }
}

/// Adds jobs until one is refused.
pub(crate) fn add(tx: &mut Tx<'_>, queue: &QueueName, jobs: &[Checked], now: Millis) -> Result<AddedUntil> {
    let mut added = Vec::with_capacity(jobs.len());
    if jobs.is_empty() {
        return Ok((added, Ok(())));
    }
    for job in jobs {
        if let Some(parent) = &job.job.parent {
            match tx.need_parent(parent) {
                Err(Fault::Verb(refused)) => return Ok((added, Err(refused))),
                other => other?,
            }
        }
        let number = tx.make_queue(queue)?;
        match add_one(tx, number, job, now) {
            Ok(one) => added.push(one),
            Err(Fault::Verb(refused @ StoreError::Rejected(_))) => return Ok((added, Err(refused))),
            Err(fault) => return Err(fault),
        }
    }
    Ok((added, Ok(())))
}

fn add_one(tx: &mut Tx<'_>, number: u32, checked: &Checked, now: Millis) -> Result<Added> {
    let Checked { job, id, options } = checked;
    if let Some(id) = id
        && tx.exists(number, id.as_str())?
    {
        if let Some(parent) = &job.parent {
            tx.adopt(number, id, parent)?;
        }
        tx.tell(number, "duplicated", &[("jobId", id.as_str())]);
        return Ok(Added::Duplicate(id.clone()));
    }
    let id = match id {
        Some(id) => id.clone(),
        None => next_id(tx, number)?,
    };
    let timestamp = job.timestamp(now);
    let body = Body { name: job.name.as_str().into(), timestamp, options, data: &job.data }.encode()?;
    tx.change().bodies.insert((number, id.as_str()), body.as_slice())?;
    let mut record = Record::new(&job.options, job.parent.as_ref());
    tx.tell(number, "added", &[("jobId", id.as_str()), ("name", &job.name)]);
    if record.delay > 0 {
        tx.make_delayed(number, &id, &mut record, timestamp.saturating_add(job.options.delay))?;
    } else {
        let front = record.lifo && record.priority == 0;
        tx.make_ready(number, &id, &mut record, front, None)?;
    }
    if let Some(parent) = &job.parent {
        let child = children::key(&tx.queue_name(number), &id);
        tx.attach_child(parent, &child)?;
    }
    Ok(Added::New(id))
}

/// The next counted id. A producer cannot have chosen it: whole numbers are not for choosing.
fn next_id(tx: &mut Tx<'_>, number: u32) -> Result<JobId> {
    let queue = tx.queue_mut(number);
    queue.last_id += 1;
    crate::rows::job_id(&queue.last_id.to_string())
}

#[cfg(test)]
mod tests {
    use jobcell_core::JobOptions;
    use jobcell_core::options::Deduplication;

    use super::*;

    #[test]
    fn what_is_not_deduplicated_is_refused_and_never_added_twice() {
        let deduplication = Some(Deduplication { id: "mail-7".into(), ..Deduplication::default() });
        let options = JobOptions { deduplication, ..JobOptions::default() };
        let job = NewJob { options, ..NewJob::new("send", "{}") };
        let Err(StoreError::Rejected(reason)) = Checked::new(job) else { panic!("it was taken") };
        assert!(reason.contains("\"mail-7\"") && reason.contains("use Redis"), "{reason}");
        assert!(Checked::new(NewJob::new("send", "{}")).is_ok());
    }
}
