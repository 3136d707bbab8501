//! Why a host function refused or failed.

use thiserror::Error;

/// Why a host function refused or failed. A refusal is a value; it never stops the handler by itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// Not granted to this handler; the text names the grant that is missing.
    #[error("denied: {0}")]
    Denied(String),
    /// There is nothing under that name.
    #[error("not found")]
    NotFound,
    /// Over the limit given here, in bytes or items.
    #[error("too large: the limit is {0}")]
    TooLarge(u64),
    /// A quota of this attempt is used up; the text names it.
    #[error("quota used up: {0}")]
    Quota(String),
    /// The back end cannot be reached now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request makes no sense to the host.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Anything else; the text says what.
    #[error("{0}")]
    Other(String),
}

impl HostError {
    /// True when the same request will be refused the next time as well, until somebody changes the handler or
    /// its grants: `Denied`, `Invalid` and `TooLarge`. With `?` these become a fatal failure, others a retry.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Denied(_) | Self::Invalid(_) | Self::TooLarge(_) => true,
            Self::NotFound | Self::Quota(_) | Self::Unavailable(_) | Self::Other(_) => false,
        }
    }

    /// A value of the handler that has no JSON form.
    pub(crate) fn unencodable(what: &str, error: &serde_json::Error) -> Self {
        Self::Invalid(format!("{what} has no JSON form: {error}"))
    }
}
