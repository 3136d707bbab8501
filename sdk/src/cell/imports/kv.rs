//! `wasi:keyvalue`, `store` and `atomics`.

use crate::error::HostError;
use crate::kv::Page;

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package jobcell:buckets;

            world buckets {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
            }

            package wasi:keyvalue@0.2.0-draft2 {
                interface store {
                    variant error {
                        no-such-store,
                        access-denied,
                        other(string),
                    }
                    record key-response {
                        keys: list<string>,
                        cursor: option<string>,
                    }
                    open: func(identifier: string) -> result<bucket, error>;
                    resource bucket {
                        get: func(key: string) -> result<option<list<u8>>, error>;
                        set: func(key: string, value: list<u8>) -> result<_, error>;
                        delete: func(key: string) -> result<_, error>;
                        exists: func(key: string) -> result<bool, error>;
                        list-keys: func(cursor: option<string>) -> result<key-response, error>;
                    }
                }
                interface atomics {
                    use store.{bucket, error};
                    variant cas-error {
                        store-error(error),
                        cas-failed(cas),
                    }
                    resource cas {
                        new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                        current: func() -> result<option<list<u8>>, error>;
                    }
                    increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
                    swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
                }
            }
        ",
        world: "buckets",
        generate_all,
    });
}

use bindings::wasi::keyvalue::{atomics, store};

pub(crate) struct Bucket(store::Bucket);

pub(crate) struct Cas(atomics::Cas);

pub(crate) fn open(bucket: &str) -> Result<Bucket, HostError> {
    store::open(bucket).map(Bucket).map_err(|error| match error {
        store::Error::AccessDenied => HostError::Denied(format!(
            "the bucket `{bucket}` is not granted; add `kv = [\"{bucket}\"]` to the handler's grants, or see the job's log \
             where it has been"
        )),
        error => error.into(),
    })
}

impl Bucket {
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.0.get(key)?)
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, HostError> {
        Ok(self.0.exists(key)?)
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), HostError> {
        Ok(self.0.set(key, value)?)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), HostError> {
        Ok(self.0.delete(key)?)
    }

    pub(crate) fn keys(&self, cursor: Option<&str>) -> Result<Page, HostError> {
        let store::KeyResponse { keys, cursor } = self.0.list_keys(cursor)?;
        Ok(Page { keys, cursor })
    }

    pub(crate) fn increment(&self, key: &str, by: i64) -> Result<i64, HostError> {
        Ok(atomics::increment(&self.0, key, by)?)
    }

    pub(crate) fn watch(&self, key: &str) -> Result<Cas, HostError> {
        Ok(Cas(atomics::Cas::new(&self.0, key)?))
    }
}

impl Cas {
    pub(crate) fn current(&self) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.0.current()?)
    }

    /// None when it was replaced.
    pub(crate) fn swap(self, value: &[u8]) -> Result<Option<Self>, HostError> {
        match atomics::swap(self.0, value) {
            Ok(()) => Ok(None),
            Err(atomics::CasError::CasFailed(now)) => Ok(Some(Self(now))),
            Err(atomics::CasError::StoreError(error)) => Err(error.into()),
        }
    }
}

/// The interface has one error with a text; Jobcell's hosts begin it with the word for its kind.
impl From<store::Error> for HostError {
    fn from(error: store::Error) -> Self {
        let text = match error {
            store::Error::NoSuchStore => return Self::NotFound,
            store::Error::AccessDenied => {
                return Self::Denied(
                    "the bucket may only be read; the job's log has the line to write".to_owned(),
                );
            }
            store::Error::Other(text) => text,
        };
        let told = |kind: &str| text.strip_prefix(kind).map(str::to_owned);
        if let Some(limit) = told("too large: the limit is ").and_then(|limit| limit.parse().ok()) {
            return Self::TooLarge(limit);
        }
        if let Some(why) = told("quota: ") {
            return Self::Quota(why);
        }
        if let Some(why) = told("unavailable: ") {
            return Self::Unavailable(why);
        }
        match told("invalid: ") {
            Some(why) => Self::Invalid(why),
            None => Self::Other(text),
        }
    }
}
