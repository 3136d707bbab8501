//! What the counts say. Pure: the same counts are judged the same on every host.

use jobcell_core::Millis;
use jobcell_core::fleet::{LATENCY_BOUNDS_MS, VersionCounts};

use super::Canary;

/// What is to become of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It becomes active.
    Promote {
        /// What it has shown.
        why: String,
    },
    /// It ends.
    RollBack {
        /// What it did.
        why: String,
    },
}

/// One-sided: of a hundred canaries that are as good as the active version, about one is rolled back by bad luck in each
/// look. Looks follow each other on mostly the same jobs, so this is stricter than the usual 5 in a hundred.
const Z: f64 = 2.326;
/// The share of jobs above the 95th percentile.
const TAIL: f64 = 0.05;
/// Milliseconds by which a latency differs from run to run on a machine that does other things as well: less than this
/// on top is no slowness.
const JITTER_MS: f64 = 10.0;

/// What becomes of the canary, by what its and the active version's jobs did within the window.
#[must_use]
pub fn judge(canary: &Canary, of_canary: &VersionCounts, of_active: &VersionCounts, now: Millis) -> Verdict {
    let rules = &canary.rules;
    let jobs = of_canary.attempts();
    if jobs < rules.min_jobs.max(1) {
        return Verdict::Keep;
    }
    let failed =
        Compared::new("fail", of_canary, of_active, |counts| counts.failed.saturating_add(counts.trapped));
    let trapped = Compared::new("trap", of_canary, of_active, |counts| counts.trapped);
    let worse = [&failed, &trapped].into_iter().find(|c| c.surely_over(rules.max_failures_over));
    if let Some(worse) = worse {
        return Verdict::RollBack { why: worse.told() };
    }
    let slow = Slow::new(of_canary, of_active, rules.max_latency);
    if let Some(slow) = slow.as_ref().filter(|slow| slow.is_sure()) {
        return Verdict::RollBack { why: slow.told() };
    }
    let is_over = rules.promote_after_ms.is_some_and(|after| now.saturating_sub(canary.since) >= after);
    // Not surely worse is not good enough to be promoted: it must not look worse either.
    let looks_fine = [&failed, &trapped].iter().all(|c| c.difference() <= rules.max_failures_over)
        && slow.is_none_or(|slow| slow.tail.value() <= TAIL);
    if is_over && looks_fine {
        return Verdict::Promote { why: format!("after its time as canary, {}", failed.told()) };
    }
    Verdict::Keep
}

/// Two ratios beside each other.
struct Compared {
    verb: &'static str,
    canary: Ratio,
    active: Ratio,
}

/// So many of so many.
#[derive(Clone, Copy)]
struct Ratio {
    some: u64,
    all: u64,
}

impl Compared {
    fn new(
        verb: &'static str,
        canary: &VersionCounts,
        active: &VersionCounts,
        some: fn(&VersionCounts) -> u64,
    ) -> Self {
        let ratio = |counts| Ratio { some: some(counts), all: counts.attempts() };
        Self { verb, canary: ratio(canary), active: ratio(active) }
    }

    /// By how much the canary's ratio is larger, as it looks.
    fn difference(&self) -> f64 {
        self.canary.value() - self.active.value()
    }

    /// Whether it is larger by more than this, luck allowed for.
    fn surely_over(&self, tolerated: f64) -> bool {
        let Self { canary, active, .. } = self;
        let below = canary.value() - canary.interval().0;
        // With nothing to compare with, as under a canary of 100 %, it is held to the tolerance itself.
        let above = if active.all == 0 { 0.0 } else { active.interval().1 - active.value() };
        self.difference() - below.hypot(above) > tolerated
    }

    fn told(&self) -> String {
        let Self { verb, canary, active } = self;
        let told = format!("{} of its {} jobs {verb}", canary.some, canary.all);
        if active.all == 0 {
            return format!("{told}, and the active version ran none to compare with");
        }
        format!(
            "{told} ({:.1} %), and {} of the active version's {} ({:.1} %)",
            canary.value() * 100.0,
            active.some,
            active.all,
            active.value() * 100.0
        )
    }
}

impl Ratio {
    /// 0 where there is nothing.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    fn value(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.some.min(self.all) as f64 / self.all as f64 }
    }

    /// Wilson's interval: where the true ratio lies, surely enough. All of 0 to 1 where there is nothing.
    #[expect(clippy::cast_precision_loss, reason = "an interval needs no more than 52 bits")]
    fn interval(self) -> (f64, f64) {
        if self.all == 0 {
            return (0.0, 1.0);
        }
        let (p, n, z2) = (self.value(), self.all as f64, Z * Z);
        let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }
}

/// How many of the canary's jobs take longer than is tolerated.
struct Slow {
    tail: Ratio,
    /// Milliseconds: the bound of the histogram at or above what is tolerated.
    tolerated: u64,
    /// Milliseconds: the active version's 95th percentile.
    usual: f64,
}

impl Slow {
    /// None where there is nothing to compare with, or nothing that the histogram could tell.
    fn new(of_canary: &VersionCounts, of_active: &VersionCounts, factor: f64) -> Option<Self> {
        let usual = of_active.estimated_ms(1.0 - TAIL)?;
        let tolerated = (usual * factor).max(usual + JITTER_MS);
        // The next bound above: the canary is given the benefit of what a histogram cannot tell.
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| as_f64(*bound) >= tolerated)?;
        let sum = |buckets: &[u64]| buckets.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let some = sum(of_canary.buckets.get(bucket + 1..).unwrap_or_default());
        let tail = Ratio { some, all: sum(&of_canary.buckets) };
        Some(Self { tail, tolerated: LATENCY_BOUNDS_MS[bucket], usual })
    }

    /// Luck allowed for.
    fn is_sure(&self) -> bool {
        self.tail.all > 0 && self.tail.interval().0 > TAIL
    }

    fn told(&self) -> String {
        let Self { tail, tolerated, usual } = self;
        format!(
            "{} of its {} jobs ({:.1} %) took longer than {tolerated} ms; 95 % of the active version's take at most \
             {usual:.0} ms",
            tail.some,
            tail.all,
            tail.value() * 100.0,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bound of at most an hour")]
fn as_f64(ms: u64) -> f64 {
    ms as f64
}
