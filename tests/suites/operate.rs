//! What operators stand on: metrics, alerts, traces, logs, the files in `deploy`, the runbook.

mod alerts;
mod deploy;
mod logs;
mod metrics;
mod runbook;
mod supervisor;
mod traces;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The top of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
#[track_caller]
fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Says that something was not checked, past the test program's keeping of output: a check that did not run is never silent.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
