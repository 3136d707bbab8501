//! A job as the file holds it: a small record that changes, and a body that hardly does.

use std::borrow::Cow;

use bytes::Bytes;
use jobcell_core::store::{Malformed, Parent};
use jobcell_core::{Job, JobId, JobOptions, JobState, Millis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::schema::{Output, Place};

/// The part that every change of state rewrites. One-letter names, because it is written so often.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    #[serde(rename = "s")]
    place: (u8, u64, u64),
    #[serde(rename = "p", skip_serializing_if = "is_default")]
    pub(crate) priority: u64,
    #[serde(rename = "d", skip_serializing_if = "is_default")]
    pub(crate) delay: u64,
    #[serde(rename = "m", skip_serializing_if = "is_default")]
    pub(crate) attempts_made: u64,
    #[serde(rename = "a", skip_serializing_if = "is_default")]
    pub(crate) attempts_started: u64,
    #[serde(rename = "c", skip_serializing_if = "is_default")]
    pub(crate) stalled_count: u64,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub(crate) failed_reason: Option<String>,
    /// [`jobcell_core::crash::Crashes`] as text.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none")]
    pub(crate) crashes: Option<String>,
    /// The version that ran the attempt before.
    #[serde(rename = "v", skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub(crate) deferred_failure: Option<String>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub(crate) processed_on: Option<Millis>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub(crate) finished_on: Option<Millis>,
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    pub(crate) processed_by: Option<String>,
    /// Numbers of the first log line and of the one to come.
    #[serde(rename = "l", skip_serializing_if = "is_default")]
    pub(crate) logs: (u64, u64),
    /// Which outputs there are: [`Output::bit`]s.
    #[serde(rename = "x", skip_serializing_if = "is_default")]
    pub(crate) outputs: u8,
    /// Children that are not finished.
    #[serde(rename = "n", skip_serializing_if = "is_default")]
    pub(crate) pending: u64,
    /// Children that failed and must not.
    #[serde(rename = "u", skip_serializing_if = "is_default")]
    pub(crate) unsuccessful: u64,
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ParentKey>,
    #[serde(rename = "t", skip_serializing_if = "is_default")]
    pub(crate) on_failure: OnFailure,
    #[serde(rename = "i", skip_serializing_if = "is_default")]
    pub(crate) lifo: bool,
    /// Where its end is noted; also when it does not own the id any more.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub(crate) deduplication_id: Option<String>,
    /// The scheduler that made it.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub(crate) scheduler: Option<String>,
}

/// The parent of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParentKey {
    /// `<prefix>:<queue>`, as the producer wrote it.
    #[serde(rename = "q")]
    pub(crate) queue_key: String,
    #[serde(rename = "i")]
    pub(crate) id: String,
}

/// What the final failure of a child does to its parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OnFailure {
    /// The parent goes on waiting.
    #[default]
    Hold,
    /// The parent fails.
    Fail,
    /// The parent goes on at once.
    Continue,
    /// The parent no longer waits for this child, and can read why.
    Ignore,
    /// The parent no longer waits for this child.
    Remove,
}

/// What the producer gave. Encoded as the length of a JSON header, the header, and the payload as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) timestamp: Millis,
    pub(crate) options: &'a [u8],
    pub(crate) data: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    #[serde(rename = "n", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "t")]
    timestamp: Millis,
    #[serde(rename = "o", borrow)]
    options: &'a RawValue,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

// === impl Record ===

impl Record {
    pub(crate) fn new(options: &JobOptions, parent: Option<&Parent>) -> Self {
        Self {
            priority: options.priority,
            delay: options.delay,
            parent: parent.map(ParentKey::from),
            on_failure: OnFailure::of(options),
            lifo: options.lifo,
            deduplication_id: options.deduplication.as_ref().map(|d| d.id.clone()),
            ..Self::default()
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let record: Self = serde_json::from_slice(bytes).map_err(|e| malformed("record", &e))?;
        match Place::from_parts(record.place) {
            Some(_) => Ok(record),
            None => Err(Malformed {
                field: "record".into(),
                cause: format!("state {} is unknown", record.place.0),
            }),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Only maps with other keys than strings cannot be encoded, and this has none.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn place(&self) -> Place {
        // Checked when it was read.
        Place::from_parts(self.place).unwrap_or(Place::back(JobState::Waiting, 0, 0))
    }

    pub(crate) fn set_place(&mut self, place: Place) {
        self.place = place.to_parts();
    }

    pub(crate) fn state(&self) -> JobState {
        self.place().state
    }

    pub(crate) fn has(&self, output: Output) -> bool {
        self.outputs & output.bit() != 0
    }

    /// The job of this record. Outputs are set by the caller.
    pub(crate) fn job(&self, id: &JobId, body: &Body<'_>) -> Result<Job, Malformed> {
        let options: JobOptions =
            serde_json::from_slice(body.options).map_err(|e| malformed("options", &e))?;
        Ok(Job {
            id: id.clone(),
            name: body.name.clone().into_owned(),
            data: Bytes::copy_from_slice(body.data),
            options,
            options_raw: Bytes::copy_from_slice(body.options),
            timestamp: body.timestamp,
            delay: self.delay,
            priority: self.priority,
            attempts_made: self.attempts_made,
            attempts_started: self.attempts_started,
            stalled_count: self.stalled_count,
            progress: None,
            result: None,
            failed_reason: self.failed_reason.clone(),
            stacktrace: Vec::new(),
            crashes: self.crashes.as_ref().and_then(|crashes| crashes.parse().ok()),
            pinned: self.digest.clone(),
            deferred_failure: self.deferred_failure.clone(),
            processed_on: self.processed_on,
            finished_on: self.finished_on,
            processed_by: self.processed_by.clone(),
            parent_key: self.parent.as_ref().map(ParentKey::full),
            scheduler: self.scheduler.clone(),
            deduplication_id: self.deduplication_id.clone(),
        })
    }
}

// === impl ParentKey ===

impl ParentKey {
    /// `<prefix>:<queue>:<id>`.
    pub(crate) fn full(&self) -> String {
        format!("{}:{}", self.queue_key, self.id)
    }

    /// The queue's name: what follows the prefix. A queue's name has no colon.
    pub(crate) fn queue(&self) -> &str {
        self.queue_key.rsplit(':').next().unwrap_or(&self.queue_key)
    }
}

impl From<&Parent> for ParentKey {
    fn from(Parent { queue_key, id }: &Parent) -> Self {
        Self { queue_key: queue_key.clone(), id: id.as_str().to_owned() }
    }
}

// === impl OnFailure ===

impl OnFailure {
    pub(crate) fn of(options: &JobOptions) -> Self {
        if options.fail_parent_on_failure {
            Self::Fail
        } else if options.continue_parent_on_failure {
            Self::Continue
        } else if options.ignore_dependency_on_failure {
            Self::Ignore
        } else if options.remove_dependency_on_failure {
            Self::Remove
        } else {
            Self::Hold
        }
    }
}

// === impl Body ===

impl<'a> Body<'a> {
    /// # Errors
    /// When the options are not JSON.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let Self { name, timestamp, options, data } = self;
        let options: &RawValue = serde_json::from_slice(options).map_err(|e| malformed("options", &e))?;
        let header = Header { name: Cow::Borrowed(name), timestamp: *timestamp, options };
        let header = serde_json::to_vec(&header).map_err(|e| malformed("header", &e))?;
        let length = u32::try_from(header.len()).map_err(|e| malformed("header", &e))?;
        let mut bytes = Vec::with_capacity(4 + header.len() + data.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(data);
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let cut = || Malformed {
            field: "body".into(),
            cause: format!("it is cut off after {} bytes", bytes.len()),
        };
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
        let Header { name, timestamp, options } =
            serde_json::from_slice(header).map_err(|e| malformed("header", &e))?;
        Ok(Self { name, timestamp, options: options.get().as_bytes(), data })
    }
}

fn malformed(field: &str, cause: &dyn std::fmt::Display) -> Malformed {
    Malformed { field: field.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_record_is_small_and_reads_back() {
        let mut record = Record::new(&JobOptions::default(), None);
        record.set_place(Place::back(JobState::Waiting, 0, 9));
        let bytes = record.encode();
        assert!(bytes.len() < 40, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn a_body_reads_back_byte_for_byte() {
        let options = br#"{"attempts":3,"x":[]}"#;
        let body = Body { name: "a \"b\"".into(), timestamp: 5, options, data: b"\x00{not json" };
        let bytes = body.encode().unwrap();
        assert_eq!(Body::decode(&bytes), Ok(body));
    }

    #[test]
    fn a_cut_or_broken_record_is_named() {
        assert!(Body::decode(b"ab").unwrap_err().to_string().contains("cut off"));
        assert!(Body::decode(&[9, 0, 0, 0, b'{']).is_err());
        assert!(Record::decode(b"{\"s\":[9,0,0]}").unwrap_err().cause.contains("state 9"));
        assert!(Record::decode(b"{").is_err());
    }
}
