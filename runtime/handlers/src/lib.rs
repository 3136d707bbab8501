//! Handlers by name: where their artifacts come from, which version is active, and which handler takes which job.
//!
//! A *handler* is a named plugin; a *version* is one immutable artifact of it, named by its digest. The [`Registry`]
//! holds the active version of every handler and is the worker's [`jobcell_core::Router`]. How an artifact becomes
//! something that runs is behind the [`Loader`] trait, so this crate knows no engine.

pub mod artifact;
pub mod registry;
pub mod routes;

pub use artifact::{Artifact, ArtifactError, Digest, Source};
pub use registry::{ChangeError, Changed, HandlerState, LoadError, Loader, Registry};
pub use routes::{Routes, UnknownHandler};
