//! What hosts are asked to do, and the fleet as those see it who ask.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HostStatus;
use crate::clock::Millis;
use crate::documents::{Document, Documents, Expect, Folder, Put};
use crate::store::StoreError;

/// How long an order waits for its host. A host that lives takes it within a beat; one that has died never does.
const ORDER_EXPIRES: Duration = Duration::from_secs(60);

/// What a host is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// What.
    #[serde(rename = "order")]
    pub kind: OrderKind,
    /// Who asks: for the host's log.
    #[serde(default)]
    pub by: String,
    /// When, by the asker's clock.
    #[serde(default)]
    pub at: Millis,
}

/// What a host can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// Take no new jobs.
    Quiet,
    /// Take jobs again.
    Unquiet,
    /// Finish what runs and end.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// An order that its host has not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What it says.
    pub order: Order,
    /// Its document's revision, by which it is removed once it is obeyed.
    pub revision: u64,
}

/// Why the fleet cannot be read or told something.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Nobody of that name lives.
    #[error("no host is called {asked:?} or has an id that begins so; {}", living(there))]
    NoSuchHost {
        /// The name as asked for.
        asked: String,
        /// Ids of those that live, 20 at most.
        there: Vec<String>,
    },
    /// The beginning of several ids.
    #[error("{asked:?} begins the ids of several hosts ({}); write more of the one that is meant", begin.join(", "))]
    Ambiguous {
        /// The beginning as asked for.
        asked: String,
        /// Ids that begin so, 20 at most.
        begin: Vec<String>,
    },
    /// It is stopping already: nothing else can be ordered any more.
    #[error("host {id} has been told to stop by {by}; it takes no other order")]
    Stopping {
        /// The host.
        id: String,
        /// Who told it.
        by: String,
    },
    /// A document that is not what it should be.
    #[error("the document of {name:?} cannot be read: {source}; something else wrote it")]
    Malformed {
        /// The document.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn living(there: &[String]) -> String {
    if there.is_empty() { "no host is running".to_owned() } else { format!("there are {}", there.join(", ")) }
}

/// The hosts that live, and orders for them.
#[derive(Clone)]
pub struct Fleet {
    documents: Arc<dyn Documents>,
}

// === impl OrderKind ===

impl OrderKind {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Unquiet => "unquiet",
            Self::Stop => "stop",
            Self::Reload => "reload",
        }
    }
}

impl fmt::Display for OrderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Fleet ===

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// The fleet that shares these documents.
    #[must_use]
    pub fn new(documents: Arc<dyn Documents>) -> Self {
        Self { documents }
    }

    /// The hosts that live, by id. One whose document cannot be read is left out and logged.
    ///
    /// # Errors
    /// When the store does not answer. Cancel safe.
    pub async fn hosts(&self) -> Result<Vec<HostStatus>, StoreError> {
        let documents = self.documents.list(Folder::Hosts).await?;
        let read = |(name, document): (String, Document)| match HostStatus::decode(&name, &document.content) {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(%error, "a host is left out");
                None
            }
        };
        Ok(documents.into_iter().filter_map(read).collect())
    }

    /// The host of this whole id; none when it does not live.
    ///
    /// # Errors
    /// When the store does not answer, or what it has is no status. Cancel safe.
    pub async fn host(&self, id: &str) -> Result<Option<HostStatus>, FleetError> {
        let document = self.documents.get(Folder::Hosts, id).await?;
        document.map(|document| HostStatus::decode(id, &document.content)).transpose()
    }

    /// Leaves an order for a host. It replaces one that was not taken yet, except that nothing replaces `stop`.
    ///
    /// # Errors
    /// [`FleetError::Stopping`] when the host has been told to stop, and when the store does not answer: the order may
    /// be there then, and asking again does no harm.
    pub async fn order(&self, id: &str, order: &Order) -> Result<(), FleetError> {
        let content = serde_json::to_vec(order)
            .map_err(|source| FleetError::Malformed { name: id.to_owned(), source })?;
        loop {
            let pending = self.pending(id).await?;
            let expect = match &pending {
                Some(Ok(Pending { order: Order { kind: OrderKind::Stop, by, .. }, .. }))
                    if order.kind != OrderKind::Stop =>
                {
                    return Err(FleetError::Stopping { id: id.to_owned(), by: by.clone() });
                }
                Some(Ok(Pending { revision, .. }) | Err((revision, _))) => Expect::Revision(*revision),
                None => Expect::Absent,
            };
            let put = self
                .documents
                .put(Folder::Orders, id, content.clone().into(), expect, Some(ORDER_EXPIRES))
                .await?;
            // Somebody else was quicker, or the host took it: look again.
            if let Put::Written(_) = put {
                return Ok(());
            }
        }
    }

    /// The order that waits for this host. The inner error is a document that cannot be read, with its revision: it is
    /// to be logged and removed.
    ///
    /// # Errors
    /// When the store does not answer. Cancel safe.
    pub async fn pending(&self, id: &str) -> Result<Option<Result<Pending, (u64, FleetError)>>, StoreError> {
        let Some(Document { revision, content }) = self.documents.get(Folder::Orders, id).await? else {
            return Ok(None);
        };
        Ok(Some(match serde_json::from_slice(&content) {
            Ok(order) => Ok(Pending { order, revision }),
            Err(source) => Err((revision, FleetError::Malformed { name: id.to_owned(), source })),
        }))
    }

    /// Removes an order that was obeyed; one that replaced it meanwhile stays.
    ///
    /// # Errors
    /// When the store does not answer: ask again.
    pub async fn obeyed(&self, id: &str, revision: u64) -> Result<(), StoreError> {
        self.documents.remove(Folder::Orders, id, Expect::Revision(revision)).await.map(drop)
    }

    /// The documents themselves.
    #[must_use]
    pub fn documents(&self) -> &Arc<dyn Documents> {
        &self.documents
    }
}
