//! Says a secret that it may see wherever a handler can say something.

use std::io::Write;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{context, secrets};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Leak {
    secret: String,
    how: How,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Log,
    Print,
    Progress,
    Fatal,
    Retry,
    Panic,
}

/// Says the secret in this way.
#[handler]
pub(crate) fn leak(job: Job<Leak>) -> Result<(), Failure> {
    let value = secrets::reveal(&job.data.secret)?;
    match job.data.how {
        How::Log => context::log(format!("first\nthe key is {value}, and again {value}")),
        How::Print => {
            // A line that comes in two writes.
            let (start, end) = value.split_at(value.len() / 2);
            let mut out = std::io::stdout();
            for piece in ["the key is ", start, end, "\n"] {
                out.write_all(piece.as_bytes()).and_then(|()| out.flush()).or_retry("cannot print")?;
            }
        }
        How::Progress => context::progress(&format!("at {value}"))?,
        How::Fatal => return Err(Failure::fatal(format!("the key {value} is refused"))),
        How::Retry => return Err(Failure::retry(format!("the key {value} is refused"))),
        How::Panic => panic!("the key {value} is refused"),
    }
    Ok(())
}
