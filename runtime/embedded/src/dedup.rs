//! Deduplication: which job owns a deduplication id and until when, and which job is to be made once the owner has
//! finished.
//!
//! An id is taken in one of two ways: until its owner goes (finishes for good, or is removed), or until a time, whatever
//! becomes of its owner. A job that was kept back waits for the end of its owner, so an id with one behind it is always
//! taken in the first way.

use bytes::Bytes;
use jobcell_core::options::{Deduplication, JobOptions, ParentRef};
use jobcell_core::store::{NewJob, StoreError};
use jobcell_core::{JobId, JobState, Millis};
use redb::ReadableTable;

use crate::add::{self, Checked};
use crate::error::Result;
use crate::record::{Body, ParentKey, Record};
use crate::rows::job_id;
use crate::tx::Tx;

/// Until when an id is taken whose owner must go first.
const OWNERS_END: Millis = Millis::MAX;

/// Ids whose time is over that one addition sweeps out. More than one, so that sweeping keeps up with adding.
const SWEPT_MAX: usize = 8;

/// Who has taken a deduplication id.
struct Owner {
    id: JobId,
    until: Millis,
    /// Of its job; none when the job is gone.
    record: Option<Record>,
}

impl Owner {
    fn is(&self, state: JobState) -> bool {
        self.record.as_ref().is_some_and(|record| record.state() == state)
    }
}

impl Tx<'_> {
    /// Takes the deduplication id for the job that is to be stored under `id`. Gives the owner instead when nothing must
    /// be stored.
    pub(crate) fn admit(
        &mut self,
        number: u32,
        id: &JobId,
        checked: &Checked,
        rule: &Deduplication,
        now: Millis,
    ) -> Result<Option<JobId>> {
        self.sweep_owners(number, now)?;
        // What is kept back waits for an end, not for a time.
        let ttl = rule.ttl.filter(|ttl| *ttl > 0 && !rule.keep_last_if_active);
        let until = ttl.map(|ttl| now.saturating_add(ttl));
        let Some(owner) = self.living_owner(number, &rule.id, now)? else {
            self.own(number, &rule.id, id, until.unwrap_or(OWNERS_END))?;
            return Ok(None);
        };
        if rule.replace && owner.is(JobState::Delayed) {
            let until = match until {
                Some(_) if !rule.extend => owner.until,
                Some(until) => until,
                None => OWNERS_END,
            };
            self.replace(number, id, checked, owner, &rule.id)?;
            self.own(number, &rule.id, id, until)?;
            return Ok(None);
        }
        let kept = rule.keep_last_if_active && owner.is(JobState::Active);
        if kept {
            self.keep_back(number, checked, &rule.id, now)?;
            self.own(number, &rule.id, &owner.id, OWNERS_END)?;
        } else if rule.extend && !rule.replace && rule.ttl.is_some_and(|ttl| ttl > 0) {
            self.own(number, &rule.id, &owner.id, until.unwrap_or(OWNERS_END))?;
        }
        // As in BullMQ: who asks to replace and comes too late is not told of.
        if kept || !rule.replace {
            self.tell_deduplicated(number, &owner.id, &rule.id, id);
        }
        if rule.reschedule && !rule.replace && owner.is(JobState::Delayed) {
            self.reschedule(number, &owner, checked, now)?;
        }
        Ok(Some(owner.id))
    }

    /// A delayed owner gets the delay of its duplicate, counted from when that was made.
    fn reschedule(&mut self, number: u32, owner: &Owner, checked: &Checked, now: Millis) -> Result<()> {
        let Some(mut record) = owner.record.clone() else { return Ok(()) };
        let job = &checked.job;
        self.redelay(number, &owner.id, &mut record, job.options.delay, job.timestamp(now))
    }

    fn tell_deduplicated(&mut self, number: u32, owner: &JobId, key: &str, rejected: &JobId) {
        let fields =
            [("jobId", owner.as_str()), ("deduplicationId", key), ("deduplicatedJobId", rejected.as_str())];
        self.tell(number, "deduplicated", &fields);
    }

    /// The new job takes the place of its owner, which is delayed and goes away.
    fn replace(&mut self, number: u32, id: &JobId, checked: &Checked, owner: Owner, key: &str) -> Result<()> {
        let Owner { id: old, record, .. } = owner;
        if let Some(record) = record {
            self.take(number, &record)?;
            let same = record.parent == checked.job.parent.as_ref().map(ParentKey::from);
            self.forget_child(number, &old, &record, !same)?;
            self.erase(number, &old, &record)?;
        }
        // What was kept back behind the old owner would otherwise come after the new one.
        self.change().nexts.remove((number, key))?;
        self.tell(number, "removed", &[("jobId", old.as_str()), ("prev", JobState::Delayed.as_str())]);
        self.tell_deduplicated(number, id, key, &old);
        Ok(())
    }

    /// Notes a job that is to be made when the owner finishes, in place of the one noted before.
    fn keep_back(&mut self, number: u32, checked: &Checked, key: &str, now: Millis) -> Result<()> {
        let job = &checked.job;
        let mut options = job.options.clone();
        // So that all there is to know of it is in its options.
        options.parent = job
            .parent
            .as_ref()
            .map(|parent| ParentRef { id: parent.id.to_string(), queue: parent.queue_key.clone() });
        let options = serde_json::to_vec(&options)
            .map_err(|e| StoreError::Rejected(format!("the options of job {:?}: {e}", job.name)))?;
        let name = job.name.as_str().into();
        let body = Body { name, timestamp: job.timestamp(now), options: &options, data: &job.data };
        self.change().nexts.insert((number, key), body.encode()?.as_slice())?;
        Ok(())
    }

    /// A job has finished for good. Its deduplication id is free unless a time to live holds it, and the job that was
    /// kept back is made.
    pub(crate) fn owner_finished(
        &mut self,
        number: u32,
        id: &JobId,
        record: &Record,
        now: Millis,
    ) -> Result<()> {
        let Some(key) = record.deduplication_id.as_deref() else { return Ok(()) };
        match self.taken(number, key)? {
            Some((until, _)) if until <= now => return self.free(number, key),
            // Another job may have the id by now: the time of this one was over, or it ran once more after its end.
            Some((until, owner)) if until != OWNERS_END || owner != *id => return Ok(()),
            // Released while it ran: what was kept back is made all the same.
            Some(_) | None => {}
        }
        let kept = self.tables().nexts.get((number, key))?.map(|bytes| bytes.value().to_vec());
        self.free(number, key)?;
        match kept.map(|bytes| read_kept(&bytes)) {
            Some(Ok(kept)) => self.make_kept(number, &kept, key, now),
            Some(Err(error)) => {
                // The one that finished is not to blame, and must not stay active for it.
                let queue = self.queue_name(number);
                tracing::error!(%queue, job = %id, deduplication_id = key, %error, "the job kept back is lost");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn make_kept(&mut self, number: u32, kept: &Checked, key: &str, now: Millis) -> Result<()> {
        let id = match &kept.id {
            Some(id) if self.exists(number, id.as_str())? => {
                self.tell(number, "duplicated", &[("jobId", id.as_str())]);
                return Ok(());
            }
            Some(id) => id.clone(),
            None => add::next_id(self, number)?,
        };
        self.own(number, key, &id, OWNERS_END)?;
        add::store(self, number, &id, kept, now)
    }

    /// A job goes away before its end: its deduplication id is free, and what was kept back behind it goes, too.
    pub(crate) fn disown(&mut self, number: u32, id: &JobId, record: &Record) -> Result<()> {
        let Some(key) = record.deduplication_id.as_deref() else { return Ok(()) };
        match self.taken(number, key)? {
            Some((_, owner)) if owner == *id => self.free(number, key),
            _ => Ok(()),
        }
    }

    /// Frees an id, whoever owns it; what is kept back behind it stays. False when it was free.
    pub(crate) fn release_owner(&mut self, number: u32, key: &str) -> Result<bool> {
        let now = self.wall();
        let taken = self.taken(number, key)?.is_some_and(|(until, _)| until > now);
        self.drop_owner(number, key)?;
        Ok(taken)
    }

    // --- rows ---

    fn taken(&self, number: u32, key: &str) -> Result<Option<(Millis, JobId)>> {
        let Some(row) = self.tables().owners.get((number, key))? else { return Ok(None) };
        let (until, owner) = row.value();
        Ok(Some((until, job_id(owner)?)))
    }

    /// The owner whose time is not over. One that must go first and went without anybody noticing has no claim on the
    /// id any more.
    fn living_owner(&mut self, number: u32, key: &str, now: Millis) -> Result<Option<Owner>> {
        let Some((until, id)) = self.taken(number, key)? else { return Ok(None) };
        let record = self.record(number, id.as_str())?;
        let gone = record.as_ref().is_none_or(|record| record.state().is_finished());
        if until <= now || (until == OWNERS_END && gone) {
            self.free(number, key)?;
            return Ok(None);
        }
        Ok(Some(Owner { id, until, record }))
    }

    fn own(&mut self, number: u32, key: &str, owner: &JobId, until: Millis) -> Result<()> {
        let until = if self.tables().nexts.get((number, key))?.is_some() { OWNERS_END } else { until };
        self.drop_owner(number, key)?;
        let tables = self.change();
        tables.owners.insert((number, key), (until, owner.as_str()))?;
        if until != OWNERS_END {
            tables.owners_due.insert((number, until, key), ())?;
        }
        Ok(())
    }

    /// The id is free.
    fn free(&mut self, number: u32, key: &str) -> Result<()> {
        self.drop_owner(number, key)?;
        self.change().nexts.remove((number, key))?;
        Ok(())
    }

    fn drop_owner(&mut self, number: u32, key: &str) -> Result<()> {
        let Some((until, _)) = self.taken(number, key)? else { return Ok(()) };
        let tables = self.change();
        tables.owners.remove((number, key))?;
        tables.owners_due.remove((number, until, key))?;
        Ok(())
    }

    fn sweep_owners(&mut self, number: u32, now: Millis) -> Result<()> {
        let mut over = Vec::new();
        let due = (number, 0, "")..(number, now.saturating_add(1), "");
        for row in self.tables().owners_due.range(due)?.take(SWEPT_MAX) {
            over.push(row?.0.value().2.to_owned());
        }
        for key in over {
            self.free(number, &key)?;
        }
        Ok(())
    }
}

fn read_kept(bytes: &[u8]) -> Result<Checked, StoreError> {
    let corrupt = |cause: &dyn std::fmt::Display| StoreError::Corrupt(format!("a job kept back: {cause}"));
    let Body { name, options, data, timestamp: _ } = Body::decode(bytes).map_err(|e| corrupt(&e))?;
    let options: JobOptions = serde_json::from_slice(options).map_err(|e| corrupt(&e))?;
    let data = Bytes::copy_from_slice(data);
    Checked::new(NewJob { name: name.into_owned(), data, options, parent: None })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use jobcell_core::QueueName;
    use jobcell_core::options::Keep;
    use jobcell_core::store::{Added, ClaimRequest, Claimed, Finish, Parent, Store, Verdict};
    use redb::ReadableTableMetadata;

    use super::*;
    use crate::{EmbeddedOptions, EmbeddedStore, PREFIX};

    const NOW: Millis = 1_700_000_000_000;

    fn queue() -> QueueName {
        QueueName::new("mail").unwrap()
    }

    fn open(directory: &Path) -> EmbeddedStore {
        EmbeddedStore::open(directory, EmbeddedOptions::default()).unwrap()
    }

    fn rule(key: &str) -> Deduplication {
        Deduplication { id: key.into(), ..Deduplication::default() }
    }

    fn job(name: &str, rule: Deduplication) -> NewJob {
        let options = JobOptions { deduplication: Some(rule), ..JobOptions::default() };
        NewJob { options, ..NewJob::new(name, "{}") }
    }

    async fn add(store: &EmbeddedStore, job: NewJob, now: Millis) -> Added {
        store.add(&queue(), vec![job], now).await.unwrap().remove(0)
    }

    async fn claim(store: &EmbeddedStore) -> Vec<Claimed> {
        let request = ClaimRequest {
            max: 100,
            token_prefix: "t".into(),
            token_first: 0,
            lock: Duration::from_secs(30),
            worker_name: None,
            rate: None,
            now: NOW,
        };
        store.claim(&queue(), &request).await.unwrap().jobs
    }

    async fn finish(store: &EmbeddedStore, claimed: &Claimed, verdict: Verdict) {
        let finish = Finish::new(claimed.id.clone(), claimed.token.clone(), verdict);
        let reply = store.finish(&queue(), vec![finish], None, NOW).await.unwrap();
        assert_eq!(reply.finished, [Ok(())]);
    }

    async fn complete(store: &EmbeddedStore, claimed: &Claimed) {
        finish(store, claimed, Verdict::Complete { result: "null".into(), keep: Keep::All }).await;
    }

    /// Rows of owners, of their times, and of jobs kept back.
    async fn rows(store: &EmbeddedStore) -> (u64, u64, u64) {
        let count = |tx: &mut Tx<'_>| {
            let tables = tx.tables();
            Ok((tables.owners.len()?, tables.owners_due.len()?, tables.nexts.len()?))
        };
        store.write(count).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn owners_their_times_and_kept_jobs_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let keeping = || Deduplication { keep_last_if_active: true, ..rule("kept") };
        let lasting = || Deduplication { ttl: Some(1000), ..rule("lasting") };
        let store = open(directory.path());
        let owner = add(&store, job("a", keeping()), NOW).await;
        claim(&store).await;
        add(&store, job("b", keeping()), NOW).await;
        let timed = add(&store, job("c", lasting()), NOW).await;
        let simple = add(&store, job("d", rule("simple")), NOW).await;
        store.close().await;

        let store = open(directory.path());
        assert_eq!(
            add(&store, job("e", rule("simple")), NOW).await,
            Added::Deduplicated(simple.id().clone())
        );
        assert_eq!(
            add(&store, job("e", lasting()), NOW + 999).await,
            Added::Deduplicated(timed.id().clone())
        );
        assert!(matches!(add(&store, job("f", lasting()), NOW + 1000).await, Added::New(_)));
        assert_eq!(
            add(&store, job("g", rule("kept")), NOW).await,
            Added::Deduplicated(owner.id().clone()),
            "its owner was active when the store was closed"
        );
        let policy = jobcell_core::store::StallPolicy { interval: Duration::from_millis(1), max: 1 };
        let recovered = store.recover_stalled(&queue(), policy, NOW).await.unwrap().jobs;
        assert_eq!(recovered, [owner.id().clone()]);
        for claimed in claim(&store).await {
            complete(&store, &claimed).await;
        }
        let kept = claim(&store).await;
        assert_eq!(kept[0].job.as_ref().unwrap().name, "b");
        assert_eq!(kept.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_left_of_ids_that_are_free() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        for n in 0..50 {
            let timed = Deduplication { ttl: Some(10), ..rule(&format!("timed-{n}")) };
            add(&store, job("a", timed), NOW + n).await;
        }
        let (owners, times, _) = rows(&store).await;
        assert_eq!((owners, times), (10, 10), "what is over goes while others come");
        let keeping = || Deduplication { keep_last_if_active: true, ..rule("kept") };
        add(&store, job("b", keeping()), NOW + 1000).await;
        let running = claim(&store).await;
        add(&store, job("c", keeping()), NOW + 1000).await;
        assert_eq!(rows(&store).await.2, 1);
        for claimed in &running {
            complete(&store, claimed).await;
        }
        let kept = claim(&store).await;
        assert_eq!((running.len(), kept.len()), (51, 1));
        complete(&store, &kept[0]).await;
        assert_eq!(rows(&store).await, (0, 0, 0));
        add(&store, job("d", rule("last")), NOW + 1000).await;
        assert_eq!(rows(&store).await, (1, 0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_owner_that_is_gone_holds_nobody_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let Added::New(finished) = add(&store, NewJob::new("a", "{}"), NOW).await else { panic!("not new") };
        complete(&store, &claim(&store).await[0]).await;
        let gone = JobId::new("77").unwrap();
        let leave = move |tx: &mut Tx<'_>| {
            let Some(number) = tx.find_queue(&queue())? else { panic!("no queue") };
            tx.own(number, "gone", &gone, OWNERS_END)?;
            tx.change().nexts.insert((number, "gone"), &b"left over"[..])?;
            tx.own(number, "finished", &finished, OWNERS_END)
        };
        store.write(leave).await.unwrap();
        for key in ["gone", "finished"] {
            assert!(matches!(add(&store, job("b", rule(key)), NOW).await, Added::New(_)), "{key}");
        }
        assert_eq!(rows(&store).await, (2, 0, 0), "what was kept back behind it went with it");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_kept_job_that_cannot_be_read_does_not_hold_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        add(&store, job("a", rule("d")), NOW).await;
        let spoil = |tx: &mut Tx<'_>| {
            let Some(number) = tx.find_queue(&queue())? else { panic!("no queue") };
            tx.change().nexts.insert((number, "d"), &b"?"[..])?;
            Ok(())
        };
        store.write(spoil).await.unwrap();
        complete(&store, &claim(&store).await[0]).await;
        assert_eq!(rows(&store).await, (0, 0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_parent_does_not_wait_for_a_replaced_child() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let Added::New(parent) = add(&store, NewJob::new("parent", "{}"), NOW).await else {
            panic!("not new")
        };
        let waiting = claim(&store).await;
        let child = |of: Option<&JobId>| {
            let mut job = job("child", Deduplication { replace: true, ..rule("d") });
            job.options.delay = 1000;
            job.parent = of.map(|id| Parent { queue_key: format!("{PREFIX}:mail"), id: id.clone() });
            job
        };
        add(&store, child(Some(&parent)), NOW).await;
        finish(&store, &waiting[0], Verdict::WaitForChildren).await;
        let state = || async { store.state(&queue(), &parent).await.unwrap() };
        assert!(matches!(add(&store, child(Some(&parent)), NOW).await, Added::New(_)));
        assert_eq!(state().await, Some(JobState::WaitingChildren), "the new one is its child, too");
        assert!(matches!(add(&store, child(None), NOW).await, Added::New(_)));
        assert_eq!(state().await, Some(JobState::Waiting));
    }
}
