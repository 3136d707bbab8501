//! Why jobs of a queue do not run: what people ask who have added jobs and see nothing happen.
//!
//! [`facts`] reads what there is to know, [`judge`] draws the conclusions from that alone. `jobcell queue explain`,
//! `jobcell check` and the log of a running host tell them.

mod facts;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use jobcell_core::fleet::{Fleet, HostStatus};
use jobcell_core::{Admin, Clock, QueueName, StoreError, SystemClock};
use jobcell_server::{Explain, Explanation};

use crate::config::Config;
use crate::stores::OpenStore;
pub(crate) use facts::Depth;
use facts::Facts;
pub(crate) use judge::takes_deep_look;

/// Where to look.
pub(crate) struct Scope<'a> {
    pub(crate) store: &'a dyn Admin,
    pub(crate) config: &'a Config,
    /// What keys of jobs begin with.
    pub(crate) prefix: &'a str,
    /// The hosts that live; none when they cannot be read.
    pub(crate) hosts: Option<Vec<HostStatus>>,
}

/// A host that explains its queues.
pub(crate) struct Explainer {
    pub(crate) open: OpenStore,
    pub(crate) config: Config,
}

/// Queues that nobody configured and that are looked at: who has more of them knows it.
const OTHERS_MAX: usize = 50;

// === impl Scope ===

impl<'a> Scope<'a> {
    /// Where this configuration leads, with the hosts that are there now.
    pub(crate) async fn open(
        store: &'a dyn Admin,
        config: &'a Config,
        prefix: &'a str,
        fleet: &Fleet,
    ) -> Self {
        let hosts = match fleet.hosts().await {
            Ok(hosts) => Some(hosts),
            Err(error) => {
                tracing::debug!(%error, "the hosts cannot be read");
                None
            }
        };
        Self { store, config, prefix, hosts }
    }

    /// Why jobs of this queue do not run.
    ///
    /// # Errors
    /// When its jobs cannot be counted. What else cannot be read is left out.
    pub(crate) async fn explain(&self, queue: &QueueName, depth: Depth) -> Result<Explanation, StoreError> {
        let facts = Facts::read(self, queue, depth, SystemClock.now()).await?;
        Ok(judge::judge(&facts))
    }

    /// The queues of the configuration.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &'a QueueName> + use<'a> {
        self.config.queues.values().map(|queue| &queue.name)
    }

    /// Queues with jobs that wait, which this configuration does not have.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(crate) async fn others_that_wait(&self) -> Result<Vec<QueueName>, StoreError> {
        let own: BTreeSet<&QueueName> = self.configured().collect();
        let mut others = Vec::new();
        for queue in
            self.store.queues().await?.into_iter().filter(|queue| !own.contains(queue)).take(OTHERS_MAX)
        {
            // One that somebody else keeps something in is none of ours.
            let Ok(counts) = self.store.counts(&queue).await else { continue };
            if facts::waiting(&counts) > 0 {
                others.push(queue);
            }
        }
        Ok(others)
    }

    /// The queues that somebody works, and by which hosts.
    fn worked(&self) -> BTreeMap<&str, Vec<&HostStatus>> {
        let mut worked: BTreeMap<&str, Vec<&HostStatus>> = BTreeMap::new();
        for host in self.hosts.iter().flatten() {
            for queue in &host.queues {
                worked.entry(&queue.name).or_default().push(host);
            }
        }
        worked
    }
}

// === impl Explainer ===

#[async_trait]
impl Explain for Explainer {
    async fn explain(&self, queue: &QueueName) -> Result<Explanation, StoreError> {
        let Self { open, config } = self;
        let fleet = Fleet::new(Arc::clone(&open.documents));
        Scope::open(&*open.store, config, &open.prefix, &fleet).await.explain(queue, Depth::Deep).await
    }
}
