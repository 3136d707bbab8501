//! How a version broke jobs on one host: what is put together over hosts to see whether it is at fault.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Of so many of a version's attempts, one at least must have broken in the same way before the version is to blame.
const ONE_IN: u64 = 4;

/// Jobs that broke on a version and on no other, within the window in which a host looks at such things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionBreaks {
    /// Attempts on the version within that time, whatever their end.
    pub attempts: u64,
    /// Numbers that stand for the jobs, the same on every host, by the way they broke. A host that knows of more jobs
    /// than it names judges by itself.
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

    /// Why the version is to be quarantined, where that is for what breaks the same way on `limit` different jobs, 0 for
    /// never: the way that took the most of them.
    #[must_use]
    pub fn fault(&self, limit: u32) -> Option<String> {
        let (way, jobs) = self.ways.iter().max_by_key(|(_, jobs)| jobs.len())?;
        let Self { attempts, .. } = self;
        is_fault(jobs.len() as u64, *attempts, limit).then(|| fault(jobs.len() as u64, *attempts, way))
    }
}

/// Whether so many broken jobs, in one way, are the fault of a version that had so many attempts.
#[must_use]
pub fn is_fault(jobs: u64, attempts: u64, limit: u32) -> bool {
    limit > 0 && jobs >= u64::from(limit) && jobs.saturating_mul(ONE_IN) >= attempts
}

/// How that is told.
#[must_use]
pub fn fault(jobs: u64, attempts: u64, way: &str) -> String {
    format!("{jobs} different jobs of {attempts} attempts broke in the same way: {way}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(attempts: u64, way: &str, jobs: impl IntoIterator<Item = u64>) -> VersionBreaks {
        VersionBreaks { attempts, ways: BTreeMap::from([(way.to_owned(), jobs.into_iter().collect())]) }
    }

    #[test]
    fn hosts_put_together_what_none_of_them_could_say_alone() {
        let mut all = breaks(3, "trap in f", [1, 2, 3]);
        assert_eq!(all.fault(5), None);
        all.add(&breaks(3, "trap in f", [3, 4]));
        assert_eq!(all.fault(5), None, "a job that broke on both is one");
        all.add(&breaks(2, "trap in g", [5, 6]));
        assert_eq!(all.fault(5), None, "another way is another fault");
        all.add(&breaks(1, "trap in f", [7]));
        assert_eq!(all.fault(5).unwrap(), "5 different jobs of 9 attempts broke in the same way: trap in f");
        assert_eq!(all.fault(0), None, "0 is never");
    }

    #[test]
    fn a_few_among_many_are_not_the_versions_fault() {
        let mut all = breaks(10, "trap in f", 0..5);
        assert!(all.fault(5).is_some());
        all.add(&VersionBreaks { attempts: 11, ..VersionBreaks::default() });
        assert_eq!(all.fault(5), None, "5 of 21 are less than one in four");
    }
}
