//! The name of a version: the sha256 of its bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What a digest's text begins with.
const PREFIX: &str = "sha256:";
/// Hex digits of a whole digest.
const HEX_DIGITS: usize = 64;
/// Hex digits that a beginning has at least: fewer are a slip of the hand.
const START_DIGITS_MIN: usize = 4;

/// The sha256 of an artifact: the name of a version. As text `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// How somebody names a version: by its digest, or by a beginning that no other version of the handler has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestStart(String);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no digest; give sha256: and 64 hex digits, or the first {START_DIGITS_MIN} or more as listed \
     by `jobcell handler ls`"
)]
pub struct DigestError {
    /// What was given, cut to a length that can be shown.
    pub text: String,
}

// === impl Digest ===

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hex digits: what metrics, logs and listings show.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes the whole digest, with or without `sha256:`.
impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text.strip_prefix(PREFIX).unwrap_or(text), &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(DigestError::of(text)),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

// === impl DigestStart ===

impl DigestStart {
    /// Whether this digest begins so.
    #[must_use]
    pub fn begins(&self, digest: &Digest) -> bool {
        hex::encode(digest.0).starts_with(&self.0)
    }
}

impl From<Digest> for DigestStart {
    fn from(digest: Digest) -> Self {
        Self(hex::encode(digest.0))
    }
}

impl fmt::Display for DigestStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for DigestStart {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).unwrap_or(text);
        let is_start = (START_DIGITS_MIN..=HEX_DIGITS).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_start { Ok(Self(digits.to_ascii_lowercase())) } else { Err(DigestError::of(text)) }
    }
}

// === impl DigestError ===

impl DigestError {
    /// More than a digest has needs not be shown.
    const SHOWN_MAX: usize = 80;

    fn of(text: &str) -> Self {
        Self { text: text.chars().take(Self::SHOWN_MAX).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_the_sha256_of_the_bytes() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), format!("sha256:{HEX}"));
        assert_eq!(digest.short(), &HEX[..12]);
    }

    #[test]
    fn a_digest_reads_back_from_its_text_and_its_bare_digits() {
        let digest = Digest::of(b"abc");
        for text in [digest.to_string(), HEX.to_owned(), HEX.to_uppercase()] {
            assert_eq!(text.parse(), Ok(digest), "{text}");
        }
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn what_is_no_digest_is_told_and_cut() {
        for text in ["", "sha256:", &HEX[..63], "sha512:00", "é", &"0".repeat(1 << 20)] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(error.to_string().len() < 400, "{}", error.to_string().len());
        }
    }

    #[test]
    fn a_beginning_names_what_begins_so() {
        let digest = Digest::of(b"abc");
        for text in ["ba78", "sha256:BA7816bf", HEX, &digest.to_string()] {
            assert!(text.parse::<DigestStart>().unwrap().begins(&digest), "{text}");
        }
        assert!(!"ba79".parse::<DigestStart>().unwrap().begins(&digest));
        for text in ["", "ba7", "ba7x", "sha256:", &format!("{HEX}0")] {
            assert!(text.parse::<DigestStart>().is_err(), "{text}");
        }
        assert_eq!(DigestStart::from(digest).to_string(), digest.to_string());
    }
}
