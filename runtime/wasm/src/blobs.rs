//! Blob stores: files that the operator lets handlers reach, by name, wherever they lie.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::{Path as FsPath, PathBuf};
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
    /// Where a [`Kind::Folder`] lies.
    folder: Option<PathBuf>,
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
    /// - `file:///folder`: a folder of this machine, which must exist: one made in the wrong place would hide that a
    ///   disk is not mounted, or that the path is misspelt;
    /// - `memory://`: kept as long as this process runs;
    /// - `s3://bucket/folder`: credentials, region and endpoint from the usual `AWS_…` environment.
    ///
    /// Nothing is asked of a remote store yet; see [`BlobStore::probe`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`WasmError::Blobs`] when the URL is not one of these, or a folder does not exist.
    pub fn open(url: &str) -> Result<Self, WasmError> {
        Self::open_with(url, [])
    }

    /// [`BlobStore::open`] with options that go before the environment: for `s3://` the names of the environment's
    /// variables in lower case, such as `aws_endpoint`, `aws_access_key_id` or `aws_allow_http`.
    ///
    /// # Errors
    /// As [`BlobStore::open`], and when a store does not know an option.
    pub fn open_with<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, WasmError> {
        let opened = opened(url, options.into_iter().collect());
        let Opened { store, prefix, kind, folder } =
            opened.map_err(|cause| WasmError::Blobs { url: shown(url), cause })?;
        Ok(Self { store, prefix, kind, folder, url: shown(url) })
    }

    /// Asks the store for something that need not exist: whether it can be reached and lets us in, and a folder is still
    /// there. Nothing is written. For `doctor`. Cancel safe.
    ///
    /// # Errors
    /// [`WasmError::Blobs`] with what the store said.
    pub async fn probe(&self) -> Result<(), WasmError> {
        let fault = |cause| WasmError::Blobs { url: self.url.clone(), cause };
        if let Some(folder) = &self.folder {
            exists(folder, tokio::fs::metadata(folder).await).map_err(fault)?;
        }
        match self.store.head(&self.prefix.clone().join(".jobcell-probe")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(error.to_string())),
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
        let parts: Vec<_> =
            location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
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

struct Opened {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    kind: Kind,
    folder: Option<PathBuf>,
}

/// What can be opened, for messages.
const FORMS: &str = "use file:///folder, memory:// or s3://bucket/folder";

fn opened(url: &str, options: Vec<(&str, &str)>) -> Result<Opened, String> {
    let url = Url::parse(url).map_err(|error| format!("{error}; {FORMS}"))?;
    match (url.scheme(), options.first()) {
        ("s3", _) => s3(&url, options),
        ("file" | "memory", Some((name, _))) => Err(format!("it takes no options, and so not {name:?}")),
        ("file", None) => folder(&url),
        ("memory", None) => Ok(Opened {
            store: Arc::new(InMemory::new()),
            prefix: Path::default(),
            kind: Kind::Memory,
            folder: None,
        }),
        (scheme, _) => Err(format!("this host has no back end for {scheme}://; {FORMS}")),
    }
}

fn folder(url: &Url) -> Result<Opened, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("a folder of this machine has three slashes: file:///folder".to_owned());
    }
    let folder = url.to_file_path().map_err(|()| "it is not the path of a folder".to_owned())?;
    exists(&folder, std::fs::metadata(&folder))?;
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| error.to_string())?;
    Ok(Opened { store: Arc::new(store), prefix: Path::default(), kind: Kind::Folder, folder: Some(folder) })
}

/// Says what to do about a folder that is none.
fn exists(folder: &FsPath, metadata: io::Result<Metadata>) -> Result<(), String> {
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("{folder:?} is not a folder; point it to one")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "folder {folder:?} does not exist; make it (mkdir -p {folder:?}), mount its disk, or correct the path"
        )),
        Err(error) => Err(format!("folder {folder:?}: {error}")),
    }
}

fn s3(url: &Url, options: Vec<(&str, &str)>) -> Result<Opened, String> {
    crate::http::tls::install_provider();
    let bucket = url.host_str().ok_or("it names no bucket")?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
    let mut store = AmazonS3Builder::from_env().with_bucket_name(bucket);
    for (name, value) in options {
        let name = name.parse().map_err(|_| format!("S3 has no option {name:?}"))?;
        store = store.with_config(name, value);
    }
    let store = store.build().map_err(|error| error.to_string())?;
    Ok(Opened { store: Arc::new(store), prefix, kind: Kind::S3, folder: None })
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

    #[tokio::test]
    async fn a_missing_folder_is_told_and_never_made() {
        let site = tempfile::tempdir().unwrap();
        let folder = site.path().join("not/mounted");
        let url = Url::from_file_path(&folder).unwrap();
        let told = |error: WasmError| {
            let text = error.to_string();
            assert!(text.contains(&format!("{folder:?}")) && text.contains("mkdir"), "{text}");
        };
        told(BlobStore::open(url.as_str()).unwrap_err());
        assert!(!site.path().join("not").exists());
        std::fs::create_dir_all(&folder).unwrap();
        let store = BlobStore::open(url.as_str()).unwrap();
        store.probe().await.unwrap();
        std::fs::remove_dir(&folder).unwrap();
        told(store.probe().await.unwrap_err());
        assert!(!folder.exists());
        std::fs::write(&folder, "").unwrap();
        let error = BlobStore::open(url.as_str()).unwrap_err().to_string();
        assert!(error.contains("not a folder"), "{error}");
    }

    #[test]
    fn urls_that_cannot_be_opened_say_what_can() {
        for (url, hint) in [("gs://b", "s3://"), ("nonsense", "file:///"), ("file://host/x", "three slashes")]
        {
            let error = BlobStore::open(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{url}: {error}");
        }
        for (url, option) in [("s3://b", "aws_nonsense"), ("memory://", "aws_region")] {
            let error = BlobStore::open_with(url, [(option, "x")]).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
        let error = BlobStore::open("ftp://user:hunter2@x/?key=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
