//! A store that does what a test tells it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::runner::{FakeRouter, FakeRunner};
use crate::clock::{Millis, SystemClock};
use crate::event::Silent;
use crate::job::{Job, JobState};
use crate::names::{JobId, QueueName};
use crate::store::*;
use crate::worker::Surroundings;

pub(super) fn host(store: &Arc<Fake>, runner: &Arc<FakeRunner>) -> Surroundings {
    Surroundings {
        store: Arc::clone(store) as Arc<_>,
        router: Arc::new(FakeRouter(Arc::clone(runner))),
        observer: Arc::new(Silent),
        clock: Arc::new(SystemClock),
        entropy: || 0.5,
        cells: tokio::runtime::Handle::current(),
        host: "host".into(),
    }
}

/// A queue in memory, with faults on demand.
#[derive(Default)]
pub(super) struct Fake {
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Notify,
    work: Notify,
    pub(super) renewals: AtomicUsize,
    /// Times that running attempts were asked about.
    pub(super) looks: AtomicUsize,
    pub(super) calls: AtomicUsize,
    pub(super) wakes: AtomicUsize,
    /// Times that something to wait on was asked for.
    pub(super) waiters: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Job>>,
    active: HashMap<JobId, (Arc<Job>, Token)>,
    most_active: usize,
    completed: usize,
    verdicts: HashMap<String, Vec<Verdict>>,
    logs: HashMap<String, Vec<String>>,
    receipts: HashMap<String, Vec<Option<String>>>,
    finish_faults: VecDeque<StoreError>,
    poisoned: HashSet<String>,
    finish_sizes: Vec<usize>,
    stolen: HashSet<String>,
    /// Tokens of attempts that somebody wants to end.
    cancelled: HashSet<Token>,
    refusals: HashMap<String, Refusal>,
    away: bool,
    renewals_away: bool,
    waits: Waits,
    hangs: bool,
    /// Calls that claim are answered only so much later.
    slow: Duration,
    slow_renewals: Duration,
    panics: usize,
    lost_finishes: usize,
}

/// What waits for work do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Waits {
    #[default]
    Work,
    /// They never end, as on a connection that nobody answers on.
    Hang,
    /// There is no connection for them.
    Fail,
    /// They panic.
    Panic,
}

impl Fake {
    pub(super) fn with(jobs: impl IntoIterator<Item = Job>) -> Arc<Self> {
        let fake = Self::default();
        fake.lock().waiting = jobs.into_iter().map(Arc::new).collect();
        Arc::new(fake)
    }

    pub(super) fn push(&self, job: Job) {
        self.push_silently(job);
        self.work.notify_one();
    }

    pub(super) fn push_silently(&self, job: Job) {
        self.lock().waiting.push_back(Arc::new(job));
    }

    pub(super) fn fail_finishes(&self, faults: impl IntoIterator<Item = StoreError>) {
        self.lock().finish_faults.extend(faults);
    }

    /// Finishes of this job fail for good, and with them their whole batch.
    pub(super) fn poison(&self, id: &str) {
        self.lock().poisoned.insert(id.to_owned());
    }

    /// Somebody else takes the job's lock.
    pub(super) fn steal(&self, id: &str) {
        self.lock().stolen.insert(id.to_owned());
    }

    /// Somebody wants the attempt that runs to end.
    pub(super) fn cancel(&self, id: &str) {
        let token = self.token(id);
        self.lock().cancelled.insert(token);
    }

    /// Somebody finds the running job without a lock and puts it back among the waiting ones.
    pub(super) fn stall(&self, id: &str) {
        let mut state = self.lock();
        let (job, _) = state.active.remove(id).expect("the job runs");
        state.waiting.push_front(job);
        drop(state);
        self.work.notify_one();
    }

    /// Waiting for children is refused for this job.
    pub(super) fn refuse(&self, id: &str, refusal: Refusal) {
        self.lock().refusals.insert(id.to_owned(), refusal);
    }

    pub(super) fn go_away(&self) {
        self.lock().away = true;
    }

    pub(super) fn come_back(&self) {
        self.lock().away = false;
    }

    /// Renewals fail, and nothing else does.
    pub(super) fn fail_renewals(&self, fail: bool) {
        self.lock().renewals_away = fail;
    }

    pub(super) fn set_waits(&self, waits: Waits) {
        self.lock().waits = waits;
    }

    /// Calls that claim never end, until this is taken back: those that hang already go on doing so.
    pub(super) fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
    }

    /// Calls that claim take effect at once and are answered so much later.
    pub(super) fn slow_down(&self, by: Duration) {
        self.lock().slow = by;
    }

    /// Renewals take effect at once and are answered so much later.
    pub(super) fn slow_renewals(&self, by: Duration) {
        self.lock().slow_renewals = by;
    }

    /// The token of a running job's lock.
    pub(super) fn token(&self, id: &str) -> Token {
        self.lock().active[&JobId::new(id).unwrap()].1.clone()
    }

    /// So many calls that claim panic.
    pub(super) fn panic(&self, times: usize) {
        self.lock().panics = times;
    }

    /// So many finishes take effect and are not answered.
    pub(super) fn lose_finishes(&self, times: usize) {
        self.lock().lost_finishes = times;
    }

    pub(super) fn completed(&self) -> usize {
        self.lock().completed
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn most_active(&self) -> usize {
        self.lock().most_active
    }

    /// Bytes of results in each call that wrote ends.
    pub(super) fn finish_sizes(&self) -> Vec<usize> {
        self.lock().finish_sizes.clone()
    }

    pub(super) fn verdicts(&self, id: &str) -> Vec<Verdict> {
        self.lock().verdicts.get(id).cloned().unwrap_or_default()
    }

    /// What came with each end of the job.
    pub(super) fn receipts(&self, id: &str) -> Vec<Option<String>> {
        self.lock().receipts.get(id).cloned().unwrap_or_default()
    }

    pub(super) fn logged(&self, id: &str) -> Vec<String> {
        self.lock().logs.get(id).cloned().unwrap_or_default()
    }

    /// Waits until the store looks so.
    pub(super) async fn until(&self, looks: impl Fn(&Self) -> bool) {
        let wait = async {
            while !looks(self) {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(super::LONG, wait).await.expect("in time");
    }
}

impl std::ops::Deref for Fake {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let state = self.lock();
        if state.away { Err(StoreError::Unavailable("away".into())) } else { Ok(state) }
    }
}

impl Fake {
    /// What happens to a call that claims before it takes effect.
    async fn hindered(&self) {
        tokio::task::yield_now().await;
        let hangs = {
            let mut state = self.lock();
            if state.panics > 0 {
                state.panics -= 1;
                drop(state);
                panic!("scripted");
            }
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    fn claim(&mut self, request: &ClaimRequest) -> Claim {
        let mut claim = Claim::default();
        for i in 0..request.max {
            let Some(job) = self.waiting.pop_front() else { break };
            let token = request.token(i);
            self.active.insert(job.id.clone(), (Arc::clone(&job), token.clone()));
            claim.jobs.push(Claimed { id: job.id.clone(), token, job: Ok(job) });
        }
        self.most_active = self.most_active.max(self.active.len());
        claim
    }

    fn finish(&mut self, finish: Finish) -> Result<(), Refusal> {
        let Finish { id, token, verdict, recorded, receipt, digest, .. } = finish;
        let name = id.as_str().to_owned();
        match self.active.get(&id) {
            None => return Err(Refusal::NotActive),
            Some((_, owner)) if *owner != token => return Err(Refusal::LockTaken),
            Some(_) => {}
        }
        if verdict == Verdict::WaitForChildren
            && let Some(refusal) = self.refusals.get(&name)
        {
            return Err(*refusal);
        }
        self.receipts.entry(name.clone()).or_default().push(receipt.map(|receipt| receipt.json));
        self.verdicts.entry(name.clone()).or_default().push(verdict.clone());
        self.logs.entry(name).or_default().extend(recorded.logs);
        let (job, _) = self.active.remove(&id).unwrap();
        match verdict {
            Verdict::Complete { .. } => self.completed += 1,
            Verdict::Fail { .. } => {}
            Verdict::Retry { .. } => {
                self.waiting.push_front(Arc::new(Job { pinned: digest, ..Job::clone(&job) }));
            }
            Verdict::Release | Verdict::DelayUntil(_) | Verdict::RateLimit(_) => self.waiting.push_front(job),
            Verdict::WaitForChildren => panic!("no children here"),
        }
        Ok(())
    }
}

struct FakeWaiter(Arc<Shared>);

#[async_trait]
impl Waiter for FakeWaiter {
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError> {
        let waits = self.0.answer()?.waits;
        match waits {
            Waits::Work => {}
            Waits::Hang => std::future::pending().await,
            Waits::Fail => return Err(StoreError::Unavailable("no connection".into())),
            Waits::Panic => panic!("scripted"),
        }
        match tokio::time::timeout(timeout, self.0.work.notified()).await {
            Ok(()) => Ok(Wake::Now),
            Err(_) => Ok(Wake::TimedOut),
        }
    }
}

fn unused<T>() -> Result<T, StoreError> {
    panic!("the worker does not use this verb")
}

#[async_trait]
impl Store for Fake {
    async fn claim(&self, _: &QueueName, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.hindered().await;
        let (claim, slow) = {
            let mut state = self.answer()?;
            (state.claim(request), state.slow)
        };
        tokio::time::sleep(slow).await;
        Ok(claim)
    }

    async fn finish(
        &self,
        _: &QueueName,
        finishes: Vec<Finish>,
        claim: Option<&ClaimRequest>,
        _: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.hindered().await;
        let (lost, slow) = {
            let mut state = self.answer()?;
            (state.lost_finishes.checked_sub(1).map(|left| state.lost_finishes = left).is_some(), state.slow)
        };
        // Stores give back what a claim took that was never answered.
        let claim = claim.filter(|_| !lost);
        let reply = {
            let mut state = self.lock();
            if let Some(fault) = state.finish_faults.pop_front() {
                return Err(fault);
            }
            if finishes.iter().any(|finish| state.poisoned.contains(finish.id.as_str())) {
                return Err(StoreError::Corrupt("poisoned".into()));
            }
            let size = finishes.iter().map(|finish| match &finish.verdict {
                Verdict::Complete { result, .. } => result.len(),
                _ => 0,
            });
            let size = size.sum();
            state.finish_sizes.push(size);
            let finished = finishes.into_iter().map(|finish| state.finish(finish)).collect();
            FinishReply { finished, claim: claim.map(|request| state.claim(request)).unwrap_or_default() }
        };
        self.changed.notify_waiters();
        self.changed.notify_one();
        tokio::time::sleep(slow).await;
        if lost { Err(StoreError::Unavailable("the answer was lost".into())) } else { Ok(reply) }
    }

    async fn renew(
        &self,
        _: &QueueName,
        locks: &[(JobId, Token)],
        _: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        let (lost, slow) = {
            let mut state = self.answer()?;
            if state.renewals_away {
                return Err(StoreError::Unavailable("away".into()));
            }
            self.renewals.fetch_add(1, Ordering::SeqCst);
            let State { active, stolen, .. } = &mut *state;
            active.retain(|id, _| !stolen.contains(id.as_str()));
            let lost =
                locks.iter().filter(|(id, token)| active.get(id).is_none_or(|(_, held)| held != token));
            (lost.map(|(id, _)| id.clone()).collect(), state.slow_renewals)
        };
        tokio::time::sleep(slow).await;
        Ok(lost)
    }

    async fn cancelled(&self, _: &QueueName, running: &[(JobId, Token)]) -> Result<Vec<Token>, StoreError> {
        let state = self.answer()?;
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(running
            .iter()
            .map(|(_, token)| token)
            .filter(|token| state.cancelled.contains(token))
            .cloned()
            .collect())
    }

    async fn recover_stalled(
        &self,
        _: &QueueName,
        _: StallPolicy,
        _: Millis,
    ) -> Result<Recovered, StoreError> {
        Ok(Recovered::default())
    }

    async fn waiter(&self, _: &QueueName, _: Option<&str>) -> Result<Box<dyn Waiter>, StoreError> {
        let waits = self.answer()?.waits;
        self.waiters.fetch_add(1, Ordering::SeqCst);
        match waits {
            Waits::Fail => Err(StoreError::Unavailable("no connection".into())),
            _ => Ok(Box::new(FakeWaiter(Arc::clone(&self.shared)))),
        }
    }

    async fn wake(&self, _: &QueueName) -> Result<(), StoreError> {
        drop(self.answer()?);
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        Ok(())
    }

    async fn set_progress(&self, _: &QueueName, _: &JobId, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn append_logs(
        &self,
        _: &QueueName,
        id: &JobId,
        lines: &[String],
        _: Option<u64>,
    ) -> Result<u64, StoreError> {
        let n = {
            let mut state = self.answer()?;
            let log = state.logs.entry(id.as_str().to_owned()).or_default();
            log.extend_from_slice(lines);
            log.len() as u64
        };
        self.changed.notify_one();
        Ok(n)
    }

    async fn counts(&self, _: &QueueName) -> Result<Counts, StoreError> {
        let state = self.answer()?;
        let mut counts = Counts::default();
        counts.0.insert(JobState::Waiting, state.waiting.len() as u64);
        counts.0.insert(JobState::Active, state.active.len() as u64);
        Ok(counts)
    }

    async fn add(&self, _: &QueueName, _: Vec<NewJob>, _: Millis) -> Result<Vec<Added>, StoreError> {
        unused()
    }
    async fn update_data(&self, _: &QueueName, _: &JobId, _: Bytes) -> Result<(), StoreError> {
        unused()
    }
    async fn children_values(&self, _: &QueueName, _: &JobId) -> Result<Vec<(String, String)>, StoreError> {
        unused()
    }
    async fn children_failures(&self, _: &QueueName, _: &JobId) -> Result<Vec<(String, String)>, StoreError> {
        unused()
    }
    async fn get(&self, _: &QueueName, _: &JobId) -> Result<Option<Job>, StoreError> {
        unused()
    }
    async fn state(&self, _: &QueueName, _: &JobId) -> Result<Option<JobState>, StoreError> {
        unused()
    }
    async fn list(&self, _: &QueueName, _: JobState, _: Page) -> Result<Vec<Job>, StoreError> {
        unused()
    }
    async fn logs(&self, _: &QueueName, _: &JobId, _: Page) -> Result<Vec<String>, StoreError> {
        unused()
    }
    async fn queues(&self) -> Result<Vec<QueueName>, StoreError> {
        unused()
    }
    async fn last_event(&self, _: &QueueName) -> Result<String, StoreError> {
        unused()
    }
    async fn events(&self, _: &QueueName, _: &str, _: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        unused()
    }
    async fn pause(&self, _: &QueueName) -> Result<(), StoreError> {
        unused()
    }
    async fn resume(&self, _: &QueueName) -> Result<(), StoreError> {
        unused()
    }
    async fn is_paused(&self, _: &QueueName) -> Result<bool, StoreError> {
        unused()
    }
    async fn remove(&self, _: &QueueName, _: &JobId) -> Result<Removed, StoreError> {
        unused()
    }
    async fn promote(&self, _: &QueueName, _: &JobId) -> Result<(), StoreError> {
        unused()
    }
    async fn retry(&self, _: &QueueName, _: &JobId, _: bool) -> Result<(), StoreError> {
        unused()
    }
    async fn drain(&self, _: &QueueName, _: bool) -> Result<u64, StoreError> {
        unused()
    }
    async fn health(&self) -> Result<StoreHealth, StoreError> {
        unused()
    }
    async fn close(&self) {}
}
