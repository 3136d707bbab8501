//! The port to where jobs live, with its promises.
//!
//! Every verb that changes a job is atomic: other workers and producers see it whole or not at all. Verbs that end an
//! attempt are fenced by the lock's token, so that of several finishes of one attempt at most one is accepted.
//! `now` is the caller's wall clock; stores never read one themselves (an embedded store may, to wake a [`Waiter`]).
//!
//! The behaviour written here is checked for every adapter by the suite in `conformance`.

mod admin;
mod cancel;
mod claim;
mod elsewhere;
mod error;
mod finish;
mod flow;
mod look;
mod producer;
mod receipts;
mod scheduler;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use admin::{Admin, Limits, Obliterated, Removed, Series, WorkerSeen};
pub use cancel::{CANCELLED, Cancelled};
pub use claim::{
    Claim, ClaimRequest, Claimed, Malformed, RateLimit, Recovered, StallPolicy, Token, Waiter, Wake,
};
pub use elsewhere::{Elsewhere, Stray, StrayPlace};
pub use error::StoreError;
pub use finish::{CrashNote, Finish, FinishReply, ReceiptNote, Refusal, Verdict};
pub use flow::{AddedFlow, FLOW_BYTES_MAX, FLOW_DEPTH_MAX, FLOW_JOBS_MAX, Flow, FlowJob};
pub use look::{Children, Counts, Page, SeriesPoints, StoreHealth, StoredEvent};
pub use producer::{Added, NewJob, Parent};
pub use receipts::{AttemptReceipt, RECEIPT_BYTES_MAX, RECEIPTS_MAX};
pub use scheduler::{Scheduled, Scheduler, SchedulerSpec, Schedulers};

use crate::clock::Millis;
use crate::job::{Job, JobState};
use crate::names::{JobId, QueueName};

/// Where jobs live.
///
/// Cancel safety: a dropped future of a changing verb may have taken effect or not. What a claim took whose reply was
/// lost is recovered as stalled once its lock runs out.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // --- producers ---

    /// Adds jobs, in order. Each is atomic by itself. An id that exists already is left as it is
    /// ([`Added::Duplicate`]), which makes adding with a chosen id repeatable.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when a job cannot be stored (an unknown parent); jobs before it have been added.
    async fn add(&self, queue: &QueueName, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError>;

    /// Adds a tree of jobs, whole or not at all: a job with children waits for them from the start. A node whose id
    /// exists already is left as it is and becomes part of the tree.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when a job of the tree cannot be stored, or the store has no flows; nothing was added.
    async fn add_flow(&self, flow: Flow, now: Millis) -> Result<AddedFlow, StoreError> {
        let _ = now;
        Err(StoreError::unsupported(&flow.queue, "flows"))
    }

    // --- workers ---

    /// Takes up to `request.max` jobs that are due, gives each a lock, and moves due delayed jobs to the waiting ones.
    /// First those without a priority in order of arrival, then by priority. A paused, rate limited or
    /// concurrency-limited queue gives none. Not to be repeated blindly: a lost reply leaves locked jobs.
    ///
    /// A job that a scheduler made is only given out once the scheduler's next job is in the store, made exactly once
    /// however often this one is claimed; see [`Schedulers`].
    async fn claim(&self, queue: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError>;

    /// Writes the outcome of attempts and, in the same round trip, claims new jobs. Each finish is atomic and refused
    /// by itself ([`Refusal`]); a refusal changes nothing but what it names. A repeat after a lost reply is refused,
    /// never applied twice.
    async fn finish(
        &self,
        queue: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError>;

    /// Renews locks, in one round trip. Returns the jobs whose lock is gone. May be repeated.
    async fn renew(
        &self,
        queue: &QueueName,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError>;

    /// One round of stall recovery: active jobs that were seen active in an earlier round and have no lock go back to
    /// the waiting ones. At most one round per `policy.interval` happens however many workers ask. A job recovered too
    /// often gets a deferred failure, which the next claim returns.
    async fn recover_stalled(
        &self,
        queue: &QueueName,
        policy: StallPolicy,
        now: Millis,
    ) -> Result<Recovered, StoreError>;

    /// Of these running attempts, those that [`Store::cancel`] wants to end. One cheap call: workers ask every second
    /// while something runs. May be repeated; an attempt is told until it ends.
    async fn cancelled(
        &self,
        queue: &QueueName,
        running: &[(JobId, Token)],
    ) -> Result<Vec<Token>, StoreError> {
        let _ = (queue, running);
        Ok(Vec::new())
    }

    /// Something that waits for work on this queue, with what it needs of its own (a connection).
    async fn waiter(
        &self,
        queue: &QueueName,
        worker_name: Option<&str>,
    ) -> Result<Box<dyn Waiter>, StoreError>;

    /// Tells waiters that work may be there: for a worker that was woken and has no free slot, so that an idle one
    /// elsewhere hears it.
    async fn wake(&self, queue: &QueueName) -> Result<(), StoreError>;

    // --- a running job; none of these checks the lock ---

    /// Replaces the progress (JSON text) and tells listeners.
    async fn set_progress(&self, queue: &QueueName, id: &JobId, progress: Bytes) -> Result<(), StoreError>;

    /// Adds log lines; with `keep` only the last so many lines stay. Returns how many there are.
    async fn append_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        lines: &[String],
        keep: Option<u64>,
    ) -> Result<u64, StoreError>;

    /// Replaces the payload.
    async fn update_data(&self, queue: &QueueName, id: &JobId, data: Bytes) -> Result<(), StoreError>;

    /// Results of a parent's finished children: full job key and JSON text.
    async fn children_values(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// Failed children of a parent that went on without them: full job key and reason.
    async fn children_failures(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<(String, String)>, StoreError>;

    // --- looking ---

    /// The job, when it exists.
    async fn get(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError>;

    /// The state a job is in; none when it does not exist or is in no state.
    async fn state(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobState>, StoreError>;

    /// The job and its state, when it exists. The state is read first: the record is never older than it, so that what is
    /// seen as completed has its result.
    async fn look_at(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Option<(Job, Option<JobState>)>, StoreError> {
        let state = self.state(queue, id).await?;
        Ok(self.get(queue, id).await?.map(|job| (job, state)))
    }

    /// Jobs in a state: those that run next first; finished ones newest first.
    async fn list(&self, queue: &QueueName, state: JobState, page: Page) -> Result<Vec<Job>, StoreError>;

    /// How many jobs are in each state.
    async fn counts(&self, queue: &QueueName) -> Result<Counts, StoreError>;

    /// The log of a job, oldest line first.
    async fn logs(&self, queue: &QueueName, id: &JobId, page: Page) -> Result<Vec<String>, StoreError>;

    /// What the job's last attempts cost, oldest first: as many as its queue keeps, at most [`RECEIPTS_MAX`]. Empty where
    /// none has ended, and without the job.
    async fn receipts(&self, queue: &QueueName, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        let _ = (queue, id);
        Ok(Vec::new())
    }

    /// The queues that exist in the store, by name.
    async fn queues(&self) -> Result<Vec<QueueName>, StoreError>;

    /// The newest event's id: where a listener that wants what comes from now on starts.
    async fn last_event(&self, queue: &QueueName) -> Result<String, StoreError>;

    /// Events after this id, oldest first; waits up to `wait` for the first. Old events are trimmed, so a listener
    /// that lags far behind misses some. Cancel safe.
    async fn events(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    // --- administration ---

    /// Stops giving out jobs of this queue, on every host. May be repeated.
    async fn pause(&self, queue: &QueueName) -> Result<(), StoreError>;

    /// Gives out jobs again. May be repeated.
    async fn resume(&self, queue: &QueueName) -> Result<(), StoreError>;

    /// Whether the queue is paused.
    async fn is_paused(&self, queue: &QueueName) -> Result<bool, StoreError>;

    /// Removes a job in whatever state, unless it is running.
    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<Removed, StoreError>;

    /// Ends a job for good, with [`CANCELLED`] as its reason: one that waits fails at once and uses no attempt, with its
    /// flow told as by any failure. Of one that runs, the attempt that runs now is ended by its host, which hears of it
    /// through [`Store::cancelled`]; should the attempt be given back or its host vanish first, the job is failed before
    /// it runs again. A later job with the same id is never meant. May be repeated.
    async fn cancel(&self, queue: &QueueName, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        let _ = (id, now);
        Err(StoreError::unsupported(queue, "cancelling"))
    }

    /// Makes a delayed job due now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::WrongState`].
    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<(), StoreError>;

    /// Puts a finished job back among the waiting ones; `reset_attempts` gives it all its attempts again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::WrongState`].
    async fn retry(&self, queue: &QueueName, id: &JobId, reset_attempts: bool) -> Result<(), StoreError>;

    /// Removes all waiting and prioritized jobs, and the delayed ones when asked. Returns how many. Running and
    /// finished ones stay.
    async fn drain(&self, queue: &QueueName, delayed: bool) -> Result<u64, StoreError>;

    /// Reaches the store and tells how it is.
    async fn health(&self) -> Result<StoreHealth, StoreError>;

    /// Writes what is buffered and lets go of what is held. Further calls may fail.
    async fn close(&self);
}
