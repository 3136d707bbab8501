//! Ending attempts.

use jobcell_core::attempt::Recorded;
use jobcell_core::options::{Keep, KeepLimits};
use jobcell_core::store::{
    CANCELLED, ClaimRequest, CrashNote, Finish, FinishReply, ReceiptNote, Refusal, Verdict,
};
use jobcell_core::{JobId, JobState, Millis, QueueName};
use serde_json::value::RawValue;

use crate::children;
use crate::claim::claim_in;
use crate::error::Result;
use crate::locks::millis;
use crate::record::Record;
use crate::schema::{self, Output};
use crate::tx::Tx;

/// Old jobs that one finish removes at most, when the policy does not say.
const REMOVED_MAX: u64 = 1000;

pub(crate) fn finish(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    finishes: &[Finish],
    request: Option<&ClaimRequest>,
    now: Millis,
) -> Result<FinishReply> {
    let Some(number) = tx.find_queue(queue)? else {
        let finished = finishes.iter().map(|_| Err(Refusal::Missing)).collect();
        return Ok(FinishReply { finished, ..FinishReply::default() });
    };
    let mut reply = FinishReply::default();
    let mut ended = false;
    for finish in finishes {
        let answer = finish_one(tx, number, finish, now)?;
        let finished = match finish.verdict {
            Verdict::Complete { .. } => Some(JobState::Completed),
            Verdict::Fail { .. } => Some(JobState::Failed),
            _ => None,
        };
        if let Some(state) = finished.filter(|_| answer.is_ok()) {
            ended = true;
            tx.count_end(number, state, now)?;
        }
        reply.finished.push(answer);
    }
    if let Some(request) = request {
        reply.claim = claim_in(tx, number, request)?;
    }
    let claim = &reply.claim;
    if claim.jobs.is_empty() && tx.queue(number).holds_back() {
        // The room made here and not filled is for a worker that the queue's concurrency held back.
        tx.wake(number);
    }
    let idle = claim.jobs.is_empty() && claim.rate_limited.is_none() && claim.next_due.is_none();
    if ended && idle && tx.queue(number).is_drained() {
        tx.tell(number, "drained", &[]);
    }
    Ok(reply)
}

fn finish_one(tx: &mut Tx<'_>, number: u32, finish: &Finish, now: Millis) -> Result<Result<(), Refusal>> {
    let Finish { id, token, verdict, recorded, keep_logs, .. } = finish;
    let Some(mut record) = tx.record(number, id.as_str())? else { return Ok(Err(Refusal::Missing)) };
    if let Err(refusal) = check_children(&record, verdict) {
        return Ok(Err(refusal));
    }
    let (queue, steady) = (tx.queue_name(number), tx.steady());
    if let Err(refusal) = tx.locks().check(&queue, id, token, steady) {
        return Ok(Err(refusal));
    }
    if record.state() != JobState::Active {
        return Ok(Err(Refusal::NotActive));
    }
    let cancelled = tx.locks().is_cancelled(&queue, id);
    tx.unlock(number, id);
    tx.take(number, &record)?;
    write_recorded(tx, number, id, &mut record, recorded, *keep_logs)?;
    write_cost(tx, number, id, &mut record, finish)?;
    if cancelled && !matches!(verdict, Verdict::Complete { .. } | Verdict::Fail { .. }) {
        if let Verdict::Retry { reason, stacktrace, .. } = verdict {
            record.attempts_made += 1;
            note_failure(tx, number, id, &mut record, reason, stacktrace)?;
        }
        // Its host did not hear of it in time: it must not run again.
        record.deferred_failure = Some(CANCELLED.to_owned());
        tx.make_ready(number, id, &mut record, true, Some("active"))?;
        return Ok(Ok(()));
    }
    apply(tx, number, id, record, verdict, now)?;
    Ok(Ok(()))
}

/// Whether its children let the job end so.
fn check_children(record: &Record, verdict: &Verdict) -> Result<(), Refusal> {
    match verdict {
        Verdict::Complete { .. } if record.pending > 0 => Err(Refusal::PendingChildren),
        Verdict::Complete { .. } | Verdict::WaitForChildren if record.unsuccessful > 0 => {
            Err(Refusal::FailedChildren)
        }
        Verdict::WaitForChildren if record.pending == 0 => Err(Refusal::NothingToWaitFor),
        _ => Ok(()),
    }
}

fn write_recorded(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    record: &mut Record,
    recorded: &Recorded,
    keep_logs: Option<u64>,
) -> Result<()> {
    let Recorded { logs, progress, data } = recorded;
    if !logs.is_empty() {
        tx.append_logs(number, id.as_str(), record, logs, keep_logs)?;
    }
    if let Some(progress) = progress {
        tx.set_progress(number, id, record, progress)?;
    }
    if let Some(data) = data {
        tx.set_data(number, id, data)?;
    }
    Ok(())
}

/// Writes what the attempt cost and how it broke, where the job stays.
fn write_cost(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    record: &mut Record,
    Finish { verdict, receipt, crashes, digest, .. }: &Finish,
) -> Result<()> {
    let stays = match verdict {
        Verdict::Complete { keep, .. } | Verdict::Fail { keep, .. } => keeps(keep),
        Verdict::Retry { .. } => true,
        // Uses no attempt.
        Verdict::DelayUntil(_) | Verdict::Release | Verdict::RateLimit(_) | Verdict::WaitForChildren => false,
    };
    match crashes {
        CrashNote::Leave => {}
        CrashNote::Forget => record.crashes = None,
        CrashNote::Set(crashes) => record.crashes = Some(crashes.to_string()),
    }
    if matches!(verdict, Verdict::Retry { .. }) && digest.is_some() {
        record.digest.clone_from(digest);
    }
    let Some(ReceiptNote { json, keep }) = receipt.as_ref().filter(|_| stays) else { return Ok(()) };
    let written =
        if record.has(Output::Receipts) { tx.output(number, id.as_str(), Output::Receipts)? } else { None };
    let mut all: Vec<&RawValue> =
        written.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    // What is no JSON cannot be kept among such.
    all.extend(serde_json::from_str::<&RawValue>(json).ok());
    let keep = usize::try_from(*keep).unwrap_or(usize::MAX);
    let newest = &all[all.len().saturating_sub(keep)..];
    let bytes = serde_json::to_vec(newest).unwrap_or_default();
    tx.set_output(number, id.as_str(), record, Output::Receipts, &bytes)
}

/// Puts a job that was taken out of its place where its verdict says.
fn apply(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    mut record: Record,
    verdict: &Verdict,
    now: Millis,
) -> Result<()> {
    match verdict {
        Verdict::Complete { result, keep } => {
            record.attempts_made += 1;
            complete(tx, number, id, record, result, keep, now)
        }
        Verdict::Fail { reason, stacktrace, keep, attempts_max } => {
            record.attempts_made += 1;
            note_failure(tx, number, id, &mut record, reason, stacktrace)?;
            let made = record.attempts_made;
            fail(tx, number, id, record, reason, keep, "active", now)?;
            if made >= *attempts_max {
                let made = made.to_string();
                tx.tell(number, "retries-exhausted", &[("jobId", id.as_str()), ("attemptsMade", &made)]);
            }
            Ok(())
        }
        Verdict::Retry { reason, stacktrace, delay, lifo } => {
            record.attempts_made += 1;
            note_failure(tx, number, id, &mut record, reason, stacktrace)?;
            if delay.is_zero() {
                tx.promote_due(number, now)?;
                let front = *lifo && record.priority == 0;
                return tx.make_ready(number, id, &mut record, front, Some("active"));
            }
            record.delay = millis(*delay);
            let due = now.saturating_add(record.delay);
            tx.make_delayed(number, id, &mut record, due)
        }
        Verdict::DelayUntil(due) => {
            record.delay = due.saturating_sub(now);
            tx.make_delayed(number, id, &mut record, *due)
        }
        Verdict::Release => tx.make_ready(number, id, &mut record, true, Some("active")),
        Verdict::RateLimit(rest) => {
            let until = now.saturating_add(millis(*rest));
            let queue = tx.queue_mut(number);
            queue.rests_until = queue.rests_until.max(until);
            tx.make_ready(number, id, &mut record, true, Some("active"))
        }
        Verdict::WaitForChildren => {
            tx.put_back(number, id.as_str(), &mut record, JobState::WaitingChildren, now)?;
            tx.tell(number, "waiting-children", &[("jobId", id.as_str()), ("prev", "active")]);
            Ok(())
        }
    }
}

fn note_failure(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    record: &mut Record,
    reason: &str,
    stacktrace: &[String],
) -> Result<()> {
    record.failed_reason = Some(reason.to_owned());
    if stacktrace.is_empty() {
        return tx.drop_output(number, id.as_str(), record, Output::Stacktrace);
    }
    let traces = serde_json::to_vec(stacktrace).unwrap_or_default();
    tx.set_output(number, id.as_str(), record, Output::Stacktrace, &traces)
}

fn complete(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    mut record: Record,
    result: &[u8],
    keep: &Keep,
    now: Millis,
) -> Result<()> {
    record.digest = None;
    // Before its parent hears of it: a job that was kept back may be a child of the same parent.
    tx.owner_finished(number, id, &record, now)?;
    if let Some(parent) = record.parent.clone() {
        let child = children::key(&tx.queue_name(number), id);
        tx.child_completed(&parent, &child, result, now)?;
    }
    if keeps(keep) {
        tx.set_output(number, id.as_str(), &mut record, Output::Result, result)?;
    }
    end(tx, number, id, record, JobState::Completed, keep, now)?;
    let result = String::from_utf8_lossy(result);
    tx.tell(number, "completed", &[("jobId", id.as_str()), ("returnvalue", &result), ("prev", "active")]);
    Ok(())
}

/// Fails a job that was taken out of its place, where `prev` is.
#[expect(clippy::too_many_arguments, reason = "the parts of one verdict, taken apart once")]
pub(crate) fn fail(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    mut record: Record,
    reason: &str,
    keep: &Keep,
    prev: &str,
    now: Millis,
) -> Result<()> {
    tx.owner_finished(number, id, &record, now)?;
    if let Some(parent) = record.parent.clone() {
        let child = children::key(&tx.queue_name(number), id);
        tx.child_failed(&parent, &child, record.on_failure, reason, now)?;
    }
    record.deferred_failure = None;
    record.crashes = None;
    record.digest = None;
    record.failed_reason = Some(reason.to_owned());
    end(tx, number, id, record, JobState::Failed, keep, now)?;
    tx.tell(number, "failed", &[("jobId", id.as_str()), ("failedReason", reason), ("prev", prev)]);
    Ok(())
}

fn keeps(keep: &Keep) -> bool {
    match keep {
        Keep::All => true,
        Keep::None | Keep::UpTo(KeepLimits { count: Some(0), .. }) => false,
        Keep::UpTo(_) => true,
    }
}

/// Keeps the finished job as the policy says, and removes the ones that it does not keep any more.
fn end(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    mut record: Record,
    state: JobState,
    keep: &Keep,
    now: Millis,
) -> Result<()> {
    if !keeps(keep) {
        tx.detach_child(number, id, &record)?;
        return tx.erase(number, id, &record);
    }
    record.finished_on = Some(now);
    tx.put_back(number, id.as_str(), &mut record, state, now)?;
    let Keep::UpTo(KeepLimits { count, age, limit }) = keep else { return Ok(()) };
    let limit = usize::try_from(limit.unwrap_or(REMOVED_MAX)).unwrap_or(usize::MAX);
    if let Some(age) = age {
        let oldest = now.saturating_sub(age.saturating_mul(1000));
        let old = tx.ids(schema::up_to(number, state, oldest), limit)?;
        tx.remove_finished(number, old)?;
    }
    if let Some(count) = count {
        let over = tx.queue(number).count(state).saturating_sub(*count);
        let over = usize::try_from(over).unwrap_or(usize::MAX);
        let old = tx.ids(schema::all(number, state), over)?;
        tx.remove_finished(number, old)?;
    }
    Ok(())
}

impl Tx<'_> {
    fn remove_finished(&mut self, number: u32, ids: Vec<JobId>) -> Result<()> {
        for id in ids {
            let record = self.need(number, &id)?;
            self.take(number, &record)?;
            self.detach_child(number, &id, &record)?;
            self.erase(number, &id, &record)?;
        }
        Ok(())
    }
}
