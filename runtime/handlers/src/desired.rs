//! What is wanted of one handler: the document that every host of the fleet follows, and what can be asked to change
//! it. How a command changes it is in [`fn@crate::apply`].

use jobcell_core::Millis;
use serde::{Deserialize, Serialize};

use crate::canary::{Canary, CanaryRules, RuleError};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::trust::{KeyId, Signature};
use crate::version::{Change, State, Version};
use crate::wants::Wants;

/// Versions of one handler that are known at most. Enough for weeks of a team that deploys daily; each costs up to
/// 5 KiB in a document that every host reads upon every change.
pub const VERSIONS_MAX: usize = 50;

/// What is wanted of one handler.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Desired {
    /// How many decisions led here, of people and of hosts: what a change can be made conditional on. What hosts merely
    /// note down ([`Command::is_decision`]) does not count, so nobody's view of it grows old by that.
    pub generation: u64,
    /// The version that takes the jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Digest>,
    /// The version that a rollback leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The version that takes a share of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The version that runs beside the active one without any effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Every version that is known, the newest first, at most [`VERSIONS_MAX`].
    pub versions: Vec<Version>,
    /// The last decision: who to ask when somebody else's comes in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Change>,
}

/// A version that runs on copies of live jobs, every effect answered from what the active version did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    /// The version.
    pub digest: Digest,
    /// Of a hundred jobs so many are run by it as well.
    pub percent: u8,
    /// Since when.
    pub since: Millis,
    /// Who began it.
    pub by: String,
}

/// A version that is handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its name.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub size: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it wants.
    pub wants: Wants,
    /// Its signature.
    pub signature: Option<Signature>,
    /// Whose that is, checked.
    pub signed_by: Option<KeyId>,
    /// Whether its bytes could not be had before: they were gone, or others lay in their place.
    pub is_mended: bool,
}

/// What can be asked of a handler's desired state.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Know this version. One that is known already is no change, unless it was refused.
    Deploy(Box<Deployed>),
    /// A host can run it. Said by every host; only the first changes something.
    Admitted {
        /// The version.
        digest: Digest,
    },
    /// No host can run it: for reasons that lie in its bytes, or for those of every host there is. Where it was made active
    /// before any host admitted it, the previous version takes the jobs again.
    Refuse {
        /// The version.
        digest: Digest,
        /// What is wrong with it, with the fix.
        why: String,
    },
    /// It takes the jobs. Ends a canary, whichever that was.
    Activate {
        /// The version.
        digest: Digest,
        /// Whether it may want more than the active version does.
        approve: bool,
    },
    /// It takes a share of the jobs, in place of another canary.
    Canary {
        /// The version.
        digest: Digest,
        /// Of a hundred jobs, 1 to 100.
        percent: u8,
        /// When it is promoted or rolled back by itself.
        rules: CanaryRules,
        /// Whether it may want more than the active version does.
        approve: bool,
    },
    /// The canary becomes active.
    Promote {
        /// Why, where a host decided it.
        why: Option<String>,
    },
    /// The last step forward is taken back: the canary where there is one, otherwise the active version.
    Rollback {
        /// Why, where a host decided it.
        why: Option<String>,
    },
    /// It takes no more jobs, and cannot until it is released. Where it is active, the previous version takes over.
    Quarantine {
        /// The version.
        digest: Digest,
        /// What it did.
        why: String,
    },
    /// It may be used again.
    Release {
        /// The version.
        digest: Digest,
    },
    /// No host runs a job of it any more.
    Drained {
        /// The version.
        digest: Digest,
    },
    /// It runs on copies of live jobs.
    Shadow {
        /// The version.
        digest: Digest,
        /// Of a hundred jobs, 1 to 100.
        percent: u8,
    },
    /// Nothing runs on copies any more.
    EndShadow,
}

/// A command that cannot be followed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The handler has no such version.
    #[error("version {} is not known; deploy it first", .0.short())]
    NoSuchVersion(Digest),
    /// It is in a state that does not allow it.
    #[error("version {} is {state}, so it cannot {}: {fix}", digest.short(), .what)]
    WrongState {
        /// The version.
        digest: Digest,
        /// Its state.
        state: State,
        /// What it was to do.
        what: &'static str,
        /// What to do instead.
        fix: String,
    },
    /// It wants more than the active version.
    #[error("version {} wants more than the active one: {}; look at each and approve it", digest.short(), wider.join("; "))]
    NeedsApproval {
        /// The version.
        digest: Digest,
        /// What it wants beyond the active version, in lines.
        wider: Vec<String>,
    },
    /// No canary runs.
    #[error("there is no canary to promote; begin one, or activate a version at once")]
    NoCanary,
    /// There is nothing to go back to.
    #[error("there is no version to go back to; activate one that is deployed")]
    NothingBefore,
    /// A canary or a shadow needs an active version beside it.
    #[error("no version is active, so none can run beside it; activate one first")]
    NothingActive,
    /// The canary's rules decide nothing sensible.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// No percentage.
    #[error("{0} % is no share of the jobs; give 1 to 100")]
    NoShare(u8),
}

// === impl Command ===

impl Command {
    /// Whether somebody decides something by it, rather than a host noting down how far it has come.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        !matches!(self, Self::Admitted { .. } | Self::Drained { .. })
    }
}

// === impl Desired ===

impl Desired {
    /// Reads the document. What a newer host wrote besides is not kept.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(content: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(content)
    }

    /// The document.
    ///
    /// # Errors
    /// When a number in it has no JSON form, which no rule that was checked has.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// A version that is known.
    #[must_use]
    pub fn version(&self, digest: &Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == *digest)
    }

    pub(crate) fn version_mut(&mut self, digest: &Digest) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.digest == *digest)
    }

    /// The version that takes the jobs.
    #[must_use]
    pub fn active_version(&self) -> Option<&Version> {
        self.version(self.active.as_ref()?)
    }

    /// Versions that a host keeps ready: the active one, the canary, the shadow, and the one a rollback leads to.
    pub fn ready(&self) -> impl Iterator<Item = Digest> {
        let canary = self.canary.as_ref().map(|canary| canary.digest);
        let shadow = self.shadow.as_ref().map(|shadow| shadow.digest);
        [self.active, canary, shadow, self.previous].into_iter().flatten()
    }
}
