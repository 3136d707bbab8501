//! Why an attempt was ended: the one place where traps, refusals and faults become a cause and a reason.

use std::time::Duration;

use jobcell_core::{Outcome, StopCause, Stopped};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::limits::Limits;

/// What the host raises inside a guest to end it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stop {
    /// The memory limit was reached.
    #[error("the memory limit of {} was reached: the handler asked for {} in all", bytes(*limit), bytes(*wanted))]
    Memory {
        /// The limit in bytes.
        limit: usize,
        /// What the guest would have had.
        wanted: usize,
    },
    /// Memory could not grow although the limit allows it.
    #[error("memory could not grow beyond {}: {cause}", bytes(*held))]
    MemoryRefused {
        /// What the guest had, in bytes.
        held: usize,
        /// Why not.
        cause: String,
    },
    /// One table would have had too many elements.
    #[error("the limit of {limit} table elements was reached: the handler asked for {wanted}")]
    Table {
        /// The limit.
        limit: usize,
        /// What the guest asked for.
        wanted: usize,
    },
    /// The deadline passed.
    #[error("the deadline of {:?} passed while the handler was {doing}", whole_ms(*after))]
    Deadline {
        /// From the start of the attempt to its deadline.
        after: Duration,
        /// Computing or waiting.
        doing: &'static str,
    },
    /// The time for computing was used up.
    #[error("the cpu budget of {:?} was used up; waiting is not counted in it", whole_ms(*limit))]
    Cpu {
        /// The budget.
        limit: Duration,
    },
    /// The worker asked for an end.
    #[error("{}", why(*.0))]
    Asked(StopCause),
}

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The cell was being made.
    Making,
    /// The handler was running, or its answer was being read.
    Running,
}

/// What is known about the attempt besides the error.
pub(crate) struct Circumstances<'a> {
    pub(crate) phase: Phase,
    pub(crate) limits: &'a Limits,
    /// Bytes that one host call or the answer may carry.
    pub(crate) host_call: usize,
    /// The end of what the guest wrote to stderr.
    pub(crate) stderr: &'a str,
}

// === impl Stop ===

impl Stop {
    pub(crate) fn cause(&self) -> StopCause {
        match self {
            Self::Memory { .. } | Self::MemoryRefused { .. } | Self::Table { .. } => StopCause::Memory,
            Self::Deadline { .. } => StopCause::Deadline,
            Self::Cpu { .. } => StopCause::Cpu,
            Self::Asked(cause) => *cause,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::stopped(self.cause(), self.to_string())
    }
}

/// What became of an attempt that ended with this error instead of an answer.
pub(crate) fn classify(error: &wasmtime::Error, circumstances: &Circumstances<'_>) -> Outcome {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        // The host is full, which is nobody's fault; the job has not run.
        return Outcome::Requeue;
    }
    let frames = error.downcast_ref::<WasmBacktrace>();
    let (cause, reason) = cause(error, frames.is_some(), circumstances);
    let reason = visible(&reason, &['\n', '\t']);
    let backtrace = frames.map(|frames| backtrace(frames, cause)).unwrap_or_default();
    Outcome::Stopped(Stopped { cause, reason, backtrace })
}

fn cause(error: &wasmtime::Error, in_guest: bool, circumstances: &Circumstances<'_>) -> (StopCause, String) {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return (stop.cause(), stop.to_string());
    }
    if let Some(I32Exit(status)) = error.downcast_ref() {
        let said = panic_message(circumstances.stderr);
        let reason =
            said.unwrap_or_else(|| format!("the handler exited with status {status} instead of answering"));
        return (StopCause::Panic, reason);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return of_trap(*trap, circumstances);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        let limit = circumstances.limits.resources;
        return (
            StopCause::Resources,
            format!("the handler holds more of the host's resources at once than the limit of {limit}"),
        );
    }
    let text = error.root_cause().to_string();
    if text.contains("store handle limit exceeded") {
        let limit = circumstances.limits.handles;
        return (
            StopCause::Resources,
            format!("the handler holds more handles at once than the limit of {limit}"),
        );
    }
    if let Some(counted) = text.strip_prefix("resource limit exceeded: ") {
        return (StopCause::Resources, too_many(counted, circumstances.limits));
    }
    if text.starts_with("requested len ") && text.contains("exceeds limit") {
        let limit = bytes(usize::try_from(circumstances.limits.random).unwrap_or(usize::MAX));
        let reason = format!("the handler asked for more random bytes in one call than the limit of {limit}");
        return (StopCause::HostCall, reason);
    }
    if text.contains("total size of fields exceeds limit") {
        let limit = bytes(crate::http::hooks::FIELDS_BYTES_MAX);
        let reason =
            format!("the handler put more than the limit of {limit} into the headers of one request");
        return (StopCause::HostCall, reason);
    }
    if text.contains("fuel allocated for hostcalls") {
        let limit = bytes(circumstances.host_call);
        return if in_guest {
            (
                StopCause::HostCall,
                format!("the handler passed more than the limit of {limit} to one host call"),
            )
        } else {
            (
                StopCause::Result,
                format!("the result is larger than its limit of {}", bytes(circumstances.limits.result)),
            )
        };
    }
    match (circumstances.phase, in_guest) {
        (Phase::Making, false) => (StopCause::Host, format!("the host could not make a cell: {text}")),
        (Phase::Making | Phase::Running, _) => {
            (StopCause::Abi, format!("the handler broke the calling convention: {text}"))
        }
    }
}

/// Which count of the component's own parts is over its limit.
fn too_many(counted: &str, limits: &Limits) -> String {
    let Limits { instances, memories, tables, .. } = limits;
    let (what, limit) = match counted.split(' ').next() {
        Some("memory") => ("memories", memories),
        Some("table") => ("tables", tables),
        _ => ("core instances", instances),
    };
    format!("the handler's component has more {what} than the limit of {limit}")
}

fn of_trap(trap: Trap, circumstances: &Circumstances<'_>) -> (StopCause, String) {
    let Circumstances { limits, stderr, .. } = circumstances;
    match trap {
        Trap::StackOverflow => {
            let limit = bytes(limits.stack);
            let reason = format!(
                "the handler's stack overflowed: it recursed too deeply for its limit of {limit} (limits.stack)"
            );
            (StopCause::Stack, reason)
        }
        Trap::UnreachableCodeReached => {
            let reason = panic_message(stderr).unwrap_or_else(|| {
                "the handler aborted (`unreachable` was executed) without a message".to_owned()
            });
            (StopCause::Panic, reason)
        }
        Trap::AllocationTooLarge => {
            (StopCause::Memory, "the handler asked for more memory than can exist".to_owned())
        }
        Trap::Interrupt | Trap::OutOfFuel => (StopCause::Deadline, "the handler was interrupted".to_owned()),
        Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::InvalidChar
        | Trap::UnalignedPointer
        | Trap::CannotEnterComponent
        | Trap::CannotLeaveComponent
        | Trap::CannotBlockSyncTask
        | Trap::DebugAssertStringEncodingFinished
        | Trap::DebugAssertEqualCodeUnits
        | Trap::DebugAssertPointerAligned
        | Trap::DebugAssertUpperBitsUnset => {
            (StopCause::Abi, format!("the handler broke the calling convention: {}", plain(trap)))
        }
        // Memory and table bounds, bad indirect calls, arithmetic; and whatever a later engine adds.
        _ => (StopCause::Trap, format!("the handler trapped: {}", plain(trap))),
    }
}

fn plain(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").map_or_else(|| text.clone(), str::to_owned)
}

/// Rounded: nobody configures less than a millisecond.
fn whole_ms(duration: Duration) -> Duration {
    let ms = (duration + Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

fn why(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Cancelled => "the job was cancelled",
        StopCause::Shutdown => "the host is shutting down",
        StopCause::LockLost => "the job's lock was lost: another worker has it or will",
        StopCause::Deadline => "the deadline passed",
        StopCause::Cpu
        | StopCause::Memory
        | StopCause::Stack
        | StopCause::Panic
        | StopCause::Trap
        | StopCause::Abi
        | StopCause::HostCall
        | StopCause::Resources
        | StopCause::Result
        | StopCause::Payload
        | StopCause::Host => "the worker ended the attempt",
    }
}

/// What a Rust guest printed about its last panic: place and message, without the hint about backtraces.
fn panic_message(stderr: &str) -> Option<String> {
    let (_, said) = stderr.rsplit_once("panicked at ")?;
    let end = said.find("\nnote: ").or_else(|| said.find("\nstack backtrace:")).unwrap_or(said.len());
    let said = said[..end].trim_end();
    let (place, message) = said.split_once(":\n").unwrap_or(("", said));
    Some(if place.is_empty() {
        format!("the handler panicked: {message}")
    } else {
        format!("the handler panicked at {place}: {message}")
    })
}

/// Names of the functions, innermost first, without those that only carry a panic out.
fn backtrace(frames: &WasmBacktrace, cause: StopCause) -> Vec<String> {
    let names: Vec<_> = frames
        .frames()
        .iter()
        .map(|frame| {
            let name = frame.func_name().map_or_else(
                || format!("<function {}>", frame.func_index()),
                |name| format!("{:#}", rustc_demangle::demangle(name)),
            );
            match frame.module().name() {
                Some(module) => format!("{module}!{name}"),
                None => name,
            }
        })
        .collect();
    let machinery = if cause == StopCause::Panic {
        names.iter().take_while(|name| carries_panic(name)).count()
    } else {
        0
    };
    let skip = if machinery == names.len() { 0 } else { machinery };
    names.iter().skip(skip).take(FRAMES_KEPT).map(|name| visible(cut(name), &[])).collect()
}

/// Frames kept of a backtrace.
const FRAMES_KEPT: usize = 20;
/// Bytes kept of one frame: names are the guest's own, and those of generic functions are long enough.
const FRAME_BYTES: usize = 1024;

fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(FRAME_BYTES)]
}

/// Text that a guest had a part in, with its control characters escaped but for these: it is read on terminals, where
/// it must not move the cursor, colour or forge a line.
fn visible(text: &str, kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !kept.contains(&c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn carries_panic(frame: &str) -> bool {
    let name = frame.split_once('!').map_or(frame, |(_, name)| name);
    const MACHINERY: [&str; 14] = [
        "abort",
        "_abort",
        "__rust",
        "__rustc",
        "rust_begin_unwind",
        "rust_panic",
        "_RNvC",
        "std::",
        "core::panicking",
        "core::option::",
        "core::result::",
        "alloc::alloc::handle_alloc_error",
        "<std::",
        "dlmalloc",
    ];
    MACHINERY.iter().any(|start| name.starts_with(start))
}

/// Bytes as people write limits.
pub(crate) fn bytes(n: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match n {
        n if n >= MIB && n.is_multiple_of(MIB) => format!("{} MiB", n / MIB),
        n if n >= KIB && n.is_multiple_of(KIB) => format!("{} KiB", n / KIB),
        n => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_is_quoted_with_its_place() {
        let stderr = "noise\nthread '<unnamed>' (1) panicked at src/lib.rs:3:5:\nfirst\nthread 'main' panicked at \
                      src/lib.rs:10:9:\nindex out of bounds\nsecond line\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(
            panic_message(stderr).unwrap(),
            "the handler panicked at src/lib.rs:10:9: index out of bounds\nsecond line"
        );
        assert_eq!(panic_message("nothing of the kind"), None);
    }

    #[test]
    fn what_a_guest_words_cannot_steer_a_terminal() {
        let name = "a\u{1b}[2J\nERROR forged\u{9b}";
        assert_eq!(visible(name, &[]), "a\\u{1b}[2J\\nERROR forged\\u{9b}");
        assert_eq!(visible("two\n\tlines\r", &['\n', '\t']), "two\n\tlines\\r");
        assert_eq!(cut(&"é".repeat(FRAME_BYTES)).len(), FRAME_BYTES);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_stop_names_its_bound() {
        let stop = Stop::Memory { limit: 64 << 20, wanted: (64 << 20) + 65536 };
        assert_eq!(stop.cause(), StopCause::Memory);
        let text = stop.to_string();
        assert!(text.contains("64 MiB") && text.contains("65600 KiB"), "{text}");
        // The time until the cell was made has already gone by when the rest is measured.
        for after in [Duration::from_secs(30), Duration::from_nanos(29_999_988_533)] {
            let text = Stop::Deadline { after, doing: "computing" }.to_string();
            assert!(text.contains("deadline of 30s passed"), "{text}");
        }
    }

    #[test]
    fn errors_of_ours_keep_their_cause_under_context() {
        let limits = Limits::default();
        let circumstances =
            Circumstances { phase: Phase::Running, limits: &limits, host_call: 1, stderr: "" };
        for cause in StopCause::ALL {
            let error = wasmtime::Error::from(Stop::Asked(cause)).context("somewhere");
            let Outcome::Stopped(stopped) = classify(&error, &circumstances) else { panic!("{cause:?}") };
            assert_eq!(stopped.cause, cause);
        }
    }
}
