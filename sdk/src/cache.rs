//! Values that may disappear at any time, shared by all cells of this handler and tenant.
//!
//! A `ttl` of `None` keeps the value as long as the host likes; others are rounded up to whole milliseconds.
//! Every function answers [`HostError::Denied`] without the grant `cache = true` and [`HostError::Unavailable`]
//! when the cache cannot be reached.
//!
//! What is costly to compute and wanted by many goes through [`get_or_set`], which lets one compute while the others
//! wait.

mod once;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::HostError;
use crate::host;
use crate::time::whole_ms;

pub use once::Once;

/// The value, or what `compute` makes of it when there is none: then it is kept for `ttl`. However many cells ask at the
/// same time, on however many hosts, one computes and the others take its value; an error is returned and not kept. More
/// can be said with [`Once`].
///
/// # Errors
/// As [`Once::bytes`].
pub fn get_or_set<V, E>(
    key: &str,
    ttl: Duration,
    compute: impl FnOnce() -> Result<V, E>,
) -> Result<Vec<u8>, E>
where
    V: Into<Vec<u8>>,
    E: From<HostError>,
{
    Once::new(key).ttl(ttl).bytes(compute)
}

/// [`get_or_set`] for a value that is kept as JSON text.
///
/// # Errors
/// As [`Once::json`].
pub fn get_or_set_json<T, E>(key: &str, ttl: Duration, compute: impl FnOnce() -> Result<T, E>) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<HostError>,
{
    Once::new(key).ttl(ttl).json(compute)
}

/// The value out of its JSON text, if it is still there.
///
/// # Errors
/// As the module says, and [`HostError::Other`] when what is there is not the JSON text of a `T`.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, HostError> {
    let Some(bytes) = get(key)? else { return Ok(None) };
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|error| HostError::Other(format!("what the cache holds under `{key}`: {error}")))
}

/// Sets the value as JSON text, whatever was there.
///
/// # Errors
/// As [`set`], and [`HostError::Invalid`] when the value has no JSON form.
pub fn set_json(
    key: &str,
    value: &(impl Serialize + ?Sized),
    ttl: Option<Duration>,
) -> Result<(), HostError> {
    let json =
        serde_json::to_vec(value).map_err(|error| HostError::unencodable("the cached value", &error))?;
    set(key, json, ttl)
}

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
