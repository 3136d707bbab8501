//! Using a secret without seeing it. The operator grants each secret by name; without the grant every function
//! answers [`HostError::Denied`].

use crate::error::HostError;
use crate::host;

/// The hash below the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA1, 20 bytes; only for services that offer nothing better.
    Sha1,
    /// HMAC-SHA256, 32 bytes.
    Sha256,
    /// HMAC-SHA512, 64 bytes.
    Sha512,
}

/// The keyed hash of a message, computed by the host.
///
/// # Errors
/// [`HostError::Denied`] without the grant.
pub fn hmac(secret: &str, algorithm: Algorithm, message: impl AsRef<[u8]>) -> Result<Vec<u8>, HostError> {
    host::secrets::hmac(secret, algorithm, message.as_ref())
}

/// Is this the keyed hash of the message? Compared by the host in constant time; a `mac` of the wrong length is
/// simply not it.
///
/// # Errors
/// [`HostError::Denied`] without the grant.
pub fn verify_hmac(
    secret: &str,
    algorithm: Algorithm,
    message: impl AsRef<[u8]>,
    mac: impl AsRef<[u8]>,
) -> Result<bool, HostError> {
    host::secrets::verify_hmac(secret, algorithm, message.as_ref(), mac.as_ref())
}

/// A stand-in to put into an outgoing request; the host replaces it where the grant allows, nowhere else.
///
/// # Errors
/// [`HostError::Denied`] without the grant.
pub fn placeholder(secret: &str) -> Result<String, HostError> {
    host::secrets::placeholder(secret)
}

/// The secret itself.
///
/// # Errors
/// [`HostError::Denied`] unless the operator granted exactly that (`{ name = "…", reveal = true }`).
pub fn reveal(secret: &str) -> Result<String, HostError> {
    host::secrets::reveal(secret)
}
