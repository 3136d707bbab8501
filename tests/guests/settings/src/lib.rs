//! A guest of its own for `wasi:config/store`, so that the others load on a host that does not offer it.

use jobcell_sdk::config;
use jobcell_sdk::prelude::*;

/// Answers the operator's setting under this key.
#[handler]
fn setting(job: Job<String>) -> Result<Option<String>, Failure> {
    Ok(config::get(&job.data)?)
}

plugin!(setting);
