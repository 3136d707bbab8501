//! The store calls a driver has in flight, as futures that own what they need and say how they ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::event::{Event, Observer};
use crate::names::{JobId, QueueName};
use crate::store::{Claim, ClaimRequest, Finish, FinishReply, Store, StoreError, Token};

/// How a call ended.
pub(super) enum Ended {
    /// A claim of so many slots.
    Claimed { slots: usize, result: Result<Claim, StoreError> },
    /// Finishes, with a claim of so many slots (0 for none).
    Finished { finishes: Vec<Finish>, slots: usize, result: Result<FinishReply, StoreError> },
    /// A hint that was passed on.
    Woke { result: Result<(), StoreError> },
    /// A renewal of these locks.
    Renewed { locks: Vec<(JobId, Token)>, result: Result<Vec<JobId>, StoreError> },
}

/// Makes calls.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) store: Arc<dyn Store>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: QueueName,
}

impl Calls {
    pub(super) fn claim(&self, request: ClaimRequest) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let started = Instant::now();
            let result = calls.store.claim(&calls.queue, &request).await;
            calls.observe("claim", started, result.is_ok());
            Ended::Claimed { slots: request.max, result }
        })
    }

    pub(super) fn finish(
        &self,
        finishes: Vec<Finish>,
        claim: Option<ClaimRequest>,
    ) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let started = Instant::now();
            // Payloads and results are reference counted, so keeping the batch for a repeat copies little.
            let now = calls.clock.now();
            let result = calls.store.finish(&calls.queue, finishes.clone(), claim.as_ref(), now).await;
            calls.observe("finish", started, result.is_ok());
            Ended::Finished { finishes, slots: claim.map_or(0, |claim| claim.max), result }
        })
    }

    pub(super) fn renew(&self, locks: Vec<(JobId, Token)>, lock: Duration) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let started = Instant::now();
            let result = calls.store.renew(&calls.queue, &locks, lock).await;
            calls.observe("renew", started, result.is_ok());
            Ended::Renewed { locks, result }
        })
    }

    pub(super) fn wake(&self) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move { Ended::Woke { result: calls.store.wake(&calls.queue).await } })
    }

    fn observe(&self, verb: &'static str, started: Instant, ok: bool) {
        self.observer.on(&Event::StoreCall { verb, took: started.elapsed(), ok });
    }
}
