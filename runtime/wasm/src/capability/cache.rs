//! `jobcell:job/cache`: values that may disappear, for handlers granted `cache = true`.
//!
//! Keys are put behind `{tenant}:{handler}:`, so that no handler reaches what another one keeps, nor one tenant what
//! another one's jobs left.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::HostCall;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::names::key_part;

use super::{KEY_BYTES_MAX, missing, within};
use crate::cell::Cell;
use crate::effect::Does;
use crate::usage::Budget;
use crate::world::jobcell::job::cache::Host;
use crate::world::jobcell::job::types::Error;

impl Host for Cell {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let whole = self.cache_key(&key)?;
        let call = self.effect(HostCall::Cache, "cache get", Does::Read, |ask| ask.name(&key));
        let cache = self.cache();
        let value = call.answer(async { cache?.get(&whole).await.map_err(cache_error) }).await?;
        Ok(value.map(Vec::from))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Error> {
        let whole = self.cache_key(&key)?;
        let (ttl, value) = (ttl(ttl_ms)?, self.written(value)?);
        let call = self.effect(HostCall::Cache, "cache set", Does::Write, |ask| {
            ask.name(&key);
            ask.bytes(&value);
            ask.maybe_number(ttl_ms);
        });
        let cache = self.cache();
        call.answer(async { cache?.set(&whole, value, ttl).await.map_err(cache_error) }).await
    }

    async fn set_if_absent(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, Error> {
        let whole = self.cache_key(&key)?;
        let (ttl, value) = (ttl(ttl_ms)?, self.written(value)?);
        let call = self.effect(HostCall::Cache, "cache set-if-absent", Does::Write, |ask| {
            ask.name(&key);
            ask.bytes(&value);
            ask.maybe_number(ttl_ms);
        });
        let cache = self.cache();
        call.answer(async { cache?.set_if_absent(&whole, value, ttl).await.map_err(cache_error) }).await
    }

    async fn delete(&mut self, key: String) -> Result<(), Error> {
        let whole = self.cache_key(&key)?;
        let call = self.effect(HostCall::Cache, "cache delete", Does::Write, |ask| ask.name(&key));
        let cache = self.cache();
        call.answer(async { cache?.delete(&whole).await.map_err(cache_error) }).await
    }

    async fn increment(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        let whole = self.cache_key(&key)?;
        let ttl = ttl(ttl_ms)?;
        self.spend(Budget::CacheKeys, 1)?;
        let call = self.effect(HostCall::Cache, "cache increment", Does::Write, |ask| {
            ask.name(&key);
            ask.number(by.cast_unsigned());
            ask.maybe_number(ttl_ms);
        });
        let cache = self.cache();
        call.answer(async { cache?.increment(&whole, by, ttl).await.map_err(cache_error) }).await
    }
}

impl Cell {
    fn cache(&self) -> Result<Arc<dyn Cache>, Error> {
        self.template.services().cache.clone().ok_or_else(|| missing("a cache"))
    }

    /// The whole key.
    fn cache_key(&mut self, key: &str) -> Result<String, Error> {
        self.called(HostCall::Cache);
        if !self.template.grants().cache {
            return Err(self.denied("cache", "the cache", "cache = true"));
        }
        if key.is_empty() {
            return Err(Error::Invalid("the key is empty".to_owned()));
        }
        within(key.len(), KEY_BYTES_MAX)?;
        // Neither has a ':' then, so that the first two are ours and whatever the guest's key has comes after them: one
        // tenant's "a:b" does not meet handler "b" of tenant "a".
        let tenant = key_part(self.tenant()?.unwrap_or_default());
        let handler = key_part(self.template.name());
        Ok(format!("{tenant}:{handler}:{key}"))
    }
}

fn ttl(ms: Option<u64>) -> Result<Option<Duration>, Error> {
    match ms {
        Some(0) => {
            Err(Error::Invalid("a ttl of 0 ms keeps nothing; leave it out to keep the value".to_owned()))
        }
        ms => Ok(ms.map(Duration::from_millis)),
    }
}

fn cache_error(error: CacheError) -> Error {
    match error {
        CacheError::Unavailable(_) => Error::Unavailable(error.to_string()),
        // The port's text has the whole key, which is not the guest's.
        CacheError::NotANumber(_) => {
            Error::Invalid("the value under this key is not a whole number".to_owned())
        }
        CacheError::Other(_) => Error::Other(error.to_string()),
    }
}
