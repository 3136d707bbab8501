//! Validated names: of queues and of jobs; and how any name becomes a part of a key.

use std::borrow::Borrow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// The name of a queue. Never empty, never with a `:` (BullMQ uses it to separate key parts), at most 512 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

/// The id of a job, unique within its queue. Never empty. One that is chosen here has at most 4096 bytes; other
/// producers may choose longer ones, and their jobs are run like any.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Arc<str>);

/// A name that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// The queue's name is empty.
    #[error("a queue name is empty; give it at least one character")]
    EmptyQueue,
    /// The queue's name has a colon.
    #[error("queue name {0:?} has a ':', which separates the parts of a key; use '-' or '.'")]
    ColonInQueue(String),
    /// The name is too long.
    #[error("{what} {start:?}… has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// What kind of name it is.
        what: &'static str,
        /// Its first characters.
        start: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The job's id is empty.
    #[error("a job id is empty; leave it out to get one")]
    EmptyJob,
    /// The id would be taken for a number that the store counts itself, or for a key of another job.
    #[error("job id {0:?} cannot be chosen: {1}")]
    ReservedJob(String, &'static str),
}

const QUEUE_BYTES_MAX: usize = 512;
const JOB_BYTES_MAX: usize = 4096;

fn bounded(what: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.len() <= limit {
        return Ok(());
    }
    Err(NameError::TooLong { what, start: name.chars().take(32).collect(), bytes: name.len(), limit })
}

/// A text as one part of a key: letters, digits and `-._@+=~` as they are, each other byte as `%` and two hexadecimal
/// digits. So it has nothing that separates parts, groups them, or means something in a pattern or a path, and no two
/// texts become the same.
#[must_use]
pub fn key_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._@+=~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}

// === impl QueueName ===

impl QueueName {
    /// Checks the name.
    ///
    /// # Errors
    /// When it is empty, has a `:` or is over 512 bytes.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(NameError::EmptyQueue);
        }
        if name.contains(':') {
            return Err(NameError::ColonInQueue(name.to_owned()));
        }
        bounded("queue name", name, QUEUE_BYTES_MAX)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl JobId ===

impl JobId {
    /// Takes an id as the store gave it, however long: a job that cannot be named could not be ended either.
    ///
    /// # Errors
    /// When it is empty.
    pub fn new(id: impl AsRef<str>) -> Result<Self, NameError> {
        let id = id.as_ref();
        if id.is_empty() {
            return Err(NameError::EmptyJob);
        }
        Ok(Self(id.into()))
    }

    /// Takes an id that a producer chose. BullMQ's rule: not an integer (those are counted by the store), not `0` or
    /// starting with `0:`, and no `:` except in the three-part ids of scheduled jobs. At
    /// most 4096 bytes.
    ///
    /// # Errors
    /// When the id breaks the rule.
    pub fn custom(id: impl AsRef<str>) -> Result<Self, NameError> {
        let id = id.as_ref();
        let reserved = |why| Err(NameError::ReservedJob(id.to_owned(), why));
        if id.parse::<i64>().is_ok_and(|n| n.to_string() == id) {
            return reserved("whole numbers are given out by the store");
        }
        if id.starts_with("0:") {
            return reserved("ids must not start with \"0:\"");
        }
        if id.contains(':') && id.split(':').count() != 3 {
            return reserved("it has a ':', which separates the parts of a key");
        }
        bounded("job id", id, JOB_BYTES_MAX)?;
        Self::new(id)
    }

    /// An id that no other job has, from 128 random bits: a UUID of version 4, as BullMQ gives to the jobs of a flow.
    #[must_use]
    pub fn random(bits: u128) -> Self {
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Self(parts.join("-").into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_name_has_no_colon_and_is_not_empty() {
        assert_eq!(QueueName::new(""), Err(NameError::EmptyQueue));
        assert!(matches!(QueueName::new("a:b"), Err(NameError::ColonInQueue(_))));
        assert!(QueueName::new("x".repeat(513)).is_err());
        assert_eq!(QueueName::new("donations").unwrap().as_str(), "donations");
    }

    #[test]
    fn a_chosen_job_id_is_never_a_number_the_store_counts() {
        for bad in ["", "0", "7", "-3", "0:x", "a:b", "a:b:c:d"] {
            assert!(JobId::custom(bad).is_err(), "{bad:?}");
        }
        for good in ["order-7", "007", "repeat:x:1700000000000", "7a"] {
            assert!(JobId::custom(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_random_id_is_a_uuid_of_version_4_that_could_have_been_chosen() {
        assert_eq!(JobId::random(u128::MAX).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(JobId::random(0).as_str(), "00000000-0000-4000-8000-000000000000");
        assert!(JobId::custom(JobId::random(1).as_str()).is_ok());
    }

    #[test]
    fn only_a_chosen_job_id_is_bounded() {
        let long = "x".repeat(4097);
        let told = JobId::custom(&long).unwrap_err().to_string();
        assert!(told.contains("4097") && told.contains("4096"), "{told}");
        assert_eq!(JobId::new(&long).unwrap().as_str(), long);
    }
}
