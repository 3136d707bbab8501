//! The port behind the `cache` capability: values that may disappear.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Keys arrive complete: the caller has put handler and tenant in front. Values and keys are bounded by the caller.
///
/// Every method is one atomic step and may be retried by the caller only where it says so. Dropping a call's future
/// may leave it done or undone.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// The value, when it is there and has not expired. May be repeated.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError>;
    /// Sets the value; without `ttl` it stays until deleted. May be repeated.
    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError>;
    /// Sets the value when the key is absent; true when it did. Not to be repeated.
    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Option<Duration>)
    -> Result<bool, CacheError>;
    /// Removes the value. May be repeated.
    async fn delete(&self, key: &str) -> Result<(), CacheError>;
    /// Adds to a counter and returns the sum; `ttl` applies when the counter is created. Not to be repeated.
    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError>;
}

/// Why the cache did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The back end cannot be reached now.
    #[error("the cache cannot be reached: {0}")]
    Unavailable(String),
    /// The value under the key is not a number, or the sum leaves 64 bits.
    #[error("the value under {0:?} cannot be counted with: it is not a whole number of 64 bits")]
    NotANumber(String),
    /// Anything else.
    #[error("the cache failed: {0}")]
    Other(String),
}
