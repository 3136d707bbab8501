//! A value that is computed once, however many cells want it at the same time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::HostError;
use crate::kv::Bucket;
use crate::{cache, context, time};

/// A value that is computed once, however many cells want it at the same time, on however many hosts: the way to fill a
/// cache without a stampede. [`get_or_set`](crate::cache::get_or_set) is this with nothing else said.
///
/// Whoever finds no value takes a lock and computes; the others wait and take what was computed. The lock is a key of
/// the cache, so the grant `cache = true` is needed wherever the value is kept. It ends by itself when its owner does not
/// live to let go of it, and then one of those who wait takes over.
///
/// ```
/// use std::time::Duration;
///
/// use jobcell_sdk::cache::Once;
/// use jobcell_sdk::prelude::*;
/// # use jobcell_sdk::testing::Host;
///
/// fn feed(user: &str) -> Result<Vec<u64>, Failure> {
///     Once::new(format!("feed:{user}"))
///         .ttl(Duration::from_secs(600))
///         .stale_for(Duration::from_secs(60))
///         .json(|| Ok(vec![3, 2, 1]))
/// }
/// # assert_eq!(Host::new().cache().within(|| feed("7")), Ok(vec![3, 2, 1]));
/// ```
#[derive(Clone)]
#[must_use = "nothing is computed before `bytes` or `json`"]
pub struct Once<'a> {
    key: String,
    ttl: Option<Duration>,
    stale: Option<Duration>,
    lease: Option<Duration>,
    wait: Option<Duration>,
    bucket: Option<&'a Bucket>,
}

/// Who asked, and what for.
enum Turn<T> {
    /// The value is there.
    Here(T),
    /// Nobody else computes; with what is there from before.
    Mine(Lock, Option<T>),
}

/// What keeps others from computing.
struct Lock {
    key: String,
    token: String,
    ends_ms: u64,
}

/// The first pause of those who wait, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];

/// A lock that is about to end is left to end: between looking whose it is and deleting it, it could become another's.
const SPARE_MS: u64 = 250;

/// The longest lock of an attempt without a deadline.
const LEASE_MAX: Duration = Duration::from_secs(3600);

/// Of the time that is left, one part in so many is kept for what comes after waiting.
const KEPT_BACK: u32 = 10;

// === impl Once ===

impl<'a> Once<'a> {
    /// The value under this key of the cache, kept until somebody deletes it or the cache forgets it.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ttl: None, stale: None, lease: None, wait: None, bucket: None }
    }

    /// How long the value is taken for good after it was computed.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long after that the old value is still answered to everybody but the one who renews it. When renewing fails,
    /// the old value is answered too, and the job's log says so. Means nothing without [`Once::ttl`]. Default: not at all.
    pub fn stale_for(mut self, stale: Duration) -> Self {
        self.stale = Some(stale);
        self
    }

    /// How long one may compute before another takes over. Default, and at most: what is left until the deadline, which
    /// no attempt outlives.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long to wait for somebody else's value. Default, and at most: nine tenths of what is left until the deadline.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Keeps the value in a bucket instead of the cache, where other handlers, and for a bucket over your own keys other
    /// programs, find it too. It then lives as long as the bucket's values do; [`Once::ttl`] matters only together with
    /// [`Once::stale_for`]. The lock is among the cells of this handler and tenant.
    pub fn bucket(mut self, bucket: &'a Bucket) -> Self {
        self.bucket = Some(bucket);
        self
    }

    /// The value, computed when it is not there. An error of `compute` is returned and nothing is kept, so the next one
    /// tries again.
    ///
    /// # Errors
    /// What `compute` answers; those of [`cache`](crate::cache) and of the bucket; and [`HostError::Unavailable`] when
    /// somebody else has not finished computing in the time there was to wait, so that another attempt is worth it.
    pub fn bytes<V, E>(&self, compute: impl FnOnce() -> Result<V, E>) -> Result<Vec<u8>, E>
    where
        V: Into<Vec<u8>>,
        E: From<HostError>,
    {
        let compute = || compute().map(Into::into);
        self.value(Some, |value: &Vec<u8>| Ok(value.clone()), compute)
    }

    /// The same as JSON text. A value that is there and cannot be read as a `T`, such as one of an older version of the
    /// handler, counts as none.
    ///
    /// # Errors
    /// As [`Once::bytes`], and [`HostError::Invalid`] when the value has no JSON form.
    pub fn json<T, E>(&self, compute: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<HostError>,
    {
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).ok();
        let write = |value: &T| {
            serde_json::to_vec(value).map_err(|error| HostError::unencodable("the cached value", &error))
        };
        self.value(read, write, compute)
    }

    fn value<T, E: From<HostError>>(
        &self,
        read: impl Fn(Vec<u8>) -> Option<T>,
        write: impl FnOnce(&T) -> Result<Vec<u8>, HostError>,
        compute: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (lock, old) = match self.turn(read)? {
            Turn::Here(value) => return Ok(value),
            Turn::Mine(lock, old) => (lock, old),
        };
        let computed = compute();
        let kept = match &computed {
            Ok(value) => write(value).and_then(|bytes| self.keep(&bytes)),
            Err(_) => Ok(()),
        };
        lock.release();
        match (computed, old) {
            (Ok(value), _) => kept.map(|()| value).map_err(E::from),
            (Err(_), Some(old)) => {
                context::log(format!("`{}` could not be renewed; its old value is answered", self.key));
                Ok(old)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Waits until there is a value, or nobody computes one.
    fn turn<T>(&self, read: impl Fn(Vec<u8>) -> Option<T>) -> Result<Turn<T>, HostError> {
        let began_ms = time::now_ms();
        let left = context::remaining();
        let most = left - left / KEPT_BACK;
        let wait = self.wait.map_or(most, |wait| wait.min(most));
        let mut pause = PAUSES[0];
        loop {
            let held = self.held()?.and_then(&read);
            if let Some(value) = held {
                if self.is_fresh()? {
                    return Ok(Turn::Here(value));
                }
                return match self.lock()? {
                    Some(lock) => Ok(Turn::Mine(lock, Some(value))),
                    None => Ok(Turn::Here(value)),
                };
            }
            if let Some(lock) = self.lock()? {
                // Between looking and locking another may have computed and let go.
                return Ok(match self.held()?.and_then(&read) {
                    Some(value) => {
                        lock.release();
                        Turn::Here(value)
                    }
                    None => Turn::Mine(lock, None),
                });
            }
            let waited = Duration::from_millis(time::now_ms().saturating_sub(began_ms));
            let Some(rest) = wait.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                return Err(HostError::Unavailable(format!(
                    "`{}` is being computed by another cell, which has not ended within {} ms",
                    self.key,
                    waited.as_millis()
                )));
            };
            time::sleep(pause.min(rest));
            pause = (pause * 3 / 2).min(PAUSES[1]);
        }
    }

    fn held(&self) -> Result<Option<Vec<u8>>, HostError> {
        match self.bucket {
            Some(bucket) => bucket.get(&self.key),
            None => cache::get(&self.key),
        }
    }

    fn keep(&self, value: &[u8]) -> Result<(), HostError> {
        match self.bucket {
            Some(bucket) => bucket.set(&self.key, value)?,
            None => {
                let lives = |ttl: Duration| ttl.saturating_add(self.stale.unwrap_or_default());
                cache::set(&self.key, value, self.ttl.map(lives))?;
            }
        }
        match self.freshness() {
            Some(ttl) => cache::set(&self.beside("fresh"), b"1", Some(ttl)),
            None => Ok(()),
        }
    }

    fn is_fresh(&self) -> Result<bool, HostError> {
        match self.freshness() {
            Some(_) => Ok(cache::get(&self.beside("fresh"))?.is_some()),
            None => Ok(true),
        }
    }

    /// How long a value is fresh, where it is kept for longer.
    fn freshness(&self) -> Option<Duration> {
        self.stale.and(self.ttl)
    }

    /// A key of the cache beside the value's.
    fn beside(&self, what: &str) -> String {
        match self.bucket {
            Some(bucket) => format!("{what}@{}:{}", bucket.name(), self.key),
            None => format!("{what}:{}", self.key),
        }
    }

    fn lock(&self) -> Result<Option<Lock>, HostError> {
        let left = context::remaining().min(LEASE_MAX).max(Duration::from_millis(1));
        let lease = self.lease.map_or(left, |lease| lease.min(left));
        let key = self.beside("lock");
        // What an attempt writes is counted, and those who wait come often.
        if cache::get(&key)?.is_some() {
            return Ok(None);
        }
        // Random for each cell, and another one at each call.
        let token = format!("{:016x}", RandomState::new().hash_one(&key));
        let ends_ms = time::now_ms().saturating_add(time::whole_ms(lease));
        let taken = cache::set_if_absent(&key, &token, Some(lease))?;
        Ok(taken.then_some(Lock { key, token, ends_ms }))
    }
}

// === impl Lock ===

impl Lock {
    /// Lets the next one in; unless it is another's by now, or about to be. A lock that stays ends by itself, so nothing
    /// is said when the cache does not answer.
    fn release(self) {
        if time::now_ms().saturating_add(SPARE_MS) < self.ends_ms
            && cache::get(&self.key).is_ok_and(|held| held.is_some_and(|held| held == self.token.as_bytes()))
        {
            let _ = cache::delete(&self.key);
        }
    }
}
