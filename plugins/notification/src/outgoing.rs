//! The one way out for the channels that are HTTP: same headers, same time limit, same reading of what failed.

use std::time::Duration;

use jobcell_sdk::http::{Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{HostError, context, secrets, time};
use sha2::{Digest, Sha256};

use crate::answer;
use crate::fault::Fault;

/// Time for one exchange, in seconds. A retry is cheaper than a slot that waits.
const TIMEOUT_DEFAULT_SECS: u64 = 10;
const TIMEOUT_MAX_SECS: u64 = 60;
/// Longest answer read, in bytes. Above it the exchange counts as failed although the message may have been
/// taken, so it is far beyond what any receiver of messages answers.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest key sent as it is; the shortest limit among the services here (Resend).
const KEY_CHARS_MAX: usize = 256;
/// Some services refuse requests without one.
const USER_AGENT: &str = concat!("jobcell-notification/", env!("CARGO_PKG_VERSION"));

/// What the channels need to know of the job.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Goes with every request, the same for every attempt of the job.
    pub idempotency_key: String,
    timeout: Duration,
}

impl Outgoing {
    /// For this job, with the payload's time limit.
    ///
    /// # Errors
    /// A time limit out of bounds.
    pub fn new<T>(job: &Job<T>, timeout_secs: Option<u64>) -> Result<Self, Fault> {
        let secs = timeout_secs.unwrap_or(TIMEOUT_DEFAULT_SECS);
        if !(1..=TIMEOUT_MAX_SECS).contains(&secs) {
            return Err(Fault::new("timeout_secs", format!("is {secs}, it can be 1 to {TIMEOUT_MAX_SECS}")));
        }
        Ok(Self { idempotency_key: header_safe(&job.idempotency_key), timeout: Duration::from_secs(secs) })
    }

    /// A POST of this JSON text. Channels add their own headers.
    pub fn post(&self, url: &str, json: Vec<u8>) -> Request {
        Request::post(url)
            .header("Content-Type", "application/json")
            .header("User-Agent", USER_AGENT)
            .header("Idempotency-Key", &self.idempotency_key)
            .body(json)
    }

    /// Sends the request; any answer is returned, for the channel to judge. `what` names the message without its
    /// address, which may hold a secret.
    ///
    /// # Errors
    /// Fatal when the host refuses the request, retried when there is no answer.
    pub fn send(&self, request: Request, what: &str) -> Result<Response, Failure> {
        let request = request.timeout(self.timeout.min(context::remaining())).max_body(ANSWER_BYTES_MAX);
        request.send().map_err(|error| match error.is_permanent() {
            true => Failure::fatal(format!("{what}: {error}")),
            false => Failure::retry(format!("{what}: {error}")),
        })
    }

    /// [`Self::send`], and the common judgement of the answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`answer::judge`].
    pub fn deliver(&self, request: Request, what: &str) -> Result<Response, Failure> {
        let response = self.send(request, what)?;
        answer::judge(&response, what, time::now_ms())?;
        Ok(response)
    }
}

/// The stand-in for a secret in a request.
///
/// # Errors
/// Fatal when the host does not know or does not grant it, retried when the host cannot tell now.
pub fn placeholder(secret: &str) -> Result<String, Failure> {
    secrets::placeholder(secret).map_err(|error| secret_fault(secret, &error))
}

/// A secret that the host does not know will not appear by trying again; one it cannot reach now may.
pub fn secret_fault(secret: &str, error: &HostError) -> Failure {
    let reason = format!("secret `{secret}`: {error}");
    match error {
        HostError::NotFound => Failure::Fatal(reason),
        error if error.is_permanent() => Failure::Fatal(reason),
        _ => Failure::Retry(reason),
    }
}

/// The key itself where a header can carry it, otherwise its digest, which is as stable. Producers choose job ids,
/// and the key is made of them.
fn header_safe(key: &str) -> String {
    if (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return key.to_owned();
    }
    format!("sha256-{}", hex::encode(Sha256::digest(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_headers_cannot_carry_become_digests() {
        assert_eq!(header_safe("bull:mail:1"), "bull:mail:1");
        for odd in ["", "a b", "a\r\nx: y", "größe", &"k".repeat(257)] {
            let safe = header_safe(odd);
            assert!(safe.starts_with("sha256-") && safe.len() == 71, "{safe}");
            assert_eq!(safe, header_safe(odd));
        }
        assert_ne!(header_safe("a b"), header_safe("a c"));
    }
}
