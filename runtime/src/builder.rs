//! Putting a host together: the one place where stores, engine, handlers and workers meet. Plain code, in the order in
//! which things have to exist.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::clock::SystemClock;
use jobcell_core::documents::MemoryDocuments;
use jobcell_core::event::Silent;
use jobcell_core::fleet::host_id;
use jobcell_core::store::SeriesPoints;
use jobcell_core::worker::{Surroundings, Workers};
use jobcell_core::{Observer, QueueName, Runner};
use jobcell_handlers::{
    ChangeError, Controller, Ground, LoadError, Loader, OciRegistries, Plan, Registry, Routes, Setup, Trust,
    UnknownHandler,
};
use jobcell_redis::{ConnectOptions, ListOptions};
use jobcell_wasm::{
    CompileCache, Engine, EngineConfig, HttpSender, RangeBucket, Secrets, Services, WasmError,
};
use serde::Serialize;

use crate::calm;
use crate::config::{BlobsConfig, BucketConfig};
use crate::handler::Handler;
use crate::inspecting::WasmInspect;
use crate::loader::WasmLoader;
use crate::native::{NativeFailure, NativeJob, NativeRunner};
use crate::queue::Queue;
use crate::runtime::{Cells, Runtime};
use crate::stores::{Layout, OpenError, OpenStore, StoreChoice, Uses};

/// How long a native handler may take when nothing else is said. The same as a Wasm handler's.
const NATIVE_DEADLINE: Duration = Duration::from_secs(30);

/// Puts a host together. Nothing is opened before [`Builder::start`].
pub struct Builder {
    pub(crate) store: StoreChoice,
    queues: Vec<Queue>,
    /// Queues that are lists, beside those in `queues`.
    pub(crate) lists: BTreeMap<QueueName, ListOptions>,
    handlers: Vec<Handler>,
    natives: Vec<Arc<dyn Runner>>,
    secrets: BTreeMap<String, String>,
    blobs: BTreeMap<String, BlobsConfig>,
    /// Buckets over keys that other programs use too.
    pub(crate) buckets: BTreeMap<String, BucketConfig>,
    http: HttpSender,
    compiled: Option<PathBuf>,
    engine: EngineConfig,
    trust: Trust,
    registries: OciRegistries,
    pub(crate) cells: Option<NonZeroUsize>,
    observer: Arc<dyn Observer>,
    burst: bool,
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The configuration asks for what cannot be: all such faults.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The engine, the compile cache or a blob store cannot be set up.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// Handlers that cannot be read or are refused: all of them.
    #[error("{}", lines(.0))]
    Handlers(Vec<LoadError>),
    /// Routes that lead to handlers that do not exist: all of them.
    #[error("{}", lines(.0))]
    Routes(Vec<UnknownHandler>),
    /// Two queues or two handlers have the same name.
    #[error("{what} {name:?} is given twice; give each its own name")]
    Twice {
        /// Queue or handler.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The threads for cells cannot be started.
    #[error("the threads that cells run on do not start: {0}")]
    Threads(std::io::Error),
}

// === impl StartError ===

impl StartError {
    /// Every fault by itself.
    pub(crate) fn each(&self) -> Vec<String> {
        match self {
            Self::Config(faults) => faults.clone(),
            Self::Handlers(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Routes(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Store(_) | Self::Wasm(_) | Self::Twice { .. } | Self::Threads(_) => vec![self.to_string()],
        }
    }
}

/// A new set of handlers, on its way into a running host.
pub(crate) struct Change {
    pub(crate) engine: Engine,
    pub(crate) setup: Setup,
}

fn routes(queues: &[Queue]) -> HashMap<QueueName, Routes> {
    queues.iter().map(|queue| (queue.settings.queue.clone(), queue.routes.clone())).collect()
}

fn plans(handlers: &[Handler]) -> Vec<Plan> {
    handlers.iter().map(Handler::plan).collect()
}

impl From<ChangeError> for StartError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Handlers(faults) => Self::Handlers(faults),
            ChangeError::Routes(faults) => Self::Routes(faults),
        }
    }
}

fn lines<E: std::fmt::Display>(faults: &[E]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// A host on the embedded store in `.jobcell`, with nothing to do.
    #[must_use]
    pub fn new() -> Self {
        Self {
            store: StoreChoice::Embedded(PathBuf::from(".jobcell")),
            queues: Vec::new(),
            lists: BTreeMap::new(),
            handlers: Vec::new(),
            natives: Vec::new(),
            secrets: BTreeMap::new(),
            blobs: BTreeMap::new(),
            buckets: BTreeMap::new(),
            http: HttpSender::default(),
            compiled: None,
            engine: EngineConfig::default(),
            trust: Trust::default(),
            registries: OciRegistries::default(),
            cells: None,
            observer: Arc::new(Silent),
            burst: false,
        }
    }

    /// Keeps jobs in an embedded database in this directory. One process at a time.
    #[must_use]
    pub fn embedded(mut self, directory: impl AsRef<Path>) -> Self {
        self.store = StoreChoice::Embedded(directory.as_ref().to_owned());
        self
    }

    /// Keeps jobs in the Redis at this URL, in BullMQ's layout under the prefix `bull`.
    #[must_use]
    pub fn redis(self, url: impl AsRef<str>) -> Self {
        self.redis_with_prefix(url, "bull")
    }

    /// The same under another prefix.
    #[must_use]
    pub fn redis_with_prefix(mut self, url: impl AsRef<str>, prefix: impl Into<String>) -> Self {
        self.store = match ConnectOptions::from_url(url.as_ref()) {
            Ok(options) => StoreChoice::Redis(options.prefix(prefix)),
            Err(fault) => StoreChoice::Wrong(fault.into()),
        };
        self
    }

    /// Takes a store that is open already.
    #[must_use]
    pub fn store(mut self, store: OpenStore) -> Self {
        self.store = StoreChoice::Open(store);
        self
    }

    /// Works this queue.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// Loads this handler.
    #[must_use]
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Registers an async function as a handler, with a deadline of 30 s.
    #[must_use]
    pub fn native<F, Fut, T>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(NativeJob) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, NativeFailure>> + Send + 'static,
        T: Serialize,
    {
        self.native_within(name, NATIVE_DEADLINE, function)
    }

    /// The same with another deadline.
    #[must_use]
    pub fn native_within<F, Fut, T>(self, name: impl Into<String>, deadline: Duration, function: F) -> Self
    where
        F: Fn(NativeJob) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, NativeFailure>> + Send + 'static,
        T: Serialize,
    {
        self.runner(Arc::new(NativeRunner::new(name.into(), deadline, function)))
    }

    /// Registers a runner of the embedding program's own making.
    #[must_use]
    pub fn runner(mut self, runner: Arc<dyn Runner>) -> Self {
        self.natives.push(runner);
        self
    }

    /// A secret that handlers may be granted.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// A blob store that handlers may be granted: `file:///…`, `memory://`, `s3://…`, `gs://…`, `az://…`.
    #[must_use]
    pub fn blobs(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.blobs.insert(name.into(), BlobsConfig::at(url));
        self
    }

    /// As [`Self::blobs`], with options of the store's own that go before the environment, such as `access_key_id`.
    #[must_use]
    pub fn blobs_with(mut self, name: impl Into<String>, store: BlobsConfig) -> Self {
        self.blobs.insert(name.into(), store);
        self
    }

    /// How handlers' outgoing requests are sent. Default: with the machine's resolver and authorities.
    #[must_use]
    pub fn http(mut self, sender: HttpSender) -> Self {
        self.http = sender;
        self
    }

    /// Keeps compiled handlers in this directory, so that they are compiled once. Default: not kept.
    #[must_use]
    pub fn compiled(mut self, directory: impl AsRef<Path>) -> Self {
        self.compiled = Some(directory.as_ref().to_owned());
        self
    }

    /// How the engine is set up.
    #[must_use]
    pub fn engine(mut self, engine: EngineConfig) -> Self {
        self.engine = engine;
        self
    }

    /// Whose versions are believed. Default: everybody's.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Who this host is to registries that handlers come from. Default: nobody.
    #[must_use]
    pub fn registries(mut self, registries: OciRegistries) -> Self {
        self.registries = registries;
        self
    }

    /// Threads that cells run on. Default: one a core.
    #[must_use]
    pub fn cells(mut self, threads: NonZeroUsize) -> Self {
        self.cells = Some(threads);
        self
    }

    /// Hears about everything that happens.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Workers end by themselves once their queues have nothing waiting, delayed or running.
    #[must_use]
    pub fn burst(mut self, burst: bool) -> Self {
        self.burst = burst;
        self
    }

    /// Opens the store, loads every handler and starts working.
    ///
    /// # Errors
    /// The first kind of fault in the order store, engine, handlers, routes; of handlers and routes all faults. Nothing
    /// has been claimed then.
    pub async fn start(self) -> Result<Runtime, StartError> {
        self.check_names()?;
        let Self {
            store,
            queues,
            mut lists,
            handlers,
            natives,
            secrets,
            blobs,
            buckets,
            http,
            compiled,
            engine,
            trust,
            registries,
            cells,
            observer,
            burst,
        } = self;
        let series = queues.iter().fold(SeriesPoints::default(), |series, queue| {
            series.with(queue.settings.queue.clone(), queue.series)
        });
        for queue in &queues {
            lists.extend(queue.list.clone().map(|list| (queue.settings.queue.clone(), list)));
        }
        let names =
            queues.iter().map(|queue| &queue.settings.queue).filter(|name| !lists.contains_key(*name));
        store.check_queues(names).map_err(StartError::Config)?;
        let only_lists =
            !queues.is_empty() && queues.iter().all(|queue| lists.contains_key(&queue.settings.queue));
        let uses = Uses::of(only_lists, handlers.iter().map(|handler| &handler.grants), &buckets)
            .results(handlers.iter().any(|handler| handler.result_cache.is_some()));
        let open = store.open(Layout { series, lists, uses }).await?;
        let routes = routes(&queues);
        let registry = Arc::new(Registry::new(routes.clone()));
        for native in natives {
            registry.insert_native(native);
        }
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = host_id(&name, std::process::id(), rand::random());
        let ground = Ground {
            registry: Arc::clone(&registry),
            documents: Arc::clone(&open.documents),
            inspect: Arc::new(WasmInspect { artifact_max: engine.artifact_max }),
            clock: Arc::new(SystemClock),
            observer: Arc::clone(&observer),
            host: id.clone(),
        };
        let controller = Arc::new(Controller::new(ground, Arc::new(MemoryDocuments::default())));
        controller.tap_with(calm::taps(&open));
        let engine = if handlers.is_empty() {
            let dangling = registry.dangling();
            if !dangling.is_empty() {
                return Err(StartError::Routes(dangling));
            }
            None
        } else {
            let engine = Engine::new(engine)?;
            let services = services(Some(open.clone()), &observer, secrets, &blobs, &buckets, http)?;
            let cache = compiled.map(CompileCache::open).transpose()?;
            let plans = plans(&handlers);
            let loader: Arc<dyn Loader> =
                Arc::new(WasmLoader::new(engine.clone(), cache, services, handlers));
            controller.start(Setup { loader, plans, routes, trust, registries }).await?;
            Some(engine)
        };
        let threads =
            cells.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let cells = Cells::start(threads).map_err(StartError::Threads)?;
        let surroundings = Surroundings {
            store: Arc::clone(&open.store) as Arc<_>,
            router: Arc::clone(&registry) as Arc<_>,
            observer: Arc::clone(&observer),
            clock: Arc::new(SystemClock),
            entropy: rand::random::<f64>,
            cells: cells.handle(),
            host: format!("{:032x}", rand::random::<u128>()).into(),
        };
        let settings = queues.into_iter().map(|queue| queue.settings).collect();
        if let Some(engine) = &engine {
            engine.leave_room();
        }
        let workers = Workers::start(&surroundings, settings, burst);
        Ok(Runtime { open, observer, registry, controller, id, engine, workers, cells })
    }

    /// What a running host takes from this builder: see [`Runtime::change`].
    pub(crate) fn into_change(self, runtime: &Runtime) -> Result<Change, StartError> {
        self.check_names()?;
        let Self {
            queues, handlers, secrets, blobs, buckets, http, compiled, engine, trust, registries, ..
        } = self;
        let engine = runtime.engine.clone().map_or_else(|| Engine::new(engine), Ok)?;
        engine.leave_room();
        let open = Some(runtime.open.clone());
        let services = services(open, &runtime.observer, secrets, &blobs, &buckets, http)?;
        let cache = compiled.map(CompileCache::open).transpose()?;
        let (routes, plans) = (routes(&queues), plans(&handlers));
        let loader = Arc::new(WasmLoader::new(engine.clone(), cache, services, handlers));
        Ok(Change { engine, setup: Setup { loader, plans, routes, trust, registries } })
    }

    /// The queues it will work.
    pub(crate) fn queue_names(&self) -> Vec<QueueName> {
        self.queues.iter().map(|queue| queue.settings.queue.clone()).collect()
    }

    /// With the jobs that each runs at once at most.
    pub(crate) fn concurrencies(&self) -> Vec<(QueueName, usize)> {
        let of = |queue: &Queue| (queue.settings.queue.clone(), queue.settings.concurrency);
        self.queues.iter().map(of).collect()
    }

    fn check_names(&self) -> Result<(), StartError> {
        let queues = self.queues.iter().map(|queue| ("queue", queue.settings.queue.as_str()));
        let handlers = self.handlers.iter().map(|handler| ("handler", handler.name.as_str()));
        let natives = self.natives.iter().map(|runner| ("handler", runner.handler()));
        let mut seen = std::collections::HashSet::new();
        for (what, name) in queues.chain(handlers).chain(natives) {
            if !seen.insert((what, name)) {
                return Err(StartError::Twice { what, name: name.to_owned() });
            }
        }
        Ok(())
    }
}

/// What handlers can be granted. Without a store, what needs one is answered as unavailable.
pub(crate) fn services(
    open: Option<OpenStore>,
    observer: &Arc<dyn Observer>,
    secrets: BTreeMap<String, String>,
    blobs: &BTreeMap<String, BlobsConfig>,
    buckets: &BTreeMap<String, BucketConfig>,
    http: HttpSender,
) -> Result<Services, WasmError> {
    let range = |bucket: &BucketConfig| RangeBucket {
        store: open.as_ref().and_then(|open| open.keyvalue.range(&bucket.range)),
        writes: bucket.writes,
        jobs: bucket.jobs(),
    };
    let mut services = Services {
        ranges: buckets.iter().map(|(name, bucket)| (name.clone(), range(bucket))).collect(),
        blobs: blobs
            .iter()
            .map(|(name, blobs)| Ok((name.clone(), blobs.open()?)))
            .collect::<Result<_, WasmError>>()?,
        secrets: Arc::new(Secrets::new(secrets)),
        http,
        observer: Arc::clone(observer),
        ..Services::default()
    };
    if let Some(OpenStore { store, cache, keyvalue, publisher, documents: _, prefix }) = open {
        services.store = Some(store);
        services.cache = Some(cache);
        services.keyvalue = Some(keyvalue);
        services.publisher = Some(publisher);
        services.key_prefix = prefix;
    }
    Ok(services)
}
