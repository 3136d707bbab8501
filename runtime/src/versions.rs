//! The versions of handlers as the API, the dashboard and the command line reach them: the catalogs of a host, or the one
//! in a store that no host is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jobcell_core::fleet::HostStatus;
use jobcell_core::{Clock, SystemClock};
use jobcell_handlers::artifact::Artifact;
use jobcell_handlers::controller::Controller;
use jobcell_handlers::trust::{Signature, Trust, TrustError};
use jobcell_handlers::{
    CanaryRules, Catalog, CatalogError, Command, DeployOptions, Digest, DigestStart, HandlerView, Source,
};
use jobcell_server::{
    Act, Audit, Author, CanaryLimits, Change, Deployment, Handlers, HandlersError, HandlersFault, Metrics,
    Redaction, Role, Then, Via, standing, standing_since,
};
use serde_json::{Value, json};

use crate::config::Config;
use crate::inspecting::WasmInspect;
use crate::stores::OpenStore;

/// See the module.
pub(crate) struct Versions {
    ground: Ground,
    /// The rules of a canary where nobody says others, by handler: as configured when this was made.
    rules: BTreeMap<String, CanaryRules>,
}

enum Ground {
    /// A host: the fleet's catalog, and one of its own for handlers that come from files and registries.
    Host { controller: Arc<Controller>, id: String, name: String },
    /// The fleet's catalog alone, used by a command line, which leaves in the audit what it did.
    Store { catalog: Box<Catalog>, audit: Audit },
}

/// Something that a command line does, for the audit.
struct Deed {
    act: Act,
    /// The handler before.
    before: Option<Value>,
    asked: Value,
    why: String,
}

/// What a source that is no file and no registry is called.
const STORE: &str = "store";

// === impl Versions ===

impl Versions {
    /// Those of a host.
    pub(crate) fn of_host(controller: Arc<Controller>, id: String, name: String, config: &Config) -> Self {
        Self { ground: Ground::Host { controller, id, name }, rules: rules(config) }
    }

    /// Those in a store, trusted as this configuration says.
    ///
    /// # Errors
    /// When a key of `[trust]` is none.
    pub(crate) fn of_store(
        open: &OpenStore,
        config: &Config,
    ) -> Result<Self, jobcell_handlers::trust::KeyError> {
        let keys = config.trust.keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        let trust = Trust::new(config.trust.require_signature, keys);
        let artifact_max = usize::try_from(config.cells.artifact_max).unwrap_or(usize::MAX);
        let inspect = Arc::new(WasmInspect { artifact_max });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let catalog = Catalog::new(Arc::clone(&open.documents), trust, inspect, Arc::clone(&clock));
        // Entries about versions hold nothing of jobs, and nobody asks this process for its metrics.
        let (redaction, metrics) = (Arc::new(Redaction::default()), Arc::new(Metrics::new()));
        let audit = Audit::new(Arc::clone(&open.documents), clock, redaction, metrics);
        Ok(Self { ground: Ground::Store { catalog: Box::new(catalog), audit }, rules: rules(config) })
    }

    /// Where the handler's versions are, for something that is to be done to it.
    fn catalog(&self, handler: &str) -> Result<Catalog, HandlersError> {
        match &self.ground {
            Ground::Store { catalog, .. } => Ok(Catalog::clone(catalog)),
            Ground::Host { controller, .. } => match controller.catalog_of(handler) {
                Some(catalog) => Ok(Catalog::clone(&catalog)),
                None => {
                    let known: Vec<String> =
                        controller.plans().keys().map(|name| format!("{name:?}")).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    Err(HandlersError::new(
                        HandlersFault::NotFound,
                        format!(
                            "this host has no handler {handler:?}; there are {known}. Correct the name, or add \
                             [handlers.{handler}] to its configuration"
                        ),
                    ))
                }
            },
        }
    }

    /// How the handler stands now. One that is configured and has no version yet is one without versions.
    async fn view(&self, handler: &str) -> Result<Value, HandlersError> {
        let catalog = self.catalog(handler)?;
        let view = match &self.ground {
            Ground::Store { .. } => {
                HandlerView { source: Some(STORE.to_owned()), ..catalog.get(handler).await.map_err(told)? }
            }
            Ground::Host { controller, .. } => {
                let plans = controller.plans();
                let source = plans.get(handler).map(|plan| &plan.source);
                let hosts = if source == Some(&Source::Store) { None } else { Some(self.own_status()) };
                let found = match hosts {
                    // What other hosts run, they have written beside it.
                    None => match catalog.get(handler).await {
                        Err(CatalogError::NoSuchHandler { .. }) => None,
                        found => Some(found.map_err(told)?),
                    },
                    Some(hosts) => {
                        let found = catalog.desired(handler).await.map_err(told)?;
                        found.map(|(_, desired)| HandlerView::new(handler, desired, &hosts))
                    }
                };
                let view = found
                    .unwrap_or_else(|| HandlerView::new(handler, jobcell_handlers::Desired::default(), &[]));
                HandlerView { source: source.map(ToString::to_string), ..view }
            }
        };
        encode(&view)
    }

    /// This host among hosts, for versions that only it has.
    fn own_status(&self) -> Vec<HostStatus> {
        match &self.ground {
            Ground::Store { .. } => Vec::new(),
            Ground::Host { controller, id, name } => vec![HostStatus {
                id: id.clone(),
                name: name.clone(),
                handlers: controller.statuses(),
                ..HostStatus::default()
            }],
        }
    }
}

#[async_trait]
impl Handlers for Versions {
    async fn list(&self) -> Result<Vec<Value>, HandlersError> {
        match &self.ground {
            Ground::Store { catalog, .. } => {
                let all = catalog.list().await.map_err(told)?.into_iter();
                all.map(|view| encode(&HandlerView { source: Some(STORE.to_owned()), ..view })).collect()
            }
            Ground::Host { controller, .. } => {
                let mut all = Vec::new();
                for handler in controller.plans().keys() {
                    all.push(self.view(handler).await?);
                }
                Ok(all)
            }
        }
    }

    async fn get(&self, handler: &str) -> Result<Value, HandlersError> {
        self.view(handler).await
    }

    async fn history(
        &self,
        handler: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Value>, HandlersError> {
        let catalog = self.catalog(handler)?;
        if matches!(self.ground, Ground::Store { .. }) {
            // A name that nobody has used has no history, rather than an empty one.
            catalog.get(handler).await.map_err(told)?;
        }
        let entries = catalog.history(handler, before, limit).await.map_err(told)?;
        entries.iter().map(encode).collect()
    }

    async fn deploy(
        &self,
        handler: &str,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError> {
        let deed = self.deed(&author, "handler deploy", handler).await.map(|deed| {
            let Deployment { wasm, then, approve, .. } = &deployment;
            let version = Digest::of(wasm).to_string();
            Deed {
                asked: json!({ "version": version, "then": format!("{then:?}"), "approve": approve }),
                ..deed
            }
        });
        let done = self.deployed(handler, deployment, author).await;
        self.record(deed, &done).await;
        done
    }

    async fn change(&self, handler: &str, change: Change, author: Author) -> Result<Value, HandlersError> {
        let deed = self.deed(&author, &format!("handler {}", change.name()), handler).await;
        let deed = deed.map(|deed| Deed { asked: change.asked(), ..deed });
        let done = self.changed(handler, change, author).await;
        self.record(deed, &done).await;
        done
    }
}

impl Versions {
    /// The configured rules with these in place of some.
    fn ruled(&self, handler: &str, limits: &CanaryLimits) -> CanaryRules {
        let CanaryLimits { window_ms, min_jobs, max_failures_over, max_latency, promote_after_ms } = limits;
        let default = self.rules.get(handler).copied().unwrap_or_default();
        CanaryRules {
            window_ms: window_ms.unwrap_or(default.window_ms),
            min_jobs: min_jobs.unwrap_or(default.min_jobs),
            max_failures_over: max_failures_over.unwrap_or(default.max_failures_over),
            max_latency: max_latency.unwrap_or(default.max_latency),
            promote_after_ms: promote_after_ms.or(default.promote_after_ms).filter(|after| *after > 0),
        }
    }

    /// What a command line leaves in the audit; the API and the dashboard leave it themselves.
    async fn deed(&self, author: &Author, action: &str, handler: &str) -> Option<Deed> {
        if !matches!(self.ground, Ground::Store { .. }) {
            return None;
        }
        let act = Act::done(&author.who, Role::Admin, Via::Cli, action, handler);
        // Only for the record: whether it can be done is seen when it is done.
        let before = self.view(handler).await.ok();
        Some(Deed { act, before, asked: json!({}), why: author.why.clone() })
    }

    async fn record(&self, deed: Option<Deed>, done: &Result<Value, HandlersError>) {
        let (Some(deed), Ground::Store { audit, .. }) = (deed, &self.ground) else { return };
        let Deed { act, before, asked, why } = deed;
        let act = Act { before: before.as_ref().map(standing), ..act };
        let act = match done {
            Ok(view) => Act { after: Some(standing_since(before.as_ref(), asked, &why, view)), ..act },
            Err(error) => Act { outcome: error.message.clone(), ..act },
        };
        audit.record(act).await;
    }

    async fn deployed(
        &self,
        handler: &str,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError> {
        let Deployment { wasm, signature, then, approve } = deployment;
        let catalog = self.catalog(handler)?.because(&author.why);
        let signature: Option<Signature> = signature.map(|text| text.parse()).transpose().map_err(invalid)?;
        let canary = match then {
            Then::Canary { percent } => Some((percent, self.ruled(handler, &CanaryLimits::default()))),
            Then::Stage | Then::Activate => None,
        };
        let Author { who, why: _, generation } = author;
        let options = DeployOptions { activate: then == Then::Activate, canary, approve, who, generation };
        catalog.deploy(handler, Artifact::new(wasm), signature, options).await.map_err(told)?;
        self.view(handler).await
    }

    async fn changed(&self, handler: &str, change: Change, author: Author) -> Result<Value, HandlersError> {
        let catalog = self.catalog(handler)?.because(&author.why);
        let Author { who, why, generation } = author;
        let start = |version: String| version.parse::<DigestStart>().map_err(invalid);
        let reason = (!why.is_empty()).then(|| why.clone());
        let done = match change {
            Change::Activate { version, approve } => {
                catalog.activate(handler, &start(version)?, approve, &who, generation).await
            }
            Change::Canary { version, percent, approve, rules } => {
                let version = start(version)?;
                let rules = self.ruled(handler, &rules);
                catalog.canary(handler, &version, percent, rules, approve, &who, generation).await
            }
            Change::Promote => catalog.promote(handler, reason, &who, generation).await,
            Change::Rollback => catalog.rollback(handler, reason, &who, generation).await,
            Change::Quarantine { version } => {
                let why = reason.unwrap_or_else(|| "asked for".to_owned());
                catalog.quarantine(handler, &start(version)?, why, &who, generation).await
            }
            Change::Release { version } => catalog.release(handler, &start(version)?, &who, generation).await,
            Change::Shadow { of: None } => {
                catalog.command(handler, Command::EndShadow, &who, generation).await
            }
            Change::Shadow { of: Some((version, percent)) } => {
                let digest = catalog.resolve(handler, &start(version)?).await.map_err(told)?;
                catalog.command(handler, Command::Shadow { digest, percent }, &who, generation).await
            }
        };
        done.map_err(told)?;
        self.view(handler).await
    }
}

/// The configured rules of every handler's canaries.
fn rules(config: &Config) -> BTreeMap<String, CanaryRules> {
    config.handlers.iter().map(|(name, handler)| (name.clone(), handler.canary.rules)).collect()
}

fn encode(value: &impl serde::Serialize) -> Result<Value, HandlersError> {
    serde_json::to_value(value).map_err(|error| {
        HandlersError::new(HandlersFault::Failed, format!("the handler has no JSON form: {error}"))
    })
}

fn invalid(error: impl std::fmt::Display) -> HandlersError {
    HandlersError::new(HandlersFault::Invalid, error.to_string())
}

/// What kind of answer an error of a catalog is.
fn told(error: CatalogError) -> HandlersError {
    let fault = match &error {
        CatalogError::NoSuchHandler { .. } | CatalogError::NoSuchVersion { .. } => HandlersFault::NotFound,
        CatalogError::NoName { .. } | CatalogError::Ambiguous { .. } => HandlersFault::Invalid,
        CatalogError::Conflict { .. } | CatalogError::Busy { .. } => HandlersFault::Conflict,
        CatalogError::NeedsApproval { .. } => HandlersFault::NeedsApproval,
        CatalogError::Trust(_) | CatalogError::Refused { .. } => HandlersFault::Refused,
        CatalogError::WrongState { .. } | CatalogError::Impossible { .. } => HandlersFault::WrongState,
        CatalogError::Lost { .. } | CatalogError::Altered { .. } => HandlersFault::WrongState,
        CatalogError::Store(fault) if fault.is_transient() => HandlersFault::Unavailable,
        CatalogError::Store(_) => HandlersFault::Failed,
    };
    let told = HandlersError::new(fault, error.to_string());
    match error {
        CatalogError::NeedsApproval { digest, wider, .. } => {
            told.with("version", digest.to_string()).with("wider", json!(wider))
        }
        CatalogError::Conflict { expected, found, by, at, .. } => {
            told.with("expected", expected).with("found", found).with("by", by).with("at", at)
        }
        CatalogError::WrongState { state, .. } => told.with("state", state.as_str()),
        CatalogError::Trust(error) => {
            let signature = match error {
                TrustError::Unsigned { .. } => "unsigned",
                TrustError::UnknownKey { .. } => "unknown-key",
                TrustError::BadSignature { .. } => "bad-signature",
            };
            told.with("signature", signature)
        }
        _ => told,
    }
}
