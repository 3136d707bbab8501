//! Starts the compiler process for one artifact, and stays beside it until it is gone.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::child::{self, Order};
use super::{Abandoned, CompileBound, CompilerProcess};
use crate::admit::AdmitError;
use crate::engine::Pool;

/// How late an admission that nobody waits for any more is noticed.
const PULSE: Duration = Duration::from_millis(10);
/// How often the end of a process is looked for that has closed its output already.
const LAST_PULSE: Duration = Duration::from_millis(1);
/// Bytes of machine code taken at most: eight for each byte of the largest artifact.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of its complaints that are kept; what comes after is read and forgotten.
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// How long the end of its complaints may take once it is gone.
const COMPLAINT_PATIENCE: Duration = Duration::from_secs(1);
/// Threads that compile one artifact: more gain little, and each takes its part of the bound on memory.
const THREADS_MAX: usize = 4;
/// Address space that must be there for each thread: its stack, the allocator's room for it, and its share of the work.
const THREAD_BYTES: u64 = 192 << 20;
/// How a Rust program ends whose main thread panicked.
const PANICKED: i32 = 101;
/// What Rust's allocator says before it ends a process that has no memory left.
const NO_MEMORY: &str = "memory allocation of";

/// Starts it, to compile on this many cores, if it has the memory, and with the priority of the calling thread. That must not
/// end before what this returns, because the process ends with the thread that started it.
pub(super) fn start(
    process: &CompilerProcess,
    program: &Path,
    pool: &Pool,
    cores: usize,
) -> Result<Running, AdmitError> {
    let (tier, fingerprint) = (pool.tier(), pool.fingerprint());
    let room = usize::try_from(process.memory / THREAD_BYTES).unwrap_or(usize::MAX);
    let threads = cores.min(THREADS_MAX).min(room);
    let order = Order { memory: process.memory, cpu: process.cpu, threads, tier, fingerprint };
    Running::start(program, &order).map_err(|error| not_started(program, &error))
}

/// Machine code for these bytes, by a process that has compiled nothing yet. Blocks until the process is gone, which its
/// bounds see to.
pub(super) fn compile(
    process: &CompilerProcess,
    running: &mut Running,
    wasm: Arc<[u8]>,
    abandoned: &Abandoned,
) -> Result<Vec<u8>, AdmitError> {
    let until = running.since + process.wall;
    let attended = running.attend(wasm);
    let Heard { answers, complaints } = attended.map_err(|error| not_started(&running.program, &error))?;
    let answer = listen(&answers, until, abandoned).map_err(|silence| match silence {
        Silence::Overtime => AdmitError::CompileBound { bound: CompileBound::Wall(process.wall) },
        Silence::Abandoned => AdmitError::Interrupted("nobody waits for it any more".to_owned()),
    })?;
    let answer = answer.map_err(|error| AdmitError::Compiler { cause: error.to_string() })?;
    if answer.len() as u64 > CODE_BYTES_MAX {
        return Err(AdmitError::CompileBound { bound: CompileBound::Code(CODE_BYTES_MAX) });
    }
    // It has closed its output, so it is about to end.
    let Some(status) = running.ended(until) else {
        return Err(AdmitError::CompileBound { bound: CompileBound::Wall(process.wall) });
    };
    let complaint = complaints.recv_timeout(COMPLAINT_PATIENCE).unwrap_or_default();
    judge(process, status, answer, &complaint)
}

fn not_started(program: &Path, error: &io::Error) -> AdmitError {
    // What the machine lacks now it may have later; a program that is not there stays away.
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory) {
        return AdmitError::Interrupted(format!("no compiler process can be started now: {error}"));
    }
    let fix = "see that it can be run (this program's own needs /proc), or compile inline what is trusted";
    AdmitError::Compiler { cause: format!("{} does not start: {error}; {fix}", program.display()) }
}

/// What comes from the process: all of its output, and the beginning of its complaints.
struct Heard {
    answers: Receiver<io::Result<Vec<u8>>>,
    complaints: Receiver<String>,
}

/// Why nothing came.
enum Silence {
    Overtime,
    Abandoned,
}

fn listen(
    answers: &Receiver<io::Result<Vec<u8>>>,
    until: Instant,
    abandoned: &Abandoned,
) -> Result<io::Result<Vec<u8>>, Silence> {
    loop {
        if abandoned.is_cancelled() {
            return Err(Silence::Abandoned);
        }
        let left = until.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left.min(PULSE)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Silence::Overtime),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(io::Error::other("the thread that reads its output has ended")));
            }
        }
    }
}

/// What its end and its answer mean.
fn judge(
    process: &CompilerProcess,
    status: ExitStatus,
    mut answer: Vec<u8>,
    complaint: &str,
) -> Result<Vec<u8>, AdmitError> {
    let over = |bound| Err(AdmitError::CompileBound { bound });
    let failed = |cause: String| Err(AdmitError::Compiler { cause });
    let said = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    if let Some(signal) = status.signal() {
        return match Signal::from_named_raw(signal) {
            Some(Signal::XCPU) => over(CompileBound::Cpu(process.cpu)),
            Some(Signal::ABORT) if complaint.contains(NO_MEMORY) => {
                over(CompileBound::Memory(process.memory))
            }
            Some(Signal::KILL | Signal::TERM | Signal::INT | Signal::HUP | Signal::QUIT) => {
                Err(AdmitError::CompilerKilled { signal })
            }
            _ => failed(format!("it crashed with signal {signal}: {said}")),
        };
    }
    if status.code() == Some(PANICKED) {
        return Err(AdmitError::Compile { cause: super::BROKE_OFF.to_owned() });
    }
    if !status.success() || answer.is_empty() {
        return failed(format!("it ended with {status}: {said}"));
    }
    // The kind is taken off in place: the code may be large.
    match answer.remove(0) {
        child::CODE => Ok(answer),
        child::REFUSED => Err(AdmitError::Compile { cause: String::from_utf8_lossy(&answer).into_owned() }),
        child::NO_MEMORY => over(CompileBound::Memory(process.memory)),
        child::OTHER_ENGINE => failed(
            "it makes code for another engine; name a program of this host's version, for this machine"
                .to_owned(),
        ),
        kind => failed(format!("its answer is of the unknown kind {kind:#04x}")),
    }
}

/// A compiler process, which does not outlive this value.
pub(super) struct Running {
    child: Child,
    program: PathBuf,
    since: Instant,
}

// === impl Running ===

impl Running {
    /// With nothing of this process but three pipes, and in a group of its own: a signal from the terminal is for the
    /// host to act on.
    fn start(program: &Path, order: &Order<'_>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg0("jobcell-compiler")
            .args(order.arguments())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let since = Instant::now();
        Ok(Self { child: command.spawn()?, program: program.to_owned(), since })
    }

    /// Starts threads that write its input and read what it says: it may do so in any order. They end with the process.
    fn attend(&mut self, wasm: Arc<[u8]>) -> io::Result<Heard> {
        let lost = || io::Error::other("a pipe to it is missing");
        let mut input = self.child.stdin.take().ok_or_else(lost)?;
        let output = self.child.stdout.take().ok_or_else(lost)?;
        let mut errors = self.child.stderr.take().ok_or_else(lost)?;
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(format!("compiler-{name}")).spawn(work).map(|_| ())
        };
        let (answer, answers) = channel();
        let (complain, complaints) = channel();
        // Whoever stops listening or reading is judged by its end, not here.
        spawn("input", Box::new(move || drop(input.write_all(&wasm))))?;
        spawn(
            "output",
            Box::new(move || {
                let mut bytes = Vec::new();
                let read = output.take(CODE_BYTES_MAX + 1).read_to_end(&mut bytes);
                let _ = answer.send(read.map(|_| bytes));
            }),
        )?;
        spawn(
            "errors",
            Box::new(move || {
                let mut bytes = Vec::new();
                let _ = errors.by_ref().take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes);
                let _ = complain.send(String::from_utf8_lossy(&bytes).into_owned());
                let _ = io::copy(&mut errors, &mut io::sink());
            }),
        )?;
        Ok(Heard { answers, complaints })
    }

    /// Its status, or none when it does not end in time.
    fn ended(&mut self, until: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(LAST_PULSE),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its number stays its own until it has been waited for.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
