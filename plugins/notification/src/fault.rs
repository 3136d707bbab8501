//! What is wrong with a notice itself. Repeating it cannot help, so every fault is an invalid payload.
//!
//! A [`Fault`] is deliberately not a `std::error::Error`: `?` would make it a retryable failure.

use std::fmt;

use jobcell_sdk::prelude::Failure;

/// Where in the payload, and what. Holds no value of the data, which may be personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: String,
    problem: String,
}

impl Fault {
    /// A fault at this dotted path of the payload.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.to_string())
    }
}
