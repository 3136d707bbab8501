//! Why the store did not open, and why a verb failed.

use std::io;
use std::path::{Path, PathBuf};

use jobcell_core::StoreError;
use jobcell_core::store::Malformed;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// Another process has it open, or this one already.
    #[error(
        "the embedded store in {} is in use{}; only one process may use it at a time: stop it, or configure Redis, which many processes can share",
        directory.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// The store's directory.
        directory: PathBuf,
        /// Who has it, when that could be read.
        pid: Option<u32>,
    },
    /// The directory or a file in it cannot be made or opened.
    #[error("the embedded store cannot use {}: {cause}{}", path.display(), fix(cause))]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A newer version wrote the file.
    #[error(
        "{} has format {found}, written by a newer version of Jobcell; this one knows formats up to {known}: upgrade, or give it another directory",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest one known here.
        known: u64,
    },
    /// The file is there and cannot be read as a database.
    #[error("{} is not a usable store: {cause}; restore it from a backup, or move it away to start empty", path.display())]
    Unreadable {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<redb::Error>,
    },
}

impl EmbeddedError {
    pub(crate) fn database(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(cause) if cause.kind() != io::ErrorKind::InvalidData => {
                Self::Io { path: path.to_owned(), cause }
            }
            cause => Self::Unreadable { path: path.to_owned(), cause: Box::new(cause) },
        }
    }

    /// True when the same call may succeed later without anybody changing the configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::Io { .. } => true,
            Self::Newer { .. } | Self::Unreadable { .. } => false,
        }
    }
}

/// What an operator can do about an I/O error, to go behind its text.
fn fix(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there, nothing stored is lost"
        }
        io::ErrorKind::FileTooLarge => "; raise the limit on file sizes, nothing stored is lost",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it readable and writable for this user"
        }
        _ => "",
    }
}

/// A failure inside the writer or a reader.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database said no.
    Database(Box<redb::Error>),
    /// A file beside the database cannot be used. The database is none the worse for it.
    Beside { path: PathBuf, cause: io::Error },
    /// The verb itself fails.
    Verb(StoreError),
}

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// True when the database must be opened anew before it does anything again.
    pub(crate) fn breaks_database(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_))
            }
            Self::Beside { .. } | Self::Verb(_) => false,
        }
    }

    /// What to say of this file or folder beside the database where it cannot be used.
    pub(crate) fn beside(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Beside { path, cause }
    }

    /// As the port says it.
    pub(crate) fn into_store_error(self, path: &Path) -> StoreError {
        match self {
            Self::Verb(error) => error,
            Self::Beside { path, cause } => {
                StoreError::Unavailable(format!("{}: {cause}{}", path.display(), fix(&cause)))
            }
            Self::Database(error) => {
                let path = path.display();
                match *error {
                    redb::Error::Io(cause) => {
                        StoreError::Unavailable(format!("{path}: {cause}{}", fix(&cause)))
                    }
                    redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                        StoreError::Unavailable(format!("{path} is being opened anew after an I/O error"))
                    }
                    redb::Error::Corrupted(cause) => StoreError::Corrupt(format!("{path}: {cause}")),
                    redb::Error::ValueTooLarge(bytes) => StoreError::Rejected(format!(
                        "a value of {bytes} bytes is too large for the embedded store"
                    )),
                    other => StoreError::Other(format!("{path}: {other}")),
                }
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Verb(error)
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Verb(StoreError::Corrupt(malformed.to_string()))
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}
from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);
