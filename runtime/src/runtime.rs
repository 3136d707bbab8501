//! A running host: what [`crate::Builder::start`] hands out.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::clock::SystemClock;
use jobcell_core::event::{Event, SwapKind};
use jobcell_core::fleet::HostHandler;
use jobcell_core::store::{Added, AddedFlow, Flow, NewJob};
use jobcell_core::wait::{self, Ending};
use jobcell_core::worker::{Ended, Phase, Workers};
use jobcell_core::{Admin, Clock, JobId, NameError, Observer, QueueName, StoreError};
use jobcell_handlers::{Changed, Controller, Registry};
use jobcell_wasm::Engine;
use tokio::time::timeout;

use crate::builder::{Builder, StartError};
use crate::fleet::Running;
use crate::stores::OpenStore;

/// A running host. Dropping it ends its attempts and lets go of their jobs without waiting; [`Runtime::shutdown`] does
/// so in good order.
pub struct Runtime {
    pub(crate) registry: Arc<Registry>,
    /// The store with what goes beside it, for handlers that come later.
    pub(crate) open: OpenStore,
    pub(crate) observer: Arc<dyn Observer>,
    /// What moves the handlers.
    pub(crate) controller: Arc<Controller>,
    /// Of this run of the host, in the fleet.
    pub(crate) id: String,
    /// None when every handler is native.
    pub(crate) engine: Option<Engine>,
    pub(crate) workers: Workers,
    // After the workers: attempts run on it.
    pub(crate) cells: Cells,
}

/// Why a call on a [`Runtime`] failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The queue's name or the job's id cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Jobs given back unfinished, without using an attempt.
    pub given_back: usize,
    /// Jobs whose end could not be written; they are recovered as stalled when their locks run out.
    pub abandoned: usize,
}

/// The threads that cells run on.
pub(crate) struct Cells {
    // None only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    handle: tokio::runtime::Handle,
}

// === impl Runtime ===

impl Runtime {
    /// Adds a job and returns its id. An id that exists already is returned as it is.
    ///
    /// # Errors
    /// When the name or id cannot be used, or the store fails.
    pub async fn enqueue(&self, queue: &str, job: NewJob) -> Result<JobId, RuntimeError> {
        let queue = QueueName::new(queue)?;
        if let Some(id) = &job.options.job_id {
            JobId::custom(id)?;
        }
        let added = self.open.store.add(&queue, vec![job], SystemClock.now()).await?;
        let missing = || StoreError::Other("the store answered an add without an id".to_owned());
        Ok(added.first().map(Added::id).cloned().ok_or_else(missing)?)
    }

    /// Adds a tree of jobs, whole or not at all: a job with children waits for them from the start. An id that exists
    /// already stays as it is and becomes part of the tree.
    ///
    /// # Errors
    /// When the tree is too large, a job of it cannot be stored, or the store fails; nothing was added.
    pub async fn enqueue_flow(&self, flow: Flow) -> Result<AddedFlow, RuntimeError> {
        Ok(self.open.store.add_flow(flow, SystemClock.now()).await?)
    }

    /// Adds a job and waits for its end, at most `patience`. Cancel safe: the job stays.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_and_wait(
        &self,
        queue: &str,
        job: NewJob,
        patience: Duration,
    ) -> Result<Ending, RuntimeError> {
        let name = QueueName::new(queue)?;
        // Listen first: a job that is removed as soon as it ends is seen only in the events.
        let after = wait::listen_from(&*self.open.store, &name).await?;
        let id = self.enqueue(queue, job).await?;
        Ok(wait::for_ending(&*self.open.store, &name, &id, after, patience).await?)
    }

    /// The store, for everything else.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Admin> {
        &self.open.store
    }

    /// The handlers and their active versions.
    #[must_use]
    pub fn handlers(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Tells what this host runs of each handler, for the others of its fleet.
    pub(crate) fn running_handlers(&self) -> Running {
        let (registry, controller) = (Arc::clone(&self.registry), Arc::clone(&self.controller));
        Arc::new(move || {
            // Those that come with the program have no versions that anybody moves.
            let of = |active| HostHandler { active, ..HostHandler::default() };
            let native = registry.list().into_iter().map(|handler| (handler.name, of(handler.digest)));
            native.chain(controller.statuses()).collect()
        })
    }

    /// What moves the handlers: deploys, canaries, rollbacks, and how this host stands with them.
    #[must_use]
    pub fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }

    /// The id of this host in its fleet: another one at each start.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes handlers, their limits and grants, secrets, blob stores, keys that are trusted and routes from this builder in
    /// place of those that run. All or nothing. Its store, queue settings and threads are not looked at: those need a
    /// restart.
    ///
    /// # Errors
    /// Everything that stands against it; what runs goes on then.
    pub async fn change(&mut self, builder: Builder) -> Result<Vec<Changed>, StartError> {
        let change = builder.into_change(self)?;
        let changed = self.controller.change(change.setup).await?;
        self.engine = Some(change.engine);
        for Changed { handler, from, to } in &changed {
            if let Some(kind) = SwapKind::between(from.as_deref(), to.as_deref()) {
                self.observer.on(&Event::Swapped { handler: handler.clone(), kind });
            }
        }
        Ok(changed)
    }

    /// Stops claiming without ending; [`Self::unquiet`] goes on.
    pub fn quiet(&self) {
        self.workers.quiet();
    }

    /// Claims again after [`Self::quiet`].
    pub fn unquiet(&self) {
        self.workers.unquiet();
    }

    /// How far stopping has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.workers.phase()
    }

    /// Stops claiming; what runs goes on. [`Self::ended`] tells when it is done.
    pub fn drain(&self) {
        self.workers.drain();
    }

    /// Ends running attempts and gives their jobs back without using an attempt.
    pub fn give_back(&self) {
        self.workers.give_back();
    }

    /// Waits until every worker has ended: after [`Self::drain`], [`Self::give_back`], or in burst mode. Cancel safe.
    pub async fn ended(&mut self) -> Shutdown {
        let Ended { given_back, abandoned } = self.workers.ended().await;
        Shutdown { given_back, abandoned }
    }

    /// Stops claiming, waits up to `grace` for what runs, gives the rest back, and closes the store.
    pub async fn shutdown(mut self, grace: Duration) -> Shutdown {
        self.drain();
        let ended = match timeout(grace, self.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.give_back();
                self.ended().await
            }
        };
        self.close().await;
        ended
    }

    /// Closes the store. For callers that waited for [`Self::ended`] themselves.
    pub async fn close(self) {
        self.controller.stop().await;
        self.open.store.close().await;
    }
}

// === impl Cells ===

impl Cells {
    /// Starts so many threads.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("cell")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // A runtime must not be dropped, and so waited for, inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
