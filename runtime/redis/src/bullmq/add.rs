//! Adding jobs.

use jobcell_core::store::{Added, NewJob, Parent};
use jobcell_core::{JobId, Millis, QueueName, StoreError};
use redis::Value;
use serde::Serialize;

use super::BullStore;
use crate::keys::{self, QueueKeys};
use crate::link::slots;
use crate::reply;
use crate::script::{self, Call};

/// The greatest priority: the score of a prioritized job has 21 bits for it.
pub(super) const PRIORITY_MAX: u64 = 2_097_151;
/// Jobs one script adds, and payload bytes after which it takes no more: it holds Redis for about 10 µs a job.
const JOBS_A_CALL_MAX: usize = 200;
const BYTES_A_CALL: usize = 1024 * 1024;
/// The latest due time whose score is still exact, in the year 2039.
pub(super) const DUE_MAX: Millis = (1 << 53) / 4096 - 2;

/// A parent as the child's `parent` field names it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParentField<'a> {
    id: &'a str,
    queue_key: &'a str,
    #[serde(flatten)]
    policy: Policy,
}

/// What happens to the parent when the child fails for good.
#[derive(Serialize)]
struct Policy {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fpof: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cpof: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    idof: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rdof: bool,
}

impl BullStore {
    pub(super) async fn add_jobs(
        &self,
        queue: &QueueName,
        jobs: Vec<NewJob>,
        now: Millis,
    ) -> Result<Vec<Added>, StoreError> {
        let keys = self.keys(queue);
        let mut added = Vec::with_capacity(jobs.len());
        let mut rest = &jobs[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(part_len(rest));
            // A job that must not be stored keeps back those after it, not those before.
            let checked = |job| check(job, now).and_then(|()| self.check_slot(queue, job));
            let fault = part.iter().enumerate().find_map(|(i, job)| checked(job).err().map(|e| (i, e)));
            let good = fault.as_ref().map_or(part, |(i, _)| &part[..*i]);
            if !good.is_empty() {
                self.add_part(&keys, good, now, &mut added).await?;
            }
            if let Some((_, e)) = fault {
                return Err(e);
            }
            rest = after;
        }
        Ok(added)
    }

    /// On a cluster, a job and its parent are changed by one script, which reaches one slot.
    pub(super) fn check_slot(&self, queue: &QueueName, job: &NewJob) -> Result<(), StoreError> {
        let Some(Parent { queue_key, .. }) = job.parent()? else { return Ok(()) };
        let (own, parents) = (self.keys(queue).meta(), format!("{queue_key}:meta"));
        let is_apart = slots::slot_of(own.as_bytes()) != slots::slot_of(parents.as_bytes());
        if !is_apart || !self.redis.options().is_cluster() {
            return Ok(());
        }
        Err(StoreError::Rejected(format!(
            "job {:?}: its queue {:?} and that of its parent, {queue_key:?}, are in different slots of the Redis \
             Cluster, where nothing can change both at once; put the key prefix in braces (prefix = \"{{bull}}\"), or \
             the same part of both names",
            job.name,
            queue.as_str()
        )))
    }

    async fn add_part(
        &self,
        keys: &QueueKeys,
        jobs: &[NewJob],
        now: Millis,
        added: &mut Vec<Added>,
    ) -> Result<(), StoreError> {
        let mut call = script::ADD.call(&keys.meta());
        call.arg(now).arg(jobs.len());
        for job in jobs {
            let id = job.options.job_id.as_deref().unwrap_or_default();
            encode(&mut call, job, Parts { id, parent: job.parent()?, waits: false }, now)?;
        }
        let mut reply = reply::array(self.run(&call, keys, &[]).await?)?.into_iter();
        for job in jobs {
            let (Some(code), Some(id)) = (reply.next(), reply.next()) else {
                return Err(StoreError::Corrupt("the add script answered for too few jobs".to_owned()));
            };
            added.push(became(reply::int(&code)?, id, job)?);
        }
        Ok(())
    }
}

/// What became of a job, by the code and the id that a script answered with.
pub(super) fn became(code: i64, id: Value, job: &NewJob) -> Result<Added, StoreError> {
    let id = reply::text(id)?.unwrap_or_default();
    let id = JobId::new(&id).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    match code {
        0 => Ok(Added::New(id)),
        1 => Ok(Added::Duplicate(id)),
        2 => Ok(Added::Deduplicated(id)),
        code => Err(refused(code, job)),
    }
}

/// Why a script did not add a job.
pub(super) fn refused(code: i64, job: &NewJob) -> StoreError {
    let NewJob { name, options, .. } = job;
    let id = options.job_id.as_deref().unwrap_or_default();
    let parent = match job.parent() {
        Ok(Some(Parent { queue_key, id })) => format!("{queue_key}:{id}"),
        _ => String::new(),
    };
    StoreError::Rejected(match code {
        -5 => format!("job {name:?}: its parent {parent:?} does not exist; add the parent first"),
        -7 => format!(
            "job {name:?}: a job {id:?} exists and has another parent, which is still there; use another id"
        ),
        -12 => format!(
            "job {name:?}: a job {id:?} exists and is above its new parent {parent:?}: each would wait for the other; \
             use another id"
        ),
        other => format!("job {name:?} was refused with code {other}"),
    })
}

/// How many jobs go into the next call, at least one.
fn part_len(jobs: &[NewJob]) -> usize {
    let mut bytes = 0;
    let small = jobs.iter().take(JOBS_A_CALL_MAX).take_while(|job| {
        let fits = bytes < BYTES_A_CALL;
        bytes += job.data.len();
        fits
    });
    small.count().max(1)
}

pub(super) fn check(job: &NewJob, now: Millis) -> Result<(), StoreError> {
    let NewJob { name, options, .. } = job;
    job.check()?;
    job.parent()?;
    if options.priority > PRIORITY_MAX {
        return Err(StoreError::Rejected(format!(
            "job {name:?}: priority {} is over {PRIORITY_MAX}; 1 is the highest priority, 0 is none",
            options.priority
        )));
    }
    if job.timestamp(now).saturating_add(options.delay) > DUE_MAX {
        return Err(StoreError::Rejected(format!(
            "job {name:?}: a delay of {} ms ends after 2039, which this layout cannot hold; make it shorter",
            options.delay
        )));
    }
    if let Some(id) = &options.job_id {
        JobId::custom(id).map_err(|e| StoreError::Rejected(e.to_string()))?;
        if keys::is_reserved(id) {
            return Err(StoreError::Rejected(format!(
                "job {name:?}: its id {id:?} is the name of one of the queue's own keys; choose another"
            )));
        }
    }
    if let Some(deduplication) = &options.deduplication
        && deduplication.id.is_empty()
    {
        return Err(StoreError::Rejected(format!(
            "job {name:?}: its deduplication id is empty; give it one"
        )));
    }
    Ok(())
}

/// What of a job's arguments depends on where it is added.
pub(super) struct Parts<'a> {
    /// Empty when the script is to count one.
    pub(super) id: &'a str,
    pub(super) parent: Option<Parent>,
    /// It waits for children from the start.
    pub(super) waits: bool,
}

/// One job's arguments, as `given.lua` lists them.
pub(super) fn encode(
    call: &mut Call<'_>,
    job: &NewJob,
    parts: Parts<'_>,
    now: Millis,
) -> Result<(), StoreError> {
    let NewJob { name, data, options, parent: _ } = job;
    let Parts { id, parent, waits } = parts;
    let mut flags = String::new();
    for (set, flag) in
        [(options.lifo, 'l'), (parent.is_some(), 'p'), (options.deduplication.is_some(), 'd'), (waits, 'c')]
    {
        if set {
            flags.push(flag);
        }
    }
    let mut stored = options.clone();
    stored.parent = parent
        .as_ref()
        .map(|p| jobcell_core::options::ParentRef { id: p.id.to_string(), queue: p.queue_key.clone() });
    let opts = json(&stored)?;
    call.arg(flags)
        .arg(id)
        .arg(name)
        .arg(&data[..])
        .arg(opts)
        .arg(job.timestamp(now))
        .arg(options.delay)
        .arg(options.priority);
    if let Some(Parent { queue_key, id }) = &parent {
        let policy = Policy {
            fpof: options.fail_parent_on_failure,
            cpof: options.continue_parent_on_failure,
            idof: options.ignore_dependency_on_failure,
            rdof: options.remove_dependency_on_failure,
        };
        call.arg(format!("{queue_key}:{id}")).arg(json(&ParentField { id: id.as_str(), queue_key, policy })?);
    }
    if let Some(d) = &options.deduplication {
        let modes: String =
            [(d.extend, 'e'), (d.replace, 'r'), (d.keep_last_if_active, 'k'), (d.reschedule, 's')]
                .into_iter()
                .filter_map(|(set, mode)| set.then_some(mode))
                .collect();
        call.arg(&d.id)
            .arg(d.ttl.filter(|ttl| *ttl > 0).map(|ttl| ttl.to_string()).unwrap_or_default())
            .arg(modes);
    }
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::Rejected(format!("the options cannot be stored: {e}")))
}
