//! How one list queue is laid out and how often its jobs are tried.

use std::time::Duration;

use jobcell_core::{Backoff, BackoffKind};

/// What stands for the job's id in [`ListOptions::record`].
pub(super) const ID: &str = "{id}";

/// A queue that is a plain list: where it is and what its producers do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ListOptions {
    /// The list that producers `LPUSH` to.
    pub key: String,
    /// The hash with a job's data and status; `{id}` stands for the job's id. Default `<key>:{id}`.
    pub record: String,
    /// The channel that status messages are published to. Default `job_updates`.
    pub updates: String,
    /// How often a job is tried when its envelope does not say. Default 3.
    pub attempts: u64,
    /// How long to wait between attempts. Default from 1 s, doubling, half of it random.
    pub backoff: Backoff,
    /// How long the records of completed jobs stay that nobody but this store made; none is for ever. Producers that
    /// push bare ids or payloads never look at them, and would fill Redis without knowing. Default a day.
    pub own_records: Option<Duration>,
}

// === impl ListOptions ===

impl ListOptions {
    /// The defaults for this list.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        let key = key.into();
        Self {
            record: format!("{key}:{ID}"),
            key,
            updates: "job_updates".to_owned(),
            attempts: 3,
            backoff: Backoff { kind: BackoffKind::Exponential, delay: 1000, jitter: Some(0.5) },
            own_records: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }

    /// What makes them unusable, with the fix; none when they can be used.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Self { key, record, .. } = self;
        if key.is_empty() {
            return Some("the list's key is empty; name the list that producers push to".to_owned());
        }
        if !record.contains(ID) {
            return Some(format!(
                "record = {record:?} does not hold {ID}; all jobs would share one hash: write for example \"job:{ID}\""
            ));
        }
        (record == key)
            .then(|| format!("record = {record:?} is the list itself; write for example \"job:{ID}\""))
    }

    /// Why the queue cannot live on a Redis Cluster, with the fix; none when it can. Its keys change together, so they
    /// must be in one slot: what stands in the first braces of a key decides.
    #[must_use]
    pub fn cluster_fault(&self) -> Option<String> {
        let Self { key, record, .. } = self;
        let before_id = record.split(ID).next().unwrap_or_default();
        let fix = format!("write for example key = \"{{{key}}}\" and record = \"{{{key}}}:job:{ID}\"");
        match (tag(key), tag(before_id)) {
            (None, _) => Some(format!("on a cluster the key {key:?} needs a part in braces; {fix}")),
            (Some(list), Some(record)) if list == record => None,
            (Some(list), _) => Some(format!(
                "on a cluster record = {record:?} needs the braces of the list, {{{list}}}, before {ID}; \
                 write for example \"{{{list}}}:job:{ID}\""
            )),
        }
    }

    /// Why this queue and another one cannot both be, with the fix.
    #[must_use]
    pub fn clash(&self, other: &Self) -> Option<String> {
        if self.key == other.key {
            return Some(format!(
                "key = {:?} is that of another queue too; give each its own list",
                self.key
            ));
        }
        let inside = |a: &Self, b: &Self| {
            b.key.strip_prefix(&a.key).and_then(|rest| rest.strip_prefix(':')).is_some_and(|rest| {
                // The dead ones may be worked as a queue of their own.
                rest != "dead" && super::keys::is_own(rest)
            })
        };
        (inside(self, other) || inside(other, self)).then(|| {
            format!("key = {:?} is kept by the queue of key {:?}; choose another one", other.key, self.key)
        })
    }
}

/// What stands in the first braces, which is all that a cluster hashes; none when there are none, or nothing is in them.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_the_id_is_a_fault() {
        let mut options = ListOptions::new("jobs");
        assert_eq!((options.fault(), options.record.as_str()), (None, "jobs:{id}"));
        options.record = "job".to_owned();
        assert!(options.fault().is_some_and(|fault| fault.contains("{id}") && fault.contains("job:")));
        assert!(ListOptions::new("").fault().is_some());
    }

    #[test]
    fn a_cluster_wants_list_and_records_in_one_slot() {
        let with = |key: &str, record: &str| {
            ListOptions { record: record.to_owned(), ..ListOptions::new(key) }.cluster_fault()
        };
        assert_eq!(with("{jobs}", "{jobs}:job:{id}"), None);
        assert_eq!(with("queue:{a}", "{a}{id}"), None);
        assert_eq!(ListOptions::new("{jobs}").cluster_fault(), None);
        for (key, record) in [
            ("jobs", "jobs:{id}"),
            ("jobs", "{jobs}:{id}"),
            ("{jobs}", "job:{id}"),
            ("{jobs}", "{other}:{id}"),
            ("{jobs}", "{id}:{jobs}"),
            ("{}jobs", "{}jobs:{id}"),
        ] {
            let fault = with(key, record).unwrap_or_else(|| panic!("{key} {record}"));
            assert!(fault.contains("braces") && fault.contains("write for example"), "{fault}");
        }
    }

    #[test]
    fn two_queues_share_no_key() {
        let a = ListOptions::new("jobs");
        for bad in ["jobs", "jobs:delayed", "jobs:processing:h"] {
            assert!(a.clash(&ListOptions::new(bad)).is_some(), "{bad}");
            assert!(ListOptions::new(bad).clash(&a).is_some(), "{bad}");
        }
        for good in ["jobs:dead", "jobs:mail", "job", "jobs2"] {
            assert_eq!(a.clash(&ListOptions::new(good)), None, "{good}");
        }
    }
}
