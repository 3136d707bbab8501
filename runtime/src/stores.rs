//! Which store jobs are kept in, and what comes with it: cache and publish over the same back end.

use std::path::PathBuf;
use std::sync::Arc;

use jobcell_core::Admin;
use jobcell_core::cache::Cache;
use jobcell_core::publish::Publisher;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore, InProcessPublisher};
use jobcell_redis::{
    BullStore, ConnectError, ConnectOptions, Redis, RedisCache, RedisPublisher, StoreOptions,
};

/// A store that is open, with the cache and the publisher beside it.
#[derive(Clone)]
pub struct OpenStore {
    /// Where jobs live.
    pub store: Arc<dyn Admin>,
    /// Behind the `cache` capability.
    pub cache: Arc<dyn Cache>,
    /// Behind the `publish` capability.
    pub publisher: Arc<dyn Publisher>,
    /// What the keys of jobs begin with.
    pub prefix: String,
}

/// Which store to open.
pub(crate) enum StoreChoice {
    Embedded(PathBuf),
    Redis(ConnectOptions, StoreOptions),
    Open(OpenStore),
    /// What was asked for makes no sense; said when the store is opened.
    Wrong(OpenError),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Redis cannot be reached or refuses.
    #[error(transparent)]
    Redis(#[from] ConnectError),
    /// The embedded store's directory cannot be used.
    #[error(transparent)]
    Embedded(#[from] jobcell_embedded::EmbeddedError),
    /// Opening it panicked, which is a fault of this program.
    #[error("opening the embedded store panicked: {0}")]
    Panic(String),
}

impl StoreChoice {
    pub(crate) async fn open(self) -> Result<OpenStore, OpenError> {
        match self {
            Self::Embedded(directory) => open_embedded(directory).await,
            Self::Redis(connect, options) => open_redis(connect, options).await,
            Self::Open(store) => Ok(store),
            Self::Wrong(error) => Err(error),
        }
    }
}

async fn open_embedded(directory: PathBuf) -> Result<OpenStore, OpenError> {
    // Opening reads and repairs files.
    let opening =
        tokio::task::spawn_blocking(move || EmbeddedStore::open(directory, EmbeddedOptions::default()));
    let store = opening.await.map_err(|panic| OpenError::Panic(panic.to_string()))??;
    tracing::info!(directory = %store.directory().display(), "no Redis is configured: jobs live in the embedded store");
    Ok(OpenStore {
        cache: Arc::new(store.cache()),
        publisher: Arc::new(InProcessPublisher::default()),
        store: Arc::new(store),
        prefix: "bull".to_owned(),
    })
}

async fn open_redis(connect: ConnectOptions, options: StoreOptions) -> Result<OpenStore, OpenError> {
    let prefix = connect.key_prefix().to_owned();
    let redis = Redis::connect(connect).await?;
    Ok(OpenStore {
        store: Arc::new(BullStore::new(redis.clone(), options)),
        cache: Arc::new(RedisCache::new(redis.clone())),
        publisher: Arc::new(RedisPublisher::new(redis)),
        prefix,
    })
}
