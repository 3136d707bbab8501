//! Payloads must be readable, results writable, and failures be `Failure`.

use jobcell_sdk::prelude::*;

struct Plain;

#[handler]
fn unreadable(_job: Job<Plain>) -> Result<(), Failure> {
    Ok(())
}

#[handler]
fn unwritable(_job: Job<Raw>) -> Result<Plain, Failure> {
    Ok(Plain)
}

#[handler]
fn other_failure(_job: Job<Raw>) -> Result<(), String> {
    Ok(())
}

fn main() {}
