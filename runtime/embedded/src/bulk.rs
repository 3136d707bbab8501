//! Changing many jobs at once, part by part: between two parts everybody else has a turn.

use std::ops::Bound;

use jobcell_core::store::{Obliterated, StoreError};
use jobcell_core::{JobId, JobState, Millis, QueueName};
use redb::ReadableTable;

use crate::admin::remove_whole;
use crate::error::Result;
use crate::record::{Body, Record};
use crate::rows::job_id;
use crate::schema::{self, Output, code};
use crate::store::EmbeddedStore;
use crate::tx::Tx;

/// Jobs one transaction changes or looks at.
const JOBS_A_CALL: u64 = 500;
/// Rows of other kinds that one transaction removes.
const ROWS_A_CALL: usize = 5000;

/// A place among the jobs in one state; the next part begins behind it.
type Cursor = Option<(u64, u64)>;

/// What is to be removed of the jobs in one state.
#[derive(Clone, Copy)]
struct Cleaning {
    state: JobState,
    before: Millis,
}

/// What one part of a cleaning did.
struct Cleaned {
    gone: Vec<JobId>,
    cursor: Cursor,
    is_last: bool,
}

// === impl EmbeddedStore ===

impl EmbeddedStore {
    /// Puts jobs of a state among the waiting ones.
    pub(crate) async fn make_all_wait(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let of = queue.clone();
        // Those that come meanwhile (a retried job may fail again at once) are not asked for.
        let there = self.read(move |view| view.counts(&of)).await?.get(state);
        let limit = limit.min(there);
        let mut moved = 0;
        while moved < limit {
            let (queue, part) = (queue.clone(), JOBS_A_CALL.min(limit - moved));
            let now = self.write(move |tx| make_wait(tx, &queue, state, before, part)).await?;
            if now == 0 {
                break;
            }
            moved += now;
        }
        Ok(moved)
    }

    pub(crate) async fn clean_jobs(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<Vec<JobId>, StoreError> {
        if state == JobState::WaitingChildren {
            return Err(StoreError::Rejected(
                "jobs that wait for their children cannot be cleaned by age; remove them one by one"
                    .to_owned(),
            ));
        }
        let cleaning = Cleaning { state, before };
        let (mut gone, mut cursor) = (Vec::new(), None);
        while (gone.len() as u64) < limit {
            let (of, part) = (queue.clone(), JOBS_A_CALL.min(limit - gone.len() as u64));
            let cleaned = self.write(move |tx| clean(tx, &of, cleaning, cursor, part)).await?;
            gone.extend(cleaned.gone);
            cursor = cleaned.cursor;
            if cleaned.is_last {
                break;
            }
        }
        let (of, count) = (queue.clone(), gone.len().to_string());
        let tell = move |tx: &mut Tx<'_>| {
            if let Some(number) = tx.find_queue(&of)? {
                tx.tell(number, "cleaned", &[("count", &count)]);
            }
            Ok(())
        };
        self.write(tell).await?;
        Ok(gone)
    }

    pub(crate) async fn obliterate_queue(
        &self,
        queue: &QueueName,
        force: bool,
    ) -> Result<Obliterated, StoreError> {
        loop {
            let of = queue.clone();
            if let Some(end) = self.write(move |tx| obliterate(tx, &of, force)).await? {
                return Ok(end);
            }
        }
    }
}

fn make_wait(tx: &mut Tx<'_>, queue: &QueueName, state: JobState, before: Millis, limit: u64) -> Result<u64> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(0) };
    let ids = tx.ids(schema::up_to(number, state, before), usize::try_from(limit).unwrap_or(usize::MAX))?;
    for id in &ids {
        let mut record = tx.need(number, id)?;
        tx.take(number, &record)?;
        if state == JobState::Delayed {
            record.delay = 0;
        } else {
            tx.unfinish(number, id, &mut record)?;
            tx.reattach_child(number, id, &record)?;
        }
        tx.make_plain(number, id, &mut record, state.as_str())?;
    }
    Ok(ids.len() as u64)
}

fn clean(
    tx: &mut Tx<'_>,
    queue: &QueueName,
    cleaning: Cleaning,
    cursor: Cursor,
    limit: u64,
) -> Result<Cleaned> {
    let none = Cleaned { gone: Vec::new(), cursor, is_last: true };
    let Some(number) = tx.find_queue(queue)? else { return Ok(none) };
    let looked = places_after(tx, number, cleaning, cursor, limit)?;
    let mut cleaned = Cleaned { is_last: (looked.len() as u64) < limit, ..none };
    for (place, id) in looked {
        cleaned.cursor = Some(place);
        // A parent may have gone together with its last child.
        let Some(record) = tx.record(number, id.as_str())? else { continue };
        if !stays(tx, number, &id, &record, cleaning)? {
            remove_whole(tx, number, &id, &record)?;
            cleaned.gone.push(id);
        }
    }
    Ok(cleaned)
}

/// The next places of a state, in order; of finished jobs only those that are old enough.
fn places_after(
    tx: &Tx<'_>,
    number: u32,
    Cleaning { state, before }: Cleaning,
    cursor: Cursor,
    limit: u64,
) -> Result<Vec<((u64, u64), JobId)>> {
    let key = |(a, b)| (number, code(state), a, b);
    let start = cursor.map_or(Bound::Included(key((0, 0))), |place| Bound::Excluded(key(place)));
    let last = if state.is_finished() { before } else { u64::MAX };
    let mut found = Vec::new();
    for entry in tx.tables().places.range((start, Bound::Included(key((last, u64::MAX)))))? {
        if found.len() as u64 == limit {
            break;
        }
        let (place, id) = entry?;
        let (_, _, a, b) = place.value();
        found.push(((a, b), job_id(id.value())?));
    }
    Ok(found)
}

fn stays(
    tx: &mut Tx<'_>,
    number: u32,
    id: &JobId,
    record: &Record,
    Cleaning { state, before }: Cleaning,
) -> Result<bool> {
    if state.is_finished() {
        return Ok(false);
    }
    if state == JobState::Active {
        let (queue, now) = (tx.queue_name(number), tx.steady());
        if tx.locks().is_locked(&queue, id, now) {
            return Ok(true);
        }
    }
    let made = match record.finished_on.or(record.processed_on) {
        Some(at) => at,
        None => match tx.tables().bodies.get((number, id.as_str()))? {
            Some(body) => Body::decode(body.value())?.timestamp,
            None => 0,
        },
    };
    Ok(made > before || tx.is_scheduled(number, id, record)?)
}

/// One part; none when there is more to do.
fn obliterate(tx: &mut Tx<'_>, queue: &QueueName, force: bool) -> Result<Option<Obliterated>> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(Some(Obliterated::NotPaused)) };
    if !tx.queue(number).paused {
        return Ok(Some(Obliterated::NotPaused));
    }
    if !force && tx.queue(number).count(JobState::Active) > 0 {
        return Ok(Some(Obliterated::Active));
    }
    let mut left = usize::try_from(JOBS_A_CALL).unwrap_or(usize::MAX);
    for state in JobState::ALL {
        for id in tx.ids(schema::all(number, state), left)? {
            left -= 1;
            // A parent may have gone together with its last child.
            let Some(record) = tx.record(number, id.as_str())? else { continue };
            remove_whole(tx, number, &id, &record)?;
        }
        if left == 0 {
            return Ok(None);
        }
    }
    if !remove_rows(tx, number)? {
        return Ok(None);
    }
    tx.drop_queue(number)?;
    Ok(Some(Obliterated::Yes))
}

/// Removes what a queue without jobs still has. False when there may be more.
fn remove_rows(tx: &mut Tx<'_>, number: u32) -> Result<bool> {
    let next = number + 1;
    let tables = tx.change();
    let mut left = ROWS_A_CALL;
    let mut goes = || {
        left = left.saturating_sub(1);
        left > 0
    };
    // What a predicate says true of stays: from the first that is one too many on.
    tables.owners.retain_in((number, "")..(next, ""), |_, _| !goes())?;
    tables.owners_due.retain_in((number, 0, "")..(next, 0, ""), |_, _| !goes())?;
    tables.nexts.retain_in((number, "")..(next, ""), |_, _| !goes())?;
    tables.schedulers.retain_in((number, "")..(next, ""), |_, _| !goes())?;
    tables.series.retain_in((number, 0, 0)..(next, 0, 0), |_, _| !goes())?;
    tables.events.retain_in((number, 0)..(next, 0), |_, _| !goes())?;
    Ok(left > 0)
}

impl Tx<'_> {
    /// Forgets a job's end; the caller puts it somewhere else.
    pub(crate) fn unfinish(&mut self, number: u32, id: &JobId, record: &mut Record) -> Result<()> {
        record.finished_on = None;
        record.processed_on = None;
        match record.state() {
            JobState::Completed => self.drop_output(number, id.as_str(), record, Output::Result),
            _ => {
                record.failed_reason = None;
                Ok(())
            }
        }
    }
}
