//! Which store jobs are kept in, and what comes with it: cache and publish over the same back end.

mod routed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jobcell_core::cache::Cache;
use jobcell_core::keyvalue::KeyValue;
use jobcell_core::publish::Publisher;
use jobcell_core::store::SeriesPoints;
use jobcell_core::{Admin, Documents, QueueName};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore, InProcessPublisher};
use jobcell_redis::{
    BullStore, ConnectError, ConnectOptions, ListOptions, ListStore, Redis, RedisCache, RedisDocuments,
    RedisKeyValue, RedisPublisher, StoreOptions,
};
use jobcell_wasm::Grants;
use routed::{Beside, RoutedStore};

use crate::config::BucketConfig;

/// A store that is open, with what handlers can be granted of it.
#[derive(Clone)]
pub struct OpenStore {
    /// Where jobs live.
    pub store: Arc<dyn Admin>,
    /// Behind the `cache` capability.
    pub cache: Arc<dyn Cache>,
    /// Behind `wasi:keyvalue`.
    pub keyvalue: Arc<dyn KeyValue>,
    /// Behind the `publish` capability.
    pub publisher: Arc<dyn Publisher>,
    /// What hosts share besides jobs: wanted versions, each other, who did what.
    pub documents: Arc<dyn Documents>,
    /// What the keys of jobs begin with.
    pub prefix: String,
}

/// Which store to open.
pub(crate) enum StoreChoice {
    Embedded(PathBuf),
    Redis(ConnectOptions),
    Open(OpenStore),
    /// What was asked for makes no sense; said when the store is opened.
    Wrong(OpenError),
}

/// What a store is told of its queues. One that is open already was told so when it was opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// How many minutes of finished jobs are kept of each queue.
    pub(crate) series: SeriesPoints,
    /// The queues that are plain lists; all others are BullMQ's.
    pub(crate) lists: BTreeMap<QueueName, ListOptions>,
    /// What else of it is used.
    pub(crate) uses: Uses,
}

/// What of a store is used besides its list queues, so that it is only asked whether that is allowed.
#[derive(Debug, Clone)]
pub(crate) struct Uses {
    /// Queues in BullMQ's layout.
    bull: bool,
    cache: bool,
    keyvalue: bool,
    /// Buckets over keys that other programs use too, by name.
    ranges: BTreeMap<String, BucketConfig>,
    /// Channels that are published to, or beginnings followed by `*`.
    channels: BTreeSet<String>,
}

// === impl Uses ===

impl Uses {
    /// By handlers with these grants; `only_lists` when every queue that is worked is a list.
    pub(crate) fn of<'a>(
        only_lists: bool,
        grants: impl IntoIterator<Item = &'a Grants>,
        buckets: &BTreeMap<String, BucketConfig>,
    ) -> Self {
        let (ranges, channels) = (BTreeMap::new(), BTreeSet::new());
        let none = Self { bull: !only_lists, cache: false, keyvalue: false, ranges, channels };
        grants.into_iter().fold(none, |mut uses, grants| {
            uses.bull |= !grants.enqueue.is_empty();
            uses.cache |= grants.cache;
            for name in &grants.kv {
                match buckets.get(name) {
                    Some(bucket) => {
                        uses.ranges.insert(name.clone(), bucket.clone());
                    }
                    None => uses.keyvalue = true,
                }
            }
            uses.channels.extend(grants.publish.iter().cloned());
            uses
        })
    }
}

impl Uses {
    /// And by handlers whose results are kept, where there are any.
    pub(crate) fn results(mut self, are_kept: bool) -> Self {
        self.cache |= are_kept;
        self
    }
}

/// Queues in BullMQ's layout, which is what commands are for when nobody says more.
impl Default for Uses {
    fn default() -> Self {
        Self::of(false, [], &BTreeMap::new())
    }
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
    /// A list queue is not possible there.
    #[error("{0}")]
    List(String),
    /// Opening it panicked, which is a fault of this program.
    #[error("opening the embedded store panicked: {0}")]
    Panic(String),
}

impl StoreChoice {
    /// Whether these queues can live there: all that cannot.
    pub(crate) fn check_queues<'a>(
        &self,
        queues: impl IntoIterator<Item = &'a QueueName>,
    ) -> Result<(), Vec<String>> {
        let Self::Redis(connect) = self else { return Ok(()) };
        let faults: Vec<String> = queues
            .into_iter()
            .filter_map(|queue| connect.check_queue(queue).err())
            .map(|e| e.to_string())
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Opens it.
    pub(crate) async fn open(self, layout: Layout) -> Result<OpenStore, OpenError> {
        let has_lists = |place: &str| match layout.lists.first_key_value() {
            Some((queue, _)) => Err(OpenError::List(format!(
                "queue {queue:?} is a list, and {place}; list queues need a Redis that is opened here"
            ))),
            None => Ok(()),
        };
        match self {
            Self::Embedded(directory) => {
                has_lists("no Redis is configured")?;
                open_embedded(directory, layout.series).await
            }
            Self::Redis(connect) => open_redis(connect, layout).await,
            Self::Open(store) => {
                has_lists("the store was opened without it")?;
                Ok(store)
            }
            Self::Wrong(error) => Err(error),
        }
    }
}

async fn open_embedded(directory: PathBuf, series: SeriesPoints) -> Result<OpenStore, OpenError> {
    // Opening reads and repairs files.
    let options = EmbeddedOptions { series, ..EmbeddedOptions::default() };
    let opening = tokio::task::spawn_blocking(move || EmbeddedStore::open(directory, options));
    let store = opening.await.map_err(|panic| OpenError::Panic(panic.to_string()))??;
    tracing::debug!(directory = %store.directory().display(), "no Redis is configured: jobs live in the embedded store");
    Ok(OpenStore {
        cache: Arc::new(store.cache()),
        keyvalue: Arc::new(store.keyvalue()),
        documents: Arc::new(store.documents()),
        publisher: Arc::new(InProcessPublisher::default()),
        store: Arc::new(store),
        prefix: "bull".to_owned(),
    })
}

async fn open_redis(connect: ConnectOptions, layout: Layout) -> Result<OpenStore, OpenError> {
    let prefix = connect.key_prefix().to_owned();
    let redis = Redis::connect(connect).await?;
    let Layout { series, lists, uses } = layout;
    let bull = BullStore::new(redis.clone(), StoreOptions { series });
    let lists = lists.into_iter().map(|(queue, options)| {
        let list = ListStore::new(redis.clone(), queue.clone(), options);
        list.map(|list| (queue, list)).map_err(|fault| OpenError::List(fault.to_string()))
    });
    let lists: BTreeMap<_, _> = lists.collect::<Result<_, _>>()?;
    let (cache, keyvalue) = (RedisCache::new(redis.clone()), RedisKeyValue::new(redis.clone()));
    let (publisher, documents) = (RedisPublisher::new(redis.clone()), RedisDocuments::new(redis));
    let ranges = uses.ranges.values().map(|bucket| (keyvalue.over(bucket.range.clone()), bucket.writes));
    let beside = Beside {
        ranges: ranges.collect(),
        uses,
        cache: cache.clone(),
        keyvalue: keyvalue.clone(),
        publisher: publisher.clone(),
        documents: documents.clone(),
    };
    Ok(OpenStore {
        store: Arc::new(RoutedStore { bull, lists, beside }),
        cache: Arc::new(cache),
        keyvalue: Arc::new(keyvalue),
        documents: Arc::new(documents),
        publisher: Arc::new(publisher),
        prefix,
    })
}
