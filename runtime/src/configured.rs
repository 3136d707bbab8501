//! From what was configured to what is started.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use jobcell_core::QueueName;
use jobcell_core::worker::QueueSettings;
use jobcell_handlers::{Routes, Source};
use jobcell_redis::{ConnectOptions, StoreOptions};
use jobcell_wasm::EngineConfig;

use crate::builder::{Builder, StartError};
use crate::config::{Config, HandlerConfig, HandlerSource, Protocol, QueueConfig, Retries};
use crate::handler::Handler;
use crate::queue::Queue;
use crate::stores::StoreChoice;

impl Builder {
    /// A host as the configuration describes it.
    ///
    /// # Errors
    /// When it asks for something that this version cannot do: all such faults at once.
    pub fn configured(config: &Config) -> Result<Self, StartError> {
        let mut faults = Vec::new();
        if config.trust.require_signature {
            faults.push(
                "[trust] require-signature = true is not supported by this version, and handlers would run unverified; \
                 remove it"
                    .to_owned(),
            );
        }
        let mut builder = Self::new().compiled(&config.cells.cache).engine(engine(config));
        builder.store = store_choice(config)?;
        builder.cells = config.cells.threads.and_then(NonZeroUsize::new);
        for queue in config.queues.values() {
            match self::queue(queue) {
                Ok(queue) => builder = builder.queue(queue),
                Err(fault) => faults.push(fault),
            }
        }
        for handler in config.handlers.values() {
            match self::handler(handler) {
                Ok(handler) => builder = builder.handler(handler),
                Err(fault) => faults.push(fault),
            }
        }
        for (name, secret) in &config.secrets {
            builder = builder.secret(name, secret.expose());
        }
        for (name, blobs) in &config.blobs {
            builder = builder.blobs(name, &blobs.url);
        }
        if faults.is_empty() { Ok(builder) } else { Err(StartError::Config(faults)) }
    }
}

/// The engine's settings.
pub(crate) fn engine(config: &Config) -> EngineConfig {
    EngineConfig {
        cells: config.cells.max,
        memory_max: usize::try_from(config.cells.memory_max).unwrap_or(usize::MAX),
        ..EngineConfig::default()
    }
}

/// The store of this configuration.
pub(crate) fn store_choice(config: &Config) -> Result<StoreChoice, StartError> {
    let Some(redis) = &config.redis else {
        return Ok(StoreChoice::Embedded(config.embedded.path.clone()));
    };
    let options =
        ConnectOptions::from_url(redis.url.expose()).map_err(|fault| StartError::Store(fault.into()))?;
    // One store serves all queues, so the longest series any of them asks for holds for each.
    let points = config.queues.values().map(|queue| queue.metrics_points).max().unwrap_or(0);
    let metrics_points = u32::try_from(points).unwrap_or(u32::MAX);
    Ok(StoreChoice::Redis(options.prefix(&redis.prefix), StoreOptions { metrics_points }))
}

pub(crate) fn queue(config: &QueueConfig) -> Result<Queue, String> {
    let QueueConfig {
        name,
        handlers,
        concurrency,
        rate,
        lock,
        stalled_interval,
        max_stalled,
        keep_completed,
        keep_failed,
        poll,
        worker_name,
        metrics_points: _,
        protocol,
    } = config;
    if let Protocol::List(_) = protocol {
        return Err(format!(
            "[queues.{name}] protocol = \"list\" is not supported by this version; use \"bullmq\""
        ));
    }
    let routes = handlers.iter().fold(Routes::none(), |routes, (job, handler)| routes.with(job, handler));
    let mut settings = QueueSettings::new(QueueName::clone(name));
    settings.concurrency = *concurrency;
    settings.rate = *rate;
    settings.lock = *lock;
    settings.stall.interval = *stalled_interval;
    settings.stall.max = *max_stalled;
    settings.policy.keep_completed = keep_completed.clone();
    settings.policy.keep_failed = keep_failed.clone();
    settings.poll = *poll;
    settings.worker_name = worker_name.as_deref().map(Into::into);
    Ok(Queue { settings, routes })
}

pub(crate) fn handler(config: &HandlerConfig) -> Result<Handler, String> {
    let HandlerConfig { name, source, limits, grants, retries, names } = config;
    if *retries == Retries::SameVersion {
        return Err(format!(
            "[handlers.{name}] retries = \"same-version\" is not supported by this version; use \"newest\""
        ));
    }
    let unsupported = |what: &str| {
        Err(format!(
            "[handlers.{name}] source = {what} is not supported by this version; give the path of a .wasm file"
        ))
    };
    let source = match source {
        HandlerSource::Path(path) => Source::File(path.clone()),
        HandlerSource::Store => return unsupported("\"store\""),
        HandlerSource::Oci(_) => return unsupported("\"oci://…\""),
    };
    Ok(Handler {
        name: name.clone(),
        source,
        limits: limits.clone(),
        grants: grants.clone(),
        names: BTreeMap::clone(names),
    })
}
