//! What a plugin says of itself, in words that nobody knows.

use jobcell_sdk::prelude::*;

#[handler]
fn resize(job: Job<Raw>) -> Result<u32, Failure> {
    drop(job);
    Ok(1)
}

plugin!(
    resize;
    wants(cache("x"), kv, gpu, blobs("up\"loads"), http("https://a.example") = 7, kv("a"));
    limits(memory_bytes = 0, fuel = 7);
    limits(deadline_ms = 1);
    needs(cache)
);

fn main() {}
