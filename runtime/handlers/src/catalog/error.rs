//! What the catalog says no with.

use jobcell_core::{Millis, StoreError};

use crate::desired::Refusal;
use crate::digest::{Digest, DigestStart};
use crate::trust::TrustError;
use crate::version::State;

/// Something that was asked of a handler and not done. The active version takes the jobs as before.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Nothing was ever deployed under this name.
    #[error("there is no handler {handler:?}; {}deploy a first version of it", known_names(known))]
    NoSuchHandler {
        /// The name.
        handler: String,
        /// The handlers there are.
        known: Vec<String>,
    },
    /// No handler can have this name.
    #[error(
        "{handler:?} is no name of a handler; use letters, digits, '-', '_' and '.', at most 64, not beginning with '-' or '.'"
    )]
    NoName {
        /// The name, cut to a length that can be shown.
        handler: String,
    },
    /// It has no such version.
    #[error("handler {handler:?} has no version {version}; `jobcell handler ls` lists those it has")]
    NoSuchVersion {
        /// The handler.
        handler: String,
        /// What was asked for.
        version: DigestStart,
    },
    /// Several versions begin so.
    #[error("handler {handler:?} has several versions that begin with {version}; give more digits")]
    Ambiguous {
        /// The handler.
        handler: String,
        /// What was asked for.
        version: DigestStart,
    },
    /// Somebody else changed it meanwhile.
    #[error(
        "handler {handler:?} was changed meanwhile: by {by}, {}; it is at generation {found}, not {expected}; look at \
         it again (`jobcell handler ls {handler}`), and repeat the command if it is still meant", time(*at)
    )]
    Conflict {
        /// The handler.
        handler: String,
        /// What the caller saw.
        expected: u64,
        /// What there is.
        found: u64,
        /// Who changed it.
        by: String,
        /// When.
        at: Millis,
    },
    /// Others change it all the time.
    #[error(
        "handler {handler:?} was changed by others {tries} times while this was tried; find out who does, and try again"
    )]
    Busy {
        /// The handler.
        handler: String,
        /// How often it was tried.
        tries: u32,
    },
    /// It wants more than the active version.
    #[error(
        "handler {handler:?}: version {} is deployed and not in use: it wants what the active one does not: {}; look at \
         each, and repeat what was asked with approval (`--approve`, `approve`)", digest.short(), wider.join("; ")
    )]
    NeedsApproval {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// What it wants beyond the active version, in lines.
        wider: Vec<String>,
    },
    /// Its signature does not count.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No host can run it.
    #[error("handler {handler:?}: version {} is refused: {why}", digest.short())]
    Refused {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// Why, with the fix.
        why: String,
    },
    /// The version's state does not allow it.
    #[error("handler {handler:?}: version {} is {state}, so it cannot {what}: {fix}", digest.short())]
    WrongState {
        /// The handler.
        handler: String,
        /// The version.
        digest: Digest,
        /// Its state.
        state: State,
        /// What it was to do.
        what: &'static str,
        /// What to do instead.
        fix: String,
    },
    /// Something else in the handler's state does not allow it.
    #[error("handler {handler:?}: {refusal}")]
    Impossible {
        /// The handler.
        handler: String,
        /// Why.
        refusal: Refusal,
    },
    /// Its bytes are gone.
    #[error("the bytes of version {} are not in the store any more; deploy it again", .digest.short())]
    Lost {
        /// The version.
        digest: Digest,
    },
    /// Its bytes are others.
    #[error("what the store holds as version {} are other bytes; somebody altered them: find out who, and deploy it again", .digest.short())]
    Altered {
        /// The version.
        digest: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

// === impl CatalogError ===

impl CatalogError {
    /// True when the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(fault) => fault.is_transient(),
            Self::Busy { .. } => true,
            _ => false,
        }
    }

    /// That of one handler.
    pub(super) fn of(handler: &str, refusal: Refusal) -> Self {
        let handler = handler.to_owned();
        match refusal {
            Refusal::NoSuchVersion(digest) => Self::NoSuchVersion { handler, version: digest.into() },
            Refusal::WrongState { digest, state, what, fix } => {
                Self::WrongState { handler, digest, state, what, fix }
            }
            Refusal::NeedsApproval { digest, wider } => Self::NeedsApproval { handler, digest, wider },
            Refusal::NoCanary
            | Refusal::NothingBefore
            | Refusal::NothingActive
            | Refusal::Rule(_)
            | Refusal::NoShare(_) => Self::Impossible { handler, refusal },
        }
    }
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("there are {}; correct the name, or ", known.join(", ")),
    }
}

/// A time as people read it; the whole second is enough to know who it was.
fn time(at: Millis) -> String {
    // No later than the last time that the form has digits for: it comes out of a document.
    let at = std::time::Duration::from_millis(at.min(253_402_300_799_000));
    let since = std::time::UNIX_EPOCH + at;
    format!("at {}", humantime::format_rfc3339_seconds(since))
}
