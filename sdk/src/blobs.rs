//! Files in the stores that the operator named. Every function answers [`HostError::Denied`] for a store that is not
//! granted and [`HostError::Unavailable`] when the store cannot be reached.

use crate::error::HostError;
use crate::host;

/// What is known of a blob without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name in the store.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// The media type that was given when it was put, where the store keeps one.
    pub content_type: Option<String>,
    /// Changes when the content changes, where the store has one.
    pub etag: Option<String>,
}

/// The whole content.
///
/// # Errors
/// As the module says, [`HostError::NotFound`], and [`HostError::TooLarge`] over the read limit.
pub fn get(store: &str, key: &str) -> Result<Vec<u8>, HostError> {
    host::blobs::get(store, key)
}

/// At most `length` bytes from `offset`; shorter where the blob ends, empty from its end on.
///
/// # Errors
/// As [`get`].
pub fn get_range(store: &str, key: &str, offset: u64, length: u64) -> Result<Vec<u8>, HostError> {
    host::blobs::get_range(store, key, offset, length)
}

/// What is known of the blob.
///
/// # Errors
/// As the module says, and [`HostError::NotFound`].
pub fn head(store: &str, key: &str) -> Result<Info, HostError> {
    host::blobs::head(store, key)
}

/// Writes the blob, whatever was there; readers see the old content or the new, never a part.
///
/// # Errors
/// As the module says, [`HostError::TooLarge`] over the write limit, [`HostError::Invalid`] for an unusable key.
pub fn put(
    store: &str,
    key: &str,
    data: impl AsRef<[u8]>,
    content_type: Option<&str>,
) -> Result<Info, HostError> {
    host::blobs::put(store, key, data.as_ref(), content_type)
}

/// Removes the blob; fine when there is none.
///
/// # Errors
/// As the module says.
pub fn delete(store: &str, key: &str) -> Result<(), HostError> {
    host::blobs::delete(store, key)
}

/// Blobs whose keys begin with `prefix`, in order of their keys, after `start_after`, at most `limit`. For the next
/// page pass the last key of this one.
///
/// # Errors
/// As the module says.
pub fn list(
    store: &str,
    prefix: &str,
    start_after: Option<&str>,
    limit: u32,
) -> Result<Vec<Info>, HostError> {
    host::blobs::list(store, prefix, start_after, limit)
}
