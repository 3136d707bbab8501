//! A handler's sources: finding them, building them for the cell, and seeing that they changed.
//!
//! A project is a Cargo package that makes a `cdylib`, or whatever a command in the configuration builds
//! (`[handlers.NAME.build]`). Cargo itself says which file it made ([`build`]); what a build was made from is what a
//! [`watch::Snapshot`] looks at. Nothing here knows a store or an engine.

mod build;
mod describe;
mod find;
mod watch;

use std::path::PathBuf;

use jobcell_handlers::Wants;

pub(crate) use build::BuildError;
pub(crate) use describe::DescribeError;
pub(crate) use find::{FindError, find};
pub(crate) use watch::Snapshot;

/// The sources of one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// The handler's name.
    pub(crate) handler: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// How it becomes a component.
    pub(crate) recipe: Recipe,
    /// What it says it wants to touch; none is whatever it imports.
    pub(crate) wants: Option<Wants>,
    /// Files and folders whose change means that it is to be built again.
    pub(crate) watched: Vec<PathBuf>,
}

/// How a project becomes a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// `cargo build` for the cell.
    Cargo {
        /// The profile, as `--profile` takes it.
        profile: String,
        /// The package's version.
        version: String,
    },
    /// A command of the project's own.
    Command {
        /// What a shell is given, in the project's folder.
        line: String,
        /// The file it makes.
        output: PathBuf,
    },
}
