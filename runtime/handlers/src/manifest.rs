//! What a component says of itself: a JSON text in the custom section `jobcell:manifest`.
//!
//! ```json
//! {"name":"payment","version":"1.2.0","wit":"0.1.0","language":"rust","build":{"sdk":"0.1.0"},
//!  "limits":{"memoryBytes":67108864,"deadlineMs":30000,"stackBytes":1048576},"wants":{"kv":["payment"],"cache":true}}
//! ```
//!
//! The SDK's `plugin!` writes it into the core module that the component is made around, `jobcell build` behind the
//! component itself; the outermost one counts. It is read from bytes that nobody has checked: the section is bounded,
//! nothing in it is run, and whatever is wrong with it is an error with a place or a field.
//!
//! A component without one is as good: its name is its handler's, and it wants everything that it imports.

mod section;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use section::{embed_text, section};

use crate::wants::Wants;

/// The custom section's name.
pub const SECTION: &str = "jobcell:manifest";
/// Bytes of a manifest at most. Fifty of them are in a handler's document, with what is known besides of each version;
/// fifty URLs with their methods fit.
pub const MANIFEST_BYTES_MAX: usize = 3 << 10;

/// Bytes of a name, of a version, of the words for language and build.
const WORD_BYTES_MAX: usize = 128;
/// Bytes of a name of something that is wanted.
const WANTED_BYTES_MAX: usize = 256;
/// Facts about the build.
const BUILD_FACTS_MAX: usize = 16;

/// What a component says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// What its author calls it: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its semantic version. It is for people: what tells two versions apart is the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of `jobcell:job` that it was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wit: Option<String>,
    /// The language it is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What is worth knowing of how it was built: tools and their versions, the commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build: BTreeMap<String, String>,
    /// What an attempt needs. The operator's limits hold; this is for the operator to read.
    #[serde(default, skip_serializing_if = "WantedLimits::is_empty")]
    pub limits: WantedLimits,
    /// What it wants to touch; none where it does not say, which is everything that it imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wants: Option<Wants>,
}

/// What an attempt needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WantedLimits {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Milliseconds until its deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Bytes of the stack that the engine keeps for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_bytes: Option<u64>,
}

/// A manifest that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no WebAssembly, or is cut off.
    #[error("the component is malformed at byte {at}: {what}; build it anew, or copy it whole")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Parts of it say different things.
    #[error(
        "the component holds several manifests, of the parts it is composed of; say which one counts: `jobcell build` \
         writes one for the whole"
    )]
    Several,
    /// The section is larger than any.
    #[error(
        "the manifest has {size} bytes, and at most {MANIFEST_BYTES_MAX} are read; shorten `wants` and `build`"
    )]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// It is not the JSON that a manifest is.
    #[error(
        "the manifest cannot be read: {0}; build the component with the SDK or `jobcell build` of this release"
    )]
    Json(#[from] serde_json::Error),
    /// A field says what it cannot say.
    #[error("the manifest's {field} {what}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it, with the fix.
        what: String,
    },
}

// === impl Manifest ===

impl Manifest {
    /// That of a component which brings none: named like its handler.
    #[must_use]
    pub fn unsaid(handler: &str, wit: Option<String>) -> Self {
        Self { name: handler.to_owned(), wit, ..Self::default() }
    }

    /// Reads the component's manifest; none where it brings none.
    ///
    /// # Errors
    /// When the component is malformed, holds several manifests, or the manifest is too large or wrong.
    pub fn read(component: &[u8]) -> Result<Option<Self>, ManifestError> {
        section(component)?.map(Self::parse).transpose()
    }

    /// Reads the content of the section.
    ///
    /// # Errors
    /// When it is too large or wrong.
    pub fn parse(content: &[u8]) -> Result<Self, ManifestError> {
        if content.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { size: content.len() });
        }
        let manifest: Self = serde_json::from_slice(content)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let Self { name, version, wit, language, build, limits, wants } = self;
        let fault = |field, what: &str| Err(ManifestError::Field { field, what: what.to_owned() });
        if !is_word(name) {
            return fault("name", "is no name; use letters, digits, '-', '_' and '.', at most 128");
        }
        for (field, version) in [("version", version), ("wit", wit)] {
            let Some(version) = version else { continue };
            if version.len() > WORD_BYTES_MAX || semver::Version::parse(version).is_err() {
                return fault(field, "is no semantic version; write it as 1.2.3");
            }
        }
        if !language.as_deref().is_none_or(is_word) {
            return fault("language", "is no word; write for example \"rust\"");
        }
        let is_fact = |(key, value): (&String, &String)| is_word(key) && is_line(value, WORD_BYTES_MAX);
        if build.len() > BUILD_FACTS_MAX || !build.iter().all(is_fact) {
            return fault("build", "holds more than 16 facts, or one that is no short line under a word");
        }
        let WantedLimits { memory_bytes, deadline_ms, stack_bytes } = limits;
        if [memory_bytes, deadline_ms, stack_bytes].contains(&&Some(0)) {
            return fault("limits", "say 0, which nothing can run with; leave out what is not known");
        }
        let is_wanted = |name: &str| {
            // A `*` is the end of a beginning; within a name it would cover less than its author thinks.
            is_line(name, WANTED_BYTES_MAX)
                && !name.trim_end_matches('*').contains('*')
                && !name.ends_with("**")
        };
        if !wants.iter().flat_map(Wants::names).all(is_wanted) {
            return fault("wants", "hold a name that is empty, too long, or has a * before its end");
        }
        Ok(())
    }

    /// Holds what it says of the contract against what the component imports of it, where it imports any: compatible
    /// versions are the same to a host.
    ///
    /// # Errors
    /// When it was written for another one, so that it is not this component's manifest.
    pub fn check_wit(&self, imported: Option<&str>) -> Result<(), ManifestError> {
        let parse = |text: &str| semver::Version::parse(text).ok();
        let versions = (self.wit.as_deref().and_then(parse), imported.and_then(parse));
        let (Some(said), Some(imported)) = versions else { return Ok(()) };
        let series =
            |version: &semver::Version| (version.major, (version.major == 0).then_some(version.minor));
        if series(&said) == series(&imported) {
            return Ok(());
        }
        let what = format!(
            "says jobcell:job@{said}, and the component imports jobcell:job@{imported}: it is another component's. Build it \
             anew, so that both come from one SDK"
        );
        Err(ManifestError::Field { field: "wit", what })
    }

    /// The content of the section.
    ///
    /// # Errors
    /// When it would be refused by whoever reads it.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let content = serde_json::to_vec(self)?;
        if content.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { size: content.len() });
        }
        Ok(content)
    }
}

/// The component with this manifest, in place of one that stands behind it already. One that is inside of a module it is
/// made around stays, and no longer counts.
///
/// # Errors
/// When the component is malformed, or the manifest would be refused by whoever reads it.
pub fn embed(component: &[u8], manifest: &Manifest) -> Result<Vec<u8>, ManifestError> {
    embed_text(component, &manifest.encode()?)
}

fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.chars().all(is_plain)
}

fn is_line(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

// === impl WantedLimits ===

impl WantedLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests;
