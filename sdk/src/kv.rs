//! Values that stay until somebody deletes them, in buckets that the operator grants by name; over `wasi:keyvalue` in a
//! cell.
//!
//! A bucket belongs to the tenant of the job and is shared by all handlers that are granted its name; or it is one over
//! keys that other programs use too, where the operator says so under `[buckets]`. Keys have 1 to 512 bytes. Every
//! function answers [`HostError::Unavailable`] when the store cannot be reached and [`HostError::Invalid`] for a key that
//! cannot be one; what changes a bucket that may only be read answers [`HostError::Denied`].
//!
//! ```
//! use jobcell_sdk::prelude::*;
//! use jobcell_sdk::{kv, testing::Host};
//!
//! /// Notes a visit and answers how many there were.
//! fn visit(name: &str) -> Result<i64, Failure> {
//!     let visitors = kv::open("visitors")?;
//!     visitors.set("last", name)?;
//!     Ok(visitors.increment(name, 1)?)
//! }
//!
//! let host = Host::new().bucket("visitors");
//! assert_eq!(host.within(|| visit("Ada")), Ok(1));
//! assert_eq!(host.within(|| visit("Ada")), Ok(2));
//! assert_eq!(host.kept("visitors", "last").as_deref(), Some(&b"Ada"[..]));
//! ```

use crate::error::HostError;
use crate::host;

/// A bucket that is open. Opening asks nothing of the store, and closing keeps nothing.
pub struct Bucket {
    inner: host::kv::Bucket,
    name: String,
}

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In no order that is promised.
    pub keys: Vec<String>,
    /// What [`Bucket::keys`] goes on from; none when this was the last page.
    pub cursor: Option<String>,
}

/// A value that was looked at, to be replaced only while it is still that one.
pub struct Cas(host::kv::Cas);

/// What became of a [`Cas::swap`].
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Somebody else was first. The handle has looked at what is there now, to try again with.
    Lost(Cas),
}

/// Tries of [`Bucket::update`]; each that fails means that another one went through.
const TRIES_MAX: usize = 100;

/// Opens a bucket.
///
/// # Errors
/// [`HostError::Denied`] without the grant `kv = ["…"]` for it; as the module says.
pub fn open(bucket: &str) -> Result<Bucket, HostError> {
    Ok(Bucket { inner: host::kv::open(bucket)?, name: bucket.to_owned() })
}

// === impl Bucket ===

impl Bucket {
    /// What the handler calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// As the module says.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.inner.get(key)
    }

    /// Whether there is a value.
    ///
    /// # Errors
    /// As the module says.
    pub fn exists(&self, key: &str) -> Result<bool, HostError> {
        self.inner.exists(key)
    }

    /// Sets the value, whatever was there.
    ///
    /// # Errors
    /// As the module says, [`HostError::TooLarge`] over the value limit, and [`HostError::Quota`] when the attempt has
    /// written as much as it may.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), HostError> {
        self.inner.set(key, value.as_ref())
    }

    /// Removes the value; fine when there is none.
    ///
    /// # Errors
    /// As the module says.
    pub fn delete(&self, key: &str) -> Result<(), HostError> {
        self.inner.delete(key)
    }

    /// Some keys: the first ones, or those after the page that had this cursor. Every key that is there all the time is
    /// on one of the pages.
    ///
    /// # Errors
    /// As the module says, and [`HostError::Invalid`] for a cursor that was never given out.
    pub fn keys(&self, cursor: Option<&str>) -> Result<Page, HostError> {
        self.inner.keys(cursor)
    }

    /// Adds to the whole number that the value is as decimal text, in one atomic step, and returns the sum. An absent
    /// one starts at 0.
    ///
    /// # Errors
    /// As the module says, [`HostError::Invalid`] when the value is not a number or the sum does not fit, and
    /// [`HostError::Quota`].
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, HostError> {
        self.inner.increment(key, by)
    }

    /// Looks at a value, to replace it with [`Cas::swap`].
    ///
    /// # Errors
    /// As the module says.
    pub fn watch(&self, key: &str) -> Result<Cas, HostError> {
        self.inner.watch(key).map(Cas)
    }

    /// Replaces a value by what `change` makes of it, which is called again when somebody else was faster. Returns the
    /// new value.
    ///
    /// # Errors
    /// As [`Bucket::set`], and [`HostError::Unavailable`] when others were faster a hundred times in a row.
    pub fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>,
    ) -> Result<Vec<u8>, HostError> {
        let mut cas = self.watch(key)?;
        for _ in 0..TRIES_MAX {
            let value = change(cas.current()?);
            match cas.swap(&value)? {
                Swap::Done => return Ok(value),
                Swap::Lost(now) => cas = now,
            }
        }
        Err(HostError::Unavailable(format!("the value under `{key}` changes faster than it can be updated")))
    }
}

// === impl Cas ===

impl Cas {
    /// The value of now, if there is one; from here on it is the one that may be replaced.
    ///
    /// # Errors
    /// As the module says.
    pub fn current(&self) -> Result<Option<Vec<u8>>, HostError> {
        self.0.current()
    }

    /// Replaces the value when it is still the one that was looked at last, in one atomic step.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn swap(self, value: impl AsRef<[u8]>) -> Result<Swap, HostError> {
        Ok(match self.0.swap(value.as_ref())? {
            None => Swap::Done,
            Some(now) => Swap::Lost(Self(now)),
        })
    }
}
