//! The job that is running: progress, log, time left, children.

use std::time::Duration;

use serde::Serialize;

use crate::error::HostError;
use crate::host;

/// Reports progress: any value that serde writes, commonly a percentage or `{done, total}`.
///
/// Cheap to call often: the host coalesces, and the last value always arrives.
///
/// # Errors
/// [`HostError::Invalid`] when the value has no JSON form, [`HostError::TooLarge`] over the host's cap.
pub fn progress(value: &(impl Serialize + ?Sized)) -> Result<(), HostError> {
    let json = serde_json::to_string(value).map_err(|error| HostError::unencodable("progress", &error))?;
    host::context::progress(&json)
}

/// Adds a line to the job's log, which people read. Over the host's cap further lines are dropped and counted.
pub fn log(line: impl AsRef<str>) {
    host::context::log(line.as_ref());
}

/// Has someone asked for this job to stop? The host enforces it soon after; a handler that loops for long can
/// stop between two steps instead of inside one.
pub fn is_cancelled() -> bool {
    host::context::is_cancelled()
}

/// Time left before the host stops this attempt; time spent waiting in host functions counts.
pub fn remaining() -> Duration {
    Duration::from_millis(host::context::remaining_ms())
}

/// Replaces the job's payload; a later attempt sees the new one. Use it to remember which steps are done.
///
/// # Errors
/// [`HostError::Invalid`] when the value has no JSON form, [`HostError::TooLarge`] over the payload limit,
/// [`HostError::Unavailable`] when the store cannot be reached.
pub fn update_data(value: &(impl Serialize + ?Sized)) -> Result<(), HostError> {
    let json = serde_json::to_vec(value).map_err(|error| HostError::unencodable("data", &error))?;
    host::context::update_data(&json)
}

/// Results of finished children: full job key (`<prefix>:<queue>:<id>`) and the JSON text of the result.
///
/// # Errors
/// [`HostError::Unavailable`] when the store cannot be reached.
pub fn children_values() -> Result<Vec<(String, String)>, HostError> {
    host::context::children_values()
}

/// Children that failed under a policy that lets the parent go on: full job key and reason.
///
/// # Errors
/// [`HostError::Unavailable`] when the store cannot be reached.
pub fn children_failures() -> Result<Vec<(String, String)>, HostError> {
    host::context::children_failures()
}
