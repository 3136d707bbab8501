//! Which of the engine's two compilers made the code that a cell runs.

use super::settings::EngineConfig;

/// How far the code of a handler is optimised. Both kinds do the same; every limit holds for both, three of them wider for the
/// baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Made in one pass: there about six times as soon, and slower where a guest computes. Making a picture smaller took half
    /// as long again.
    Baseline,
    /// What stays.
    Optimised,
}

/// How many times the processor time, the stack and the deadline of a guest are there for it on baseline code. What keeps to
/// its limits on optimised code is not to break them for having been early: such code computes for longer, and keeps in its
/// frames what optimised code has in registers. A function of little but a call to itself takes twice the stack.
const BASELINE_ALLOWANCE: u32 = 4;

/// What a compiler process is told.
const BASELINE: &str = "baseline";
const OPTIMISED: &str = "optimised";

// === impl Tier ===

impl Tier {
    /// The baseline tier, where it is wanted and this machine has it. Upstream vouches for its baseline compiler on x86-64
    /// (tier 1 in wasmtime's "Tiers of Support"); on other processors it is newer than that.
    pub(super) fn baseline(config: &EngineConfig) -> Option<Self> {
        (config.baseline && cfg!(all(target_arch = "x86_64", target_os = "linux"))).then_some(Self::Baseline)
    }

    /// How many times a guest's processor time, stack and deadline are there for it.
    pub(crate) fn allowance(self) -> u32 {
        match self {
            Self::Baseline => BASELINE_ALLOWANCE,
            Self::Optimised => 1,
        }
    }

    /// In a word, for the compiler process.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Baseline => BASELINE,
            Self::Optimised => OPTIMISED,
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        [Self::Baseline, Self::Optimised].into_iter().find(|tier| tier.word() == word)
    }
}
