//! What guests in the arena are given to use: nobody's cache, channel, files and secrets, which remember what was done
//! with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::event::Event;
use jobcell_core::publish::{PublishError, Publisher};
use jobcell_core::{Observer, Store};
use jobcell_wasm::{BlobStore, Grants, HttpSender, Secrets, Services, WasmError};

/// The value of every secret in the arena. No text that leaves a cell may have it.
pub(crate) const SECRET: &str = "canary-7f3a91c2e5d84b60";

/// What was done with the services.
#[derive(Default)]
pub(crate) struct Memory {
    values: Mutex<BTreeMap<String, Bytes>>,
    /// Refusals, by capability.
    denied: Mutex<BTreeMap<&'static str, u64>>,
    published: AtomicUsize,
}

/// Keys that are kept: more show nothing new, and a flood must not fill the machine that it is tried on.
const KEYS_MAX: usize = 20_000;

impl Memory {
    /// The keys that were set since the last call.
    pub(crate) fn take_keys(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.values)).into_keys().collect()
    }

    /// Under how many names refusals were told since the last call.
    pub(crate) fn take_denied(&self) -> usize {
        std::mem::take(&mut *lock(&self.denied)).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the maps whole, so a panic elsewhere cannot have broken them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The services for a handler with these grants: what it is granted is there, and is nobody's.
pub(crate) fn services(
    memory: &Arc<Memory>,
    store: Option<Arc<dyn Store>>,
    files: &Path,
    grants: &Grants,
) -> Result<Services, WasmError> {
    let mut blobs = BTreeMap::new();
    for name in &grants.blobs {
        // A real folder: from one in memory there is no way out that could be tried.
        blobs.insert(name.clone(), BlobStore::open(&format!("file://{}", files.display()))?);
    }
    let secrets = grants.secrets.iter().map(|grant| (grant.name.clone(), SECRET.to_owned()));
    Ok(Services {
        store,
        cache: Some(Arc::<Memory>::clone(memory)),
        publisher: Some(Arc::<Memory>::clone(memory)),
        blobs,
        secrets: Arc::new(Secrets::new(secrets)),
        // One of its own, so that its connections end with the bout.
        http: HttpSender::default(),
        observer: Arc::<Memory>::clone(memory),
        ..Services::default()
    })
}

#[async_trait]
impl Cache for Memory {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        Ok(lock(&self.values).get(key).cloned())
    }

    async fn set(&self, key: &str, value: Bytes, _: Option<Duration>) -> Result<(), CacheError> {
        let mut values = lock(&self.values);
        if values.len() < KEYS_MAX || values.contains_key(key) {
            values.insert(key.to_owned(), value);
        }
        Ok(())
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        let is_absent = !lock(&self.values).contains_key(key);
        if is_absent {
            self.set(key, value, ttl).await?;
        }
        Ok(is_absent)
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        lock(&self.values).remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError> {
        self.set(key, Bytes::from(by.to_string()), ttl).await?;
        Ok(by)
    }
}

#[async_trait]
impl Publisher for Memory {
    async fn publish(&self, _: &str, _: Bytes) -> Result<(), PublishError> {
        self.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Observer for Memory {
    fn on(&self, event: &Event) {
        if let Event::Denied { capability, .. } = event {
            *lock(&self.denied).entry(capability).or_default() += 1;
        }
    }
}
