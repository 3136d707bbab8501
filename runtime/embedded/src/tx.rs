//! One write transaction, as the verbs see it: tables, queues, locks, and what is to be told once it is on disk. What
//! it does with the rows of a job is in [`crate::rows`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jobcell_core::store::Token;
use jobcell_core::{Clock, JobId, Millis, QueueName, StoreError};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::error::{Fault, Result};
use crate::events::{self, Told};
use crate::locks::{Changes, Lock, Overlay};
use crate::open::Shared;
use crate::queue::Queue;
use crate::schema;
use crate::signals::Hint;

/// Every table, open for writing.
pub(crate) struct Tables<'t> {
    pub(crate) meta: Table<'t, &'static str, u64>,
    pub(crate) queues: Table<'t, &'static str, &'static [u8]>,
    pub(crate) jobs: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) bodies: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) outputs: Table<'t, (u32, &'static str, u8), &'static [u8]>,
    pub(crate) places: Table<'t, (u32, u8, u64, u64), &'static str>,
    pub(crate) logs: Table<'t, (u32, &'static str, u64), &'static str>,
    pub(crate) children: Table<'t, (u32, &'static str, &'static str), &'static [u8]>,
    pub(crate) owners: Table<'t, (u32, &'static str), (u64, &'static str)>,
    pub(crate) owners_due: Table<'t, (u32, u64, &'static str), ()>,
    pub(crate) nexts: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) schedulers: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(crate) series: Table<'t, (u32, u8, u64), u64>,
    pub(crate) events: Table<'t, (u32, u64), &'static [u8]>,
    pub(crate) cache: Table<'t, &'static str, (u64, &'static [u8])>,
    pub(crate) cache_due: Table<'t, (u64, &'static str), ()>,
    pub(crate) values: Table<'t, (&'static str, &'static str), (u64, &'static [u8])>,
    pub(crate) value_keys: Table<'t, (&'static str, u64), &'static str>,
    pub(crate) documents: Table<'t, (&'static str, &'static str), (u64, u64, &'static [u8])>,
    pub(crate) documents_due: Table<'t, (u64, &'static str, &'static str), ()>,
    pub(crate) entries: Table<'t, (&'static str, u64), &'static [u8]>,
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

/// What is to be told once the transaction is on disk.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) queues: Vec<Effect>,
    /// Some folder of documents has another revision.
    pub(crate) documents: bool,
}

/// What is to be told about one queue.
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
    documents_changed: bool,
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
            meta: transaction.open_table(schema::META)?,
            queues: transaction.open_table(schema::QUEUES)?,
            jobs: transaction.open_table(schema::JOBS)?,
            bodies: transaction.open_table(schema::BODIES)?,
            outputs: transaction.open_table(schema::OUTPUTS)?,
            places: transaction.open_table(schema::PLACES)?,
            logs: transaction.open_table(schema::LOGS)?,
            children: transaction.open_table(schema::CHILDREN)?,
            owners: transaction.open_table(schema::OWNERS)?,
            owners_due: transaction.open_table(schema::OWNERS_DUE)?,
            nexts: transaction.open_table(schema::NEXTS)?,
            schedulers: transaction.open_table(schema::SCHEDULERS)?,
            series: transaction.open_table(schema::SERIES)?,
            events: transaction.open_table(schema::EVENTS)?,
            cache: transaction.open_table(schema::CACHE)?,
            cache_due: transaction.open_table(schema::CACHE_DUE)?,
            values: transaction.open_table(schema::VALUES)?,
            value_keys: transaction.open_table(schema::VALUE_KEYS)?,
            documents: transaction.open_table(schema::DOCUMENTS)?,
            documents_due: transaction.open_table(schema::DOCUMENTS_DUE)?,
            entries: transaction.open_table(schema::ENTRIES)?,
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
            documents_changed: false,
        })
    }

    /// Writes what was gathered. Gives the locks to apply and the effects to tell once the transaction is on disk.
    pub(crate) fn flush(mut self) -> Result<(Changes, Effects)> {
        let mut effects = Effects { documents: self.documents_changed, ..Effects::default() };
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
            effects.queues.push(Effect { queue, work: work && !state.paused, due, last_event });
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

    /// Makes the writer undo this transaction if the running verb fails.
    pub(crate) fn note_change(&mut self) {
        self.changes += 1;
    }

    /// Tells those who wait for documents, once this is on disk.
    pub(crate) fn documents_changed(&mut self) {
        self.documents_changed = true;
    }

    /// How many changes were made so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The database file, for messages.
    pub(crate) fn path(&self) -> &Path {
        self.shared.file.path()
    }

    /// Removes all but the newest events on disk.
    pub(crate) fn trim_events(&mut self, number: u32, keep: u64) -> Result<u64> {
        self.changes += 1;
        let Some(open) = self.open.get_mut(&number) else { return Ok(0) };
        open.changed = true;
        events::trim(&mut self.tables.events, &mut open.queue, keep)
    }

    /// Minutes of the per-minute series that this queue keeps.
    pub(crate) fn series_points(&self, number: u32) -> u64 {
        self.shared.series.of(&self.open[&number].name).into()
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
        // A listener of an obliterated queue goes on where it was.
        let last_event = self.tables.meta.get("events")?.map_or(0, |last| last.value());
        let queue = Queue { number, last_event, first_event: last_event + 1, ..Queue::default() };
        let number = self.remember(name.clone(), queue);
        self.queue_mut(number);
        Ok(number)
    }

    /// Removes a queue that has nothing any more.
    pub(crate) fn drop_queue(&mut self, number: u32) -> Result<()> {
        let Some(Open { name, queue, .. }) = self.open.remove(&number) else { return Ok(()) };
        self.numbers.remove(&name);
        let last = self.tables.meta.get("events")?.map_or(0, |last| last.value());
        let tables = self.change();
        tables.meta.insert("events", last.max(queue.last_event))?;
        tables.queues.remove(name.as_str())?;
        Ok(())
    }

    fn remember(&mut self, name: QueueName, queue: Queue) -> u32 {
        let number = queue.number;
        self.numbers.insert(name.clone(), number);
        let open =
            Open { name, queue, changed: false, told: Vec::new(), work: false, delayed_changed: false };
        self.open.insert(number, open);
        number
    }

    pub(crate) fn delayed_changed(&mut self, number: u32) {
        self.opened(number).delayed_changed = true;
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

    // --- locks ---

    pub(crate) fn lock(&mut self, number: u32, id: &JobId, token: Token, until: Millis) {
        let name = self.queue_name(number);
        self.locks.lock(&name, id, Lock { token, until, cancelled: false });
    }

    pub(crate) fn unlock(&mut self, number: u32, id: &JobId) {
        let name = self.queue_name(number);
        self.locks.unlock(&name, id);
    }

    pub(crate) fn locks(&mut self) -> &mut Overlay<'t> {
        &mut self.locks
    }
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
