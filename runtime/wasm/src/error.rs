//! Why the engine or a handler could not be set up. What happens inside a cell is an outcome, not an error.

use std::io;
use std::path::PathBuf;

/// Why the engine or a handler could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// The engine's settings do not work on this machine.
    #[error("the wasm engine does not start: {0:#}; lower cells.max if address space is short")]
    Engine(#[source] wasmtime::Error),
    /// The thread that interrupts guests could not be started.
    #[error("the thread that interrupts guests does not start: {0}")]
    Ticker(#[source] io::Error),
    /// The directory for compiled components cannot be used.
    #[error(
        "compile cache {path:?}: {what}: {source}; give the host a directory it may write, or none to go without"
    )]
    CacheDir {
        /// The directory or file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The directory for compiled components can be read or written by others, who could plant machine code there.
    #[error(
        "compile cache {path:?} is open to other users (mode {mode:03o}); run `chmod {fix:03o} {path:?}`"
    )]
    CacheOpen {
        /// The directory or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        fix: u32,
    },
    /// A handler's settings name things that do not exist. All faults at once.
    #[error("handler {handler:?}: {}", faults.join("; "))]
    Handler {
        /// The handler.
        handler: String,
        /// Each with its key, the value and the fix.
        faults: Vec<String>,
    },
    /// The place a blob store points to cannot be used.
    #[error("blob store url {url:?}: {cause}")]
    Blobs {
        /// Where it points to, without credentials.
        url: String,
        /// Why not, with the fix.
        cause: String,
    },
    /// TLS or the HTTP client cannot be set up.
    #[error("outgoing HTTP does not start: {0}")]
    Http(String),
}

impl WasmError {
    /// True when the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ticker(_) => true,
            Self::Engine(_)
            | Self::CacheDir { .. }
            | Self::CacheOpen { .. }
            | Self::Handler { .. }
            | Self::Blobs { .. }
            | Self::Http(_) => false,
        }
    }
}
