//! The keys of the attribute, and what they want.

use jobcell_sdk::prelude::*;

#[handler(nmae = "resize", queue)]
fn resize(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler(name)]
fn crop(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler(name = " ")]
fn trim(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler(name = "rest", any)]
fn rest(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler(any = "all")]
fn all(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

#[handler(name = 7)]
fn seven(_job: Job<Raw>) -> Result<(), Failure> {
    Ok(())
}

fn main() {}
