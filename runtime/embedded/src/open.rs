//! Opening a store: its options, its directory, and the lock that keeps others out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobcell_core::documents::MemoryDocuments;
use jobcell_core::store::SeriesPoints;
use jobcell_core::{Clock, SystemClock};

use crate::blobs::Blobs;
use crate::error::EmbeddedError;
use crate::file::DatabaseFile;
use crate::locks::{Locks, SteadyClock};
use crate::read::View;
use crate::signals::Signals;
use crate::tx::Clocks;
use crate::workers::Workers;

/// The database, in the store's directory.
const DATABASE: &str = "jobs.redb";

/// Held for as long as the store is open; has the process id of its holder.
const LOCK: &str = "lock";

/// How a store is opened.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Memory for pages of the database. Default 16 MiB: the waiting jobs of a busy queue fit, and an idle host stays
    /// small. Less reads more from the disk.
    pub cache_bytes: usize,
    /// Replaces all clocks that the store reads by itself: for tests. Default none: the time of day for delays, and
    /// one that nobody sets for locks.
    pub clock: Option<Arc<dyn Clock>>,
    /// Minutes of completed and failed counts kept of each queue. Default none, which saves a little of every end.
    pub series: SeriesPoints,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 * 1024 * 1024, clock: None, series: SeriesPoints::default() }
    }
}

/// The directory of an open store. Dropping it lets others in.
pub(crate) struct Directory {
    _lock: File,
}

impl Directory {
    fn acquire(path: &Path) -> Result<Self, EmbeddedError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| EmbeddedError::Io { path, cause }
        };
        make_directory(path).map_err(failed(path))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let pid = lock.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(EmbeddedError::InUse { directory: path.to_owned(), pid });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(&lock_path)(cause)),
        }
        // The id is a help for people only: a full disk must not keep a store from being opened.
        if let Err(error) = note_holder(&mut lock) {
            tracing::debug!(path = %lock_path.display(), %error, "process id not noted");
        }
        Ok(Self { _lock: lock })
    }
}

fn note_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Makes the directory for this user alone: payloads may be private.
fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// What all handles of an open store share with its writer.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) file: DatabaseFile,
    pub(crate) locks: Locks,
    pub(crate) signals: Signals,
    pub(crate) clocks: Clocks,
    pub(crate) workers: Workers,
    pub(crate) series: SeriesPoints,
    /// Documents that are only true while this process runs.
    pub(crate) fleeting: MemoryDocuments,
}

impl Shared {
    pub(crate) fn open(path: &Path, options: EmbeddedOptions) -> Result<(Self, Directory), EmbeddedError> {
        let EmbeddedOptions { cache_bytes, clock, series } = options;
        let directory = Directory::acquire(path)?;
        let database = path.join(DATABASE);
        let file = DatabaseFile::open(database.clone(), cache_bytes, Blobs::of(path))?;
        // The new file's entry must survive a power cut as the file itself does.
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(|cause| EmbeddedError::Io { path: path.to_owned(), cause })?;
        let clocks = match clock {
            Some(clock) => Clocks { wall: clock.clone(), steady: clock },
            None => Clocks { wall: Arc::new(SystemClock), steady: Arc::new(SteadyClock::start()) },
        };
        let (locks, signals) = (Locks::default(), Signals::default());
        let (workers, fleeting) = (Workers::default(), MemoryDocuments::default());
        let directory_path = path.to_owned();
        let shared =
            Self { directory: directory_path, file, locks, signals, clocks, workers, series, fleeting };
        shared.look_around().map_err(|fault| {
            let error = fault.into_store_error(&database);
            EmbeddedError::database(&database, redb::Error::Corrupted(error.to_string()))
        })?;
        Ok((shared, directory))
    }

    /// Learns from the disk what lives in memory: which jobs are active though nobody has their lock, the newest
    /// events, and when delayed jobs are due.
    pub(crate) fn look_around(&self) -> crate::error::Result<()> {
        self.file.with(|database| {
            let view = View::of(database)?;
            let now = self.clocks.steady.now();
            for (name, queue) in view.queues()? {
                let due = view.next_due(&queue)?;
                let signal = self.signals.of(&name);
                signal.events.send_replace(queue.last_event);
                signal.work.send_modify(|hint| {
                    hint.due = due;
                    hint.generation += 1;
                });
                self.locks.add_orphans(name, view.active(&queue)?, now);
            }
            Ok(())
        })
    }
}
