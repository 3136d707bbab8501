//! Finished jobs by the minute, as BullMQ counts them: a minute is written once a job ends after it.

use jobcell_core::store::{Page, Series};
use jobcell_core::{JobState, Millis};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::queue::Queue;
use crate::schema::code;
use crate::tx::Tx;

const MINUTE_MS: Millis = 60_000;

/// What is known of one series beside its points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Jobs counted in all.
    total: u64,
    /// When the newest point was written, or the first job counted. Points are of the minutes before.
    written: Millis,
    /// The total then.
    before: u64,
    /// Points that there are; minutes in which nothing ended count, too, and have no row.
    length: u64,
}

impl Tx<'_> {
    /// A job has ended in this state.
    pub(crate) fn count_end(&mut self, number: u32, state: JobState, now: Millis) -> Result<()> {
        let points = self.series_points(number);
        if points == 0 {
            return Ok(());
        }
        let head = head(self.queue_mut(number), state);
        let Some(Head { total, written, before, length }) = head else {
            *head = Some(Head { total: 1, written: now, before: 0, length: 0 });
            return Ok(());
        };
        let (minute, ended) = (*written / MINUTE_MS, *total - *before);
        *total += 1;
        let passed = (now / MINUTE_MS).saturating_sub(minute).min(points);
        if passed == 0 {
            return Ok(());
        }
        (*written, *before) = (now, *total - 1);
        *length = (*length + passed).min(points);
        let oldest = (now / MINUTE_MS).saturating_sub(points);
        let table = &mut self.change().series;
        if ended > 0 {
            table.insert((number, code(state), minute), ended)?;
        }
        table.retain_in((number, code(state), 0)..(number, code(state), oldest), |_, _| false)?;
        Ok(())
    }
}

fn head(queue: &mut Queue, state: JobState) -> &mut Option<Head> {
    if state == JobState::Failed { &mut queue.failed } else { &mut queue.completed }
}

/// A part of a series, newest point first.
pub(crate) fn read(
    table: &impl ReadableTable<(u32, u8, u64), u64>,
    queue: &mut Queue,
    state: JobState,
    page: Page,
    page_max: u64,
) -> Result<Series> {
    let number = queue.number;
    let Some(Head { total, written, before, length }) = head(queue, state).clone() else {
        return Ok(Series::default());
    };
    let newest = written / MINUTE_MS;
    let mut points = Vec::new();
    let end = page.offset.saturating_add(page.limit.min(page_max)).min(length);
    for back in page.offset..end {
        let minute = newest.saturating_sub(back + 1);
        points.push(table.get((number, code(state), minute))?.map_or(0, |count| count.value()));
    }
    Ok(Series { total, last: Some(written), points, length, current: total.saturating_sub(before) })
}
