//! The port behind what the hosts of a fleet share besides jobs: the versions that are wanted, the hosts and what they
//! run, sessions, who did what.
//!
//! A *document* is a small text under a name in a [`Folder`]. Every write of a folder gets the folder's next revision,
//! so that a revision says which state somebody saw: writing back only over that one ([`Expect::Revision`]) is how two
//! operators at once get a clear conflict and never a mix. A *blob* is named by the digest of its content and never
//! changes. A *log* is a list that forgets its oldest entries.

mod memory;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::StoreError;
pub use memory::MemoryDocuments;

/// Bytes of one document at most: what a handler with its fifty versions needs, many times over. Larger things are blobs.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of a blob at most: the largest artifact that is admitted.
pub const BLOB_BYTES_MAX: usize = 32 << 20;
/// Bytes of a document's name at most.
pub const NAME_BYTES_MAX: usize = 256;

/// Documents of one kind, and the unit in which changes are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Folder {
    /// What is wanted of each handler, by its name.
    Handlers,
    /// The hosts that live, by their ids. They expire unless they are written again.
    Hosts,
    /// What hosts are asked to do, by their ids.
    Orders,
    /// Sessions of the dashboard, by the hash of their secret. They expire.
    Sessions,
}

/// A list that forgets its oldest entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Log {
    /// Who did what, through the API, the dashboard and the command line.
    Audit,
    /// What happened to one handler's versions.
    Handler(String),
    /// What attempts of one queue's jobs asked and were told, to run them again.
    Recordings(String),
}

/// A document as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Which write of its folder made it so.
    pub revision: u64,
    /// What it says.
    pub content: Bytes,
}

/// What a write expects to find. Anything else there is a [`Put::Conflict`] and nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever there is.
    Anything,
    /// No document of that name.
    Absent,
    /// The document as this write left it.
    Revision(u64),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Written (or removed), as this revision of the folder.
    Written(u64),
    /// Something else is there: this, or nothing.
    Conflict(Option<Document>),
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: larger than that of every older entry, never used twice.
    pub number: u64,
    /// What it says.
    pub content: Bytes,
}

/// What is added to a log with the write of a document.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'a> {
    /// The log.
    pub log: &'a Log,
    /// The entries, in their order.
    pub contents: &'a [Bytes],
    /// How many of the newest it keeps.
    pub keep: u32,
}

/// Documents, blobs and logs of a fleet.
///
/// Every method is one atomic step, and what one caller wrote every later one sees. An answer means that it is kept as
/// safely as jobs are. Dropping a call's future may leave it done or undone. What is over its bound ([`DOCUMENT_BYTES_MAX`],
/// [`BLOB_BYTES_MAX`], [`NAME_BYTES_MAX`], an empty name; for an entry of a log those of a document) is
/// [`StoreError::Rejected`].
#[async_trait]
pub trait Documents: Send + Sync + 'static {
    /// The document; none when there is none or it has expired.
    async fn get(&self, folder: Folder, name: &str) -> Result<Option<Document>, StoreError>;

    /// All documents of the folder that have not expired, by name.
    async fn list(&self, folder: Folder) -> Result<Vec<(String, Document)>, StoreError>;

    /// Writes the document if what is there is what was expected. With `expires` it vanishes by itself that long after
    /// this write, by the store's clock; a document that vanishes that way is no change of its folder.
    ///
    /// Not to be repeated blindly after [`StoreError::Unavailable`] unless it expects [`Expect::Anything`]: it may have
    /// been done.
    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError>;

    /// As [`Documents::put`] of a document that stays, which in the same step adds these entries to a log, in their order:
    /// either all is written or nothing. The log keeps the newest `keep`, of which it is always one.
    async fn put_logged(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        entries: Entries<'_>,
    ) -> Result<Put, StoreError>;

    /// Removes the document if what is there is what was expected. Removing what is not there is no change: it answers
    /// with the folder's revision as it is.
    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError>;

    /// The folder's revision as soon as it is another one than `seen`, or after `patience` in any case. Without `seen`
    /// it answers at once. A folder that nobody ever wrote has revision 0. Cancel safe.
    ///
    /// A store that cannot be reached for a while is waited for: [`StoreError::Unavailable`] comes when the patience is
    /// over, so that callers may just ask again.
    async fn changed(&self, folder: Folder, seen: Option<u64>, patience: Duration)
    -> Result<u64, StoreError>;

    /// Keeps the blob; its name is what the caller computed from it. Keeping one that is there is no fault, and may be
    /// repeated.
    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError>;

    /// The blob, when there is one.
    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError>;

    /// Forgets the blob; fine when there is none.
    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError>;

    /// Adds an entry behind the others and forgets all but the newest `keep`, of which it is always one. Returns its
    /// number.
    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError>;

    /// At most `limit` entries, the newest first, all of them older than `before` where that is given.
    async fn entries(&self, log: &Log, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, StoreError>;
}

// === impl Expect ===

impl Expect {
    /// Whether what is there, if anything, is what was expected.
    #[must_use]
    pub fn fits(self, there: Option<&Document>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => there.is_none(),
            Self::Revision(revision) => there.is_some_and(|there| there.revision == revision),
        }
    }
}

// === impl Folder ===

impl Folder {
    /// Every folder there is.
    pub const ALL: [Self; 4] = [Self::Handlers, Self::Hosts, Self::Orders, Self::Sessions];

    /// What it is called in keys and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handlers => "handlers",
            Self::Hosts => "hosts",
            Self::Orders => "orders",
            Self::Sessions => "sessions",
        }
    }
}

// === impl Log ===

impl Log {
    /// What it is called in keys, different for every log.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Audit => "audit".to_owned(),
            Self::Handler(name) => format!("handler:{name}"),
            Self::Recordings(queue) => format!("recordings:{queue}"),
        }
    }
}

/// Refuses what no store may be asked to keep.
///
/// # Errors
/// [`StoreError::Rejected`] with the bound that was passed.
pub fn check_document(name: &str, content: &[u8]) -> Result<(), StoreError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(StoreError::Rejected(format!(
            "a document's name has 1 to {NAME_BYTES_MAX} bytes, not {}",
            name.len()
        )));
    }
    if content.len() > DOCUMENT_BYTES_MAX {
        return Err(StoreError::Rejected(format!(
            "document {name:?} has {} bytes; at most {DOCUMENT_BYTES_MAX} are kept",
            content.len()
        )));
    }
    Ok(())
}

/// Refuses what no store may be asked to keep.
///
/// # Errors
/// [`StoreError::Rejected`] with the bound that was passed.
pub fn check_entry(log: &Log, content: &[u8]) -> Result<(), StoreError> {
    match log {
        Log::Audit => check_document("audit", content),
        Log::Handler(name) | Log::Recordings(name) => check_document(name, content),
    }
}

/// Refuses what no store may be asked to keep.
///
/// # Errors
/// [`StoreError::Rejected`] with the bound that was passed.
pub fn check_entries(entries: &Entries<'_>) -> Result<(), StoreError> {
    entries.contents.iter().try_for_each(|content| check_entry(entries.log, content))
}

/// Refuses what no store may be asked to keep.
///
/// # Errors
/// [`StoreError::Rejected`] with the bound that was passed.
pub fn check_blob(digest: &str, content: &[u8]) -> Result<(), StoreError> {
    if digest.is_empty() || digest.len() > NAME_BYTES_MAX {
        return Err(StoreError::Rejected(format!(
            "a blob's name has 1 to {NAME_BYTES_MAX} bytes, not {}",
            digest.len()
        )));
    }
    if content.len() > BLOB_BYTES_MAX {
        return Err(StoreError::Rejected(format!(
            "blob {digest} has {} bytes; at most {BLOB_BYTES_MAX} are kept",
            content.len()
        )));
    }
    Ok(())
}
