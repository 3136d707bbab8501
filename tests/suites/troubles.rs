//! The troubles that people have with Redis and with queues, each provoked for real. What the program says is held against
//! `docs/troubleshooting.md`: each test names the rows that it is there for, and their quotes must be in what was said.

mod connecting;
mod fake;
mod jobs;
mod login;
mod manual;
mod memory;
mod start;
mod strays;
mod subscriber;

use jobcell_tests::{Ran, Site};

/// A site whose config says nothing of Redis, with these variables, as a team has them in its `.env`.
fn site(variables: &[(&str, &str)]) -> Site {
    let none = Site::embedded(crate::stage::BASIC);
    variables.iter().fold(none, |site, (name, value)| site.env(name, value))
}

/// Everything that a command said, which must be of use: one sentence, no password, no panic.
fn said(ran: &Ran) -> String {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for secret in ["s3cret", "wr0ng"] {
        assert!(!said.contains(secret), "a password is shown: {ran}");
    }
    for trace in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!said.contains(trace), "{ran}");
    }
    said
}

/// Runs each of the one-shot commands: each ends with this code, and says what the manual quotes for this test.
fn told(test: &str, site: &Site, code: i32) {
    for command in [&["check"][..], &["doctor"], &["enqueue", "work", "noop"], &["queue", "ls"]] {
        let ran = site.cli(command).exits(code);
        manual::quotes(test, &said(&ran));
    }
}
