//! The clients of BullMQ that the suites run Jobcell beside.

use std::fmt;

/// A published client, in the one release that is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The oldest release that tools of the ecosystem still take.
    Floor,
    /// The newest of the line that knows a paused list.
    Five,
    /// The newest.
    Six,
    /// The official client for Python.
    Python,
    /// The official client for Rust.
    Rust,
}

impl Client {
    /// What runs in Node.
    pub const NODE: &[Self] = &[Self::Floor, Self::Five, Self::Six];
    /// What runs in Node and is newer than the floor.
    pub const NODE_SINCE_FIVE: &[Self] = &[Self::Five, Self::Six];
    /// All.
    pub const EVERY: &[Self] = &[Self::Floor, Self::Five, Self::Six, Self::Python, Self::Rust];

    /// The release; agents say which one they run, and [`crate::Bull::start`] compares.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Floor => "5.56.0",
            Self::Five => "5.81.5",
            Self::Six => "6.7.0",
            Self::Python => "3.4.4",
            Self::Rust => "1.4.4",
        }
    }

    /// The name under which the package is installed, where it runs in Node.
    #[must_use]
    pub fn node_package(self) -> Option<&'static str> {
        match self {
            Self::Floor => Some("bullmq556"),
            Self::Five => Some("bullmq5"),
            Self::Six => Some("bullmq6"),
            Self::Python | Self::Rust => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = match self {
            Self::Floor | Self::Five | Self::Six => "bullmq",
            Self::Python => "bullmq (Python)",
            Self::Rust => "bullmq-official (Rust)",
        };
        write!(f, "{package} {}", self.version())
    }
}
