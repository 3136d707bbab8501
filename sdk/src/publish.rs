//! Telling listeners now: nobody may be listening, and nothing is kept. The operator grants each channel by name.

use serde::Serialize;

use crate::error::HostError;
use crate::host;

/// Sends bytes to whoever listens on the channel.
///
/// # Errors
/// [`HostError::Denied`] when the channel is not granted, [`HostError::TooLarge`] over the message limit,
/// [`HostError::Quota`] when this attempt has published enough, [`HostError::Unavailable`] without a connection.
pub fn publish(channel: &str, message: impl AsRef<[u8]>) -> Result<(), HostError> {
    host::publish::publish(channel, message.as_ref())
}

/// Sends a value as JSON text.
///
/// # Errors
/// As [`publish`], and [`HostError::Invalid`] when the value has no JSON form.
pub fn json(channel: &str, message: &(impl Serialize + ?Sized)) -> Result<(), HostError> {
    let bytes = serde_json::to_vec(message).map_err(|error| HostError::unencodable("the message", &error))?;
    host::publish::publish(channel, &bytes)
}
