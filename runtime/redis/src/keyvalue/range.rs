//! Buckets over keys that other programs use too: texts under `<prefix><key>`, as `SET` makes them.
//!
//! A guest's key is the end of a key of Redis, byte by byte. Every command names its one key whole; in a pattern, that of
//! a listing, stands the operator's prefix alone, and literally. What lies under such a key and is no text is neither
//! read nor replaced nor removed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::StoreError;
use jobcell_core::keyvalue::{Bucket, Fingerprint, KeyRange, KeyValue, KeyValueError, Keys};
use jobcell_core::names::key_part;
use redis::{RedisError, Value};

use crate::error;
use crate::keys::literally;
use crate::link::{Redis, slots};
use crate::permissions::{Needs, Permissions};
use crate::reply;
use crate::script::{self, Script};

/// The keys of a range. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RedisKeyRange {
    redis: Redis,
    range: KeyRange,
    permissions: Permissions,
}

/// What reading runs on the keys, `k`.
const READS: &[&str] = &["EXISTS k", "GET k", "PING", "SCAN 0"];

/// What reading and writing do.
const ALL: &[&str] = &[
    "DEL k",
    "EVALSHA x 1 k",
    "EXISTS k",
    "GET k",
    "INCRBY k 1",
    "PEXPIRE k 1",
    "PING",
    "SCAN 0",
    "SCRIPT LOAD x",
    "SET k v",
    "TYPE k",
];

/// Rounds of `SCAN` for one page: where few keys fit, a page may come with few or none and a place to go on from.
const ROUNDS_MAX: u32 = 100;

/// What the user must be allowed to do with the keys of this range.
pub(crate) fn needs(range: &KeyRange, writes: bool) -> Needs {
    let prefix = |tenant: &str| range.prefix.replace(KeyRange::TENANT, tenant);
    let pattern: Vec<String> = range.prefix.split(KeyRange::TENANT).map(literally).collect();
    let (does, commands) = if writes { ("reading and writing", ALL) } else { ("reading", READS) };
    Needs::new(format!("{does} the keys {:?}", range.prefix), commands).key(
        "k",
        format!("{}jobcell", prefix(&key_part("jobcell"))),
        &format!("{}*", pattern.join("*")),
    )
}

// === impl RedisKeyRange ===

impl RedisKeyRange {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis, range: KeyRange) -> Self {
        Self { redis, range, permissions: Permissions::default() }
    }

    /// What the user may not do with these keys, with the fix; none when nothing is missing, or Redis cannot tell.
    pub async fn denied(&self, writes: bool) -> Option<String> {
        self.permissions.fault_anywhere(&self.redis, &needs(&self.range, writes)).await
    }

    fn key(&self, bucket: &Bucket, key: &str) -> String {
        self.range.prefix_of(bucket) + key
    }

    /// The time to live as scripts are given it.
    fn ttl(&self) -> String {
        let ms =
            |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2);
        self.range.ttl.map(|ttl| ms(ttl).to_string()).unwrap_or_default()
    }

    /// Runs a command on a key.
    async fn ask(&self, command: &str, key: &str) -> Result<Value, KeyValueError> {
        match self.redis.call(redis::cmd(command).arg(key)).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.fault(&e, key).await),
        }
    }

    /// Runs a script on a key.
    async fn run(&self, script: &Script, key: &str, args: &[&[u8]]) -> Result<Value, RedisError> {
        let mut call = script.call_alone(&[key]);
        for arg in args {
            call.arg(*arg);
        }
        call.send(&self.redis).await
    }

    async fn fault(&self, e: &RedisError, key: &str) -> KeyValueError {
        if error::has_code(e, "WRONGTYPE") {
            return KeyValueError::Rejected(format!(
                "what redis holds under {key:?} is no text (TYPE tells what it is); a bucket reads, replaces and removes \
                 texts alone"
            ));
        }
        let told = if error::is_denied(e) {
            self.redis.denied(e, &self.permissions, &needs(&self.range, true), key).await
        } else {
            self.redis.error(e)
        };
        match told {
            StoreError::Unavailable(why) => KeyValueError::Unavailable(why),
            StoreError::Rejected(why) => KeyValueError::Rejected(why),
            other => strange(&other),
        }
    }

    /// One round of a listing: where it goes on, and the keys as guests call them. What is not UTF-8, or is the prefix
    /// alone, no guest could name.
    async fn scan(&self, prefix: &str, cursor: u64, count: u32) -> Result<(u64, Vec<String>), KeyValueError> {
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(cursor).arg("MATCH").arg(format!("{}*", literally(prefix))).arg("COUNT").arg(count);
        let reply = match self.redis.call_near(prefix, &cmd).await {
            Ok(reply) => reply,
            Err(e) => return Err(self.fault(&e, prefix).await),
        };
        let [next, found] = reply::tuple(reply).map_err(|e| strange(&e))?;
        let next = reply::text(next).map_err(|e| strange(&e))?.unwrap_or_default();
        let mut keys = Vec::new();
        for key in reply::array(found).map_err(|e| strange(&e))? {
            let key = reply::bytes(key).map_err(|e| strange(&e))?.unwrap_or_default();
            let own = key.strip_prefix(prefix.as_bytes()).filter(|own| !own.is_empty());
            keys.extend(own.and_then(|own| String::from_utf8(own.to_vec()).ok()));
        }
        Ok((next.parse().unwrap_or(0), keys))
    }
}

fn strange(e: &StoreError) -> KeyValueError {
    KeyValueError::Other(e.to_string())
}

#[async_trait]
impl KeyValue for RedisKeyRange {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Bytes>, KeyValueError> {
        let value = self.ask("GET", &self.key(bucket, key)).await?;
        Ok(reply::bytes(value).map_err(|e| strange(&e))?.map(Bytes::from))
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.ask("EXISTS", &self.key(bucket, key)).await? == Value::Int(1))
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Bytes) -> Result<(), KeyValueError> {
        let key = self.key(bucket, key);
        match self.run(&script::RANGE_SET, &key, &[&value, self.ttl().as_bytes()]).await {
            Ok(_) => Ok(()),
            Err(e) => Err(self.fault(&e, &key).await),
        }
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), KeyValueError> {
        let key = self.key(bucket, key);
        match self.run(&script::RANGE_DELETE, &key, &[]).await {
            Ok(_) => Ok(()),
            Err(e) => Err(self.fault(&e, &key).await),
        }
    }

    async fn keys(&self, bucket: &Bucket, from: u64, limit: u32) -> Result<Keys, KeyValueError> {
        let prefix = self.range.prefix_of(bucket);
        if self.redis.options().is_cluster() && slots::tag_of(prefix.as_bytes()).is_none() {
            return Err(KeyValueError::Rejected(format!(
                "keys that begin with {prefix:?} are spread over the nodes of the redis cluster and cannot be listed; give \
                 the prefix a part in braces, such as {:?}, here and in the programs that use them",
                format!("{{{}}}:", prefix.trim_end_matches(':')),
            )));
        }
        // A round gives about as many as it is asked for. Two halves of a page do not overflow it by much.
        let half = (limit / 2).max(1);
        let mut found = Keys::default();
        let mut cursor = from;
        for _ in 0..ROUNDS_MAX {
            let (next, keys) = self.scan(&prefix, cursor, half).await?;
            found.keys.extend(keys);
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
            if found.keys.len() >= half as usize {
                break;
            }
        }
        found.next = Some(cursor);
        Ok(found)
    }

    async fn increment(&self, bucket: &Bucket, key: &str, by: i64) -> Result<i64, KeyValueError> {
        let (whole, by, ttl) = (self.key(bucket, key), by.to_string(), self.ttl());
        match self.run(&script::INCREMENT, &whole, &[by.as_bytes(), ttl.as_bytes()]).await {
            Ok(sum) => reply::int(&sum).map_err(|_| KeyValueError::NotANumber(key.to_owned())),
            Err(e) if super::is_countless(&e) => Err(KeyValueError::NotANumber(key.to_owned())),
            Err(e) => Err(self.fault(&e, &whole).await),
        }
    }

    async fn swap(
        &self,
        bucket: &Bucket,
        key: &str,
        seen: Option<Fingerprint>,
        value: Bytes,
    ) -> Result<bool, KeyValueError> {
        let (key, seen) = (self.key(bucket, key), seen.map(Fingerprint::to_hex).unwrap_or_default());
        let ttl = self.ttl();
        match self.run(&script::RANGE_SWAP, &key, &[seen.as_bytes(), &value, ttl.as_bytes()]).await {
            Ok(done) => Ok(done == Value::Int(1)),
            Err(e) => Err(self.fault(&e, &key).await),
        }
    }

    fn range(&self, range: &KeyRange) -> Option<Arc<dyn KeyValue>> {
        Some(Arc::new(Self::new(self.redis.clone(), range.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::tests::assert_covers;

    fn range(prefix: &str) -> KeyRange {
        KeyRange { prefix: prefix.to_owned(), ttl: None }
    }

    #[test]
    fn every_command_of_its_scripts_is_asked_for() {
        let words = script::words_of(
            [
                include_str!("../lua/range.lua"),
                include_str!("../lua/range_set.lua"),
                include_str!("../lua/range_delete.lua"),
                include_str!("../lua/range_swap.lua"),
                include_str!("../lua/increment.lua"),
            ]
            .into_iter(),
        );
        assert_covers(&needs(&range("feed:"), true), &words);
        assert_covers(&needs(&range("feed:"), false), &std::collections::BTreeSet::new());
    }
}
