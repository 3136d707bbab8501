//! What hosts share, in the same database as the jobs; blobs are files beside it. There is one host at a time, so changes
//! are told within it.
//!
//! What is only true while a host runs (which hosts there are, and what they are asked to do) is kept in memory, as
//! locks are: it would cost a flush to the disk every few seconds, and its end is the end of the process that holds the
//! store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::documents::{
    Document, Documents, Entries, Entry, Expect, Folder, Log, MemoryDocuments, Put, check_blob,
    check_document, check_entries, check_entry,
};
use jobcell_core::{Millis, StoreError};
use redb::{ReadableTable, Table};
use tokio::time::{Instant, timeout_at};

use crate::error::Result;
use crate::locks::millis;
use crate::read::View;
use crate::schema;
use crate::store::EmbeddedStore;
use crate::tx::Tx;

/// When a document without an expiry expires.
const NEVER: Millis = Millis::MAX;
/// Expired documents that one write sweeps out. More than one, so that sweeping keeps up with writing.
const SWEPT_MAX: usize = 8;
/// The pause of a wait while the file cannot be read.
const AWAY_PAUSE: Duration = Duration::from_millis(200);
/// The longest wait that is counted; nobody waits a century.
const PATIENCE_MAX: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The documents of an [`EmbeddedStore`].
#[derive(Clone)]
pub struct EmbeddedDocuments {
    store: EmbeddedStore,
}

/// A document with its expiry.
type Row = (Document, Millis);

impl EmbeddedDocuments {
    pub(crate) fn new(store: EmbeddedStore) -> Self {
        Self { store }
    }

    /// Where documents of this folder are when they are not on disk.
    fn fleeting(&self, folder: Folder) -> Option<&MemoryDocuments> {
        match folder {
            Folder::Hosts | Folder::Orders => Some(&self.store.shared().fleeting),
            Folder::Handlers | Folder::Sessions => None,
        }
    }

    fn now(&self) -> Millis {
        self.store.shared().clocks.wall.now()
    }

    async fn revision(&self, folder: Folder) -> Result<u64, StoreError> {
        self.store.read(move |view| revision(&view.read.open_table(schema::META)?, folder)).await
    }
}

#[async_trait]
impl Documents for EmbeddedDocuments {
    async fn get(&self, folder: Folder, name: &str) -> Result<Option<Document>, StoreError> {
        if let Some(fleeting) = self.fleeting(folder) {
            return fleeting.get(folder, name).await;
        }
        let (name, now) = (name.to_owned(), self.now());
        self.store.read(move |view| view.document(folder, &name, now)).await
    }

    async fn list(&self, folder: Folder) -> Result<Vec<(String, Document)>, StoreError> {
        if let Some(fleeting) = self.fleeting(folder) {
            return fleeting.list(folder).await;
        }
        let now = self.now();
        self.store.read(move |view| view.documents(folder, now)).await
    }

    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError> {
        if let Some(fleeting) = self.fleeting(folder) {
            return fleeting.put(folder, name, content, expect, expires).await;
        }
        check_document(name, &content)?;
        let name = name.to_owned();
        self.store.write(move |tx| tx.put_document(folder, &name, &content, expect, expires)).await
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
        if let Some(fleeting) = self.fleeting(folder) {
            // What does not last is not in the file that has the logs: they lose nothing that lasts.
            let put = fleeting.put(folder, name, content, expect, None).await?;
            if matches!(put, Put::Written(_)) {
                for content in entries.contents {
                    self.append(entries.log, content.clone(), entries.keep).await?;
                }
            }
            return Ok(put);
        }
        check_document(name, &content)?;
        let (name, log, keep) = (name.to_owned(), entries.log.key(), entries.keep.max(1));
        let contents = entries.contents.to_vec();
        let write = move |tx: &mut Tx<'_>| {
            let put = tx.put_document(folder, &name, &content, expect, None)?;
            if matches!(put, Put::Written(_)) {
                for content in &contents {
                    tx.append_entry(&log, content, keep)?;
                }
            }
            Ok(put)
        };
        self.store.write(write).await
    }

    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError> {
        if let Some(fleeting) = self.fleeting(folder) {
            return fleeting.remove(folder, name, expect).await;
        }
        let name = name.to_owned();
        self.store.write(move |tx| tx.remove_document(folder, &name, expect)).await
    }

    async fn changed(
        &self,
        folder: Folder,
        seen: Option<u64>,
        patience: Duration,
    ) -> Result<u64, StoreError> {
        if let Some(fleeting) = self.fleeting(folder) {
            return fleeting.changed(folder, seen, patience).await;
        }
        let Some(seen) = seen else { return self.revision(folder).await };
        let end = Instant::now() + patience.min(PATIENCE_MAX);
        // Before the first look: what comes after it is noticed.
        let mut news = self.store.shared().signals.documents.subscribe();
        loop {
            let looked = self.revision(folder).await;
            match looked {
                Ok(revision) if revision != seen => return Ok(revision),
                Err(e) if !e.is_transient() => return Err(e),
                looked => {
                    let until = if looked.is_ok() { end } else { end.min(Instant::now() + AWAY_PAUSE) };
                    match timeout_at(until, news.changed()).await {
                        Ok(Ok(())) => {}
                        Err(_) if until < end => {}
                        Ok(Err(_)) | Err(_) => return looked,
                    }
                }
            }
        }
    }

    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError> {
        check_blob(digest, &content)?;
        let digest = digest.to_owned();
        self.store.blobs(move |blobs| blobs.keep(&digest, &content)).await
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        let digest = digest.to_owned();
        self.store.blobs(move |blobs| blobs.find(&digest)).await
    }

    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError> {
        let digest = digest.to_owned();
        self.store.blobs(move |blobs| blobs.forget(&digest)).await
    }

    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError> {
        check_entry(log, &content)?;
        let name = log.key();
        self.store.write(move |tx| tx.append_entry(&name, &content, keep.max(1))).await
    }

    async fn entries(&self, log: &Log, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let name = log.key();
        self.store.read(move |view| view.entries(&name, before, limit)).await
    }
}

/// Where the folder's revision stands.
fn place_of(folder: Folder) -> String {
    format!("documents:{}", folder.as_str())
}

fn revision(meta: &impl ReadableTable<&'static str, u64>, folder: Folder) -> Result<u64> {
    Ok(meta.get(place_of(folder).as_str())?.map_or(0, |row| row.value()))
}

/// The document, when it has not expired, and when it will.
fn look(
    documents: &impl ReadableTable<(&'static str, &'static str), (u64, u64, &'static [u8])>,
    folder: Folder,
    name: &str,
    now: Millis,
) -> Result<Option<Row>> {
    let Some(row) = documents.get((folder.as_str(), name))? else { return Ok(None) };
    let (revision, expires, content) = row.value();
    let document = Document { revision, content: Bytes::copy_from_slice(content) };
    Ok((expires > now).then_some((document, expires)))
}

impl Tx<'_> {
    fn put_document(
        &mut self,
        folder: Folder,
        name: &str,
        content: &[u8],
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put> {
        let now = self.wall();
        let there = look(&self.tables().documents, folder, name, now)?.map(|(document, _)| document);
        if !expect.fits(there.as_ref()) {
            return Ok(Put::Conflict(there));
        }
        self.drop_document(folder, name)?;
        self.sweep_documents(now)?;
        let revision = self.next_revision(folder)?;
        let expires = expires.map_or(NEVER, |after| now.saturating_add(millis(after)));
        let tables = self.change();
        tables.documents.insert((folder.as_str(), name), (revision, expires, content))?;
        if expires != NEVER {
            tables.documents_due.insert((expires, folder.as_str(), name), ())?;
        }
        Ok(Put::Written(revision))
    }

    fn remove_document(&mut self, folder: Folder, name: &str, expect: Expect) -> Result<Put> {
        let now = self.wall();
        let there = look(&self.tables().documents, folder, name, now)?.map(|(document, _)| document);
        if !expect.fits(there.as_ref()) {
            return Ok(Put::Conflict(there));
        }
        if there.is_none() {
            return revision(&self.tables().meta, folder).map(Put::Written);
        }
        self.drop_document(folder, name)?;
        self.sweep_documents(now)?;
        self.next_revision(folder).map(Put::Written)
    }

    fn next_revision(&mut self, folder: Folder) -> Result<u64> {
        let next = revision(&self.tables().meta, folder)? + 1;
        self.change().meta.insert(place_of(folder).as_str(), next)?;
        self.documents_changed();
        Ok(next)
    }

    /// Takes a document out, expired or not.
    fn drop_document(&mut self, folder: Folder, name: &str) -> Result<()> {
        let place = (folder.as_str(), name);
        let Some(expires) = self.tables().documents.get(place)?.map(|row| row.value().1) else {
            return Ok(());
        };
        let tables = self.change();
        tables.documents.remove(place)?;
        tables.documents_due.remove((expires, folder.as_str(), name))?;
        Ok(())
    }

    fn sweep_documents(&mut self, now: Millis) -> Result<()> {
        let mut expired = Vec::new();
        for row in self.tables().documents_due.range(..(now.saturating_add(1), "", ""))?.take(SWEPT_MAX) {
            let (place, _) = row?;
            let (expires, folder, name) = place.value();
            expired.push((expires, folder.to_owned(), name.to_owned()));
        }
        for (expires, folder, name) in expired {
            let (folder, name) = (folder.as_str(), name.as_str());
            let tables = self.change();
            tables.documents.remove((folder, name))?;
            tables.documents_due.remove((expires, folder, name))?;
        }
        Ok(())
    }

    fn append_entry(&mut self, log: &str, content: &[u8], keep: u32) -> Result<u64> {
        let numbers = |entries: &Table<'_, (&'static str, u64), &'static [u8]>| {
            let mut all = entries.range((log, 0)..=(log, u64::MAX))?;
            let first = all.next().transpose()?.map(|(place, _)| place.value().1);
            let last = all.next_back().transpose()?.map(|(place, _)| place.value().1);
            Ok::<_, crate::error::Fault>((first, last.or(first)))
        };
        let (first, last) = numbers(&self.tables().entries)?;
        let number = last.unwrap_or(0) + 1;
        let tables = self.change();
        tables.entries.insert((log, number), content)?;
        // Numbers have no gaps.
        let kept = (number + 1).saturating_sub(u64::from(keep));
        for old in first.unwrap_or(number)..kept {
            tables.entries.remove((log, old))?;
        }
        Ok(number)
    }
}

impl View {
    fn document(&self, folder: Folder, name: &str, now: Millis) -> Result<Option<Document>> {
        let documents = self.read.open_table(schema::DOCUMENTS)?;
        Ok(look(&documents, folder, name, now)?.map(|(document, _)| document))
    }

    fn documents(&self, folder: Folder, now: Millis) -> Result<Vec<(String, Document)>> {
        let mut all = Vec::new();
        for row in self.read.open_table(schema::DOCUMENTS)?.range((folder.as_str(), "")..)? {
            let (place, row) = row?;
            let (of, name) = place.value();
            if of != folder.as_str() {
                break;
            }
            let (revision, expires, content) = row.value();
            if expires > now {
                all.push((name.to_owned(), Document { revision, content: Bytes::copy_from_slice(content) }));
            }
        }
        Ok(all)
    }

    fn entries(&self, log: &str, before: Option<u64>, limit: u32) -> Result<Vec<Entry>> {
        let entries = self.read.open_table(schema::ENTRIES)?;
        let range = entries.range((log, 0)..(log, before.unwrap_or(u64::MAX)))?;
        let mut newest = Vec::new();
        for row in range.rev().take(limit as usize) {
            let (place, content) = row?;
            let content = Bytes::copy_from_slice(content.value());
            newest.push(Entry { number: place.value().1, content });
        }
        Ok(newest)
    }
}
