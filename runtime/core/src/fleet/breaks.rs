//! How a version broke jobs on one host: what is put together over hosts to see whether it is at fault.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Of so many of a version's attempts, one at least must have broken in the same way before the version is to blame.
const ONE_IN: u64 = 4;

/// How a version did within the window in which a host looks for such things, with the jobs that broke on it and on no
/// other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionBreaks {
    /// Attempts on the version within that time, whatever their end.
    pub attempts: u64,
    /// Numbers that stand for jobs, by names that stand for the ways they broke: the same on every host, and telling
    /// nothing of what a guest said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ways: BTreeMap<String, BTreeSet<u64>>,
}

// === impl VersionBreaks ===

impl VersionBreaks {
    /// Adds those of another host. A job that broke on both counts once.
    pub fn add(&mut self, other: &Self) {
        let Self { attempts, ways } = other;
        self.attempts = self.attempts.saturating_add(*attempts);
        for (way, jobs) in ways {
            self.ways.entry(way.clone()).or_default().extend(jobs);
        }
    }

    /// Whether so many jobs as broke this way put the version at fault, where that is for `limit` different ones, 0 for
    /// never.
    #[must_use]
    pub fn is_fault(&self, way: &str, limit: u32) -> bool {
        let jobs = self.ways.get(way).map_or(0, |jobs| jobs.len() as u64);
        is_fault(jobs, self.attempts, limit)
    }
}

/// Whether so many broken jobs, in one way, are the fault of a version that had so many attempts.
#[must_use]
pub fn is_fault(jobs: u64, attempts: u64, limit: u32) -> bool {
    limit > 0 && jobs >= u64::from(limit) && jobs.saturating_mul(ONE_IN) >= attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(attempts: u64, way: &str, jobs: impl IntoIterator<Item = u64>) -> VersionBreaks {
        VersionBreaks { attempts, ways: BTreeMap::from([(way.to_owned(), jobs.into_iter().collect())]) }
    }

    #[test]
    fn hosts_put_together_what_none_of_them_could_say_alone() {
        let mut all = breaks(3, "f", [1, 2, 3]);
        assert!(!all.is_fault("f", 5));
        all.add(&breaks(3, "f", [3, 4]));
        assert!(!all.is_fault("f", 5), "a job that broke on both is one");
        all.add(&breaks(2, "g", [5, 6]));
        assert!(!all.is_fault("f", 5), "another way is another fault");
        all.add(&breaks(1, "f", [7]));
        assert!(all.is_fault("f", 5) && !all.is_fault("g", 5) && !all.is_fault("h", 5));
        assert!(!all.is_fault("f", 0), "0 is never");
    }

    #[test]
    fn a_few_among_many_are_not_the_versions_fault() {
        let mut all = breaks(10, "f", 0..5);
        assert!(all.is_fault("f", 5));
        all.add(&VersionBreaks { attempts: 11, ..VersionBreaks::default() });
        assert!(!all.is_fault("f", 5), "5 of 21 are less than one in four");
    }
}
