//! When a version has broken enough: the same way, on many jobs.
//!
//! Every host judges by what it ran itself, and hears only of jobs that broke on this version alone. What no host has
//! seen enough of, they put together ([`Failures::told`], [`crate::judge`]). A single job that
//! takes a cell down again and again is the poison guard's matter; here different jobs count. Neither do a few broken
//! ones among thousands: a version that has run for weeks is not to be taken away because five jobs of one tenant hold
//! something new.

use std::collections::{HashMap, VecDeque};

use jobcell_core::Millis;
use jobcell_core::fleet::{VersionBreaks, is_fault};
use sha2::{Digest, Sha256};

/// Different ways of breaking that are told apart at most. A version with more of them within a window has its oldest
/// forgotten.
const WAYS_MAX: usize = 64;
/// The window is counted in this many parts, so that nothing is kept of a single attempt.
const PARTS: u64 = 30;
/// Jobs of one way that are remembered, for each one of the limit.
const JOBS_PER_LIMIT: usize = 64;
/// Ways that other hosts are told of: those that took the most jobs.
const WAYS_TOLD: usize = 4;
/// Jobs of one way that other hosts are told of at least, where there are so many: from the limit on a host judges alone.
const JOBS_TOLD: usize = 32;
/// And at most, however high the limit is: a host's status has a longest length. Under a higher limit each host judges
/// for itself alone.
const JOBS_TOLD_MAX: usize = 256;

/// How attempts of one version broke on this host within a window.
#[derive(Debug)]
pub struct Failures {
    limit: u32,
    part_ms: u64,
    /// Attempts in each part of the window, the oldest first.
    ended: VecDeque<(Millis, u64)>,
    ways: HashMap<String, Way>,
}

/// The jobs that broke one way, each with the part of the window in which it last did: what broke and what ended in one
/// part count just as long.
#[derive(Debug, Default)]
struct Way {
    /// What it is called where other hosts hear of it.
    name: String,
    jobs: HashMap<u64, Millis>,
    last: Millis,
}

// === impl Failures ===

impl Failures {
    /// Quarantine is for what breaks the same way on `limit` different jobs (0 for never) within so many milliseconds.
    #[must_use]
    pub fn new(limit: u32, window_ms: u64) -> Self {
        let part_ms = (window_ms / PARTS).max(1);
        Self { limit, part_ms, ended: VecDeque::new(), ways: HashMap::new() }
    }

    /// An attempt ended, in whatever way. To be said before [`Failures::broke`] of the same attempt.
    pub fn ended(&mut self, now: Millis) {
        let part = self.part(now);
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
        let part = self.part(now);
        let anew = || Way { name: name(way), ..Way::default() };
        let Way { jobs, last, .. } = self.ways.entry(way.to_owned()).or_insert_with(anew);
        *last = part;
        let most = (limit as usize).saturating_mul(JOBS_PER_LIMIT);
        if jobs.len() >= most {
            jobs.retain(|_, at| *at >= begin);
        }
        if jobs.len() < most {
            jobs.insert(key(queue, job_id), part);
        }
        let broken = jobs.values().filter(|at| **at >= begin).count() as u64;
        let ended = self.attempts(begin);
        is_fault(broken, ended, limit).then(|| fault(broken, ended, way))
    }

    /// What the other hosts are told. What went well is told too: a version is not to blame for a few jobs among all that
    /// the fleet has run.
    #[must_use]
    pub fn told(&self, now: Millis) -> VersionBreaks {
        let begin = self.begin(now);
        let mut ways: Vec<(usize, &Way)> = self
            .ways
            .values()
            .map(|way| (way.since(begin).count(), way))
            .filter(|(jobs, _)| *jobs > 0)
            .collect();
        ways.sort_by(|(jobs, way), (more, other)| more.cmp(jobs).then_with(|| way.name.cmp(&other.name)));
        ways.truncate(WAYS_TOLD);
        let most = JOBS_TOLD.max(self.limit as usize).min(JOBS_TOLD_MAX);
        let told = |(_, way): (usize, &Way)| (way.name.clone(), way.since(begin).take(most).collect());
        VersionBreaks { attempts: self.attempts(begin), ways: ways.into_iter().map(told).collect() }
    }

    /// Whether anything broke within the window.
    #[must_use]
    pub fn has_broken(&self, now: Millis) -> bool {
        let begin = self.begin(now);
        self.ways.values().any(|way| way.last >= begin)
    }

    /// The way that other hosts know by this name, where something broke here like that.
    #[must_use]
    pub fn way(&self, name: &str) -> Option<&str> {
        self.ways.iter().find(|(_, way)| way.name == name).map(|(way, _)| way.as_str())
    }

    /// Attempts since then.
    fn attempts(&self, begin: Millis) -> u64 {
        self.ended.iter().filter(|(part, _)| *part >= begin).map(|(_, count)| count).sum()
    }

    /// The part of the window that a time is in.
    fn part(&self, now: Millis) -> Millis {
        now - now % self.part_ms
    }

    /// From when on things count.
    fn begin(&self, now: Millis) -> Millis {
        now.saturating_sub(self.part_ms * PARTS)
    }
}

// === impl Way ===

impl Way {
    /// Its jobs since then.
    fn since(&self, begin: Millis) -> impl Iterator<Item = u64> {
        self.jobs.iter().filter(move |(_, at)| **at >= begin).map(|(job, _)| *job)
    }
}

/// How it is told that a version is at fault.
pub(crate) fn fault(jobs: u64, attempts: u64, way: &str) -> String {
    format!("{jobs} different jobs of {attempts} attempts broke in the same way: {way}")
}

/// What a way is called where other hosts hear of it: it may hold words of a guest, which are for the version's own page.
fn name(way: &str) -> String {
    hex::encode(&Sha256::digest(way)[..8])
}

/// A job, in few bytes, the same on every host and exact as a JSON number. Two jobs that share one count as one, which
/// delays a quarantine by one.
fn key(queue: &str, job_id: &str) -> u64 {
    let digest = Sha256::new().chain_update(queue).chain_update([0]).chain_update(job_id).finalize();
    digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte)) >> 11
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

    #[test]
    fn other_hosts_are_told_what_counts_now_and_no_more_than_they_need() {
        let mut failures = Failures::new(3, 1_000);
        assert_eq!((failures.told(5), failures.has_broken(5)), (VersionBreaks::default(), false));
        failures.ended(5);
        assert_eq!(failures.told(5), VersionBreaks { attempts: 1, ..VersionBreaks::default() });
        assert_eq!(failures.broke("a", "q", "1", 5), None);
        let told = failures.told(5);
        assert_eq!((told.attempts, told.ways[&name("a")].len(), failures.has_broken(5)), (1, 1, true));
        assert_eq!((failures.way(&name("a")), failures.way(&name("b"))), (Some("a"), None));
        assert!(!serde_json::to_string(&told).unwrap().contains("\"a\""), "the guest's words stay here");
        // Another host that saw the same job names it by the same number.
        let mut other = Failures::new(3, 1_000);
        other.ended(5);
        assert_eq!(other.broke("a", "q", "1", 5), None);
        assert_eq!(other.told(5), told);
        assert_eq!((failures.told(5_000), failures.has_broken(5_000)), (VersionBreaks::default(), false));

        let mut many = Failures::new(1_000_000, 1_000);
        for n in 0..500 {
            many.ended(5);
            assert_eq!(many.broke(&format!("way {}", n % 10), "q", &n.to_string(), 5), None);
        }
        let told = many.told(5);
        assert_eq!((told.attempts, told.ways.len()), (500, WAYS_TOLD));
        let mut many = Failures::new(4, 1_000);
        (0..1_000).for_each(|_| many.ended(5));
        for n in 0..100 {
            assert_eq!(many.broke("a", "q", &n.to_string(), 5), None);
        }
        assert_eq!(many.told(5).ways[&name("a")].len(), JOBS_TOLD);
    }

    #[test]
    fn what_broke_is_forgotten_together_with_what_went_well_beside_it() {
        let mut failures = Failures::new(5, 600_000);
        // One part of the window, in which the last ones break.
        for _ in 0..1_000 {
            failures.ended(600_001);
        }
        for id in 0..5 {
            failures.ended(619_000);
            assert_eq!(failures.broke("a", "q", &id.to_string(), 619_000), None);
        }
        for now in (619_000..1_300_000).step_by(500) {
            let told = failures.told(now);
            assert!(!told.is_fault(&name("a"), 5), "at {now}: {told:?}");
        }
        assert!(!failures.has_broken(1_300_000));
    }
}
