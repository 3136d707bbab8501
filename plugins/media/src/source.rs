//! Getting the picture's bytes, and what it means for the job when they do not come.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Request, Response};
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::{HostError, blobs, time};

use crate::limits::Limits;
use crate::payload::{BlobSource, Source};
use crate::refusal::Refusal;
use crate::retry_after;

/// Longest wait for a server, well inside a job's usual 30 seconds so that a slow one is a retry with a reason
/// and not a job stopped at its deadline.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the store or server calls it.
    pub content_type: Option<String>,
    /// Memory that fetching took, all of it counted as gone: a download grows buffer by buffer, and the holes that
    /// the smaller ones leave may never be used again.
    pub held_bytes: u64,
}

/// Checks what can be checked of a source without fetching it.
///
/// # Errors
/// [`Refusal::Payload`].
pub fn check(source: &Source) -> Result<(), Refusal> {
    match source {
        Source::Blob(BlobSource { store, key }) => {
            if store.is_empty() || key.is_empty() {
                return Err(Refusal::payload("source.blob", "name a store and a key"));
            }
        }
        Source::Url(url) => {
            let authority = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
            match authority {
                None => return Err(Refusal::payload("source.url", "only https:// addresses are fetched")),
                Some("") => return Err(Refusal::payload("source.url", "the address has no host")),
                Some(authority) if authority.contains('@') => {
                    return Err(Refusal::payload("source.url", "no user or password belongs in an address"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Fetches the source, at most `limits.bytes` of it.
///
/// # Errors
/// Fatal when it is not there, not granted or too large; a retry when the store, the server or the way there
/// is at fault, after the time that the server asks for.
pub fn fetch(source: &Source, limits: &Limits) -> Result<Fetched, Failure> {
    match source {
        Source::Blob(blob) => from_blob(blob, limits),
        Source::Url(url) => from_url(url, limits),
    }
}

fn from_blob(BlobSource { store, key }: &BlobSource, limits: &Limits) -> Result<Fetched, Failure> {
    let failed = |error| blob_failure(error, &format!("source blob `{store}/{key}`"));
    // Ask for the size first: a video uploaded by mistake is refused without moving it.
    let info = blobs::head(store, key).map_err(failed)?;
    limits.check_bytes(info.size).map_err(Refusal::into_failure)?;
    let bytes = blobs::get(store, key).map_err(failed)?;
    limits.check_bytes(bytes.len() as u64).map_err(Refusal::into_failure)?;
    let held_bytes = bytes.len() as u64;
    Ok(Fetched { bytes, content_type: info.content_type, held_bytes })
}

/// What a refused or failed blob operation means for the job; `what` names the blob.
pub(crate) fn blob_failure(error: HostError, what: &str) -> Failure {
    match error {
        HostError::NotFound | HostError::Denied(_) | HostError::Invalid(_) | HostError::TooLarge(_) => {
            Failure::fatal(format!("{what}: {error}"))
        }
        HostError::Quota(_) | HostError::Unavailable(_) | HostError::Other(_) => {
            Failure::retry(format!("{what}: {error}"))
        }
    }
}

fn from_url(url: &str, limits: &Limits) -> Result<Fetched, Failure> {
    let shown = without_query(url);
    let response = Request::get(url)
        .header("accept", "image/webp, image/png, image/jpeg, image/gif, image/*;q=0.1")
        .timeout(TIMEOUT)
        .max_body(usize::try_from(limits.bytes).unwrap_or(usize::MAX))
        .send()
        .map_err(|error| http_failure(&error, shown))?;
    if response.status != 200 {
        return Err(status_failure(&response, shown));
    }
    let content_type = response.header("content-type").map(str::to_owned);
    limits.check_bytes(response.body.len() as u64).map_err(Refusal::into_failure)?;
    let held_bytes = (response.body.capacity() + response.body.len()) as u64;
    let mut bytes = response.body;
    bytes.shrink_to_fit();
    Ok(Fetched { bytes, content_type, held_bytes })
}

/// Signed addresses carry their signature in the query, and messages are read by many.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn http_failure(error: &HttpError, shown: &str) -> Failure {
    let text = format!("{shown}: {error}");
    if error.is_permanent() { Failure::fatal(text) } else { Failure::retry(text) }
}

/// An answer that is not the picture. Statuses that a later try may turn into one are retried.
fn status_failure(response: &Response, shown: &str) -> Failure {
    let status = response.status;
    let reason = format!("{shown} answers {status}");
    let wait = || response.header("retry-after").and_then(|value| retry_after::wait(value, time::now_ms()));
    match status {
        429 | 500..=599 => match wait() {
            Some(wait) => Failure::retry_after(reason, wait),
            None => Failure::retry(reason),
        },
        408 | 425 => Failure::retry(reason),
        300..=399 => Failure::fatal(format!("{reason}; redirects are not followed, give the final address")),
        _ => Failure::fatal(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_pass() {
        let url = |url: &str| check(&Source::Url(url.into()));
        assert!(url("https://cdn.example.com/a.jpg?token=x").is_ok());
        for bad in ["http://example.com/a", "ftp://x/", "//x", "https://", "https:///a", "https://u:p@x/a"] {
            assert!(matches!(url(bad), Err(Refusal::Payload { .. })), "{bad}");
        }
    }

    #[test]
    fn tokens_stay_out_of_messages() {
        assert_eq!(without_query("https://x/a.jpg?token=secret#part"), "https://x/a.jpg");
    }
}
