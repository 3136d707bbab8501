//! What fuzzing looks at that nobody else may: how what people type is read.

use crate::Flow;

/// Reads a tree of jobs as `jobcell flow add` does.
///
/// # Errors
/// What is wrong with it.
pub fn flow(json: &[u8]) -> Result<Flow, String> {
    crate::cli::read_flow(json, "bull")
}
