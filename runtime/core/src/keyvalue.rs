//! The port behind `wasi:keyvalue`: values that stay until somebody deletes them.
//!
//! A [`Bucket`] belongs to a tenant, and to every handler that was granted its name. That is what it is for: the handler
//! that fills a table and the one that reads it are seldom the same. What only one handler may see is kept in a bucket
//! that only this one is granted, or in its [cache](crate::cache).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::names::key_part;

/// The whole name of a bucket: its tenant's and its own. No two tenants have one in common, whatever they are called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket(String);

/// Keys that other programs use as well: all that begin so, with plain texts under them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// What they begin with; [`KeyRange::TENANT`] in it stands for the tenant of the job, as keys spell it.
    pub prefix: String,
    /// How long a value lives after it was set, and a counter after it was made. Without it a value that is set keeps the
    /// lifetime that its key has, and a new one stays.
    pub ttl: Option<Duration>,
}

/// What a value was when somebody looked, in 20 bytes: what [`KeyValue::swap`] compares.
///
/// It is a SHA-1, which Redis can compute next to the value. Who forges two values of the same one deceives only those
/// who let them write to that bucket, who could as well have written the first value back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 20]);

/// Keys of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// In the order in which they were made.
    pub keys: Vec<String>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<u64>,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum KeyValueError {
    /// The back end cannot be reached, or has no room, now.
    #[error("the key-value store cannot be reached: {0}")]
    Unavailable(String),
    /// The value under the key is not a number, or the sum leaves 64 bits.
    #[error("the value under {0:?} cannot be counted with: it is not a whole number of 64 bits")]
    NotANumber(String),
    /// What was asked cannot be done there, whenever it is asked; the text says what else to do.
    #[error("{0}")]
    Rejected(String),
    /// Anything else.
    #[error("the key-value store failed: {0}")]
    Other(String),
}

/// Values by bucket and key. Keys are any text that is not empty; keys and values are bounded by the caller.
///
/// Every method is one atomic step, and what one caller wrote every later one sees. An answer means that it is kept as
/// safely as jobs are. Dropping a call's future may leave it done or undone.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// The value, when there is one. May be repeated.
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Bytes>, KeyValueError>;
    /// Whether there is a value. May be repeated.
    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, KeyValueError>;
    /// Sets the value, whatever was there. May be repeated.
    async fn set(&self, bucket: &Bucket, key: &str, value: Bytes) -> Result<(), KeyValueError>;
    /// Removes the value; fine when there is none. May be repeated.
    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), KeyValueError>;
    /// At most `limit` keys from a place on, `0` being the first. Whoever goes on from [`Keys::next`] until there is
    /// none has seen every key that was there all the time, exactly once; of those made or deleted meanwhile, some. May
    /// be repeated.
    async fn keys(&self, bucket: &Bucket, from: u64, limit: u32) -> Result<Keys, KeyValueError>;
    /// Adds to the whole number that the value is as decimal text, and returns the sum; none counts as 0. Not to be
    /// repeated.
    async fn increment(&self, bucket: &Bucket, key: &str, by: i64) -> Result<i64, KeyValueError>;
    /// Sets the value when the one there is still this one, or when there is still none; true when it did. Not to be
    /// repeated.
    async fn swap(
        &self,
        bucket: &Bucket,
        key: &str,
        seen: Option<Fingerprint>,
        value: Bytes,
    ) -> Result<bool, KeyValueError>;

    /// The same over keys that other programs use too. Of a [`Bucket`] only the tenant counts there, and a listing is in
    /// no order, may give a key twice, and may be refused. None where nobody else reaches the store, so that such a
    /// bucket is kept like any other.
    fn range(&self, range: &KeyRange) -> Option<Arc<dyn KeyValue>> {
        let _ = range;
        None
    }
}

// === impl Bucket ===

impl Bucket {
    /// The bucket of this name that belongs to this tenant. Jobs without one share those of the tenant `""`.
    #[must_use]
    pub fn new(tenant: Option<&str>, name: &str) -> Self {
        Self(format!("{}:{}", key_part(tenant.unwrap_or_default()), key_part(name)))
    }

    /// `tenant:name`, both so written that nothing in them is a separator of anything.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tenant, so written that nothing in it is a separator of anything.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

// === impl KeyRange ===

impl KeyRange {
    /// Stands for the tenant in a prefix.
    pub const TENANT: &'static str = "{tenant}";

    /// Whether each tenant has keys of its own.
    #[must_use]
    pub fn is_by_tenant(&self) -> bool {
        self.prefix.contains(Self::TENANT)
    }

    /// What the keys of this bucket begin with.
    #[must_use]
    pub fn prefix_of(&self, bucket: &Bucket) -> String {
        self.prefix.replace(Self::TENANT, bucket.tenant())
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Of a value.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self(Sha1::digest(value).into())
    }

    /// One that was made before.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// In lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_two_tenants_never_meet() {
        let names = ["", "a", "b", "a:b", "%3A", "a%3Ab", "{a}", "a/b", "*", "..", "\0", "\n", "а"];
        let mut seen = std::collections::HashSet::new();
        for tenant in names {
            for name in names {
                let bucket = Bucket::new(Some(tenant), name);
                let text = bucket.as_str();
                assert!(!text.contains(['{', '}', '/', '*', '\0', '\n']), "{text}");
                assert_eq!(text.matches(':').count(), 1, "{text}");
                assert!(seen.insert(text.to_owned()), "{tenant:?} {name:?} meet another in {text}");
            }
        }
        assert_eq!(Bucket::new(None, "a"), Bucket::new(Some(""), "a"));
    }

    #[test]
    fn a_range_puts_the_tenant_where_it_was_asked_for_and_in_no_way_that_leads_elsewhere() {
        let range = KeyRange { prefix: "cms:{tenant}:".to_owned(), ttl: None };
        let prefix = |tenant| range.prefix_of(&Bucket::new(Some(tenant), "feeds"));
        assert_eq!(prefix("acme"), "cms:acme:");
        assert_eq!(prefix("a:b*{tenant}"), "cms:a%3Ab%2A%7Btenant%7D:");
        let all = KeyRange { prefix: "feed:".to_owned(), ttl: None };
        assert_eq!(all.prefix_of(&Bucket::new(Some("acme"), "feeds")), "feed:");
        assert!(range.is_by_tenant() && !all.is_by_tenant());
    }

    #[test]
    fn a_fingerprint_is_of_the_bytes() {
        assert_eq!(Fingerprint::of(b"abc").to_hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_ne!(Fingerprint::of(b""), Fingerprint::of(b"\0"));
    }
}
