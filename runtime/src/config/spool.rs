//! `[spool]`: where jobs that come in over the API wait while Redis is away.

use std::path::PathBuf;

use super::forms::{BYTES, COUNT, PATH};
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// A spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Its file.
    pub path: PathBuf,
    /// Jobs in it at most.
    pub jobs_max: u64,
    /// Bytes of them at most.
    pub bytes_max: u64,
}

const SPOOL_PATH: Key<PathBuf> = Key::new(
    "path",
    PATH,
    Absent::Means("no spool: jobs are refused with 503 while Redis is away"),
    "The file in which jobs that come in over the API are kept while Redis is away. They are answered with 202, survive \
     a crash, and are put on their queues in order when Redis is back. With a spool every job of the API has a chosen \
     id, so that none is added twice; list queues, which know no ids, are not spooled. One host at a time can use it.",
);
const MAX_JOBS: Key<u64> = Key::value(
    "max-jobs",
    COUNT,
    "100000",
    "Jobs in it at most; more are refused with 503. `jobcell_spool_jobs` shows how many there are.",
);
const MAX_BYTES: Key<u64> = Key::value(
    "max-bytes",
    BYTES,
    "\"256MiB\"",
    "Bytes of their names, payloads and options at most. The file is up to three times as large.",
);
pub(super) static SPOOL: Section = Section {
    about: "Accepts jobs while Redis is away. Off unless it has a path.",
    keys: &[SPOOL_PATH.entry(), MAX_JOBS.entry(), MAX_BYTES.entry()],
};

pub(super) fn read(reader: &Reader<'_>) -> Option<SpoolConfig> {
    let (path, jobs_max, bytes_max) =
        (reader.get(&SPOOL_PATH), reader.value(&MAX_JOBS), reader.value(&MAX_BYTES));
    Some(SpoolConfig { path: path?, jobs_max, bytes_max })
}
