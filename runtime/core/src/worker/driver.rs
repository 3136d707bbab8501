//! The task that works one queue: it owns the slots, decides which store call comes next, and never waits for one.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch as signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::burst::Busy;
use super::calls::{self, Calls};
use super::held::HeldJobs;
use super::watch::Watch;
use super::{Ended, Phase, QueueSettings, Scene, Surroundings, attempt, batch, stalls};
use crate::attempt::AttemptIo;
use crate::clock::Millis;
use crate::decide::{decide, fail};
use crate::event::Event;
use crate::outcome::{Outcome, StopCause};
use crate::store::{
    Claim, ClaimRequest, Claimed, Finish, FinishReply, Refusal, StoreError, Token, Verdict, Wake,
};

/// Finish calls in flight. One is with the store while the next is on its way; more would only make batches smaller.
const FINISHES_IN_FLIGHT: usize = 2;
/// Ends that are worth a second call while the first is in flight: a call of eight costs the store half as much a job as
/// eight calls.
const FINISHES_TOGETHER: usize = 8;
/// Jobs in one call: bounds how long one script holds the store, and the size of a reply.
const BATCH_MAX: usize = 64;
/// The wait after a failed call grows from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often in a row a job may ask to wait for children it does not have.
const VAIN_WAITS_MAX: u32 = 3;
/// How long ends may take to be written after everything was told to stop.
const GIVE_BACK_BOUND: Duration = Duration::from_secs(5);

/// Works the queue until the phase ends it.
pub(super) async fn run(
    surroundings: Surroundings,
    settings: QueueSettings,
    phase: signal::Receiver<Phase>,
    busy: Option<Busy>,
) -> Ended {
    let _stalls = AbortOnDropHandle::new(tokio::spawn(stalls::run(surroundings.clone(), settings.clone())));
    Driver::new(surroundings, settings, phase, busy).run().await
}

struct Driver {
    scene: Arc<Scene>,
    phase: signal::Receiver<Phase>,
    /// In burst mode only.
    busy: Option<Busy>,
    calls: Calls,
    in_flight: FuturesUnordered<BoxFuture<'static, calls::Ended>>,
    finishes_in_flight: usize,
    /// Slots promised to claims in flight.
    claiming: usize,
    held: HeldJobs,
    ended: Vec<Finish>,
    attempts: (mpsc::UnboundedSender<Finish>, mpsc::UnboundedReceiver<Finish>),
    watch: Watch,
    /// Nothing was due when last asked.
    drained: bool,
    /// When the next delayed job is due.
    next_due: Option<Millis>,
    /// The queue must rest until then.
    limited_until: Option<Instant>,
    /// The store is left alone until then, after so many failures in a row.
    retry_at: Option<Instant>,
    failures: u32,
    /// The last renewal failed: locks run out while the next one is awaited.
    renew_again: bool,
    /// The last batch failed for good: find the culprit by writing ends one by one.
    singly: bool,
    tokens: u64,
    give_back_until: Option<Instant>,
    /// Whoever started the workers has dropped them.
    deserted: bool,
    sum: Ended,
}

impl Driver {
    fn new(
        surroundings: Surroundings,
        settings: QueueSettings,
        phase: signal::Receiver<Phase>,
        busy: Option<Busy>,
    ) -> Self {
        let calls = Calls {
            store: Arc::clone(&surroundings.store),
            observer: Arc::clone(&surroundings.observer),
            clock: Arc::clone(&surroundings.clock),
            queue: settings.queue.clone(),
        };
        let watch = Watch::start(
            Arc::clone(&surroundings.store),
            settings.queue.clone(),
            settings.worker_name.clone(),
        );
        Self {
            scene: Arc::new(Scene { surroundings, settings }),
            phase,
            busy,
            calls,
            in_flight: FuturesUnordered::new(),
            finishes_in_flight: 0,
            claiming: 0,
            held: HeldJobs::default(),
            ended: Vec::new(),
            // Unbounded, but never longer than the number of slots.
            attempts: mpsc::unbounded_channel(),
            watch,
            drained: false,
            next_due: None,
            limited_until: None,
            retry_at: None,
            failures: 0,
            renew_again: false,
            singly: false,
            tokens: 0,
            give_back_until: None,
            deserted: false,
            sum: Ended::default(),
        }
    }

    fn phase(&self) -> Phase {
        if self.deserted { Phase::GiveBack } else { *self.phase.borrow() }
    }

    async fn run(mut self) -> Ended {
        let mut renewals = self.renewals();
        loop {
            if self.pump() {
                return self.leave();
            }
            let timer = self.timer();
            tokio::select! {
                Some(call) = self.in_flight.next() => self.call_ended(call),
                Some(finish) = self.attempts.1.recv() => self.attempt_ended(finish),
                wake = self.watch.ended() => self.woken(wake),
                _ = renewals.tick() => self.renew(),
                changed = self.phase.changed(), if !self.deserted => {
                    self.deserted = changed.is_err();
                    self.phase_changed();
                }
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => self.timer_fired(),
            }
            // Ends that came meanwhile go into the same batch.
            while let Ok(finish) = self.attempts.1.try_recv() {
                self.attempt_ended(finish);
            }
        }
    }

    fn renewals(&self) -> Interval {
        let every = (self.scene.settings.lock / 3).max(Duration::from_millis(1));
        let mut renewals = interval_at(Instant::now() + every, every);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewals
    }

    // --- what comes next ---

    /// Starts the calls that can be started. True when the work is over.
    fn pump(&mut self) -> bool {
        let phase = self.phase();
        self.tell_busy();
        if self.over(phase) {
            return true;
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        while self.finish_is_due() {
            let size = if self.singly { 1 } else { BATCH_MAX };
            let batch = batch::take(&mut self.ended, size);
            let claim = self.claim_request(phase);
            self.claiming += claim.as_ref().map_or(0, |claim| claim.max);
            self.finishes_in_flight += 1;
            self.in_flight.push(self.calls.finish(batch, claim));
        }
        if !self.drained
            && self.claiming == 0
            && let Some(request) = self.claim_request(phase)
        {
            self.claiming += request.max;
            self.in_flight.push(self.calls.claim(request));
        }
        if self.drained && phase == Phase::Run && self.free() > 0 {
            self.watch.begin(self.scene.settings.poll);
        }
        false
    }

    /// Whether ends should go out now. With a call in flight they wait for its answer, unless they are many or nothing
    /// else will join them.
    fn finish_is_due(&self) -> bool {
        match self.finishes_in_flight {
            0 => !self.ended.is_empty(),
            n if n < FINISHES_IN_FLIGHT => {
                self.ended.len() >= FINISHES_TOGETHER || (!self.ended.is_empty() && self.held.running() == 0)
            }
            _ => false,
        }
    }

    /// Whether everything is done that this phase wants done.
    fn over(&self, phase: Phase) -> bool {
        let idle = self.held.is_empty() && self.in_flight.is_empty();
        match phase {
            Phase::Drain => idle,
            Phase::GiveBack => idle || self.give_back_until.is_some_and(|until| until <= Instant::now()),
            Phase::Run | Phase::Quiet => false,
        }
    }

    /// Tells whoever waits for all queues to be done.
    fn tell_busy(&mut self) {
        let busy = !(self.drained && self.held.is_empty() && self.in_flight.is_empty());
        if let Some(tell) = &mut self.busy {
            tell.set(busy);
        }
    }

    /// Slots that neither run an attempt nor are promised to a claim.
    fn free(&self) -> usize {
        self.scene.settings.concurrency.saturating_sub(self.held.running() + self.claiming)
    }

    /// A wish for as many jobs as have a free slot: a claimed job never waits.
    fn claim_request(&mut self, phase: Phase) -> Option<ClaimRequest> {
        let max = self.free().min(BATCH_MAX);
        let resting = self.limited_until.is_some_and(|until| until > Instant::now());
        if phase != Phase::Run || max == 0 || resting {
            return None;
        }
        let token_first = self.tokens;
        self.tokens += max as u64;
        Some(ClaimRequest {
            max,
            token_prefix: Arc::clone(&self.scene.surroundings.host),
            token_first,
            lock: self.scene.settings.lock,
            worker_name: self.scene.settings.worker_name.clone(),
            rate: self.scene.settings.rate,
            now: self.scene.surroundings.clock.now(),
        })
    }

    /// When to look again without being told.
    fn timer(&self) -> Option<Instant> {
        let due = self.next_due.filter(|_| self.drained && self.free() > 0).map(|due| {
            let wait = due.saturating_sub(self.scene.surroundings.clock.now());
            Instant::now() + Duration::from_millis(wait)
        });
        [due, self.limited_until, self.retry_at, self.give_back_until].into_iter().flatten().min()
    }

    fn timer_fired(&mut self) {
        let now = Instant::now();
        if self.limited_until.is_some_and(|until| until <= now) {
            self.limited_until = None;
            self.drained = false;
        }
        if self.next_due.is_some_and(|due| due <= self.scene.surroundings.clock.now()) {
            self.next_due = None;
            self.drained = false;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.drained = false;
            if std::mem::take(&mut self.renew_again) {
                self.renew();
            }
        }
    }

    // --- what happened ---

    fn call_ended(&mut self, call: calls::Ended) {
        match call {
            calls::Ended::Claimed { slots, result } => {
                self.claiming -= slots;
                match result {
                    Ok(claim) => self.claimed(claim, slots),
                    Err(error) => self.failed("claim", &error),
                }
            }
            calls::Ended::Finished { finishes, slots, result } => {
                self.claiming -= slots;
                self.finishes_in_flight -= 1;
                match result {
                    Ok(FinishReply { finished, claim }) => {
                        self.singly &= !self.ended.is_empty();
                        for (finish, result) in finishes.into_iter().zip(finished) {
                            self.finished(finish, result);
                        }
                        if slots > 0 {
                            self.claimed(claim, slots);
                        }
                    }
                    Err(error) => self.finish_failed(finishes, &error),
                }
            }
            calls::Ended::Woke { result } => {
                if let Err(error) = result {
                    self.failed("wake", &error);
                }
            }
            calls::Ended::Renewed { locks, result } => match result {
                Ok(lost) => {
                    let lost = locks.into_iter().filter(|(id, _)| lost.contains(id)).collect::<Vec<_>>();
                    lost.into_iter().for_each(|(_, token)| self.lock_lost(&token));
                }
                Err(error) => {
                    self.renew_again = true;
                    self.failed("renew", &error);
                }
            },
        }
    }

    fn claimed(&mut self, claim: Claim, slots: usize) {
        let Claim { jobs, rate_limited, next_due } = claim;
        self.failures = 0;
        self.retry_at = None;
        self.drained = jobs.len() < slots;
        self.next_due = next_due;
        self.limited_until = rate_limited.map(|rest| Instant::now() + rest);
        let phase = self.phase();
        for claimed in jobs {
            self.start(claimed, phase);
        }
    }

    fn start(&mut self, claimed: Claimed, phase: Phase) {
        let cancel = CancellationToken::new();
        let io = Arc::new(AttemptIo::default());
        if let Some(before) = self.held.insert(&claimed, cancel.clone(), Arc::clone(&io)) {
            self.lock_lost(&before);
        }
        if phase == Phase::GiveBack {
            // The claim was under way when everything was told to stop.
            self.held.attempt_ended(&claimed.token);
            self.sum.given_back += 1;
            self.ended.push(release(&claimed));
            return;
        }
        self.spawn(claimed, cancel, io);
    }

    fn spawn(&self, claimed: Claimed, cancel: CancellationToken, io: Arc<AttemptIo>) {
        let (scene, ended) = (Arc::clone(&self.scene), self.attempts.0.clone());
        self.scene.surroundings.cells.spawn(async move {
            let finish = attempt::run(&scene, claimed, cancel, io).await;
            // The driver outlives its attempts but for a bounded give-back; then the lock runs out by itself.
            let _ = ended.send(finish);
        });
    }

    fn attempt_ended(&mut self, finish: Finish) {
        if !self.held.attempt_ended(&finish.token) {
            // The lock was lost on the way: the result is dropped, and has been counted as such.
            return;
        }
        if finish.verdict == Verdict::Release && self.phase() == Phase::GiveBack {
            self.sum.given_back += 1;
        }
        self.ended.push(finish);
    }

    fn finished(&mut self, finish: Finish, result: Result<(), Refusal>) {
        let Err(refusal) = result else {
            if matches!(finish.verdict, Verdict::Release | Verdict::Retry { .. } | Verdict::DelayUntil(_)) {
                // It may be due again at once, and our own push need not wake our own watch.
                self.drained = false;
            }
            self.held.remove(&finish.token);
            return;
        };
        if refusal.is_lost() {
            let queue = self.scene.settings.queue.clone();
            tracing::warn!(%queue, job = %finish.id, %refusal, "the end of an attempt was not accepted; its result is dropped");
            self.scene.surroundings.observer.on(&Event::Refused { queue, id: finish.id, refusal });
            self.held.remove(&finish.token);
            return;
        }
        self.answer_refusal(finish, refusal);
    }

    /// The job is still active and locked: it needs another end.
    fn answer_refusal(&mut self, finish: Finish, refusal: Refusal) {
        let stopping = self.phase() == Phase::GiveBack;
        let Some(held) = self.held.get_mut(&finish.token) else {
            return;
        };
        let Some(job) = held.job.clone() else { return };
        held.vain_waits += 1;
        if refusal == Refusal::NothingToWaitFor && stopping {
            self.sum.given_back += 1;
            self.ended.push(Finish { verdict: Verdict::Release, ..finish });
            return;
        }
        if refusal == Refusal::NothingToWaitFor && held.vain_waits <= VAIN_WAITS_MAX {
            let (cancel, io) = (held.cancel.clone(), Arc::clone(&held.io));
            io.put_back(finish.recorded);
            self.held.attempt_again(&finish.token);
            self.spawn(Claimed { id: finish.id, token: finish.token, job: Ok(job) }, cancel, io);
            return;
        }
        let policy = &self.scene.settings.policy;
        let verdict = match refusal {
            Refusal::FailedChildren => {
                let reason =
                    format!("Cannot complete job {} because it has at least one failed child", finish.id);
                fail(&job, policy, &reason, &[])
            }
            other => {
                let reason = match other {
                    // BullMQ's words: people search for them.
                    Refusal::PendingChildren => format!("Job {} has pending dependencies", finish.id),
                    other => format!("Job {} cannot end this way: {other}", finish.id),
                };
                let outcome = Outcome::Retry { reason, after: None };
                decide(
                    &job,
                    policy,
                    outcome,
                    self.scene.surroundings.clock.now(),
                    (self.scene.surroundings.entropy)(),
                )
            }
        };
        self.ended.push(Finish { verdict, ..finish });
    }

    /// Nothing is known to be written: the same ends are sent again. Should they have been written after all, the
    /// repeat is refused.
    fn finish_failed(&mut self, mut finishes: Vec<Finish>, error: &StoreError) {
        // Rights can be mended while the lock holds; a result that is thrown away cannot.
        if error.is_transient() || matches!(error, StoreError::Denied(_)) {
            self.failed("finish", error);
        } else if finishes.len() > 1 {
            tracing::error!(queue = %self.scene.settings.queue, %error, "a batch of ends was refused; writing them one by one");
            self.singly = true;
        } else {
            for finish in finishes.drain(..) {
                tracing::error!(queue = %self.scene.settings.queue, job = %finish.id, %error, "the end of an attempt cannot be written; the job will be recovered as stalled");
                self.held.remove(&finish.token);
                self.sum.abandoned += 1;
                let (queue, refusal) = (self.scene.settings.queue.clone(), Refusal::Unwritable);
                self.scene.surroundings.observer.on(&Event::Refused { queue, id: finish.id, refusal });
            }
        }
        finishes.append(&mut self.ended);
        self.ended = finishes;
    }

    fn failed(&mut self, verb: &'static str, error: &StoreError) {
        let queue = &self.scene.settings.queue;
        if self.failures == 0 {
            tracing::warn!(%queue, verb, %error, "the store did not answer; trying again");
        } else {
            tracing::debug!(%queue, verb, %error, failures = self.failures, "the store still does not answer");
        }
        let (first, longest) = BACKOFF;
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        let jitter = 0.5 + (self.scene.surroundings.entropy)() / 2.0;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + wait.mul_f64(jitter));
    }

    fn woken(&mut self, wake: Result<Wake, StoreError>) {
        match wake {
            Ok(Wake::Now | Wake::TimedOut) => {
                self.drained = false;
                let takes = self.free() > 0 && self.phase() == Phase::Run;
                if !takes && matches!(wake, Ok(Wake::Now)) {
                    // The slots filled up, or claiming ended, while the watch waited: somebody else may have one free.
                    self.in_flight.push(self.calls.wake());
                }
            }
            Ok(Wake::At(due)) if due <= self.scene.surroundings.clock.now() => self.drained = false,
            Ok(Wake::At(due)) => self.next_due = Some(self.next_due.map_or(due, |known| known.min(due))),
            Err(error) => {
                self.failed("wait", &error);
                self.drained = false;
            }
        }
    }

    // --- locks ---

    fn renew(&mut self) {
        let locks = self.held.locks();
        if !locks.is_empty() {
            self.in_flight.push(self.calls.renew(locks, self.scene.settings.lock));
        }
    }

    fn lock_lost(&mut self, token: &Token) {
        // An end on its way may just have been accepted, which frees the lock too; its own answer tells.
        if !self.held.get(token).is_some_and(|held| held.running) {
            return;
        }
        if let Some(held) = self.held.remove(token) {
            let queue = self.scene.settings.queue.clone();
            tracing::warn!(%queue, job = %held.id, "the job's lock is lost; its attempt is cancelled");
            held.io.stop(StopCause::LockLost);
            held.cancel.cancel();
            self.scene.surroundings.observer.on(&Event::LockLost { queue, id: held.id });
        }
    }

    // --- stopping ---

    fn phase_changed(&mut self) {
        let phase = self.phase();
        if phase == Phase::GiveBack && self.give_back_until.is_none() {
            self.give_back_until = Some(Instant::now() + GIVE_BACK_BOUND);
            self.held.stop_all(StopCause::Shutdown);
        }
        if phase == Phase::Run {
            self.drained = false;
        }
    }

    fn leave(mut self) -> Ended {
        self.sum.abandoned += self.held.len();
        self.sum
    }
}

fn release(claimed: &Claimed) -> Finish {
    Finish {
        id: claimed.id.clone(),
        token: claimed.token.clone(),
        verdict: Verdict::Release,
        recorded: crate::attempt::Recorded::default(),
        keep_logs: None,
    }
}
