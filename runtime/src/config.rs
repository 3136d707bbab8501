//! What the host is told: one file, the environment and flags, read into plain data.
//!
//! Each field is taken from the first that gives it: flag, environment, file, default. Every fault is reported, not only
//! the first, each with its key, value, origin and fix; an unknown key is a fault. All keys stand in one table
//! ([`reference()`] prints it), from which reading, messages and `docs/configuration.md` are made.
//!
//! Nothing here looks at the process: the environment comes in as an [`Environment`].

mod blobs;
mod buckets;
mod build;
mod canary;
mod environment;
mod fault;
mod forms;
mod grants;
mod handler;
mod host;
mod http;
mod limits;
mod node;
mod queue;
mod reader;
mod redis;
mod reference;
mod registries;
mod results;
mod secret;
mod spool;
mod table;
mod telemetry;
#[cfg(test)]
mod tests;
mod trust;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use blobs::BlobsConfig;
pub use buckets::BucketConfig;
pub use build::BuildConfig;
pub use canary::CanaryConfig;
pub use environment::Environment;
pub use fault::{ConfigError, Fault, Origin};
pub use handler::{HandlerConfig, HandlerSource, Retries};
pub use host::{
    CellsConfig, EmbeddedConfig, LogConfig, LogFormat, ServerConfig, ShutdownConfig, TokenConfig,
};
pub use http::HttpConfig;
pub use queue::{ListConfig, Protocol, QueueConfig};
pub use redis::{RedisConfig, RedisUrl};
pub use reference::reference;
pub use registries::RegistryConfig;
pub use secret::Secret;
pub use spool::SpoolConfig;
pub use telemetry::{Sampler, TelemetryConfig, TracesConfig};
pub use trust::TrustConfig;

use jobcell_core::QueueName;
pub use jobcell_server::Role;

use buckets::Kept;
use fault::Faults;
use grants::Declared;
use node::{Node, Value};
use reader::Reader;
pub(crate) use table::nearest;
use table::{Entry, Section};

/// Everything the host is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The Redis that holds the jobs; none is the embedded store.
    pub redis: Option<RedisConfig>,
    /// The embedded store.
    pub embedded: EmbeddedConfig,
    /// The HTTP side.
    pub server: ServerConfig,
    /// Stopping.
    pub shutdown: ShutdownConfig,
    /// The engine that runs cells.
    pub cells: CellsConfig,
    /// The host's own log.
    pub log: LogConfig,
    /// Where jobs of the API wait while Redis is away; none refuses them then.
    pub spool: Option<SpoolConfig>,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
    /// The queues to work on, by name.
    pub queues: BTreeMap<String, QueueConfig>,
    /// Those of them that are plain lists, whichever are worked here: jobs may be put on all of them.
    pub lists: BTreeMap<QueueName, ListConfig>,
    /// The handlers, by name.
    pub handlers: BTreeMap<String, HandlerConfig>,
    /// The secrets, by name. Empty when they were not wanted.
    pub secrets: BTreeMap<String, Secret>,
    /// The blob stores, by name.
    pub blobs: BTreeMap<String, BlobsConfig>,
    /// The buckets over keys that other programs use too, by name.
    pub buckets: BTreeMap<String, BucketConfig>,
    /// How handlers' outgoing requests are sent.
    pub http: HttpConfig,
    /// Whose handlers are believed.
    pub trust: TrustConfig,
    /// Logins of registries that handlers come from, by host. Empty when secrets were not wanted.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// What is no fault but most likely not what was meant.
    pub warnings: Vec<String>,
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The file.
    pub file: FileChoice,
    /// The environment.
    pub environment: Environment,
    /// `--redis URL`.
    pub redis: Option<String>,
    /// Whether secrets are resolved. Only what runs handlers needs them; `jobcell queue ls` must work without.
    pub secrets: bool,
    /// Handlers that the embedding program registers itself, so that queues may name them.
    pub native_handlers: Vec<String>,
}

/// Which file to read.
#[derive(Debug, Clone, Default)]
pub enum FileChoice {
    /// [`DEFAULT_FILE`] in the current directory, when it is there.
    #[default]
    Default,
    /// This file, which must be there.
    At(PathBuf),
    /// No file.
    None,
    /// This text. Messages call it by this path, and paths in it are meant from there.
    Text(PathBuf, String),
}

/// What was read: a configuration, whole only without faults. With faults, what is faulty has its default or is left
/// out.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "jobcell.toml";

/// Bytes a config file may have: far more than any has, and a mistyped path must not fill the memory.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

static ROOT: Section = Section {
    about: "",
    keys: &[
        redis::ENTRY,
        Entry::section("embedded", &host::EMBEDDED),
        Entry::section("server", &host::SERVER),
        Entry::section("shutdown", &host::SHUTDOWN),
        Entry::section("cells", &host::CELLS),
        Entry::section("log", &host::LOG),
        Entry::section("spool", &spool::SPOOL),
        Entry::section("telemetry", &telemetry::TELEMETRY),
        Entry::named("queues", &queue::QUEUE),
        Entry::named("handlers", &handler::HANDLER),
        Entry::named("secrets", &secret::SECRET),
        Entry::named("blobs", &blobs::BLOBS),
        Entry::named("buckets", &buckets::BUCKETS),
        Entry::section("http", &http::HTTP),
        Entry::section("trust", &trust::TRUST),
        Entry::named("registries", &registries::REGISTRY),
    ],
};

/// Reads a configuration.
///
/// # Errors
/// All faults.
pub fn load(request: &Request) -> Result<Config, ConfigError> {
    let Loaded { config, faults } = load_all(request);
    if faults.is_empty() { Ok(config) } else { Err(ConfigError(faults)) }
}

/// Reads a configuration as far as it can be: for `check`, which goes on with what is sound.
#[must_use]
pub fn load_all(request: &Request) -> Loaded {
    let faults = Faults::default();
    let mut warnings = Vec::new();
    let (file, document) = read_file(&request.file, &faults);
    let mut root = document.unwrap_or_else(|| Node::table(Origin::Default));
    redis::overlay(&mut root, &request.environment, &faults);
    request.environment.overlay(&mut root, &ROOT, &faults);
    if let Some(url) = &request.redis {
        let path = ["redis".to_owned(), "url".to_owned()];
        root.set(&path, Node::new(Value::Text(url.clone()), Origin::Flag("--redis")));
    }
    redis::complete(&mut root, &request.environment, &faults, &mut warnings);
    let mut config = read(&root, request, &faults);
    warnings.append(&mut config.warnings);
    let config = Config { file, warnings, ..config };
    Loaded { config, faults: faults.into_sorted() }
}

/// Reads the file, if any. The second is none where there is no file, or none that is valid.
fn read_file(choice: &FileChoice, faults: &Faults) -> (Option<PathBuf>, Option<Node>) {
    let (path, is_optional) = match choice {
        FileChoice::None => return (None, None),
        FileChoice::Text(path, text) => {
            return (Some(path.clone()), Node::document(text, &Arc::from(path.as_path()), faults));
        }
        FileChoice::Default => (PathBuf::from(DEFAULT_FILE), true),
        FileChoice::At(path) => (path.clone(), false),
    };
    match read_bounded(&path) {
        Ok(text) => {
            let document = Node::document(&text, &Arc::from(path.as_path()), faults);
            (Some(path), document)
        }
        Err(error) if is_optional && error.kind() == ErrorKind::NotFound => (None, None),
        Err(error) => {
            let fix = match error.kind() {
                ErrorKind::NotFound => "correct the path, or create the file",
                ErrorKind::PermissionDenied => "make it readable for this user",
                _ => "give a TOML file in UTF-8",
            };
            faults.push(Fault {
                key: String::new(),
                value: None,
                origin: Origin::File { path: Arc::from(path.as_path()), line: 0 },
                cause: format!("the file cannot be read: {error}"),
                fix: fix.to_owned(),
            });
            (Some(path), None)
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn read(root: &Node, request: &Request, faults: &Faults) -> Config {
    let reader = Reader::open(String::new(), &ROOT, Some(root), faults);
    let names = |group: &str| -> Vec<&str> {
        root.find([group])
            .and_then(Node::as_table)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect()
    };
    let declared = Declared { secrets: names("secrets"), blobs: names("blobs") };
    let mut known = names("handlers");
    known.extend(request.native_handlers.iter().map(String::as_str));

    let redis = redis::read(&reader.section("redis", &redis::REDIS), reader.node("redis").is_some());
    let is_redis_wrong = redis.is_none() && faults.are_within("redis");
    let embedded = host::read_embedded(&reader.section("embedded", &host::EMBEDDED));
    let cells = reader.section("cells", &host::CELLS);
    let ceilings = limits::read_ceilings(&cells);
    let cells = host::read_cells(&cells, &embedded, &request.environment);
    let stacks = RefCell::new(BTreeSet::from([usize::try_from(cells.stack).unwrap_or(usize::MAX)]));
    let handlers = collect(&reader, "handlers", &handler::HANDLER, |name, group| {
        let handler = handler::read(name, group, &declared, &ceilings)?;
        host::check_cell(&handler.limits, &cells, group);
        host::check_stacks(&handler.limits, &mut stacks.borrow_mut(), group);
        Some(handler)
    });
    let lists = RefCell::new(BTreeMap::new());
    let queues = collect(&reader, "queues", &queue::QUEUE, |name, group| {
        let queue = queue::read(name, group, &known)?;
        if let Protocol::List(list) = &queue.protocol {
            // One that was meant and cannot be read is told of where it is written.
            if redis.is_none() && !is_redis_wrong {
                queue::refuse_list(group);
            }
            queue::check_list(list, redis.as_ref(), &lists.borrow(), group);
            lists.borrow_mut().insert(queue.name.clone(), list.clone());
        }
        Some(queue)
    });
    let lists = lists.into_inner();
    let kept = Kept::by(redis.as_ref(), &lists);
    let buckets = collect(&reader, "buckets", &buckets::BUCKETS, |name, group| {
        buckets::read(name, group, &kept, redis.as_ref())
    });
    let granted = handlers.values().flat_map(|handler| &handler.grants.kv);
    let mut warnings = buckets::warnings(&buckets, granted, redis.is_none() && !is_redis_wrong);
    warnings.extend(handlers.values().filter_map(results::warning));
    let group = reader.section("telemetry", &telemetry::TELEMETRY);
    let telemetry = telemetry::read(&group, &request.environment, &mut warnings);
    Config {
        file: None,
        redis,
        telemetry,
        spool: spool::read(&reader.section("spool", &spool::SPOOL)),
        server: host::read_server(&reader.section("server", &host::SERVER)),
        shutdown: host::read_shutdown(&reader.section("shutdown", &host::SHUTDOWN)),
        log: host::read_log(&reader.section("log", &host::LOG)),
        queues,
        lists,
        handlers,
        secrets: collect(&reader, "secrets", &secret::SECRET, |_, group| {
            secret::read(group, &request.environment, request.secrets)
        }),
        buckets,
        blobs: collect(&reader, "blobs", &blobs::BLOBS, |_, group| {
            blobs::read(group, &request.environment, request.secrets)
        }),
        http: http::read(&reader.section("http", &http::HTTP), request.secrets),
        trust: trust::read(&reader.section("trust", &trust::TRUST)),
        registries: collect(&reader, "registries", &registries::REGISTRY, |_, group| {
            registries::read(group, &request.environment, request.secrets)
        }),
        embedded,
        cells,
        warnings,
    }
}

/// Reads the groups of a map of groups; those that cannot be read are left out.
fn collect<T>(
    reader: &Reader<'_>,
    name: &str,
    section: &'static Section,
    read: impl Fn(&str, &Reader<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let groups = reader.named(name, section);
    groups.iter().filter_map(|(name, group)| Some(((*name).to_owned(), read(name, group)?))).collect()
}

// === impl Config ===

impl Config {
    /// The sections that differ from those of `before` and are only read at the start. Tokens of the server are not.
    #[must_use]
    pub fn needing_restart(&self, before: &Self) -> Vec<&'static str> {
        let differ = [
            ("redis", self.redis != before.redis),
            ("embedded", self.embedded != before.embedded),
            ("server", self.server.without_tokens() != before.server.without_tokens()),
            ("shutdown", self.shutdown != before.shutdown),
            ("cells", self.cells != before.cells),
            ("log", self.log != before.log),
            ("spool", self.spool != before.spool),
            ("telemetry", self.telemetry != before.telemetry),
            ("queues", self.queues.values().map(settings).ne(before.queues.values().map(settings))),
        ];
        differ.into_iter().filter_map(|(section, differs)| differs.then_some(section)).collect()
    }

    /// Narrows to these queues; none keeps all. What `run` needs: at least one queue.
    ///
    /// # Errors
    /// When a queue is not configured, or none is.
    pub fn limit_to(&mut self, queues: &[String]) -> Result<(), ConfigError> {
        let known: Vec<&str> = self.queues.keys().map(String::as_str).collect();
        let fault = |key: String, origin, cause: &str, fix| Fault {
            key,
            value: None,
            origin,
            cause: cause.to_owned(),
            fix,
        };
        if known.is_empty() {
            let file = self.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
            let cause = "no queue is configured, so there is nothing to run";
            let fix = format!("write for example into {}:\n{MINIMAL}", file.display());
            return Err(ConfigError(vec![fault("queues".to_owned(), Origin::Default, cause, fix)]));
        }
        let unknown = |name: &&String| !known.contains(&name.as_str());
        let faults: Vec<Fault> = queues
            .iter()
            .filter(unknown)
            .map(|name| {
                let like = nearest(name, known.iter().copied()).unwrap_or_default();
                let fix = format!("did you mean {like:?}? Configured: {}", known.join(", "));
                fault(format!("queues.{name}"), Origin::Flag("--queue"), "is not configured", fix)
            })
            .collect();
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        if !queues.is_empty() {
            self.queues.retain(|name, _| queues.contains(name));
        }
        Ok(())
    }
}

/// The least that runs.
const MINIMAL: &str = "\n    [queues.emails]\n    handler = \"notification\"\n\n    \
                       [handlers.notification]\n    source = \"handlers/notification.wasm\"\n";

/// A queue without its routes, which may change while it is worked.
fn settings(queue: &QueueConfig) -> QueueConfig {
    QueueConfig { handlers: BTreeMap::new(), ..queue.clone() }
}
