//! A version that takes a share of the jobs: which ones, and when it has shown enough.
//!
//! The judgement compares the canary with the active version over the same window, on counts of all hosts. It is made of
//! three questions, each put so that a few unlucky jobs cannot answer it:
//!
//! - *Does it fail more often?* The difference of two ratios has an interval around it that is wide while jobs are few
//!   (Newcombe's, made of two of Wilson's, which hold for small numbers and for ratios near 0 and 1). Only a difference
//!   that exceeds what is tolerated even at the interval's lower end rolls back.
//! - *Does it trap more often?* The same, of traps alone: a failure that a handler reports can be the job's, a trap is
//!   the handler's own.
//! - *Is it slower?* At most one in twenty jobs of the active version takes longer than its 95th percentile. If surely
//!   more than that of the canary's take longer than so many times it, the canary is slower, whatever its distribution.
//!
//! Whoever is not worse by then is promoted when its time is over.

mod judge;
mod window;

use jobcell_core::Millis;
use serde::{Deserialize, Serialize};

pub use judge::{Verdict, judge};
pub use window::Window;

use crate::digest::Digest;

/// A version that takes a share of the jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The version.
    pub digest: Digest,
    /// Of a hundred jobs, 1 to 100.
    pub percent: u8,
    /// Since when.
    pub since: Millis,
    /// Who began it.
    pub by: String,
    /// When it is promoted or rolled back.
    pub rules: CanaryRules,
    /// Which jobs: another one for each canary, so that it is not always the same tenant's that go first.
    pub seed: u64,
}

/// When a canary is promoted or rolled back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryRules {
    /// How far back jobs are looked at, in milliseconds. Long enough for `min_jobs` of the canary's share; short enough
    /// that the hour before does not excuse what happens now.
    pub window_ms: u64,
    /// Jobs of the canary before anything is decided. Too few and luck decides; too many and a quiet queue's canary
    /// stays for days.
    pub min_jobs: u64,
    /// By how much more of its jobs may fail, or trap, than of the active version's: 0.02 is two in a hundred.
    pub max_failures_over: f64,
    /// How many times the active version's 95th percentile its jobs may take.
    pub max_latency: f64,
    /// After so many milliseconds it is promoted, when it is not worse. None leaves that to people.
    pub promote_after_ms: Option<u64>,
}

/// Rules that decide nothing sensible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the canary's {rule} is {found}; give {fix}")]
pub struct RuleError {
    /// The rule.
    pub rule: &'static str,
    /// What it says.
    pub found: String,
    /// What it can say.
    pub fix: &'static str,
}

impl Default for CanaryRules {
    /// Over ten minutes and from twenty jobs on; two more failures in a hundred and half again the time are tolerated; a
    /// person promotes.
    fn default() -> Self {
        Self {
            window_ms: 600_000,
            min_jobs: 20,
            max_failures_over: 0.02,
            max_latency: 1.5,
            promote_after_ms: None,
        }
    }
}

impl CanaryRules {
    /// Says which rule decides nothing sensible.
    ///
    /// # Errors
    /// The first such rule.
    pub fn check(&self) -> Result<(), RuleError> {
        let Self { window_ms, min_jobs, max_failures_over, max_latency, promote_after_ms } = self;
        let fault = |rule, found: &dyn ToString, fix| Err(RuleError { rule, found: found.to_string(), fix });
        if !(1_000..=86_400_000).contains(window_ms) {
            return fault("window", &format_args!("{window_ms} ms").to_string(), "1 second to 1 day");
        }
        if *min_jobs == 0 {
            return fault("min-jobs", min_jobs, "at least 1");
        }
        if !(0.0..=1.0).contains(max_failures_over) {
            return fault("max-failures-over", max_failures_over, "a ratio of 0 to 1, such as 0.02");
        }
        if !(1.0..=1_000.0).contains(max_latency) {
            return fault("max-latency", max_latency, "a factor of 1 to 1000, such as 1.5");
        }
        if *promote_after_ms == Some(0) {
            return fault("promote-after", &"0", "a time, or activate the version at once");
        }
        Ok(())
    }
}

/// Parts of ten thousand: shares of jobs are exact to a hundredth of a percent.
const PARTS: u64 = 10_000;

/// Whether the canary takes this job. The same on every host and for every attempt, whatever runs beside it: it hangs on
/// the job's id and on the canary alone.
#[must_use]
pub fn picks(canary: &Canary, queue: &str, job_id: &str) -> bool {
    let Canary { digest, percent, seed, since: _, by: _, rules: _ } = canary;
    let mut hash = Fnv::new();
    hash.write(&seed.to_le_bytes());
    hash.write(digest.as_bytes());
    // Lengths stand between, so that no two pairs of names are one text.
    hash.write(&(queue.len() as u64).to_le_bytes());
    hash.write(queue.as_bytes());
    hash.write(job_id.as_bytes());
    hash.spread() % PARTS < u64::from(*percent) * (PARTS / 100)
}

/// FNV-1a. Spelled out here because every host, of every release, has to come to the same number.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Ids that count up differ in their last digits only, which FNV leaves in the low bits: this spreads them
    /// (splitmix64's finish).
    fn spread(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The seed of a canary: another one whenever it begins anew.
pub(crate) fn seed(digest: &Digest, now: Millis) -> u64 {
    let mut hash = Fnv::new();
    hash.write(digest.as_bytes());
    hash.write(&now.to_le_bytes());
    hash.spread()
}

#[cfg(test)]
mod tests;
