//! The event stream of a queue, in BullMQ's words.
//!
//! The events of one commit are one row, so that telling costs little when nobody listens. A listener reads rows and
//! is woken by [`crate::signals`]. Old rows are trimmed by number and by size.

use jobcell_core::StoreError;
use jobcell_core::store::StoredEvent;
use redb::{ReadableTable, Table};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::queue::Queue;

/// Events that stay at least: what BullMQ keeps, too.
const EVENTS_MAX: u64 = 10_000;

/// Bytes of events that stay at most; with large results they would otherwise outgrow the jobs.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Events that one read gives at most.
const READ_MAX: usize = 1000;

/// An event that is not yet on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told(String, Vec<(String, String)>);

impl Told {
    pub(crate) fn new(event: &str, fields: &[(&str, &str)]) -> Self {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self(event.to_owned(), fields.iter().map(own).collect())
    }
}

/// Appends the events of one commit and trims the oldest rows. The caller saves the queue.
pub(crate) fn write(
    table: &mut Table<'_, (u32, u64), &'static [u8]>,
    queue: &mut Queue,
    told: &[Told],
) -> Result<()> {
    let bytes = serde_json::to_vec(told).unwrap_or_default();
    table.insert((queue.number, queue.last_event + 1), bytes.as_slice())?;
    queue.last_event += told.len() as u64;
    queue.event_bytes += bytes.len() as u64;
    while queue.last_event - queue.first_event >= EVENTS_MAX || queue.event_bytes > BYTES_MAX {
        let Some((oldest, size, next)) = oldest(table, queue.number)? else { break };
        // A row goes when the ones after it are enough.
        if queue.event_bytes <= BYTES_MAX && queue.last_event - next + 1 < EVENTS_MAX {
            break;
        }
        table.remove((queue.number, oldest))?;
        queue.first_event = next;
        queue.event_bytes = queue.event_bytes.saturating_sub(size);
    }
    Ok(())
}

/// Removes all but the newest events. Returns how many went; the caller saves the queue.
pub(crate) fn trim(
    table: &mut Table<'_, (u32, u64), &'static [u8]>,
    queue: &mut Queue,
    keep: u64,
) -> Result<u64> {
    let first_kept = (queue.last_event + 1).saturating_sub(keep).max(queue.first_event);
    let gone = first_kept - queue.first_event;
    let mut rest = None;
    for row in table.extract_from_if((queue.number, 0)..(queue.number, first_kept), |_, _| true)? {
        let (key, bytes) = row?;
        let first = key.value().1;
        queue.event_bytes = queue.event_bytes.saturating_sub(bytes.value().len() as u64);
        // The last of them may hold events that stay.
        let mut told: Vec<Told> = serde_json::from_slice(bytes.value())
            .map_err(|e| StoreError::Corrupt(format!("events from {first}: {e}")))?;
        let over = usize::try_from(first_kept - first).unwrap_or(usize::MAX).min(told.len());
        told.drain(..over);
        rest = Some(told);
    }
    if let Some(told) = rest.filter(|told| !told.is_empty()) {
        let bytes = serde_json::to_vec(&told).unwrap_or_default();
        table.insert((queue.number, first_kept), bytes.as_slice())?;
        queue.event_bytes += bytes.len() as u64;
    }
    queue.first_event = first_kept;
    Ok(gone)
}

/// The number and size of the oldest row, and the number of the one after it; none when there are fewer than two.
fn oldest(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    number: u32,
) -> Result<Option<(u64, u64, u64)>> {
    let mut rows = table.range((number, 0)..=(number, u64::MAX))?;
    let (Some(oldest), Some(next)) = (rows.next().transpose()?, rows.next().transpose()?) else {
        return Ok(None);
    };
    Ok(Some((oldest.0.value().1, oldest.1.value().len() as u64, next.0.value().1)))
}

/// Events after this one, oldest first, at most [`READ_MAX`].
pub(crate) fn read(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    number: u32,
    after: u64,
) -> Result<Vec<StoredEvent>> {
    // The row that `after` is in may hold later events, too.
    let first = match table.range((number, 0)..=(number, after))?.next_back() {
        Some(row) => row?.0.value().1,
        None => 0,
    };
    let mut events = Vec::new();
    for row in table.range((number, first)..=(number, u64::MAX))? {
        let (key, bytes) = row?;
        let told: Vec<Told> = serde_json::from_slice(bytes.value())
            .map_err(|e| StoreError::Corrupt(format!("events from {}: {e}", key.value().1)))?;
        for (id, Told(event, fields)) in (key.value().1..).zip(told) {
            if id > after {
                events.push(StoredEvent { id: id.to_string(), event, fields });
            }
            if events.len() == READ_MAX {
                return Ok(events);
            }
        }
    }
    Ok(events)
}

/// The number of an event from its id.
///
/// # Errors
/// When it is none that this store gave.
pub(crate) fn parse_id(id: &str) -> Result<u64, StoreError> {
    id.parse().map_err(|_| {
        StoreError::Rejected(format!(
            "event id {id:?} is not one of this store; start from the last event, or from 0"
        ))
    })
}
