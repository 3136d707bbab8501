//! When a version has broken enough: the same way, on many jobs.
//!
//! Every host judges by what it ran itself, and hears only of jobs that broke on this version alone. A single job that
//! takes a cell down again and again is the poison guard's matter; here different jobs count. Neither do a few broken
//! ones among thousands: a version that has run for weeks is not to be taken away because five jobs of one tenant hold
//! something new.

use std::collections::{HashMap, VecDeque};

use jobcell_core::Millis;

/// Different ways of breaking that are told apart at most. A version with more of them within a window has its oldest
/// forgotten.
const WAYS_MAX: usize = 64;
/// Of so many of a version's attempts within the window, one at least must have broken that way.
const ONE_IN: u64 = 4;
/// The window is counted in this many parts, so that nothing is kept of a single attempt.
const PARTS: u64 = 30;
/// Jobs of one way that are remembered, for each one of the limit.
const JOBS_PER_LIMIT: usize = 64;

/// How attempts of one version broke on this host within a window.
#[derive(Debug)]
pub struct Failures {
    limit: usize,
    part_ms: u64,
    /// Attempts in each part of the window, the oldest first.
    ended: VecDeque<(Millis, u64)>,
    ways: HashMap<String, Way>,
}

/// The jobs that broke one way, with when they last did.
#[derive(Debug, Default)]
struct Way {
    jobs: HashMap<u64, Millis>,
    last: Millis,
}

// === impl Failures ===

impl Failures {
    /// Quarantine is for what breaks the same way on `limit` different jobs (0 for never) within so many milliseconds.
    #[must_use]
    pub fn new(limit: u32, window_ms: u64) -> Self {
        let part_ms = (window_ms / PARTS).max(1);
        Self { limit: limit as usize, part_ms, ended: VecDeque::new(), ways: HashMap::new() }
    }

    /// An attempt ended, in whatever way. To be said before [`Failures::broke`] of the same attempt.
    pub fn ended(&mut self, now: Millis) {
        let part = now - now % self.part_ms;
        match self.ended.back_mut() {
            Some((newest, count)) if *newest >= part => *count += 1,
            _ => self.ended.push_back((part, 1)),
        }
        let begin = self.begin(now);
        while self.ended.front().is_some_and(|(part, _)| *part < begin) {
            self.ended.pop_front();
        }
    }

    /// An attempt of this job broke this way ([`jobcell_core::crash::Crashes`]). Returns why the version is to be
    /// quarantined, when it is.
    #[must_use]
    pub fn broke(&mut self, way: &str, queue: &str, job_id: &str, now: Millis) -> Option<String> {
        let (limit, begin) = (self.limit, self.begin(now));
        if limit == 0 {
            return None;
        }
        if !self.ways.contains_key(way) && self.ways.len() >= WAYS_MAX {
            let oldest = self.ways.iter().min_by_key(|(_, of)| of.last).map(|(way, _)| way.clone());
            oldest.and_then(|oldest| self.ways.remove(&oldest));
        }
        let Way { jobs, last } = self.ways.entry(way.to_owned()).or_default();
        *last = now;
        let most = limit.saturating_mul(JOBS_PER_LIMIT);
        if jobs.len() >= most {
            jobs.retain(|_, at| *at >= begin);
        }
        if jobs.len() < most {
            jobs.insert(key(queue, job_id), now);
        }
        let broken = jobs.values().filter(|at| **at >= begin).count();
        let ended: u64 = self.ended.iter().map(|(_, count)| count).sum();
        let is_much = broken >= limit && (broken as u64).saturating_mul(ONE_IN) >= ended;
        is_much.then(|| format!("{broken} different jobs of {ended} attempts broke in the same way: {way}"))
    }

    /// From when on things count.
    fn begin(&self, now: Millis) -> Millis {
        now.saturating_sub(self.part_ms * PARTS)
    }
}

/// A job, in few bytes. Two jobs that share a number count as one, which delays a quarantine by one.
fn key(queue: &str, job_id: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (queue, job_id).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_different_jobs_that_break_in_the_same_way() {
        let mut failures = Failures::new(3, 1_000);
        let mut broke = |way: &str, id: &str| {
            failures.ended(5);
            failures.broke(way, "q", id, 5)
        };
        for (way, id) in [("a", "1"), ("a", "1"), ("b", "2"), ("a", "2")] {
            assert_eq!(broke(way, id), None);
        }
        assert!(broke("a", "3").unwrap().contains("3 different jobs of 5 attempts"));
    }

    #[test]
    fn a_few_among_many_are_not_the_versions_fault() {
        let mut failures = Failures::new(3, 1_000);
        (0..100).for_each(|_| failures.ended(5));
        for id in 0..33 {
            failures.ended(5);
            assert_eq!(failures.broke("a", "q", &id.to_string(), 5), None, "{id}");
        }
        failures.ended(5);
        assert!(failures.broke("a", "q", "33", 5).is_some(), "one in four");
    }

    #[test]
    fn only_the_window_counts() {
        let mut failures = Failures::new(2, 1_000);
        for at in [0, 2_000, 4_000] {
            failures.ended(at);
            assert_eq!(failures.broke("a", "q", &at.to_string(), at), None);
        }
        failures.ended(4_500);
        assert!(failures.broke("a", "q", "x", 4_500).is_some());
    }
}
