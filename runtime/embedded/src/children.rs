//! Parents and children: what a child's end does to its parent.

use jobcell_core::store::Parent;
use jobcell_core::{JobId, JobState, Millis, QueueName, StoreError};
use redb::ReadableTable;

use crate::error::Result;
use crate::record::{OnFailure, ParentKey, Record};
use crate::schema::Output;
use crate::tx::Tx;

/// What the full keys of this store start with: `bull` in `bull:mail:7`, as BullMQ has it by default, so that keys look
/// the same on every store.
pub const PREFIX: &str = "bull";

/// The table of what parents know of their children, for reading.
pub(crate) type Rows = redb::ReadOnlyTable<(u32, &'static str, &'static str), &'static [u8]>;

/// What a parent knows of one child: the first byte of its row; the rest is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// Not finished.
    Pending = 0,
    /// Completed; its result follows.
    Completed = 1,
    /// Failed, and the parent went on; the reason follows.
    Ignored = 2,
    /// Failed, and must not have.
    Unsuccessful = 3,
}

impl Child {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Pending, Self::Completed, Self::Ignored, Self::Unsuccessful]
            .into_iter()
            .find(|c| *c as u8 == byte)
    }
}

/// The full key of a job.
pub(crate) fn key(queue: &QueueName, id: &JobId) -> String {
    format!("{PREFIX}:{queue}:{id}")
}

pub(crate) fn each(
    table: &impl ReadableTable<(u32, &'static str, &'static str), &'static [u8]>,
    number: u32,
    parent: &str,
    mut take: impl FnMut(Option<Child>, &str, &[u8]),
) -> Result<()> {
    for row in table.range((number, parent, "")..)? {
        let (row_key, bytes) = row?;
        let (of, id, child) = row_key.value();
        if (of, id) != (number, parent) {
            break;
        }
        let (status, text) = bytes.value().split_first().unwrap_or((&u8::MAX, &[]));
        take(Child::from_byte(*status), child, text);
    }
    Ok(())
}

/// The keys of all children of a parent.
pub(crate) fn keys(
    table: &impl ReadableTable<(u32, &'static str, &'static str), &'static [u8]>,
    number: u32,
    parent: &str,
) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    each(table, number, parent, |_, child, _| keys.push(child.to_owned()))?;
    Ok(keys)
}

/// The children of a parent with this status: full key and text.
pub(crate) fn with_status(
    table: &impl ReadableTable<(u32, &'static str, &'static str), &'static [u8]>,
    number: u32,
    parent: &str,
    status: Child,
) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    each(table, number, parent, |is, child, text| {
        if is == Some(status) {
            found.push((child.to_owned(), String::from_utf8_lossy(text).into_owned()));
        }
    })?;
    Ok(found)
}

/// A parent that exists.
struct Found {
    number: u32,
    id: JobId,
    record: Record,
}

/// Where a parent goes that waits for its children no longer.
#[derive(Clone, Copy)]
enum Turn {
    /// Where its own options say, at this time.
    ByOptions(Millis),
    /// In front of all others: as BullMQ has it when the last child was removed.
    First,
}

/// How far up the parents of a job are looked at. What is deeper counts as a circle.
const LEVELS_MAX: usize = 1000;

impl Tx<'_> {
    fn find_parent(&mut self, parent: &ParentKey) -> Result<Option<Found>> {
        let (Ok(queue), Ok(id)) = (QueueName::new(parent.queue()), JobId::new(&parent.id)) else {
            return Ok(None);
        };
        let Some(number) = self.find_queue(&queue)? else { return Ok(None) };
        Ok(self.record(number, id.as_str())?.map(|record| Found { number, id, record }))
    }

    /// # Errors
    /// [`StoreError::Rejected`] when the parent does not exist.
    pub(crate) fn need_parent(&mut self, parent: &Parent) -> Result<()> {
        match self.find_parent(&parent.into())? {
            Some(_) => Ok(()),
            None => {
                let Parent { queue_key, id } = parent;
                Err(StoreError::Rejected(format!(
                    "the parent job {queue_key}:{id} does not exist; add it first"
                ))
                .into())
            }
        }
    }

    fn child_status(&self, parent: &Found, child: &str) -> Result<Option<Child>> {
        self.status(parent.number, parent.id.as_str(), child)
    }

    fn status(&self, number: u32, parent: &str, child: &str) -> Result<Option<Child>> {
        let row = self.tables().children.get((number, parent, child))?;
        Ok(row.and_then(|bytes| bytes.value().first().copied().and_then(Child::from_byte)))
    }

    /// Whether a parent waits for this child.
    pub(crate) fn is_pending(&self, number: u32, parent: &str, child: &str) -> Result<bool> {
        Ok(self.status(number, parent, child)? == Some(Child::Pending))
    }

    /// Notes what became of a child and counts anew. The caller saves the parent's record.
    fn set_child(
        &mut self,
        parent: &mut Found,
        child: &str,
        status: Option<Child>,
        text: &[u8],
    ) -> Result<()> {
        match self.child_status(parent, child)? {
            Some(Child::Pending) => parent.record.pending = parent.record.pending.saturating_sub(1),
            Some(Child::Unsuccessful) => {
                parent.record.unsuccessful = parent.record.unsuccessful.saturating_sub(1);
            }
            Some(Child::Completed | Child::Ignored) | None => {}
        }
        match status {
            Some(Child::Pending) => parent.record.pending += 1,
            Some(Child::Unsuccessful) => parent.record.unsuccessful += 1,
            Some(Child::Completed | Child::Ignored) | None => {}
        }
        let key = (parent.number, parent.id.as_str(), child);
        match status {
            Some(status) => {
                let mut row = vec![status as u8];
                row.extend_from_slice(text);
                self.change().children.insert(key, row.as_slice())?;
            }
            None => {
                self.change().children.remove(key)?;
            }
        }
        Ok(())
    }

    /// Saves the parent, and lets it run when its turn has come.
    fn settle_parent(&mut self, parent: Found, turn: Option<Turn>) -> Result<()> {
        match turn {
            Some(turn) if parent.record.state() == JobState::WaitingChildren => self.release(parent, turn),
            _ => self.save(parent.number, parent.id.as_str(), &parent.record),
        }
    }

    fn release(&mut self, parent: Found, turn: Turn) -> Result<()> {
        let Found { number, id, mut record } = parent;
        self.take(number, &record)?;
        match turn {
            Turn::First => self.make_first(number, &id, &mut record, "waiting-children"),
            Turn::ByOptions(now) if record.delay > 0 => {
                let due = now.saturating_add(record.delay);
                self.make_delayed(number, &id, &mut record, due)
            }
            Turn::ByOptions(_) => {
                // As in BullMQ: in front of those that wait, but behind those of the same priority.
                let front = record.priority == 0;
                self.make_ready(number, &id, &mut record, front, Some("waiting-children"))
            }
        }
    }

    /// Lets a parent run that waits for nobody.
    pub(crate) fn release_if_done(&mut self, number: u32, id: &JobId, now: Millis) -> Result<()> {
        match self.record(number, id.as_str())? {
            Some(record) if record.pending == 0 => {
                self.settle_parent(Found { number, id: id.clone(), record }, Some(Turn::ByOptions(now)))
            }
            _ => Ok(()),
        }
    }

    /// Whether a job is another one or below it.
    fn is_below(&mut self, job: &ParentKey, number: u32, other: &JobId) -> Result<bool> {
        let mut next = Some(job.clone());
        for _ in 0..LEVELS_MAX {
            let Some(found) = next.as_ref().map(|key| self.find_parent(key)).transpose()?.flatten() else {
                return Ok(false);
            };
            if (found.number, &found.id) == (number, other) {
                return Ok(true);
            }
            next = found.record.parent;
        }
        Ok(true)
    }

    // --- what happens to a child ---

    /// A new child: its parent waits for it.
    pub(crate) fn attach_child(&mut self, parent: &Parent, child: &str) -> Result<()> {
        let Some(mut parent) = self.find_parent(&parent.into())? else { return Ok(()) };
        self.set_child(&mut parent, child, Some(Child::Pending), &[])?;
        self.settle_parent(parent, None)
    }

    /// A job that exists already is added as a child, with what its failure does to this parent. `held`: more children of that parent are about to come, so that it
    /// stays where it is.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when it has another parent that exists, or is above this one.
    pub(crate) fn adopt(
        &mut self,
        number: u32,
        id: &JobId,
        parent: &Parent,
        rule: OnFailure,
        now: Millis,
        held: bool,
    ) -> Result<()> {
        let Some(mut record) = self.record(number, id.as_str())? else { return Ok(()) };
        let new = ParentKey::from(parent);
        if self.is_below(&new, number, id)? {
            return Err(StoreError::Rejected(format!(
                "job {id:?} exists and is above its new parent {}: each would wait for the other; use another id",
                new.full()
            ))
            .into());
        }
        if let Some(old) = record.parent.clone().filter(|old| *old != new)
            && self.find_parent(&old)?.is_some()
        {
            return Err(StoreError::Rejected(format!(
                "job {id:?} is a child of {}, which exists; it cannot become a child of {}",
                old.full(),
                new.full()
            ))
            .into());
        }
        let child = key(&self.queue_name(number), id);
        let Some(mut found) = self.find_parent(&new)? else { return Ok(()) };
        if record.state() == JobState::Completed {
            let result =
                self.output(number, id.as_str(), Output::Result)?.unwrap_or_else(|| b"null".to_vec());
            self.set_child(&mut found, &child, Some(Child::Completed), &result)?;
            let done = !held && found.record.pending == 0;
            self.settle_parent(found, done.then_some(Turn::ByOptions(now)))?;
        } else {
            self.set_child(&mut found, &child, Some(Child::Pending), &[])?;
            self.settle_parent(found, None)?;
        }
        record.parent = Some(new);
        record.on_failure = rule;
        self.save(number, id.as_str(), &record)
    }

    /// A child completed.
    pub(crate) fn child_completed(
        &mut self,
        parent: &ParentKey,
        child: &str,
        result: &[u8],
        now: Millis,
    ) -> Result<()> {
        let Some(mut parent) = self.find_parent(parent)? else { return Ok(()) };
        if self.child_status(&parent, child)? != Some(Child::Pending) {
            return Ok(());
        }
        self.set_child(&mut parent, child, Some(Child::Completed), result)?;
        let done = parent.record.pending == 0;
        self.settle_parent(parent, done.then_some(Turn::ByOptions(now)))
    }

    /// A child failed for good.
    pub(crate) fn child_failed(
        &mut self,
        parent: &ParentKey,
        child: &str,
        rule: OnFailure,
        reason: &str,
        now: Millis,
    ) -> Result<()> {
        if rule == OnFailure::Hold {
            return Ok(());
        }
        let Some(mut parent) = self.find_parent(parent)? else { return Ok(()) };
        if self.child_status(&parent, child)? != Some(Child::Pending) {
            return Ok(());
        }
        match rule {
            OnFailure::Hold => Ok(()),
            OnFailure::Fail => {
                self.set_child(&mut parent, child, Some(Child::Unsuccessful), &[])?;
                self.fail_parent(parent, child, now)
            }
            OnFailure::Continue => {
                self.set_child(&mut parent, child, Some(Child::Ignored), reason.as_bytes())?;
                self.settle_parent(parent, Some(Turn::ByOptions(now)))
            }
            OnFailure::Ignore | OnFailure::Remove => {
                let status = (rule == OnFailure::Ignore).then_some(Child::Ignored);
                self.set_child(&mut parent, child, status, reason.as_bytes())?;
                let done = parent.record.pending == 0;
                self.settle_parent(parent, done.then_some(Turn::ByOptions(now)))
            }
        }
    }

    /// The parent must fail: the next worker that takes it does so, and it is made ready for that at once.
    fn fail_parent(&mut self, mut parent: Found, child: &str, now: Millis) -> Result<()> {
        let state = parent.record.state();
        if state != JobState::Failed {
            parent.record.deferred_failure = Some(format!("child {child} failed"));
        }
        if state == JobState::Delayed {
            parent.record.delay = 0;
        }
        match state {
            JobState::WaitingChildren | JobState::Delayed => self.release(parent, Turn::ByOptions(now)),
            _ => self.save(parent.number, parent.id.as_str(), &parent.record),
        }
    }

    /// A child is being removed: its parent does not wait for it any more. False when it did not.
    pub(crate) fn detach_child(&mut self, number: u32, id: &JobId, record: &Record) -> Result<bool> {
        self.forget_child(number, id, record, true)
    }

    /// As [`Self::detach_child`]. Without `release` a parent that waits for nobody else stays where it is: the caller
    /// attaches another child in the same verb.
    pub(crate) fn forget_child(
        &mut self,
        number: u32,
        id: &JobId,
        record: &Record,
        release: bool,
    ) -> Result<bool> {
        let Some(parent) = &record.parent else { return Ok(false) };
        let child = key(&self.queue_name(number), id);
        let Some(mut parent) = self.find_parent(parent)? else { return Ok(false) };
        if self.child_status(&parent, &child)? != Some(Child::Pending) {
            return Ok(false);
        }
        self.set_child(&mut parent, &child, None, &[])?;
        let done = release && parent.record.pending == 0;
        self.settle_parent(parent, done.then_some(Turn::First))?;
        Ok(true)
    }

    /// A finished child runs again: its parent waits for it again.
    pub(crate) fn reattach_child(&mut self, number: u32, id: &JobId, record: &Record) -> Result<()> {
        let Some(parent) = &record.parent else { return Ok(()) };
        let child = key(&self.queue_name(number), id);
        let Some(mut parent) = self.find_parent(parent)? else { return Ok(()) };
        if matches!(self.child_status(&parent, &child)?, None | Some(Child::Pending)) {
            return Ok(());
        }
        self.set_child(&mut parent, &child, Some(Child::Pending), &[])?;
        self.settle_parent(parent, None)
    }
}
