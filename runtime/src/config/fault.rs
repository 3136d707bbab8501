//! What is wrong with a configuration: every fault at once, each with its key, value, origin and fix.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the config file, from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line; 0 is the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nobody gave it.
    Default,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The path of the key, such as `queues.donations.lock`; empty when the file as a whole is meant.
    pub key: String,
    /// The value as written. None when there is none, or when it may be a secret.
    pub value: Option<String>,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

/// Everything that is wrong. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Fault>);

/// Collects faults while a configuration is read.
#[derive(Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

impl Origin {
    /// Whether it is a variable whose name is not made of the key's.
    fn has_own_name(&self) -> bool {
        matches!(self, Self::Variable(name) if !name.starts_with("JOBCELL_"))
    }
}

// === impl Fault ===

impl Fault {
    /// True when the fault is in this part of the configuration, `redis` or `handlers.media` for example.
    #[must_use]
    pub fn is_within(&self, path: &str) -> bool {
        self.key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin.to_string())?;
        // A variable of a name of its own, such as REDIS_PORT, is what was written; the key is only what it is used for.
        if !self.key.is_empty() && !self.origin.has_own_name() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = self.value.as_ref().filter(|_| !self.key.is_empty()) {
            write!(f, " = {value}")?;
        }
        f.write_str(": ")?;
        write!(f, "{}; {}", self.cause, self.fix)
    }
}

// === impl ConfigError ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        match faults.as_slice() {
            [one] => write!(f, "the configuration has a fault\n  {one}"),
            many => {
                write!(f, "the configuration has {} faults", many.len())?;
                many.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

// === impl Faults ===

impl Faults {
    pub(super) fn push(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// Whether there is one in this part of the configuration.
    pub(super) fn are_within(&self, path: &str) -> bool {
        self.0.borrow().iter().any(|fault| fault.is_within(path))
    }

    /// All of them, in the order in which a person meets them: through the file, then the environment, then flags.
    pub(super) fn into_sorted(self) -> Vec<Fault> {
        let mut faults = self.0.into_inner();
        faults.sort_by(|a, b| a.origin.cmp(&b.origin));
        faults
    }
}
