//! What the operator says under `grants.config`.

use jobcell_sdk::config;
use jobcell_sdk::prelude::*;

/// Where the provider is, with the version of its API and without a slash at the end: `https://graph.facebook.com/v23.0`.
///
/// # Errors
/// Fatal when it is not set.
pub fn graph() -> Result<String, Failure> {
    text("graph")
}

/// Where the team's own back end is, without a slash at the end: `http://app.internal:3000`.
///
/// # Errors
/// Fatal when it is not set.
pub fn app() -> Result<String, Failure> {
    text("app")
}

/// How many messages of a campaign may wait on the queue of one number: two seconds' worth or so. The queue must not run
/// dry between two turns of the campaign, and everything that waits there is what a pause has to take back.
///
/// # Errors
/// Fatal when it is not set, or is no number above 0.
pub fn window() -> Result<u32, Failure> {
    match text("window")?.parse() {
        Ok(window) if window > 0 => Ok(window),
        _ => Err(Failure::fatal("grants.config: `window` is not a whole number above 0")),
    }
}

fn text(key: &str) -> Result<String, Failure> {
    let value = config::get(key)?;
    let value = value.or_fatal(format!("grants.config has no `{key}`; see the README of the example"))?;
    Ok(value.trim_end_matches('/').to_owned())
}
