//! Writes effects down while an attempt runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Answer, Effect, Gauge, Recording, Request, Seed};
use crate::clock::Millis;

/// Bytes that an effect takes besides its texts and its answer.
const EFFECT_BYTES: usize = 96;

/// Writes down what one attempt asks and is told, up to a bound.
///
/// What does not fit is left out, and the recording says so; the attempt itself never notices.
#[derive(Debug)]
pub struct Recorder {
    seed: Seed,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recording: Recording,
    /// Bytes that are left.
    room: usize,
    /// The recording was taken; what is told now comes too late.
    is_over: bool,
}

impl Recorder {
    /// For an attempt that begins now. `bytes_max` bounds what is kept; `seed` is what its random numbers are made from,
    /// and must be as hard to guess as they have to be.
    #[must_use]
    pub fn new(bytes_max: usize, started_at: Millis, seed: [u8; 32]) -> Self {
        let seed = Seed(seed);
        let recording = Recording { started_at, seed, ..Recording::default() };
        Self { seed, state: Mutex::new(State { recording, room: bytes_max, is_over: false }) }
    }

    /// What the attempt's random numbers are to be made from.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is asked, before it is: an attempt may end while it waits. Returns the place for the answer;
    /// none when there is no room.
    pub fn asked(&self, request: Request) -> Option<usize> {
        let mut state = self.state();
        let Request { kind, what, print, writes } = request;
        let Some(room) = state.room.checked_sub(EFFECT_BYTES + what.len()).filter(|_| !state.is_over) else {
            state.recording.truncated = true;
            return None;
        };
        state.room = room;
        state.recording.effects.push(Effect { kind, what, print, writes, answer: None, cut: false });
        Some(state.recording.effects.len() - 1)
    }

    /// Notes the answer, in place of an earlier one where that has become more: a response whose body was read.
    /// `reserved` are the bytes of it that were [reserved](Self::reserve) and are given back.
    pub fn told(&self, place: usize, answer: Answer, reserved: usize) {
        let mut state = self.state();
        let State { recording, room, is_over } = &mut *state;
        let Some(effect) = recording.effects.get_mut(place).filter(|_| !*is_over) else { return };
        let before = effect.answer.as_ref().map_or(0, Answer::size);
        let left = room.saturating_add(reserved).saturating_add(before);
        match left.checked_sub(answer.size()) {
            Some(left) => {
                *room = left;
                effect.answer = Some(answer);
            }
            None => {
                *room = left;
                (effect.answer, effect.cut) = (None, true);
                recording.truncated = true;
            }
        }
    }

    /// Takes room for a part of an answer that is still coming; false when there is none.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let left = state.room.checked_sub(bytes).filter(|_| !state.is_over);
        match left {
            Some(left) => state.room = left,
            None => state.recording.truncated = true,
        }
        left.is_some()
    }

    /// Notes what a gauge said, and returns it.
    pub fn read(&self, gauge: Gauge, value: u64) -> u64 {
        let mut state = self.state();
        if !state.is_over && !state.recording.readings.add(gauge, value) {
            state.recording.truncated = true;
        }
        value
    }

    /// What was written down; what comes after is left out.
    #[must_use]
    pub fn finish(&self) -> Recording {
        let mut state = self.state();
        state.is_over = true;
        std::mem::take(&mut state.recording)
    }
}
