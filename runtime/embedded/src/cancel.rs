//! Ending jobs from outside. What runs is asked to end through its lock, see [`crate::locks`].

use jobcell_core::store::{CANCELLED, Cancelled, StoreError};
use jobcell_core::{JobId, JobOptions, JobState, Keep, Millis, QueueName};
use redb::ReadableTable;

use crate::error::Result;
use crate::finish::fail;
use crate::record::Body;
use crate::store::EmbeddedStore;
use crate::tx::Tx;

/// How often a job is looked at again whose attempt ended meanwhile.
const LOOKS_MAX: usize = 5;

// === impl EmbeddedStore ===

impl EmbeddedStore {
    pub(crate) async fn cancel_job(
        &self,
        queue: &QueueName,
        id: &JobId,
        now: Millis,
    ) -> Result<Cancelled, StoreError> {
        for _ in 0..LOOKS_MAX {
            let (of, job) = (queue.clone(), id.clone());
            if let Some(done) = self.write(move |tx| cancel(tx, &of, &job, now)).await? {
                return Ok(done);
            }
            let shared = self.shared();
            if shared.locks.cancel(queue, id, shared.clocks.steady.now()) {
                return Ok(Cancelled::Asked);
            }
        }
        Err(StoreError::Unavailable(format!("job {id:?} moves all the time; try again")))
    }
}

/// Ends a job that waits. None when it runs under a lock.
fn cancel(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId, now: Millis) -> Result<Option<Cancelled>> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(Some(Cancelled::NotFound)) };
    let Some(mut record) = tx.record(number, id.as_str())? else { return Ok(Some(Cancelled::NotFound)) };
    let state = record.state();
    if state.is_finished() {
        return Ok(Some(Cancelled::Finished(state)));
    }
    if state == JobState::Active {
        let steady = tx.steady();
        if tx.locks().is_locked(queue, id, steady) {
            return Ok(None);
        }
        // Whoever had it cannot end it any more; it is about to be recovered.
        record.deferred_failure = Some(CANCELLED.to_owned());
        tx.save(number, id.as_str(), &record)?;
        return Ok(Some(Cancelled::Asked));
    }
    if tx.is_scheduled(number, id, &record)? {
        return Ok(Some(Cancelled::Scheduled));
    }
    let keep = keep_failed(tx, number, id)?;
    tx.take(number, &record)?;
    fail(tx, number, id, record, CANCELLED, &keep, state.as_str(), now)?;
    Ok(Some(Cancelled::Ended(state)))
}

/// Which failed jobs stay, as the job says.
fn keep_failed(tx: &Tx<'_>, number: u32, id: &JobId) -> Result<Keep> {
    let Some(body) = tx.tables().bodies.get((number, id.as_str()))? else { return Ok(Keep::All) };
    // Options that cannot be read ask for nothing.
    let options: JobOptions = serde_json::from_slice(Body::decode(body.value())?.options).unwrap_or_default();
    Ok(options.remove_on_fail.unwrap_or(Keep::All))
}
