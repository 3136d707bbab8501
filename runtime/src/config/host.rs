//! The groups about the host itself: `[embedded]`, `[server]`, `[shutdown]`, `[cells]`, `[log]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::forms::{ADDRESS, BYTES, COUNT, DURATION_OR_NONE, Form, PATH, TEXT, choice, text};
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};

/// The store with no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Its directory.
    pub path: PathBuf,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Who may use the API. Empty: only this machine.
    pub tokens: Vec<TokenConfig>,
}

/// One token of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// Shown in the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The sha256 of the token: the file never holds the token itself.
    pub sha256: [u8; 32],
}

/// What a token may do; each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Work with jobs and queues.
    Operator,
    /// Everything.
    Admin,
}

/// Stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// How long running attempts may go on before their jobs are given back.
    pub grace: Duration,
}

/// The engine that runs cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellsConfig {
    /// Threads that run cells. None: as many as the machine has cores.
    pub threads: Option<usize>,
    /// Cells that can be alive at once.
    pub max: u32,
    /// The highest memory limit a handler can have, in bytes.
    pub memory_max: u64,
    /// Where compiled handlers are kept.
    pub cache: PathBuf,
}

/// What the host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const EMBEDDED_PATH: Key<PathBuf> = Key::value(
    "path",
    PATH,
    "\".jobcell\"",
    "Directory of the embedded store, used when no Redis is configured. One process at a time can use it.",
);
pub(super) static EMBEDDED: Section = Section {
    about: "The store that needs no server: one directory, durable, for one host.",
    keys: &[EMBEDDED_PATH.entry()],
};

const LISTEN: Key<SocketAddr> = Key::value(
    "listen",
    ADDRESS,
    "\"127.0.0.1:8787\"",
    "Where health, metrics and the API are served. The default is reachable from this machine only; a container needs \
     `\"0.0.0.0:8787\"`. Port 0 takes any free one and logs it.",
);
const TOKENS: Entry = Entry::listed("tokens", &TOKEN);
pub(super) static SERVER: Section =
    Section { about: "The HTTP side: health, metrics, API.", keys: &[LISTEN.entry(), TOKENS] };

const TOKEN_NAME: Key<String> =
    Key::new("name", TEXT, Absent::Required, "Who uses the token; shown in the audit log, never the token.");
const TOKEN_ROLE: Key<Role> = Key::new(
    "role",
    Form { name: "word", expects: "\"viewer\", \"operator\" or \"admin\"", read: role },
    Absent::Required,
    "`viewer` looks, `operator` also works with jobs and queues, `admin` may do everything.",
);
const TOKEN_SHA256: Key<[u8; 32]> = Key::new(
    "sha256",
    Form {
        name: "64 hex digits",
        expects: "the sha256 of the token: `printf %s TOKEN | sha256sum`",
        read: digest,
    },
    Absent::Required,
    "The sha256 of the token in hex, so that reading the file does not give access.",
)
.secret();
static TOKEN: Section = Section {
    about: "Who may use the API. Without effect in this version, which has no API yet and says so at the start: health and \
            metrics are open to whoever reaches `listen`.",
    keys: &[TOKEN_NAME.entry(), TOKEN_ROLE.entry(), TOKEN_SHA256.entry()],
};

const GRACE: Key<Duration> = Key::value(
    "grace",
    DURATION_OR_NONE,
    "\"25s\"",
    "After TERM or INT: how long running attempts may go on before their jobs are given back, without using an \
     attempt. The default stays below the 30 s after which Kubernetes kills. `\"0s\"` gives back at once.",
);
pub(super) static SHUTDOWN: Section = Section { about: "How the host stops.", keys: &[GRACE.entry()] };

const THREADS: Key<u64> = Key::new(
    "threads",
    COUNT,
    Absent::Means("one per core"),
    "Threads that run cells. They are apart from those that talk to the store, so that a handler that burns the CPU \
     delays no lock renewal. More than cores gains nothing: waiting cells hold no thread.",
);
const MAX: Key<u64> = Key::value(
    "max",
    COUNT,
    "1000",
    "Cells alive at once, over all queues; attempts beyond it wait for a place. Each place reserves 4 GiB of address \
     space, not of memory: lower it where address space is limited (`ulimit -v`).",
);
const MEMORY_MAX: Key<u64> =
    Key::value("memory-max", BYTES, "\"1GiB\"", "The highest `limits.memory` a handler can have.");
const CACHE: Key<PathBuf> = Key::new(
    "cache",
    PATH,
    Absent::Means("`compiled` in the directory of `embedded.path`"),
    "Directory for compiled handlers, so that a restart does not compile again. Only this host's user may be able to \
     write it: what lies there is run.",
);
pub(super) static CELLS: Section = Section {
    about: "The engine that runs handlers.",
    keys: &[THREADS.entry(), MAX.entry(), MEMORY_MAX.entry(), CACHE.entry()],
};

const FORMAT: Key<LogFormat> = Key::value(
    "format",
    Form { name: "word", expects: "\"text\" or \"json\"", read: log_format },
    "\"text\"",
    "How lines of the log look on stderr: for people, or one JSON object a line for collectors. What is logged is \
     chosen by `-v`, `-q` and `RUST_LOG`.",
);
pub(super) static LOG: Section = Section { about: "The host's own log.", keys: &[FORMAT.entry()] };

pub(super) fn read_embedded(reader: &Reader<'_>) -> EmbeddedConfig {
    EmbeddedConfig { path: reader.value(&EMBEDDED_PATH) }
}

pub(super) fn read_server(reader: &Reader<'_>) -> ServerConfig {
    let token = |reader: Reader<'_>| {
        let (name, role, sha256) =
            (reader.get(&TOKEN_NAME), reader.get(&TOKEN_ROLE), reader.get(&TOKEN_SHA256));
        Some(TokenConfig { name: name?, role: role?, sha256: sha256? })
    };
    ServerConfig {
        listen: reader.value(&LISTEN),
        tokens: reader.listed(TOKENS.name, &TOKEN).into_iter().filter_map(token).collect(),
    }
}

pub(super) fn read_shutdown(reader: &Reader<'_>) -> ShutdownConfig {
    ShutdownConfig { grace: reader.value(&GRACE) }
}

pub(super) fn read_cells(reader: &Reader<'_>, embedded: &EmbeddedConfig) -> CellsConfig {
    CellsConfig {
        threads: reader.get(&THREADS).map(|threads| usize::try_from(threads).unwrap_or(usize::MAX)),
        max: u32::try_from(reader.value(&MAX)).unwrap_or(u32::MAX),
        memory_max: reader.value(&MEMORY_MAX),
        cache: reader.get(&CACHE).unwrap_or_else(|| embedded.path.join("compiled")),
    }
}

pub(super) fn read_log(reader: &Reader<'_>) -> LogConfig {
    LogConfig { format: reader.value(&FORMAT) }
}

fn role(node: &Node) -> Result<Role, String> {
    choice(node, &[("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)])
}

fn log_format(node: &Node) -> Result<LogFormat, String> {
    choice(node, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

fn digest(node: &Node) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text(node)?, &mut digest).map_err(|_| "is not 64 hex digits".to_owned())?;
    Ok(digest)
}
