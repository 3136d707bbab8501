//! Why a delivery is not accepted: every reason the plain logic can give, with its words in one place.
//!
//! A [`Refusal`] is deliberately not a `std::error::Error`. The SDK turns errors into *retryable* failures
//! with `?`, and a forged signature must never be retried; here the kind of failure is chosen per reason.

use std::fmt;

use jobcell_sdk::prelude::Failure;

/// One reason, with what an operator needs to find the cause. Holds no secret and no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The payload contradicts itself or asks what the provider cannot answer. The producer must change it.
    Payload(String),
    /// The delivery's signature is missing, malformed, out of its time window, or wrong.
    Signature(String),
    /// The signed body is not an event of its provider.
    Event(String),
    /// The event is authentic and is not the expected one; each entry is one difference.
    Mismatch(Vec<String>),
    /// The event was already accepted in another job.
    Replay {
        /// The provider's event.
        event: String,
        /// The idempotency key of the job that accepted it.
        holder: String,
    },
    /// Another job is working on the same event right now; this one can be tried again.
    Busy {
        /// The provider's event.
        event: String,
        /// The idempotency key of the job that holds it.
        holder: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(reason) => write!(f, "payload: {reason}"),
            Self::Signature(reason) => write!(f, "bad signature: {reason}"),
            Self::Event(reason) => write!(f, "unreadable event: {reason}"),
            Self::Mismatch(differences) => write!(f, "not the expected payment: {}", differences.join("; ")),
            Self::Replay { event, holder } => {
                write!(
                    f,
                    "replay: event {event} was already accepted by the job with idempotency key {holder}"
                )
            }
            Self::Busy { event, holder } => {
                write!(f, "event {event} is being worked on by the job with idempotency key {holder}")
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.to_string();
        match refusal {
            Refusal::Payload(_) => Self::Invalid(reason),
            Refusal::Busy { .. } => Self::Retry(reason),
            Refusal::Signature(_) | Refusal::Event(_) | Refusal::Mismatch(_) | Refusal::Replay { .. } => {
                Self::Fatal(reason)
            }
        }
    }
}
