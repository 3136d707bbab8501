//! `[handlers.NAME]`: where a handler comes from, what it may use and what it may touch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobcell_wasm::{Grants, Limits};

use super::forms::{Form, NAMES, choice, resolve, scheme_of, text};
use super::grants::Declared;
use super::limits::Ceilings;
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};
use super::{grants, limits};

/// One handler.
#[derive(Debug, Clone)]
pub struct HandlerConfig {
    /// Its name.
    pub name: String,
    /// Where its component comes from.
    pub source: HandlerSource,
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may touch.
    pub grants: Grants,
    /// Which version runs a retry.
    pub retries: Retries,
    /// The names that the handler is given in place of those that producers use.
    pub names: BTreeMap<String, String>,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerSource {
    /// A `.wasm` file, or a directory of them.
    Path(PathBuf),
    /// What was deployed into the store.
    Store,
    /// An OCI registry: `host/repository@sha256:…`.
    Oci(String),
}

/// Which version of a handler runs a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// The newest active one.
    Newest,
    /// The one that ran the attempt before.
    SameVersion,
}

const SOURCE: Key<HandlerSource> = Key::new(
    "source",
    Form {
        name: "source",
        expects: "a path such as \"handlers/media.wasm\", \"store\", or \"oci://host/repository@sha256:DIGEST\"",
        read: source,
    },
    Absent::Required,
    "Where the component comes from: a `.wasm` file, a directory, `\"store\"` (what was deployed), or an OCI registry. \
     The last needs a digest, so that what runs cannot change unseen.",
);
const LIMITS: Entry = Entry::section("limits", &limits::LIMITS);
const GRANTS: Entry = Entry::section("grants", &grants::GRANTS);
const RETRIES: Key<Retries> = Key::value(
    "retries",
    Form { name: "word", expects: "\"newest\" or \"same-version\"", read: retries },
    "\"newest\"",
    "The version that runs a retry. The default lets a corrected handler finish what the faulty one failed; this \
     version refuses the other.",
);
const NAME_MAP: Key<BTreeMap<String, String>> = Key::new(
    "names",
    NAMES,
    Absent::Means("every name as it is"),
    "Names that the handler is given in place of the producer's: `{ \"process-media\" = \"resize\" }` lets a plugin \
     whose function is `resize` take jobs that a producer calls `process-media`.",
);

pub(super) static HANDLER: Section = Section {
    about: "One table for each handler.",
    keys: &[SOURCE.entry(), LIMITS, GRANTS, RETRIES.entry(), NAME_MAP.entry().with_names()],
};

/// Reads one handler. None without a source.
pub(super) fn read(
    name: &str,
    reader: &Reader<'_>,
    declared: &Declared<'_>,
    ceilings: &Ceilings<'_>,
) -> Option<HandlerConfig> {
    if !is_name(name) {
        let fix = "use letters, digits, '-', '_' and '.', at most 64: it is a label of metrics and part of file names";
        reader.fault("", "the handler's name cannot be used", fix);
    }
    let limits = limits::read(&reader.section(LIMITS.name, &limits::LIMITS), ceilings);
    let grants = grants::read(&reader.section(GRANTS.name, &grants::GRANTS), declared);
    let (retries, names) = (reader.value(&RETRIES), reader.get(&NAME_MAP).unwrap_or_default());
    let source = reader.get(&SOURCE)?;
    Some(HandlerConfig { name: name.to_owned(), source, limits, grants, retries, names })
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(is_allowed) && !name.starts_with(['-', '.'])
}

fn source(node: &Node) -> Result<HandlerSource, String> {
    let text = text(node)?;
    if text == "store" {
        return Ok(HandlerSource::Store);
    }
    if let Some(reference) = text.strip_prefix("oci://") {
        let is_digest = |digest: &str| digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit());
        return match reference.split_once("@sha256:") {
            Some((place, digest)) if place.contains('/') && is_digest(digest) => {
                Ok(HandlerSource::Oci(reference.to_owned()))
            }
            _ => Err("does not end in @sha256: and 64 hex digits".to_owned()),
        };
    }
    if text.contains("://") {
        let (scheme, _) = scheme_of(&text)?;
        return Err(format!("has the unknown scheme {scheme:?}"));
    }
    Ok(HandlerSource::Path(resolve(&text, &node.origin)))
}

fn retries(node: &Node) -> Result<Retries, String> {
    choice(node, &[("newest", Retries::Newest), ("same-version", Retries::SameVersion)])
}
