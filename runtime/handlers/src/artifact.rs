//! The bytes of one version of a handler, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Bytes of an artifact that are read at most. The engine's own limit, per handler, is lower by default; this one
/// keeps a mistyped path from filling the memory.
pub const ARTIFACT_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The sha256 of an artifact: the name of a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hex digits: what metrics, logs and listings show.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("digest", &self.digest).field("bytes", &self.bytes.len()).finish()
    }
}

/// Where a handler's artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A `.wasm` file, or a directory that holds `<handler>.wasm`.
    File(PathBuf),
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
    /// The file is larger than any component.
    #[error("handler {handler:?}: {path} has {bytes} bytes; the limit is {limit}", limit = ARTIFACT_BYTES_MAX)]
    TooLarge {
        /// The handler.
        handler: String,
        /// Its source.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

impl Source {
    /// Reads the artifact as it is now.
    ///
    /// # Errors
    /// When it cannot be read or is over [`ARTIFACT_BYTES_MAX`].
    pub async fn read(&self, handler: &str) -> Result<Artifact, ArtifactError> {
        let Self::File(path) = self;
        let path = if path.is_dir() { &path.join(format!("{handler}.wasm")) } else { path };
        let unreadable =
            |cause| ArtifactError::Unreadable { handler: handler.to_owned(), path: path.clone(), cause };
        let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
        if size > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge {
                handler: handler.to_owned(),
                path: path.clone(),
                bytes: size,
            });
        }
        let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
        Ok(Artifact::new(bytes))
    }

    /// The path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        let Self::File(path) = self;
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sha256_of_the_bytes() {
        let digest = Digest::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), format!("sha256:{hex}"));
        assert_eq!(digest.short(), &hex[..12]);
    }

    #[tokio::test]
    async fn in_a_directory_the_file_is_named_like_the_handler() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("media.wasm"), "x").unwrap();
        let source = Source::File(dir.path().to_owned());
        assert_eq!(source.read("media").await.unwrap().bytes, "x");
        assert!(source.read("other").await.unwrap_err().to_string().contains("other.wasm"));
    }

    #[tokio::test]
    async fn a_missing_file_names_handler_path_and_fix() {
        let error = Source::File("no/such.wasm".into()).read("media").await.unwrap_err().to_string();
        assert!(
            error.contains("\"media\"")
                && error.contains("no/such.wasm")
                && error.contains("[handlers.media]"),
            "{error}"
        );
    }
}
