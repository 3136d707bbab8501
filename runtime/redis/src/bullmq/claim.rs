//! Taking jobs, holding their locks, getting back those of vanished workers.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::store::{Claim, ClaimRequest, Claimed, Malformed, Recovered, StallPolicy, Token};
use jobcell_core::{Job, JobId, Millis, QueueName, StoreError};
use redis::Value;

use super::{BullStore, record};
use crate::keys::QueueKeys;
use crate::reply;
use crate::script::{self, Call};

/// Jobs one call takes: it holds Redis for about 10 µs a job.
const JOBS_A_CALL_MAX: usize = 1000;
/// Locks one call renews.
const LOCKS_A_CALL_MAX: usize = 2000;

/// The arguments of the claim, as `finish.lua` lists them.
pub(super) fn encode(call: &mut Call<'_>, request: Option<&ClaimRequest>) {
    let Some(ClaimRequest { max, token_prefix, token_first, lock, worker_name, rate, now: _ }) = request
    else {
        call.arg(0).arg("").arg(0).arg(0).arg("").arg("").arg("");
        return;
    };
    call.arg(*max.min(&JOBS_A_CALL_MAX))
        .arg(&**token_prefix)
        .arg(*token_first)
        .arg(ms(*lock))
        .arg(worker_name.as_deref().unwrap_or_default());
    match rate {
        Some(rate) => call.arg(rate.max).arg(ms(rate.per)),
        None => call.arg("").arg(""),
    };
}

/// A claimed job that a scheduler made.
pub(super) struct Iterated {
    /// Which of the claim's tokens it has.
    pub(super) nth: usize,
    /// As far as it can be read.
    pub(super) job: Arc<Job>,
}

/// What the script's last parts say, and which of the jobs were made by schedulers.
pub(super) fn decode(
    keys: &QueueKeys,
    request: Option<&ClaimRequest>,
    [jobs, rest, due, dropped, misfits]: [Value; 5],
) -> Result<(Claim, Vec<Iterated>), StoreError> {
    for (id, why) in reply::pairs(dropped)? {
        let key = keys.of(&id);
        if why.is_empty() {
            tracing::warn!(key, "a waiting id without a job was taken off the queue");
        } else {
            tracing::error!(key, cause = why, "a waiting id was taken off the queue: its key holds no job");
        }
    }
    for (id, why) in reply::pairs(misfits)? {
        tracing::error!(key = keys.of(&id), cause = why, "a job that nobody can run was failed");
    }
    let mut claim = Claim {
        jobs: Vec::new(),
        rate_limited: Some(reply::count(&rest)?).filter(|ms| *ms > 0).map(Duration::from_millis),
        next_due: Some(reply::count(&due)?).filter(|ms| *ms > 0),
    };
    let mut iterated = Vec::new();
    let Some(request) = request else { return Ok((claim, iterated)) };
    let jobs = reply::array(jobs)?;
    claim.jobs.reserve_exact(jobs.len() / 2);
    let mut jobs = jobs.into_iter();
    let mut n = 0;
    while let (Some(id), Some(hash)) = (jobs.next(), jobs.next()) {
        let token = request.token(n);
        let id = reply::text(id)?.unwrap_or_default();
        match JobId::new(&id) {
            Ok(id) => {
                let (job, fault) = claimed(id.clone(), reply::array(hash)?, request);
                if job.scheduler.is_some() {
                    iterated.push(Iterated { nth: n, job: Arc::clone(&job) });
                }
                claim.jobs.push(Claimed { id, token, job: fault.map_or(Ok(job), Err) });
            }
            // The script has failed those already.
            Err(e) => tracing::error!(key = keys.of("active"), cause = %e, "a job's id cannot be used"),
        }
        n += 1;
    }
    Ok((claim, iterated))
}

fn claimed(id: JobId, hash: Vec<Value>, request: &ClaimRequest) -> (Arc<Job>, Option<Malformed>) {
    let (job, fault) = record::parse(id.clone(), hash);
    // The script has made sure that there is a name.
    let mut job = job.unwrap_or_else(|| Job::new(id, "", "{}"));
    // The reply is from just before the start.
    job.attempts_started += 1;
    job.processed_on = Some(request.now);
    if let Some(name) = &request.worker_name {
        job.processed_by = Some(name.to_string());
    }
    (Arc::new(job), fault)
}

/// Whole milliseconds, at least one: Redis refuses an expiry of none.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 52)
}

impl BullStore {
    pub(super) async fn renew_locks(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        let keys = self.keys(queue);
        let mut lost = Vec::new();
        for part in locks.chunks(LOCKS_A_CALL_MAX) {
            let mut call = script::RENEW.call(&keys.meta());
            call.arg(ms(lock)).arg(part.len());
            for (id, _) in part {
                call.arg(id.as_str());
            }
            for (_, token) in part {
                call.arg(token.as_str());
            }
            let ids: Vec<&JobId> = part.iter().map(|(id, _)| id).collect();
            let gone = reply::texts(self.run(&call, &keys, &ids).await?)?;
            lost.extend(
                part.iter().map(|(id, _)| id).filter(|id| gone.iter().any(|g| g == id.as_str())).cloned(),
            );
        }
        Ok(lost)
    }

    pub(super) async fn recover(
        &self,
        queue: &QueueName,
        policy: StallPolicy,
        now: Millis,
    ) -> Result<Recovered, StoreError> {
        self.give_back_unanswered(queue).await;
        let keys = self.keys(queue);
        let mut call = script::STALLED.call(&keys.meta());
        call.arg(now).arg(ms(policy.interval)).arg(policy.max);
        let ids = reply::texts(self.run(&call, &keys, &[]).await?)?;
        // They are back in any case; one that no port can name takes no others along.
        Ok(Recovered { jobs: ids.iter().filter_map(|id| JobId::new(id).ok()).collect() })
    }
}
