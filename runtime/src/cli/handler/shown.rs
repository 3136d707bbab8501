//! A handler as a catalog or a host shows it. Read tolerantly: the host may be of another release than this program.

use jobcell_core::shadow::ShadowReport;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::exit::Failure;

/// A handler.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) source: Option<String>,
    pub(super) generation: u64,
    pub(super) active: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) canary: Option<Share>,
    pub(super) shadow: Option<Share>,
    pub(super) shadow_report: Option<ShadowReport>,
    pub(super) versions: Vec<Version>,
    pub(super) hosts: Vec<Host>,
}

/// A version that takes a part of the jobs, or of their copies.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Share {
    pub(super) digest: String,
    pub(super) percent: u8,
    pub(super) by: String,
}

/// A version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Version {
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) manifest: Named,
    /// What it wants to touch, in lines.
    pub(super) wants: Vec<String>,
    pub(super) signed_by: Option<String>,
    /// Whose signature it says it bears, where nobody has checked that.
    pub(super) unchecked_key: Option<String>,
    pub(super) state: String,
    pub(super) at: u64,
    pub(super) by: String,
    pub(super) why: String,
    pub(super) approved_by: Option<String>,
    /// What that was, in lines.
    pub(super) approved: Vec<String>,
}

/// What of a manifest is listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) version: Option<String>,
}

/// What one host runs of a handler.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Host {
    pub(super) host: String,
    pub(super) active: Option<String>,
    pub(super) canary: Option<String>,
    /// `current`, `loading` or `lagging`.
    pub(super) state: String,
    pub(super) lag: Option<String>,
    /// Those of the versions wanted that it cannot run until something is changed.
    pub(super) refuses: Vec<String>,
    /// Whether its new jobs run on baseline code still.
    pub(super) baseline: bool,
}

/// One change of a handler.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Past {
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) by: String,
    pub(super) digest: String,
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) why: String,
}

// === impl Shown ===

impl Shown {
    /// Reads one.
    pub(super) fn of(value: &Value) -> Result<Self, Failure> {
        Self::deserialize(value).map_err(|error| {
            Failure::failed(format!(
                "what was answered is no handler: {error}; is the host of another release?"
            ))
        })
    }

    /// The version of this digest.
    pub(super) fn version(&self, digest: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// What the active version calls itself.
    pub(super) fn active_name(&self) -> Option<&str> {
        let Version { manifest: Named { name, .. }, .. } = self.version(self.active.as_deref()?)?;
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// The version of this digest, or of the only one that begins so.
    pub(super) fn meant(&self, start: &str) -> Option<&Version> {
        let start = start.trim_start_matches("sha256:").to_lowercase();
        let begins = |version: &&Version| version.digest.trim_start_matches("sha256:").starts_with(&start);
        let mut meant = self.versions.iter().filter(begins);
        meant.next().filter(|_| meant.next().is_none())
    }

    /// What the version wants that the active one does not.
    pub(super) fn wider(&self, digest: &str) -> Vec<String> {
        let wants =
            |digest: &str| self.version(digest).map(|version| version.wants.clone()).unwrap_or_default();
        let has = self.active.as_deref().map(wants).unwrap_or_default();
        wants(digest).into_iter().filter(|line| !has.contains(line)).collect()
    }
}

/// The first 12 hex digits of a digest.
pub(super) fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..12).unwrap_or(digits)
}
