//! Blob stores: files that the operator lets handlers reach, by name, wherever they lie.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::WasmError;

/// One place for files, and the folder in it that handlers are kept to. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    kind: Kind,
    /// For messages; without credentials.
    url: String,
}

/// How stores differ in what they keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder: keeps no content types and lists in no order.
    Folder,
    /// This process's memory.
    Memory,
    /// S3 and what speaks like it.
    S3,
}

// === impl BlobStore ===

impl BlobStore {
    /// Opens a store:
    /// - `file:///folder`: a folder of this machine, made when it is missing;
    /// - `memory://`: kept as long as this process runs;
    /// - `s3://bucket/folder`: credentials, region and endpoint from the usual `AWS_…` environment.
    ///
    /// Nothing is asked of a remote store yet; see [`BlobStore::probe`].
    ///
    /// # Errors
    /// [`WasmError::Blobs`] when the URL is not one of these, or a folder cannot be made.
    pub fn open(url: &str) -> Result<Self, WasmError> {
        let fault = |cause: String| WasmError::Blobs { url: shown(url), cause };
        let parsed = Url::parse(url).map_err(|error| {
            fault(format!("{error}; use file:///folder, memory:// or s3://bucket/folder"))
        })?;
        let (store, prefix, kind): (Arc<dyn ObjectStore>, _, _) = match parsed.scheme() {
            "file" => {
                let folder = folder_of(&parsed).map_err(fault)?;
                std::fs::create_dir_all(&folder).map_err(|error| fault(format!("folder {folder:?}: {error}")))?;
                let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| fault(error.to_string()))?;
                (Arc::new(store), Path::default(), Kind::Folder)
            }
            "memory" => (Arc::new(InMemory::new()), Path::default(), Kind::Memory),
            "s3" => {
                crate::http::tls::install_provider();
                let bucket = parsed.host_str().ok_or_else(|| fault("it names no bucket".to_owned()))?;
                let prefix = Path::from_url_path(parsed.path()).map_err(|error| fault(error.to_string()))?;
                let store = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .build()
                    .map_err(|error| fault(error.to_string()))?;
                (Arc::new(store), prefix, Kind::S3)
            }
            scheme => {
                return Err(fault(format!(
                    "this host has no back end for {scheme}://; use file:///folder, memory:// or s3://bucket/folder"
                )));
            }
        };
        Ok(Self { store, prefix, kind, url: shown(url) })
    }

    /// Asks the store for something that need not exist: whether it can be reached and lets us in. For `doctor`.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`WasmError::Blobs`] with what the store said.
    pub async fn probe(&self) -> Result<(), WasmError> {
        match self.store.head(&self.prefix.clone().join(".jobcell-probe")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(WasmError::Blobs { url: self.url.clone(), cause: error.to_string() }),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where a guest's key lies. A key cannot leave the folder: segments are never empty, `.` or `..`.
    pub(crate) fn locate(&self, key: &str) -> Result<Path, object_store::path::Error> {
        let key = Path::parse(key)?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    /// A guest's key for what lies there.
    pub(crate) fn key(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> = location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// The folder that handlers are kept to.
    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobStore").field(&self.url).finish()
    }
}

fn folder_of(url: &Url) -> Result<PathBuf, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("a folder of this machine has three slashes: file:///folder".to_owned());
    }
    url.to_file_path().map_err(|()| "it is not the path of a folder".to_owned())
}

/// The URL without what may be secret in it.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            // Fails only for URLs that have no place for them.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.set_query(None);
            url.into()
        }
        Err(_) => url.split(['?', '@']).next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_folder() {
        let mut store = BlobStore::open("memory://").unwrap();
        store.prefix = Path::from("a/b");
        assert_eq!(store.locate("x/y.png").unwrap().as_ref(), "a/b/x/y.png");
        assert_eq!(store.key(&Path::from("a/b/x/y.png")).unwrap(), "x/y.png");
        assert_eq!(store.key(&Path::from("a/bc/x")), None);
        for bad in ["../x", "x/../../y", "./x", "x//y", "x/.."] {
            assert!(store.locate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_that_cannot_be_opened_say_what_can() {
        for (url, hint) in [("gs://b", "s3://"), ("nonsense", "file:///"), ("file://host/x", "three slashes")] {
            let error = BlobStore::open(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{url}: {error}");
        }
        let error = BlobStore::open("ftp://user:hunter2@x/?key=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
