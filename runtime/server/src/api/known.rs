//! The queues there are. Finding them means looking through the keys of the store, so they are remembered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::{Admin, QueueName, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::access::Caller;
use crate::problem::Problem;

/// How old the list may be before it is made anew. A queue that this API is asked for is looked at itself.
const FRESH: Duration = Duration::from_secs(10);

/// How old it may be for somebody who asks for a queue that is not on it.
const JUST_NOW: Duration = Duration::from_millis(500);

/// The queues there are.
pub(crate) struct Known {
    store: Arc<dyn Admin>,
    configured: BTreeSet<QueueName>,
    found: Arc<Mutex<Found>>,
}

#[derive(Default)]
struct Found {
    queues: BTreeSet<QueueName>,
    at: Option<Instant>,
    is_looking: bool,
}

// === impl Known ===

impl Known {
    pub(super) fn new(store: Arc<dyn Admin>, configured: Vec<QueueName>) -> Self {
        Self { store, configured: configured.into_iter().collect(), found: Arc::default() }
    }

    pub(crate) fn is_configured(&self, queue: &QueueName) -> bool {
        self.configured.contains(queue)
    }

    /// The queues of the configuration.
    pub(super) fn configured(&self) -> &BTreeSet<QueueName> {
        &self.configured
    }

    /// Every queue of the configuration and of the store. A list that is no longer fresh is given once more while a new
    /// one is made: with millions of jobs that takes seconds.
    pub(crate) async fn all(&self) -> Result<BTreeSet<QueueName>, StoreError> {
        let mut found = self.found.lock().await;
        match found.at {
            None => {
                found.queues = self.store.queues().await?.into_iter().collect();
                found.at = Some(Instant::now());
            }
            Some(at) if at.elapsed() > FRESH && !found.is_looking => {
                found.is_looking = true;
                let (store, found) = (Arc::clone(&self.store), Arc::clone(&self.found));
                tokio::spawn(async move {
                    let queues = store.queues().await;
                    let mut found = found.lock().await;
                    found.is_looking = false;
                    match queues {
                        Ok(queues) => {
                            found.queues = queues.into_iter().collect();
                            found.at = Some(Instant::now());
                        }
                        Err(error) => tracing::debug!(%error, "the list of queues could not be made anew"),
                    }
                });
            }
            Some(_) => {}
        }
        Ok(found.queues.union(&self.configured).cloned().collect())
    }

    /// The queues of the store, looked for anew unless that was done a moment ago: whoever asks for names that nobody has
    /// must not keep the store busy.
    async fn look_again(&self) -> Result<BTreeSet<QueueName>, StoreError> {
        let mut found = self.found.lock().await;
        if found.at.is_none_or(|at| at.elapsed() > JUST_NOW) {
            found.queues = self.store.queues().await?.into_iter().collect();
            found.at = Some(Instant::now());
        }
        Ok(found.queues.clone())
    }

    /// Notes a queue that has just been made.
    pub(super) async fn add(&self, queue: &QueueName) {
        self.found.lock().await.queues.insert(queue.clone());
    }

    /// Refuses a queue that nobody has heard of.
    pub(crate) async fn check(&self, caller: &Caller, queue: &QueueName) -> Result<(), Problem> {
        if self.is_configured(queue) {
            return Ok(());
        }
        let all = self.all().await?;
        if all.contains(queue) || self.store.counts(queue).await?.0.values().any(|count| *count > 0) {
            return Ok(());
        }
        // The list may be of a moment ago.
        if self.look_again().await?.contains(queue) {
            return Ok(());
        }
        if caller.must_see_all().is_err() {
            // The names of queues are for those who may list them.
            return Err(Problem::not_found(format!("there is no queue {:?}", queue.as_str())));
        }
        let there_are: Vec<_> = all.iter().take(20).map(|queue| format!("{:?}", queue.as_str())).collect();
        let there_are = if there_are.is_empty() { "none".to_owned() } else { there_are.join(", ") };
        Err(Problem::not_found(format!("there is no queue {:?}; there are {there_are}", queue.as_str())))
    }
}
