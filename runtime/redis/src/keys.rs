//! Spells every key, here and nowhere else in Rust. The scripts build theirs from [`QueueKeys::meta`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jobcell_core::documents::{Folder, Log};
use jobcell_core::keyvalue::Bucket;
use jobcell_core::names::key_part;
use jobcell_core::{JobId, QueueName};

use crate::link::slots;

/// The key prefix of a deployment, `bull` unless chosen otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

/// The keys of one queue: `<prefix>:<queue>:…`.
#[derive(Debug, Clone)]
pub(crate) struct QueueKeys {
    base: String,
}

/// What a key of a queue holds, as `TYPE` names it.
pub(crate) type KeyType = &'static str;

/// The keys a queue has, and what they hold.
pub(crate) const QUEUE_KEYS: [(&str, KeyType); 17] = [
    ("wait", "list"),
    ("paused", "list"),
    ("active", "list"),
    ("prioritized", "zset"),
    ("pc", "string"),
    ("delayed", "zset"),
    ("waiting-children", "zset"),
    ("completed", "zset"),
    ("failed", "zset"),
    ("marker", "zset"),
    ("meta", "hash"),
    ("id", "string"),
    ("events", "stream"),
    ("stalled", "set"),
    ("stalled-check", "string"),
    ("limiter", "string"),
    ("repeat", "zset"),
];

/// A hash of requests to end running jobs, see `lua/cancels.lua`. No job's key is of this form.
pub(crate) const CANCELS: &str = "jobcell:cancel";

/// Whether a job of this id would be where something of its queue is, or was in older versions of BullMQ.
pub(crate) fn is_reserved(id: &str) -> bool {
    QUEUE_KEYS.iter().any(|(last, _)| *last == id) || ["priority", "delay"].contains(&id)
}

/// What stands behind a job's own key, and what it holds.
pub(crate) const JOB_KEYS: [(&str, KeyType); 7] = [
    ("", "hash"),
    (":lock", "string"),
    (":logs", "list"),
    (":dependencies", "set"),
    (":processed", "hash"),
    (":failed", "hash"),
    (":unsuccessful", "zset"),
];

/// The keys of what hosts share: `jobcell-fleet/{:<prefix>}/…`, which no queue can have.
#[derive(Debug, Clone)]
pub(crate) struct FleetKeys {
    base: String,
}

// === impl FleetKeys ===

impl FleetKeys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { base: fleet_base(prefix) }
    }

    /// The documents by name, the stream of changes, and the names of those that expire by when.
    pub(crate) fn folder(&self, folder: Folder) -> [String; 3] {
        let (base, folder) = (&self.base, folder.as_str());
        [format!("{base}{folder}"), format!("{base}{folder}:changes"), format!("{base}{folder}:expiries")]
    }

    pub(crate) fn blob(&self, digest: &str) -> String {
        format!("{}blob:{digest}", self.base)
    }

    pub(crate) fn log(&self, log: &Log) -> String {
        format!("{}log:{}", self.base, log.key())
    }

    /// A pattern that all of them match.
    pub(crate) fn pattern(&self) -> String {
        format!("{}*", literally(&self.base))
    }
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn queue(&self, queue: &QueueName) -> QueueKeys {
        QueueKeys { base: format!("{}:{queue}:", self.prefix) }
    }

    /// A pattern that the keys which show a queue match, [`Keys::queue_of`] tells which of the matches are.
    pub(crate) fn queue_pattern(&self) -> String {
        literally(&self.prefix) + ":*:[im][de]*"
    }

    /// The queue that this key shows to exist: its settings or its counter. A queue that was only configured has no
    /// counter, one that only foreign clients used may have no settings.
    pub(crate) fn queue_of(&self, key: &str) -> Option<QueueName> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        let name = rest.strip_suffix(":meta").or_else(|| rest.strip_suffix(":id"))?;
        QueueName::new(name).ok()
    }

    /// The name a worker's blocking connection goes by, which BullMQ's `getWorkers` looks for.
    pub(crate) fn client_name(&self, queue: &QueueName, worker: Option<&str>) -> String {
        let queue = BASE64.encode(queue.as_str());
        match worker {
            None => format!("{}:{queue}", self.prefix),
            Some(worker) => format!("{}:{queue}:w:{worker}", self.prefix),
        }
    }

    /// Not of the form `<prefix>:<queue>:…`, so that no queue can have it.
    pub(crate) fn cache(&self, key: &str) -> String {
        format!("{}{key}", cache_base(&self.prefix))
    }

    /// The values of a bucket, and its keys by when they were made: in one slot of a cluster, a bucket's own.
    pub(crate) fn bucket(&self, bucket: &Bucket) -> [String; 2] {
        let base = format!("{}{{{}}}", bucket_base(&self.prefix), bucket.as_str());
        [format!("{base}:values"), format!("{base}:keys")]
    }
}

// === impl QueueKeys ===

impl QueueKeys {
    /// A key of the queue by its last part, one of [`QUEUE_KEYS`].
    pub(crate) fn of(&self, last: &str) -> String {
        format!("{}{last}", self.base)
    }

    /// A pattern for the keys of the queue whose last part begins so.
    pub(crate) fn pattern_of(&self, last: &str) -> String {
        literally(&self.base) + last + "*"
    }

    /// Whether all keys of the queue are in one slot of a cluster: something of what they begin with is in braces.
    pub(crate) fn share_a_slot(&self) -> bool {
        slots::tag_of(self.base.as_bytes()).is_some()
    }

    /// What every script is given.
    pub(crate) fn meta(&self) -> String {
        self.of("meta")
    }

    /// The job's hash.
    pub(crate) fn job(&self, id: &JobId) -> String {
        self.of(id.as_str())
    }

    /// A key beside the job's hash, one of [`JOB_KEYS`].
    pub(crate) fn of_job(&self, id: &JobId, last: &str) -> String {
        format!("{}{id}{last}", self.base)
    }
}

/// What every key of the cache begins with. A `/` in the prefix would let the cache of one deployment begin like
/// another's; braces stay, so that on a cluster the cache is where the queues are.
pub(crate) fn cache_base(prefix: &str) -> String {
    format!("jobcell-cache/{}/", prefix.replace('%', "%25").replace('/', "%2F"))
}

/// What every key of a bucket begins with. It has no braces: those of the bucket's name are the first.
pub(crate) fn bucket_base(prefix: &str) -> String {
    format!("jobcell-kv/{}/", key_part(prefix))
}

/// What every key of what hosts share begins with. Its braces are the first, so that all of it is in one slot of a
/// cluster, whether the prefix has braces or not.
fn fleet_base(prefix: &str) -> String {
    format!("jobcell-fleet/{{:{}}}/", key_part(prefix))
}

/// A pattern that only this text matches, for `SCAN` and for ACL rules.
pub(crate) fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_by_its_keys_and_by_nothing_else() {
        let keys = Keys::new("{b}");
        let queue = QueueName::new("q").unwrap();
        assert_eq!(keys.queue(&queue).meta(), "{b}:q:meta");
        assert_eq!(Keys::new("a*").queue(&queue).pattern_of("de:"), r"a\*:q:de:*");
        for key in ["{b}:q:meta", "{b}:q:id"] {
            assert_eq!(keys.queue_of(key), Some(queue.clone()));
        }
        for other in
            ["{b}:q:x:meta", "{b}::meta", "b:q:meta", "{b}:q:idle", "{b}:meta", "{b}:q:metrics:completed"]
        {
            assert_eq!(keys.queue_of(other), None, "{other}");
        }
        assert_eq!(Keys::new("a*[b]").queue_pattern(), r"a\*\[b\]:*:[im][de]*");
    }

    #[test]
    fn client_names_are_what_bullmq_looks_for() {
        let keys = Keys::new("bull");
        let queue = QueueName::new("donations").unwrap();
        assert_eq!(keys.client_name(&queue, None), "bull:ZG9uYXRpb25z");
        assert_eq!(keys.client_name(&queue, Some("media-1")), "bull:ZG9uYXRpb25z:w:media-1");
    }
}
