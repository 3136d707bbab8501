//! Where the handlers are that a command is about: in the store, or with a host that runs.
//!
//! What is wanted of a handler whose versions are in the store can be changed by whoever reaches the store. That is
//! Redis; the embedded one belongs to the process that has it open, so while a host runs it is asked instead, and so is
//! the host of a handler whose versions are its own files.

use jobcell_server::Handlers;

use super::remote::Remote;
use crate::cli::args::HostArgs;
use crate::cli::exit::{Exit, Failure};
use crate::config::{Config, Environment, HandlerSource};
use crate::configured;
use crate::fleet::local::{self, LocalHost};
use crate::stores::{OpenError, OpenStore};
use crate::versions::Versions;

/// The host to ask.
const URL: &str = "JOBCELL_URL";
/// What it is asked with.
const TOKEN: &str = "JOBCELL_TOKEN";

/// See the module.
pub(super) enum Place {
    /// A host.
    Host(Remote),
    /// The store, opened by this process.
    Store {
        open: OpenStore,
        versions: Versions,
        /// Configured handlers whose versions are with the hosts that run them.
        elsewhere: Vec<String>,
    },
}

// === impl Place ===

impl Place {
    /// Where this handler is, or where a list of all is to be had.
    pub(super) async fn of(
        handler: Option<&str>,
        args: &HostArgs,
        config: &Config,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let token = environment.get(TOKEN);
        if let Some(url) = args.url.as_deref().or_else(|| environment.get(URL)) {
            return Ok(Self::Host(Remote::new(url, token)?));
        }
        let source = handler.and_then(|handler| config.handlers.get(handler)).map(|handler| &handler.source);
        let is_of_host = matches!(source, Some(HandlerSource::Path(_) | HandlerSource::Oci(_)));
        if config.redis.is_some() {
            if is_of_host {
                return Ok(Self::Host(Remote::new(&local::url(config.server.listen), token)?));
            }
            return Self::open(config).await;
        }
        if let Some(host) = LocalHost::find(&config.embedded.path) {
            return Ok(Self::Host(Remote::new(&host.url, token)?));
        }
        if is_of_host {
            let name = handler.unwrap_or_default();
            return Err(Failure::failed(format!(
                "handler {name:?} comes from a file, so its versions are with the host that runs it, and none runs on {}; \
                 start it with `jobcell run`, or name it with --url or {URL}",
                config.embedded.path.display()
            )));
        }
        Self::open(config).await
    }

    async fn open(config: &Config) -> Result<Self, Failure> {
        let open = configured::store_choice(config)?.open(configured::layout(config)).await;
        let open = open.map_err(|error| match error {
            OpenError::Embedded(_) => Failure::new(
                Exit::StoreUnreachable,
                format!("{error}. If a host has it open, name its address with --url or {URL}"),
            ),
            error => error.into(),
        })?;
        let versions = Versions::of_store(&open, config)
            .map_err(|error| Failure::usage(format!("[trust] keys: {error}")))?;
        let is_elsewhere =
            |source: &HandlerSource| matches!(source, HandlerSource::Path(_) | HandlerSource::Oci(_));
        let elsewhere = config.handlers.values().filter(|handler| is_elsewhere(&handler.source));
        let elsewhere = elsewhere.map(|handler| handler.name.clone()).collect();
        Ok(Self::Store { open, versions, elsewhere })
    }

    /// The handlers there.
    pub(super) fn handlers(&self) -> &dyn Handlers {
        match self {
            Self::Host(remote) => remote,
            Self::Store { versions, .. } => versions,
        }
    }

    /// In words.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Host(remote) => format!("the host at {}", remote.address()),
            Self::Store { .. } => "the store".to_owned(),
        }
    }

    /// Configured handlers that are not there but with the hosts that run them.
    pub(super) fn elsewhere(&self) -> &[String] {
        match self {
            Self::Host(_) => &[],
            Self::Store { elsewhere, .. } => elsewhere,
        }
    }

    /// Lets go of it.
    pub(super) async fn close(self) {
        if let Self::Store { open, versions, .. } = self {
            drop(versions);
            open.store.close().await;
        }
    }
}
