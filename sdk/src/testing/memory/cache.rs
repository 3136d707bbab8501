//! A cache that expires by the host's clock.

use std::collections::BTreeMap;

use super::{denied, state};
use crate::error::HostError;

/// The entries of one host.
#[derive(Default)]
pub(in crate::testing) struct Cache {
    entries: BTreeMap<String, Entry>,
    /// What others will set, and when.
    later: Vec<(u64, String, Vec<u8>)>,
}

struct Entry {
    value: Vec<u8>,
    /// Gone from this time on.
    expires_ms: Option<u64>,
}

impl Cache {
    pub(in crate::testing) fn get(&self, key: &str, now_ms: u64) -> Option<&[u8]> {
        let entry = self.entries.get(key)?;
        entry.expires_ms.is_none_or(|at| now_ms < at).then_some(&*entry.value)
    }

    pub(in crate::testing) fn set(&mut self, key: &str, value: &[u8], ttl_ms: Option<u64>, now_ms: u64) {
        let expires_ms = ttl_ms.map(|ttl| now_ms.saturating_add(ttl));
        self.entries.insert(key.to_owned(), Entry { value: value.to_vec(), expires_ms });
    }

    /// Sets a value that does not expire, at this time.
    pub(in crate::testing) fn set_at(&mut self, at_ms: u64, key: &str, value: &[u8]) {
        self.later.push((at_ms, key.to_owned(), value.to_vec()));
    }

    /// Lets happen what others have done by now.
    fn catch_up(&mut self, now_ms: u64) {
        let due = self.later.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms).collect::<Vec<_>>();
        for (at_ms, key, value) in due {
            self.set(&key, &value, None, at_ms);
        }
    }

    fn increment(&mut self, key: &str, by: i64, ttl_ms: Option<u64>, now_ms: u64) -> Result<i64, HostError> {
        let Some(text) = self.get(key, now_ms) else {
            self.set(key, by.to_string().as_bytes(), ttl_ms, now_ms);
            return Ok(by);
        };
        let held: i64 = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| HostError::Invalid(format!("the cache key `{key}` does not hold a number")))?;
        let sum = held.checked_add(by).ok_or_else(|| {
            HostError::Invalid(format!("the counter `{key}` at {held} cannot grow by {by}"))
        })?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = sum.to_string().into_bytes();
        }
        Ok(sum)
    }
}

/// Gives the running host's cache and clock to `ask`, if the cache is granted.
fn with<R>(
    function: &str,
    ask: impl FnOnce(&mut Cache, u64) -> Result<R, HostError>,
) -> Result<R, HostError> {
    state::with(function, |state| {
        let now_ms = state.now_ms();
        let cache = state.cache.as_mut().ok_or_else(|| denied("the cache", "cache = true"))?;
        cache.catch_up(now_ms);
        ask(cache, now_ms)
    })
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, HostError> {
    with("cache::get", |cache, now_ms| Ok(cache.get(key, now_ms).map(<[u8]>::to_vec)))
}

pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), HostError> {
    with("cache::set", |cache, now_ms| {
        cache.set(key, value, ttl_ms, now_ms);
        Ok(())
    })
}

pub(crate) fn set_if_absent(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<bool, HostError> {
    with("cache::set_if_absent", |cache, now_ms| {
        let absent = cache.get(key, now_ms).is_none();
        if absent {
            cache.set(key, value, ttl_ms, now_ms);
        }
        Ok(absent)
    })
}

pub(crate) fn delete(key: &str) -> Result<(), HostError> {
    with("cache::delete", |cache, _| {
        cache.entries.remove(key);
        Ok(())
    })
}

pub(crate) fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, HostError> {
    with("cache::increment", |cache, now_ms| cache.increment(key, by, ttl_ms, now_ms))
}
