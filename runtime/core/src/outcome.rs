//! What an attempt said, before anybody decided what becomes of the job.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Millis;

/// What one attempt said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done. JSON text on BullMQ queues; empty means `null`.
    Complete(Bytes),
    /// Failed; try again by the job's own backoff, or after this long.
    Retry {
        /// Why.
        reason: String,
        /// Overrides the job's backoff.
        after: Option<Duration>,
    },
    /// Failed; never try again.
    Fatal(String),
    /// The payload, the name or the handler does not fit; never try again.
    Invalid(String),
    /// The queue must rest this long; the job goes back to its front without using an attempt.
    RateLimited(Duration),
    /// Give the job back to run at this time without using an attempt.
    DelayUntil(Millis),
    /// Give the job back to the front of its queue without using an attempt.
    Requeue,
    /// Give the job back until its children are done; with none pending it runs again at once.
    WaitForChildren,
    /// The host ended the attempt, or the handler broke. Uses an attempt; tried again while some are left.
    Stopped(Stopped),
}

/// An attempt that was ended, or that broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The class, for metrics and alerts.
    pub cause: StopCause,
    /// What a person reads in `failedReason`; names the bound and its value.
    pub reason: String,
    /// The guest's frames, innermost first; goes into `stacktrace`.
    pub backtrace: Vec<String>,
}

/// Why an attempt was ended. The one place where every reason is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// The deadline passed, computing or blocked in a host call.
    Deadline,
    /// The budget of computing time was used up, before the deadline.
    Cpu,
    /// The memory or table limit was reached.
    Memory,
    /// The guest's stack overflowed.
    Stack,
    /// The guest panicked or aborted.
    Panic,
    /// The guest did something undefined: out-of-bounds access, bad indirect call, division by zero.
    Trap,
    /// The guest broke the calling convention.
    Abi,
    /// The guest passed more to one host call, or asked more of it, than it takes.
    HostCall,
    /// The guest held too many things at once: handles, the host's resources, instances.
    Resources,
    /// The result is over its limit or is not JSON where JSON is needed.
    Result,
    /// The payload is over its limit; the handler was not called.
    Payload,
    /// Somebody asked for it.
    Cancelled,
    /// The host is shutting down; the job is given back.
    Shutdown,
    /// The job's lock is gone: another worker has it, or will.
    LockLost,
    /// The host itself failed.
    Host,
}

impl StopCause {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Deadline,
        Self::Cpu,
        Self::Memory,
        Self::Stack,
        Self::Panic,
        Self::Trap,
        Self::Abi,
        Self::HostCall,
        Self::Resources,
        Self::Result,
        Self::Payload,
        Self::Cancelled,
        Self::Shutdown,
        Self::LockLost,
        Self::Host,
    ];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Panic => "panic",
            Self::Trap => "trap",
            Self::Abi => "abi",
            Self::HostCall => "host-call",
            Self::Resources => "resources",
            Self::Result => "result",
            Self::Payload => "payload",
            Self::Cancelled => "cancelled",
            Self::Shutdown => "shutdown",
            Self::LockLost => "lock-lost",
            Self::Host => "host",
        }
    }
}

impl serde::Serialize for StopCause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Outcome {
    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Complete(_) => "completed",
            Self::Retry { .. } => "retry",
            Self::Fatal(_) => "fatal",
            Self::Invalid(_) => "invalid",
            Self::RateLimited(_) => "rate-limited",
            Self::DelayUntil(_) => "delayed",
            Self::Requeue => "requeued",
            Self::WaitForChildren => "waiting-children",
            Self::Stopped(Stopped { cause: StopCause::Cancelled, .. }) => "cancelled",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Why the attempt was ended, or what broke; none for what a handler answered.
    #[must_use]
    pub fn stopped_by(&self) -> Option<StopCause> {
        match self {
            Self::Stopped(Stopped { cause, .. }) => Some(*cause),
            _ => None,
        }
    }

    /// An attempt ended by the host, without frames.
    #[must_use]
    pub fn stopped(cause: StopCause, reason: impl Into<String>) -> Self {
        Self::Stopped(Stopped { cause, reason: reason.into(), backtrace: Vec::new() })
    }
}
