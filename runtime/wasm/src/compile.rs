//! From an artifact's bytes to a component that can be linked: out of the cache, or by compiling.
//!
//! Compiling is where hostile bytes can cost the most, and nothing can interrupt it from within. So it happens in a
//! process of its own ([`process`] starts it, [`child`] is it), which is this program started anew: with bounds on
//! memory and time, nothing of the host's environment and descriptors, and an end that costs one admission. What it
//! makes is machine code for this host, and is kept under a keyed hash like everything in the cache.

pub(crate) mod child;
mod confine;
mod process;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

use self::process::Running;
use crate::admit::AdmitError;
use crate::code::Code;
use crate::compile_cache::{CompileCache, Entry};
use crate::engine::{Engine, Pool, Tier};
use crate::strip::stripped;

/// Who compiles artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// A process of its own for each artifact. A program that does not offer it, because its `main` does not call
    /// [`crate::compiler_entry`], compiles in its own process and says so once.
    Process(CompilerProcess),
    /// The host's own process. An artifact that is shaped to be expensive then takes the host's memory and time, and
    /// cannot be stopped.
    Inline,
}

/// A process that compiles one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerProcess {
    /// The program, which must be of this version and call [`crate::compiler_entry`]. Default none: this program.
    pub program: Option<PathBuf>,
    /// Bytes of address space. Default 1 GiB. The program itself takes up to 100 MiB of it, a component of 1 MiB some
    /// tens, and one that carries a language's engine about ten times as much.
    pub memory: u64,
    /// Processor time; whole seconds, at least one. Default 20 s: a component of 1 MiB takes about one.
    pub cpu: Duration,
    /// Time from its start to its end. Default 30 s, so that a busy machine leaves it its processor time.
    pub wall: Duration,
}

/// What a compiler process may use of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileBound {
    /// Bytes of address space.
    Memory(u64),
    /// Processor time.
    Cpu(Duration),
    /// Time from its start to its end.
    Wall(Duration),
    /// Bytes of machine code.
    Code(u64),
}

impl Default for Compiler {
    fn default() -> Self {
        Self::Process(CompilerProcess::default())
    }
}

impl Default for CompilerProcess {
    fn default() -> Self {
        Self { program: None, memory: 1 << 30, cpu: Duration::from_secs(20), wall: Duration::from_secs(30) }
    }
}

impl std::fmt::Display for CompileBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = |bytes: u64| crate::stop::bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        match self {
            Self::Memory(limit) => write!(f, "{} of memory", bytes(*limit)),
            Self::Cpu(limit) => write!(f, "{limit:?} of processor time"),
            Self::Wall(limit) => write!(f, "{limit:?}"),
            Self::Code(limit) => write!(f, "{} of machine code", bytes(*limit)),
        }
    }
}

/// Compiles for one engine.
pub(crate) struct Workshop {
    compiler: Compiler,
    /// One process at a time: two would share the memory that one may take.
    turn: Semaphore,
    /// Of those that make baseline code too, but beside the others: a version that is wanted at once is not to wait for
    /// the optimised code of another one.
    baseline_turn: Semaphore,
    /// Those that compile or wait for it.
    places: Semaphore,
    has_said: AtomicBool,
    leaves_room: AtomicBool,
}

/// A compiler process that waits for what it is to compile, and its turn. Ends it when dropped.
pub(crate) struct Started<'a> {
    running: Running,
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

/// What is said of bytes on which the compiler panics: upstream does not count that as a fault of its own.
const BROKE_OFF: &str = "the engine's compiler breaks off on it";
/// Artifacts that wait for their turn: each is held in memory meanwhile, and keeps a thread waiting.
const WAITING_MAX: usize = 64;

/// Says how an admission is going that nobody may be waiting for any more.
pub(crate) type Abandoned = CancellationToken;

// === impl Workshop ===

impl Workshop {
    pub(crate) fn new(compiler: Compiler) -> Self {
        let [turn, baseline_turn] = [1, 1].map(Semaphore::new);
        let places = Semaphore::new(1 + WAITING_MAX);
        let [has_said, leaves_room] = [false; 2].map(AtomicBool::new);
        Self { compiler, turn, baseline_turn, places, has_said, leaves_room }
    }

    /// Who compiles, as things are in this program.
    pub(crate) fn compiler(&self) -> Option<(&CompilerProcess, &Path)> {
        let Compiler::Process(process) = &self.compiler else { return None };
        let program = match &process.program {
            Some(program) => Some(program.as_path()),
            None => child::this_program(),
        };
        program.filter(|_| confine::IS_SUPPORTED).map(|program| (process, program))
    }

    /// Starts the process that will compile for this pool, unless others come first: what there is to do before there is
    /// something to compile can be done beside its start. The calling thread must not end before what this returns.
    pub(crate) fn start_ahead(&self, pool: &Pool) -> Option<Started<'_>> {
        let (process, program) = self.compiler()?;
        let turn = self.turn(pool).try_acquire().ok()?;
        let place = self.places.try_acquire().ok()?;
        // If it does not start, whoever needs it tries again and says why.
        let running = process::start(process, program, pool, self.cores()).ok()?;
        Some(Started { running, _turn: turn, _place: place })
    }

    /// Starts it when it is its turn.
    fn start(
        &self,
        process: &CompilerProcess,
        program: &Path,
        pool: &Pool,
        abandoned: &Abandoned,
    ) -> Result<Started<'_>, AdmitError> {
        let interrupted = |why: &str| AdmitError::Interrupted(why.to_owned());
        let Ok(place) = self.places.try_acquire() else {
            return Err(interrupted(&format!(
                "{WAITING_MAX} artifacts wait to be compiled already, one at a time; try again later"
            )));
        };
        let turn = futures::executor::block_on(async {
            tokio::select! {
                turn = self.turn(pool).acquire() => turn.map_err(|_| interrupted("the host is stopping")),
                () = abandoned.cancelled() => Err(interrupted("nobody waits for it any more")),
            }
        })?;
        let running = process::start(process, program, pool, self.cores())?;
        Ok(Started { running, _turn: turn, _place: place })
    }

    /// See [`Engine::leave_room`].
    pub(crate) fn leave_room(&self) {
        self.leaves_room.store(true, Ordering::Relaxed);
    }

    /// Cores that compiling may take.
    fn cores(&self) -> usize {
        let all = std::thread::available_parallelism().map_or(1, NonZero::get);
        if self.leaves_room.load(Ordering::Relaxed) { all.div_ceil(2) } else { all }
    }

    fn turn(&self, pool: &Pool) -> &Semaphore {
        match pool.tier() {
            Tier::Baseline => &self.baseline_turn,
            Tier::Optimised => &self.turn,
        }
    }

    fn compile(
        &self,
        pool: &Pool,
        wasm: Vec<u8>,
        ahead: Option<Started<'_>>,
        abandoned: &Abandoned,
    ) -> Result<Code, AdmitError> {
        let Some((process, program)) = self.compiler() else {
            self.say_once();
            // Bytes that break the compiler are refused for good, as the process does it.
            let made = catch_unwind(AssertUnwindSafe(|| pool.wasmtime().precompile_component(&wasm)));
            return match made {
                Ok(made) => made.map(Code::compiled).map_err(|error| failed(&error)),
                Err(_) => Err(AdmitError::Compile { cause: BROKE_OFF.to_owned() }),
            };
        };
        let mut started = match ahead {
            Some(started) => started,
            None => self.start(process, program, pool, abandoned)?,
        };
        process::compile(process, &mut started.running, Arc::from(wasm), abandoned).map(Code::compiled)
    }

    fn say_once(&self) {
        if self.compiler != Compiler::Inline && !self.has_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "artifacts are compiled in the host's own process, where one that is shaped to be expensive takes the \
                 host's memory and time: this program cannot be started as a compiler. Call jobcell::compiler_entry() \
                 at the start of its main, or name a program that does"
            );
        }
    }
}

/// The component of this digest as cells of the pool are made of it, where it was compiled before.
pub(crate) fn kept(pool: &Pool, digest: &str, cache: &CompileCache) -> Option<Component> {
    cache.entry(pool, digest).load(pool.wasmtime())
}

/// The component for these bytes, which have been validated, as cells of the pool are made of it: by the compiler process that
/// was started ahead for this pool, where there is one. It is kept in the cache.
pub(crate) fn made(
    engine: &Engine,
    pool: &Pool,
    bytes: &[u8],
    digest: &str,
    cache: Option<&CompileCache>,
    ahead: Option<Started<'_>>,
    abandoned: &Abandoned,
) -> Result<Component, AdmitError> {
    let code = engine.workshop().compile(pool, stripped(bytes)?, ahead, abandoned)?;
    // A full disk must not keep a handler from running.
    if let Some(component) = cache.and_then(|cache| stored(&cache.entry(pool, digest), &code, pool)) {
        return Ok(component);
    }
    code.load(pool.wasmtime()).map_err(|error| failed(&error))
}

fn stored(entry: &Entry<'_>, code: &Code, pool: &Pool) -> Option<Component> {
    match entry.store(code) {
        // Loading it back maps the file, whose pages all hosts of this machine share.
        Ok(()) => entry.load(pool.wasmtime()),
        Err(error) => {
            let folder = entry.folder().display().to_string();
            tracing::warn!(
                %error,
                folder,
                "a compiled component could not be kept; it runs, and is compiled again at the next start. Make room there, or \
                 name another folder as cells.cache"
            );
            None
        }
    }
}

fn failed(error: &wasmtime::Error) -> AdmitError {
    AdmitError::Compile { cause: format!("{error:#}") }
}
