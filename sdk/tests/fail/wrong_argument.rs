//! Payloads come inside of a job, and nothing else comes.

use jobcell_sdk::prelude::*;

#[derive(serde::Deserialize)]
struct Resize;

#[handler]
fn resize(_data: Resize) -> Result<(), Failure> {
    Ok(())
}

#[handler]
fn crop(_job: Job, _extra: u32) -> Result<(), Failure> {
    Ok(())
}

struct Images;

impl Images {
    #[handler]
    fn thumbnail(&self, _job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }
}

fn main() {}
