//! How payloads become values and values become results: JSON through serde, or bytes as they are.
//!
//! Both directions go straight between bytes and the handler's own types, never through a tree of values.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decode::from_json;
use crate::failure::Failure;

/// Bytes that are passed through untouched, in place of a type that is read from or written as JSON.
///
/// As a result on a BullMQ queue the bytes must still be JSON text; the host refuses others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Raw {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// What a handler can take as `Job<T>`: every type that serde reads, and [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of a job",
    label = "not a payload",
    note = "derive `serde::Deserialize` for it (owning its data, no borrowed fields), or take `Job<Raw>` for plain bytes"
)]
pub trait Payload: Sized {
    /// Decodes the bytes of a job. No bytes at all read as JSON `null`, as an empty result does.
    ///
    /// # Errors
    /// [`Failure::Invalid`] naming the path, the fault and its position.
    fn decode(bytes: Vec<u8>) -> Result<Self, Failure>;
}

impl Payload for Raw {
    fn decode(bytes: Vec<u8>) -> Result<Self, Failure> {
        Ok(Self(bytes))
    }
}

impl<T: DeserializeOwned> Payload for T {
    fn decode(bytes: Vec<u8>) -> Result<Self, Failure> {
        let bytes = if bytes.is_empty() { b"null" } else { bytes.as_slice() };
        from_json(bytes).map_err(|fault| Failure::Invalid(format!("payload: {fault}")))
    }
}

/// What a handler can return: every type that serde writes, and [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a job",
    label = "not a result",
    note = "derive `serde::Serialize` for it, or return `Raw` for plain bytes"
)]
pub trait Output {
    /// Encodes the result. JSON `null` (that is `()`, `None`) becomes no bytes, which means the same.
    ///
    /// # Errors
    /// [`Failure::Fatal`] when the value has no JSON form, such as a map whose keys are not text: it will
    /// not have one next time either.
    fn encode(self) -> Result<Vec<u8>, Failure>;
}

impl Output for Raw {
    fn encode(self) -> Result<Vec<u8>, Failure> {
        Ok(self.0)
    }
}

impl<T: Serialize> Output for T {
    fn encode(self) -> Result<Vec<u8>, Failure> {
        match serde_json::to_vec(&self) {
            Ok(bytes) if bytes == b"null" => Ok(Vec::new()),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(Failure::Fatal(format!("result: {error}"))),
        }
    }
}
