//! Every interface that the host offers, and the grant that each needs. Admission, `inspect` and the messages of both
//! are made from this table.

use std::fmt;

/// A grant that an import can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Outgoing requests.
    Http,
    /// Blob stores.
    Blobs,
    /// The cache.
    Cache,
    /// Buckets of the key-value store.
    Kv,
    /// Queues to put jobs on.
    Enqueue,
    /// Channels to publish to.
    Publish,
    /// Secrets.
    Secrets,
}

impl Need {
    /// The line for the grants table, to be filled in.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Self::Http => r#"http = [{ url = "https://…", methods = ["GET"] }]"#,
            Self::Blobs => r#"blobs = ["…"]"#,
            Self::Cache => "cache = true",
            Self::Kv => r#"kv = ["…"]"#,
            Self::Enqueue => r#"enqueue = ["…"]"#,
            Self::Publish => r#"publish = ["…"]"#,
            Self::Secrets => r#"secrets = ["…"]"#,
        }
    }

    /// The key of the grants table.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Blobs => "blobs",
            Self::Cache => "cache",
            Self::Kv => "kv",
            Self::Enqueue => "enqueue",
            Self::Publish => "publish",
            Self::Secrets => "secrets",
        }
    }

    /// Whether the key takes a list, which can be written and hold nothing.
    pub(crate) fn is_list(self) -> bool {
        self != Self::Cache
    }
}

/// One offered interface.
pub(crate) struct Offered {
    /// Without the version.
    pub(crate) name: &'static str,
    /// The version of the host's own text of it.
    pub(crate) version: &'static str,
    pub(crate) need: Option<Need>,
}

/// The version of our own contract.
pub const WIT_VERSION: &str = "0.1.0";
/// The last one of WASI 0.2 that the engine's tables were written from. Any 0.2 is accepted; what a newer one adds
/// shows when the component is linked.
const WASI: &str = "0.2.12";

const fn ours(name: &'static str, need: Option<Need>) -> Offered {
    Offered { name, version: WIT_VERSION, need }
}

const fn wasi(name: &'static str) -> Offered {
    Offered { name, version: WASI, need: None }
}

const fn wasi_http(name: &'static str) -> Offered {
    Offered { name, version: WASI, need: Some(Need::Http) }
}

const fn keyvalue(name: &'static str, version: &'static str) -> Offered {
    Offered { name, version, need: Some(Need::Kv) }
}

const fn draft(name: &'static str, version: &'static str) -> Offered {
    Offered { name, version, need: None }
}

/// Every interface that the host offers.
pub(crate) const OFFERED: &[Offered] = &[
    ours("jobcell:job/types", None),
    ours("jobcell:job/context", None),
    ours("jobcell:job/jobs", Some(Need::Enqueue)),
    ours("jobcell:job/publish", Some(Need::Publish)),
    ours("jobcell:job/cache", Some(Need::Cache)),
    ours("jobcell:job/blobs", Some(Need::Blobs)),
    ours("jobcell:job/secrets", Some(Need::Secrets)),
    wasi_http("wasi:http/types"),
    wasi_http("wasi:http/outgoing-handler"),
    keyvalue("wasi:keyvalue/store", crate::capability::KEYVALUE_VERSIONS[0]),
    keyvalue("wasi:keyvalue/store", crate::capability::KEYVALUE_VERSIONS[1]),
    keyvalue("wasi:keyvalue/atomics", crate::capability::KEYVALUE_VERSIONS[0]),
    keyvalue("wasi:keyvalue/atomics", crate::capability::KEYVALUE_VERSIONS[1]),
    draft("wasi:config/store", crate::capability::CONFIG_VERSIONS[0]),
    draft("wasi:config/store", crate::capability::CONFIG_VERSIONS[1]),
    draft("wasi:logging/logging", crate::capability::LOGGING_VERSION),
    wasi("wasi:io/error"),
    wasi("wasi:io/poll"),
    wasi("wasi:io/streams"),
    wasi("wasi:clocks/wall-clock"),
    wasi("wasi:clocks/monotonic-clock"),
    wasi("wasi:random/random"),
    wasi("wasi:random/insecure"),
    wasi("wasi:random/insecure-seed"),
    wasi("wasi:cli/environment"),
    wasi("wasi:cli/exit"),
    wasi("wasi:cli/stdin"),
    wasi("wasi:cli/stdout"),
    wasi("wasi:cli/stderr"),
    wasi("wasi:cli/terminal-input"),
    wasi("wasi:cli/terminal-output"),
    wasi("wasi:cli/terminal-stdin"),
    wasi("wasi:cli/terminal-stdout"),
    wasi("wasi:cli/terminal-stderr"),
    wasi("wasi:filesystem/types"),
    wasi("wasi:filesystem/preopens"),
    wasi("wasi:sockets/network"),
    wasi("wasi:sockets/instance-network"),
    wasi("wasi:sockets/ip-name-lookup"),
    wasi("wasi:sockets/tcp"),
    wasi("wasi:sockets/tcp-create-socket"),
    wasi("wasi:sockets/udp"),
    wasi("wasi:sockets/udp-create-socket"),
];

/// How an import stands to what the host offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Offered, with this need.
    Offered(Option<Need>),
    /// Offered in another version only.
    OtherVersion {
        /// The host's.
        host: &'static str,
    },
    /// Not offered.
    Unknown,
}

/// Looks an import up by its full name, `namespace:package/interface@version`.
pub(crate) fn standing(import: &str) -> Standing {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    let mut standing = Standing::Unknown;
    for offered in OFFERED.iter().filter(|offered| offered.name == name) {
        if compatible(version, offered.version) {
            return Standing::Offered(offered.need);
        }
        standing = Standing::OtherVersion { host: offered.version };
    }
    standing
}

/// Whether a guest's version can be served by the host's: the engine links within one major version, or one minor
/// version before 1.0, and drafts only to themselves.
fn compatible(guest: &str, host: &str) -> bool {
    guest == host || track(guest).is_some_and(|guest| Some(guest) == track(host))
}

fn track(version: &str) -> Option<(u64, u64)> {
    if version.contains('-') {
        return None;
    }
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next()??, parts.next()??) {
        (0, 0) => None,
        (0, minor) => Some((0, minor)),
        (major, _) => Some((major, 0)),
    }
}

/// The table as text, for messages.
pub(crate) struct Everything;

impl fmt::Display for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Offered { name, version, .. }) in OFFERED.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}@{version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_meet_within_a_track_only() {
        assert_eq!(standing("wasi:io/poll@0.2.3"), Standing::Offered(None));
        assert_eq!(standing("jobcell:job/cache@0.1.7"), Standing::Offered(Some(Need::Cache)));
        assert_eq!(standing("jobcell:job/cache@0.2.0"), Standing::OtherVersion { host: "0.1.0" });
        assert_eq!(standing("wasi:config/store@0.2.0-draft"), Standing::Offered(None));
        assert!(matches!(standing("wasi:config/store@0.2.0"), Standing::OtherVersion { .. }));
        assert_eq!(standing("wasi:keyvalue/batch@0.2.0-draft"), Standing::Unknown);
        assert_eq!(standing("wasi:io/poll"), Standing::OtherVersion { host: WASI });
    }

    #[test]
    fn every_interface_of_the_contract_is_in_the_table() {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/");
        for file in ["types.wit", "handler.wit"] {
            let text = std::fs::read_to_string(format!("{wit}{file}")).unwrap();
            assert!(text.contains(&format!("package jobcell:job@{WIT_VERSION};")));
            for line in text.lines().filter_map(|line| line.strip_prefix("interface ")) {
                let name = format!("jobcell:job/{}", line.trim_end_matches(" {"));
                assert!(OFFERED.iter().any(|offered| offered.name == name), "{name}");
            }
        }
    }
}
