//! What a handler may touch. Nothing by default.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

pub use crate::http::rule::{HttpRule, RuleError};
use crate::interface::Need;

/// What a handler may touch: the `[handlers.NAME.grants]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Grants {
    /// Where outgoing requests may go.
    pub http: Vec<HttpRule>,
    /// Blob stores by name.
    pub blobs: Vec<String>,
    /// The cache of this handler.
    pub cache: bool,
    /// Buckets of the key-value store.
    pub kv: Vec<String>,
    /// Queues that jobs may be put on. A name, or a beginning followed by `*`.
    pub enqueue: Vec<String>,
    /// Channels that may be published to. A name, or a beginning followed by `*`.
    pub publish: Vec<String>,
    /// Settings that the handler can read.
    pub config: BTreeMap<String, String>,
    /// Secrets that the handler can use.
    pub secrets: Vec<SecretGrant>,
    /// Keys that are written as an empty list: a component may import what they grant, and every use is refused. For
    /// components of several handlers, of which this one needs less than they import.
    pub refused: BTreeSet<Need>,
}

/// The table as it is written: an empty list says something else than none.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    http: Option<Vec<HttpRule>>,
    blobs: Option<Vec<String>>,
    cache: bool,
    kv: Option<Vec<String>>,
    enqueue: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    config: BTreeMap<String, String>,
    secrets: Option<Vec<SecretGrant>>,
}

/// One secret that a handler can use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "SecretForm")]
pub struct SecretGrant {
    /// The secret's name under `[secrets]`.
    pub name: String,
    /// Whether the handler may see it. Without it, it can only be hashed with and put into outgoing requests.
    pub reveal: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SecretForm {
    Name(String),
    Full(FullSecret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullSecret {
    name: String,
    #[serde(default)]
    reveal: bool,
}

impl From<SecretForm> for SecretGrant {
    fn from(form: SecretForm) -> Self {
        match form {
            SecretForm::Name(name) => Self { name, reveal: false },
            SecretForm::Full(FullSecret { name, reveal }) => Self { name, reveal },
        }
    }
}

impl From<Written> for Grants {
    fn from(written: Written) -> Self {
        let mut refused = BTreeSet::new();
        Self {
            http: granted(written.http, Need::Http, &mut refused),
            blobs: granted(written.blobs, Need::Blobs, &mut refused),
            cache: written.cache,
            kv: granted(written.kv, Need::Kv, &mut refused),
            enqueue: granted(written.enqueue, Need::Enqueue, &mut refused),
            publish: granted(written.publish, Need::Publish, &mut refused),
            config: written.config,
            secrets: granted(written.secrets, Need::Secrets, &mut refused),
            refused,
        }
    }
}

/// What a key grants; one that is written and empty is noted in `refused`.
fn granted<T>(written: Option<Vec<T>>, need: Need, refused: &mut BTreeSet<Need>) -> Vec<T> {
    if written.as_ref().is_some_and(Vec::is_empty) {
        refused.insert(need);
    }
    written.unwrap_or_default()
}

// === impl Grants ===

impl Grants {
    /// The grant for this secret.
    pub(crate) fn secret(&self, name: &str) -> Option<&SecretGrant> {
        self.secrets.iter().find(|grant| grant.name == name)
    }
}

/// Whether a list of names and beginnings covers this name. An empty list covers none.
pub(crate) fn covers(granted: &[String], name: &str) -> bool {
    granted.iter().any(|granted| match granted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => granted == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_covers_nothing() {
        assert!(!covers(&[], "a"));
        assert!(!covers(&[], ""));
    }

    #[test]
    fn a_star_covers_what_begins_so() {
        let granted = ["jobs".to_owned(), "tenant:*".to_owned()];
        for (name, expected) in
            [("jobs", true), ("jobs2", false), ("tenant:1", true), ("tenant", false), ("*", false)]
        {
            assert_eq!(covers(&granted, name), expected, "{name}");
        }
    }

    #[test]
    fn secrets_are_named_or_spelled_out_and_unknown_keys_refused() {
        let grants: Grants =
            serde_json::from_str(r#"{"secrets":["a",{"name":"b","reveal":true}],"cache":true}"#).unwrap();
        assert_eq!((grants.secrets[0].reveal, grants.secrets[1].reveal), (false, true));
        assert!(serde_json::from_str::<Grants>(r#"{"cash":true}"#).is_err());
    }

    #[test]
    fn an_empty_list_is_not_the_same_as_none() {
        let grants: Grants = serde_json::from_str(r#"{"http":[],"kv":[],"publish":["a"]}"#).unwrap();
        assert_eq!(Vec::from_iter(grants.refused), [Need::Http, Need::Kv]);
        assert!(serde_json::from_str::<Grants>("{}").unwrap().refused.is_empty());
    }
}
