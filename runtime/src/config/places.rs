//! `[blobs]` and `[trust]`: where blobs lie, and whose handlers are believed.

use super::forms::{Form, SWITCH, TEXTS, scheme_of, text};
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// A blob store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsConfig {
    /// Where it is: `file://`, `memory://`, `s3://`, `gs://`, `az://`.
    pub url: String,
}

/// Whose handlers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Handlers without a signature by one of `keys` are refused.
    pub require_signature: bool,
    /// Public keys: `ed25519:` and base64.
    pub keys: Vec<String>,
}

const URL: Key<String> = Key::new(
    "url",
    Form {
        name: "URL",
        expects: "\"file:///absolute/path\", \"memory://\", \"s3://bucket/prefix\", \"gs://bucket\" or \"az://container\"",
        read: blobs_url,
    },
    Absent::Required,
    "Where the blobs lie. Credentials come from the usual `AWS_*`, `GOOGLE_*` and `AZURE_*` variables, never from here.",
);
pub(super) static BLOBS: Section =
    Section { about: "Stores for large data, granted to handlers by name.", keys: &[URL.entry()] };

const REQUIRE_SIGNATURE: Key<bool> = Key::value(
    "require-signature",
    SWITCH,
    "false",
    "Refuses versions that none of `keys` has signed, from wherever they come: on deploying, on activating, and on every \
     host before it loads one.",
);
const KEYS: Key<Vec<String>> = Key::new(
    "keys",
    Form { name: "list of keys", expects: "a list of public keys such as [\"ed25519:BASE64\"]", read: keys },
    Absent::Means("none"),
    "Public keys whose signatures are believed, as `jobcell handler keygen` prints them. A signature by any other key, or \
     one that does not fit, is refused even where none is required.",
);
pub(super) static TRUST: Section =
    Section { about: "Whose handlers are believed.", keys: &[REQUIRE_SIGNATURE.entry(), KEYS.entry()] };

const BLOB_SCHEMES: [&str; 5] = ["file", "memory", "s3", "gs", "az"];

pub(super) fn read_blobs(reader: &Reader<'_>) -> Option<BlobsConfig> {
    Some(BlobsConfig { url: reader.get(&URL)? })
}

pub(super) fn read_trust(reader: &Reader<'_>) -> TrustConfig {
    let trust = TrustConfig {
        require_signature: reader.value(&REQUIRE_SIGNATURE),
        keys: reader.get(&KEYS).unwrap_or_default(),
    };
    if trust.require_signature && trust.keys.is_empty() && reader.node(KEYS.name).is_none() {
        let fix = "add keys = [\"ed25519:…\"], or remove it";
        reader.fault(
            REQUIRE_SIGNATURE.name,
            "is set, but there is no key: every handler would be refused",
            fix,
        );
    }
    trust
}

fn blobs_url(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    let (scheme, rest) = scheme_of(&text)?;
    if !BLOB_SCHEMES.contains(&scheme) {
        return Err(format!("has the unknown scheme {scheme:?}"));
    }
    if rest.contains('@') {
        return Err("holds credentials, which do not belong here".to_owned());
    }
    match scheme {
        "file" if !rest.starts_with('/') => Err("is not an absolute path (three slashes)".to_owned()),
        "s3" | "gs" | "az" if rest.trim_matches('/').is_empty() => Err("names no bucket".to_owned()),
        _ => Ok(text),
    }
}

fn keys(node: &Node) -> Result<Vec<String>, String> {
    let keys = (TEXTS.read)(node)?;
    match keys.iter().find(|key| !is_key(key)) {
        Some(_) => Err("has an item that is not ed25519: and 44 characters of base64".to_owned()),
        None => Ok(keys),
    }
}

/// 32 bytes in base64 are 43 characters and a `=`.
fn is_key(key: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    key.strip_prefix("ed25519:")
        .and_then(|key| key.strip_suffix('='))
        .is_some_and(|key| key.len() == 43 && key.chars().all(is_base64))
}
