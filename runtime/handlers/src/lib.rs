//! Handlers by name: where their artifacts come from, which version is active, and which handler takes which job.
//!
//! A *handler* is a named plugin; a *version* is one immutable artifact of it, named by its digest. The [`Registry`]
//! holds the active version of every handler and is the worker's [`jobcell_core::Router`]. How an artifact becomes
//! something that runs is behind the [`Loader`] trait, so this crate knows no engine.

pub mod apply;
pub mod artifact;
mod board;
pub mod canary;
pub mod catalog;
pub mod controller;
mod deployer;
pub mod desired;
pub mod digest;
pub mod file;
mod follower;
mod guard;
mod judge;
pub mod loaded;
pub mod loader;
pub mod manifest;
pub mod oci;
mod opinion;
pub mod plan;
pub mod quarantine;
pub mod registry;
pub mod routes;
mod swap;
pub mod taps;
pub mod trust;
pub mod version;
pub mod view;
pub mod wants;

pub use apply::apply;
pub use artifact::{Artifact, ArtifactError, Source};
pub use canary::{Canary, CanaryRules};
pub use catalog::{Catalog, CatalogError, DeployOptions};
pub use controller::{Catalogs, ChangeError, Controller, Ground, Setup};
pub use desired::{Command, Desired, Refusal, Shadow};
pub use digest::{Digest, DigestStart};
pub use loaded::Loaded;
pub use loader::{Blame, Haste, LoadError, Loader, Made};
pub use manifest::Manifest;
pub use oci::{OciImage, OciLogin, OciRegistries};
pub use plan::Plan;
pub use registry::{Changed, HandlerState, Registry, Slot, Slots, VersionState};
pub use routes::{Routes, UnknownHandler};
pub use taps::Taps;
pub use trust::{Signature, Trust};
pub use version::{Change, State, Version};
pub use view::HandlerView;
pub use wants::Wants;
