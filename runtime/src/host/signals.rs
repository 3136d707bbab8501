//! The signals that a host listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::asked::Asked;

/// The signals: TERM and INT stop, the second time at once; TSTP is quiet, CONT goes on; HUP reads configuration and
/// handlers again. Listened to from its making on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    stop: Signal,
    resume: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let raw = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(raw(rustix::process::Signal::TSTP))?,
            resume: signal(raw(rustix::process::Signal::CONT))?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.stop.recv() => Asked::Quiet,
            _ = self.resume.recv() => Asked::Unquiet,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
