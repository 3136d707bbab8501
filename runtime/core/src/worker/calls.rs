//! The store calls a driver has in flight, as futures that own what they need, end, and say how.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::event::{Event, Observer};
use crate::names::{JobId, QueueName};
use crate::store::{Claim, ClaimRequest, Finish, FinishReply, Store, StoreError, Token};

/// The longest a call is waited for. Stores bound theirs well below; this is for one that hangs all the same, because
/// a driver makes no second claim beside one that goes on.
const CALL_MAX: Duration = Duration::from_secs(60);

/// How a call ended. `sent` is from before it left, so that locks are never thought to hold longer than they do.
pub(super) enum Ended {
    /// A claim of so many slots.
    Claimed { slots: usize, sent: Instant, result: Result<Claim, StoreError> },
    /// Finishes, with a claim of so many slots (0 for none).
    Finished { finishes: Vec<Finish>, slots: usize, sent: Instant, result: Result<FinishReply, StoreError> },
    /// A hint that was passed on.
    Woke { result: Result<(), StoreError> },
    /// A look for running attempts that somebody wants to end.
    Looked { result: Result<Vec<Token>, StoreError> },
    /// A renewal of these locks.
    Renewed { locks: Vec<(JobId, Token)>, sent: Instant, result: Result<Vec<JobId>, StoreError> },
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
            let sent = Instant::now();
            let result = bounded(calls.store.claim(&calls.queue, &request)).await;
            calls.observe("claim", sent, result.is_ok());
            Ended::Claimed { slots: request.max, sent, result }
        })
    }

    pub(super) fn finish(
        &self,
        finishes: Vec<Finish>,
        claim: Option<ClaimRequest>,
    ) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let sent = Instant::now();
            let now = calls.clock.now();
            // What is claimed with the ends starts after them, by the clock of the job's record as well.
            let claim = claim.map(|claim| ClaimRequest { now, ..claim });
            // Payloads and results are reference counted, so keeping the batch for a repeat copies little.
            let call = calls.store.finish(&calls.queue, finishes.clone(), claim.as_ref(), now);
            let result = bounded(call).await.and_then(|reply| whole(reply, finishes.len()));
            calls.observe("finish", sent, result.is_ok());
            Ended::Finished { finishes, slots: claim.map_or(0, |claim| claim.max), sent, result }
        })
    }

    pub(super) fn renew(&self, locks: Vec<(JobId, Token)>, lock: Duration) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let sent = Instant::now();
            let result = bounded(calls.store.renew(&calls.queue, &locks, lock)).await;
            calls.observe("renew", sent, result.is_ok());
            Ended::Renewed { locks, sent, result }
        })
    }

    pub(super) fn look(&self, running: Vec<(JobId, Token)>) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move {
            let sent = Instant::now();
            let result = bounded(calls.store.cancelled(&calls.queue, &running)).await;
            calls.observe("cancelled", sent, result.is_ok());
            Ended::Looked { result }
        })
    }

    pub(super) fn wake(&self) -> BoxFuture<'static, Ended> {
        let calls = self.clone();
        Box::pin(async move { Ended::Woke { result: bounded(calls.store.wake(&calls.queue)).await } })
    }

    fn observe(&self, verb: &'static str, sent: Instant, ok: bool) {
        self.observer.on(&Event::StoreCall { verb, took: sent.elapsed(), ok });
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_MAX, call)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {CALL_MAX:?}"))))
}

/// A job whose end has no answer would be renewed for ever and never end.
fn whole(reply: FinishReply, ends: usize) -> Result<FinishReply, StoreError> {
    if reply.finished.len() == ends {
        return Ok(reply);
    }
    Err(StoreError::Corrupt(format!("{} answers to {ends} ends of attempts", reply.finished.len())))
}
