//! Job `save-donation`: one row in the team's database, through the team's own API.
//!
//! The answer of a request can get lost after the row was written, and then the job is tried again. So every attempt sends
//! the same `Idempotency-Key`, and the API answers a key that it knows with the row that is there.

use std::time::Duration;

use jobcell_sdk::http::{Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{config, secrets};
use serde::{Deserialize, Serialize};

use crate::record::Record;

/// Longer than the API ever takes, shorter than the attempt: what went wrong can still be told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No API is believed that wants more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Characters of an answer that people get to read.
const SHOWN_CHARS: usize = 240;

/// The row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Its id in the team's database.
    pub id: String,
}

/// Sends the donation to `<api>/internal/donations`.
///
/// # Errors
/// A retry when the API cannot be reached or says that it is busy, after the time that it asks for; fatal when it refuses
/// the donation or the key.
#[handler]
pub fn save_donation(job: Job<Record>) -> Result<Saved, Failure> {
    let api = config::get("api")?.or_fatal("grants.config has no `api`: the address of the team's API")?;
    let response = Request::post(format!("{}/internal/donations", api.trim_end_matches('/')))
        .bearer(secrets::placeholder("backend-token")?)
        .header("idempotency-key", &job.idempotency_key)
        .json(&job.data)
        .timeout(TIMEOUT)
        .send()?;
    if response.is_success() {
        return Ok(response.json()?);
    }
    let reason = format!("the API answers {}: {}", response.status, beginning(&response));
    Err(match response.status {
        408 | 425 | 429 | 500..=599 => match retry_after(&response) {
            Some(delay) => Failure::retry_after(reason, delay),
            None => Failure::retry(reason),
        },
        _ => Failure::fatal(reason),
    })
}

/// `Retry-After` in seconds.
fn retry_after(response: &Response) -> Option<Duration> {
    let secs = response.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX))
}

fn beginning(response: &Response) -> String {
    response.text().chars().take(SHOWN_CHARS).collect()
}
