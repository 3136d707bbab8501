//! Key-value buckets over Redis.
//!
//! A bucket is two keys, both in one slot of a cluster: a hash with its values, and a sorted set with its keys in the
//! order in which they were made, so that they can be listed page by page. What a guest calls its key is never part of
//! a key of Redis. Buckets over keys that other programs use too are another matter: [`range`].

mod range;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::keyvalue::{Bucket, Fingerprint, KeyRange, KeyValue, KeyValueError, Keys};
use redis::{RedisError, Value};

use crate::error;
use crate::keys::{bucket_base, literally};
use crate::link::Redis;
use crate::permissions::{Needs, Permissions};
use crate::reply;
use crate::script::{self, Script};

pub use range::RedisKeyRange;
#[cfg(test)]
pub(crate) use range::needs as range_needs;

/// Buckets under `jobcell-kv/<prefix>/{<tenant>:<bucket>}`, apart from every queue and from the cache.
#[derive(Debug, Clone)]
pub struct RedisKeyValue {
    redis: Redis,
    permissions: Permissions,
}

/// What buckets run on their keys, `k`.
const COMMANDS: &[&str] = &[
    "EVALSHA x 1 k",
    "HDEL k f",
    "HEXISTS k f",
    "HGET k f",
    "HINCRBY k f 1",
    "HSET k f v",
    "PING",
    "SCRIPT LOAD x",
    "ZADD k 1 v",
    "ZRANGEBYSCORE k 0 1",
    "ZREM k v",
    "ZREVRANGE k 0 1",
];

/// What the user must be allowed to do for them.
pub(crate) fn needs(prefix: &str) -> Needs {
    let base = bucket_base(prefix);
    Needs::new("the buckets that handlers are granted", COMMANDS).key(
        "k",
        format!("{base}{{:jobcell}}:values"),
        &format!("{}*", literally(&base)),
    )
}

// === impl RedisKeyValue ===

impl RedisKeyValue {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, permissions: Permissions::default() }
    }

    /// What the user may not do with the keys of buckets, with the fix; none when nothing is missing, or Redis cannot
    /// tell.
    pub async fn denied(&self) -> Option<String> {
        self.permissions.fault_anywhere(&self.redis, &needs(self.redis.options().key_prefix())).await
    }

    /// The keys of this range, over the same connection.
    #[must_use]
    pub fn over(&self, range: KeyRange) -> RedisKeyRange {
        RedisKeyRange::new(self.redis.clone(), range)
    }

    fn values(&self, bucket: &Bucket) -> String {
        let [values, _] = self.redis.keys().bucket(bucket);
        values
    }

    async fn call(&self, cmd: &redis::Cmd) -> Result<Value, KeyValueError> {
        self.redis.call(cmd).await.map_err(|e| self.error(&e))
    }

    /// Runs a script on a bucket.
    async fn run(&self, script: &Script, bucket: &Bucket, args: &[&[u8]]) -> Result<Value, RedisError> {
        let mut call = script.call_alone(&self.redis.keys().bucket(bucket));
        for arg in args {
            call.arg(*arg);
        }
        call.send(&self.redis).await
    }

    fn error(&self, e: &RedisError) -> KeyValueError {
        let text = format!("redis at {}: {}", self.redis.address(), error::describe(e));
        if error::is_passing(e) { KeyValueError::Unavailable(text) } else { KeyValueError::Other(text) }
    }
}

/// What is there is no number, or the sum is none.
fn is_countless(e: &RedisError) -> bool {
    let text = error::describe(e);
    text.contains("not an integer") || text.contains("overflow")
}

fn strange(e: &jobcell_core::StoreError) -> KeyValueError {
    KeyValueError::Other(e.to_string())
}

#[async_trait]
impl KeyValue for RedisKeyValue {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Bytes>, KeyValueError> {
        let value = self.call(redis::cmd("HGET").arg(self.values(bucket)).arg(key)).await?;
        Ok(reply::bytes(value).map_err(|e| strange(&e))?.map(Bytes::from))
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, KeyValueError> {
        let found = self.call(redis::cmd("HEXISTS").arg(self.values(bucket)).arg(key)).await?;
        Ok(found == Value::Int(1))
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Bytes) -> Result<(), KeyValueError> {
        let done = self.run(&script::KV_SET, bucket, &[key.as_bytes(), &value]).await;
        done.map(drop).map_err(|e| self.error(&e))
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), KeyValueError> {
        let done = self.run(&script::KV_DELETE, bucket, &[key.as_bytes()]).await;
        done.map(drop).map_err(|e| self.error(&e))
    }

    async fn keys(&self, bucket: &Bucket, from: u64, limit: u32) -> Result<Keys, KeyValueError> {
        let [_, made] = self.redis.keys().bucket(bucket);
        let mut cmd = redis::cmd("ZRANGEBYSCORE");
        cmd.arg(made).arg(from).arg("+inf").arg("WITHSCORES");
        // One more tells whether there is a next page.
        let (limit, asked) = (limit as usize, u64::from(limit) + 1);
        cmd.arg("LIMIT").arg(0).arg(asked);
        let parts = reply::array(self.call(&cmd).await?).map_err(|e| strange(&e))?;
        let mut found = Keys::default();
        let mut parts = parts.into_iter();
        while let (Some(key), Some(place)) = (parts.next(), parts.next()) {
            if found.keys.len() == limit {
                found.next = Some(reply::count(&place).map_err(|e| strange(&e))?);
                break;
            }
            found.keys.extend(reply::text(key).map_err(|e| strange(&e))?);
        }
        Ok(found)
    }

    async fn increment(&self, bucket: &Bucket, key: &str, by: i64) -> Result<i64, KeyValueError> {
        let by = by.to_string();
        let sum = self.run(&script::KV_INCREMENT, bucket, &[key.as_bytes(), by.as_bytes()]).await;
        let sum = sum.map_err(|e| {
            if is_countless(&e) { KeyValueError::NotANumber(key.to_owned()) } else { self.error(&e) }
        })?;
        reply::int(&sum).map_err(|_| KeyValueError::NotANumber(key.to_owned()))
    }

    async fn swap(
        &self,
        bucket: &Bucket,
        key: &str,
        seen: Option<Fingerprint>,
        value: Bytes,
    ) -> Result<bool, KeyValueError> {
        let seen = seen.map(Fingerprint::to_hex).unwrap_or_default();
        let done = self.run(&script::KV_SWAP, bucket, &[key.as_bytes(), seen.as_bytes(), &value]).await;
        Ok(done.map_err(|e| self.error(&e))? == Value::Int(1))
    }

    fn range(&self, range: &KeyRange) -> Option<Arc<dyn KeyValue>> {
        Some(Arc::new(self.over(range.clone())))
    }
}
