//! `[handlers.NAME]`: where a handler comes from, what it may use and what it may touch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobcell_core::recordings::Record;
use jobcell_core::results::KeepResults;
use jobcell_handlers::OciImage;
use jobcell_wasm::{Grants, Limits};

use super::build::{self, BuildConfig};
use super::canary::{self, CanaryConfig};
use super::forms::{COUNT_OR_NONE, Form, NAMES, SWITCH, choice, resolve, scheme_of, text};
use super::grants::Declared;
use super::limits::Ceilings;
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};
use super::{grants, limits, results};

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
    /// How canaries of it are begun and judged.
    pub canary: CanaryConfig,
    /// Different jobs that have to break in the same way before their version is quarantined; 0 never.
    pub quarantine: u32,
    /// Whether changes of its file, or of what its tag means, are taken while the host runs.
    pub watch: bool,
    /// Which attempts are recorded and kept.
    pub record: Record,
    /// Which of its results are kept by content.
    pub result_cache: Option<KeepResults>,
    /// How `dev` builds it, where it is no Cargo package.
    pub build: Option<BuildConfig>,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerSource {
    /// A `.wasm` file, or a directory of them.
    Path(PathBuf),
    /// What was deployed into the store.
    Store,
    /// An OCI registry: `host/repository:tag` or `host/repository@sha256:…`.
    Oci(OciImage),
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
        expects: "a path such as \"handlers/media.wasm\", \"store\", or \"oci://host/repository:TAG\"",
        read: source,
    },
    Absent::Required,
    "Where its versions come from: a `.wasm` file, a directory that holds `NAME.wasm`, `\"store\"` (what is deployed, for the \
     whole fleet), or an OCI registry, `\"oci://host/repository:TAG\"` or `\"…@sha256:DIGEST\"`. Named by its digest, what \
     runs cannot change unseen. A signature is looked for in `NAME.wasm.sig`, or in the manifest's annotation \
     `dev.jobcell.signature`.",
);
const LIMITS: Entry = Entry::section("limits", &limits::LIMITS);
const GRANTS: Entry = Entry::section("grants", &grants::GRANTS);
const BUILD: Entry = Entry::section("build", &build::BUILD);
const RETRIES: Key<Retries> = Key::value(
    "retries",
    Form { name: "word", expects: "\"newest\" or \"same-version\"", read: retries },
    "\"newest\"",
    "The version that runs a retry. The default lets a corrected handler finish what the faulty one failed. With the other, \
     a retry runs on the version of the attempt before, as long as that is kept and not quarantined.",
);
const CANARY: Entry = Entry::section("canary", &canary::CANARY);
const QUARANTINED: Key<u64> = Key::value(
    "quarantine",
    COUNT_OR_NONE,
    "5",
    "So many different jobs that take their cell down in the same way, and do not on the version before, quarantine their \
     version if they are a fourth of what it ended: their jobs run on the one before and use no attempt. Failures that a \
     handler words itself, and running out of time, do not count. 0 is never.",
);
const WATCH: Key<bool> = Key::value(
    "watch",
    SWITCH,
    "true",
    "Takes changes of the file, or of what a registry's tag means, while the host runs. A file is taken once nobody has \
     written to it for a moment; a tag is looked up every 30 s. Without it they are taken when the host starts, and a file \
     upon HUP.",
);
const RECORD: Key<Record> = Key::value(
    "record",
    Form { name: "word", expects: "\"off\", \"failed\" or \"all\"", read: record },
    "\"off\"",
    "Attempts whose questions to the outside and answers are kept, for `jobcell replay`: none, those that fail, or all. Secrets \
     are taken out. The newest 100 of a queue are kept, 64 KiB each at most, in the store's memory; recording costs every \
     attempt of the handler a little, because which one fails is known only afterwards.",
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
    keys: &[
        SOURCE.entry(),
        WATCH.entry(),
        RECORD.entry(),
        results::RESULT_CACHE,
        LIMITS,
        GRANTS,
        RETRIES.entry(),
        QUARANTINED.entry(),
        CANARY,
        NAME_MAP.entry().with_names(),
        BUILD,
    ],
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
    let build = build::read(&reader.section(BUILD.name, &build::BUILD), reader.node(BUILD.name).is_some());
    let canary = canary::read(&reader.section(CANARY.name, &canary::CANARY));
    let (quarantine, watch) = (reader.value(&QUARANTINED), reader.value(&WATCH));
    let quarantine = u32::try_from(quarantine).unwrap_or(u32::MAX);
    let (record, result_cache) = (reader.value(&RECORD), results::read(reader));
    let source = reader.get(&SOURCE)?;
    let name = name.to_owned();
    Some(HandlerConfig {
        name,
        source,
        limits,
        grants,
        retries,
        names,
        canary,
        quarantine,
        watch,
        record,
        result_cache,
        build,
    })
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
    if let Some(image) = text.strip_prefix("oci://") {
        let image = image.parse().map_err(|fault: jobcell_handlers::oci::OciImageError| fault.cause)?;
        return Ok(HandlerSource::Oci(image));
    }
    if text.contains("://") {
        let (scheme, _) = scheme_of(&text)?;
        return Err(format!("has the unknown scheme {scheme:?}"));
    }
    Ok(HandlerSource::Path(resolve(&text, &node.origin)))
}

fn record(node: &Node) -> Result<Record, String> {
    choice(node, &[("off", Record::Off), ("failed", Record::Failed), ("all", Record::All)])
}

fn retries(node: &Node) -> Result<Retries, String> {
    choice(node, &[("newest", Retries::Newest), ("same-version", Retries::SameVersion)])
}
