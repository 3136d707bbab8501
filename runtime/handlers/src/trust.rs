//! Whose versions may run: ed25519 signatures over a version's digest and its manifest.
//!
//! A signature is detached: one line of text, kept beside the component and sent with it. The store is not trusted with
//! it: every host checks the signature of what it fetched against the keys of its own configuration.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Stands before what is signed, so that no signature made for another purpose is one of a version.
const DOMAIN: &[u8] = b"jobcell handler version, signature 1\0";
/// What the text of a public key and of a signature begins with.
const SCHEME: &str = "ed25519:";
/// What the text of a secret key begins with: searches for leaked secrets find it.
const SECRET_SCHEME: &str = "ed25519-secret:";
/// Bytes of a key's id: enough to tell the keys of an operator apart. Which key it is decides the signature alone.
const KEY_ID_BYTES: usize = 8;

/// Which signatures count, and whether one is needed.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    is_required: bool,
    keys: Vec<PublicKey>,
}

/// A key that signatures are checked with: `ed25519:` and the base64 of its 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

/// A key by the first 16 hex digits of its sha256: what listings and messages show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID_BYTES]);

/// A key that versions are signed with. It is shown to nobody but by [`SecretKey::expose`].
pub struct SecretKey(SigningKey);

/// A signature of a version: `ed25519:`, the id of the key, `:`, and the base64 of its 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    by: KeyId,
    signature: [u8; 64],
}

/// A text that is no key or no signature. It never holds what was given: that may be a secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No public key.
    #[error(
        "it is no public key; it begins with `ed25519:`, and the base64 of 32 bytes follows, as `jobcell handler keygen` prints it"
    )]
    Public,
    /// A secret key where a public one belongs.
    #[error("it is a secret key: keep it from the configuration, and give the public key that belongs to it")]
    SecretForPublic,
    /// No secret key.
    #[error(
        "it is no secret key; it begins with `ed25519-secret:`, and the base64 of 32 bytes follows, as `jobcell handler keygen` writes it"
    )]
    Secret,
    /// No signature.
    #[error(
        "it is no signature; it is one line `ed25519:KEY-ID:BASE64`, as `jobcell handler sign` writes it"
    )]
    Signature,
    /// No key's id.
    #[error("it is no id of a key, which has 16 hex digits")]
    Id,
}

/// A version that may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It has no signature, and one is needed.
    #[error(
        "handler {handler:?}: version {} is not signed, and [trust] require-signature is true; sign it with \
         `jobcell handler sign` by one of {known}", digest.short()
    )]
    Unsigned {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// The keys there are.
        known: KnownKeys,
    },
    /// It is signed by a key that is not trusted.
    #[error(
        "handler {handler:?}: version {} is signed by key {key}, which is not among [trust] keys ({known}); sign it by \
         one of those, or add the key if you trust its owner", digest.short()
    )]
    UnknownKey {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// The key that the signature names.
        key: KeyId,
        /// The keys there are.
        known: KnownKeys,
    },
    /// The signature is not that key's over this version.
    #[error(
        "handler {handler:?}: the signature of version {} is not one of key {key} over these bytes; they or the \
         signature were changed, or it belongs to another build: sign this one", digest.short()
    )]
    BadSignature {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// The key.
        key: KeyId,
    },
}

/// The ids of the keys that are trusted, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKeys(Vec<KeyId>);

// === impl Trust ===

impl Trust {
    /// With these keys. Where signatures are required, what has none is refused; where not, a signature that is there is
    /// checked all the same.
    #[must_use]
    pub fn new(is_required: bool, keys: Vec<PublicKey>) -> Self {
        Self { is_required, keys }
    }

    /// Whether a version needs a signature.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// Checks the signature of a version; `manifest` is the section's bytes, empty where there is none. Returns whose it
    /// is; none for a version without one where none is needed. Without any configured key a signature says nothing,
    /// and is not looked at unless one is required.
    ///
    /// # Errors
    /// When it is missing, by an unknown key, or wrong.
    pub fn verify(
        &self,
        handler: &str,
        digest: &Digest,
        manifest: &[u8],
        signature: Option<&Signature>,
    ) -> Result<Option<KeyId>, TrustError> {
        let Self { is_required, keys } = self;
        let known = || KnownKeys(keys.iter().map(PublicKey::id).collect());
        let handler = || handler.to_owned();
        let Some(Signature { by: key, signature }) = signature else {
            if *is_required {
                return Err(TrustError::Unsigned { handler: handler(), digest: *digest, known: known() });
            }
            return Ok(None);
        };
        if keys.is_empty() && !is_required {
            return Ok(None);
        }
        let Some(trusted) = keys.iter().find(|trusted| trusted.id == *key) else {
            return Err(TrustError::UnknownKey {
                handler: handler(),
                digest: *digest,
                key: *key,
                known: known(),
            });
        };
        // Strictly: no signature can be altered into another that holds as well, and no weak key takes any.
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        match trusted.key.verify_strict(&signed(digest, manifest), &signature) {
            Ok(()) => Ok(Some(*key)),
            Err(_) => Err(TrustError::BadSignature { handler: handler(), digest: *digest, key: *key }),
        }
    }
}

/// What is signed. The manifest's length stands before it, so that no two versions share one text.
fn signed(digest: &Digest, manifest: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(DOMAIN.len() + 32 + 8 + manifest.len());
    signed.extend_from_slice(DOMAIN);
    signed.extend_from_slice(digest.as_bytes());
    signed.extend_from_slice(&(manifest.len() as u64).to_be_bytes());
    signed.extend_from_slice(manifest);
    signed
}

/// The bytes of a base64 text, when they are so many.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Longer texts are not even looked at.
    if text.len() > N.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

// === impl PublicKey ===

impl PublicKey {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn of(key: VerifyingKey) -> Self {
        let hash = Sha256::digest(key.as_bytes());
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self { key, id: KeyId(id) }
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with(SECRET_SCHEME) {
            return Err(KeyError::SecretForPublic);
        }
        let bytes = text.strip_prefix(SCHEME).and_then(decode::<32>).ok_or(KeyError::Public)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Public)?;
        // Such a key takes signatures that nobody made.
        if key.is_weak() { Err(KeyError::Public) } else { Ok(Self::of(key)) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", STANDARD.encode(self.key.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl KeyId ===

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Id)?;
        Ok(Self(bytes))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

// === impl SecretKey ===

impl SecretKey {
    /// The key of these 32 bytes, which must come from the system's source of randomness.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// What its signatures are checked with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.verifying_key())
    }

    /// Its text, for the file that only its owner reads.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{SECRET_SCHEME}{}", STANDARD.encode(self.0.as_bytes()))
    }

    /// Signs a version; `manifest` is the section's bytes, empty where there is none.
    #[must_use]
    pub fn sign(&self, digest: &Digest, manifest: &[u8]) -> Signature {
        let signature = self.0.sign(&signed(digest, manifest)).to_bytes();
        Signature { by: self.public().id, signature }
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let seed = text.trim().strip_prefix(SECRET_SCHEME).and_then(decode::<32>).ok_or(KeyError::Secret)?;
        Ok(Self::from_seed(seed))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id)
    }
}

// === impl Signature ===

impl Signature {
    /// The key that it says it is by; only [`Trust::verify`] tells whether it is.
    #[must_use]
    pub fn claimed_key(&self) -> KeyId {
        self.by
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, signature } = self;
        write!(f, "{SCHEME}{by}:{}", STANDARD.encode(signature))
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (by, signature) = text
            .trim()
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once(':'))
            .ok_or(KeyError::Signature)?;
        let by = by.parse().map_err(|_| KeyError::Signature)?;
        let signature = decode(signature).ok_or(KeyError::Signature)?;
        Ok(Self { by, signature })
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

// === impl KnownKeys ===

impl fmt::Display for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no key is configured");
        }
        for (at, key) in self.0.iter().enumerate() {
            write!(f, "{}{key}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
