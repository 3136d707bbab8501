//! Blob stores that are maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use sha2::{Digest, Sha256};

use super::{denied, state};
use crate::blobs::Info;
use crate::error::HostError;

/// One file.
#[derive(Clone, Debug)]
pub(in crate::testing) struct Blob {
    pub(in crate::testing) data: Vec<u8>,
    pub(in crate::testing) content_type: Option<String>,
}

impl Blob {
    fn info(&self, key: &str) -> Info {
        Info {
            key: key.to_owned(),
            size: self.data.len() as u64,
            content_type: self.content_type.clone(),
            etag: Some(hex::encode(Sha256::digest(&self.data))),
        }
    }
}

/// Gives a granted store of the running host to `ask`.
fn with<R>(
    function: &str,
    store: &str,
    ask: impl FnOnce(&mut BTreeMap<String, Blob>) -> Result<R, HostError>,
) -> Result<R, HostError> {
    state::with(function, |state| match state.blobs.get_mut(store) {
        Some(blobs) => ask(blobs),
        None => Err(denied(&format!("the blob store `{store}`"), &format!("blobs = [\"{store}\"]"))),
    })
}

pub(crate) fn get(store: &str, key: &str) -> Result<Vec<u8>, HostError> {
    with("blobs::get", store, |blobs| blobs.get(key).map(|blob| blob.data.clone()).ok_or(HostError::NotFound))
}

pub(crate) fn get_range(store: &str, key: &str, offset: u64, length: u64) -> Result<Vec<u8>, HostError> {
    with("blobs::get_range", store, |blobs| {
        let data = &blobs.get(key).ok_or(HostError::NotFound)?.data;
        let clamp = |at: u64| usize::try_from(at).map_or(data.len(), |at| at.min(data.len()));
        Ok(data[clamp(offset)..clamp(offset.saturating_add(length))].to_vec())
    })
}

pub(crate) fn head(store: &str, key: &str) -> Result<Info, HostError> {
    with("blobs::head", store, |blobs| blobs.get(key).map(|blob| blob.info(key)).ok_or(HostError::NotFound))
}

pub(crate) fn put(
    store: &str,
    key: &str,
    data: &[u8],
    content_type: Option<&str>,
) -> Result<Info, HostError> {
    with("blobs::put", store, |blobs| {
        if key.is_empty() {
            return Err(HostError::Invalid("a blob needs a key".to_owned()));
        }
        let blob = Blob { data: data.to_vec(), content_type: content_type.map(str::to_owned) };
        let info = blob.info(key);
        blobs.insert(key.to_owned(), blob);
        Ok(info)
    })
}

pub(crate) fn delete(store: &str, key: &str) -> Result<(), HostError> {
    with("blobs::delete", store, |blobs| {
        blobs.remove(key);
        Ok(())
    })
}

pub(crate) fn list(
    store: &str,
    prefix: &str,
    start_after: Option<&str>,
    limit: u32,
) -> Result<Vec<Info>, HostError> {
    with("blobs::list", store, |blobs| {
        let from = match start_after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        Ok(blobs
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit as usize)
            .map(|(key, blob)| blob.info(key))
            .collect())
    })
}
