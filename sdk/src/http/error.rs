//! Why a request got no answer.

use thiserror::Error;

/// Why a request got no answer. Each text names the request and what happened; none carries header values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HttpError {
    /// Not granted to this handler; the text names the grant that is missing.
    #[error("denied: {0}")]
    Denied(String),
    /// No answer within the time given.
    #[error("timed out")]
    Timeout,
    /// The host's name could not be resolved.
    #[error("name not resolved: {0}")]
    Dns(String),
    /// No connection: the far end has seen nothing of the request.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke. Whether the far end has the request, and did what it asks, is not known.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No trusted encrypted connection.
    #[error("TLS: {0}")]
    Tls(String),
    /// The answer is not HTTP, or its body is not what it should be.
    #[error("bad answer: {0}")]
    Protocol(String),
    /// The request or the answer is over a limit.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The request cannot be sent as it is.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Anything else; the text says what.
    #[error("{0}")]
    Other(String),
}

impl HttpError {
    /// True when the same request will fail the next time as well: `Denied`, `Invalid` and `TooLarge`. With `?` these
    /// become a fatal failure, others a retry.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Denied(_) | Self::Invalid(_) | Self::TooLarge(_) => true,
            Self::Timeout
            | Self::Dns(_)
            | Self::Connect(_)
            | Self::Broken(_)
            | Self::Tls(_)
            | Self::Protocol(_)
            | Self::Other(_) => false,
        }
    }

    /// True when the far end has certainly not been asked: `Denied`, `Invalid`, `Dns` and `Connect`. After any other one it
    /// may have done what the request asks for, so that sending again may do it twice.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Denied(_) | Self::Invalid(_) | Self::Dns(_) | Self::Connect(_) => true,
            Self::Timeout
            | Self::Broken(_)
            | Self::Tls(_)
            | Self::Protocol(_)
            | Self::TooLarge(_)
            | Self::Other(_) => false,
        }
    }
}
