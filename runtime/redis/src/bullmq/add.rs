//! Adding jobs.

use jobcell_core::store::{Added, NewJob, Parent};
use jobcell_core::{JobId, Millis, QueueName, StoreError};
use serde::Serialize;

use super::BullStore;
use crate::keys::QueueKeys;
use crate::reply;
use crate::script::{self, Call};

/// The greatest priority: the score of a prioritized job has 21 bits for it.
const PRIORITY_MAX: u64 = 2_097_151;
/// Jobs one script adds, and payload bytes after which it takes no more: it holds Redis for about 10 µs a job.
const JOBS_A_CALL_MAX: usize = 200;
const BYTES_A_CALL: usize = 1024 * 1024;
/// The latest due time whose score is still exact, in the year 2039.
const DUE_MAX: Millis = (1 << 53) / 4096 - 2;

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
            let fault = part.iter().enumerate().find_map(|(i, job)| check(job, now).err().map(|e| (i, e)));
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
            encode(&mut call, job, now)?;
        }
        let mut reply = reply::array(self.run(&call, keys, &[]).await?)?.into_iter();
        for job in jobs {
            let (Some(code), Some(id)) = (reply.next(), reply.next()) else {
                return Err(StoreError::Corrupt("the add script answered for too few jobs".to_owned()));
            };
            let id = reply::text(id)?.unwrap_or_default();
            let id = JobId::new(&id).map_err(|e| StoreError::Corrupt(e.to_string()))?;
            added.push(match reply::int(&code)? {
                0 => Added::New(id),
                1 => Added::Duplicate(id),
                2 => Added::Deduplicated(id),
                -7 => return Err(StoreError::Rejected(format!(
                    "job {id:?} exists and has another parent, which is still there; use another id"
                ))),
                _ => return Err(StoreError::Rejected(match &job.parent {
                    Some(Parent { queue_key, id }) => {
                        format!("job {:?}: its parent \"{queue_key}:{id}\" does not exist; add the parent first", job.name)
                    }
                    None => format!("job {:?} was refused", job.name),
                })),
            });
        }
        Ok(())
    }
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

fn check(job: &NewJob, now: Millis) -> Result<(), StoreError> {
    let NewJob { name, options, .. } = job;
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

/// One job's arguments, as `add.lua` lists them.
fn encode(call: &mut Call<'_>, job: &NewJob, now: Millis) -> Result<(), StoreError> {
    let NewJob { name, data, options, parent } = job;
    let mut flags = String::new();
    for (set, flag) in [(options.lifo, 'l'), (parent.is_some(), 'p'), (options.deduplication.is_some(), 'd')]
    {
        if set {
            flags.push(flag);
        }
    }
    let mut stored = options.clone();
    stored.parent = parent
        .as_ref()
        .map(|p| jobcell_core::options::ParentRef { id: p.id.to_string(), queue: p.queue_key.clone() })
        .or(stored.parent);
    let opts = json(&stored)?;
    call.arg(flags)
        .arg(options.job_id.as_deref().unwrap_or_default())
        .arg(name)
        .arg(&data[..])
        .arg(opts)
        .arg(job.timestamp(now))
        .arg(options.delay)
        .arg(options.priority);
    if let Some(Parent { queue_key, id }) = parent {
        let policy = Policy {
            fpof: options.fail_parent_on_failure,
            cpof: options.continue_parent_on_failure,
            idof: options.ignore_dependency_on_failure,
            rdof: options.remove_dependency_on_failure,
        };
        call.arg(format!("{queue_key}:{id}")).arg(json(&ParentField { id: id.as_str(), queue_key, policy })?);
    }
    if let Some(d) = &options.deduplication {
        let modes: String = [(d.extend, 'e'), (d.replace, 'r'), (d.keep_last_if_active, 'k')]
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
