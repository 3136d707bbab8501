//! Real keyed hashes over the secrets that the test gave.

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{denied, state};
use crate::error::HostError;
use crate::secrets::Algorithm;

/// A granted secret.
pub(in crate::testing) struct Secret {
    pub(in crate::testing) value: String,
    /// May the handler see it?
    pub(in crate::testing) reveal: bool,
}

/// What stands for a secret in a request: fit for headers, URLs and JSON, and not guessable from the value.
pub(in crate::testing) fn stand_in(name: &str) -> String {
    format!("jobcell-secret-{}", hex::encode(&Sha256::digest(name)[..16]))
}

fn with<R>(
    function: &str,
    name: &str,
    ask: impl FnOnce(&Secret) -> Result<R, HostError>,
) -> Result<R, HostError> {
    state::with(function, |state| match state.secrets.get(name) {
        Some(secret) => ask(secret),
        None => Err(denied(&format!("the secret `{name}`"), &format!("secrets = [\"{name}\"]"))),
    })
}

/// Feeds the message to the HMAC of the algorithm, and hands that to `$finish`.
macro_rules! keyed {
    ($algorithm:expr, $secret:expr, $message:expr, $finish:expr) => {
        match $algorithm {
            Algorithm::Sha1 => keyed!(@ Sha1, $secret, $message, $finish),
            Algorithm::Sha256 => keyed!(@ Sha256, $secret, $message, $finish),
            Algorithm::Sha512 => keyed!(@ Sha512, $secret, $message, $finish),
        }
    };
    (@ $hash:ty, $secret:expr, $message:expr, $finish:expr) => {
        Hmac::<$hash>::new_from_slice($secret.value.as_bytes())
            .map(|mac| $finish(mac.chain_update($message)))
            .map_err(|error| HostError::Invalid(error.to_string()))
    };
}

pub(crate) fn hmac(name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, HostError> {
    with("secrets::hmac", name, |secret| {
        keyed!(algorithm, secret, message, |mac: Hmac<_>| mac.finalize().into_bytes().to_vec())
    })
}

pub(crate) fn verify_hmac(
    name: &str,
    algorithm: Algorithm,
    message: &[u8],
    mac: &[u8],
) -> Result<bool, HostError> {
    with("secrets::verify_hmac", name, |secret| {
        keyed!(algorithm, secret, message, |keyed: Hmac<_>| keyed.verify_slice(mac).is_ok())
    })
}

pub(crate) fn placeholder(name: &str) -> Result<String, HostError> {
    with("secrets::placeholder", name, |_| Ok(stand_in(name)))
}

pub(crate) fn reveal(name: &str) -> Result<String, HostError> {
    with("secrets::reveal", name, |secret| match secret.reveal {
        true => Ok(secret.value.clone()),
        false => Err(denied(
            &format!("revealing the secret `{name}`"),
            &format!("secrets = [{{ name = \"{name}\", reveal = true }}]"),
        )),
    })
}
