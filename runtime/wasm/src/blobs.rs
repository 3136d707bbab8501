//! Blob stores: files that the operator lets handlers reach, by name, wherever they lie.

pub(crate) mod fault;
mod folder;
mod remote;

use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::WasmError;
pub(crate) use folder::{Folder, is_being_written};
pub use remote::{BlobOption, BlobOptionForm};

/// One place for files, and the folder in it that handlers are kept to. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    kind: Kind,
    /// What keeps keys inside of a [`Kind::Folder`].
    folder: Option<Arc<Folder>>,
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
    /// A bucket or container that is reached by HTTP.
    Remote,
}

// === impl BlobStore ===

impl BlobStore {
    /// Opens a store:
    /// - `file:///folder`: a folder of this machine, which must exist: one made in the wrong place would hide that a
    ///   disk is not mounted, or that the path is misspelt;
    /// - `memory://`: kept as long as this process runs;
    /// - `s3://bucket/folder`: credentials, region and endpoint from the usual `AWS_…` environment;
    /// - `gs://bucket/folder`: credentials from the usual `GOOGLE_…` environment, such as
    ///   `GOOGLE_APPLICATION_CREDENTIALS`, or of the machine;
    /// - `az://container/folder`: account and credentials from the usual `AZURE_…` environment, such as
    ///   `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`.
    ///
    /// Whatever their kind, handlers reach nothing but what lies in that folder.
    ///
    /// Nothing is asked of a remote store yet; see [`BlobStore::probe`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`WasmError::Blobs`] when the URL is not one of these, or a folder does not exist.
    pub fn open(url: &str) -> Result<Self, WasmError> {
        Self::open_with(url, [])
    }

    /// [`BlobStore::open`] with options of the store's own ([`BlobStore::options`]), which go before the environment: by
    /// their names or those of the environment's variables in lower case, such as `aws_endpoint`. A store with a
    /// credential of its own takes none from the environment, and one that says where it is (`endpoint`, `region`,
    /// `account_name`, …) nothing of that. A folder and memory take no options.
    ///
    /// # Errors
    /// As [`BlobStore::open`], and when a store does not know an option, or cannot use one; it quotes no value.
    pub fn open_with<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, WasmError> {
        let opened = opened(url, &options.into_iter().collect::<Vec<_>>());
        let Opened { store, prefix, kind, folder } =
            opened.map_err(|cause| WasmError::Blobs { url: shown(url), cause })?;
        Ok(Self { store, prefix, kind, folder, url: shown(url) })
    }

    /// The options of stores with URLs of this scheme: `s3`, `gs` or `az`; others have none.
    #[must_use]
    pub fn options(scheme: &str) -> &'static [BlobOption] {
        remote::options(scheme)
    }

    /// Asks the store for something that need not exist: whether it can be reached and lets us in, and a folder is still
    /// there. Nothing is written. For `doctor`. Cancel safe.
    ///
    /// # Errors
    /// [`WasmError::Blobs`] with what the store said.
    pub async fn probe(&self) -> Result<(), WasmError> {
        let failed = |cause| WasmError::Blobs { url: self.url.clone(), cause };
        if let Some(folder) = &self.folder {
            folder.probe().await.map_err(failed)?;
        }
        let asked = match self.store.head(&self.prefix.clone().join(".jobcell-probe")).await {
            Ok(_) => return Ok(()),
            Err(error @ object_store::Error::NotFound { .. }) if self.kind == Kind::Remote => error,
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => error,
        };
        // A head's answer has no body. A listing's says which it is: no such file, no such bucket, which refusal.
        let listed = match self.kind {
            Kind::Remote => self.store.list(Some(&self.prefix)).try_next().await.err(),
            Kind::Folder | Kind::Memory => None,
        };
        match (asked, listed) {
            (object_store::Error::NotFound { .. }, None) => Ok(()),
            // What may be read and written but not listed is a store to work with.
            (object_store::Error::NotFound { .. }, Some(error)) if fault::is_refused(&error) => Ok(()),
            (_, Some(error)) | (error, None) => Err(failed(fault::told(&error, &self.url))),
        }
    }

    /// What an error of this store means for the operator.
    pub(crate) fn told(&self, error: &object_store::Error) -> String {
        format!("blob store {}: {}", self.url, fault::told(error, &self.url))
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where a guest's key lies. A key cannot leave the folder: segments are never empty, `.` or `..`.
    pub(crate) fn locate(&self, key: &str) -> Result<Path, object_store::path::Error> {
        // The parser takes these off, and two keys would be one object.
        if key.starts_with('/') || key.ends_with('/') {
            return Err(object_store::path::Error::EmptySegment { path: key.to_owned() });
        }
        let key = Path::parse(key)?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    /// A guest's key for what lies there.
    pub(crate) fn key(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> =
            location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// What keeps keys inside of a folder of this machine, where it is one.
    pub(crate) fn folder(&self) -> Option<&Arc<Folder>> {
        self.folder.as_ref()
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
    folder: Option<Arc<Folder>>,
}

/// What can be opened, for messages.
const FORMS: &str =
    "use file:///folder, memory://, s3://bucket/folder, gs://bucket/folder or az://container/folder";

fn opened(url: &str, options: &[(&str, &str)]) -> Result<Opened, String> {
    let url = Url::parse(url).map_err(|error| format!("{error}; {FORMS}"))?;
    match (url.scheme(), options.first()) {
        ("s3" | "gs" | "az", _) => remote::open(&url, options),
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
    let (folder, store) = Folder::open(url)?;
    Ok(Opened {
        store: Arc::new(store),
        prefix: Path::default(),
        kind: Kind::Folder,
        folder: Some(Arc::new(folder)),
    })
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
        for bad in ["../x", "x/../../y", "./x", "x//y", "x/..", "/x", "x/"] {
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
        for (url, hint) in [
            ("ftp://b", "gs://bucket"),
            ("nonsense", "file:///"),
            ("file://host/x", "three slashes"),
            ("s3://", "bucket"),
            ("s3://key:hunter2@b/x", "environment"),
            ("gs://b/x?token=hunter2", "environment"),
            ("az://container", "ccount"),
        ] {
            let error = BlobStore::open(url).unwrap_err().to_string();
            assert!(error.contains(hint) && !error.contains("hunter2"), "{url}: {error}");
        }
        for (url, option) in [
            ("s3://b", "aws_nonsense"),
            ("gs://b", "aws_region"),
            ("az://b", "google_nonsense"),
            ("memory://", "aws_region"),
        ] {
            let error = BlobStore::open_with(url, [(option, "x")]).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
        for (url, option) in [
            ("s3://b", "allow_http"),
            ("s3://b", "checksum_algorithm"),
            ("gs://b", "service_account_key"),
            ("az://b", "account_key"),
        ] {
            let options = [(option, "\"hunter2\""), ("timeout", "hunter2 minutes")];
            let error = BlobStore::open_with(url, options).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url} {option}: {error}");
        }
        let error = BlobStore::open("ftp://user:hunter2@x/?key=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
