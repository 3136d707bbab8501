//! The spool's file: jobs by number, and those that were put aside.

use std::path::Path;

use bytes::Bytes;
use jobcell_core::store::NewJob;
use jobcell_core::{JobOptions, Millis, QueueName};
use jobcell_server::SpoolError;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

const WAITING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("waiting");
const ASIDE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("aside");
/// Memory for its pages: it is read once from front to end.
const CACHE_BYTES: usize = 4 << 20;
/// Jobs that are kept of those that were put aside.
const ASIDE_MAX: u64 = 1000;

/// How much is held, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) jobs: u64,
    pub(super) bytes: u64,
}

/// A job as it waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Spooled {
    pub(super) queue: String,
    pub(super) id: String,
    name: String,
    data: String,
    options: JobOptions,
}

/// A job with its place.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) number: u64,
    /// Of its row.
    pub(super) bytes: u64,
    pub(super) job: Spooled,
}

/// See the module.
pub(super) struct SpoolFile {
    database: Database,
}

// === impl Spooled ===

impl Spooled {
    /// This job, as accepted now: its delay counts from here.
    pub(super) fn new(queue: &QueueName, job: &NewJob, now: Millis) -> Result<Self, SpoolError> {
        let NewJob { name, data, options, parent } = job;
        if parent.is_some() || options.parent.is_some() {
            return Err(SpoolError::Unfit(format!(
                "whether the parent of job {name:?} exists can only be told when it is back; send it again then"
            )));
        }
        let Some(id) = options.job_id.clone() else {
            return Err(SpoolError::Unfit(format!("job {name:?} has no id")));
        };
        let data = String::from_utf8(data.to_vec())
            .map_err(|_| SpoolError::Unfit(format!("the payload of job {name:?} is not text")))?;
        let options = JobOptions { timestamp: options.timestamp.or(Some(now)), ..options.clone() };
        Ok(Self { queue: queue.to_string(), id, name: name.clone(), data, options })
    }

    pub(super) fn encoded(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    pub(super) fn new_job(&self) -> NewJob {
        NewJob {
            name: self.name.clone(),
            data: Bytes::from(self.data.clone()),
            options: self.options.clone(),
            parent: None,
        }
    }
}

// === impl SpoolFile ===

impl SpoolFile {
    /// Opens or makes it, and counts what is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Held), String> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(told)?;
        }
        let mut builder = Database::builder();
        let database = builder.set_cache_size(CACHE_BYTES).create(path).map_err(told)?;
        only_ours(path)?;
        let write = database.begin_write().map_err(told)?;
        let held = {
            let waiting = write.open_table(WAITING).map_err(told)?;
            write.open_table(ASIDE).map_err(told)?;
            waiting.iter().map_err(told)?.try_fold(Held::default(), |held, row| {
                let (_, row) = row.map_err(told)?;
                Ok::<_, String>(Held { jobs: held.jobs + 1, bytes: held.bytes + row.value().len() as u64 })
            })?
        };
        write.commit().map_err(told)?;
        Ok((Self { database }, held))
    }

    /// Adds rows behind the others, all or none. They survive a crash of the machine.
    pub(super) fn append(&self, rows: &[Vec<u8>]) -> Result<(), String> {
        let write = self.database.begin_write().map_err(told)?;
        {
            let mut waiting = write.open_table(WAITING).map_err(told)?;
            let last = waiting.last().map_err(told)?.map_or(0, |(number, _)| number.value());
            for (number, row) in (last + 1..).zip(rows) {
                waiting.insert(number, row.as_slice()).map_err(told)?;
            }
        }
        write.commit().map_err(told)
    }

    /// The first so many.
    pub(super) fn first(&self, count: usize) -> Result<Vec<Numbered>, String> {
        let read = self.database.begin_read().map_err(told)?;
        let waiting = read.open_table(WAITING).map_err(told)?;
        let rows = waiting.iter().map_err(told)?.take(count);
        rows.map(|row| {
            let (number, row) = row.map_err(told)?;
            let job = serde_json::from_slice(row.value()).map_err(told)?;
            Ok(Numbered { number: number.value(), bytes: row.value().len() as u64, job })
        })
        .collect()
    }

    /// Removes these.
    pub(super) fn remove(&self, numbers: &[u64]) -> Result<(), String> {
        let write = self.database.begin_write().map_err(told)?;
        {
            let mut waiting = write.open_table(WAITING).map_err(told)?;
            for number in numbers {
                waiting.remove(number).map_err(told)?;
            }
        }
        write.commit().map_err(told)
    }

    /// Puts one aside, where the newest are kept.
    pub(super) fn put_aside(&self, number: u64) -> Result<(), String> {
        let write = self.database.begin_write().map_err(told)?;
        {
            let mut waiting = write.open_table(WAITING).map_err(told)?;
            let mut aside = write.open_table(ASIDE).map_err(told)?;
            let row = waiting.remove(number).map_err(told)?.map(|row| row.value().to_vec());
            if let Some(row) = row {
                let place = aside.last().map_err(told)?.map_or(1, |(last, _)| last.value() + 1);
                aside.insert(place, row.as_slice()).map_err(told)?;
                aside.retain(|at, _| at + ASIDE_MAX > place).map_err(told)?;
            }
        }
        write.commit().map_err(told)
    }
}

/// Payloads are nobody else's to read.
fn only_ours(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(told)
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
