//! What the host has for its handlers to use: the ports behind the capabilities.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobcell_core::cache::Cache;
use jobcell_core::event::Silent;
use jobcell_core::keyvalue::KeyValue;
use jobcell_core::publish::Publisher;
use jobcell_core::{Clock, Observer, Store, SystemClock};

use crate::blobs::BlobStore;
use crate::http::send::HttpSender;
use crate::secret::Secrets;

/// What the host has for its handlers to use. Cheap to clone. A part that is missing is answered with `unavailable`,
/// so that one attempt can run with no store at all.
#[derive(Clone)]
pub struct Services {
    /// Where `jobs` puts new jobs and `context` finds children.
    pub store: Option<Arc<dyn Store>>,
    /// The prefix of job keys in that store, with which children name their parent. Default `bull`.
    pub key_prefix: String,
    /// Behind `cache`.
    pub cache: Option<Arc<dyn Cache>>,
    /// Behind `wasi:keyvalue`.
    pub keyvalue: Option<Arc<dyn KeyValue>>,
    /// Buckets that are not the store's own, by name: keys that other programs use too.
    pub ranges: BTreeMap<String, RangeBucket>,
    /// Behind `publish`.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Behind `blobs`, by name.
    pub blobs: BTreeMap<String, BlobStore>,
    /// Behind `secrets`.
    pub secrets: Arc<Secrets>,
    /// Sends outgoing requests; shared, so that connections are.
    pub http: HttpSender,
    /// Hears about refusals.
    pub observer: Arc<dyn Observer>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// A bucket over keys that other programs use too.
#[derive(Clone)]
pub struct RangeBucket {
    /// Where its keys are. None is where the other buckets are, for a store that nobody else reaches.
    pub store: Option<Arc<dyn KeyValue>>,
    /// Whether handlers may write there.
    pub writes: bool,
    /// Whose jobs may open it.
    pub jobs: RangeJobs,
}

/// Whose jobs may open a bucket over keys that other programs use too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeJobs {
    /// Those of tenants, each of which has keys of its own.
    OfTenants,
    /// Those that belong to no tenant.
    OfNobody,
    /// All: tenants see each other's keys.
    OfAll,
}

// === impl Services ===

impl Services {
    /// What an attempt has that is answered from a recording: nothing that reaches anything. Secrets stay, because hashing
    /// with them happens inside of the host; nobody is told of refusals, which were told when they were real.
    pub(crate) fn sealed(&self) -> Self {
        let sealed = |range: &RangeBucket| RangeBucket { store: None, ..range.clone() };
        Self {
            key_prefix: self.key_prefix.clone(),
            // What it may do there is refused again as it was.
            ranges: self.ranges.iter().map(|(name, range)| (name.clone(), sealed(range))).collect(),
            secrets: Arc::clone(&self.secrets),
            clock: Arc::clone(&self.clock),
            http: HttpSender::sealed(),
            ..Self::default()
        }
    }
}

impl Default for Services {
    fn default() -> Self {
        Self {
            store: None,
            key_prefix: "bull".to_owned(),
            cache: None,
            keyvalue: None,
            ranges: BTreeMap::new(),
            publisher: None,
            blobs: BTreeMap::new(),
            secrets: Arc::default(),
            http: HttpSender::default(),
            observer: Arc::new(Silent),
            clock: Arc::new(SystemClock),
        }
    }
}
