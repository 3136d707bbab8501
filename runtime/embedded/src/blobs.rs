//! Blobs: what is named by its content, each in a file of its own beside the database.
//!
//! A blob has megabytes, and is never changed together with anything else. In the database its commit would hold up all
//! jobs for as long as the disk takes for it; here jobs only share the disk with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The folder, in the store's directory.
const FOLDER: &str = "blobs";
/// What the name of a file begins with that is not finished.
const DRAFT: &str = "draft-";

/// The blobs of one store.
pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Makes the folder when it does not exist, and clears away what a crash left unfinished: whoever calls this has the
    /// store to himself.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join(FOLDER);
        match fs::create_dir(&folder) {
            Ok(()) => sync(store)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Under the hash of its name: a name may be anything.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{:x}", Sha256::digest(name)))
    }

    /// All of it is on disk afterwards, or what was there before.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.folder)?;
        draft.write_all(content)?;
        draft.as_file().sync_all()?;
        draft.persist(self.path(name))?;
        sync(&self.folder)
    }

    pub(crate) fn find(&self, name: &str) -> io::Result<Option<Bytes>> {
        match fs::read(self.path(name)) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => sync(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Has the entries of a directory survive a power cut.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_unfinished_is_cleared_away_and_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(store.path()).unwrap();
        blobs.keep("whole", b"content").unwrap();
        fs::write(blobs.folder().join("draft-of-a-dead-process"), b"cont").unwrap();
        let blobs = Blobs::open(store.path()).unwrap();
        assert_eq!(fs::read_dir(blobs.folder()).unwrap().count(), 1);
        assert_eq!(blobs.find("whole").unwrap().unwrap(), "content");
    }

    #[test]
    fn a_blob_is_replaced_as_a_whole_and_leaves_no_draft() {
        let store = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(store.path()).unwrap();
        blobs.keep("../name", b"longer content").unwrap();
        blobs.keep("../name", b"content").unwrap();
        assert_eq!(blobs.find("../name").unwrap().unwrap(), "content");
        assert_eq!(fs::read_dir(blobs.folder()).unwrap().count(), 1);
        blobs.forget("../name").unwrap();
        assert_eq!(fs::read_dir(blobs.folder()).unwrap().count(), 0);
    }
}
