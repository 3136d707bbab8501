//! Taking jobs, and taking them back from workers that vanished.

use std::sync::Arc;

use jobcell_core::decide::STALLED_TOO_OFTEN;
use jobcell_core::store::{CANCELLED, Claim, ClaimRequest, Claimed, Recovered, StallPolicy, Token};
use jobcell_core::{JobId, JobState, QueueName};

use crate::error::Result;
use crate::locks::millis;
use crate::read::read_job;
use crate::record::Record;
use crate::schedulers;
use crate::schema;
use crate::tx::Tx;

pub(crate) fn claim(tx: &mut Tx<'_>, queue: &QueueName, request: &ClaimRequest) -> Result<Claim> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(Claim::default()) };
    claim_in(tx, number, request)
}

pub(crate) fn claim_in(tx: &mut Tx<'_>, number: u32, request: &ClaimRequest) -> Result<Claim> {
    let now = request.now;
    tx.promote_due(number, now)?;
    let rate = tx.queue(number).rate(request.rate);
    let mut claim = Claim { rate_limited: tx.queue(number).rest(rate, now), ..Claim::default() };
    let room = tx.queue(number).room();
    if claim.rate_limited.is_some() || tx.queue(number).paused || room == 0 {
        return Ok(claim);
    }
    let max = request.max.min(room);
    while claim.jobs.len() < max {
        let Some(id) = first_ready(tx, number)? else { break };
        let (claimed, counts) = start(tx, number, &id, request, claim.jobs.len())?;
        claim.jobs.push(claimed);
        if counts && let Some(rate) = rate {
            tx.queue_mut(number).count_start(rate, now);
            claim.rate_limited = tx.queue(number).rest(Some(rate), now);
            if claim.rate_limited.is_some() {
                break;
            }
        }
    }
    if claim.jobs.len() < request.max {
        claim.next_due = tx.next_due(number)?;
    }
    Ok(claim)
}

fn first_ready(tx: &Tx<'_>, number: u32) -> Result<Option<JobId>> {
    for state in [JobState::Waiting, JobState::Prioritized] {
        // The counts spare the search in a state that has none, which is most of the time one of the two.
        if tx.queue(number).count(state) > 0
            && let Some(id) = tx.ids(schema::all(number, state), 1)?.pop()
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Makes a ready job active. Also tells whether it counts against a rate limit: one that only waits to be failed does
/// not.
fn start(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    request: &ClaimRequest,
    nth: usize,
) -> Result<(Claimed, bool)> {
    let mut record = tx.need(number, id)?;
    tx.take(number, &record)?;
    record.attempts_started += 1;
    record.processed_on = Some(request.now);
    if let Some(name) = &request.worker_name {
        record.processed_by = Some(name.as_ref().to_owned());
    }
    tx.put_back(number, id.as_str(), &mut record, JobState::Active, 0)?;
    let token: Token = request.token(nth);
    let until = tx.steady().saturating_add(millis(request.lock));
    tx.lock(number, id, token.clone(), until);
    tx.tell(number, "active", &[("jobId", id.as_str()), ("prev", "waiting")]);
    if record.scheduler.is_some() {
        schedulers::iterate(tx, number, id, &mut record, request.now)?;
    }
    let tables = tx.tables();
    let job = read_job(&tables.bodies, &tables.outputs, number, id, &record)?.map(Arc::new);
    Ok((Claimed { id: id.clone(), token, job }, record.deferred_failure.is_none()))
}

// --- stalls ---

pub(crate) fn recover_stalled(tx: &mut Tx<'_>, queue: &QueueName, policy: StallPolicy) -> Result<Recovered> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(Recovered::default()) };
    let now = tx.steady();
    let stalls = tx.locks().stalls(queue);
    let mut suspects: Vec<JobId> = stalls.orphans.drain().collect();
    let round = stalls.rests_until <= now;
    if round {
        stalls.rests_until = now.saturating_add(millis(policy.interval));
        suspects.extend(stalls.seen.drain());
    }
    suspects.sort();
    suspects.dedup();
    let mut recovered = Recovered::default();
    for id in suspects {
        if !tx.locks().is_locked(queue, &id, now) && recover(tx, number, &id, policy.max)? {
            recovered.jobs.push(id);
        }
    }
    if round {
        let active = tx.ids(schema::all(number, JobState::Active), usize::MAX)?;
        tx.locks().stalls(queue).seen = active.into_iter().collect();
    }
    Ok(recovered)
}

/// Takes an active job without a lock back; false when it is not active any more.
fn recover(tx: &mut Tx<'_>, number: u32, id: &JobId, max: u64) -> Result<bool> {
    let Some(mut record) = tx.record(number, id.as_str())?.filter(is_active) else { return Ok(false) };
    let queue = tx.queue_name(number);
    let cancelled = tx.locks().is_cancelled(&queue, id);
    tx.take(number, &record)?;
    tx.unlock(number, id);
    record.stalled_count += 1;
    if record.stalled_count > max && !tx.has_scheduler(number, &record)? {
        record.deferred_failure = Some(STALLED_TOO_OFTEN.to_owned());
    }
    if cancelled {
        record.deferred_failure = Some(CANCELLED.to_owned());
    }
    tx.make_first(number, id, &mut record, "active")?;
    tx.tell(number, "stalled", &[("jobId", id.as_str())]);
    Ok(true)
}

fn is_active(record: &Record) -> bool {
    record.state() == JobState::Active
}
