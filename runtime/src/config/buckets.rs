//! `[buckets]`: buckets over keys that the team's other programs use too, such as the cache of a web back end.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_core::QueueName;
use jobcell_core::keyvalue::KeyRange;
use jobcell_core::names::key_part;
use jobcell_wasm::RangeJobs;

use super::forms::{DURATION, Form, SWITCH, TEXT, choice};
use super::node::Node;
use super::queue::ListConfig;
use super::reader::Reader;
use super::redis::RedisConfig;
use super::table::{Absent, Key, Section};

/// A bucket over keys that other programs use too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// Which keys.
    pub range: KeyRange,
    /// Whether handlers that are granted it may write there; else they only read.
    pub writes: bool,
    /// Whether jobs of all tenants have the same keys.
    pub shared: bool,
}

/// What keys begin with that are no handler's business, and whose they are.
pub(super) struct Kept(Vec<(String, String)>);

/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 256;

const PREFIX: Key<String> = Key::new(
    "prefix",
    TEXT,
    Absent::Required,
    "What its keys begin with, such as `\"feed:\"`: the handler's key `user:7` is then the key `feed:user:7` of `[redis]`, a \
     string as `SET` makes it. It ends in a separator, is no pattern, and neither begins like the keys of queues (`bull:`, \
     `redis.prefix`, lists and their records) and of Jobcell (`jobcell-`) nor is a beginning of them. `{tenant}` in it stands \
     for the tenant of the job, as keys spell it; jobs without a tenant are refused then. Without `[redis]` the bucket is \
     kept in the embedded store, which no other program reaches.",
);
const ACCESS: Key<bool> = Key::value(
    "access",
    Form { name: "\"read\" or \"read-write\"", expects: "\"read\" or \"read-write\"", read: access },
    "\"read\"",
    "What handlers that are granted it may do. With `\"read\"` whatever changes a key is refused, and the job's log says so.",
);
const TTL: Key<Duration> = Key::new(
    "ttl",
    DURATION,
    Absent::Means("what the key has: a value that is set keeps its lifetime, and a new one stays"),
    "How long a value lives after a handler has set or swapped it, and a counter after a handler has made it. The embedded \
     store keeps such values until they are deleted.",
);
const SHARED: Key<bool> = Key::value(
    "shared",
    SWITCH,
    "false",
    "Lets jobs of all tenants have the same keys. Without it, and without `{tenant}` in the prefix, jobs of tenants are \
     refused.",
);

pub(super) static BUCKETS: Section = Section {
    about: "Buckets over keys that your other programs use too: the cache that a web server reads, its sessions, its \
            counters. A handler is granted one by `kv = [\"NAME\"]`, as any bucket, and never leaves its prefix.",
    keys: &[PREFIX.entry(), ACCESS.entry(), TTL.entry(), SHARED.entry()],
};

pub(super) fn read(
    name: &str,
    reader: &Reader<'_>,
    kept: &Kept,
    redis: Option<&RedisConfig>,
) -> Option<BucketConfig> {
    if !super::grants::is_bucket(name) {
        let cause = format!("{name:?} cannot be the name of a bucket");
        reader.fault("", &cause, "use 1 to 64 letters, digits, '-', '_' or '.'");
    }
    let (writes, ttl, shared) = (reader.value(&ACCESS), reader.get(&TTL), reader.value(&SHARED));
    let prefix = reader.get(&PREFIX)?;
    let is_cluster = redis.and_then(|redis| redis.connect_options().ok()).is_some_and(|to| to.is_cluster());
    if let Some((cause, fix)) = kept.clash(&prefix).or_else(|| fault(&prefix, is_cluster)) {
        reader.fault_shown(PREFIX.name, &cause, &fix);
        return None;
    }
    let bucket = BucketConfig { range: KeyRange { prefix, ttl }, writes, shared };
    if shared && bucket.range.is_by_tenant() {
        let cause = "is set, but the prefix gives each tenant keys of its own";
        reader.fault(SHARED.name, cause, "remove it, or take {tenant} out of the prefix");
    }
    Some(bucket)
}

/// What of this is most likely not what was meant.
pub(super) fn warnings<'a>(
    buckets: &BTreeMap<String, BucketConfig>,
    granted: impl Iterator<Item = &'a String> + Clone,
    is_embedded: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, bucket) in buckets {
        if !granted.clone().any(|granted| granted == name) {
            warnings.push(format!(
                "buckets.{name} is granted to no handler; add it to `kv` under [handlers.NAME.grants], or remove it"
            ));
        }
        if is_embedded && bucket.range.ttl.is_some() {
            warnings.push(format!(
                "buckets.{name}.ttl means nothing without [redis]: the embedded store keeps the values of buckets until they \
                 are deleted"
            ));
        }
    }
    warnings
}

/// What makes a prefix unusable, and the fix.
fn fault(prefix: &str, is_cluster: bool) -> Option<(String, String)> {
    let told = |cause: &str, fix: &str| Some((cause.to_owned(), fix.to_owned()));
    if prefix.len() > PREFIX_BYTES_MAX {
        return told("is longer than 256 bytes", "write what the keys begin with, such as \"feed:\"");
    }
    if let Some(c) = prefix.chars().find(|c| "*?[]\\".contains(*c) || c.is_control()) {
        let cause = format!("holds {c:?}, and a prefix is no pattern");
        return told(&cause, "write what all of its keys begin with, such as \"feed:\"");
    }
    let plain = prefix.replace(KeyRange::TENANT, "");
    if plain.contains(['{', '}']) && !is_cluster {
        let fix = "take them out; braces of a Redis Cluster need a url of redis+cluster://";
        return told("holds braces around something else than {tenant}", fix);
    }
    if plain.is_empty() || prefix.starts_with(KeyRange::TENANT) {
        let cause = "begins with the tenant, whose name could be the beginning of any key";
        return told(cause, "put something before it, such as \"cms:{tenant}:\"");
    }
    // What a tenant's name cannot hold; else the keys of "a" could be those of "ab".
    let separates = |c: char| !c.is_alphanumeric() && key_part(&c.to_string()) != c.to_string();
    let mut after = prefix.split(KeyRange::TENANT).skip(1);
    if !after.all(|rest| rest.starts_with(separates)) {
        let cause = "has no separator after {tenant} that no tenant can have in its name";
        return told(cause, "write for example \"cms:{tenant}:\"");
    }
    if prefix.ends_with(char::is_alphanumeric) {
        let longer = format!("would take in keys such as {:?}", format!("{prefix}x:1"));
        let fix = format!("end it in a separator, such as {:?}", format!("{prefix}:"));
        return told(&longer, &fix);
    }
    None
}

fn access(node: &Node) -> Result<bool, String> {
    choice(node, &[("read", false), ("read-write", true)])
}

// === impl BucketConfig ===

impl BucketConfig {
    /// Whose jobs may open it.
    #[must_use]
    pub fn jobs(&self) -> RangeJobs {
        match (self.range.is_by_tenant(), self.shared) {
            (true, _) => RangeJobs::OfTenants,
            (false, true) => RangeJobs::OfAll,
            (false, false) => RangeJobs::OfNobody,
        }
    }
}

// === impl Kept ===

impl Kept {
    /// By this Redis's queues and by Jobcell.
    pub(super) fn by(redis: Option<&RedisConfig>, lists: &BTreeMap<QueueName, ListConfig>) -> Self {
        let mut kept = vec![
            ("bull:".to_owned(), "of queues".to_owned()),
            ("jobcell-".to_owned(), "of Jobcell itself".to_owned()),
        ];
        if let Some(redis) = redis {
            kept.push((format!("{}:", redis.prefix), "of queues (redis.prefix)".to_owned()));
        }
        for (queue, list) in lists {
            let records = list.record.split("{id}").next().unwrap_or_default();
            kept.push((list.key.clone(), format!("of the list queue {queue:?}")));
            kept.push((records.to_owned(), format!("of records of the list queue {queue:?}")));
        }
        Self(kept)
    }

    /// Why a bucket cannot have these keys, and the fix.
    fn clash(&self, prefix: &str) -> Option<(String, String)> {
        let own = prefix.split(KeyRange::TENANT).next().unwrap_or_default();
        if own.is_empty() {
            return None;
        }
        let (start, whose) =
            self.0.iter().find(|(start, _)| start.starts_with(own) || own.starts_with(start.as_str()))?;
        let cause = format!("takes in keys {whose}, which begin with {start:?}");
        Some((cause, "name keys that only your own programs use, such as \"feed:\"".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FileChoice, Loaded, Request, load_all};
    use super::*;

    fn loaded(toml: &str) -> Loaded {
        let file = FileChoice::Text("jobcell.toml".into(), toml.to_owned());
        load_all(&Request { file, ..Request::default() })
    }

    const GRANTED: &str = "[handlers.h]\nsource = \"h.wasm\"\n[handlers.h.grants]\nkv = [\"b\"]\n";
    const REDIS: &str = "[redis]\nurl = \"redis://127.0.0.1\"\nprefix = \"jobs\"\n[queues.l]\nprotocol = \"list\"\n\
                         key = \"job_queue\"\nrecord = \"job:{id}\"\nhandler = \"h\"\n";

    fn config(bucket: &str) -> Config {
        let Loaded { config, faults } = loaded(&format!("{REDIS}{GRANTED}[buckets.b]\n{bucket}"));
        assert!(faults.is_empty(), "{faults:?}");
        config
    }

    #[test]
    fn a_bucket_is_read_and_gives_little_unless_told() {
        let bucket = &config("prefix = \"feed:\"\n").buckets["b"];
        let range = KeyRange { prefix: "feed:".to_owned(), ttl: None };
        assert_eq!(bucket, &BucketConfig { range, writes: false, shared: false });
        assert_eq!(bucket.jobs(), RangeJobs::OfNobody);
        let config = config("prefix = \"cms:{tenant}:\"\naccess = \"read-write\"\nttl = \"10m\"\n");
        let bucket = &config.buckets["b"];
        assert_eq!((bucket.writes, bucket.jobs()), (true, RangeJobs::OfTenants));
        assert_eq!(bucket.range.ttl, Some(Duration::from_secs(600)));
        assert_eq!(config.warnings, Vec::<String>::new());
        let shared = self::config("prefix = \"feed:\"\nshared = true\n");
        assert_eq!(shared.buckets["b"].jobs(), RangeJobs::OfAll);
    }

    #[test]
    fn prefixes_that_take_in_what_is_not_theirs_are_faults_with_a_fix() {
        for (prefix, cause) in [
            ("", "is empty"),
            ("feed", "feedx:1"),
            ("feed:*", "no pattern"),
            ("feed:?:", "no pattern"),
            ("f[e]ed:", "no pattern"),
            ("feed\\\\:", "no pattern"),
            ("feed\\n:", "no pattern"),
            ("bull:", "\"bull:\""),
            ("b", "\"bull:\""),
            ("bull:media:", "\"bull:\""),
            ("jobs:", "redis.prefix"),
            ("jobs:media:", "redis.prefix"),
            ("jobcell-kv/", "Jobcell itself"),
            ("jobcell-", "Jobcell itself"),
            ("job_queue:", "list queue"),
            ("job:", "records of the list queue"),
            ("job:7:", "records of the list queue"),
            ("{tenant}:", "begins with the tenant"),
            ("cms:{tenant}", "no separator after"),
            ("cms:{tenant}-", "no separator after"),
            ("feed:user:{userId}:", "braces"),
        ] {
            let Loaded { faults, .. } =
                loaded(&format!("{REDIS}{GRANTED}[buckets.b]\nprefix = \"{prefix}\"\n"));
            let [fault] = &faults[..] else { panic!("{prefix:?}: {faults:?}") };
            let text = fault.to_string();
            assert!(text.contains(cause) && text.contains("buckets.b.prefix"), "{prefix:?}: {text}");
            assert!(!fault.fix.is_empty(), "{prefix:?}");
        }
        for prefix in [
            "feed:",
            "session:",
            "session:sess:",
            "post:",
            "user:",
            "cache:",
            "cms/{tenant}/",
            "x:{tenant}:y:",
        ] {
            config(&format!("prefix = \"{prefix}\"\n"));
        }
    }

    #[test]
    fn a_cluster_may_have_braces() {
        let redis = "[redis]\nurl = \"redis+cluster://127.0.0.1\"\nprefix = \"{jobs}\"\n";
        let faults = |prefix: &str| {
            loaded(&format!("{redis}{GRANTED}[buckets.b]\nprefix = \"{prefix}\"\n")).faults.len()
        };
        assert_eq!((faults("{cms}:feed:"), faults("cms:{{tenant}}:"), faults("{jobs}:")), (0, 0, 1));
    }

    #[test]
    fn other_mistakes_are_told_too() {
        for (bucket, cause) in [
            ("prefix = \"feed:\"\naccess = \"write\"\n", "buckets.b.access"),
            ("prefix = \"cms:{tenant}:\"\nshared = true\n", "buckets.b.shared"),
            ("access = \"read\"\n", "is missing"),
            ("prefix = \"feed:\"\nkeys = 1\n", "unknown key"),
        ] {
            let faults = loaded(&format!("{REDIS}{GRANTED}[buckets.b]\n{bucket}")).faults;
            assert!(faults.len() == 1 && faults[0].to_string().contains(cause), "{faults:?}");
        }
        let named = loaded(&format!("{GRANTED}[buckets.\"a b\"]\nprefix = \"feed:\"\n")).faults;
        assert!(named.len() == 1 && named[0].cause.contains("cannot be the name"), "{named:?}");
    }

    #[test]
    fn what_nobody_is_granted_or_means_nothing_is_warned_of() {
        let Loaded { config, .. } = loaded("[buckets.feeds]\nprefix = \"feed:\"\nttl = \"1m\"\n");
        assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
        assert!(config.warnings[0].contains("granted to no handler"));
        assert!(config.warnings[1].contains("without [redis]"));
    }
}
