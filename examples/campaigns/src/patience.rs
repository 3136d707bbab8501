//! What is nobody's fault uses no attempt: while the store or the team's own back end is away, a job comes again until it
//! is there.

use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{context, time};

/// Gives the job back for `pause` where it would have used up an attempt; what is for good stays so.
pub fn outlast(failure: Failure, pause: Duration) -> Failure {
    match failure {
        Failure::Retry(reason) => {
            context::log(format!("tried again in {pause:?}: {reason}"));
            in_a_while(pause)
        }
        other => other,
    }
}

/// Gives the job back for so long.
pub fn in_a_while(pause: Duration) -> Failure {
    Failure::DelayUntil(time::now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
}
