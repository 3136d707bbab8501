//! All faults of a signature are told at once.

use jobcell_sdk::prelude::*;

#[handler]
async fn resize(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async unsafe extern "C" fn crop<T>(_job: Job<T>, _more: u8) -> Result<(), Failure> {
    Ok(())
}

fn main() {}
