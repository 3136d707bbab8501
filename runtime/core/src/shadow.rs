//! A candidate version beside the active one: it is run on copies of live jobs, with every effect answered from what the
//! active version's run recorded ([`crate::effects`]), and how it does is counted.
//!
//! Nothing of a shadow leaves its cell, and nothing of it is waited for: copies are run after the attempt they are copies
//! of, on a thread of their own, a few at a time, and those that are too many are dropped and counted. The live attempt
//! pays for being recorded, and only while there is a shadow that wants it.

mod compare;
mod report;
mod runs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::attempt::Attempt;
use crate::clock::{Clock, Millis};
use crate::effects::Recording;
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::Outcome;
use crate::runner::{Report, Runner};
pub use compare::{difference, is_comparable, results};
pub use report::{EXAMPLES_MAX, ShadowCost, ShadowExample, ShadowReport};
use runs::Copy;

/// How much shadows may take of a host.
#[derive(Debug, Clone, Copy)]
pub struct ShadowBounds {
    /// Copies that wait to be run; more are dropped. Default 32: with what each holds, 32 MiB at most.
    pub pending: usize,
    /// Copies that run at once. Default 2: they are for later, and live jobs for now.
    pub parallel: usize,
    /// Bytes of a recording. Default 1 MiB; a candidate that needs more than was kept diverges.
    pub recording: usize,
}

impl Default for ShadowBounds {
    fn default() -> Self {
        Self { pending: 32, parallel: 2, recording: 1 << 20 }
    }
}

/// The shadows of a host. Cheap to clone.
#[derive(Clone)]
pub struct Shadows(Arc<Inner>);

struct Inner {
    bounds: ShadowBounds,
    clock: Arc<dyn Clock>,
    /// Called on the thread of the copies before its first one: to lower its priority, which is the machine's matter.
    calm: fn(),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Leads to the thread that runs copies; none before the first.
    copies: Option<mpsc::Sender<Box<Copy>>>,
    /// By handler. What nobody shadows with any more vanishes.
    tallies: BTreeMap<String, Weak<Tally>>,
}

/// One candidate beside the active version of its handler. Cheap to clone; the counts are kept until the last clone goes.
#[derive(Clone)]
pub struct Shadow {
    shadows: Shadows,
    candidate: Arc<dyn Runner>,
    percent: u8,
    tally: Arc<Tally>,
}

/// What one candidate has come to.
pub(crate) struct Tally(Mutex<ShadowReport>);

// === impl Tally ===

impl Tally {
    pub(crate) fn report(&self) -> MutexGuard<'_, ShadowReport> {
        // Every change leaves the report whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shadows ===

impl Shadows {
    /// Nothing is started before the first copy comes.
    #[must_use]
    pub fn new(bounds: ShadowBounds, clock: Arc<dyn Clock>, calm: fn()) -> Self {
        Self(Arc::new(Inner { bounds, clock, calm, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this candidate run on copies of so many in a hundred jobs of its handler. `since` says which shadow it is: with
    /// the same candidate and the same time the counts go on, whatever else of the handler changed.
    ///
    /// None when the candidate cannot be kept from reaching the outside ([`Runner::plays`]).
    #[must_use]
    pub fn of(&self, candidate: Arc<dyn Runner>, percent: u8, since: Millis) -> Option<Shadow> {
        if !candidate.plays() {
            return None;
        }
        let version = version(&*candidate);
        let mut state = self.state();
        state.tallies.retain(|_, tally| tally.strong_count() > 0);
        let same = state.tallies.get(candidate.handler()).and_then(Weak::upgrade).filter(|tally| {
            let report = tally.report();
            report.candidate == version && report.since == since
        });
        let tally = same.unwrap_or_else(|| {
            let report = ShadowReport { candidate: version, since, ..ShadowReport::default() };
            Arc::new(Tally(Mutex::new(report)))
        });
        state.tallies.insert(candidate.handler().to_owned(), Arc::downgrade(&tally));
        drop(state);
        let percent = percent.min(100);
        tally.report().percent = percent;
        Some(Shadow { shadows: self.clone(), candidate, percent, tally })
    }

    /// What the shadow of this handler has come to on this host; none when there is none.
    #[must_use]
    pub fn report(&self, handler: &str) -> Option<ShadowReport> {
        let tally = self.state().tallies.get(handler).and_then(Weak::upgrade)?;
        let report = tally.report().clone();
        Some(report)
    }

    fn offer(&self, copy: Box<Copy>) {
        let copies = {
            let mut state = self.state();
            match state.copies.clone().filter(|copies| !copies.is_closed()) {
                Some(copies) => Some(copies),
                None => {
                    state.copies = runs::start(self.0.bounds, Arc::clone(&self.0.clock), self.0.calm);
                    state.copies.clone()
                }
            }
        };
        let refused = match copies.map(|copies| copies.try_send(copy)) {
            Some(Ok(())) | None => None,
            Some(Err(TrySendError::Full(copy) | TrySendError::Closed(copy))) => Some(copy),
        };
        if let Some(copy) = refused {
            copy.tally.report().dropped += 1;
        }
    }
}

// === impl Shadow ===

impl Shadow {
    /// Whether a copy of this job is run: the same jobs each time, whoever asks.
    #[must_use]
    pub fn takes(&self, queue: &QueueName, job: &Job) -> bool {
        share(queue, job.id.as_str()) < u64::from(self.percent)
    }

    /// Bytes that a recording for it may have.
    #[must_use]
    pub fn recording_max(&self) -> usize {
        self.shadows.0.bounds.recording
    }

    /// Hands in a copy of an attempt that has ended: what it was given, what it asked and was told, and how it ended on the
    /// active version. Returns at once.
    pub fn offer(&self, active: &dyn Runner, attempt: &Attempt, recording: Arc<Recording>, report: &Report) {
        // Given back because it broke on a version that may be to blame, say: what became of the job is not how it ran.
        let is_given_back =
            report.receipt.stopped_by.is_some() && !matches!(report.outcome, Outcome::Stopped(_));
        if is_given_back || !is_comparable(&report.outcome) {
            return;
        }
        self.shadows.offer(Box::new(Copy {
            tally: Arc::clone(&self.tally),
            candidate: Arc::clone(&self.candidate),
            active: version(active),
            queue: attempt.queue.clone(),
            job: Arc::clone(&attempt.job),
            deadline_at: attempt.deadline_at,
            recording,
            outcome: report.outcome.clone(),
            receipt: report.receipt.clone(),
        }));
    }

    /// The longest that one copy may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.candidate.deadline()
    }
}

/// The whole digest where there is one.
fn version(runner: &dyn Runner) -> String {
    runner.digest().unwrap_or_else(|| runner.version()).to_owned()
}

/// A job's place between 0 and 99: spread evenly, and the same on every host.
fn share(queue: &QueueName, id: &str) -> u64 {
    // FNV-1a, and the last step of a better one, because ids are often consecutive numbers.
    let bytes = queue.as_str().bytes().chain([0]).chain(id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) % 100
}

#[cfg(test)]
mod tests;
