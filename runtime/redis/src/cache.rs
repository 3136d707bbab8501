//! The cache capability over Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::cache::{Cache, CacheError};
use redis::{RedisError, Value};

use crate::error;
use crate::keys::{cache_base, literally};
use crate::link::Redis;
use crate::permissions::{Needs, Permissions};
use crate::script;

/// Values under `jobcell-cache/<prefix>/<key>`, apart from every queue.
#[derive(Debug, Clone)]
pub struct RedisCache {
    redis: Redis,
    permissions: Permissions,
}

/// What the cache runs on its keys, `k`.
const COMMANDS: &[&str] = &[
    "DEL k",
    "EVALSHA x 1 k",
    "EXISTS k",
    "GET k",
    "INCRBY k 1",
    "PEXPIRE k 1",
    "PING",
    "SCRIPT LOAD x",
    "SET k v",
];

/// What the user must be allowed to do for it.
pub(crate) fn needs(prefix: &str) -> Needs {
    let base = cache_base(prefix);
    Needs::new("the cache that handlers are granted", COMMANDS).key(
        "k",
        format!("{base}jobcell"),
        &format!("{}*", literally(&base)),
    )
}

// === impl RedisCache ===

impl RedisCache {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, permissions: Permissions::default() }
    }

    /// What the user may not do with the keys of the cache, with the fix; none when nothing is missing, or Redis cannot
    /// tell.
    pub async fn denied(&self) -> Option<String> {
        self.permissions.fault_anywhere(&self.redis, &needs(self.redis.options().key_prefix())).await
    }

    fn error(&self, e: &RedisError) -> CacheError {
        let text = format!("redis at {}: {}", self.redis.address(), error::describe(e));
        if error::is_passing(e) { CacheError::Unavailable(text) } else { CacheError::Other(text) }
    }

    async fn put(
        &self,
        key: &str,
        value: &Bytes,
        ttl: Option<Duration>,
        only_new: bool,
    ) -> Result<Value, CacheError> {
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.redis.keys().cache(key)).arg(&value[..]);
        if let Some(ttl) = ttl {
            cmd.arg("PX").arg(ttl_ms(ttl));
        }
        if only_new {
            cmd.arg("NX");
        }
        self.redis.call(&cmd).await.map_err(|e| self.error(&e))
    }
}

/// Redis counts whole milliseconds from 1; what lives shorter is rounded up.
fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        let value = self.redis.call(redis::cmd("GET").arg(self.redis.keys().cache(key))).await;
        match value.map_err(|e| self.error(&e))? {
            Value::BulkString(bytes) => Ok(Some(bytes.into())),
            _ => Ok(None),
        }
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        self.put(key, &value, ttl, false).await.map(drop)
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        Ok(self.put(key, &value, ttl, true).await? != Value::Nil)
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        let done = self.redis.call(redis::cmd("DEL").arg(self.redis.keys().cache(key))).await;
        done.map(drop).map_err(|e| self.error(&e))
    }

    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError> {
        let mut call = script::INCREMENT.call_alone(&[self.redis.keys().cache(key)]);
        call.arg(by);
        match ttl {
            Some(ttl) => call.arg(ttl_ms(ttl)),
            None => call.arg(""),
        };
        let sum = call.send(&self.redis).await.map_err(|e| {
            let text = error::describe(&e);
            let countless = text.contains("not an integer") || text.contains("overflow");
            if countless || error::has_code(&e, "WRONGTYPE") {
                CacheError::NotANumber(key.to_owned())
            } else {
                self.error(&e)
            }
        })?;
        let sum = match sum {
            Value::BulkString(bytes) => String::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            Value::Int(n) => Some(n),
            _ => None,
        };
        sum.ok_or_else(|| CacheError::NotANumber(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::tests::assert_covers;

    #[test]
    fn every_command_of_its_script_is_asked_for() {
        let words = script::words_of([include_str!("lua/increment.lua")].into_iter());
        assert_covers(&needs("bull"), &words);
    }
}
