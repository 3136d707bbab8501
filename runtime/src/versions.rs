//! The versions of handlers as the API, the dashboard and the command line reach them: the catalogs of a host, or the one
//! in a store that no host is asked for.

mod given;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::documents::Documents;
use jobcell_core::fleet::{Fleet, HostStatus};
use jobcell_core::{Clock, SystemClock};
use jobcell_handlers::artifact::Artifact;
use jobcell_handlers::controller::Controller;
use jobcell_handlers::trust::{Signature, Trust, TrustError};
use jobcell_handlers::view::HostState;
use jobcell_handlers::{
    CanaryRules, Catalog, CatalogError, Command, DeployOptions, Desired, DigestStart, HandlerView, Source,
};
use jobcell_server::{
    Act, Audit, Author, CanaryLimits, Change, Deployment, Handlers, HandlersError, HandlersFault, Metrics,
    Redaction, Role, Then, Via, standing, standing_since,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::config::Config;
use crate::inspecting::WasmInspect;
use crate::stores::OpenStore;
use given::Given;

/// See the module.
pub(crate) struct Versions {
    ground: Ground,
    given: Given,
}

enum Ground {
    /// A host: the fleet's catalog, and one of its own for handlers that come from files and registries.
    Host { controller: Arc<Controller>, fleet: Fleet, id: String, name: String },
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
/// How long the other hosts' documents are waited for: without them the page of a handler says what this host knows.
const OTHERS_MAX: Duration = Duration::from_secs(1);

// === impl Versions ===

impl Versions {
    /// Those of a host, which is one of those that share these documents.
    pub(crate) fn of_host(
        controller: Arc<Controller>,
        documents: &Arc<dyn Documents>,
        (id, name): (String, String),
        config: &Config,
    ) -> Self {
        let fleet = Fleet::new(Arc::clone(documents));
        Self { ground: Ground::Host { controller, fleet, id, name }, given: Given::by(config) }
    }

    /// Grants, limits and rules are those of another configuration from now on.
    pub(crate) fn configure(&self, config: &Config) {
        self.given.replace(config);
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
        Ok(Self { ground: Ground::Store { catalog: Box::new(catalog), audit }, given: Given::by(config) })
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
        self.view_among(handler, &self.all_hosts().await).await
    }

    async fn view_among(&self, handler: &str, hosts: &[HostStatus]) -> Result<Value, HandlersError> {
        let catalog = self.catalog(handler)?;
        let view = match &self.ground {
            Ground::Store { .. } => {
                HandlerView { source: Some(STORE.to_owned()), ..catalog.get(handler).await.map_err(told)? }
            }
            Ground::Host { controller, id, .. } => {
                let plans = controller.plans();
                let source = plans.get(handler).map(|plan| &plan.source);
                let found = if source == Some(&Source::Store) {
                    // What other hosts run, they have written beside it.
                    match catalog.get(handler).await {
                        Err(CatalogError::NoSuchHandler { .. }) => None,
                        found => Some(found.map_err(told)?),
                    }
                } else {
                    let found = catalog.desired(handler).await.map_err(told)?;
                    found.map(|(_, desired)| of_many_sources(handler, desired, id, hosts))
                };
                let view = found.unwrap_or_else(|| HandlerView::new(handler, Desired::default(), &[]));
                HandlerView { source: source.map(ToString::to_string), ..view }
            }
        };
        let mut view = encode(&view)?;
        if matches!(self.ground, Ground::Host { .. }) {
            self.given.tell(handler, &mut view);
        }
        Ok(view)
    }

    /// This host as it is now, and the others as they have written; without them while the store is away.
    async fn all_hosts(&self) -> Vec<HostStatus> {
        let Ground::Host { controller, fleet, id, name } = &self.ground else { return Vec::new() };
        let own = HostStatus {
            id: id.clone(),
            name: name.clone(),
            handlers: controller.statuses(),
            ..HostStatus::default()
        };
        let others = timeout(OTHERS_MAX, fleet.hosts()).await.ok().and_then(Result::ok).unwrap_or_default();
        let others = others.into_iter().filter(|host| host.id != *id);
        std::iter::once(own).chain(others).collect()
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
                let (mut all, hosts) = (Vec::new(), self.all_hosts().await);
                for handler in controller.plans().keys() {
                    all.push(self.view_among(handler, &hosts).await?);
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
        let artifact = Artifact::named(deployment.wasm.clone()).await;
        let deed = self.deed(&author, "handler deploy", handler).await.map(|deed| {
            let Deployment { then, approve, .. } = &deployment;
            let version = artifact.digest.to_string();
            Deed {
                asked: json!({ "version": version, "then": format!("{then:?}"), "approve": approve }),
                ..deed
            }
        });
        let done = self.deployed(handler, artifact, deployment, author).await;
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
        let default = self.given.rules(handler);
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
        artifact: Artifact,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError> {
        let Deployment { wasm: _, signature, then, approve } = deployment;
        let catalog = self.catalog(handler)?.because(&author.why);
        let signature: Option<Signature> = signature.map(|text| text.parse()).transpose().map_err(invalid)?;
        let canary = match then {
            Then::Canary { percent } => Some((percent, self.ruled(handler, &CanaryLimits::default()))),
            Then::Stage | Then::Activate => None,
        };
        let Author { who, why: _, generation } = author;
        let options = DeployOptions { activate: then == Then::Activate, canary, approve, who, generation };
        let done = catalog.deploy(handler, artifact, signature, options).await.map_err(told)?;
        self.since(handler, &done).await
    }

    /// The handler after a change, which is done whether the store can be read since or not.
    async fn since(&self, handler: &str, done: &HandlerView) -> Result<Value, HandlersError> {
        match self.view(handler).await {
            Err(error) if error.fault == HandlersFault::Unavailable => encode(done),
            seen => seen,
        }
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
        self.since(handler, &done.map_err(told)?).await
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Value, HandlersError> {
    serde_json::to_value(value).map_err(|error| {
        HandlersError::new(HandlersFault::Failed, format!("the handler has no JSON form: {error}"))
    })
}

fn invalid(error: impl std::fmt::Display) -> HandlersError {
    HandlersError::new(HandlersFault::Invalid, error.to_string())
}

/// A handler that each host reads from a source of its own: others do not follow what this host wants.
fn of_many_sources(handler: &str, desired: Desired, own: &str, hosts: &[HostStatus]) -> HandlerView {
    let mut view = HandlerView::new(handler, desired, hosts);
    for shown in &mut view.hosts {
        let runs =
            hosts.iter().find(|host| host.id == shown.host).and_then(|host| host.handlers.get(handler));
        let is_settled = runs.is_some_and(|runs| runs.lag.is_none() && runs.loading.is_none());
        if shown.host != own && shown.state == HostState::Lagging && is_settled {
            shown.lag = Some("its own source has another version".to_owned());
        }
    }
    view
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
