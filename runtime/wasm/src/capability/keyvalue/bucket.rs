//! What is done with a bucket.

use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::HostCall;
use jobcell_core::keyvalue::{self, Fingerprint, KeyValue, KeyValueError, Keys};
use wasmtime::component::{Resource, ResourceTableError};

use super::super::{KEY_BYTES_MAX, missing, shown, within};
use super::{CasError, Error};
use crate::cell::Cell;
use crate::effect::{Call, Does, Parts};
use crate::services::RangeJobs;
use crate::usage::Budget;
use crate::world::jobcell::job::types;

/// Keys in one answer.
const PAGE_KEYS_MAX: u32 = 1000;

/// A bucket that a guest has open.
#[derive(Clone)]
pub(super) struct OpenBucket {
    /// None for an attempt that is answered from a recording.
    store: Option<Arc<dyn KeyValue>>,
    bucket: keyvalue::Bucket,
    /// As the guest calls it.
    name: Arc<str>,
    /// Whether it may be written to.
    writes: bool,
}

/// What a guest saw of a value, to replace just that. It knows the value by 20 bytes, so that a guest with many of them
/// costs no memory.
#[derive(Clone)]
pub(super) struct Cas {
    open: OpenBucket,
    key: String,
    seen: Option<Fingerprint>,
}

impl OpenBucket {
    fn store(&self) -> Result<&Arc<dyn KeyValue>, types::Error> {
        self.store.as_ref().ok_or_else(|| missing("a key-value store"))
    }
}

impl Cell {
    /// Opens a bucket; nothing is asked of the store. A name that is not granted is denied whether or not somebody else
    /// has such a bucket.
    pub(super) fn open_bucket(&mut self, name: &str) -> Result<Resource<OpenBucket>, Error> {
        self.called(HostCall::KeyValue);
        if !self.template.grants().kv.iter().any(|granted| granted == name) {
            let name = shown(name);
            let refusal = self.denied("kv", &format!("bucket {name:?}"), &format!("kv = [\"{name}\"]"));
            // As in `kv_denied`.
            if let types::Error::Denied(why) = &refusal {
                self.log_lines("", why);
            }
            return Err(refusal.into());
        }
        let tenant = self.tenant()?;
        let services = self.template.services();
        let (range, keyvalue) = (services.ranges.get(name), services.keyvalue.clone());
        let (bucket, store, writes) = match range {
            None => (keyvalue::Bucket::new(tenant, name), keyvalue, true),
            Some(range) => {
                if let Some(why) = not_for(range.jobs, tenant, name) {
                    return Err(self.kv_denied(why).into());
                }
                let tenant = tenant.filter(|_| range.jobs == RangeJobs::OfTenants);
                (keyvalue::Bucket::new(tenant, name), range.store.clone().or(keyvalue), range.writes)
            }
        };
        if store.is_none() && !self.is_played() {
            return Err(missing("a key-value store").into());
        }
        let open = OpenBucket { store, bucket, name: name.into(), writes };
        Ok(self.table().push(open).map_err(full)?)
    }

    /// A refusal. The interface's own word for it has no text, and somebody must be able to tell what is missing.
    fn kv_denied(&self, why: String) -> types::Error {
        self.tell_denied("kv");
        self.log_lines("", &why);
        types::Error::Denied(why)
    }

    /// A question to a bucket, about a key.
    fn kv_call(&self, call: &'static str, does: Does, open: &OpenBucket, key: &str) -> Call {
        self.kv_call_with(call, does, open, key, |_| ())
    }

    /// The same with what else is asked.
    fn kv_call_with(
        &self,
        call: &'static str,
        does: Does,
        open: &OpenBucket,
        key: &str,
        parts: impl FnOnce(&mut Parts<'_>),
    ) -> Call {
        self.effect(HostCall::KeyValue, call, does, |ask| {
            ask.name(&open.name);
            ask.name(key);
            parts(ask);
        })
    }

    pub(super) async fn kv_get(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let open = self.bucket(bucket, key)?;
        let call = self.kv_call("kv get", Does::Read, &open, key);
        let value =
            call.answer(async { open.store()?.get(&open.bucket, key).await.map_err(kv_error) }).await?;
        Ok(value.map(Vec::from))
    }

    pub(super) async fn kv_exists(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
    ) -> Result<bool, Error> {
        let open = self.bucket(bucket, key)?;
        let call = self.kv_call("kv exists", Does::Read, &open, key);
        Ok(call.answer(async { open.store()?.exists(&open.bucket, key).await.map_err(kv_error) }).await?)
    }

    pub(super) async fn kv_set(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let open = self.bucket_to_write(bucket, key)?;
        let value = self.written(value)?;
        let call = self.kv_call_with("kv set", Does::Write, &open, key, |ask| ask.bytes(&value));
        Ok(call.answer(async { open.store()?.set(&open.bucket, key, value).await.map_err(kv_error) }).await?)
    }

    pub(super) async fn kv_delete(&mut self, bucket: &Resource<OpenBucket>, key: &str) -> Result<(), Error> {
        let open = self.bucket_to_write(bucket, key)?;
        let call = self.kv_call("kv delete", Does::Write, &open, key);
        Ok(call.answer(async { open.store()?.delete(&open.bucket, key).await.map_err(kv_error) }).await?)
    }

    pub(super) async fn kv_keys(&mut self, bucket: &Resource<OpenBucket>, from: u64) -> Result<Keys, Error> {
        self.called(HostCall::KeyValue);
        let open = self.table().get(bucket).map_err(gone)?.clone();
        let call = self.kv_call_with("kv keys", Does::Read, &open, "", |ask| ask.number(from));
        let asked = async { open.store()?.keys(&open.bucket, from, PAGE_KEYS_MAX).await.map_err(kv_error) };
        Ok(call.answer(asked).await?)
    }

    pub(super) async fn kv_increment(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
        delta: i64,
    ) -> Result<i64, Error> {
        let open = self.bucket_to_write(bucket, key)?;
        self.spend(Budget::CacheKeys, 1)?;
        let call = self
            .kv_call_with("kv increment", Does::Write, &open, key, |ask| ask.number(delta.cast_unsigned()));
        let asked = async { open.store()?.increment(&open.bucket, key, delta).await.map_err(kv_error) };
        Ok(call.answer(asked).await?)
    }

    /// Looks at a value, to replace it later.
    pub(super) async fn kv_cas(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: String,
    ) -> Result<Resource<Cas>, Error> {
        let open = self.bucket(bucket, &key)?;
        let seen = self.kv_look(&open, &key).await?;
        Ok(self.table().push(Cas { open, key, seen }).map_err(full)?)
    }

    /// What a value is now, to be replaced.
    async fn kv_look(&mut self, open: &OpenBucket, key: &str) -> Result<Option<Fingerprint>, types::Error> {
        let call = self.kv_call("kv look", Does::Read, open, key);
        call.answer(async {
            let held = open.store()?.get(&open.bucket, key).await.map_err(kv_error)?;
            Ok(held.as_deref().map(Fingerprint::of))
        })
        .await
    }

    /// The value of now, which becomes the one that is replaced.
    pub(super) async fn kv_current(&mut self, cas: &Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        self.called(HostCall::KeyValue);
        let Cas { open, key, .. } = self.table().get(cas).map_err(gone)?.clone();
        let call = self.kv_call("kv current", Does::Read, &open, &key);
        let held =
            call.answer(async { open.store()?.get(&open.bucket, &key).await.map_err(kv_error) }).await?;
        self.table().get_mut(cas).map_err(gone)?.seen = held.as_deref().map(Fingerprint::of);
        Ok(held.map(Vec::from))
    }

    /// Replaces what was seen.
    pub(super) async fn kv_swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), CasError> {
        self.called(HostCall::KeyValue);
        // The guest gave the handle away, also where it is refused.
        let mut cas = self.table().delete(cas).map_err(gone).map_err(CasError::of)?;
        self.may_write(&cas.open).map_err(CasError::of)?;
        let value = self.written(value).map_err(CasError::of)?;
        let Cas { open, key, seen } = &cas;
        let call = self.kv_call_with("kv swap", Does::Write, open, key, |ask| ask.bytes(&value));
        let swap = async { open.store()?.swap(&open.bucket, key, *seen, value).await.map_err(kv_error) };
        if call.answer(swap).await.map_err(CasError::of)? {
            return Ok(());
        }
        cas.seen = self.kv_look(&cas.open, &cas.key).await.map_err(CasError::of)?;
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

    /// The same for a call that changes what is there.
    fn bucket_to_write(
        &mut self,
        bucket: &Resource<OpenBucket>,
        key: &str,
    ) -> Result<OpenBucket, types::Error> {
        let open = self.bucket(bucket, key)?;
        self.may_write(&open)?;
        Ok(open)
    }

    fn may_write(&self, open: &OpenBucket) -> Result<(), types::Error> {
        if open.writes {
            return Ok(());
        }
        let name = &open.name;
        Err(self.kv_denied(format!(
            "bucket {name:?} may only be read; write access = \"read-write\" under [buckets.{name}] to let handlers that \
             are granted it change its keys"
        )))
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

/// Why jobs of this tenant may not open a bucket over keys that other programs use too.
fn not_for(jobs: RangeJobs, tenant: Option<&str>, name: &str) -> Option<String> {
    let of_tenant = tenant.is_some_and(|tenant| !tenant.is_empty());
    match jobs {
        RangeJobs::OfTenants if !of_tenant => Some(format!(
            "bucket {name:?} has keys for each tenant, and this job has none; give the job a tenant, or take {{tenant}} out \
             of the prefix under [buckets.{name}]"
        )),
        RangeJobs::OfNobody if of_tenant => Some(format!(
            "bucket {name:?} has the same keys for all tenants, and this job is one tenant's; put {{tenant}} into the prefix \
             under [buckets.{name}], or write shared = true there to let all tenants have them"
        )),
        RangeJobs::OfTenants | RangeJobs::OfNobody | RangeJobs::OfAll => None,
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
        KeyValueError::Rejected(why) => types::Error::Invalid(why),
        KeyValueError::Other(_) => types::Error::Other(error.to_string()),
    }
}
