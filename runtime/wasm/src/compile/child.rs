//! The compiler process: what this program is when a host starts it to compile one artifact. It reads the artifact from
//! its input, writes one answer to its output, and ends.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::confine::{Bounds, confine};
use crate::admit::ARTIFACT_BYTES_CEILING;
use crate::engine::{Tier, compiler_config, fingerprint};

/// The first argument of a program that is started to compile.
pub(super) const WORD: &str = "__jobcell-compile";

/// What the answer begins with: the machine code follows, or the reason why there is none.
pub(super) const CODE: u8 = b'C';
pub(super) const REFUSED: u8 = b'R';
pub(super) const NO_MEMORY: u8 = b'M';
pub(super) const OTHER_ENGINE: u8 = b'E';

/// Ends a process that could not begin; what it answers otherwise ends with success.
const UNUSABLE: i32 = 2;

/// Whether this program can be started as a compiler.
static IS_OFFERED: AtomicBool = AtomicBool::new(false);

/// Makes this program one that can compile in a process of its own. Call it first of all in `main`, before threads,
/// files and settings: in a process that was started to compile it does that and ends the process, in any other it
/// returns at once.
///
/// ```no_run
/// // The first line of `main`:
/// jobcell_wasm::compiler_entry();
/// ```
pub fn compiler_entry() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != WORD) {
        IS_OFFERED.store(true, Ordering::Relaxed);
        return;
    }
    match serve(arguments) {
        Ok(never) => match never {},
        Err(error) => {
            // Nobody may be reading.
            let _ = writeln!(io::stderr(), "{error}");
            std::process::exit(UNUSABLE);
        }
    }
}

/// This very program, also when its file has been replaced meanwhile.
pub(super) fn this_program() -> Option<&'static Path> {
    IS_OFFERED.load(Ordering::Relaxed).then_some(Path::new("/proc/self/exe"))
}

/// What a compiler process is told.
pub(super) struct Order<'a> {
    pub(super) memory: u64,
    pub(super) cpu: Duration,
    pub(super) threads: usize,
    pub(super) tier: Tier,
    pub(super) fingerprint: &'a str,
}

impl Order<'_> {
    /// As arguments, the word included. The host is the calling process.
    pub(super) fn arguments(&self) -> [String; 7] {
        let Self { memory, cpu, threads, tier, fingerprint } = self;
        let (host, cpu) = (std::process::id().to_string(), cpu.as_secs().max(1).to_string());
        let (word, tier) = (WORD.to_owned(), tier.word().to_owned());
        [word, host, memory.to_string(), cpu, threads.to_string(), tier, (*fingerprint).to_owned()]
    }
}

fn serve(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Infallible> {
    let wrong = || io::Error::other(format!("{WORD} is how a host of this version starts its compiler"));
    let mut next = || arguments.next().and_then(|argument| argument.into_string().ok()).ok_or_else(wrong);
    let host = next()?.parse().map_err(|_| wrong())?;
    let memory = next()?.parse().map_err(|_| wrong())?;
    let cpu = Duration::from_secs(next()?.parse().map_err(|_| wrong())?);
    let threads = next()?.parse().map_err(|_| wrong())?;
    let tier = Tier::of_word(&next()?).ok_or_else(wrong)?;
    let asked = next()?;
    let is_parallel = start_threads(threads);
    confine(&Bounds { memory, cpu, host })?;
    let mut wasm = Vec::new();
    io::stdin().lock().take(ARTIFACT_BYTES_CEILING as u64 + 1).read_to_end(&mut wasm)?;
    let (kind, body) = answer(&wasm, tier, &asked, is_parallel);
    let mut out = io::stdout().lock();
    out.write_all(&[kind])?;
    out.write_all(&body)?;
    out.flush()?;
    // At once: the host waits for it, and taking apart what it holds would take longer than what the kernel does with it.
    std::process::exit(0)
}

/// Starts the threads that compile, since none can be started later. False where one has to do: that is what was asked for,
/// or the system refuses more.
fn start_threads(threads: usize) -> bool {
    threads > 1 && rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().is_ok()
}

fn answer(wasm: &[u8], tier: Tier, asked: &str, is_parallel: bool) -> (u8, Vec<u8>) {
    let refused = |error: wasmtime::Error| {
        let kind = if error.is::<wasmtime::OutOfMemory>() { NO_MEMORY } else { REFUSED };
        (kind, format!("{error:#}").into_bytes())
    };
    let engine = match wasmtime::Engine::new(compiler_config(tier).parallel_compilation(is_parallel)) {
        Ok(engine) => engine,
        Err(error) => return refused(error),
    };
    let own = fingerprint(&engine);
    if own != asked {
        return (OTHER_ENGINE, own.into_bytes());
    }
    match engine.precompile_component(wasm) {
        Ok(code) => (CODE, code),
        Err(error) => refused(error),
    }
}
