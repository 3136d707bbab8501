//! The cache, in the same database as the jobs: its values survive a restart, so that a handler that notes what it has
//! seen does not see it again.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::{Millis, StoreError};
use redb::ReadableTable;

use crate::error::Result;
use crate::keyvalue::whole_number;
use crate::locks::millis;
use crate::store::EmbeddedStore;
use crate::tx::Tx;

/// When a value without a `ttl` expires.
const NEVER: Millis = Millis::MAX;

/// Expired values that one write sweeps out. More than one, so that sweeping keeps up with writing.
const SWEPT_MAX: usize = 8;

/// The cache of an [`EmbeddedStore`].
#[derive(Clone)]
pub struct EmbeddedCache {
    store: EmbeddedStore,
}

impl EmbeddedCache {
    pub(crate) fn new(store: EmbeddedStore) -> Self {
        Self { store }
    }

    async fn write<R: Send + 'static>(
        &self,
        mut verb: impl FnMut(&mut Tx<'_>, Millis) -> Result<R> + Send + 'static,
    ) -> Result<R, CacheError> {
        let verb = move |tx: &mut Tx<'_>| {
            let now = tx.wall();
            tx.sweep_cache(now)?;
            verb(tx, now)
        };
        self.store.write(verb).await.map_err(cache_error)
    }
}

fn cache_error(error: StoreError) -> CacheError {
    match error {
        StoreError::Unavailable(cause) => CacheError::Unavailable(cause),
        other => CacheError::Other(other.to_string()),
    }
}

fn expiry(now: Millis, ttl: Option<Duration>) -> Millis {
    ttl.map_or(NEVER, |ttl| now.saturating_add(millis(ttl)))
}

#[async_trait]
impl Cache for EmbeddedCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        let (key, now) = (key.to_owned(), self.store.shared().clocks.wall.now());
        self.store.read(move |view| view.cached(&key, now)).await.map_err(cache_error)
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        let key = key.to_owned();
        self.write(move |tx, now| tx.set_cached(&key, &value, expiry(now, ttl))).await
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        let key = key.to_owned();
        self.write(move |tx, now| {
            let absent = tx.cached(&key, now)?.is_none();
            if absent {
                tx.set_cached(&key, &value, expiry(now, ttl))?;
            }
            Ok(absent)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        let key = key.to_owned();
        self.write(move |tx, _| tx.drop_cached(&key)).await
    }

    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError> {
        let own = key.to_owned();
        let sum = self.write(move |tx, now| {
            let (expires, old) = match tx.cached(&own, now)? {
                Some((expires, value)) => (expires, whole_number(&value)),
                None => (expiry(now, ttl), Some(0)),
            };
            let Some(sum) = old.and_then(|old| old.checked_add(by)) else { return Ok(None) };
            tx.set_cached(&own, sum.to_string().as_bytes(), expires)?;
            Ok(Some(sum))
        });
        sum.await?.ok_or_else(|| CacheError::NotANumber(key.to_owned()))
    }
}

impl Tx<'_> {
    /// The value and when it expires, when it has not.
    fn cached(&self, key: &str, now: Millis) -> Result<Option<(Millis, Vec<u8>)>> {
        let Some(row) = self.tables().cache.get(key)? else { return Ok(None) };
        let (expires, value) = row.value();
        Ok((expires > now).then(|| (expires, value.to_vec())))
    }

    fn set_cached(&mut self, key: &str, value: &[u8], expires: Millis) -> Result<()> {
        self.drop_cached(key)?;
        let tables = self.change();
        tables.cache.insert(key, (expires, value))?;
        if expires != NEVER {
            tables.cache_due.insert((expires, key), ())?;
        }
        Ok(())
    }

    fn drop_cached(&mut self, key: &str) -> Result<()> {
        let Some(expires) = self.tables().cache.get(key)?.map(|row| row.value().0) else { return Ok(()) };
        let tables = self.change();
        tables.cache.remove(key)?;
        tables.cache_due.remove((expires, key))?;
        Ok(())
    }

    fn sweep_cache(&mut self, now: Millis) -> Result<()> {
        let mut expired = Vec::new();
        for row in self.tables().cache_due.range(..=(now, ""))?.take(SWEPT_MAX) {
            expired.push(row?.0.value().1.to_owned());
        }
        for key in expired {
            self.drop_cached(&key)?;
        }
        Ok(())
    }
}
