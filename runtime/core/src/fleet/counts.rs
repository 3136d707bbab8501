//! How a version does on one host: what is added up over hosts to judge a canary by.

use serde::{Deserialize, Serialize};

/// Upper bounds of the latency buckets in milliseconds, up to an hour; one more bucket holds what is above the last. From
/// 10 ms on each is a fifth above the one before (the preferred numbers of the E12 series): fine enough to tell half as long
/// again from as long.
pub const LATENCY_BOUNDS_MS: [u64; 73] = bounds();

const fn bounds() -> [u64; 73] {
    const SERIES: [u64; 12] = [10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82];
    let mut bounds = [0; 73];
    let mut at = 0;
    let below = [1, 2, 3, 5, 7];
    while at < below.len() {
        bounds[at] = below[at];
        at += 1;
    }
    let mut decade = 1;
    while at < bounds.len() {
        let mut step = 0;
        while step < SERIES.len() && at < bounds.len() {
            bounds[at] = SERIES[step] * decade;
            (at, step) = (at + 1, step + 1);
        }
        decade *= 10;
    }
    bounds
}

/// What became of the attempts of one version, and how long they took. It only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionCounts {
    /// Attempts that completed.
    pub done: u64,
    /// Attempts that ended with a failure that the handler said itself.
    pub failed: u64,
    /// Attempts that trapped, panicked or were ended by a limit.
    pub trapped: u64,
    /// How long all of them took together, in milliseconds.
    pub wall_ms_total: u64,
    /// How many took how long: one count per bound of [`LATENCY_BOUNDS_MS`] and one above, not cumulated. Trailing
    /// zeros may be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<u64>,
}

// === impl VersionCounts ===

impl VersionCounts {
    /// Attempts of every end.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.done.saturating_add(self.failed).saturating_add(self.trapped)
    }

    /// The share of attempts that did not complete, 0 to 1; none without attempts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn failure_ratio(&self) -> Option<f64> {
        let attempts = self.attempts();
        (attempts > 0).then(|| self.failed.saturating_add(self.trapped) as f64 / attempts as f64)
    }

    /// Notes how long an attempt took. Its end is counted by the caller.
    pub fn took(&mut self, wall_ms: u64) {
        self.wall_ms_total = self.wall_ms_total.saturating_add(wall_ms);
        let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| *bound < wall_ms);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
    }

    /// Adds those of another host.
    pub fn add(&mut self, other: &Self) {
        let Self { done, failed, trapped, wall_ms_total, buckets } = other;
        self.done = self.done.saturating_add(*done);
        self.failed = self.failed.saturating_add(*failed);
        self.trapped = self.trapped.saturating_add(*trapped);
        self.wall_ms_total = self.wall_ms_total.saturating_add(*wall_ms_total);
        let known = buckets.len().min(LATENCY_BOUNDS_MS.len() + 1);
        if self.buckets.len() < known {
            self.buckets.resize(known, 0);
        }
        for (sum, more) in self.buckets.iter_mut().zip(buckets) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// What was added since `earlier` of the same host. Where that is larger, the host began anew and all of it is new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let Self { done, failed, trapped, wall_ms_total, buckets } = self;
        let began_anew = *done < earlier.done || *failed < earlier.failed || *trapped < earlier.trapped;
        if began_anew {
            return self.clone();
        }
        let before = |at: usize| earlier.buckets.get(at).copied().unwrap_or(0);
        Self {
            done: done - earlier.done,
            failed: failed - earlier.failed,
            trapped: trapped - earlier.trapped,
            wall_ms_total: wall_ms_total.saturating_sub(earlier.wall_ms_total),
            buckets: buckets.iter().enumerate().map(|(at, n)| n.saturating_sub(before(at))).collect(),
        }
    }

    /// The time in milliseconds below which this share (0 to 1) of attempts stayed, as if those of one bucket were spread
    /// evenly over it; none without attempts, and where it lies above the last bound.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of attempts and milliseconds are far below 2^52")]
    pub fn estimated_ms(&self, share: f64) -> Option<f64> {
        let all = self.buckets.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count))?;
        let rank = all as f64 * share.clamp(0.0, 1.0);
        let (mut seen, mut below) = (0.0, 0.0);
        for (count, bound) in self.buckets.iter().zip(LATENCY_BOUNDS_MS) {
            let (count, bound) = (*count as f64, bound as f64);
            if count > 0.0 && seen + count >= rank {
                return Some(below + (bound - below) * ((rank - seen) / count));
            }
            (seen, below) = (seen + count, bound);
        }
        None
    }

    /// The bound in milliseconds below which this share (0 to 1) of attempts stayed; none without attempts, and
    /// `u64::MAX` when it lies above the last bound.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of attempts are far below 2^52, and a share of one is not negative"
    )]
    pub fn quantile_ms(&self, share: f64) -> Option<u64> {
        let all: u64 = self.buckets.iter().sum();
        if all == 0 {
            return None;
        }
        let rank = ((all as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(LATENCY_BOUNDS_MS.get(at).copied().unwrap_or(u64::MAX))
    }
}
