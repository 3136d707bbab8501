//! The database file: opening it, and opening it anew after an I/O error.
//!
//! After a failed read or write the database refuses everything until it is opened anew, because what it holds in
//! memory may differ from the disk. What was committed is whole on disk, so that is all that is lost: a failed
//! transaction. The writer reopens; until it succeeds every verb says why it cannot work.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use jobcell_core::StoreError;
use redb::{Database, ReadableDatabase, ReadableTable, TableHandle};

use crate::blobs::Blobs;
use crate::error::{EmbeddedError, Fault, Result};
use crate::schema::{self, FORMAT};

/// The database file of a store, and the blobs beside it.
pub(crate) struct DatabaseFile {
    path: PathBuf,
    cache_bytes: usize,
    blobs: Blobs,
    state: RwLock<State>,
}

enum State {
    Open(Database),
    /// It could not be opened anew, for this reason.
    Broken(String),
    Closed,
}

impl DatabaseFile {
    pub(crate) fn open(path: PathBuf, cache_bytes: usize, blobs: Blobs) -> Result<Self, EmbeddedError> {
        let database = open(&path, cache_bytes, &blobs)?;
        Ok(Self { path, cache_bytes, blobs, state: RwLock::new(State::Open(database)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Uses the database.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&Database) -> Result<R>) -> Result<R> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(database) => call(database),
            State::Broken(cause) => Err(StoreError::Unavailable(cause.clone()).into()),
            State::Closed => Err(closed().into()),
        }
    }

    /// Uses the blobs, which are usable as long as the database is.
    pub(crate) fn with_blobs<R>(&self, call: impl FnOnce(&Blobs) -> Result<R>) -> Result<R> {
        self.with(|_| call(&self.blobs))
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(&*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Broken(_))
    }

    /// Opens the file anew. Waits for the reads that go on, and for the blobs that are being written.
    pub(crate) fn reopen(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Closed) {
            return;
        }
        // The old one must be gone before: it holds the file's lock.
        *state = State::Broken(format!("{} is being opened anew after an I/O error", self.path.display()));
        *state = match open(&self.path, self.cache_bytes, &self.blobs) {
            Ok(database) => {
                tracing::info!(path = %self.path.display(), "embedded store opened anew after an I/O error");
                State::Open(database)
            }
            Err(error) => State::Broken(error.to_string()),
        };
    }

    /// Writes what is open and lets go of the file.
    pub(crate) fn close(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }
}

pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("the embedded store is closed".into())
}

fn open(path: &Path, cache_bytes: usize, blobs: &Blobs) -> Result<Database, EmbeddedError> {
    let shown = path.display().to_string();
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .set_repair_callback(move |repair| {
            // Once for people; a large file's progress is for those who look for it.
            if repair.progress() == 0.0 {
                tracing::info!(path = shown, "embedded store was not closed cleanly; checking it");
            } else {
                tracing::debug!(
                    path = shown,
                    percent = repair.progress() * 100.0,
                    "checking the embedded store"
                );
            }
        })
        .create(path);
    let database = database.map_err(|e| EmbeddedError::database(path, e.into()))?;
    let fault = |fault| match fault {
        Fault::Database(error) => EmbeddedError::database(path, *error),
        Fault::Beside { path, cause } => EmbeddedError::Io { path, cause },
        Fault::Verb(error) => EmbeddedError::database(path, redb::Error::Corrupted(error.to_string())),
    };
    let found = format(&database).map_err(fault)?;
    if let Some(found) = found.filter(|found| *found > FORMAT) {
        return Err(EmbeddedError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    blobs.prepare().map_err(fault)?;
    if found != Some(FORMAT) || !has_all_tables(&database).map_err(fault)? {
        prepare(&database, blobs).map_err(fault)?;
    }
    Ok(database)
}

/// The format of the file; none when it is new.
fn format(database: &Database) -> Result<Option<u64>> {
    let read = database.begin_read()?;
    match read.open_table(schema::META) {
        Ok(meta) => Ok(meta.get("format")?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether there is nothing to prepare. A file on a full disk must open, and preparing writes.
fn has_all_tables(database: &Database) -> Result<bool> {
    Ok(database.begin_read()?.list_tables()?.count() >= schema::TABLES)
}

/// Makes all tables that do not exist, so that readers find them: an older version knew fewer. Moves blobs out that it kept
/// in one.
fn prepare(database: &Database, blobs: &Blobs) -> Result<()> {
    let write = database.begin_write()?;
    if write.list_tables()?.any(|table| table.name() == schema::BLOBS.name()) {
        for row in write.open_table(schema::BLOBS)?.iter()? {
            let (name, content) = row?;
            blobs.keep(name.value(), content.value())?;
        }
        write.delete_table(schema::BLOBS)?;
    }
    crate::tx::make_tables(&write)?;
    write.open_table(schema::META)?.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_prepared_once_and_then_has_every_table() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::create(directory.path().join("jobs.redb")).unwrap();
        assert!(!has_all_tables(&database).unwrap());
        prepare(&database, &Blobs::of(directory.path())).unwrap();
        assert_eq!(database.begin_read().unwrap().list_tables().unwrap().count(), schema::TABLES);
    }

    #[test]
    fn blobs_of_the_first_format_are_moved_to_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.redb");
        let old = Database::create(&path).unwrap();
        let write = old.begin_write().unwrap();
        crate::tx::make_tables(&write).unwrap();
        write.open_table(schema::META).unwrap().insert("format", 1).unwrap();
        write.open_table(schema::BLOBS).unwrap().insert("digest", &b"content"[..]).unwrap();
        write.commit().unwrap();
        drop(old);
        for _ in 0..2 {
            let blobs = Blobs::of(directory.path());
            let database = open(&path, 1 << 20, &blobs).unwrap();
            assert_eq!(blobs.find("digest").unwrap().unwrap(), "content");
            assert_eq!(format(&database).unwrap(), Some(FORMAT));
            assert_eq!(database.begin_read().unwrap().list_tables().unwrap().count(), schema::TABLES);
        }
    }
}
