//! From what was configured to what is started.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jobcell_core::event::Silent;
use jobcell_core::worker::QueueSettings;
use jobcell_core::{Observer, QueueName};
use jobcell_handlers::{OciLogin, OciRegistries, Routes, Source, Trust};
use jobcell_redis::ListOptions;
use jobcell_wasm::{EngineConfig, Grants, HttpSender, Services, WasmError};

use crate::builder::{self, Builder, StartError};
use crate::config::{Config, HandlerConfig, HandlerSource, Protocol, QueueConfig, RegistryConfig, Retries};
use crate::handler::Handler;
use crate::queue::Queue;
use crate::stores::{Layout, StoreChoice, Uses};

impl Builder {
    /// A host as the configuration describes it.
    ///
    /// # Errors
    /// When a key of `[trust]` is none, the store's address is wrong, or TLS cannot be set up.
    pub fn configured(config: &Config) -> Result<Self, StartError> {
        let mut builder = Self::new().compiled(&config.cells.cache).engine(engine(config));
        builder.store = store_choice(config)?;
        // Also those that this host does not work: its handlers may put jobs on them.
        builder.lists = lists(config);
        builder.buckets = config.buckets.clone();
        builder.cells = config.cells.threads.and_then(NonZeroUsize::new);
        builder = builder.trust(trust(config).map_err(StartError::Config)?).registries(registries(config));
        for queue in config.queues.values() {
            builder = builder.queue(self::queue(queue));
        }
        for handler in config.handlers.values() {
            builder = builder.handler(self::handler(handler));
        }
        for (name, secret) in &config.secrets {
            builder = builder.secret(name, secret.expose());
        }
        for (name, blobs) in &config.blobs {
            builder = builder.blobs_with(name, blobs.clone());
        }
        Ok(builder.http(HttpSender::new(None, &config.http.ca)?))
    }
}

/// Whose versions are believed.
///
/// # Errors
/// Every key that is none.
pub(crate) fn trust(config: &Config) -> Result<Trust, Vec<String>> {
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    for key in &config.trust.keys {
        match key.parse() {
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(format!("[trust] keys: {key:?}: {fault}")),
        }
    }
    if faults.is_empty() { Ok(Trust::new(config.trust.require_signature, keys)) } else { Err(faults) }
}

/// Who this host is to registries that handlers come from.
fn registries(config: &Config) -> OciRegistries {
    let login = |of: &RegistryConfig| OciLogin {
        username: of.username.clone(),
        password: of.password.expose().to_owned(),
    };
    OciRegistries { logins: config.registries.iter().map(|(host, of)| (host.clone(), login(of))).collect() }
}

/// The engine's settings.
pub(crate) fn engine(config: &Config) -> EngineConfig {
    EngineConfig {
        cells: config.cells.max,
        memory_max: usize::try_from(config.cells.memory_max).unwrap_or(usize::MAX),
        artifact_max: usize::try_from(config.cells.artifact_max).unwrap_or(usize::MAX),
        table_elements: config.cells.table_elements_max as usize,
        stack: usize::try_from(config.cells.stack).unwrap_or(usize::MAX),
        compiler: config.cells.compiler.clone(),
        baseline: config.cells.baseline,
        ..EngineConfig::default()
    }
}

/// What a handler with these grants can be given where there is no store.
pub(crate) fn services(config: &Config, grants: &Grants) -> Result<Services, WasmError> {
    let secrets =
        config.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned())).collect();
    // A store that this handler never reaches must not stand in its way.
    let granted = config.blobs.iter().filter(|(name, _)| grants.blobs.contains(name));
    let blobs = granted.map(|(name, blobs)| (name.clone(), blobs.clone())).collect();
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    builder::services(
        None,
        &observer,
        secrets,
        &blobs,
        &config.buckets,
        HttpSender::new(None, &config.http.ca)?,
    )
}

/// The store of this configuration.
pub(crate) fn store_choice(config: &Config) -> Result<StoreChoice, StartError> {
    let Some(redis) = &config.redis else {
        return Ok(StoreChoice::Embedded(config.embedded.path.clone()));
    };
    let options = redis.connect_options().map_err(|fault| StartError::Store(fault.into()))?;
    Ok(StoreChoice::Redis(options))
}

/// The queues that are plain lists.
fn lists(config: &Config) -> BTreeMap<QueueName, ListOptions> {
    config.lists.iter().map(|(name, list)| (name.clone(), list.options())).collect()
}

/// What the store is told of the queues by a command that ends no jobs, and so writes no series.
pub(crate) fn layout(config: &Config) -> Layout {
    let only_lists = !config.queues.is_empty()
        && config.queues.values().all(|queue| matches!(queue.protocol, Protocol::List(_)));
    let grants = config.handlers.values().map(|handler| &handler.grants);
    let keeps_results = config.handlers.values().any(|handler| handler.result_cache.is_some());
    let uses = Uses::of(only_lists, grants, &config.buckets).results(keeps_results);
    Layout { lists: lists(config), uses, ..Layout::default() }
}

fn queue(config: &QueueConfig) -> Queue {
    let QueueConfig {
        name,
        handlers,
        concurrency,
        rate,
        lock,
        stalled_interval,
        max_stalled,
        poison,
        cancel_grace,
        receipts,
        keep_completed,
        keep_failed,
        poll,
        worker_name,
        metrics_points,
        protocol,
    } = config;
    let routes = handlers.iter().fold(Routes::none(), |routes, (job, handler)| routes.with(job, handler));
    let mut settings = QueueSettings::new(QueueName::clone(name));
    settings.concurrency = *concurrency;
    settings.rate = *rate;
    settings.lock = *lock;
    settings.stall.interval = *stalled_interval;
    settings.stall.max = *max_stalled;
    settings.cancel_grace = *cancel_grace;
    settings.policy.poison = *poison;
    settings.policy.receipts = *receipts;
    settings.policy.keep_completed = keep_completed.clone();
    settings.policy.keep_failed = keep_failed.clone();
    settings.poll = *poll;
    settings.worker_name = worker_name.as_deref().map(Into::into);
    let series = u32::try_from(*metrics_points).unwrap_or(u32::MAX);
    let queue = Queue { settings, routes, series, list: None };
    match protocol {
        Protocol::BullMq => queue,
        Protocol::List(list) => queue.list(list.options()),
    }
}

/// A handler.
pub(crate) fn handler(config: &HandlerConfig) -> Handler {
    let HandlerConfig {
        name,
        source,
        limits,
        grants,
        retries,
        names,
        canary: _,
        quarantine,
        watch,
        record,
        result_cache,
        build: _,
    } = config;
    let source = match source {
        HandlerSource::Path(path) => Source::File(path.clone()),
        HandlerSource::Store => Source::Store,
        HandlerSource::Oci(image) => Source::Oci(image.clone()),
    };
    Handler {
        limits: limits.clone(),
        grants: grants.clone(),
        names: BTreeMap::clone(names),
        same_version: *retries == Retries::SameVersion,
        quarantine: *quarantine,
        watch: *watch,
        record: *record,
        result_cache: result_cache.clone(),
        ..Handler::from(name, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, FileChoice, Request};

    fn config(toml: &str) -> Config {
        let file = FileChoice::Text("jobcell.toml".into(), toml.to_owned());
        config::load(&Request { file, ..Request::default() }).unwrap()
    }

    #[test]
    fn handlers_from_everywhere_are_taken() {
        let config = config(
            "[handlers.a]\nsource = \"store\"\nretries = \"same-version\"\nquarantine = 9\n\
             [handlers.b]\nsource = \"oci://ghcr.io/acme/b:1\"\nwatch = false\n[handlers.c]\nsource = \"c.wasm\"\n",
        );
        let plan = |name: &str| handler(&config.handlers[name]).plan();
        let a = plan("a");
        assert!(a.is_shared() && a.same_version && a.quarantine == 9 && a.watch);
        let b = plan("b");
        assert_eq!((b.source.to_string().as_str(), b.watch), ("oci://ghcr.io/acme/b:1", false));
        assert_eq!((plan("c").source.to_string().as_str(), plan("c").quarantine), ("c.wasm", 5));
        assert!(Builder::configured(&config).is_ok());
    }

    #[test]
    fn a_key_that_is_no_point_of_the_curve_is_told() {
        let key = "ed25519:AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let config = config(&format!("[trust]\nkeys = [\"{key}\"]\n"));
        match trust(&config) {
            Err(faults) => assert!(faults.len() == 1 && faults[0].contains(key), "{faults:?}"),
            Ok(trust) => panic!("{trust:?}"),
        }
    }
}
