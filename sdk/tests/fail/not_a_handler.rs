//! A plugin takes handlers, by the path at which they stand.

use jobcell_sdk::prelude::*;

fn resize(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

plugin!(resize);

fn main() {}
