//! Documents that live as long as the process: of handlers whose versions are this host's own files, and of tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Document, Documents, Entries, Entry, Expect, Folder, Log, Put, check_blob, check_document, check_entries,
    check_entry,
};
use crate::store::StoreError;

/// Documents of one process.
#[derive(Debug)]
pub struct MemoryDocuments {
    kept: Mutex<Kept>,
    /// The revisions of all folders, for those who wait for another one.
    revisions: watch::Sender<HashMap<Folder, u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    documents: BTreeMap<(Folder, String), (Document, Option<Instant>)>,
    blobs: HashMap<String, Bytes>,
    logs: HashMap<Log, (u64, VecDeque<Entry>)>,
}

// === impl MemoryDocuments ===

impl Default for MemoryDocuments {
    fn default() -> Self {
        Self { kept: Mutex::default(), revisions: watch::Sender::new(HashMap::new()) }
    }
}

impl MemoryDocuments {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        kept.documents.retain(|_, (_, expires)| expires.is_none_or(|at| now < at));
        kept
    }

    fn revision(&self, folder: Folder) -> u64 {
        self.revisions.borrow().get(&folder).copied().unwrap_or(0)
    }

    /// The next revision. Only called with `kept` locked, so that revisions and writes have one order.
    fn write(&self, folder: Folder) -> u64 {
        let mut revision = 0;
        self.revisions.send_modify(|all| {
            let of_folder = all.entry(folder).or_default();
            *of_folder += 1;
            revision = *of_folder;
        });
        revision
    }
}

impl MemoryDocuments {
    fn put_into(
        &self,
        kept: &mut Kept,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError> {
        check_document(name, &content)?;
        let place = (folder, name.to_owned());
        let there = kept.documents.get(&place).map(|(document, _)| document);
        if !expect.fits(there) {
            return Ok(Put::Conflict(there.cloned()));
        }
        let revision = self.write(folder);
        let expires = expires.and_then(|after| Instant::now().checked_add(after));
        kept.documents.insert(place, (Document { revision, content }, expires));
        Ok(Put::Written(revision))
    }
}

impl Kept {
    fn append(&mut self, log: &Log, content: Bytes, keep: u32) -> u64 {
        let (last, entries) = self.logs.entry(log.clone()).or_default();
        *last += 1;
        entries.push_back(Entry { number: *last, content });
        while entries.len() > keep.max(1) as usize {
            entries.pop_front();
        }
        *last
    }
}

#[async_trait]
impl Documents for MemoryDocuments {
    async fn get(&self, folder: Folder, name: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.kept().documents.get(&(folder, name.to_owned())).map(|(document, _)| document.clone()))
    }

    async fn list(&self, folder: Folder) -> Result<Vec<(String, Document)>, StoreError> {
        let kept = self.kept();
        let of_folder = kept.documents.iter().filter(|((of, _), _)| *of == folder);
        Ok(of_folder.map(|((_, name), (document, _))| (name.clone(), document.clone())).collect())
    }

    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError> {
        self.put_into(&mut self.kept(), folder, name, content, expect, expires)
    }

    async fn put_logged(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        entries: Entries<'_>,
    ) -> Result<Put, StoreError> {
        check_entries(&entries)?;
        let mut kept = self.kept();
        let put = self.put_into(&mut kept, folder, name, content, expect, None)?;
        if matches!(put, Put::Written(_)) {
            for content in entries.contents {
                kept.append(entries.log, content.clone(), entries.keep);
            }
        }
        Ok(put)
    }

    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError> {
        let mut kept = self.kept();
        let place = (folder, name.to_owned());
        let there = kept.documents.get(&place).map(|(document, _)| document);
        if !expect.fits(there) {
            return Ok(Put::Conflict(there.cloned()));
        }
        let is_there = kept.documents.remove(&place).is_some();
        Ok(Put::Written(if is_there { self.write(folder) } else { self.revision(folder) }))
    }

    async fn changed(
        &self,
        folder: Folder,
        seen: Option<u64>,
        patience: Duration,
    ) -> Result<u64, StoreError> {
        if let Some(seen) = seen {
            let mut revisions = self.revisions.subscribe();
            let is_another = |all: &HashMap<Folder, u64>| all.get(&folder).copied().unwrap_or(0) != seen;
            // Over when the patience is; the sender lives as long as `self`.
            let _ = tokio::time::timeout(patience, revisions.wait_for(is_another)).await;
        }
        Ok(self.revision(folder))
    }

    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError> {
        check_blob(digest, &content)?;
        self.kept().blobs.insert(digest.to_owned(), content);
        Ok(())
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.kept().blobs.get(digest).cloned())
    }

    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError> {
        self.kept().blobs.remove(digest);
        Ok(())
    }

    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError> {
        check_entry(log, &content)?;
        Ok(self.kept().append(log, content, keep))
    }

    async fn entries(&self, log: &Log, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let kept = self.kept();
        let Some((_, entries)) = kept.logs.get(log) else { return Ok(Vec::new()) };
        let older = entries.iter().rev().filter(|entry| before.is_none_or(|before| entry.number < before));
        Ok(older.take(limit as usize).cloned().collect())
    }
}
