//! `[trust]`: whose handlers are believed.

use super::forms::{Form, SWITCH, TEXTS};
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// Whose handlers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Handlers without a signature by one of `keys` are refused.
    pub require_signature: bool,
    /// Public keys: `ed25519:` and base64.
    pub keys: Vec<String>,
}

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

pub(super) fn read(reader: &Reader<'_>) -> TrustConfig {
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
