//! What the hosts of a fleet tell each other: each writes a [`HostStatus`] under its id, and obeys the [`Order`]s that
//! are left for it.
//!
//! Both are JSON documents ([`crate::documents`]) that hosts of other versions read too: what is unknown is ignored,
//! what is missing is empty, and nothing is longer than a document may be.

mod breaks;
mod counts;
mod orders;
mod shorten;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::shadow::ShadowReport;
pub use breaks::{VersionBreaks, is_fault};
pub use counts::{LATENCY_BOUNDS_MS, VersionCounts};
pub use orders::{Fleet, FleetError, Order, OrderKind, Pending};

/// How often a host writes its status, besides when it changes: what `host ls` shows is at most this old.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// When a host that no longer writes counts as gone: five beats, so that one slow answer of the store takes none away.
pub const EXPIRES: Duration = Duration::from_secs(10);

/// What one host is and does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostStatus {
    /// `<hostname>-<pid>-<4 hex digits>`, see [`host_id`]: of this run of the program, never of a later one.
    pub id: String,
    /// The name of its machine.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Millis,
    /// When it wrote this, by its own clock.
    pub seen_at: Millis,
    /// Its process.
    pub pid: u32,
    /// Where its HTTP side listens, as `http://HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether it takes jobs.
    pub phase: Phase,
    /// The queues it works.
    pub queues: Vec<HostQueue>,
    /// The handlers it runs, by name.
    pub handlers: BTreeMap<String, HostHandler>,
    /// Resident bytes of the process; 0 where the machine does not tell.
    pub memory_bytes: u64,
    /// Its cells.
    pub cells: HostCells,
    /// The machine's load over the last minute, in runnable threads; 0 where it does not tell.
    pub load: f64,
    /// Whether lists or counts were left out because a document has a longest length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// Whether a host takes jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It does.
    #[default]
    Running,
    /// It takes no new ones until it is told to.
    Quiet,
    /// It takes no new ones and ends when those that run have ended.
    Stopping,
    /// Something that only a newer version knows.
    #[serde(other)]
    Unknown,
}

/// A queue that a host works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostQueue {
    /// Its name.
    pub name: String,
    /// Jobs of it that this host runs at once at most.
    pub concurrency: u32,
    /// Jobs of it that this host runs now.
    pub active: u32,
}

/// What a host runs of one handler. Versions are whole digests (`sha256:<64 hex digits>`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostHandler {
    /// What new jobs run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// What a share of them runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// What it ran before and can go back to at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// What takes no new jobs here and still runs some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<String>,
    /// What it is fetching, compiling or warming now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loading: Option<String>,
    /// Why it does not run what is wanted; none when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// Those of the versions wanted that it cannot run until something about it or them is changed; `lag` says why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refuses: Vec<String>,
    /// Whether new jobs run on baseline code still: the optimised code is to come, or the version is refused after all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// The revision of the handler's desired state that it has acted on.
    pub generation: u64,
    /// What became of attempts since the host started, by version.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, VersionCounts>,
    /// How versions that take jobs did within the last minutes, with the jobs that broke on them and on no other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub breaks: BTreeMap<String, VersionBreaks>,
    /// How the version does that runs on copies of its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
}

/// A host's cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostCells {
    /// Running now.
    pub active: u32,
    /// At once at most.
    pub max: u32,
}

// === impl HostStatus ===

impl HostStatus {
    /// The document, never longer than one may be: what does not fit is left out and [`HostStatus::shortened`] says so.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        shorten::encoded(self)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`FleetError::Malformed`] when it is no host's status at all.
    pub fn decode(name: &str, content: &[u8]) -> Result<Self, FleetError> {
        let malformed = |source| FleetError::Malformed { name: name.to_owned(), source };
        // A list would be read as a status of defaults.
        if !content.trim_ascii_start().starts_with(b"{") {
            return Err(malformed(serde::de::Error::custom("it is no JSON object")));
        }
        let mut status: Self = serde_json::from_slice(content).map_err(malformed)?;
        // The name it is kept under is the one that orders reach.
        name.clone_into(&mut status.id);
        Ok(status)
    }

    /// Jobs that it runs now.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.queues.iter().map(|queue| u64::from(queue.active)).sum()
    }
}

// === impl Phase ===

impl Phase {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Quiet => "quiet",
            Self::Stopping => "stopping",
            Self::Unknown => "unknown",
        }
    }
}

/// The id of a run of the program. Characters that no machine's name has become `-`, so that an id needs no escaping in
/// paths, keys and terminals; the name is cut to 64 characters.
#[must_use]
pub fn host_id(name: &str, pid: u32, entropy: u16) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_') { character } else { '-' }
    };
    let name: String = name.chars().take(64).map(plain).collect();
    let name = if name.is_empty() { "host" } else { &name };
    format!("{name}-{pid}-{entropy:04x}")
}

/// The hosts that are meant: by whole id, by name (all of that name), or by the beginning of exactly one id.
///
/// # Errors
/// [`FleetError::NoSuchHost`] and [`FleetError::Ambiguous`], naming those there are.
pub fn meant<'a>(hosts: &'a [HostStatus], asked: &str) -> Result<Vec<&'a HostStatus>, FleetError> {
    if let Some(host) = hosts.iter().find(|host| host.id == asked) {
        return Ok(vec![host]);
    }
    let named: Vec<_> = hosts.iter().filter(|host| host.name == asked).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let begins: Vec<_> =
        hosts.iter().filter(|host| !asked.is_empty() && host.id.starts_with(asked)).collect();
    let ids = |hosts: &[&HostStatus]| hosts.iter().take(20).map(|host| host.id.clone()).collect();
    match begins.len() {
        0 => Err(FleetError::NoSuchHost {
            asked: asked.to_owned(),
            there: ids(&hosts.iter().collect::<Vec<_>>()),
        }),
        1 => Ok(begins),
        _ => Err(FleetError::Ambiguous { asked: asked.to_owned(), begin: ids(&begins) }),
    }
}

#[cfg(test)]
mod tests;
