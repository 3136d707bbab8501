//! Claims that were never answered: the connection broke after they were sent. The jobs they may have taken are locked
//! by tokens that nobody knows, so they are given back as soon as Redis answers again. Else they would wait for their
//! locks to run out, and count as stalled: twice, and a job that never ran fails for it. The same goes for jobs that
//! were claimed and must not be run yet, because their scheduler's next job could not be made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobcell_core::QueueName;
use jobcell_core::store::ClaimRequest;

use super::BullStore;
use crate::reply;
use crate::script;

/// Claims remembered for a queue. There are as many as calls in flight when a connection breaks; of more, the oldest
/// are left to stall recovery.
const CLAIMS_MAX: usize = 64;

/// The claims of each queue whose replies are missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Unanswered(Arc<Mutex<HashMap<QueueName, Vec<ClaimRequest>>>>);

// === impl Unanswered ===

impl Unanswered {
    fn queues(&self) -> std::sync::MutexGuard<'_, HashMap<QueueName, Vec<ClaimRequest>>> {
        // Every change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a claim.
    pub(super) fn add(&self, queue: &QueueName, request: &ClaimRequest) {
        let mut queues = self.queues();
        let claims = queues.entry(queue.clone()).or_default();
        if claims.len() == CLAIMS_MAX {
            claims.remove(0);
        }
        claims.push(request.clone());
    }

    fn take(&self, queue: &QueueName) -> Vec<ClaimRequest> {
        let mut queues = self.queues();
        if queues.is_empty() { Vec::new() } else { queues.remove(queue).unwrap_or_default() }
    }
}

impl BullStore {
    /// Gives back what the unanswered claims of this queue took. What cannot be given back now is tried again with the
    /// next call; this one has its own answer to give.
    pub(super) async fn give_back_unanswered(&self, queue: &QueueName) {
        let mut claims = self.unanswered.take(queue).into_iter();
        while let Some(request) = claims.next() {
            let keys = self.keys(queue);
            let mut call = script::UNCLAIM.call(&keys.meta());
            call.arg(&*request.token_prefix).arg(request.token_first).arg(request.max);
            match self.run(&call, &keys, &[]).await.and_then(reply::texts) {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => {
                    tracing::info!(%queue, jobs = ids.len(), "gave back jobs whose claim was never answered");
                }
                Err(e) if e.is_transient() => {
                    std::iter::once(request)
                        .chain(claims)
                        .for_each(|claim| self.unanswered.add(queue, &claim));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%queue, %error, "jobs whose claim was never answered are left to be recovered as stalled");
                }
            }
        }
    }
}
