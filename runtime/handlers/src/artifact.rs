//! The bytes of one version of a handler, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

/// Bytes of an artifact that are read at most: what admission takes at most. No byte beyond it is read, whatever the
/// file is and becomes meanwhile.
pub const ARTIFACT_BYTES_MAX: u64 = 32 << 20;

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
}

impl Source {
    /// Reads the artifact as it is now.
    ///
    /// Cancel safety: nothing is left of a dropped future.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file, or is over [`ARTIFACT_BYTES_MAX`].
    pub async fn read(&self, handler: &str) -> Result<Artifact, ArtifactError> {
        let Self::File(path) = self;
        let path = if path.is_dir() { &path.join(format!("{handler}.wasm")) } else { path };
        let named = || (handler.to_owned(), path.clone());
        let unreadable = |cause| {
            let (handler, path) = named();
            ArtifactError::Unreadable { handler, path, cause }
        };
        // Before it is opened: opening a named pipe would wait for somebody to write to it.
        let found = tokio::fs::metadata(path).await.map_err(unreadable)?;
        if !found.is_file() {
            let (handler, path) = named();
            return Err(ArtifactError::NoFile { handler, path });
        }
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let expected = found.len().min(ARTIFACT_BYTES_MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default() + 1);
        file.take(ARTIFACT_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.len() as u64 > ARTIFACT_BYTES_MAX {
            let (handler, path) = named();
            return Err(ArtifactError::TooLarge { handler, path });
        }
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

    #[tokio::test]
    async fn no_byte_beyond_the_cap_is_read_and_nothing_endless_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.wasm");
        // Sparse: its size costs nothing, reading it would.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(ARTIFACT_BYTES_MAX).unwrap();
        let source = Source::File(path);
        assert_eq!(source.read("large").await.unwrap().bytes.len() as u64, ARTIFACT_BYTES_MAX);
        for size in [ARTIFACT_BYTES_MAX + 1, 1 << 40] {
            file.set_len(size).unwrap();
            let error = source.read("large").await.unwrap_err();
            assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
        }
        let error = Source::File("/dev/zero".into()).read("zero").await.unwrap_err();
        assert!(matches!(error, ArtifactError::NoFile { .. }), "{error}");
        assert!(error.to_string().contains("/dev/zero is no regular file"), "{error}");
    }
}
