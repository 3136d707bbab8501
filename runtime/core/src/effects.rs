//! What an attempt asked of the outside and what it was told: written down while it runs, and read back to another run in
//! the place of the outside.
//!
//! A cell reaches the outside through host calls only. A [`Tape`] on its attempt ([`crate::AttemptIo::set_tape`]) either
//! records them ([`Recorder`]) or answers them ([`Player`]); without one nothing is kept and nothing costs. An *effect*
//! is one question and its answer. Questions are told apart by a [`Print`] of everything that was asked, and answered in
//! the order in which the same question was asked before.
//!
//! Whoever records takes secrets out of both first: what is in a [`Recording`] may be kept and shown.

mod answer;
mod player;
mod recorder;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use answer::{Answer, Blob, BlobInfo, End, Fault, Response};
pub use player::{Divergence, Played, Player, Why};
pub use recorder::Recorder;

use crate::clock::Millis;
use crate::receipt::HostCall;

/// What an attempt does with its effects besides having them.
#[derive(Clone)]
pub enum Tape {
    /// They are real and written down.
    Record(Arc<Recorder>),
    /// They are not real: all are answered from a recording, and nothing leaves the cell.
    Play(Arc<Player>),
}

/// What an attempt asked and was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recording {
    /// When it began, by its host's clock.
    pub started_at: Millis,
    /// What all its random numbers came from.
    pub seed: Seed,
    /// In the order in which they were asked.
    pub effects: Vec<Effect>,
    /// What clocks and their like said, in order.
    pub readings: Readings,
    /// Something did not fit into the bound and is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One question to the outside and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Of which capability.
    #[serde(with = "kind")]
    pub kind: HostCall,
    /// For people: the call and what it was about, without secrets and cut.
    pub what: String,
    /// Of everything that was asked.
    pub print: Print,
    /// It changed something outside, or could have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writes: bool,
    /// None when the attempt ended first, or the answer did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// The answer did not fit into the bound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A question, as it is recorded and looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// See [`Effect::kind`].
    pub kind: HostCall,
    /// See [`Effect::what`].
    pub what: String,
    /// See [`Effect::print`].
    pub print: Print,
    /// See [`Effect::writes`].
    pub writes: bool,
}

/// The fingerprint of a question: the beginning of a SHA-256 over all of its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Print(pub [u8; 16]);

/// What the random numbers of an attempt are made from.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

/// A value that changes by itself while an attempt looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// The time of day, in ms since 1970.
    Wall,
    /// Milliseconds since the cell first looked at a clock.
    Steady,
    /// Milliseconds left before the deadline.
    Remaining,
    /// 1 when somebody asked for the job's end.
    Cancelled,
}

/// What was read from each [`Gauge`]: a value and how often in a row it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings([Vec<(u64, u32)>; Gauge::COUNT]);

// === impl Gauge ===

impl Gauge {
    const COUNT: usize = 4;
}

// === impl Readings ===

impl Readings {
    /// Changes of one gauge that are kept. A guest that waits for a clock in a loop sees one a millisecond.
    pub const CHANGES_MAX: usize = 256;

    /// Of this gauge.
    #[must_use]
    pub fn of(&self, gauge: Gauge) -> &[(u64, u32)] {
        &self.0[gauge as usize]
    }

    /// Adds a value; false when there is no room for another change.
    fn add(&mut self, gauge: Gauge, value: u64) -> bool {
        let runs = &mut self.0[gauge as usize];
        let is_full = runs.len() >= Self::CHANGES_MAX;
        match runs.last_mut() {
            Some((last, times)) if *last == value && *times < u32::MAX => *times += 1,
            _ if is_full => return false,
            _ => runs.push((value, 1)),
        }
        true
    }
}

// === impl Recording ===

impl Recording {
    /// As JSON text of at most so many bytes: the last effects are left out where it is longer, and it says so.
    #[must_use]
    pub fn to_json(&self, bytes_max: usize) -> String {
        // Texts, numbers and lists can always be written.
        let text = |recording: &Self| serde_json::to_string(recording).unwrap_or_default();
        let whole = text(self);
        if whole.len() <= bytes_max {
            return whole;
        }
        let mut cut = Self { truncated: true, ..self.clone() };
        loop {
            // Half of what is left at a time: a few steps, whatever the effects' sizes.
            let keep = cut.effects.len() / 2;
            cut.effects.truncate(keep);
            let shorter = text(&cut);
            if shorter.len() <= bytes_max || keep == 0 {
                return shorter;
            }
        }
    }
}

// === impl Seed ===

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is drawn from it may be a key of the handler's.
        f.write_str("Seed")
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&answer::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        answer::array(deserializer).map(Self)
    }
}

impl Serialize for Print {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&answer::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Print {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        answer::array(deserializer).map(Self)
    }
}

/// Kinds of host calls by their names.
mod kind {
    use std::borrow::Cow;

    use serde::de::Error;

    use super::{Deserialize, Deserializer, HostCall, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(kind: &HostCall, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostCall, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        let found = HostCall::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| D::Error::custom(format!("{name:?} is no kind of host call this version knows")))
    }
}

#[cfg(test)]
mod tests;
