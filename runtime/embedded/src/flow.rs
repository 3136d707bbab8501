//! Trees of jobs: adding them whole, looking at them, taking them apart.

use std::collections::HashSet;

use jobcell_core::store::{Added, Children, FlowJob, Removed, StoreError};
use jobcell_core::{JobId, JobState, Millis, QueueName};

use crate::add::{self, Checked};
use crate::children::{self, Child, PREFIX};
use crate::error::Result;
use crate::read::View;
use crate::record::Record;
use crate::rows::job_id;
use crate::tx::Tx;

/// Jobs that one removal takes along at most, so that the writer is not held for long.
const REMOVED_MAX: usize = 50_000;
/// Levels that a removal goes down.
const LEVELS_MAX: usize = 500;

/// A job of a tree, ready to be written.
pub(crate) struct Node {
    queue: QueueName,
    checked: Checked,
    waits: bool,
}

impl Node {
    /// # Errors
    /// [`StoreError::Rejected`] when the job can never be stored.
    pub(crate) fn new(job: &FlowJob) -> Result<Self, StoreError> {
        let FlowJob { queue, id, job, waits, above: _ } = job;
        let checked = Checked::of_flow(job.clone(), id.clone(), *waits)?;
        Ok(Self { queue: queue.clone(), checked, waits: *waits })
    }
}

/// Adds a tree. Whatever is refused is an error, so that the transaction is undone.
pub(crate) fn add(tx: &mut Tx<'_>, nodes: &[Node], now: Millis) -> Result<Vec<Added>> {
    let topmost = nodes.first().and_then(|node| node.checked.job.parent.as_ref());
    if let Some(parent) = topmost {
        tx.need_parent(parent)?;
    }
    let mut added = Vec::with_capacity(nodes.len());
    for Node { queue, checked, .. } in nodes {
        let number = tx.make_queue(queue)?;
        added.push(add::add_one(tx, number, checked, now, true)?);
    }
    // Only now, when all children are there: they may all be done already, or none may have been added.
    for (Node { queue, .. }, added) in nodes.iter().zip(&added).filter(|(node, _)| node.waits) {
        let number = tx.make_queue(queue)?;
        tx.release_if_done(number, added.id(), now)?;
    }
    if let (Some(parent), Some(Added::Duplicate(_))) = (topmost, added.first())
        && let Ok(queue) = QueueName::new(parent.queue_key.rsplit(':').next().unwrap_or_default())
        && let Some(number) = tx.find_queue(&queue)?
    {
        tx.release_if_done(number, &parent.id, now)?;
    }
    Ok(added)
}

/// Removes a job that is not running; with `tree` also all that is below it.
pub(crate) fn remove(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId, tree: bool) -> Result<Removed> {
    let Some(number) = tx.find_queue(queue)? else { return Ok(Removed::NotFound) };
    if !tx.exists(number, id.as_str())? {
        return Ok(Removed::NotFound);
    }
    if tx.is_scheduled(number, id, &tx.need(number, id)?)? {
        return Ok(Removed::Scheduled);
    }
    let mut doomed = vec![(number, id.clone())];
    if tree {
        doomed.extend(tx.all_below(number, id)?);
    }
    for (number, id) in &doomed {
        if tx.runs(*number, id)? {
            return Ok(Removed::Running);
        }
    }
    // Children go before their parents, which then wait for nobody.
    for (number, id) in doomed.iter().rev() {
        tx.remove_one(*number, id)?;
    }
    Ok(Removed::Yes)
}

/// Removes what is below a job and has neither finished nor runs.
pub(crate) fn remove_unprocessed(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId) -> Result<u64> {
    let number = tx.find_queue(queue)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
    tx.need(number, id)?;
    let mut seen = HashSet::from([children::key(queue, id)]);
    tx.prune(number, id, &mut seen, 1)
}

/// Takes a job out of its flow.
pub(crate) fn leave(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId) -> Result<bool> {
    let number = tx.find_queue(queue)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
    let mut record = tx.need(number, id)?;
    if !tx.detach_child(number, id, &record)? {
        return Ok(false);
    }
    record.parent = None;
    tx.save(number, id.as_str(), &record)?;
    Ok(true)
}

impl Tx<'_> {
    /// The job that a full key names, when it exists.
    fn by_key(&mut self, key: &str) -> Result<Option<(u32, JobId, Record)>> {
        let parts = key.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(':')?.split_once(':'));
        let Some((queue, id)) = parts else { return Ok(None) };
        let Ok(queue) = QueueName::new(queue) else { return Ok(None) };
        let Some(number) = self.find_queue(&queue)? else { return Ok(None) };
        self.record(number, id)?.map(|record| job_id(id).map(|id| (number, id, record))).transpose()
    }

    /// Whether somebody runs the job now.
    fn runs(&mut self, number: u32, id: &JobId) -> Result<bool> {
        let active = self.record(number, id.as_str())?.is_some_and(|r| r.state() == JobState::Active);
        let (queue, now) = (self.queue_name(number), self.steady());
        Ok(active && self.locks().is_locked(&queue, id, now))
    }

    /// All jobs below one, parents before their children.
    fn all_below(&mut self, number: u32, id: &JobId) -> Result<Vec<(u32, JobId)>> {
        let mut seen = HashSet::from([children::key(&self.queue_name(number), id)]);
        let (mut found, mut level) = (Vec::new(), vec![(number, id.clone())]);
        for _ in 0..LEVELS_MAX {
            let mut next = Vec::new();
            for (number, id) in &level {
                for key in children::keys(&self.tables().children, *number, id.as_str())? {
                    if seen.insert(key.clone())
                        && let Some((number, id, _)) = self.by_key(&key)?
                    {
                        next.push((number, id));
                    }
                }
            }
            if next.is_empty() {
                return Ok(found);
            }
            found.extend(next.iter().cloned());
            if found.len() > REMOVED_MAX {
                break;
            }
            level = next;
        }
        Err(StoreError::Rejected(format!(
            "too many jobs are below job {id:?} to be removed in one step; remove its unprocessed children first, or \
             the trees below it one by one"
        ))
        .into())
    }

    fn remove_one(&mut self, number: u32, id: &JobId) -> Result<()> {
        // As it is now: removing its children may have moved it.
        let Some(record) = self.record(number, id.as_str())? else { return Ok(()) };
        self.detach_child(number, id, &record)?;
        self.take(number, &record)?;
        self.disown(number, id, &record)?;
        self.erase(number, id, &record)?;
        self.tell(number, "removed", &[("jobId", id.as_str()), ("prev", record.state().as_str())]);
        Ok(())
    }

    fn prune(&mut self, number: u32, id: &JobId, seen: &mut HashSet<String>, level: usize) -> Result<u64> {
        let mut gone = 0;
        let pending = children::with_status(&self.tables().children, number, id.as_str(), Child::Pending)?;
        for (key, _) in pending {
            if level > LEVELS_MAX || !seen.insert(key.clone()) {
                continue;
            }
            let Some((number, id, record)) = self.by_key(&key)? else { continue };
            if record.state() == JobState::Failed || self.runs(number, &id)? {
                continue;
            }
            gone += self.prune(number, &id, seen, level + 1)? + 1;
            self.remove_one(number, &id)?;
        }
        Ok(gone)
    }
}

impl View {
    /// The children of a job, at most `limit` of each kind.
    pub(crate) fn family(&self, queue: &QueueName, id: &JobId, limit: u64) -> Result<Children> {
        let mut family = Children::default();
        let Some(queue) = self.queue(queue)? else { return Ok(family) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows = self.children_table()?;
        children::each(&rows, queue.number, id.as_str(), |status, child, text| {
            let text = || String::from_utf8_lossy(text).into_owned();
            match status {
                Some(Child::Pending) if family.pending.len() < limit => family.pending.push(child.to_owned()),
                Some(Child::Completed) if family.completed.len() < limit => {
                    family.completed.push((child.to_owned(), text()));
                }
                Some(Child::Ignored) if family.ignored.len() < limit => {
                    family.ignored.push((child.to_owned(), text()));
                }
                Some(Child::Unsuccessful) if family.failed.len() < limit => {
                    family.failed.push(child.to_owned());
                }
                _ => {}
            }
        })?;
        Ok(family)
    }
}
