//! The groups about the host itself: `[embedded]`, `[server]`, `[shutdown]`, `[cells]`, `[log]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jobcell_wasm::{ARTIFACT_BYTES_CEILING, Compiler, CompilerProcess, Limits};

use jobcell_server::{ConnectionBounds, DashboardOptions, Redaction, Role};

use super::environment::Environment;
use super::forms::{
    self, ADDRESS, BYTES, COUNT, DURATION, DURATION_OR_NONE, Form, PATH, SWITCH, TEXT, TEXTS, choice, text,
};
use super::limits;
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
    /// What of jobs nobody is shown.
    pub redaction: Redaction,
    /// How the dashboard is reached, and how long people stay signed in.
    pub dashboard: DashboardOptions,
    /// How many connections there may be.
    pub connections: ConnectionBounds,
}

impl ServerConfig {
    /// What is only read at the start: all but who may use it.
    pub(super) fn without_tokens(&self) -> Self {
        Self { tokens: Vec::new(), ..self.clone() }
    }
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
    /// Whose jobs it is for; none is everybody's.
    pub tenant: Option<String>,
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
    /// Bytes that an artifact may have.
    pub artifact_max: u64,
    /// The most elements one table can have.
    pub table_elements_max: u32,
    /// Bytes of a cell's stack that its guest may use, where its handler's limits say nothing else.
    pub stack: u64,
    /// Where compiled handlers are kept.
    pub cache: PathBuf,
    /// Who compiles them.
    pub compiler: Compiler,
    /// Whether versions that are wanted at once begin on code of the baseline compiler.
    pub baseline: bool,
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
const PATH_PREFIX: Key<String> = Key::new(
    "path-prefix",
    Form { name: "path", expects: "a path such as \"/jobcell\"", read: path_prefix },
    Absent::Means("none"),
    "What stands before every path, dashboard and API alike, for a proxy that shares one name among programs. The proxy \
     may take it away or leave it: both are answered.",
);
const SESSION_IDLE: Key<Duration> = Key::value(
    "session-idle",
    DURATION,
    "\"12h\"",
    "Whoever signed in to the dashboard is signed out after so long without a page: a working day.",
);
const SESSION_MAX: Key<Duration> = Key::value(
    "session-max",
    DURATION,
    "\"7d\"",
    "Whoever signed in is signed out after so long in any case.",
);
const CONNECTIONS: Key<u64> = Key::value(
    "connections",
    COUNT,
    "1024",
    "Connections to the host at the same time. Beyond it the one that has been idle longest is closed, or a new one where \
     none is idle. Each is a file descriptor. At most 768 requests are answered at once, probes aside, and 512 clients \
     hear live updates.",
);
const CONNECTIONS_PER_ADDRESS: Key<u64> = Key::value(
    "connections-per-address",
    COUNT,
    "512",
    "Connections of one address, or of one /64 of IPv6, at the same time: half of all, so that no machine that asks slowly, or \
     never reads, keeps the others out. Behind a proxy everybody has its address: set it to `connections` there, and bound \
     clients in the proxy.",
);
const REDACT: Key<Redaction> = Key::value(
    "redact",
    Form {
        name: "list of paths",
        expects: "a list of paths, such as [\"data.card.number\", \"returnvalue.*.token\"]",
        read: redaction,
    },
    "[]",
    "Fields of jobs that nobody is shown, in the API, live updates and the dashboard: `[redacted]` stands there instead. \
     A path begins with `data`, `returnvalue`, `progress` or `opts` and goes down by names, by numbers into lists, and \
     by `*`; a name that is looked for in a list is looked for in all its items. A payload that is not JSON is not shown \
     at all where a path begins with its part. Handlers, the store and the command line see everything.",
);
pub(super) static SERVER: Section = Section {
    about: "The HTTP side: health, metrics, API and dashboard.",
    keys: &[
        LISTEN.entry(),
        TOKENS,
        REDACT.entry(),
        CONNECTIONS.entry(),
        CONNECTIONS_PER_ADDRESS.entry(),
        PATH_PREFIX.entry(),
        SESSION_IDLE.entry(),
        SESSION_MAX.entry(),
    ],
};

const TOKEN_NAME: Key<String> =
    Key::new("name", TEXT, Absent::Required, "Who uses the token; shown in the audit log, never the token.");
const TOKEN_ROLE: Key<Role> = Key::new(
    "role",
    Form { name: "word", expects: "\"viewer\", \"operator\" or \"admin\"", read: role },
    Absent::Required,
    "`viewer` looks, `operator` also works with jobs, schedulers and queues and moves between versions, `admin` also \
     deploys versions, drains and cleans queues and steers hosts.",
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
const TOKEN_TENANT: Key<String> = Key::new(
    "tenant",
    TEXT,
    Absent::Means("every tenant"),
    "Binds the token to the jobs of one tenant: others are as if they were not there, and what concerns a whole queue \
     is refused.",
);
static TOKEN: Section = Section {
    about: "Who may use the API under `/api/v1` and the dashboard. Without tokens both answer only while `listen` is an \
            address of this machine alone. Health, metrics and `/scale` are open to whoever reaches `listen`. Tokens \
            take effect with HUP: one that is gone opens nothing from then on, nor does a session begun with it.",
    keys: &[TOKEN_NAME.entry(), TOKEN_ROLE.entry(), TOKEN_SHA256.entry(), TOKEN_TENANT.entry()],
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
    "Cells alive at once, over all queues; attempts beyond it wait for a place. Each place reserves 8 GiB of address \
     space (16 with `baseline`), not of memory, and as much again for each further size of `limits.stack`: lower it where \
     address space is limited (`ulimit -v`).",
);
const MEMORY_MAX: Key<u64> =
    Key::value("memory-max", BYTES, "\"1GiB\"", "The highest `limits.memory` a handler can have.");
const TABLE_ELEMENTS_MAX: Key<u64> = Key::value(
    "table-elements-max",
    COUNT,
    "20000",
    "The highest `limits.table-elements` a handler can have. The pool reserves address space for so many in each table.",
);
const STACK: Key<u64> = Key::value(
    "stack",
    forms::STACK,
    "\"512KiB\"",
    "What a guest may use of its stack where its handler's `limits.stack` says nothing else: ordinary handlers use a few \
     percent of it. 64 KiB to 64 MiB. Address space is reserved for it twice in each place, with 1.5 MiB for the host's \
     own functions on top.",
);
const ARTIFACT_MAX: Key<u64> = Key::value(
    "artifact-max",
    BYTES,
    "\"8MiB\"",
    "The largest handler that is admitted, at most 32 MiB. Components of ordinary languages have one or two; one that \
     carries a language's engine has about 10 MiB, and needs `compile-memory` and `compile-time` raised as well.",
);
const CACHE: Key<PathBuf> = Key::new(
    "cache",
    PATH,
    Absent::Means(
        "`$XDG_CACHE_HOME/jobcell` where that is set, else `compiled` in the directory of `embedded.path`",
    ),
    "Directory for compiled handlers, so that a restart does not compile again. Only this host's user may be able to \
     write it: what lies there is run.",
);
const COMPILER: Key<bool> = Key::value(
    "compiler",
    Form { name: "word", expects: "\"process\" or \"inline\"", read: is_apart },
    "\"process\"",
    "Where artifacts are compiled. `process`: each in a process of its own, started from this program for it, with \
     bounds on memory and time and nothing of the host's environment, files and secrets; an artifact that is shaped to \
     exhaust the compiler costs one refused admission. `inline`: in the host itself, which such an artifact can exhaust; \
     only for artifacts that are trusted, where no process can be started.",
);
const COMPILE_MEMORY: Key<u64> = Key::value(
    "compile-memory",
    BYTES,
    "\"1GiB\"",
    "Address space of a compiler process. The program itself takes up to 100 MiB of it; a component of 1 MiB then takes \
     some tens, and one of ten times the size about ten times as much.",
);
const COMPILE_TIME: Key<Duration> = Key::value(
    "compile-time",
    DURATION,
    "\"30s\"",
    "From the start of a compiler process to its end. Two thirds of it, in whole seconds, are the processor time it may \
     use: the rest is for a machine that is busy.",
);
const BASELINE: Key<bool> = Key::value(
    "baseline",
    SWITCH,
    "true",
    "Whether a version that is to take jobs at once begins on code of the engine's baseline compiler, which is there six \
     times as soon, until the optimised code is there as well: of a component of 1 MiB, a second later. Attempts that \
     begin until then compute for longer (half as long again for making a picture smaller) and have four times their \
     `limits.cpu`, `limits.stack` and `limits.deadline` for it, whatever `ceilings` says. Turn it off where anybody may hand in handlers, who \
     could choose which of two compilers to find a bug in, and where those three limits must hold from the first attempt. \
     Canaries, shadows and versions that were compiled before run optimised code always. The address space of `max` is \
     reserved twice with it, where there is so much. Only on x86-64; elsewhere it is off.",
);
pub(super) static CELLS: Section = Section {
    about: "The engine that runs handlers.",
    keys: &[
        THREADS.entry(),
        MAX.entry(),
        MEMORY_MAX.entry(),
        ARTIFACT_MAX.entry(),
        TABLE_ELEMENTS_MAX.entry(),
        STACK.entry(),
        CACHE.entry(),
        COMPILER.entry(),
        COMPILE_MEMORY.entry(),
        COMPILE_TIME.entry(),
        BASELINE.entry(),
        Entry::section(limits::CEILINGS_NAME, &limits::CEILINGS),
    ],
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
        // Read before anything is found missing, so that what is wrong with it is told as well.
        let tenant = reader.get(&TOKEN_TENANT);
        Some(TokenConfig { name: name?, role: role?, sha256: sha256?, tenant })
    };
    ServerConfig {
        listen: reader.value(&LISTEN),
        tokens: reader.listed(TOKENS.name, &TOKEN).into_iter().filter_map(token).collect(),
        redaction: reader.value(&REDACT),
        dashboard: DashboardOptions {
            path_prefix: reader.get(&PATH_PREFIX).unwrap_or_default(),
            session_idle: reader.value(&SESSION_IDLE),
            session_max: reader.value(&SESSION_MAX),
            ..DashboardOptions::default()
        },
        connections: read_connections(reader),
    }
}

fn read_connections(reader: &Reader<'_>) -> ConnectionBounds {
    let number = |key| usize::try_from(reader.value(key)).unwrap_or(usize::MAX);
    let bounds =
        ConnectionBounds { all: number(&CONNECTIONS), per_address: number(&CONNECTIONS_PER_ADDRESS) };
    if bounds.per_address > bounds.all && reader.node(CONNECTIONS_PER_ADDRESS.name).is_some() {
        let fix = format!("write at most {}, or raise server.connections", bounds.all);
        reader.fault_shown(CONNECTIONS_PER_ADDRESS.name, "is more than all connections together", &fix);
    }
    bounds
}

pub(super) fn read_shutdown(reader: &Reader<'_>) -> ShutdownConfig {
    ShutdownConfig { grace: reader.value(&GRACE) }
}

pub(super) fn read_cells(
    reader: &Reader<'_>,
    embedded: &EmbeddedConfig,
    environment: &Environment,
) -> CellsConfig {
    CellsConfig {
        threads: reader.get(&THREADS).map(|threads| usize::try_from(threads).unwrap_or(usize::MAX)),
        max: u32::try_from(reader.value(&MAX)).unwrap_or(u32::MAX),
        memory_max: reader.value(&MEMORY_MAX),
        artifact_max: read_artifact_max(reader),
        table_elements_max: u32::try_from(reader.value(&TABLE_ELEMENTS_MAX)).unwrap_or(u32::MAX),
        stack: reader.value(&STACK),
        cache: reader.get(&CACHE).unwrap_or_else(|| default_cache(embedded, environment)),
        compiler: read_compiler(reader),
        baseline: reader.value(&BASELINE),
    }
}

/// Where the machine keeps caches, if it says so: containers and services give that a volume of its own. One that is not
/// absolute says nothing, as its specification has it.
fn default_cache(embedded: &EmbeddedConfig, environment: &Environment) -> PathBuf {
    let caches = environment.get("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    caches.map_or_else(|| embedded.path.join("compiled"), |caches| caches.join("jobcell"))
}

fn read_compiler(reader: &Reader<'_>) -> Compiler {
    let (is_apart, memory, wall) =
        (reader.value(&COMPILER), reader.value(&COMPILE_MEMORY), reader.value(&COMPILE_TIME));
    if is_apart {
        let cpu = Duration::from_secs((wall * 2 / 3).as_secs().max(1));
        Compiler::Process(CompilerProcess { program: None, memory, cpu, wall })
    } else {
        Compiler::Inline
    }
}

fn is_apart(node: &Node) -> Result<bool, String> {
    choice(node, &[("process", true), ("inline", false)])
}

fn read_artifact_max(reader: &Reader<'_>) -> u64 {
    let most = reader.value(&ARTIFACT_MAX);
    if most > ARTIFACT_BYTES_CEILING as u64 {
        reader.fault_shown(ARTIFACT_MAX.name, "is more than is ever admitted", "write at most \"32MiB\"");
    }
    most
}

/// The stack of handlers that say none. Notes no fault.
pub(super) fn stack(cells: &Reader<'_>) -> u64 {
    let written = cells.peek(&STACK).map(|(stack, _)| stack);
    written.or_else(|| STACK.default_value()).unwrap_or_default()
}

/// Notes when this handler's stack is of one size more than a host can have.
pub(super) fn check_stacks(limits: &Limits, sizes: &mut BTreeSet<usize>, handler: &Reader<'_>) {
    if sizes.len() < Limits::STACKS_MAX || sizes.contains(&limits.stack) {
        sizes.insert(limits.stack);
        return;
    }
    let known: Vec<String> = sizes.iter().map(|size| format!("\"{}KiB\"", size.div_ceil(1024))).collect();
    let cause = format!("is a stack of one size more than the {} that a host can have", Limits::STACKS_MAX);
    let fix = format!("write one of {}: each size has places for all cells of its own", known.join(", "));
    handler.fault_shown("limits.stack", &cause, &fix);
}

/// Notes which of a handler's limits are above what the engine can give to any cell.
pub(super) fn check_cell(limits: &Limits, cells: &CellsConfig, handler: &Reader<'_>) {
    let settled = [
        ("memory", limits.memory as u64, cells.memory_max, Some("cells.memory-max")),
        (
            "table-elements",
            limits.table_elements as u64,
            cells.table_elements_max.into(),
            Some("cells.table-elements-max"),
        ),
        ("instances", limits.instances.into(), Limits::INSTANCES_MAX.into(), None),
        ("memories", limits.memories.into(), Limits::MEMORIES_MAX.into(), None),
        ("tables", limits.tables.into(), Limits::TABLES_MAX.into(), None),
        // What a single call may cost the host, which nothing can interrupt.
        ("random", limits.random, Limits::RANDOM_MAX, None),
        ("host-call", limits.host_call as u64, Limits::HOST_CALL_MAX as u64, None),
        ("handles", limits.handles as u64, Limits::HANDLES_MAX as u64, None),
        ("resources", limits.resources as u64, Limits::RESOURCES_MAX as u64, None),
    ];
    for (key, asked, most, setting) in settled {
        if asked > most {
            let fix = match setting {
                Some(setting) => format!("lower it, or raise {setting} (now {most})"),
                None => format!("write at most {most}"),
            };
            handler.fault_shown(&format!("limits.{key}"), "is above what a cell can have", &fix);
        }
    }
}

pub(super) fn read_log(reader: &Reader<'_>) -> LogConfig {
    LogConfig { format: reader.value(&FORMAT) }
}

fn path_prefix(node: &Node) -> Result<String, String> {
    let path = (TEXT.read)(node)?;
    let is_plain = |part: &str| {
        let bytes = part.bytes();
        !part.is_empty()
            && part != "."
            && part != ".."
            && bytes.into_iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
    };
    let inner = path.trim_matches('/');
    if inner.is_empty() || inner.split('/').all(is_plain) {
        return Ok(if inner.is_empty() { String::new() } else { format!("/{inner}") });
    }
    Err("is not made of letters, digits, '-', '_', '.' and '~' between slashes".to_owned())
}

fn redaction(node: &Node) -> Result<Redaction, String> {
    let paths = (TEXTS.read)(node)?;
    Redaction::new(paths.iter().map(String::as_str)).map_err(|error| error.to_string())
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
