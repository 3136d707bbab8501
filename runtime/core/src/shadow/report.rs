//! What the shadow runs of a candidate came to.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::receipt::Receipt;

/// Examples that a report keeps: the newest.
pub const EXAMPLES_MAX: usize = 10;
/// Bytes of an example's text.
const WHAT_BYTES_MAX: usize = 300;

/// What the shadow runs of one candidate came to, on one host or on several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowReport {
    /// The candidate's version.
    pub candidate: String,
    /// The active version it was last compared with.
    pub active: String,
    /// Of how many jobs in a hundred a copy is run.
    pub percent: u8,
    /// Since when.
    pub since: Millis,
    /// Runs that were compared: `agreed`, `disagreed` and `diverged` together.
    pub runs: u64,
    /// Runs that ended like the active version's and changed the same outside.
    pub agreed: u64,
    /// Runs that ended otherwise, or left out what the active version did.
    pub disagreed: u64,
    /// Runs that asked the outside for something the active version did not; their ends say nothing.
    pub diverged: u64,
    /// Copies that were not run: the host was busy, or had too many of them.
    pub dropped: u64,
    /// What the compared runs cost the active version.
    pub active_cost: ShadowCost,
    /// What they cost the candidate. It waits for nobody, so only computing and memory compare.
    pub candidate_cost: ShadowCost,
    /// The newest runs that did not agree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<ShadowExample>,
}

/// What several runs cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowCost {
    /// Microseconds of computing, all together.
    pub cpu_us: u64,
    /// Microseconds from start to end, all together.
    pub wall_us: u64,
    /// Bytes at the peak of each run, all together.
    pub memory_bytes: u64,
    /// The highest of these peaks.
    pub memory_peak_bytes: u64,
}

/// A run that did not agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowExample {
    /// When.
    pub at: Millis,
    /// The job's queue.
    pub queue: String,
    /// The job.
    pub job: String,
    /// It diverged; else it disagreed.
    pub diverged: bool,
    /// What differed. Names places in results, never their content.
    pub what: String,
}

// === impl ShadowReport ===

impl ShadowReport {
    /// Adds an example and forgets the oldest beyond [`EXAMPLES_MAX`].
    pub fn keep(&mut self, mut example: ShadowExample) {
        example.what.truncate(example.what.floor_char_boundary(WHAT_BYTES_MAX));
        self.examples.push(example);
        let beyond = self.examples.len().saturating_sub(EXAMPLES_MAX);
        self.examples.drain(..beyond);
    }

    /// Adds what another host reports of the same candidate.
    pub fn merge(&mut self, other: &Self) {
        let Self { runs, agreed, disagreed, diverged, dropped, .. } = other;
        self.runs += runs;
        self.agreed += agreed;
        self.disagreed += disagreed;
        self.diverged += diverged;
        self.dropped += dropped;
        self.active_cost.merge(other.active_cost);
        self.candidate_cost.merge(other.candidate_cost);
        self.since = if self.since == 0 { other.since } else { self.since.min(other.since) };
        if self.candidate.is_empty() {
            self.candidate.clone_from(&other.candidate);
            self.active.clone_from(&other.active);
            self.percent = other.percent;
        }
        self.examples.extend(other.examples.iter().cloned());
        self.examples.sort_by_key(|example| example.at);
        let beyond = self.examples.len().saturating_sub(EXAMPLES_MAX);
        self.examples.drain(..beyond);
    }
}

// === impl ShadowCost ===

impl ShadowCost {
    /// Adds one run.
    pub fn add(&mut self, receipt: &Receipt) {
        let Receipt { cpu_us, wall_us, memory_peak_bytes, .. } = receipt;
        self.merge(Self {
            cpu_us: *cpu_us,
            wall_us: *wall_us,
            memory_bytes: *memory_peak_bytes,
            memory_peak_bytes: *memory_peak_bytes,
        });
    }

    fn merge(&mut self, other: Self) {
        self.cpu_us = self.cpu_us.saturating_add(other.cpu_us);
        self.wall_us = self.wall_us.saturating_add(other.wall_us);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_several_hosts_add_up_and_keep_the_newest_examples() {
        let report = |from: u64| {
            let mut report =
                ShadowReport { candidate: "c".into(), since: 100 - from, ..ShadowReport::default() };
            for at in from..from + 8 {
                (report.runs, report.disagreed) = (report.runs + 1, report.disagreed + 1);
                report.active_cost.add(&Receipt { cpu_us: 2, memory_peak_bytes: at, ..Receipt::default() });
                report.keep(ShadowExample { at, what: "é".repeat(400), ..ShadowExample::default() });
            }
            report
        };
        let mut all = ShadowReport::default();
        all.merge(&report(10));
        all.merge(&report(13));
        assert_eq!((all.runs, all.disagreed, all.since, all.examples.len()), (16, 16, 87, EXAMPLES_MAX));
        assert_eq!((all.active_cost.cpu_us, all.active_cost.memory_peak_bytes), (32, 20));
        assert_eq!(all.examples.last().unwrap().at, 20);
        assert!(all.examples[0].what.len() <= WHAT_BYTES_MAX);
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.contains("activeCost") && text.contains("memoryPeakBytes"), "{text}");
        assert_eq!(serde_json::from_str::<ShadowReport>(&text).unwrap(), all);
    }
}
