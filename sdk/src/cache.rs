//! Values that may disappear at any time, shared by all cells of this handler and tenant.
//!
//! A `ttl` of `None` keeps the value as long as the host likes; others are rounded up to whole milliseconds.
//! Every function answers [`HostError::Denied`] without the grant `cache = true` and [`HostError::Unavailable`]
//! when the cache cannot be reached.

use std::time::Duration;

use crate::error::HostError;
use crate::host;
use crate::time::whole_ms;

/// The value, if it is still there.
///
/// # Errors
/// As the module says.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, HostError> {
    host::cache::get(key)
}

/// Sets the value, whatever was there.
///
/// # Errors
/// As the module says, and [`HostError::TooLarge`] over the value limit.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), HostError> {
    host::cache::set(key, value.as_ref(), ttl.map(whole_ms))
}

/// True when the key was absent and is now set, in one atomic step: a lock, or "seen before?".
///
/// # Errors
/// As the module says, and [`HostError::TooLarge`] over the value limit.
pub fn set_if_absent(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<bool, HostError> {
    host::cache::set_if_absent(key, value.as_ref(), ttl.map(whole_ms))
}

/// Forgets the value; fine when there is none.
///
/// # Errors
/// As the module says.
pub fn delete(key: &str) -> Result<(), HostError> {
    host::cache::delete(key)
}

/// Adds to a counter in one atomic step and returns its new value. An absent one starts at 0; the `ttl` applies only
/// when the counter is created.
///
/// # Errors
/// As the module says, and [`HostError::Invalid`] when the key holds something that is not a number, or the sum
/// does not fit.
pub fn increment(key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, HostError> {
    host::cache::increment(key, by, ttl.map(whole_ms))
}
