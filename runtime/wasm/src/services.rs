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

// === impl Services ===

impl Services {
    /// What an attempt has that is answered from a recording: nothing that reaches anything. Secrets stay, because hashing
    /// with them happens inside of the host; nobody is told of refusals, which were told when they were real.
    pub(crate) fn sealed(&self) -> Self {
        Self {
            key_prefix: self.key_prefix.clone(),
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
            publisher: None,
            blobs: BTreeMap::new(),
            secrets: Arc::default(),
            http: HttpSender::default(),
            observer: Arc::new(Silent),
            clock: Arc::new(SystemClock),
        }
    }
}
