//! The bytes of one version of a handler, and where they come from.

use std::fmt;
use std::panic::resume_unwind;
use std::path::PathBuf;

use bytes::Bytes;
use jobcell_core::priority::behind;

use crate::digest::Digest;
use crate::oci::OciImage;

/// Bytes of an artifact that are read at most: what admission takes at most. No byte beyond it is read, whatever the
/// file is and becomes meanwhile.
pub const ARTIFACT_BYTES_MAX: u64 = 32 << 20;

/// One version of a handler.
#[derive(Clone)]
pub struct Artifact {
    /// The component.
    pub bytes: Bytes,
    /// Its name.
    pub digest: Digest,
}

impl Artifact {
    /// Names the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }

    /// The same on another thread, for bytes that may be many: a MiB takes a millisecond or more. Cancel safe.
    pub async fn named(bytes: Bytes) -> Self {
        behind(move || Self::new(bytes)).await.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("digest", &self.digest).field("bytes", &self.bytes.len()).finish()
    }
}

/// Where a handler's versions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A `.wasm` file, or a directory that holds `<handler>.wasm`.
    File(PathBuf),
    /// What is deployed into the store, for the whole fleet.
    Store,
    /// An image in an OCI registry.
    Oci(OciImage),
}

/// The artifact cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be read.
    #[error(
        "handler {handler:?}: {path} cannot be read: {cause}; build it, or correct [handlers.{handler}] source"
    )]
    Unreadable {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is no file that could hold a component.
    #[error(
        "handler {handler:?}: {path} is no regular file; give the path of a .wasm file in [handlers.{handler}] source"
    )]
    NoFile {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
    },
    /// The file is larger than any component.
    #[error(
        "handler {handler:?}: {path} has more than {limit} bytes, which is the limit; build it with optimisation and \
         strip debug information, or correct [handlers.{handler}] source",
        limit = ARTIFACT_BYTES_MAX
    )]
    TooLarge {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
    },
    /// It may be half-way.
    #[error(
        "handler {handler:?}: {path} has not rested for {} s within {} s: it changes, or who wrote to it has it open. Start or \
         reload the host once it is whole; to have it taken at once, write it beside and rename it",
        crate::file::REST.as_secs(),
        crate::file::REST_PATIENCE.as_secs()
    )]
    Restless {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
    },
    /// The file ends in the middle.
    #[error(
        "handler {handler:?}: {path} is cut off: its {size} bytes end within the part that begins at byte {at}; a host \
         that watches it reads it again when it changes. If nobody is writing it, build or copy it anew"
    )]
    CutOff {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
        /// Where the part begins that is not whole.
        at: usize,
        /// Bytes that there are.
        size: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Store => f.write_str("store"),
            Self::Oci(image) => write!(f, "oci://{image}"),
        }
    }
}
