//! Buckets in memory.

use super::{denied, state};
use crate::error::HostError;
use crate::kv::Page;

/// The values of one bucket, in the order in which their keys were made.
#[derive(Default)]
pub(in crate::testing) struct Values {
    entries: Vec<Entry>,
    made: u64,
}

struct Entry {
    place: u64,
    key: String,
    value: Vec<u8>,
}

/// What the host allows.
const KEY_BYTES_MAX: usize = 512;
const PAGE_KEYS_MAX: usize = 1000;

impl Values {
    pub(in crate::testing) fn get(&self, key: &str) -> Option<&[u8]> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &*entry.value)
    }

    pub(in crate::testing) fn set(&mut self, key: &str, value: &[u8]) {
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value.to_vec(),
            None => {
                self.made += 1;
                let entry = Entry { place: self.made, key: key.to_owned(), value: value.to_vec() };
                self.entries.push(entry);
            }
        }
    }

    fn page(&self, from: u64) -> Page {
        let mut rest = self.entries.iter().filter(|entry| entry.place >= from);
        let keys = rest.by_ref().take(PAGE_KEYS_MAX).map(|entry| entry.key.clone()).collect();
        Page { keys, cursor: rest.next().map(|entry| entry.place.to_string()) }
    }

    fn increment(&mut self, key: &str, by: i64) -> Result<i64, HostError> {
        let held = match self.get(key) {
            None => Some(0),
            Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()),
        };
        let sum = held.and_then(|held| held.checked_add(by)).ok_or_else(|| {
            HostError::Invalid(
                "the value under this key is not a whole number of 64 bits, or the sum is none".to_owned(),
            )
        })?;
        self.set(key, sum.to_string().as_bytes());
        Ok(sum)
    }
}

pub(crate) struct Bucket(String);

pub(crate) struct Cas {
    bucket: String,
    key: String,
    seen: std::cell::RefCell<Option<Vec<u8>>>,
}

pub(crate) fn open(bucket: &str) -> Result<Bucket, HostError> {
    state::with("kv::open", |state| {
        if state.buckets.contains_key(bucket) {
            return Ok(Bucket(bucket.to_owned()));
        }
        Err(denied(&format!("the bucket `{bucket}`"), &format!("kv = [\"{bucket}\"]")))
    })
}

/// Gives the values of a bucket of the running host to `ask`.
fn with<R>(
    function: &str,
    bucket: &str,
    key: &str,
    ask: impl FnOnce(&mut Values) -> Result<R, HostError>,
) -> Result<R, HostError> {
    if key.is_empty() {
        return Err(HostError::Invalid("the key is empty".to_owned()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(HostError::TooLarge(KEY_BYTES_MAX as u64));
    }
    // A handle that outlived its host finds an empty bucket.
    state::with(function, |state| ask(state.buckets.entry(bucket.to_owned()).or_default()))
}

/// The same for what changes it.
fn with_writing<R>(
    function: &str,
    bucket: &str,
    key: &str,
    ask: impl FnOnce(&mut Values) -> Result<R, HostError>,
) -> Result<R, HostError> {
    if state::with(function, |state| state.read_only.contains(bucket)) {
        return Err(HostError::Denied(format!(
            "the bucket `{bucket}` may only be read; write `access = \"read-write\"` under [buckets.{bucket}]"
        )));
    }
    with(function, bucket, key, ask)
}

impl Bucket {
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        with("kv::Bucket::get", &self.0, key, |values| Ok(values.get(key).map(<[u8]>::to_vec)))
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, HostError> {
        with("kv::Bucket::exists", &self.0, key, |values| Ok(values.get(key).is_some()))
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), HostError> {
        with_writing("kv::Bucket::set", &self.0, key, |values| {
            values.set(key, value);
            Ok(())
        })
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), HostError> {
        with_writing("kv::Bucket::delete", &self.0, key, |values| {
            values.entries.retain(|entry| entry.key != key);
            Ok(())
        })
    }

    pub(crate) fn keys(&self, cursor: Option<&str>) -> Result<Page, HostError> {
        let from = cursor
            .map_or(Ok(0), str::parse)
            .map_err(|_| HostError::Invalid("this cursor was not given out here".to_owned()))?;
        state::with("kv::Bucket::keys", |state| {
            Ok(state.buckets.get(&self.0).map(|values| values.page(from)).unwrap_or_default())
        })
    }

    pub(crate) fn increment(&self, key: &str, by: i64) -> Result<i64, HostError> {
        with_writing("kv::Bucket::increment", &self.0, key, |values| values.increment(key, by))
    }

    pub(crate) fn watch(&self, key: &str) -> Result<Cas, HostError> {
        let seen = self.get(key)?.into();
        Ok(Cas { bucket: self.0.clone(), key: key.to_owned(), seen })
    }
}

impl Cas {
    pub(crate) fn current(&self) -> Result<Option<Vec<u8>>, HostError> {
        let value = with("kv::Cas::current", &self.bucket, &self.key, |values| {
            Ok(values.get(&self.key).map(<[u8]>::to_vec))
        })?;
        self.seen.replace(value.clone());
        Ok(value)
    }

    /// None when it was replaced.
    pub(crate) fn swap(self, value: &[u8]) -> Result<Option<Self>, HostError> {
        let done = with_writing("kv::Cas::swap", &self.bucket, &self.key, |values| {
            let same = values.get(&self.key) == self.seen.borrow().as_deref();
            if same {
                values.set(&self.key, value);
            }
            Ok(same)
        })?;
        if done {
            return Ok(None);
        }
        self.current()?;
        Ok(Some(self))
    }
}
