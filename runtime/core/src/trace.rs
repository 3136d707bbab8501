//! Following an attempt through the host, for whoever collects traces.
//!
//! A seam and nothing more: the observer of a host decides whether an attempt is followed ([`crate::Observer::follow`]),
//! and what passes by is told to the [`Trace`] it hands out. Where nobody follows, an attempt costs one look at an empty
//! place for each thing it would have told.

use std::fmt;

use crate::clock::Millis;
use crate::event::Event;
use crate::job::Job;
use crate::names::QueueName;
use crate::receipt::HostCall;

/// The id of a trace, as the W3C has it: 16 bytes, written as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An attempt that begins.
#[derive(Debug, Clone, Copy)]
pub struct Begins<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// The job as it was claimed. Its telemetry option is the producer's context.
    pub job: &'a Job,
    /// The time.
    pub now: Millis,
}

/// Something that happens in an attempt.
#[derive(Debug, Clone, Copy)]
pub enum Note<'a> {
    /// The handler that runs it, and its version.
    Runs(&'a str, &'a str),
    /// A line of the job's log, without secrets and cut to its limit.
    Line(&'a str),
    /// The guest calls the host.
    Call(HostCall),
    /// The guest was refused this capability.
    Denied(&'static str),
}

/// A request that an attempt sends out. What may hold secrets or payloads is not among it.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a str,
    /// Host and port.
    pub destination: &'a str,
}

/// What follows one attempt. Ends with [`Trace::ended`], or when it is dropped without. Nothing here waits or fails.
pub trait Trace: Send + Sync + 'static {
    /// The trace's id, for logs.
    fn id(&self) -> TraceId;

    /// The context that work done for this attempt carries: the W3C's headers, by name and value.
    fn context(&self) -> Vec<(&'static str, String)>;

    /// Takes note.
    fn note(&self, note: Note<'_>);

    /// A request leaves.
    fn sends(&self, request: &Outgoing<'_>) -> Box<dyn Exchange>;

    /// The attempt has ended; the event is an [`Event::Ended`].
    fn ended(&self, event: &Event);
}

/// What follows one request. Ends when it is dropped.
pub trait Exchange: Send + Sync {
    /// The context to send with it.
    fn context(&self) -> Vec<(&'static str, String)>;

    /// It was answered with this status.
    fn answered(&mut self, status: u16);

    /// It was not answered; the word says why.
    fn failed(&mut self, why: &'static str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_written_as_the_w3c_does() {
        let id = TraceId([
            0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x06,
        ]);
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4706");
    }
}
