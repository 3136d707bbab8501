//! What a guest prints: whole lines go into the job's log, and the end of stderr is kept for the panic message.
//!
//! A pipe that fills up or fails would end the guest for printing too much, so this one takes everything; the log's own
//! limits decide what is kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use jobcell_core::AttemptIo;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes of stderr kept for the panic message.
const TAIL_BYTES: usize = 8 * 1024;
/// Bytes of a line that is not finished; a longer one is split.
const LINE_BYTES: usize = 16 * 1024;
/// Bytes taken in one write.
const WRITE_BYTES: usize = 64 * 1024;

/// A cell's stdout and stderr.
pub(crate) struct Console {
    io: Arc<AttemptIo>,
    out: Mutex<Lines>,
    err: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// What came after the last newline.
    open: Vec<u8>,
    /// The last bytes; only filled for stderr.
    tail: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Which {
    Out,
    Err,
}

/// One of the two streams, as WASI wants it.
#[derive(Clone)]
pub(crate) struct Stream {
    console: Arc<Console>,
    which: Which,
}

// === impl Console ===

impl Console {
    pub(crate) fn new(io: Arc<AttemptIo>) -> Arc<Self> {
        Arc::new(Self { io, out: Mutex::default(), err: Mutex::default() })
    }

    pub(crate) fn stdout(self: &Arc<Self>) -> Stream {
        Stream { console: Arc::clone(self), which: Which::Out }
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> Stream {
        Stream { console: Arc::clone(self), which: Which::Err }
    }

    /// Logs what was printed without a newline at its end, and returns the end of stderr.
    pub(crate) fn finish(&self) -> String {
        for lines in [&self.out, &self.err] {
            let open = std::mem::take(&mut lock(lines).open);
            if !open.is_empty() {
                self.io.log(&String::from_utf8_lossy(&open));
            }
        }
        String::from_utf8_lossy(&lock(&self.err).tail).into_owned()
    }

    fn print(&self, which: Which, bytes: &[u8]) {
        let mut lines = match which {
            Which::Out => lock(&self.out),
            Which::Err => {
                let mut lines = lock(&self.err);
                lines.remember(bytes);
                lines
            }
        };
        lines.split(bytes, |line| self.io.log(&String::from_utf8_lossy(line)));
    }
}

fn lock(lines: &Mutex<Lines>) -> std::sync::MutexGuard<'_, Lines> {
    // Every change leaves the lines whole, so a panic elsewhere cannot have broken them.
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Lines ===

impl Lines {
    fn remember(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(bytes);
    }

    fn split(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            for chunk in text.chunks(LINE_BYTES) {
                if self.open.len() + chunk.len() > LINE_BYTES {
                    line(&self.open);
                    self.open.clear();
                }
                self.open.extend_from_slice(chunk);
            }
            if ended {
                line(&self.open);
                self.open.clear();
            }
        }
    }
}

// === impl Stream ===

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.console.print(self.which, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.console.print(self.which, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use jobcell_core::attempt::LogLimits;

    use super::*;

    #[test]
    fn whole_lines_are_logged_and_the_rest_at_the_end() {
        let io = AttemptIo::new(LogLimits::default());
        let console = Console::new(Arc::clone(&io));
        console.print(Which::Out, b"a\nb");
        console.print(Which::Err, b"oops\n\nlast");
        console.print(Which::Out, b"c\n");
        assert_eq!(io.take().logs, ["a", "oops", "", "bc"]);
        assert_eq!(console.finish(), "oops\n\nlast");
        assert_eq!(io.take().logs, ["last"]);
    }

    #[test]
    fn an_endless_line_is_split_and_only_the_end_of_stderr_is_kept() {
        let io = AttemptIo::new(LogLimits { line_bytes: 8, ..LogLimits::default() });
        let console = Console::new(Arc::clone(&io));
        for _ in 0..40 {
            console.print(Which::Err, &[b'x'; 1000]);
        }
        assert_eq!(io.take().logs.len(), 2);
        assert_eq!(console.finish().len(), TAIL_BYTES);
    }
}
