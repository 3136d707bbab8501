//! Answers effects from a recording.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Answer, Gauge, Print, Readings, Recording, Request, Seed};
use crate::receipt::HostCall;

/// Divergences that are kept; of more only the number is.
const DIVERGENCES_MAX: usize = 8;
/// Effects left out that are named.
const LEFT_OUT_MAX: usize = 8;

/// Answers the effects of one attempt from the recording of another one.
pub struct Player {
    recording: Arc<Recording>,
    has_begun: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The effects not asked for yet, by question.
    open: HashMap<(HostCall, Print), VecDeque<usize>>,
    divergences: Vec<Divergence>,
    diverged: u64,
    gauges: [Position; Gauge::COUNT],
}

/// How far the readings of a gauge were read.
#[derive(Clone, Copy, Default)]
struct Position {
    run: usize,
    times: u32,
    /// The last recorded value, and what the real gauge said then.
    last: Option<(u64, u64)>,
}

/// Something was asked that the recording has no answer for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    /// What was asked, for people.
    pub what: String,
    /// Why there is no answer.
    pub why: Why,
}

/// Why a recording has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The recorded attempt did not ask that, or not as often.
    NotRecorded,
    /// The recording was truncated, and the answer may be in what is missing.
    Truncated,
    /// The recorded attempt asked it and ended before the answer came, or did not read all of it.
    Unanswered,
    /// The answer is of a form that this version does not understand.
    Unreadable,
}

/// How a recording was used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Played {
    /// The first questions without an answer.
    pub divergences: Vec<Divergence>,
    /// How many there were.
    pub diverged: u64,
    /// What the recorded attempt changed outside and this one did not ask for: the first ones.
    pub left_out: Vec<String>,
    /// How many there are.
    pub left_out_total: u64,
}

// === impl Player ===

impl Player {
    /// From the recording's first effect on.
    #[must_use]
    pub fn new(recording: Arc<Recording>) -> Self {
        let mut open: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (place, effect) in recording.effects.iter().enumerate() {
            open.entry((effect.kind, effect.print)).or_default().push_back(place);
        }
        let state = Mutex::new(State { open, ..State::default() });
        Self { recording, has_begun: AtomicBool::new(false), state }
    }

    /// What the attempt's random numbers are to be made from: those of the recorded one.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.recording.seed
    }

    /// Notes that the attempt got a place to run in.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// Whether it did: else its outcome is not its handler's.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to this question.
    ///
    /// # Errors
    /// Why there is none; it is noted as a divergence.
    pub fn answer(&self, request: &Request) -> Result<Answer, Divergence> {
        self.find(request).map_err(|why| self.diverge(&request.what, why))
    }

    /// The answer where the recording has one; where it has none that is no divergence.
    #[must_use]
    pub fn answer_if_recorded(&self, request: &Request) -> Option<Answer> {
        self.find(request).ok()
    }

    fn find(&self, request: &Request) -> Result<Answer, Why> {
        let place = self.state().open.get_mut(&(request.kind, request.print)).and_then(VecDeque::pop_front);
        let missing = if self.recording.truncated { Why::Truncated } else { Why::NotRecorded };
        let effect = place.and_then(|place| self.recording.effects.get(place)).ok_or(missing)?;
        match &effect.answer {
            Some(answer) => Ok(answer.clone()),
            None if effect.cut => Err(Why::Truncated),
            None => Err(Why::Unanswered),
        }
    }

    /// Notes that something had no answer.
    pub fn diverge(&self, what: &str, why: Why) -> Divergence {
        let divergence = Divergence { what: what.to_owned(), why };
        let mut state = self.state();
        state.diverged += 1;
        if state.divergences.len() < DIVERGENCES_MAX {
            state.divergences.push(divergence.clone());
        }
        divergence
    }

    /// What a gauge says: the recorded values in their order, and after the last one what the real gauge (`now`) has moved
    /// by since. Looking more often than the recorded attempt did is no divergence: clocks are looked at by libraries.
    pub fn read(&self, gauge: Gauge, now: u64) -> u64 {
        let mut state = self.state();
        let position = &mut state.gauges[gauge as usize];
        let runs = self.recording.readings.of(gauge);
        if let Some((value, times)) = runs.get(position.run) {
            position.times += 1;
            if position.times >= *times {
                (position.run, position.times) = (position.run + 1, 0);
            }
            position.last = Some((*value, now));
            return *value;
        }
        let first = match gauge {
            Gauge::Wall => self.recording.started_at,
            Gauge::Steady | Gauge::Remaining | Gauge::Cancelled => now,
        };
        let (value, then) = *position.last.get_or_insert((first, now));
        let was_cut = position.run == Readings::CHANGES_MAX;
        if was_cut {
            // Only once.
            position.run += 1;
        }
        drop(state);
        if was_cut && self.recording.truncated {
            self.diverge("a clock", Why::Truncated);
        }
        match gauge {
            Gauge::Wall | Gauge::Steady => value.saturating_add(now.saturating_sub(then)),
            Gauge::Remaining => value.saturating_sub(then.saturating_sub(now)),
            Gauge::Cancelled => value,
        }
    }

    /// How the recording was used so far.
    #[must_use]
    pub fn played(&self) -> Played {
        let state = self.state();
        let mut left: Vec<usize> = state.open.values().flatten().copied().collect();
        left.sort_unstable();
        let left = left.into_iter().filter_map(|place| self.recording.effects.get(place));
        let left: Vec<_> = left.filter(|effect| effect.writes).collect();
        Played {
            divergences: state.divergences.clone(),
            diverged: state.diverged,
            left_out: left.iter().take(LEFT_OUT_MAX).map(|effect| effect.what.clone()).collect(),
            left_out_total: left.len() as u64,
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, why } = self;
        match why {
            Why::NotRecorded => write!(f, "{what}: the recorded attempt did not ask this"),
            Why::Truncated => write!(f, "{what}: recording truncated"),
            Why::Unanswered => write!(f, "{what}: the recorded attempt did not have all of this answer"),
            Why::Unreadable => {
                write!(f, "{what}: the recorded answer is of a form this version does not know")
            }
        }
    }
}
