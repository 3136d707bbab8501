//! The database, behind its API.

use jobcell_sdk::config;
use jobcell_sdk::http::{Request, Response};
use jobcell_sdk::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Asks for something.
///
/// # Errors
/// When there is no answer, or one that says no.
pub fn get<T: DeserializeOwned>(path: &str) -> Result<T, Failure> {
    let response = Request::get(url(path)?).send()?;
    answer("GET", path, &response)
}

/// Has something done, once for each key: the API knows which it has seen.
///
/// # Errors
/// When there is no answer, or one that says no. A 4xx will be the same next time.
pub fn post<T: DeserializeOwned>(path: &str, key: &str, body: &impl Serialize) -> Result<T, Failure> {
    let response = Request::post(url(path)?).header("idempotency-key", key).json(body).send()?;
    answer("POST", path, &response)
}

fn url(path: &str) -> Result<String, Failure> {
    let base = config::get("database")?.or_fatal("config = { database = \"http://…\" } is missing")?;
    Ok(format!("{}{path}", base.trim_end_matches('/')))
}

fn answer<T: DeserializeOwned>(method: &str, path: &str, response: &Response) -> Result<T, Failure> {
    match response.status {
        200..=299 => response.json().or_fatal(format!("{method} {path}")),
        400..=499 if response.status != 429 => Err(Failure::fatal(format!(
            "{method} {path} was answered with {}: {}",
            response.status,
            response.text()
        ))),
        status => Err(Failure::retry(format!("{method} {path} was answered with {status}"))),
    }
}
