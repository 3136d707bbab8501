//! Reads the events of one queue as long as somebody listens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use jobcell_core::store::StoredEvent;
use jobcell_core::{Admin, JobId, QueueName, StoreError};
use tokio::time::sleep;

use super::Hub;
use super::update::Update;

/// The longest wait for an event; after it, it is looked whether anybody still listens.
const WAIT: Duration = Duration::from_secs(5);
/// Between two tries while the store is away.
const AWAY: Duration = Duration::from_millis(500);
/// Jobs whose tenants are remembered.
const TENANTS_MAX: usize = 20_000;

/// Whose the jobs are that were seen lately.
pub(super) type Tenants = HashMap<JobId, Option<String>>;

/// See the module.
pub(super) struct Tail {
    listeners: AtomicUsize,
    /// The event that was told last.
    last: Mutex<String>,
}

// === impl Tail ===

impl Tail {
    pub(super) fn start(hub: &Arc<Hub>, queue: QueueName, last: String) -> Arc<Self> {
        let tail = Arc::new(Self { listeners: AtomicUsize::new(0), last: Mutex::new(last) });
        tokio::spawn(Arc::clone(&tail).run(Arc::downgrade(hub), queue));
        tail
    }

    /// One more listens: to what comes after the event that is returned.
    pub(super) fn join(&self) -> String {
        self.listeners.fetch_add(1, Ordering::SeqCst);
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn leave(&self) {
        self.listeners.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::SeqCst) > 0
    }

    async fn run(self: Arc<Self>, hub: Weak<Hub>, queue: QueueName) {
        let mut tenants = Tenants::new();
        loop {
            let Some(hub) = hub.upgrade() else { return };
            if !self.is_heard() && hub.retire(&queue, &self) {
                return;
            }
            let after = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match hub.store.events(&queue, &after, WAIT).await {
                Ok(events) => self.tell(&hub, &queue, events, &mut tenants).await,
                Err(error) => {
                    // A store that is away comes back; one that cannot tell events is asked again as rarely.
                    tracing::debug!(%error, queue = queue.as_str(), "events cannot be read");
                    drop(hub);
                    sleep(AWAY).await;
                }
            }
        }
    }

    async fn tell(&self, hub: &Hub, queue: &QueueName, events: Vec<StoredEvent>, tenants: &mut Tenants) {
        for update in updates(hub, queue, events, tenants).await {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = update.id.to_string();
            hub.tell(update);
        }
    }
}

/// Events as updates, with the tenants of their jobs.
pub(super) async fn updates(
    hub: &Hub,
    queue: &QueueName,
    events: Vec<StoredEvent>,
    tenants: &mut Tenants,
) -> Vec<Update> {
    let store = hub.store.as_ref();
    if tenants.len() > TENANTS_MAX {
        tenants.clear();
    }
    let mut unknown: Vec<JobId> = Vec::new();
    for id in events.iter().filter_map(job_of) {
        if !tenants.contains_key(&id) {
            // Also where the job is gone: asking again would find no more.
            tenants.insert(id.clone(), None);
            unknown.push(id);
        }
    }
    let found = join_all(unknown.iter().map(|id| async move { tenant(store, queue, id).await })).await;
    for (id, tenant) in unknown.into_iter().zip(found) {
        match tenant {
            Ok(tenant) => drop(tenants.insert(id, tenant)),
            // Asked again at the job's next event.
            Err(_) => drop(tenants.remove(&id)),
        }
    }
    let tenant = |event: &StoredEvent| job_of(event).and_then(|id| tenants.get(&id).cloned().flatten());
    events
        .into_iter()
        .map(|event| {
            let tenant = tenant(&event);
            Update::new(queue, event, tenant, &hub.redaction)
        })
        .collect()
}

fn job_of(event: &StoredEvent) -> Option<JobId> {
    event.field("jobId").and_then(|id| JobId::new(id).ok())
}

async fn tenant(store: &dyn Admin, queue: &QueueName, id: &JobId) -> Result<Option<String>, StoreError> {
    Ok(store.get(queue, id).await?.and_then(|job| job.options.tenant))
}
