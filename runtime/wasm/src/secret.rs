//! Secrets, and the stand-ins under which guests handle them.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The secrets of the host, by name. Values never show in `Debug`, errors or logs.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<String, Secret>,
}

/// One secret value.
pub(crate) struct Secret(Box<str>);

// === impl Secrets ===

impl Secrets {
    /// With these values.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().map(|(name, value)| (name, Secret(value.into()))).collect() }
    }

    /// The value, when it exists.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// The names, for messages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

// === impl Secret ===

impl Secret {
    /// The value itself: for hashing, sending and, where granted, revealing.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What every stand-in begins with: letters, digits and dashes only, so that it survives in headers, URLs, JSON and
/// forms alike.
pub(crate) const PLACEHOLDER_START: &str = "jobcell-secret-";

/// Makes the stand-ins of one handler.
pub(crate) struct Placeholders {
    key: [u8; 32],
}

// === impl Placeholders ===

impl Placeholders {
    /// With a key of its own: nobody can guess a stand-in, or use that of another handler.
    pub(crate) fn new() -> Self {
        Self { key: rand::random() }
    }

    /// The stand-in for this secret: the same each time.
    pub(crate) fn of(&self, secret: &str) -> String {
        let tag = keyed::<Hmac<Sha256>>(&self.key, secret.as_bytes());
        format!("{PLACEHOLDER_START}{}", hex::encode(&tag[..16]))
    }
}

/// The keyed hash of a message. HMAC takes keys of any length, so this cannot fail.
pub(crate) fn keyed<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows() {
        let secrets = Secrets::new([("stripe".to_owned(), "whsec_value".to_owned())]);
        let shown = format!("{secrets:?} {:?}", secrets.get("stripe"));
        assert!(shown.contains("stripe") && !shown.contains("whsec"), "{shown}");
    }

    #[test]
    fn stand_ins_are_stable_within_a_handler_and_differ_between_handlers() {
        let (a, b) = (Placeholders::new(), Placeholders::new());
        assert_eq!(a.of("x"), a.of("x"));
        assert_ne!(a.of("x"), a.of("y"));
        assert_ne!(a.of("x"), b.of("x"));
    }
}
