//! Spells the keys of a list queue, as far as Rust needs them; the scripts build theirs from the list's.

use jobcell_core::JobId;

use super::item;
use super::options::{ID, ListOptions};

/// What follows the list's key and a `:` in the keys that the queue keeps beside it.
const OWN: [&str; 11] = [
    "dead",
    "delayed",
    "delayed:copies",
    "events",
    "hosts",
    "limiter",
    "paused",
    "rest",
    "running",
    "stalled-check",
    "twins",
];
/// The same for those of which there is one a host, or one a job.
const OWN_EACH: [&str; 5] = ["processing:", "heartbeat:", "locks:", "claims:", "twins:"];

/// The keys of one queue.
#[derive(Debug, Clone)]
pub(super) struct ListKeys {
    list: String,
    before_id: String,
    after_id: String,
}

/// Whether the queue keeps `<list>:<rest>` for itself.
pub(super) fn is_own(rest: &str) -> bool {
    OWN.contains(&rest) || OWN_EACH.iter().any(|each| rest.starts_with(each))
}

// === impl ListKeys ===

impl ListKeys {
    pub(super) fn new(options: &ListOptions) -> Self {
        let (before, after) = options.record.split_once(ID).unwrap_or((&options.record, ""));
        Self {
            list: options.key.clone(),
            before_id: before.to_owned(),
            // Further marks stand for the id too; one is all that anybody writes.
            after_id: after.to_owned(),
        }
    }

    /// The list itself, which every script is given.
    pub(super) fn list(&self) -> &str {
        &self.list
    }

    /// A key that the queue keeps beside the list.
    pub(super) fn of(&self, last: &str) -> String {
        format!("{}:{last}", self.list)
    }

    /// What a host holds.
    pub(super) fn processing(&self, host: &str) -> String {
        format!("{}:processing:{host}", self.list)
    }

    /// What the tokens of a host stand for.
    pub(super) fn claims(&self, host: &str) -> String {
        format!("{}:claims:{host}", self.list)
    }

    /// The record of a job; none when that is a key the queue keeps for itself.
    pub(super) fn record(&self, id: &JobId) -> Option<Vec<u8>> {
        let id = item::bytes_of(id);
        let key = [self.before_id.as_bytes(), &id, self.after_id.as_bytes()].concat();
        let beside = key.strip_prefix(self.list.as_bytes());
        let is_own = match beside {
            Some([]) => true,
            Some([b':', rest @ ..]) => std::str::from_utf8(rest).is_ok_and(is_own),
            _ => false,
        };
        (!is_own).then_some(key)
    }

    /// What the record of this id is called, and the pattern of all records with the rest as `literally` spells it.
    pub(super) fn record_like(&self, id: &str, literally: fn(&str) -> String) -> (String, String) {
        let Self { before_id, after_id, .. } = self;
        (format!("{before_id}{id}{after_id}"), format!("{}*{}", literally(before_id), literally(after_id)))
    }

    /// The log of the job with this record.
    pub(super) fn logs(record: &[u8]) -> Vec<u8> {
        [record, b":logs"].concat()
    }

    /// The keys whose type is fixed, and what they hold.
    pub(super) fn typed(&self) -> [(String, &'static str); 8] {
        [
            (self.list.clone(), "list"),
            (self.of("delayed"), "zset"),
            (self.of("delayed:copies"), "hash"),
            (self.of("dead"), "list"),
            (self.of("hosts"), "set"),
            (self.of("running"), "hash"),
            (self.of("events"), "stream"),
            (self.of("limiter"), "string"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_spelled_from_the_items_bytes_and_is_never_one_of_the_queues_own_keys() {
        let keys = ListKeys::new(&ListOptions::new("jobs"));
        let record = |raw: &[u8]| keys.record(&item::name_of(raw).unwrap());
        assert_eq!(record(b"7").as_deref(), Some(&b"jobs:7"[..]));
        assert_eq!(record(&[0xff, 0]).as_deref(), Some(&b"jobs:\xff\0"[..]));
        assert_eq!(record(b"").as_deref(), Some(&b"jobs:"[..]));
        for own in ["dead", "delayed", "processing:x", "delayed:copies", "twins:a"] {
            assert_eq!(record(own.as_bytes()), None, "{own}");
        }
        let apart = ListOptions { record: "job:{id}:data".to_owned(), ..ListOptions::new("jobs") };
        let keys = ListKeys::new(&apart);
        assert_eq!(keys.record(&item::name_of(b"dead").unwrap()).as_deref(), Some(&b"job:dead:data"[..]));
    }
}
