//! What is done with a bucket.

use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::HostCall;
use jobcell_core::keyvalue::{self, Fingerprint, KeyValue, KeyValueError, Keys};
use wasmtime::component::{Resource, ResourceTableError};

use super::super::{KEY_BYTES_MAX, missing, shown, within};
use super::{CasError, Error};
use crate::cell::Cell;
use crate::usage::Budget;
use crate::world::jobcell::job::types;

/// Keys in one answer.
const PAGE_KEYS_MAX: u32 = 1000;

/// A bucket that a guest has open.
#[derive(Clone)]
pub(super) struct OpenBucket {
    store: Arc<dyn KeyValue>,
    bucket: keyvalue::Bucket,
}

/// What a guest saw of a value, to replace just that. It knows the value by 20 bytes, so that a guest with many of them
/// costs no memory.
#[derive(Clone)]
pub(super) struct Cas {
    open: OpenBucket,
    key: String,
    seen: Option<Fingerprint>,
}

impl Cell {
    /// Opens a bucket; nothing is asked of the store. A name that is not granted is denied whether or not somebody else
    /// has such a bucket.
    pub(super) fn open_bucket(&mut self, name: &str) -> Result<Resource<OpenBucket>, Error> {
        self.called(HostCall::KeyValue);
        if !self.template.grants().kv.iter().any(|granted| granted == name) {
            let name = shown(name);
            let refusal = self.denied("kv", &format!("bucket {name:?}"), &format!("kv = [\"{name}\"]"));
            // The interface's own word for it has no text, and somebody must be able to tell what is missing.
            if let types::Error::Denied(why) = &refusal {
                self.log_lines("", why);
            }
            return Err(refusal.into());
        }
        let bucket = keyvalue::Bucket::new(self.tenant()?, name);
        let store = self.template.services().keyvalue.as_ref().ok_or_else(|| missing("a key-value store"))?;
        let open = OpenBucket { store: Arc::clone(store), bucket };
        Ok(self.table().push(open).map_err(full)?)
    }

    pub(super) async fn kv_get(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let OpenBucket { store, bucket } = self.bucket(bucket, key)?;
        Ok(store.get(&bucket, key).await.map_err(kv_error)?.map(Vec::from))
    }

    pub(super) async fn kv_exists(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
    ) -> Result<bool, Error> {
        let OpenBucket { store, bucket } = self.bucket(bucket, key)?;
        Ok(store.exists(&bucket, key).await.map_err(kv_error)?)
    }

    pub(super) async fn kv_set(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let OpenBucket { store, bucket } = self.bucket(bucket, key)?;
        let value = self.written(value)?;
        Ok(store.set(&bucket, key, value).await.map_err(kv_error)?)
    }

    pub(super) async fn kv_delete(&mut self, bucket: &Resource<OpenBucket>, key: &str) -> Result<(), Error> {
        let OpenBucket { store, bucket } = self.bucket(bucket, key)?;
        Ok(store.delete(&bucket, key).await.map_err(kv_error)?)
    }

    pub(super) async fn kv_keys(&mut self, bucket: &Resource<OpenBucket>, from: u64) -> Result<Keys, Error> {
        self.called(HostCall::KeyValue);
        let OpenBucket { store, bucket } = self.table().get(bucket).map_err(gone)?.clone();
        Ok(store.keys(&bucket, from, PAGE_KEYS_MAX).await.map_err(kv_error)?)
    }

    pub(super) async fn kv_increment(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
        delta: i64,
    ) -> Result<i64, Error> {
        let OpenBucket { store, bucket } = self.bucket(bucket, key)?;
        self.spend(Budget::CacheKeys, 1)?;
        Ok(store.increment(&bucket, key, delta).await.map_err(kv_error)?)
    }

    /// Looks at a value, to replace it later.
    pub(super) async fn kv_cas(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: String,
    ) -> Result<Resource<Cas>, Error> {
        let open = self.bucket(bucket, &key)?;
        let held = open.store.get(&open.bucket, &key).await.map_err(kv_error)?;
        let cas = Cas { open, key, seen: held.as_deref().map(Fingerprint::of) };
        Ok(self.table().push(cas).map_err(full)?)
    }

    /// The value of now, which becomes the one that is replaced.
    pub(super) async fn kv_current(&mut self, cas: &Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        self.called(HostCall::KeyValue);
        let Cas { open: OpenBucket { store, bucket }, key, .. } =
            self.table().get(cas).map_err(gone)?.clone();
        let held = store.get(&bucket, &key).await.map_err(kv_error)?;
        self.table().get_mut(cas).map_err(gone)?.seen = held.as_deref().map(Fingerprint::of);
        Ok(held.map(Vec::from))
    }

    /// Replaces what was seen.
    pub(super) async fn kv_swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), CasError> {
        self.called(HostCall::KeyValue);
        // The guest gave the handle away, also where it is refused.
        let mut cas = self.table().delete(cas).map_err(gone).map_err(CasError::of)?;
        let value = self.written(value).map_err(CasError::of)?;
        let OpenBucket { store, bucket } = &cas.open;
        let done = store.swap(bucket, &cas.key, cas.seen, value).await;
        if done.map_err(kv_error).map_err(CasError::of)? {
            return Ok(());
        }
        let held = store.get(bucket, &cas.key).await.map_err(kv_error).map_err(CasError::of)?;
        cas.seen = held.as_deref().map(Fingerprint::of);
        Err(CasError::Failed(self.table().push(cas).map_err(full).map_err(CasError::of)?))
    }

    /// A bucket of this attempt, for a call with this key.
    fn bucket(&mut self, bucket: &Resource<OpenBucket>, key: &str) -> Result<OpenBucket, types::Error> {
        self.called(HostCall::KeyValue);
        if key.is_empty() {
            return Err(types::Error::Invalid("the key is empty".to_owned()));
        }
        within(key.len(), KEY_BYTES_MAX)?;
        Ok(self.table().get(bucket).map_err(gone)?.clone())
    }

    /// A value on its way to a cache or a bucket, when it keeps to its limits.
    pub(in crate::capability) fn written(&mut self, value: Vec<u8>) -> Result<Bytes, types::Error> {
        let (size, limit) = (value.len(), self.template.limits().cache_value);
        self.within("cache-value", size, limit)?;
        self.spend(Budget::CacheBytes, size as u64)?;
        self.spend(Budget::CacheKeys, 1)?;
        Ok(Bytes::from(value))
    }
}

impl CasError {
    fn of(error: impl Into<Error>) -> Self {
        Self::Store(error.into())
    }
}

/// The guest has too much open.
fn full(error: ResourceTableError) -> types::Error {
    match error {
        ResourceTableError::Full => {
            types::Error::Quota("this attempt has too many resources open (limits.resources)".to_owned())
        }
        error => types::Error::Other(error.to_string()),
    }
}

/// The engine only lets a guest name what it holds, so this does not happen.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn gone(error: ResourceTableError) -> types::Error {
    types::Error::Other(error.to_string())
}

fn kv_error(error: KeyValueError) -> types::Error {
    match error {
        KeyValueError::Unavailable(_) => types::Error::Unavailable(error.to_string()),
        KeyValueError::NotANumber(_) => types::Error::Invalid(
            "the value under this key is not a whole number of 64 bits, or the sum is none".to_owned(),
        ),
        KeyValueError::Other(_) => types::Error::Other(error.to_string()),
    }
}
