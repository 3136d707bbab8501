//! A handler takes the job even when it does not look at it, and answers even when there is nothing to say.

use jobcell_sdk::prelude::*;

#[handler]
fn tick() -> Result<(), Failure> {
    Ok(())
}

#[handler]
fn tock(_job: Job<Raw>) {}

fn main() {}
