//! How a command ends: the exit codes, and what is said when it fails.

use std::io::ErrorKind;
use std::process::ExitCode;

use jobcell_core::{NameError, StoreError};

use crate::builder::StartError;
use crate::config::ConfigError;
use crate::host::HostError;
use crate::invoke::InvokeError;
use crate::replay::ReplayError;
use crate::stores::OpenError;

/// The exit codes. Scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or drained.
    Done = 0,
    /// The operation failed: the job failed, a fault was found.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// The store cannot be reached.
    StoreUnreachable = 69,
    /// The shutdown timed out; jobs were given back.
    TimedOut = 75,
    /// A handler was refused.
    Refused = 78,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Said to the user.
    Told {
        /// The exit code.
        exit: Exit,
        /// What is said.
        message: String,
    },
    /// Nobody reads the output any more, as in `jobcell … | head`. That is success.
    OutputClosed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Told { exit, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl From<std::io::Error> for Failure {
    /// For writing output.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable(_) | StoreError::Denied(_) => Exit::StoreUnreachable,
            StoreError::NotFound(_)
            | StoreError::WrongState { .. }
            | StoreError::Rejected(_)
            | StoreError::Corrupt(_)
            | StoreError::Other(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(Exit::StoreUnreachable, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Store(_) => Exit::StoreUnreachable,
            StartError::Handlers(_) => Exit::Refused,
            StartError::Config(_) | StartError::Routes(_) | StartError::Twice { .. } => Exit::Usage,
            StartError::Wasm(_) | StartError::Threads(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Start(error) => error.into(),
            HostError::Server(_) | HostError::Telemetry(_) | HostError::Spool(_) | HostError::Signals(_) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let exit = match error {
            ReplayError::Config(error) => return error.into(),
            ReplayError::Store(error) => return error.into(),
            ReplayError::NoHandler(_) | ReplayError::Unreadable { .. } => Exit::Usage,
            ReplayError::Load(_) => Exit::Refused,
            ReplayError::NotRecorded { .. }
            | ReplayError::NoSuchAttempt { .. }
            | ReplayError::NoJob { .. }
            | ReplayError::Payload(_)
            | ReplayError::NoVersion { .. }
            | ReplayError::Wasm(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<InvokeError> for Failure {
    fn from(error: InvokeError) -> Self {
        let exit = match error {
            InvokeError::Config(error) => return error.into(),
            InvokeError::Unknown { .. } | InvokeError::Unreadable { .. } | InvokeError::Elsewhere { .. } => {
                Exit::Usage
            }
            InvokeError::Load(_) => Exit::Refused,
            InvokeError::Wasm(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
