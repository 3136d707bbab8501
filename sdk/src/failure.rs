//! Why a handler has no result, and how ordinary errors become that.
//!
//! The rule for `?`: an error is worth another attempt unless repeating cannot help. Repeating cannot help when
//! the host said no to the request itself — [`HostError::is_permanent`] and [`HttpError::is_permanent`] — anywhere
//! in the error's chain of sources; such an error becomes [`Failure::Fatal`]. Every other one becomes
//! [`Failure::Retry`]. Where that is not what you mean, say so with [`OrFatal`].

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::HostError;
use crate::http::HttpError;
use crate::time;

/// Why there is no result, and what the host should do about it.
///
/// Only `Retry`, `RetryAfter`, `Fatal`, `Invalid` and `Other` use up an attempt; the others give the job back.
///
/// It is not a [`std::error::Error`] itself, so that every such error converts into it with `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again by the job's own backoff, while attempts are left.
    Retry(String),
    /// Try again after this long, while attempts are left.
    RetryAfter {
        /// What people read in the job's failed reason.
        reason: String,
        /// Rounded up to whole milliseconds.
        delay: Duration,
    },
    /// Never try again.
    Fatal(String),
    /// The payload is not what this handler takes; never try again.
    Invalid(String),
    /// The whole queue must rest this long; the job goes back to its front.
    RateLimited(Duration),
    /// Give the job back to run at this time, in milliseconds since the Unix epoch.
    DelayUntil(u64),
    /// Give the job back to the front of its queue.
    Requeue,
    /// Give the job back until its children are done; if none is pending it is run again at once.
    WaitForChildren,
    /// Anything a later version adds; the host treats it as `Retry`.
    Other(String),
}

impl Failure {
    /// [`Failure::Retry`] with this reason.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::Retry(reason.to_string())
    }

    /// [`Failure::RetryAfter`] with this reason and delay.
    pub fn retry_after(reason: impl fmt::Display, delay: Duration) -> Self {
        Self::RetryAfter { reason: reason.to_string(), delay }
    }

    /// [`Failure::Fatal`] with this reason.
    pub fn fatal(reason: impl fmt::Display) -> Self {
        Self::Fatal(reason.to_string())
    }

    /// [`Failure::Invalid`] with this reason.
    pub fn invalid(reason: impl fmt::Display) -> Self {
        Self::Invalid(reason.to_string())
    }

    /// [`Failure::DelayUntil`] a point of the system clock; a time before the epoch means now.
    pub fn delay_until(when: SystemTime) -> Self {
        Self::DelayUntil(time::unix_ms(when))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(reason) | Self::Other(reason) => write!(f, "retry: {reason}"),
            Self::RetryAfter { reason, delay } => write!(f, "retry after {delay:?}: {reason}"),
            Self::Fatal(reason) => write!(f, "fatal: {reason}"),
            Self::Invalid(reason) => write!(f, "invalid: {reason}"),
            Self::RateLimited(rest) => write!(f, "rate limited: the queue rests {rest:?}"),
            Self::DelayUntil(when_ms) => write!(f, "delayed until {when_ms} ms after the epoch"),
            Self::Requeue => f.write_str("requeued"),
            Self::WaitForChildren => f.write_str("waiting for children"),
        }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let text = chain(&error);
        if is_permanent(&error) { Self::Fatal(text) } else { Self::Retry(text) }
    }
}

/// Says what an error, or a missing value, means for the job, where `?` alone would say "try again".
pub trait OrFatal<T> {
    /// Never try again: `context: the error and its sources`.
    ///
    /// # Errors
    /// [`Failure::Fatal`] when there is no value.
    fn or_fatal(self, context: impl fmt::Display) -> Result<T, Failure>;

    /// Try again, even where `?` would give up.
    ///
    /// # Errors
    /// [`Failure::Retry`] when there is no value.
    fn or_retry(self, context: impl fmt::Display) -> Result<T, Failure>;

    /// The payload is at fault.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when there is no value.
    fn or_invalid(self, context: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Error> OrFatal<T> for Result<T, E> {
    fn or_fatal(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Fatal(format!("{context}: {}", chain(&error))))
    }

    fn or_retry(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Retry(format!("{context}: {}", chain(&error))))
    }

    fn or_invalid(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Invalid(format!("{context}: {}", chain(&error))))
    }
}

impl<T> OrFatal<T> for Option<T> {
    fn or_fatal(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::fatal(context))
    }

    fn or_retry(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::retry(context))
    }

    fn or_invalid(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::invalid(context))
    }
}

/// The error and its sources in one line. A source whose text the error already repeats is not said twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

/// Did the host refuse the request itself, somewhere down the chain?
fn is_permanent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<HostError>().is_some_and(HostError::is_permanent)
            || error.downcast_ref::<HttpError>().is_some_and(HttpError::is_permanent)
        {
            return true;
        }
        next = error.source();
    }
    false
}
