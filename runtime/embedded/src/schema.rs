//! The tables of the database file, and how a job's place among the others is written as a key.
//!
//! A job is spread over tables by how often its parts change: [`JOBS`] holds the small record that every verb
//! rewrites, [`BODIES`] what the producer gave, [`OUTPUTS`] what attempts left. So a large payload is written once, not
//! at every change of state.

use jobcell_core::JobState;
use redb::TableDefinition;

/// What this version writes. A file with a greater number is refused; in one of format 1, [`BLOBS`] is still a table.
pub(crate) const FORMAT: u64 = 2;

/// How many tables there are.
pub(crate) const TABLES: usize = 21;

/// Facts about the file itself: `format`; `events`, a number that no event of a queue to be made may have;
/// `documents:FOLDER`, the revision of a folder.
pub(crate) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// Queue name → [`crate::queue::Queue`].
pub(crate) const QUEUES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("queues");
/// (queue, job) → [`crate::record::Record`].
pub(crate) const JOBS: TableDefinition<'static, (u32, &str), &[u8]> = TableDefinition::new("jobs");
/// (queue, job) → [`crate::record::Body`].
pub(crate) const BODIES: TableDefinition<'static, (u32, &str), &[u8]> = TableDefinition::new("bodies");
/// (queue, job, [`Output`]) → bytes.
pub(crate) const OUTPUTS: TableDefinition<'static, (u32, &str, u8), &[u8]> = TableDefinition::new("outputs");
/// (queue, state, a, b) → job: every job is here exactly once, at its [`Place`].
pub(crate) const PLACES: TableDefinition<'static, (u32, u8, u64, u64), &str> = TableDefinition::new("places");
/// (queue, job, line number) → log line.
pub(crate) const LOGS: TableDefinition<'static, (u32, &str, u64), &str> = TableDefinition::new("logs");
/// (queue, parent, full key of the child) → [`crate::children::Child`].
pub(crate) const CHILDREN: TableDefinition<'static, (u32, &str, &str), &[u8]> =
    TableDefinition::new("children");
/// (queue, deduplication id) → (until when it is taken, by which job).
pub(crate) const OWNERS: TableDefinition<'static, (u32, &str), (u64, &str)> = TableDefinition::new("owners");
/// (queue, until when it is taken, deduplication id): what to sweep out of [`OWNERS`].
pub(crate) const OWNERS_DUE: TableDefinition<'static, (u32, u64, &str), ()> =
    TableDefinition::new("owners_due");
/// (queue, deduplication id) → [`crate::record::Body`] of the job to be made when the owner finishes.
pub(crate) const NEXTS: TableDefinition<'static, (u32, &str), &[u8]> = TableDefinition::new("nexts");
/// (queue, scheduler) → [`crate::schedulers::Row`].
pub(crate) const SCHEDULERS: TableDefinition<'static, (u32, &str), &[u8]> =
    TableDefinition::new("schedulers");
/// (queue, [`code`] of completed or failed, minute) → jobs that ended so in that minute.
pub(crate) const SERIES: TableDefinition<'static, (u32, u8, u64), u64> = TableDefinition::new("series");
/// (queue, number of the first event) → the events that one commit told.
pub(crate) const EVENTS: TableDefinition<'static, (u32, u64), &[u8]> = TableDefinition::new("events");
/// Key → (when it expires, value) of the cache.
pub(crate) const CACHE: TableDefinition<'static, &str, (u64, &[u8])> = TableDefinition::new("cache");
/// (when it expires, key): what to sweep out of [`CACHE`].
pub(crate) const CACHE_DUE: TableDefinition<'static, (u64, &str), ()> = TableDefinition::new("cache_due");

/// (bucket, key) → (its place in [`VALUE_KEYS`], value) of the key-value store.
pub(crate) const VALUES: TableDefinition<'static, (&str, &str), (u64, &[u8])> =
    TableDefinition::new("values");
/// (bucket, place) → key: the keys of a bucket in the order in which they were made.
pub(crate) const VALUE_KEYS: TableDefinition<'static, (&str, u64), &str> = TableDefinition::new("value_keys");

/// (folder, name) → (revision, when it expires, content) of a document.
pub(crate) const DOCUMENTS: TableDefinition<'static, (&str, &str), (u64, u64, &[u8])> =
    TableDefinition::new("documents");
/// (when it expires, folder, name): what to sweep out of [`DOCUMENTS`].
pub(crate) const DOCUMENTS_DUE: TableDefinition<'static, (u64, &str, &str), ()> =
    TableDefinition::new("documents_due");
/// Name → content, up to format 1: blobs have files now ([`crate::blobs`]).
pub(crate) const BLOBS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("blobs");
/// (log, number) → an entry of it. Numbers count up by one.
pub(crate) const ENTRIES: TableDefinition<'static, (&str, u64), &[u8]> = TableDefinition::new("entries");

/// Something an attempt left with its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Result = 0,
    Stacktrace = 1,
    Progress = 2,
    /// Of its last attempts, oldest first: a JSON array of what a [`jobcell_core::store::ReceiptNote`] holds.
    Receipts = 3,
}

impl Output {
    pub(crate) const ALL: [Self; 4] = [Self::Result, Self::Stacktrace, Self::Progress, Self::Receipts];

    /// Its bit in [`crate::record::Record::outputs`].
    pub(crate) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The middle of the second part of a place: those put at the end count up from here, those put in front count down.
const MIDDLE: u64 = 1 << 63;

/// Where a job stands: its state, then two numbers that order it among the jobs in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) state: JobState,
    /// The priority, the due time, or when it came; by the state.
    a: u64,
    /// The order of arrival.
    b: u64,
}

impl Place {
    /// Behind those of the same `a`.
    pub(crate) fn back(state: JobState, a: u64, arrival: u64) -> Self {
        Self { state, a, b: MIDDLE + arrival }
    }

    /// In front of those of the same `a`.
    pub(crate) fn front(state: JobState, a: u64, arrival: u64) -> Self {
        Self { state, a, b: MIDDLE - arrival }
    }

    pub(crate) fn key(self, queue: u32) -> (u32, u8, u64, u64) {
        let Self { state, a, b } = self;
        (queue, code(state), a, b)
    }

    /// For the record.
    pub(crate) fn to_parts(self) -> (u8, u64, u64) {
        let Self { state, a, b } = self;
        (code(state), a, b)
    }

    /// The reverse of [`Self::to_parts`]; none for a state that does not exist.
    pub(crate) fn from_parts((state, a, b): (u8, u64, u64)) -> Option<Self> {
        let state = JobState::ALL.into_iter().find(|s| code(*s) == state)?;
        Some(Self { state, a, b })
    }
}

/// Keys of all jobs in a state, in order.
pub(crate) fn all(queue: u32, state: JobState) -> std::ops::RangeInclusive<(u32, u8, u64, u64)> {
    up_to(queue, state, u64::MAX)
}

/// Keys of all jobs in a state whose first number is at most `a`.
pub(crate) fn up_to(queue: u32, state: JobState, a: u64) -> std::ops::RangeInclusive<(u32, u8, u64, u64)> {
    let state = code(state);
    (queue, state, 0, 0)..=(queue, state, a, u64::MAX)
}

/// The state as the file has it. Numbers are never given another meaning.
pub(crate) fn code(state: JobState) -> u8 {
    match state {
        JobState::Waiting => 0,
        JobState::Prioritized => 1,
        JobState::Delayed => 2,
        JobState::Active => 3,
        JobState::WaitingChildren => 4,
        JobState::Completed => 5,
        JobState::Failed => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_and_order_front_before_back() {
        for state in JobState::ALL {
            let (front, back) = (Place::front(state, 7, 3), Place::back(state, 7, 2));
            assert_eq!(Place::from_parts(front.to_parts()), Some(front));
            assert!(front.key(1) < back.key(1));
            assert!(Place::front(state, 7, 4).key(1) < front.key(1), "the later in front is the first");
            assert!(all(1, state).contains(&front.key(1)));
            assert!(!up_to(1, state, 6).contains(&front.key(1)));
        }
        assert_eq!(Place::from_parts((7, 0, 0)), None);
    }
}
