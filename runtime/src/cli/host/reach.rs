//! The way to a fleet: through the store that its hosts share, or, where one process alone may open that, through its API.

use std::sync::Arc;

use jobcell_core::fleet::{Fleet, HostStatus, Order, OrderKind};
use jobcell_core::store::{Counts, Page};
use jobcell_core::{Clock, JobState, QueueName, StoreError, SystemClock};
use jobcell_server::{Act, Audit, HandlersError, HandlersFault, Metrics, Role, Via};
use serde::Deserialize;

use super::finished::{Finished, of_metrics};
use crate::cli::author::who;
use crate::cli::exit::{Exit, Failure};
use crate::cli::handler::Remote;
use crate::config::{Config, Environment};
use crate::configured;
use crate::fleet::local::LocalHost;
use crate::stores::OpenStore;

/// See the module.
pub(in crate::cli) enum Reach {
    /// A host's API.
    Host(Remote),
    /// The store.
    Store { open: OpenStore, fleet: Fleet, audit: Audit, who: String },
}

/// How a queue stands.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct QueueStanding {
    pub(in crate::cli) name: String,
    pub(in crate::cli) paused: bool,
    pub(in crate::cli) counts: Counts,
    /// Ends that were ever counted; none where nobody counts them.
    pub(in crate::cli) finished: Option<Finished>,
}

/// Queues that are looked at: more fill no screen and cost the store.
const QUEUES_MAX: usize = 200;

// === impl Reach ===

impl Reach {
    pub(in crate::cli) async fn open(config: &Config, environment: &Environment) -> Result<Self, Failure> {
        let local = LocalHost::find(&config.embedded.path).filter(|_| config.redis.is_none());
        if let Some(host) = local {
            return Ok(Self::Host(Remote::new(&host.url, environment.get("JOBCELL_TOKEN"))?));
        }
        let open = configured::store_choice(config)?.open(configured::layout(config)).await?;
        let (documents, redaction) = (Arc::clone(&open.documents), Arc::new(config.server.redaction.clone()));
        let metrics = Arc::new(Metrics::new());
        let audit = Audit::new(Arc::clone(&documents), Arc::new(SystemClock), redaction, metrics);
        Ok(Self::Store { open, fleet: Fleet::new(documents), audit, who: who(environment) })
    }

    /// The hosts that live, by id.
    pub(in crate::cli) async fn hosts(&self) -> Result<Vec<HostStatus>, Failure> {
        #[derive(Deserialize)]
        struct Hosts {
            items: Vec<HostStatus>,
        }
        match self {
            Self::Store { fleet, .. } => Ok(fleet.hosts().await?),
            Self::Host(remote) => {
                let answer = remote.look(&["api", "v1", "hosts"]).await?;
                let Hosts { items } = serde_json::from_value(answer).map_err(|error| strange(&error))?;
                Ok(items)
            }
        }
    }

    /// Leaves an order for a host.
    pub(in crate::cli) async fn order(&self, id: &str, kind: OrderKind) -> Result<(), Failure> {
        match self {
            Self::Store { fleet, audit, who, .. } => {
                let order = Order { kind, by: who.clone(), at: SystemClock.now() };
                let ordered = fleet.order(id, &order).await;
                let outcome = ordered.as_ref().err().map_or("done".to_owned(), ToString::to_string);
                let act = Act::done(who, Role::Admin, Via::Cli, &format!("host {kind}"), id);
                audit.record(Act { outcome, ..act }).await;
                Ok(ordered?)
            }
            Self::Host(remote) => {
                remote.act(&["api", "v1", "hosts", id, kind.as_str()]).await?;
                Ok(())
            }
        }
    }

    /// How the queues stand, by name.
    pub(in crate::cli) async fn queues(&self) -> Result<Vec<QueueStanding>, Failure> {
        match self {
            Self::Store { open, .. } => of_store(open).await,
            Self::Host(remote) => {
                #[derive(Deserialize)]
                struct Items {
                    items: Vec<Item>,
                }
                #[derive(Deserialize)]
                struct Item {
                    name: String,
                    paused: bool,
                    #[serde(flatten)]
                    rest: serde_json::Map<String, serde_json::Value>,
                }
                let answer = remote.look(&["api", "v1", "queues"]).await?;
                let Items { items } = serde_json::from_value(answer).map_err(|error| strange(&error))?;
                let finished = of_metrics(&remote.page("metrics").await?);
                let standing = |Item { name, paused, rest }: Item| {
                    let count =
                        |state: &JobState| rest.get(state.as_str()).and_then(serde_json::Value::as_u64);
                    let states = JobState::ALL.iter();
                    let counts = states.map(|state| (*state, count(state).unwrap_or(0))).collect();
                    let finished = Some(finished.get(&name).copied().unwrap_or_default());
                    QueueStanding { name, paused, counts: Counts(counts), finished }
                };
                Ok(items.into_iter().take(QUEUES_MAX).map(standing).collect())
            }
        }
    }

    pub(in crate::cli) async fn close(self) {
        if let Self::Store { open, .. } = self {
            open.store.close().await;
        }
    }
}

async fn of_store(open: &OpenStore) -> Result<Vec<QueueStanding>, Failure> {
    let store = &open.store;
    let mut names = store.queues().await?;
    names.sort();
    let look = async |queue: QueueName| {
        let total = async |state| match store.series(&queue, state, Page::first(1)).await {
            Ok(series) if series.total > 0 || series.length > 0 => Some(series.total),
            // A store or a queue without series.
            Ok(_) | Err(_) => None,
        };
        let looked =
            async { Ok::<_, StoreError>((store.is_paused(&queue).await?, store.counts(&queue).await?)) };
        let (paused, counts) = match looked.await {
            Ok(found) => found,
            // One whose keys somebody else has written must not hide the others.
            Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (completed, failed) = (total(JobState::Completed).await, total(JobState::Failed).await);
        let finished = completed
            .or(failed)
            .map(|_| Finished { completed: completed.unwrap_or(0), failed: failed.unwrap_or(0) });
        Ok(Some(QueueStanding { name: queue.to_string(), paused, counts, finished }))
    };
    let looks = names.into_iter().take(QUEUES_MAX).map(look);
    let found: Vec<Option<QueueStanding>> = futures::future::try_join_all(looks).await?;
    Ok(found.into_iter().flatten().collect())
}

fn strange(error: &serde_json::Error) -> Failure {
    Failure::failed(format!(
        "the host answered something that is no list: {error}; is it of another version?"
    ))
}

impl From<jobcell_core::fleet::FleetError> for Failure {
    fn from(error: jobcell_core::fleet::FleetError) -> Self {
        match error {
            jobcell_core::fleet::FleetError::Store(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

/// For questions to a host's API.
pub(in crate::cli) fn unanswered(error: &HandlersError) -> Failure {
    let exit = match error.fault {
        HandlersFault::Unavailable => Exit::StoreUnreachable,
        HandlersFault::Invalid => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.message.clone())
}
