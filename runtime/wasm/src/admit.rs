//! Admission: whether bytes may become a handler here. Everything that can be refused is refused before any of it runs,
//! and nearly everything before any of it is compiled.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::priority::behind;
use wasmtime::component::Component;

use crate::cell::Cell;
use crate::compile::{self, Abandoned, CompileBound};
use crate::compile_cache::CompileCache;
use crate::engine::{Engine, Pool, Tier};
use crate::grants::Grants;
use crate::inspect::{Description, Import, describe};
use crate::interface::{Everything, Need, Standing, WIT_VERSION, standing};
use crate::limits::STACK_BYTES;
use crate::stop::bytes as in_bytes;
use crate::validate::{check, validate};
use crate::world::HandlerPre;

/// The most bytes that an artifact may have whatever is asked for: components that carry a language's engine have
/// about 10 MiB.
pub const ARTIFACT_BYTES_CEILING: usize = 32 << 20;

/// How to admit.
#[derive(Debug, Clone)]
pub struct AdmitOptions {
    /// The handler's name, for messages.
    pub handler: String,
    /// What it may touch; imports beyond it are refused.
    pub grants: Grants,
    /// Bytes that the artifact may have, within the engine's `artifact_max`. Default [`ARTIFACT_BYTES_CEILING`].
    pub size_max: usize,
    /// Bytes of the guest's stack: the [`Limits::stack`](crate::Limits::stack) that it is to run with. Default 512 KiB.
    pub stack: usize,
    /// Where compiled components are kept. None compiles anew each time.
    pub cache: Option<CompileCache>,
    /// Whether code of the baseline compiler will do for the beginning: where the engine offers it
    /// ([`EngineConfig::baseline`](crate::EngineConfig::baseline)) and optimised code is not kept already. Default
    /// false. See [`Optimiser`](crate::Optimiser), which brings it there.
    pub baseline: bool,
}

impl AdmitOptions {
    /// For this handler, with these grants and the defaults.
    #[must_use]
    pub fn new(handler: impl Into<String>, grants: Grants) -> Self {
        let size_max = ARTIFACT_BYTES_CEILING;
        Self { handler: handler.into(), grants, size_max, stack: STACK_BYTES, cache: None, baseline: false }
    }
}

/// A component that may become a handler, compiled and linked. Cheap to clone.
#[derive(Clone)]
pub struct Admitted {
    pre: HandlerPre<Cell>,
    pool: Arc<Pool>,
    description: Description,
    version: String,
    cached: bool,
}

/// Why bytes may not become a handler.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Too many bytes.
    #[error(
        "the artifact has {size} bytes; the limit is {}. Build it with optimisation and strip debug information, or \
         raise `artifact-max` under [cells] (at most {})", in_bytes(*limit), in_bytes(ARTIFACT_BYTES_CEILING)
    )]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Machine code instead of WebAssembly.
    #[error(
        "the artifact is compiled already; native code from elsewhere is never loaded. Give the .wasm file itself"
    )]
    Precompiled,
    /// A core module instead of a component.
    #[error(
        "the artifact is a core module, and a handler is a component. Build it with `cargo build --target \
         wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Something else.
    #[error("the artifact is not WebAssembly: it begins with {start:02x?} instead of [00, 61, 73, 6d]")]
    NotWasm {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// Cut off or broken.
    #[error(
        "the artifact is malformed at byte {at}: {}. Was it cut off on its way? Build or copy it anew",
        shown(cause)
    )]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong there.
        cause: String,
    },
    /// It uses a part of WebAssembly that is switched off.
    #[error(
        "the artifact uses the WebAssembly proposal \"{proposal}\" (at byte {at}), which this host does not run. Build \
         it without"
    )]
    Proposal {
        /// Its name.
        proposal: &'static str,
        /// Where it is used first.
        at: usize,
    },
    /// It is shaped to make compiling expensive.
    #[error("the artifact has {count} {what}; the limit is {limit}")]
    Shape {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// It does not export our handler.
    #[error(
        "the component is of another world: it does not export `handle` as jobcell:job@{WIT_VERSION} has it{}. It \
         exports {}", cause.as_ref().map(|cause| format!(" ({})", shown(cause))).unwrap_or_default(), listed(exports)
    )]
    OtherWorld {
        /// What it exports.
        exports: Vec<String>,
        /// What does not fit, where `handle` is there.
        cause: Option<String>,
    },
    /// It was built for another version of an interface.
    #[error("{} needs host WIT {}, this host has {has}. {}", shown(import), shown(needs), remedy(import))]
    OtherVersion {
        /// The import.
        import: String,
        /// Its version.
        needs: String,
        /// The host's.
        has: String,
    },
    /// It imports what the host has not.
    #[error("the component imports {}, which this host does not have. It has {Everything}", listed(imports))]
    UnknownImports {
        /// The imports.
        imports: Vec<String>,
    },
    /// It imports what was not granted.
    #[error("handler {handler:?} imports {} without the grant. To allow it, add\n{toml}", listed(imports))]
    NotGranted {
        /// The handler.
        handler: String,
        /// The imports.
        imports: Vec<String>,
        /// The grants that they need.
        needs: Vec<Need>,
        /// The lines for the config file, to be filled in.
        toml: String,
    },
    /// The engine's compiler refuses it.
    #[error("the component cannot be compiled: {}", shown(cause))]
    Compile {
        /// Why.
        cause: String,
    },
    /// Compiling it took more than a compiler process may use.
    #[error("compiling the artifact takes more than {bound}. {}", more(bound))]
    CompileBound {
        /// What it used up.
        bound: CompileBound,
    },
    /// The compiler process does not start, or broke down over this artifact.
    #[error("the compiler process failed: {cause}")]
    Compiler {
        /// How.
        cause: String,
    },
    /// Somebody else ended the compiler process; try again.
    #[error(
        "the compiler process was killed from outside (signal {signal}). Try again; if it happens again, see whether the \
         machine or the container runs out of memory"
    )]
    CompilerKilled {
        /// The signal's number.
        signal: i32,
    },
    /// The functions it imports are not those of this host.
    #[error(
        "the component does not link: {}. It was built against another text of the same interface",
        shown(cause)
    )]
    Link {
        /// Why.
        cause: String,
    },
    /// There are handlers with stacks of too many sizes.
    #[error(
        "limits.stack = {} is one size of stacks more than a host can have at once (there are {used}): each has places \
         for all cells of its own. Give handlers one of these sizes", in_bytes(*stack)
    )]
    Stacks {
        /// The size.
        stack: usize,
        /// The others.
        used: String,
    },
    /// There is no room for cells with stacks of this size.
    #[error(
        "no pool of cells can be set up for limits.stack = {}: {}. Lower cells.max if address space is short, give \
         handlers stacks of fewer sizes, or set cells.baseline = false", in_bytes(*stack), shown(cause)
    )]
    Pool {
        /// The size.
        stack: usize,
        /// Why not.
        cause: String,
    },
    /// The host could not finish; try again.
    #[error("admission was interrupted: {0}")]
    Interrupted(String),
}

// === impl AdmitError ===

impl AdmitError {
    pub(crate) fn malformed(cause: &str, at: usize) -> Self {
        Self::Malformed { at, cause: cause.to_owned() }
    }

    /// True when the same artifact may be admitted later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Interrupted(_) | Self::CompilerKilled { .. })
    }
}

impl From<wasmparser::BinaryReaderError> for AdmitError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed { at: error.offset(), cause: error.message().to_owned() }
    }
}

/// What to do about a bound that was passed.
fn more(bound: &CompileBound) -> &'static str {
    match bound {
        CompileBound::Memory(_) => {
            "Split its largest functions, build it smaller, or raise cells.compile-memory"
        }
        CompileBound::Cpu(_) | CompileBound::Wall(_) => {
            "Split its largest functions, build it smaller, or raise cells.compile-time"
        }
        CompileBound::Code(_) => "Build it smaller",
    }
}

/// Names that one message lists, and bytes of each and of a cause that it shows: an artifact may have thousands.
const NAMES_MAX: usize = 20;
const SHOWN_MAX: usize = 300;

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = names.iter().take(NAMES_MAX).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
        text += &format!(" and {more} more");
    }
    text
}

/// What an artifact says, as a log and a terminal may show it.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_MAX));
    for c in text.chars() {
        if shown.len() >= SHOWN_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

fn remedy(import: &str) -> &'static str {
    if import.starts_with("jobcell:job/") {
        "Update the host, or build the handler with the SDK of this host"
    } else {
        "Build the handler for the host's version"
    }
}

// === impl Admitted ===

impl Admitted {
    /// What the component says about itself. Its `features` are only told by [`crate::inspect`].
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The sha256 of the artifact, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.description.digest
    }

    /// The first 12 digits of the digest.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What code its cells run.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.pool.tier()
    }

    /// Whether the compiled component came from the cache.
    #[must_use]
    pub fn was_cached(&self) -> bool {
        self.cached
    }

    pub(crate) fn pre(&self) -> &HandlerPre<Cell> {
        &self.pre
    }

    /// Where its cells come from.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pre: _, pool, description, version: _, cached } = self;
        let (stack, tier) = (pool.stack(), pool.tier());
        let mut told = f.debug_struct("Admitted");
        told.field("description", description).field("stack", &stack).field("tier", &tier);
        told.field("cached", cached).finish()
    }
}

/// Hex digits of a version.
const VERSION_DIGITS: usize = 12;

impl Engine {
    /// Admits an artifact: checks it, compiles it or takes it from the cache, and links it. That happens on a thread behind
    /// the jobs that run ([`behind`]) and takes from milliseconds to seconds, longer when others are compiled first.
    ///
    /// Cancel safety: with a dropped future the compiling ends, a compiler process is killed; nothing is left of it.
    ///
    /// # Errors
    /// The first reason against it.
    pub async fn admit(
        &self,
        bytes: impl Into<Bytes>,
        options: AdmitOptions,
    ) -> Result<Admitted, AdmitError> {
        let (engine, bytes, abandoned) = (self.clone(), bytes.into(), Abandoned::new());
        let _dropped = abandoned.clone().drop_guard();
        behind(move || engine.admit_unless(&bytes, &options, &abandoned))
            .await
            .unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    /// [`Engine::admit`] on the calling thread, which it blocks, and with its priority.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn admit_blocking(&self, bytes: &[u8], options: &AdmitOptions) -> Result<Admitted, AdmitError> {
        self.admit_unless(bytes, options, &Abandoned::new())
    }

    fn admit_unless(
        &self,
        bytes: &[u8],
        options: &AdmitOptions,
        abandoned: &Abandoned,
    ) -> Result<Admitted, AdmitError> {
        let AdmitOptions { handler, grants, size_max, .. } = options;
        let limit = (*size_max).min(self.artifact_max()).min(ARTIFACT_BYTES_CEILING);
        if bytes.len() > limit {
            return Err(AdmitError::TooLarge { size: bytes.len(), limit });
        }
        let description = describe(bytes)?;
        check_world(&description)?;
        check_versions(&description.imports)?;
        check_grants(handler, grants, &description.imports)?;
        let Compiled { component, pool, cached } =
            self.compiled(bytes, &description.digest, options, abandoned)?;
        let instance =
            pool.linker().instantiate_pre(&component).map_err(|error| unlinked(&error, &description))?;
        let pre = HandlerPre::new(instance).map_err(|error| AdmitError::OtherWorld {
            exports: description.exports.clone(),
            cause: Some(format!("{error:#}")),
        })?;
        let version = description.digest[..VERSION_DIGITS].to_owned();
        Ok(Admitted { pre, pool, description, version, cached })
    }

    /// Kept code, or else that of the compiler that is asked for once the bytes have been found valid. What is kept was found
    /// valid before it was compiled, by the rules that its name stands for.
    fn compiled(
        &self,
        bytes: &[u8],
        digest: &str,
        options: &AdmitOptions,
        abandoned: &Abandoned,
    ) -> Result<Compiled, AdmitError> {
        let AdmitOptions { handler, stack, cache, baseline, .. } = options;
        // What is not valid is told so, whatever else is in the way.
        let pool = self.pool(Tier::Optimised, *stack);
        let pool = pool.or_else(|fault| validate(bytes, digest).and(Err(fault)))?;
        let cache = cache.as_ref();
        if let Some(component) = cache.and_then(|cache| compile::kept(&pool, digest, cache)) {
            return Ok(Compiled { component, pool, cached: true });
        }
        let baseline = (*baseline && self.report().baseline).then(|| self.pool(Tier::Baseline, *stack));
        let first = baseline.as_ref().and_then(|pool| pool.as_ref().ok()).unwrap_or(&pool);
        let mut ahead = self.workshop().start_ahead(first);
        if let Err(invalid) = check(bytes, digest) {
            drop(ahead);
            return Err(invalid.told(bytes));
        }
        let mut made = |pool: Arc<Pool>, cache| {
            let component = compile::made(self, &pool, bytes, digest, cache, ahead.take(), abandoned)?;
            Ok(Compiled { component, pool, cached: false })
        };
        if let Some(baseline) = baseline {
            // Not kept: the next start finds the optimised code.
            match baseline.and_then(|pool| made(pool, None)) {
                Err(fault) if !fault.is_transient() => {
                    // The other compiler has the last word: it knows more, and its pools are those that count.
                    tracing::info!(handler, %fault, "no baseline code; waiting for the optimised");
                }
                ended => return ended,
            }
        }
        made(pool, cache)
    }
}

/// The host's own fault, in the words that it panicked with, as `panic!` leaves them.
fn panicked(panic: &(dyn Any + Send)) -> AdmitError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref().copied()).unwrap_or("its log has the reason");
    AdmitError::Interrupted(format!("it panicked: {text}"))
}

/// Code, and where cells of it come from.
struct Compiled {
    component: Component,
    pool: Arc<Pool>,
    /// Whether it was compiled before.
    cached: bool,
}

/// Describes a component after refusing what [`Engine::admit`] refuses whatever is granted: bytes that are no component,
/// are malformed, or are not for this world. Compiles nothing and needs no engine, so that it can be asked before an
/// artifact is stored. `features` is not filled in.
///
/// # Errors
/// What [`Engine::admit`] would say.
pub fn screen(bytes: &[u8]) -> Result<Description, AdmitError> {
    if bytes.len() > ARTIFACT_BYTES_CEILING {
        return Err(AdmitError::TooLarge { size: bytes.len(), limit: ARTIFACT_BYTES_CEILING });
    }
    let description = describe(bytes)?;
    check_world(&description)?;
    check_versions(&description.imports)?;
    validate(bytes, &description.digest)?;
    Ok(description)
}

fn check_world(description: &Description) -> Result<(), AdmitError> {
    if description.exports.iter().any(|export| export == "handle (func)") {
        return Ok(());
    }
    // A handler of a later contract that exports differently is better told by the version it names.
    check_versions(&description.imports)?;
    Err(AdmitError::OtherWorld { exports: description.exports.clone(), cause: None })
}

fn check_versions(imports: &[Import]) -> Result<(), AdmitError> {
    let mut unknown = Vec::new();
    for Import { name, .. } in imports {
        match standing(name) {
            Standing::Offered(_) => {}
            Standing::OtherVersion { host } => {
                let (import, needs) = name.split_once('@').unwrap_or((name, "without a version"));
                let (import, needs) = (import.to_owned(), needs.to_owned());
                return Err(AdmitError::OtherVersion { import, needs, has: host.to_owned() });
            }
            Standing::Unknown => unknown.push(name.clone()),
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(AdmitError::UnknownImports { imports: unknown }) }
}

fn check_grants(handler: &str, grants: &Grants, imports: &[Import]) -> Result<(), AdmitError> {
    let missing: Vec<_> = imports
        .iter()
        .filter_map(|import| import.needs.filter(|need| !granted(grants, *need)).map(|need| (import, need)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut needs: Vec<_> = missing.iter().map(|(_, need)| *need).collect();
    needs.sort_unstable();
    needs.dedup();
    let mut toml = format!("[handlers.{handler}.grants]");
    for need in &needs {
        toml.push('\n');
        toml.push_str(need.line());
        if need.is_list() {
            let _ = write!(toml, "  # or {} = [] if it is to reach nothing there", need.key());
        }
    }
    let imports = missing.into_iter().map(|(import, _)| import.name.clone()).collect();
    Err(AdmitError::NotGranted { handler: handler.to_owned(), imports, needs, toml })
}

fn granted(grants: &Grants, need: Need) -> bool {
    grants.refused.contains(&need)
        || match need {
            Need::Http => !grants.http.is_empty(),
            Need::Blobs => !grants.blobs.is_empty(),
            Need::Cache => grants.cache,
            Need::Kv => !grants.kv.is_empty(),
            Need::Enqueue => !grants.enqueue.is_empty(),
            Need::Publish => !grants.publish.is_empty(),
            Need::Secrets => !grants.secrets.is_empty(),
        }
}

/// A component built against a later text of our contract imports functions that this host has not, by the same name
/// of the interface but a higher version.
fn unlinked(error: &wasmtime::Error, description: &Description) -> AdmitError {
    let newer = description.imports.iter().find_map(|import| {
        let (name, version) = import.name.split_once('@')?;
        (name.starts_with("jobcell:job/") && version != WIT_VERSION)
            .then(|| (name.to_owned(), version.to_owned()))
    });
    match newer {
        Some((import, needs)) => AdmitError::OtherVersion { import, needs, has: WIT_VERSION.to_owned() },
        None => AdmitError::Link { cause: format!("{error:#}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_admission_panics_with_is_told_and_may_be_tried_again() {
        let (left, right) = (1, 2);
        for (panic, said) in [
            (behind(|| -> () { panic!("in words") }).await, "it panicked: in words"),
            (behind(move || assert_eq!(left, right, "made of {left}")).await, "made of 1"),
        ] {
            let error = panicked(&*panic.unwrap_err());
            assert!(error.to_string().contains(said) && error.is_transient(), "{error}");
        }
    }

    #[test]
    fn messages_neither_steer_a_terminal_nor_fill_a_log() {
        let imports: Vec<String> =
            (0..5000).map(|n| format!("a:b/{n}\u{1b}[2J\nERROR {}", "x".repeat(1000))).collect();
        for error in [
            AdmitError::UnknownImports { imports: imports.clone() },
            AdmitError::OtherWorld { exports: imports.clone(), cause: Some(imports[0].clone()) },
            AdmitError::malformed(&imports[0], 7),
            AdmitError::Link { cause: imports[0].clone() },
            AdmitError::Compile { cause: imports[0].clone() },
            AdmitError::OtherVersion {
                import: imports[0].clone(),
                needs: imports[1].clone(),
                has: "1".into(),
            },
        ] {
            let told = error.to_string();
            assert!(!told.contains(char::is_control) && told.len() < 10_000, "{told}");
        }
        let told = AdmitError::UnknownImports { imports }.to_string();
        assert!(told.contains("a:b/0\\u{1b}[2J\\nERROR") && told.contains("and 4980 more"), "{told}");
    }
}
