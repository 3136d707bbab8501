//! Blobs: what is named by its content, each in a file of its own beside the database.
//!
//! A blob has megabytes, and is never changed together with anything else. In the database its commit would hold up all
//! jobs for as long as the disk takes for it; here jobs only share the disk with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::{Fault, Result};

/// The folder, in the store's directory.
const FOLDER: &str = "blobs";
/// What the name of a file begins with that is not finished.
const DRAFT: &str = "draft-";

/// The blobs of one store.
pub(crate) struct Blobs {
    store: PathBuf,
    folder: PathBuf,
}

impl Blobs {
    /// Those of the store in this directory. Touches nothing.
    pub(crate) fn of(store: &Path) -> Self {
        Self { store: store.to_owned(), folder: store.join(FOLDER) }
    }

    /// Makes the folder when it does not exist, and clears away what a crash left unfinished: whoever calls this has the
    /// store to himself, and nobody keeps anything meanwhile.
    pub(crate) fn prepare(&self) -> Result<()> {
        let done = || {
            match fs::create_dir(&self.folder) {
                Ok(()) => self.hand_over(&self.folder)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            // Also when it was there: who made it may have been killed before this.
            sync(&self.store)?;
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        done().map_err(Fault::beside(&self.folder))
    }

    /// Under the hash of its name: a name may be anything.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{:x}", Sha256::digest(name)))
    }

    /// All of it is on disk afterwards, or what was there before.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path(name);
        let done = || {
            let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.folder)?;
            self.hand_over(draft.path())?;
            draft.write_all(content)?;
            draft.as_file().sync_all()?;
            draft.persist(&path)?;
            sync(&self.folder)
        };
        done().map_err(Fault::beside(&path))
    }

    pub(crate) fn find(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::beside(&path)(error)),
        }
    }

    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.folder).map_err(Fault::beside(&self.folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::beside(&path)(error)),
        }
    }

    /// Gives what was just made to whoever the store belongs to: root may work on the store of a service that is stopped,
    /// and the service is to be able to read it.
    #[cfg(unix)]
    fn hand_over(&self, made: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, chown};

        let (store, made_as) = (fs::metadata(&self.store)?, fs::metadata(made)?);
        if store.uid() == made_as.uid() {
            return Ok(());
        }
        chown(made, Some(store.uid()), Some(store.gid()))
    }

    #[cfg(not(unix))]
    fn hand_over(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Has the entries of a directory survive a power cut.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(store: &Path) -> Blobs {
        let blobs = Blobs::of(store);
        blobs.prepare().unwrap();
        blobs
    }

    fn files(blobs: &Blobs) -> usize {
        fs::read_dir(&blobs.folder).unwrap().count()
    }

    #[test]
    fn what_a_crash_left_unfinished_is_cleared_away_and_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let blobs = prepared(store.path());
        blobs.keep("whole", b"content").unwrap();
        fs::write(blobs.folder.join("draft-of-a-dead-process"), b"cont").unwrap();
        let blobs = prepared(store.path());
        assert_eq!(files(&blobs), 1);
        assert_eq!(blobs.find("whole").unwrap().unwrap(), "content");
    }

    #[test]
    fn a_blob_is_replaced_as_a_whole_and_leaves_no_draft() {
        let store = tempfile::tempdir().unwrap();
        let blobs = prepared(store.path());
        blobs.keep("../name", b"longer content").unwrap();
        blobs.keep("../name", b"content").unwrap();
        assert_eq!(blobs.find("../name").unwrap().unwrap(), "content");
        assert_eq!(files(&blobs), 1);
        blobs.forget("../name").unwrap();
        assert_eq!(files(&blobs), 0);
    }

    #[test]
    fn an_error_names_the_file_and_the_fix() {
        let store = tempfile::tempdir().unwrap();
        let blobs = prepared(store.path());
        // A directory in its place: neither read nor replaced.
        let path = blobs.path("name");
        fs::create_dir(&path).unwrap();
        for fault in [blobs.keep("name", b"content").unwrap_err(), blobs.find("name").unwrap_err()] {
            let told = fault.into_store_error(Path::new("jobs.redb"));
            assert!(told.is_transient() && told.to_string().contains(path.to_str().unwrap()), "{told}");
        }
        assert_eq!(files(&blobs), 1, "no draft is left");
    }

    /// Of any use to root alone, who can give it away; whoever else makes it has it already.
    #[cfg(unix)]
    #[test]
    fn what_is_made_belongs_to_whoever_the_store_belongs_to() {
        use std::os::unix::fs::{MetadataExt, chown};

        let store = tempfile::tempdir().unwrap();
        let _ = chown(store.path(), Some(65_534), Some(65_534));
        let owner = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.uid(), found.gid())
        };
        let blobs = prepared(store.path());
        blobs.keep("name", b"content").unwrap();
        for made in [&blobs.folder, &blobs.path("name")] {
            assert_eq!(owner(made), owner(store.path()), "{}", made.display());
        }
    }
}
