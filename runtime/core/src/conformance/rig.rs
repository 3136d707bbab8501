//! What the cases are written with: one store, one queue, short words for the verbs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, Millis, SystemClock};
use crate::job::{Job, JobState};
use crate::names::{JobId, QueueName};
use crate::options::{JobOptions, Keep};
use crate::store::{
    Added, Admin, Claim, ClaimRequest, Claimed, Finish, NewJob, Page, Parent, Refusal, StallPolicy,
    StoredEvent, Token, Verdict, Waiter, Wake,
};

/// Long enough that no lock runs out in a case that does not want it to.
pub(super) const LOCK: Duration = Duration::from_secs(30);

/// The shortest time between two stall rounds. Small, because the store may measure it with its own clock.
const STALL_INTERVAL: Duration = Duration::from_millis(2);

/// Store, queue and clock of one case. Clones share all three.
#[derive(Clone)]
pub struct Rig {
    pub(super) store: Arc<dyn Admin>,
    pub(super) queue: QueueName,
    prefix: Arc<str>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tokens: AtomicU64,
    /// How far the clock of the case runs ahead of the real one.
    ahead: AtomicU64,
}

/// Takes what a store verb gave; a failure of the verb is a failure of the case.
macro_rules! ok {
    ($call:expr) => {
        match $call.await {
            Ok(value) => value,
            Err(error) => panic!("{}: {error}", stringify!($call)),
        }
    };
}
pub(super) use ok;

impl Rig {
    pub(super) fn new(store: Arc<dyn Admin>, prefix: String) -> Self {
        let queue = QueueName::new("mail").expect("a valid name");
        Self { store, queue, prefix: prefix.into(), shared: Arc::default() }
    }

    /// The same store and clock, another queue.
    pub(super) fn other_queue(&self, name: &str) -> Self {
        Self { queue: QueueName::new(name).expect("a valid name"), ..self.clone() }
    }

    // --- time ---

    pub(super) fn now(&self) -> Millis {
        SystemClock.now() + self.shared.ahead.load(Ordering::SeqCst)
    }

    /// Puts the clock of the case forward.
    pub(super) fn advance(&self, ms: Millis) {
        self.shared.ahead.fetch_add(ms, Ordering::SeqCst);
    }

    // --- adding ---

    /// A job with this name, and a payload made from it.
    pub(super) fn new_job(name: &str) -> NewJob {
        NewJob::new(name, format!("{{\"name\":{name:?}}}"))
    }

    pub(super) async fn add(&self, name: &str) -> JobId {
        self.add_with(name, |_| {}).await
    }

    pub(super) async fn add_with(&self, name: &str, set: impl FnOnce(&mut JobOptions)) -> JobId {
        let mut job = Self::new_job(name);
        set(&mut job.options);
        self.add_job(job).await
    }

    pub(super) async fn add_job(&self, job: NewJob) -> JobId {
        let added = ok!(self.store.add(&self.queue, vec![job], self.now()));
        match added.as_slice() {
            [Added::New(id)] => id.clone(),
            other => panic!("one new job was to be added, not {other:?}"),
        }
    }

    /// A child of a job of this queue.
    pub(super) async fn add_child(
        &self,
        parent: &JobId,
        name: &str,
        set: impl FnOnce(&mut JobOptions),
    ) -> JobId {
        let mut job = Self::new_job(name);
        set(&mut job.options);
        job.parent = Some(self.parent(parent));
        self.add_job(job).await
    }

    pub(super) fn parent(&self, id: &JobId) -> Parent {
        Parent { queue_key: format!("{}:{}", self.prefix, self.queue), id: id.clone() }
    }

    /// The full key of a job of this queue.
    pub(super) fn key(&self, id: &JobId) -> String {
        format!("{}:{}:{id}", self.prefix, self.queue)
    }

    // --- claiming ---

    pub(super) fn request(&self, max: usize) -> ClaimRequest {
        ClaimRequest {
            max,
            token_prefix: "rig".into(),
            token_first: self.shared.tokens.fetch_add(max as u64, Ordering::SeqCst),
            lock: LOCK,
            worker_name: Some("worker-1".into()),
            rate: None,
            now: self.now(),
        }
    }

    pub(super) async fn claim(&self, max: usize) -> Vec<Claimed> {
        ok!(self.store.claim(&self.queue, &self.request(max))).jobs
    }

    pub(super) async fn claim_one(&self) -> Claimed {
        let mut jobs = self.claim(1).await;
        assert_eq!(jobs.len(), 1, "one job was to be claimed");
        jobs.remove(0)
    }

    /// The names of the jobs that a claim gives.
    pub(super) async fn claim_names(&self, max: usize) -> Vec<String> {
        names_of(&self.claim(max).await)
    }

    // --- finishing ---

    pub(super) fn ending(claimed: &Claimed, verdict: Verdict) -> Finish {
        let Claimed { id, token, job: _ } = claimed;
        Finish::new(id.clone(), token.clone(), verdict)
    }

    pub(super) async fn finish(&self, claimed: &Claimed, verdict: Verdict) -> Result<(), Refusal> {
        self.finish_all(vec![Self::ending(claimed, verdict)]).await.remove(0)
    }

    pub(super) async fn finish_all(&self, finishes: Vec<Finish>) -> Vec<Result<(), Refusal>> {
        let asked = finishes.len();
        let reply = ok!(self.store.finish(&self.queue, finishes, None, self.now()));
        assert_eq!(reply.finished.len(), asked, "one answer for each finish");
        assert!(reply.claim.jobs.is_empty(), "nothing was to be claimed");
        reply.finished
    }

    /// A finish that must be accepted.
    pub(super) async fn done(&self, claimed: &Claimed, verdict: Verdict) {
        let label = format!("{verdict:?}");
        assert_eq!(self.finish(claimed, verdict).await, Ok(()), "{label}");
    }

    pub(super) async fn finish_and_claim(
        &self,
        finishes: Vec<Finish>,
        max: usize,
    ) -> (Vec<Result<(), Refusal>>, Claim) {
        let request = self.request(max);
        let reply = ok!(self.store.finish(&self.queue, finishes, Some(&request), request.now));
        (reply.finished, reply.claim)
    }

    /// Adds a job and brings it to its end.
    pub(super) async fn add_finished(&self, name: &str, verdict: Verdict) -> JobId {
        let id = self.add(name).await;
        let claimed = self.claim_one().await;
        assert_eq!(claimed.id, id, "another job was in front");
        self.done(&claimed, verdict).await;
        id
    }

    // --- locks and stalls ---

    pub(super) async fn renew(&self, claimed: &[&Claimed], lock: Duration) -> Vec<JobId> {
        let locks: Vec<(JobId, Token)> = claimed.iter().map(|c| (c.id.clone(), c.token.clone())).collect();
        ok!(self.store.renew(&self.queue, &locks, lock))
    }

    /// Lets a lock run out: makes it short, and asks until it is gone.
    pub(super) async fn expire(&self, claimed: &Claimed) {
        while self.renew(&[claimed], Duration::from_millis(1)).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// One round of stall recovery, as soon as the store allows one after the last.
    pub(super) async fn recover(&self, max: u64) -> Vec<JobId> {
        tokio::time::sleep(STALL_INTERVAL * 4).await;
        self.advance(10);
        let policy = StallPolicy { interval: STALL_INTERVAL, max };
        ok!(self.store.recover_stalled(&self.queue, policy, self.now())).jobs
    }

    /// Loses the claimed job as a vanished worker would, and recovers it: in the second round, or in the first where a
    /// store knows at once whose lock has run out.
    pub(super) async fn vanish(&self, claimed: &Claimed, max: u64) {
        self.expire(claimed).await;
        let mut recovered = self.recover(max).await;
        if recovered.is_empty() {
            recovered = self.recover(max).await;
        }
        assert_eq!(recovered, std::slice::from_ref(&claimed.id));
    }

    // --- looking ---

    pub(super) async fn job(&self, id: &JobId) -> Job {
        match ok!(self.store.get(&self.queue, id)) {
            Some(job) => job,
            None => panic!("job {id} does not exist"),
        }
    }

    pub(super) async fn state(&self, id: &JobId) -> Option<JobState> {
        ok!(self.store.state(&self.queue, id))
    }

    pub(super) async fn names(&self, state: JobState) -> Vec<String> {
        let jobs = ok!(self.store.list(&self.queue, state, Page::first(1000)));
        jobs.into_iter().map(|job| job.name).collect()
    }

    pub(super) async fn count(&self, state: JobState) -> u64 {
        ok!(self.store.counts(&self.queue)).get(state)
    }

    pub(super) async fn logs(&self, id: &JobId) -> Vec<String> {
        ok!(self.store.logs(&self.queue, id, Page::first(1000)))
    }

    // --- events and waking ---

    pub(super) async fn mark(&self) -> String {
        ok!(self.store.last_event(&self.queue))
    }

    /// All events after a mark.
    pub(super) async fn since(&self, mark: &str) -> Vec<StoredEvent> {
        let mut all = Vec::new();
        let mut after = mark.to_owned();
        loop {
            let events = ok!(self.store.events(&self.queue, &after, Duration::from_millis(1)));
            let Some(last) = events.last() else { return all };
            after.clone_from(&last.id);
            all.extend(events);
        }
    }

    /// The events after a mark as text: `event jobId key=value…`.
    pub(super) async fn told(&self, mark: &str) -> Vec<String> {
        self.since(mark).await.iter().map(told).collect()
    }

    /// A waiter that has no hint left.
    pub(super) async fn waiter(&self) -> Box<dyn Waiter> {
        let mut waiter = ok!(self.store.waiter(&self.queue, Some("worker-1")));
        self.calm(&mut *waiter).await;
        waiter
    }

    /// Takes the hints that are there.
    pub(super) async fn calm(&self, waiter: &mut dyn Waiter) {
        for _ in 0..100 {
            if ok!(waiter.wait(Duration::from_millis(30))) == Wake::TimedOut {
                return;
            }
        }
        panic!("the waiter wakes without end though nothing happens");
    }
}

/// One event as text.
fn told(event: &StoredEvent) -> String {
    let mut text = event.event.clone();
    for (key, value) in &event.fields {
        text.push(' ');
        if key != "jobId" {
            text.push_str(key);
            text.push('=');
        }
        text.push_str(value);
    }
    text
}

/// The names of claimed jobs.
pub(super) fn names_of(claimed: &[Claimed]) -> Vec<String> {
    claimed.iter().map(|c| job_of(c).name.clone()).collect()
}

/// The claimed job, which must be readable.
pub(super) fn job_of(claimed: &Claimed) -> &Job {
    match &claimed.job {
        Ok(job) => job,
        Err(malformed) => panic!("job {}: {malformed}", claimed.id),
    }
}

pub(super) fn id(text: &str) -> JobId {
    JobId::new(text).expect("a valid id")
}

pub(super) fn json(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Completed with `null`, kept.
pub(super) fn complete() -> Verdict {
    complete_keep(Keep::All)
}

pub(super) fn complete_with(result: &str) -> Verdict {
    Verdict::Complete { result: json(result), keep: Keep::All }
}

pub(super) fn complete_keep(keep: Keep) -> Verdict {
    Verdict::Complete { result: json("null"), keep }
}

/// Failed for good on the only attempt, kept.
pub(super) fn fail(reason: &str) -> Verdict {
    fail_keep(reason, Keep::All)
}

pub(super) fn fail_keep(reason: &str, keep: Keep) -> Verdict {
    Verdict::Fail {
        reason: reason.into(),
        stacktrace: vec![format!("{reason} at line 1")],
        keep,
        attempts_max: 1,
    }
}

/// Tried again after so many milliseconds.
pub(super) fn retry(delay_ms: u64) -> Verdict {
    Verdict::Retry {
        reason: "later".into(),
        stacktrace: vec!["later at line 2".into()],
        delay: Duration::from_millis(delay_ms),
        lifo: false,
    }
}
