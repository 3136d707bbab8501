//! The rows of one job: its record, its place, what its attempts left, its log.

use jobcell_core::{JobId, JobState, Millis, StoreError};
use redb::ReadableTable;

use crate::error::{Fault, Result};
use crate::record::Record;
use crate::schema::{self, Output, Place};
use crate::tx::Tx;

impl Tx<'_> {
    pub(crate) fn exists(&self, number: u32, id: &str) -> Result<bool> {
        Ok(self.tables().jobs.get((number, id))?.is_some())
    }

    /// The record of a job that exists.
    pub(crate) fn record(&self, number: u32, id: &str) -> Result<Option<Record>> {
        let Some(bytes) = self.tables().jobs.get((number, id))? else { return Ok(None) };
        Ok(Some(Record::decode(bytes.value())?))
    }

    /// The record of a job that must exist.
    pub(crate) fn need(&self, number: u32, id: &JobId) -> Result<Record> {
        self.record(number, id.as_str())?.ok_or_else(|| Fault::Verb(StoreError::NotFound(id.clone())))
    }

    pub(crate) fn save(&mut self, number: u32, id: &str, record: &Record) -> Result<()> {
        self.change().jobs.insert((number, id), record.encode().as_slice())?;
        Ok(())
    }

    /// Puts the job behind those in this state with the same order.
    pub(crate) fn put_back(
        &mut self,
        number: u32,
        id: &str,
        record: &mut Record,
        state: JobState,
        a: u64,
    ) -> Result<()> {
        let arrival = self.arrival(number);
        self.put(number, id, record, Place::back(state, a, arrival))
    }

    /// Puts the job in front of those in this state with the same order.
    pub(crate) fn put_front(
        &mut self,
        number: u32,
        id: &str,
        record: &mut Record,
        state: JobState,
        a: u64,
    ) -> Result<()> {
        let arrival = self.arrival(number);
        self.put(number, id, record, Place::front(state, a, arrival))
    }

    fn arrival(&mut self, number: u32) -> u64 {
        let queue = self.queue_mut(number);
        queue.arrivals += 1;
        queue.arrivals
    }

    fn put(&mut self, number: u32, id: &str, record: &mut Record, place: Place) -> Result<()> {
        self.change().places.insert(place.key(number), id)?;
        record.set_place(place);
        *self.queue_mut(number).count_mut(place.state) += 1;
        if place.state == JobState::Delayed {
            self.delayed_changed(number);
        }
        self.save(number, id, record)
    }

    /// Takes the job out of its place. It must be put somewhere else, or erased, in the same verb.
    pub(crate) fn take(&mut self, number: u32, record: &Record) -> Result<()> {
        let place = record.place();
        let taken = self.change().places.remove(place.key(number))?.is_some();
        if taken {
            let count = self.queue_mut(number).count_mut(place.state);
            *count = count.saturating_sub(1);
        }
        if place.state == JobState::Delayed {
            self.delayed_changed(number);
        }
        Ok(())
    }

    /// The jobs whose places are in a range, at most so many.
    pub(crate) fn ids(
        &self,
        range: std::ops::RangeInclusive<(u32, u8, u64, u64)>,
        max: usize,
    ) -> Result<Vec<JobId>> {
        let mut ids = Vec::new();
        for entry in self.tables().places.range(range)?.take(max) {
            let (_, id) = entry?;
            ids.push(job_id(id.value())?);
        }
        Ok(ids)
    }

    /// When the first delayed job is due.
    pub(crate) fn next_due(&self, number: u32) -> Result<Option<Millis>> {
        next_due(&self.tables().places, number)
    }

    // --- outputs and log ---

    /// Sets one output; the caller saves the record.
    pub(crate) fn set_output(
        &mut self,
        number: u32,
        id: &str,
        record: &mut Record,
        output: Output,
        bytes: &[u8],
    ) -> Result<()> {
        self.change().outputs.insert((number, id, output as u8), bytes)?;
        record.outputs |= output.bit();
        Ok(())
    }

    pub(crate) fn output(&self, number: u32, id: &str, output: Output) -> Result<Option<Vec<u8>>> {
        Ok(self.tables().outputs.get((number, id, output as u8))?.map(|bytes| bytes.value().to_vec()))
    }

    /// Removes one output; the caller saves the record.
    pub(crate) fn drop_output(
        &mut self,
        number: u32,
        id: &str,
        record: &mut Record,
        output: Output,
    ) -> Result<()> {
        if record.has(output) {
            self.change().outputs.remove((number, id, output as u8))?;
            record.outputs &= !output.bit();
        }
        Ok(())
    }

    /// Appends log lines; the caller saves the record. Returns how many there are.
    pub(crate) fn append_logs(
        &mut self,
        number: u32,
        id: &str,
        record: &mut Record,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64> {
        for line in lines {
            let (_, next) = &mut record.logs;
            self.change().logs.insert((number, id, *next), line.as_str())?;
            *next += 1;
        }
        if let Some(keep) = keep {
            let (first, next) = &mut record.logs;
            while *next - *first > keep {
                self.change().logs.remove((number, id, *first))?;
                *first += 1;
            }
        }
        let (first, next) = record.logs;
        Ok(next - first)
    }

    /// Removes everything of a job that was taken out of its place.
    pub(crate) fn erase(&mut self, number: u32, id: &JobId, record: &Record) -> Result<()> {
        let text = id.as_str();
        let tables = self.change();
        tables.jobs.remove((number, text))?;
        tables.bodies.remove((number, text))?;
        for output in Output::ALL.into_iter().filter(|output| record.has(*output)) {
            tables.outputs.remove((number, text, output as u8))?;
        }
        let (first, next) = record.logs;
        for line in first..next {
            tables.logs.remove((number, text, line))?;
        }
        for key in crate::children::keys(&tables.children, number, text)? {
            tables.children.remove((number, text, key.as_str()))?;
        }
        self.unlock(number, id);
        Ok(())
    }
}

/// A job's id as the file has it.
pub(crate) fn job_id(text: &str) -> Result<JobId> {
    JobId::new(text).map_err(|e| Fault::Verb(StoreError::Corrupt(e.to_string())))
}

pub(crate) fn next_due(
    places: &impl ReadableTable<(u32, u8, u64, u64), &'static str>,
    number: u32,
) -> Result<Option<Millis>> {
    match places.range(schema::all(number, JobState::Delayed))?.next() {
        Some(entry) => Ok(Some(entry?.0.value().2)),
        None => Ok(None),
    }
}
