//! Where guests are let loose: one bout is one guest under one profile, from admission to what is left of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::{Attempt, AttemptIo, Clock, Job, JobId, QueueName, Runner, Store, SystemClock};
use jobcell_wasm::{
    AdmitOptions, Admitted, Engine, Grants, HandlerRunner, HandlerSpec, Limits, Tier, WasmError,
};
use serde::Serialize;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{Guest, Holds, catalogue};
use crate::judge::{self, End, Findings, Left, Seen, Verdict};
use crate::profile::{self, Profile};
use crate::receivers::Receivers;
use crate::services::{self, Memory};
use crate::vitals::Vitals;

/// Where guests are let loose. One bout at a time: what is left of it is counted in the whole process.
pub struct Arena {
    engine: Engine,
    store: Option<Arc<dyn Store>>,
    receivers: Receivers,
    /// What the blob stores hold: nothing of anybody's.
    files: TempDir,
    memory: Arc<Memory>,
    neighbour: Admitted,
    /// Every grant there is.
    grants: Grants,
    grace: Duration,
    admission_max: Duration,
}

/// Why the arena cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A temporary folder cannot be made.
    #[error(
        "a temporary folder for the attacked blob stores cannot be made: {0}; set TMPDIR to one that can be written"
    )]
    Files(#[source] io::Error),
    /// The listeners do not start.
    #[error("the listeners that guests must not reach do not start: {0}")]
    Receivers(#[source] io::Error),
    /// The grants of everything are not grants.
    #[error("the grants of everything are refused: {0}")]
    Grants(#[source] serde_json::Error),
    /// The well-behaved neighbour is refused.
    #[error("the well-behaved guest is refused: {0}")]
    Neighbour(String),
    /// A profile asks for what the engine has not.
    #[error(transparent)]
    Wasm(#[from] WasmError),
}

/// What came of one guest under one profile.
#[derive(Debug, Clone, Serialize)]
pub struct Bout {
    /// The class of attack.
    pub row: &'static str,
    /// The guest.
    pub guest: &'static str,
    /// The profile.
    pub profile: String,
    /// What its code was made by: `baseline` or `optimised`. None where it was refused.
    pub code: Option<&'static str>,
    /// Whether the host held.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How it ended: `refused`, `completed`, `failed`, or the bound that stopped it.
    pub end: &'static str,
    /// In a sentence.
    pub reason: String,
    /// Milliseconds from the bytes to a component, or its refusal.
    pub admission_ms: u64,
    /// Milliseconds the longest of its attempts took.
    pub took_ms: u64,
    /// Milliseconds beyond the deadline, where one was reached.
    pub late_ms: Option<u64>,
    /// The longest that other work of this process waited for its turn, in milliseconds.
    pub pause_ms: u64,
    /// Well-behaved attempts that ran to their end meanwhile.
    pub neighbours: usize,
    /// What the process held before.
    pub before: Vitals,
    /// What it held afterwards, with the peak of the bout.
    pub after: Vitals,
}

/// No bout takes longer than its deadline and this: a host that does not end a guest at all must not hang its test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts of the neighbour in a bout, at least.
const NEIGHBOURS_MIN: usize = 3;
/// Bytes that a neighbour may have; it takes half a megabyte.
const NEIGHBOUR_MEMORY: usize = 1 << 20;
/// The guest that neighbours are: it also looks for what others left.
const NEIGHBOUR: &str = "canaries";

impl Arena {
    /// Opens the listeners and admits the neighbour. `grace` is how long after its deadline an attempt may end, and
    /// `admission_max` how long admission may take. `store` takes the jobs that guests enqueue; it must be nobody's.
    ///
    /// # Errors
    /// When loopback has no port, or the engine admits not even a harmless guest.
    pub async fn open(
        engine: Engine,
        store: Option<Arc<dyn Store>>,
        grace: Duration,
        admission_max: Duration,
    ) -> Result<Self, ArenaError> {
        let files = tempfile::tempdir().map_err(ArenaError::Files)?;
        let receivers = Receivers::start().await.map_err(ArenaError::Receivers)?;
        let grants = profile::grants(&receivers.addresses).map_err(ArenaError::Grants)?;
        let guests = catalogue();
        let neighbour = guests
            .iter()
            .find(|guest| guest.name == NEIGHBOUR)
            .ok_or_else(|| ArenaError::Neighbour(format!("there is no guest {NEIGHBOUR:?}")))?;
        let options = AdmitOptions::new(NEIGHBOUR, Grants::default());
        let neighbour = engine.admit(neighbour.wasm.bytes().into_owned(), options).await;
        let neighbour = neighbour.map_err(|fault| ArenaError::Neighbour(fault.to_string()))?;
        Ok(Self {
            engine,
            store,
            receivers,
            files,
            memory: Arc::default(),
            neighbour,
            grants,
            grace,
            admission_max,
        })
    }

    /// The profile with these limits and every grant there is.
    #[must_use]
    pub fn everything(&self, name: &str, limits: Limits) -> Profile {
        Profile { name: name.to_owned(), limits, grants: self.grants.clone(), baseline: false }
    }

    /// Lets one guest loose under one profile, and judges.
    ///
    /// # Errors
    /// When the profile asks for what the engine has not.
    pub async fn bout(&self, guest: &Guest, profile: &Profile) -> Result<Bout, ArenaError> {
        self.forget().await;
        Vitals::forget_peak();
        let before = Vitals::now();
        let started = Instant::now();
        let Profile { name, limits, grants, baseline } = profile;
        let (stack, baseline) = (limits.stack, *baseline);
        let options = AdmitOptions { stack, baseline, ..AdmitOptions::new(name, grants.clone()) };
        let admitted = self.engine.admit(guest.wasm.bytes().into_owned(), options).await;
        let admission = started.elapsed();
        let mut bout = Bout {
            row: guest.row,
            guest: guest.name,
            profile: profile.name.clone(),
            code: admitted.as_ref().ok().map(|admitted| code(admitted.tier())),
            verdict: Verdict::Held,
            end: "",
            reason: String::new(),
            admission_ms: ms(admission),
            took_ms: 0,
            late_ms: None,
            pause_ms: 0,
            neighbours: 0,
            before,
            after: before,
        };
        let late = admission.checked_sub(self.admission_max).filter(|late| !late.is_zero());
        let mut findings =
            Findings { faults: judge::faults_of_time(late, self.grace), ..Findings::default() };
        match admitted {
            Err(error) => {
                let end = End::refused(&error);
                bout.reason = error.to_string();
                if error.is_transient() {
                    findings.fault(format!("its admission broke off: {}", bout.reason));
                }
                end.judge(guest, profile, &bout.reason, &mut findings);
                bout.end = end.label();
            }
            Ok(admitted) => self.fight(guest, profile, &admitted, &mut bout, &mut findings).await?,
        }
        bout.after = Vitals::now();
        bout.verdict = findings.verdict();
        Ok(bout)
    }

    async fn fight(
        &self,
        guest: &Guest,
        profile: &Profile,
        admitted: &Admitted,
        bout: &mut Bout,
        findings: &mut Findings,
    ) -> Result<(), ArenaError> {
        let Profile { name, limits, grants, baseline: _ } = profile;
        let services = services::services(&self.memory, self.store.clone(), self.files.path(), grants)?;
        let spec = HandlerSpec { name: name.clone(), limits: limits.clone(), grants: grants.clone() };
        let runner = HandlerRunner::new(&self.engine, admitted, spec, services)?;
        let over = CancellationToken::new();
        let pulse = AbortOnDropHandle::new(tokio::spawn(longest_pause(over.clone())));
        let neighbours = AbortOnDropHandle::new(tokio::spawn(neighbours(self.neighbour()?, over.clone())));

        let payload = guest.payload.bytes(&self.receivers.addresses);
        let mut attempts = JoinSet::new();
        for n in 0..guest.at_once {
            let ended = (guest.holds == Holds::AnyWait).then_some(Ending::nth(n));
            attempts.spawn(attempt(runner.clone(), payload.clone(), limits.deadline, ended));
        }
        drop(runner);
        let mut longest = Duration::ZERO;
        while let Some(joined) = attempts.join_next().await {
            let (took, left) = match joined {
                Ok(Some(ended)) => ended,
                Ok(None) => {
                    findings.fault(format!("it had not ended {PATIENCE:?} after its deadline"));
                    continue;
                }
                Err(panic) => {
                    findings.fault(format!("the runner panicked: {panic}"));
                    continue;
                }
            };
            longest = longest.max(took);
            let end = End::of(&left.outcome);
            let reason = judge::reason(&left.outcome);
            end.judge(guest, profile, &reason, findings);
            judge::faults_of_attempt(&left, profile).into_iter().for_each(|fault| findings.fault(fault));
            (bout.end, bout.reason) = (end.label(), short(reason));
        }
        over.cancel();
        let late = longest.checked_sub(limits.deadline);
        findings.faults.extend(judge::faults_of_time(late, self.grace));
        (bout.took_ms, bout.late_ms) = (ms(longest), late.map(ms));
        bout.pause_ms = pulse.await.map(ms).unwrap_or_default();
        let (completed, broken) = neighbours.await.unwrap_or_else(|panic| (0, vec![panic.to_string()]));
        bout.neighbours = completed;
        let seen = Seen { neighbours: broken, ..self.look().await };
        findings.faults.extend(judge::faults_around(&seen, guest, profile));
        Ok(())
    }

    fn neighbour(&self) -> Result<HandlerRunner, WasmError> {
        // Little, so that it also fits into an engine for small cells.
        let limits = Limits { memory: NEIGHBOUR_MEMORY, table_elements: 4000, ..Limits::default() };
        let spec = HandlerSpec { name: NEIGHBOUR.to_owned(), limits, ..HandlerSpec::default() };
        let services = services::services(&self.memory, None, self.files.path(), &spec.grants)?;
        HandlerRunner::new(&self.engine, &self.neighbour, spec, services)
    }

    /// What a bout left around it.
    async fn look(&self) -> Seen {
        let mut queued = Vec::new();
        if let Some(store) = &self.store {
            for queue in store.queues().await.unwrap_or_default() {
                if let Ok(counts) = store.counts(&queue).await {
                    let jobs = counts.0.values().sum();
                    queued.push((queue.to_string(), jobs));
                }
            }
        }
        // The last cell is given back a moment after its attempt has ended.
        for _ in 0..200 {
            if self.engine.cells_active() == 0 {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        Seen {
            reached: self.receivers.take(),
            keys: self.memory.take_keys(),
            denied_labels: self.memory.take_denied(),
            queued,
            neighbours: Vec::new(),
            cells_left: self.engine.cells_active(),
        }
    }

    /// Begins anew: nothing of the last bout is counted in the next.
    async fn forget(&self) {
        let _ = self.look().await;
        if let Some(store) = &self.store {
            for queue in store.queues().await.unwrap_or_default() {
                // Its jobs would be counted again.
                let _ = store.drain(&queue, true).await;
            }
        }
    }
}

/// As it is told.
fn code(tier: Tier) -> &'static str {
    match tier {
        Tier::Baseline => "baseline",
        Tier::Optimised => "optimised",
    }
}

/// How a bout ends an attempt before its time.
#[derive(Clone, Copy)]
enum Ending {
    Cancelled(Duration),
    Dropped(Duration),
}

impl Ending {
    /// A little later for each, so that together they hit every wait.
    fn nth(n: u32) -> Self {
        let after = Duration::from_micros(u64::from(n) * 337 % 5000);
        if n.is_multiple_of(3) { Self::Dropped(after) } else { Self::Cancelled(after) }
    }
}

/// One attempt and how long it took; none when it did not end. Its deadline is the one that is attacked on either code, also
/// where the runner would give it more.
async fn attempt(
    runner: HandlerRunner,
    payload: Vec<u8>,
    deadline: Duration,
    ending: Option<Ending>,
) -> Option<(Duration, Left)> {
    let limits = runner.log_limits();
    let io = AttemptIo::new(limits);
    let now = SystemClock.now();
    let attempt = Attempt {
        queue: QueueName::new("attacked").ok()?,
        job: Arc::new(Job::new(JobId::new("1").ok()?, "attack", payload)),
        deadline: Instant::now() + deadline,
        deadline_at: now + ms(deadline),
        cancel: CancellationToken::new(),
        io: Arc::clone(&io),
    };
    let started = Instant::now();
    let cancel = attempt.cancel.clone();
    let running = runner.run(attempt);
    let report = match ending {
        None => timeout(deadline + PATIENCE, running).await.ok()?,
        Some(Ending::Cancelled(after)) => {
            let timer = async {
                sleep(after).await;
                cancel.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                report = timeout(deadline + PATIENCE, running) => report.ok()?,
                () = timer => return None,
            }
        }
        Some(Ending::Dropped(after)) => match timeout(after, running).await {
            Ok(report) => report,
            // Its future is gone, and with it the cell; there is no outcome to judge.
            Err(_) => {
                let outcome = jobcell_core::Outcome::stopped(jobcell_core::StopCause::Cancelled, "dropped");
                let left = Left { outcome, recorded: io.take(), memory_peak: 0 };
                return Some((started.elapsed(), left));
            }
        },
    };
    let took = started.elapsed();
    let memory_peak = report.receipt.memory_peak_bytes;
    Some((took, Left { outcome: report.outcome, recorded: io.take(), memory_peak }))
}

/// Runs well-behaved attempts one after the other until the bout is over. How many completed, and what others said.
async fn neighbours(runner: HandlerRunner, over: CancellationToken) -> (usize, Vec<String>) {
    let (mut completed, mut broken) = (0, Vec::new());
    while completed < NEIGHBOURS_MIN || !over.is_cancelled() {
        match attempt(runner.clone(), b"{}".to_vec(), runner.deadline(), None).await {
            Some((_, left)) if End::of(&left.outcome) == End::Completed => completed += 1,
            Some((_, left)) => broken.push(judge::reason(&left.outcome)),
            None => broken.push("it did not end".to_owned()),
        }
        if broken.len() > NEIGHBOURS_MIN {
            break;
        }
        sleep(Duration::from_millis(2)).await;
    }
    (completed, broken)
}

/// The longest that a task which wants to run every five milliseconds had to wait beyond that.
async fn longest_pause(over: CancellationToken) -> Duration {
    const BEAT: Duration = Duration::from_millis(5);
    let mut longest = Duration::ZERO;
    while !over.is_cancelled() {
        let before = Instant::now();
        sleep(BEAT).await;
        longest = longest.max(before.elapsed().saturating_sub(BEAT));
    }
    longest
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Enough of a reason for a report.
fn short(mut reason: String) -> String {
    if let Some(end) = (0..=500).rev().find(|at| reason.is_char_boundary(*at)) {
        reason.truncate(end);
    }
    reason
}
