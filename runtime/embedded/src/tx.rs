//! One write transaction, as the verbs see it: records, places, events, and what is to be told once it is on disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jobcell_core::store::Token;
use jobcell_core::{Clock, JobId, JobState, Millis, QueueName, StoreError};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::error::{Fault, Result};
use crate::events::{self, Told};
use crate::locks::{Changes, Lock, Overlay};
use crate::open::Shared;
use crate::queue::Queue;
use crate::record::Record;
use crate::schema::{self, Output, Place};
use crate::signals::Hint;

/// Every table, open for writing.
pub(crate) struct Tables<'t> {
    pub(crate) queues: Table<'t, &'static str, &'static [u8]>,
    pub(crate) jobs: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) bodies: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) outputs: Table<'t, (u32, &'static str, u8), &'static [u8]>,
    pub(crate) places: Table<'t, (u32, u8, u64, u64), &'static str>,
    pub(crate) logs: Table<'t, (u32, &'static str, u64), &'static str>,
    pub(crate) children: Table<'t, (u32, &'static str, &'static str), &'static [u8]>,
    pub(crate) events: Table<'t, (u32, u64), &'static [u8]>,
    pub(crate) cache: Table<'t, &'static str, (u64, &'static [u8])>,
    pub(crate) cache_due: Table<'t, (u64, &'static str), ()>,
}

/// A queue that this transaction has looked at.
struct Open {
    name: QueueName,
    queue: Queue,
    changed: bool,
    told: Vec<Told>,
    /// Something may be claimed now that could not before.
    work: bool,
    delayed_changed: bool,
}

/// What is to be told about one queue once the transaction is on disk.
pub(crate) struct Effect {
    pub(crate) queue: QueueName,
    pub(crate) work: bool,
    /// The due time of the first delayed job, when that may have changed.
    pub(crate) due: Option<Option<Millis>>,
    pub(crate) last_event: Option<u64>,
}

/// One write transaction. Verbs read through [`Self::tables`] and write through [`Self::change`], which is how the
/// writer knows whether a verb that failed had changed anything.
pub(crate) struct Tx<'t> {
    tables: Tables<'t>,
    open: HashMap<u32, Open>,
    numbers: HashMap<QueueName, u32>,
    locks: Overlay<'t>,
    shared: &'t Shared,
    changes: u64,
}

/// The clocks a store reads by itself.
pub(crate) struct Clocks {
    /// The time of day: what delays and the cache's expiry are compared with where no caller says the time.
    pub(crate) wall: Arc<dyn Clock>,
    /// What locks and stall rounds are measured with.
    pub(crate) steady: Arc<dyn Clock>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            queues: transaction.open_table(schema::QUEUES)?,
            jobs: transaction.open_table(schema::JOBS)?,
            bodies: transaction.open_table(schema::BODIES)?,
            outputs: transaction.open_table(schema::OUTPUTS)?,
            places: transaction.open_table(schema::PLACES)?,
            logs: transaction.open_table(schema::LOGS)?,
            children: transaction.open_table(schema::CHILDREN)?,
            events: transaction.open_table(schema::EVENTS)?,
            cache: transaction.open_table(schema::CACHE)?,
            cache_due: transaction.open_table(schema::CACHE_DUE)?,
        })
    }
}

/// Makes every table that does not exist.
pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<()> {
    Tables::open(transaction).map(drop)
}

impl<'t> Tx<'t> {
    pub(crate) fn new(transaction: &'t WriteTransaction, shared: &'t Shared) -> Result<Self> {
        Ok(Self {
            tables: Tables::open(transaction)?,
            open: HashMap::new(),
            numbers: HashMap::new(),
            locks: shared.locks.overlay(),
            shared,
            changes: 0,
        })
    }

    /// Writes what was gathered. Gives the locks to apply and the effects to tell once the transaction is on disk.
    pub(crate) fn flush(mut self) -> Result<(Changes, Vec<Effect>)> {
        let mut effects = Vec::new();
        for (number, mut open) in std::mem::take(&mut self.open) {
            let mut last_event = None;
            if !open.told.is_empty() {
                events::write(&mut self.tables.events, &mut open.queue, &open.told)?;
                last_event = Some(open.queue.last_event);
            }
            if open.changed || last_event.is_some() {
                let bytes = serde_json::to_vec(&open.queue).unwrap_or_default();
                self.tables.queues.insert(open.name.as_str(), bytes.as_slice())?;
            }
            let due = if open.delayed_changed { Some(self.next_due(number)?) } else { None };
            let Open { name: queue, queue: state, work, .. } = open;
            effects.push(Effect { queue, work: work && !state.paused, due, last_event });
        }
        Ok((self.locks.into_changes(), effects))
    }

    pub(crate) fn tables(&self) -> &Tables<'t> {
        &self.tables
    }

    pub(crate) fn change(&mut self) -> &mut Tables<'t> {
        self.changes += 1;
        &mut self.tables
    }

    /// How many changes were made so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The database file, for messages.
    pub(crate) fn path(&self) -> &Path {
        self.shared.file.path()
    }

    /// The time of day.
    pub(crate) fn wall(&self) -> Millis {
        self.shared.clocks.wall.now()
    }

    /// The time that locks are measured with.
    pub(crate) fn steady(&self) -> Millis {
        self.shared.clocks.steady.now()
    }

    // --- queues ---

    /// The number of a queue that exists.
    pub(crate) fn find_queue(&mut self, name: &QueueName) -> Result<Option<u32>> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(Some(*number));
        }
        let Some(queue) = read_queue(&self.tables.queues, name)? else { return Ok(None) };
        Ok(Some(self.remember(name.clone(), queue)))
    }

    /// The number of a queue, which is made when there is none.
    pub(crate) fn make_queue(&mut self, name: &QueueName) -> Result<u32> {
        if let Some(number) = self.find_queue(name)? {
            return Ok(number);
        }
        let mut number = 0;
        for entry in self.tables.queues.iter()? {
            let (name, bytes) = entry?;
            number = number.max(decode_queue(name.value(), bytes.value())?.number + 1);
        }
        let number = number.max(self.open.keys().max().map_or(0, |last| last + 1));
        let queue = Queue { number, first_event: 1, ..Queue::default() };
        let number = self.remember(name.clone(), queue);
        self.queue_mut(number);
        Ok(number)
    }

    fn remember(&mut self, name: QueueName, queue: Queue) -> u32 {
        let number = queue.number;
        self.numbers.insert(name.clone(), number);
        let open =
            Open { name, queue, changed: false, told: Vec::new(), work: false, delayed_changed: false };
        self.open.insert(number, open);
        number
    }

    fn opened(&mut self, number: u32) -> &mut Open {
        // Numbers are only given out by `remember`.
        self.open.get_mut(&number).unwrap_or_else(|| unreachable!("queue {number} was not looked up"))
    }

    pub(crate) fn queue(&self, number: u32) -> &Queue {
        &self.open[&number].queue
    }

    pub(crate) fn queue_name(&self, number: u32) -> QueueName {
        self.open[&number].name.clone()
    }

    pub(crate) fn queue_mut(&mut self, number: u32) -> &mut Queue {
        self.changes += 1;
        let open = self.opened(number);
        open.changed = true;
        &mut open.queue
    }

    /// Says that something of this queue may be claimed now.
    pub(crate) fn wake(&mut self, number: u32) {
        self.opened(number).work = true;
    }

    pub(crate) fn tell(&mut self, number: u32, event: &'static str, fields: &[(&'static str, &str)]) {
        self.changes += 1;
        self.opened(number).told.push(Told::new(event, fields));
    }

    // --- records and places ---

    pub(crate) fn exists(&self, number: u32, id: &str) -> Result<bool> {
        Ok(self.tables.jobs.get((number, id))?.is_some())
    }

    /// The record of a job that exists.
    pub(crate) fn record(&self, number: u32, id: &str) -> Result<Option<Record>> {
        let Some(bytes) = self.tables.jobs.get((number, id))? else { return Ok(None) };
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
    pub(crate) fn put_back(&mut self, number: u32, id: &str, record: &mut Record, state: JobState, a: u64) -> Result<()> {
        let arrival = self.arrival(number);
        self.put(number, id, record, Place::back(state, a, arrival))
    }

    /// Puts the job in front of those in this state with the same order.
    pub(crate) fn put_front(&mut self, number: u32, id: &str, record: &mut Record, state: JobState, a: u64) -> Result<()> {
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
            self.opened(number).delayed_changed = true;
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
            self.opened(number).delayed_changed = true;
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
        for entry in self.tables.places.range(range)?.take(max) {
            let (_, id) = entry?;
            ids.push(job_id(id.value())?);
        }
        Ok(ids)
    }

    /// When the first delayed job is due.
    pub(crate) fn next_due(&self, number: u32) -> Result<Option<Millis>> {
        next_due(&self.tables.places, number)
    }

    // --- outputs and logs ---

    /// Sets one output; the caller saves the record.
    pub(crate) fn set_output(&mut self, number: u32, id: &str, record: &mut Record, output: Output, bytes: &[u8]) -> Result<()> {
        self.change().outputs.insert((number, id, output as u8), bytes)?;
        record.outputs |= output.bit();
        Ok(())
    }

    pub(crate) fn output(&self, number: u32, id: &str, output: Output) -> Result<Option<Vec<u8>>> {
        Ok(self.tables.outputs.get((number, id, output as u8))?.map(|bytes| bytes.value().to_vec()))
    }

    /// Removes one output; the caller saves the record.
    pub(crate) fn drop_output(&mut self, number: u32, id: &str, record: &mut Record, output: Output) -> Result<()> {
        if record.has(output) {
            self.change().outputs.remove((number, id, output as u8))?;
            record.outputs &= !output.bit();
        }
        Ok(())
    }

    /// Appends log lines; the caller saves the record. Returns how many there are.
    pub(crate) fn append_logs(&mut self, number: u32, id: &str, record: &mut Record, lines: &[String], keep: Option<u64>) -> Result<u64> {
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

    // --- locks ---

    pub(crate) fn lock(&mut self, number: u32, id: &JobId, token: Token, until: Millis) {
        let name = self.queue_name(number);
        self.locks.lock(&name, id, Lock { token, until });
    }

    pub(crate) fn unlock(&mut self, number: u32, id: &JobId) {
        let name = self.queue_name(number);
        self.locks.unlock(&name, id);
    }

    pub(crate) fn locks(&mut self) -> &mut Overlay<'t> {
        &mut self.locks
    }
}

/// A job's id as the file has it.
pub(crate) fn job_id(text: &str) -> Result<JobId> {
    JobId::new(text).map_err(|e| Fault::Verb(StoreError::Corrupt(e.to_string())))
}

pub(crate) fn read_queue(
    queues: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &QueueName,
) -> Result<Option<Queue>> {
    match queues.get(name.as_str())? {
        Some(bytes) => Ok(Some(decode_queue(name.as_str(), bytes.value())?)),
        None => Ok(None),
    }
}

pub(crate) fn decode_queue(name: &str, bytes: &[u8]) -> Result<Queue> {
    serde_json::from_slice(bytes)
        .map_err(|e| Fault::Verb(StoreError::Corrupt(format!("the record of queue {name:?}: {e}"))))
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

impl Effect {
    /// How a waiter's hint changes.
    pub(crate) fn change(&self, hint: &mut Hint) -> bool {
        let before = *hint;
        if self.work {
            hint.generation += 1;
        }
        if let Some(due) = self.due {
            hint.due = due;
        }
        *hint != before
    }
}
