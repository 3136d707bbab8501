//! Adding jobs.

use jobcell_core::options::ParentRef;
use jobcell_core::store::{Added, NewJob, Parent, StoreError};
use jobcell_core::{JobId, JobState, Millis, QueueName};

use crate::children;
use crate::error::{Fault, Result};
use crate::record::{Body, OnFailure, Record};
use crate::tx::Tx;

/// The greatest priority, as in BullMQ.
pub(crate) const PRIORITY_MAX: u64 = 2_097_151;

/// A job that passed the checks that need no store, ready to be written.
pub(crate) struct Checked {
    pub(crate) job: NewJob,
    /// The id that its producer chose.
    pub(crate) id: Option<JobId>,
    /// It waits for children from the start.
    waits: bool,
    /// The scheduler that makes it.
    scheduler: Option<String>,
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
        if job.options.deduplication.as_ref().is_some_and(|deduplication| deduplication.id.is_empty()) {
            return Err(StoreError::Rejected(format!(
                "job {:?}: its deduplication id is empty; give it one",
                job.name
            )));
        }
        job.check()?;
        job.parent = job.parent()?;
        // So that all there is to know of it is in its options, as in BullMQ.
        job.options.parent = job
            .parent
            .as_ref()
            .map(|Parent { queue_key, id }| ParentRef { id: id.to_string(), queue: queue_key.clone() });
        let options = serde_json::to_vec(&job.options).map_err(|e| {
            StoreError::Rejected(format!("the options of job {:?} cannot be stored: {e}", job.name))
        })?;
        Ok(Self { job, id, waits: false, scheduler: None, options })
    }

    /// A job of a scheduler, whose options say so.
    pub(crate) fn of_scheduler(job: NewJob, scheduler: &str, options: String) -> Self {
        let scheduler = Some(scheduler.to_owned());
        Self { job, id: None, waits: false, scheduler, options: options.into_bytes() }
    }

    /// A job of a tree, whose id is known, whoever chose it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of_flow(job: NewJob, id: JobId, waits: bool) -> Result<Self, StoreError> {
        Ok(Self { id: Some(id), waits, ..Self::new(job)? })
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
        match add_one(tx, number, job, now, false) {
            Ok(one) => added.push(one),
            Err(Fault::Verb(refused @ StoreError::Rejected(_))) => return Ok((added, Err(refused))),
            Err(fault) => return Err(fault),
        }
    }
    Ok((added, Ok(())))
}

/// Adds one job. `held`: see [`Tx::adopt`].
pub(crate) fn add_one(
    tx: &mut Tx<'_>,
    number: u32,
    checked: &Checked,
    now: Millis,
    held: bool,
) -> Result<Added> {
    let Checked { job, id, .. } = checked;
    if let Some(id) = id
        && tx.exists(number, id.as_str())?
    {
        if let Some(parent) = &job.parent {
            tx.adopt(number, id, parent, OnFailure::of(&job.options), now, held)?;
        }
        tx.tell(number, "duplicated", &[("jobId", id.as_str())]);
        return Ok(Added::Duplicate(id.clone()));
    }
    let id = match id {
        Some(id) => id.clone(),
        None => next_id(tx, number)?,
    };
    if let Some(rule) = &job.options.deduplication
        && let Some(owner) = tx.admit(number, &id, checked, rule, now)?
    {
        return Ok(Added::Deduplicated(owner));
    }
    store(tx, number, &id, checked, now)?;
    Ok(Added::New(id))
}

/// Writes a job under an id that is free, and puts it where it waits.
pub(crate) fn store(tx: &mut Tx<'_>, number: u32, id: &JobId, checked: &Checked, now: Millis) -> Result<()> {
    let Checked { job, options, .. } = checked;
    let timestamp = job.timestamp(now);
    let body = Body { name: job.name.as_str().into(), timestamp, options, data: &job.data }.encode()?;
    tx.change().bodies.insert((number, id.as_str()), body.as_slice())?;
    let mut record = Record::new(&job.options, job.parent.as_ref());
    record.scheduler.clone_from(&checked.scheduler);
    tx.tell(number, "added", &[("jobId", id.as_str()), ("name", &job.name)]);
    if checked.waits {
        tx.put_back(number, id.as_str(), &mut record, JobState::WaitingChildren, timestamp)?;
        tx.tell(number, "waiting-children", &[("jobId", id.as_str())]);
    } else if record.delay > 0 {
        tx.make_delayed(number, id, &mut record, timestamp.saturating_add(job.options.delay))?;
    } else {
        let front = record.lifo && record.priority == 0;
        tx.make_ready(number, id, &mut record, front, None)?;
    }
    if let Some(parent) = &job.parent {
        let child = children::key(&tx.queue_name(number), id);
        tx.attach_child(parent, &child)?;
    }
    Ok(())
}

/// The next counted id. A producer cannot have chosen it: whole numbers are not for choosing.
pub(crate) fn next_id(tx: &mut Tx<'_>, number: u32) -> Result<JobId> {
    let queue = tx.queue_mut(number);
    queue.last_id += 1;
    crate::rows::job_id(&queue.last_id.to_string())
}
