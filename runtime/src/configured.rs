//! From what was configured to what is started.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jobcell_core::event::Silent;
use jobcell_core::worker::QueueSettings;
use jobcell_core::{Observer, QueueName};
use jobcell_handlers::{Routes, Source};
use jobcell_redis::ListOptions;
use jobcell_wasm::{EngineConfig, Grants, HttpSender, Services, WasmError};

use crate::builder::{self, Builder, StartError};
use crate::config::{Config, HandlerConfig, HandlerSource, Protocol, QueueConfig, Retries};
use crate::handler::Handler;
use crate::queue::Queue;
use crate::stores::{Layout, StoreChoice, Uses};

impl Builder {
    /// A host as the configuration describes it.
    ///
    /// # Errors
    /// When it asks for something that this version cannot do: all such faults at once.
    pub fn configured(config: &Config) -> Result<Self, StartError> {
        let mut faults: Vec<String> = trust(config).err().into_iter().collect();
        let mut builder = Self::new().compiled(&config.cells.cache).engine(engine(config));
        builder.store = store_choice(config)?;
        // Also those that this host does not work: its handlers may put jobs on them.
        builder.lists = lists(config);
        builder.cells = config.cells.threads.and_then(NonZeroUsize::new);
        for queue in config.queues.values() {
            builder = builder.queue(self::queue(queue));
        }
        for handler in config.handlers.values() {
            match self::handler(handler) {
                Ok(handler) => builder = builder.handler(handler),
                Err(found) => faults.extend(found),
            }
        }
        for (name, secret) in &config.secrets {
            builder = builder.secret(name, secret.expose());
        }
        for (name, blobs) in &config.blobs {
            builder = builder.blobs(name, &blobs.url);
        }
        builder = builder.http(HttpSender::new(None, &config.http.ca)?);
        if faults.is_empty() { Ok(builder) } else { Err(StartError::Config(faults)) }
    }
}

/// What is asked of handlers' signatures.
pub(crate) fn trust(config: &Config) -> Result<(), String> {
    if config.trust.require_signature {
        return Err(
            "[trust] require-signature = true is not supported by this version, and handlers would run \
                    unverified; remove it"
                .to_owned(),
        );
    }
    Ok(())
}

/// What is configured and has no effect in this version, but harms nothing: said when a host starts, and by `check`.
pub(crate) fn without_effect(config: &Config) -> Vec<String> {
    let mut said = Vec::new();
    if !config.trust.keys.is_empty() && !config.trust.require_signature {
        said.push(
            "[trust] keys has no effect: this version does not verify signatures, and runs handlers unverified"
                .to_owned(),
        );
    }
    said
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
        ..EngineConfig::default()
    }
}

/// What a handler with these grants can be given where there is no store.
pub(crate) fn services(config: &Config, grants: &Grants) -> Result<Services, WasmError> {
    let secrets =
        config.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned())).collect();
    // A store that this handler never reaches must not stand in its way.
    let granted = config.blobs.iter().filter(|(name, _)| grants.blobs.contains(name));
    let blobs = granted.map(|(name, blobs)| (name.clone(), blobs.url.clone())).collect();
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    builder::services(None, &observer, secrets, &blobs, HttpSender::new(None, &config.http.ca)?)
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
    Layout { lists: lists(config), uses: Uses::of(only_lists, grants), ..Layout::default() }
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

/// A handler, or everything that this version cannot do of what it asks for.
pub(crate) fn handler(config: &HandlerConfig) -> Result<Handler, Vec<String>> {
    let HandlerConfig { name, source, limits, grants, retries, names } = config;
    let mut faults = Vec::new();
    if *retries == Retries::SameVersion {
        faults.push(format!(
            "[handlers.{name}] retries = \"same-version\" is not supported by this version; use \"newest\""
        ));
    }
    let unsupported = |what: &str| {
        format!(
            "[handlers.{name}] source = {what} is not supported by this version; give the path of a .wasm file"
        )
    };
    let source = match source {
        HandlerSource::Path(path) => Ok(Source::File(path.clone())),
        HandlerSource::Store => Err(unsupported("\"store\"")),
        HandlerSource::Oci(_) => Err(unsupported("\"oci://…\"")),
    };
    let source = match source {
        Ok(source) if faults.is_empty() => source,
        found => {
            faults.extend(found.err());
            return Err(faults);
        }
    };
    Ok(Handler {
        name: name.clone(),
        source,
        limits: limits.clone(),
        grants: grants.clone(),
        names: BTreeMap::clone(names),
    })
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
    fn what_this_version_cannot_do_is_refused_all_at_once() {
        let config = config(
            "[handlers.a]\nsource = \"store\"\nretries = \"same-version\"\n\
             [trust]\nrequire-signature = true\n\
             keys = [\"ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n",
        );
        let Err(StartError::Config(faults)) = Builder::configured(&config) else { panic!("it is refused") };
        assert_eq!(faults.len(), 3, "{faults:#?}");
        for (fault, part) in faults.iter().zip(["[trust]", "retries", "source"]) {
            assert!(fault.contains(part) && fault.contains("not supported by this version"), "{fault}");
        }
        assert!(without_effect(&config).is_empty(), "what is refused is not also warned of");
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let config = config("[trust]\nkeys = [\"ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n");
        assert!(Builder::configured(&config).is_ok());
        let said = without_effect(&config);
        assert!(said.len() == 1 && said[0].contains("keys"), "{said:?}");
    }
}
