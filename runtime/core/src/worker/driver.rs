//! The task that works one queue: it owns the slots, decides which store call comes next, and never waits for one.
//!
//! It must never look alive and take no jobs. Every call ends ([`calls`]); after a failure the next one comes within
//! half a second and with nothing to do within a poll, whatever becomes of wake-ups and clocks ([`super::pace`]); the
//! wait for wake-ups is begun anew when it broke and after every outage ([`super::watch`]); a panic starts the driver
//! again ([`run`]). What all that cannot mend is seen from outside ([`Pulse`]).

mod cancels;
mod ends;
mod locks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch as signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::burst::Busy;
use super::calls::{self, Calls};
use super::held::HeldJobs;
use super::pace::Pace;
use super::pulse::Pulse;
use super::renewals::Renewals;
use super::watch::{Source, Watch};
use super::{Ended, Phase, QueueSettings, Scene, Surroundings, attempt, batch, stalls};
use crate::attempt::AttemptIo;
use crate::clock::Millis;
use crate::outcome::StopCause;
use crate::store::{Claim, ClaimRequest, Claimed, Finish, FinishReply, StoreError, Wake};
use cancels::Looks;
use ends::release;
use locks::LOST;

/// Jobs in one call: bounds how long one script holds the store, and the size of a reply.
const BATCH_MAX: usize = 64;
/// How long ends may take to be written after everything was told to stop.
const GIVE_BACK_BOUND: Duration = Duration::from_secs(5);

/// The pause before a driver that panicked is started again: long enough not to fill the log.
const RESTART: Duration = Duration::from_secs(1);
/// Tokens that one start of a driver may use. Every start has its own, so that an attempt left from before cannot end a
/// job that was claimed since. Tokens are doubles to Redis: this leaves room for 8192 starts.
const TOKENS: u64 = 1 << 40;

/// Works the queue until the phase ends it. A panic is a fault of ours or of a store's, and must not leave behind a host
/// that looks alive and takes no jobs of this queue: the driver is started again.
pub(super) async fn run(
    surroundings: Surroundings,
    settings: QueueSettings,
    phase: signal::Receiver<Phase>,
    mut busy: Option<Busy>,
    pulse: Arc<Pulse>,
) -> Ended {
    let _stalls = AbortOnDropHandle::new(tokio::spawn(stalls::run(surroundings.clone(), settings.clone())));
    let (mut tokens, burst) = (0, busy.is_some());
    loop {
        let mut driver = Driver::new(
            surroundings.clone(),
            settings.clone(),
            phase.clone(),
            busy.take(),
            Arc::clone(&pulse),
        );
        driver.tokens = tokens;
        let ended = AssertUnwindSafe(driver.run()).catch_unwind().await;
        // A burst would never end without this worker's share in it.
        if ended.is_ok() || burst {
            pulse.ended();
            return ended.unwrap_or_default();
        }
        tracing::error!(queue = %settings.queue, "the queue's worker panicked; starting it again, its jobs will be recovered as stalled");
        tokens += TOKENS;
        tokio::time::sleep(RESTART).await;
    }
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
    /// Ends that wait to be written. While the store is away they stay here, no more than were claimed before.
    ended: Vec<Finish>,
    attempts: (mpsc::UnboundedSender<Finish>, mpsc::UnboundedReceiver<Finish>),
    watch: Watch,
    pace: Pace,
    renewals: Renewals,
    looks: Looks,
    pulse: Arc<Pulse>,
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
        pulse: Arc<Pulse>,
    ) -> Self {
        let calls = Calls {
            store: Arc::clone(&surroundings.store),
            observer: Arc::clone(&surroundings.observer),
            clock: Arc::clone(&surroundings.clock),
            queue: settings.queue.clone(),
        };
        let watch = Watch::start(Source {
            store: Arc::clone(&surroundings.store),
            queue: settings.queue.clone(),
            worker_name: settings.worker_name.clone(),
            entropy: surroundings.entropy,
        });
        Self {
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
            pace: Pace::new(settings.poll, Instant::now()),
            renewals: Renewals::of(settings.lock),
            looks: Looks::default(),
            pulse,
            singly: false,
            tokens: 0,
            give_back_until: None,
            deserted: false,
            sum: Ended::default(),
            scene: Arc::new(Scene { surroundings, settings }),
        }
    }

    fn phase(&self) -> Phase {
        if self.deserted { Phase::GiveBack } else { *self.phase.borrow() }
    }

    async fn run(mut self) -> Ended {
        loop {
            if self.pump() {
                return self.leave();
            }
            let timer = self.timer();
            tokio::select! {
                Some(call) = self.in_flight.next() => self.call_ended(call),
                Some(finish) = self.attempts.1.recv() => self.attempt_ended(finish),
                wake = self.watch.ended() => self.woken(wake),
                () = self.renewals.tick() => self.renew(),
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

    // --- what comes next ---

    /// Starts the calls that can be started. True when the work is over.
    fn pump(&mut self) -> bool {
        let (phase, now) = (self.phase(), Instant::now());
        self.tell_busy();
        self.looks.plan(self.held.running() > 0, now);
        self.pulse.runs(self.held.running());
        self.pulse.asks(phase == Phase::Run && self.held.running() < self.slots() && !self.pace.rests(now));
        if self.over(phase) {
            return true;
        }
        if self.pace.holds_off(now) {
            return false;
        }
        if self.renewals.is_due() {
            self.renew();
        }
        while self.finish_is_due() {
            let size = if self.singly { 1 } else { BATCH_MAX };
            let batch = batch::take(&mut self.ended, size);
            let claim = self.claim_request(phase);
            self.claiming += claim.as_ref().map_or(0, |claim| claim.max);
            self.finishes_in_flight += 1;
            self.in_flight.push(self.calls.finish(batch, claim));
        }
        if !self.pace.is_drained()
            && self.claiming == 0
            && let Some(request) = self.claim_request(phase)
        {
            self.claiming += request.max;
            self.in_flight.push(self.calls.claim(request));
        }
        if self.pace.is_drained() && phase == Phase::Run && self.free() > 0 {
            self.watch.begin(self.scene.settings.poll);
        }
        false
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
        let busy = !(self.pace.is_drained() && self.held.is_empty() && self.in_flight.is_empty());
        if let Some(tell) = &mut self.busy {
            tell.set(busy);
        }
    }

    fn slots(&self) -> usize {
        self.scene.settings.concurrency
    }

    /// Slots that neither run an attempt nor are promised to a claim.
    fn free(&self) -> usize {
        self.slots().saturating_sub(self.held.running() + self.claiming)
    }

    fn clock(&self) -> Millis {
        self.scene.surroundings.clock.now()
    }

    /// A wish for as many jobs as have a free slot: a claimed job never waits.
    fn claim_request(&mut self, phase: Phase) -> Option<ClaimRequest> {
        let max = self.free().min(BATCH_MAX);
        if phase != Phase::Run || max == 0 || self.pace.rests(Instant::now()) {
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
            now: self.clock(),
        })
    }

    /// When to look again without being told.
    fn timer(&self) -> Option<Instant> {
        let pace = self.pace.timer(self.free() > 0, Instant::now(), self.clock());
        [pace, self.held.lapse(), self.give_back_until, self.looks.next()].into_iter().flatten().min()
    }

    fn timer_fired(&mut self) {
        let now = Instant::now();
        self.pace.fired(now, self.clock());
        self.lapse(now);
        self.look(now);
    }

    // --- what happened ---

    fn call_ended(&mut self, call: calls::Ended) {
        match call {
            calls::Ended::Claimed { slots, sent, result } => {
                self.claiming -= slots;
                match result {
                    Ok(claim) => self.claimed(claim, slots, sent),
                    Err(error) => self.failed("claim", &error),
                }
            }
            calls::Ended::Finished { finishes, slots, sent, result } => {
                self.claiming -= slots;
                self.finishes_in_flight -= 1;
                match result {
                    Ok(FinishReply { finished, claim }) => {
                        self.singly &= !self.ended.is_empty();
                        for (finish, result) in finishes.into_iter().zip(finished) {
                            self.finished(finish, result);
                        }
                        if slots > 0 {
                            self.claimed(claim, slots, sent);
                        } else {
                            let outage = self.pace.answered(Instant::now());
                            self.back(outage);
                        }
                        self.pulse.answered("finish");
                    }
                    Err(error) => self.finish_failed(finishes, &error),
                }
            }
            calls::Ended::Woke { result } => {
                if let Err(error) = result {
                    self.failed("wake", &error);
                }
            }
            calls::Ended::Looked { result } => self.looked(result),
            calls::Ended::Renewed { locks, sent, result } => self.renewed(locks, sent, result),
        }
    }

    fn claimed(&mut self, claim: Claim, slots: usize, sent: Instant) {
        let now = Instant::now();
        let outage = self.pace.claimed(&claim, slots, now);
        self.pulse.claimed();
        self.back(outage);
        if now - sent > self.scene.settings.lock / 3 {
            self.renewals.hurry();
        }
        let (phase, locked_until) = (self.phase(), sent + self.scene.settings.lock);
        for claimed in claim.jobs {
            self.start(claimed, phase, locked_until);
        }
    }

    /// The store answers again after it had failed for so long.
    fn back(&mut self, outage: Option<Duration>) {
        let Some(outage) = outage else { return };
        let seconds = outage.as_secs_f64();
        tracing::info!(queue = %self.scene.settings.queue, seconds, "the store answers again");
        self.watch.anew();
    }

    fn start(&mut self, claimed: Claimed, phase: Phase, locked_until: Instant) {
        let cancel = CancellationToken::new();
        let io = Arc::new(AttemptIo::default());
        if let Some(before) = self.held.insert(&claimed, cancel.clone(), Arc::clone(&io), locked_until) {
            self.lock_lost(&before, LOST);
        }
        // Everything was told to stop while the claim was under way; or the answer took so long, because this process
        // was stopped or its machine slept, that the job may be somebody else's by now.
        let late = locked_until <= Instant::now();
        if phase == Phase::GiveBack || late {
            self.held.attempt_ended(&claimed.token);
            self.sum.given_back += usize::from(phase == Phase::GiveBack);
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

    fn failed(&mut self, verb: &'static str, error: &StoreError) {
        let queue = &self.scene.settings.queue;
        // A wake-up for somebody else is no work of ours.
        if verb != "wake" {
            self.pulse.failed(verb, error);
        }
        if self.pace.failed(Instant::now(), (self.scene.surroundings.entropy)()) {
            tracing::warn!(%queue, verb, %error, "the store did not answer; trying again");
        } else {
            tracing::debug!(%queue, verb, %error, "the store still does not answer");
        }
    }

    fn woken(&mut self, wake: Result<Wake, StoreError>) {
        // Told by the watch.
        let Ok(wake) = wake else { return self.pace.look() };
        self.pace.woken(wake, self.clock());
        let takes = self.free() > 0 && self.phase() == Phase::Run;
        if !takes && wake == Wake::Now {
            // The slots filled up, or claiming ended, while the watch waited: somebody else may have one free.
            self.in_flight.push(self.calls.wake());
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
            self.pace.look();
        }
    }

    fn leave(mut self) -> Ended {
        self.sum.abandoned += self.held.len();
        self.sum
    }
}
