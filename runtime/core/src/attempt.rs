//! One run of a job, as a [`crate::Runner`] sees it, and what the run says while it goes on.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Millis;
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::StopCause;

/// One run of a job.
#[derive(Clone)]
pub struct Attempt {
    /// The queue it came from.
    pub queue: QueueName,
    /// The job as it was claimed.
    pub job: Arc<Job>,
    /// When the attempt must have ended.
    pub deadline: Instant,
    /// The same as a time of day.
    pub deadline_at: Millis,
    /// Fires when the attempt must end; [`AttemptIo::stop_cause`] says why.
    pub cancel: CancellationToken,
    /// What the attempt says while it runs.
    pub io: Arc<AttemptIo>,
}

/// Bounds of what an attempt may leave in its job's log.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Bytes in all. Default 64 KiB: a person reads it, and it lives in the store's memory.
    pub bytes: usize,
    /// Bytes of one line; the rest of it is cut. Default 4 KiB.
    pub line_bytes: usize,
    /// Lines. Default 1000.
    pub lines: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, line_bytes: 4 * 1024, lines: 1000 }
    }
}

/// Collects log lines and progress of a running attempt. The worker writes them to the store: now and then while the
/// attempt runs, the rest together with its outcome.
#[derive(Default)]
pub struct AttemptIo {
    state: Mutex<State>,
    /// Wakes whoever writes to the store while the attempt still runs.
    changed: Notify,
}

#[derive(Default)]
struct State {
    limits: LogLimits,
    lines: Vec<String>,
    lines_total: usize,
    bytes: usize,
    bytes_dropped: usize,
    cut: bool,
    progress: Option<Bytes>,
    data: Option<Bytes>,
    stop: Option<StopCause>,
}

/// What has been collected and not yet written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Log lines, oldest first.
    pub logs: Vec<String>,
    /// The last progress, JSON text.
    pub progress: Option<Bytes>,
    /// A new payload.
    pub data: Option<Bytes>,
}

impl Recorded {
    /// Nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { logs, progress, data } = self;
        logs.is_empty() && progress.is_none() && data.is_none()
    }
}

// === impl AttemptIo ===

impl AttemptIo {
    /// With these bounds.
    #[must_use]
    pub fn new(limits: LogLimits) -> Arc<Self> {
        let io = Self::default();
        io.limit(limits);
        Arc::new(io)
    }

    /// Changes the bounds for what is still to come.
    pub fn limit(&self, limits: LogLimits) {
        self.state().limits = limits;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the job's log. Over the limits it is cut or dropped, which a last line then says.
    pub fn log(&self, line: &str) {
        {
            let mut state = self.state();
            let kept = cut(line, state.limits.line_bytes);
            let full =
                state.lines_total >= state.limits.lines || state.bytes + kept.len() > state.limits.bytes;
            if full {
                state.bytes_dropped += line.len();
                if !state.cut {
                    state.cut = true;
                    let LogLimits { bytes, lines, .. } = state.limits;
                    state
                        .lines
                        .push(format!("[log cut: the limit is {lines} lines and {bytes} bytes an attempt]"));
                }
            } else {
                state.bytes += kept.len();
                state.bytes_dropped += line.len() - kept.len();
                state.lines_total += 1;
                state.lines.push(clean(kept));
            }
        }
        self.changed.notify_one();
    }

    /// Replaces the progress. The caller has checked that it is JSON.
    pub fn progress(&self, json: Bytes) {
        self.state().progress = Some(json);
        self.changed.notify_one();
    }

    /// Replaces the payload that a later attempt sees. The caller has checked its size and, where needed, its form.
    pub fn update_data(&self, data: Bytes) {
        self.state().data = Some(data);
        self.changed.notify_one();
    }

    /// Says why the attempt is about to be cancelled; the first reason stays.
    pub fn stop(&self, cause: StopCause) {
        self.state().stop.get_or_insert(cause);
    }

    /// Why the attempt was cancelled.
    #[must_use]
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.state().stop
    }

    /// Bytes of log kept and dropped so far.
    #[must_use]
    pub fn log_bytes(&self) -> (usize, usize) {
        let state = self.state();
        (state.bytes, state.bytes_dropped)
    }

    /// Takes what has been collected since the last call.
    #[must_use]
    pub fn take(&self) -> Recorded {
        let mut state = self.state();
        Recorded {
            logs: std::mem::take(&mut state.lines),
            progress: state.progress.take(),
            data: state.data.take(),
        }
    }

    /// Puts back what could not be written, in front of what came since.
    pub fn put_back(&self, recorded: Recorded) {
        let Recorded { mut logs, progress, data } = recorded;
        let mut state = self.state();
        logs.append(&mut state.lines);
        state.lines = logs;
        state.progress = state.progress.take().or(progress);
        state.data = state.data.take().or(data);
    }

    /// Waits until something was collected. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Control characters in a guest's line could forge other lines or drive a terminal.
fn clean(line: &str) -> String {
    if !line.chars().any(|c| c.is_control() && c != '\t') {
        return line.to_owned();
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn cut(line: &str, bytes: usize) -> &str {
    let mut end = bytes.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_once_and_says_so() {
        let io = AttemptIo::new(LogLimits { bytes: 10, line_bytes: 4, lines: 100 });
        for line in ["abcdef", "gh", "ijkl", "mn", "op"] {
            io.log(line);
        }
        let Recorded { logs, .. } = io.take();
        assert_eq!(&logs[..3], ["abcd", "gh", "ijkl"]);
        assert!(logs[3].starts_with("[log cut"), "{logs:?}");
        assert_eq!(logs.len(), 4);
        assert_eq!(io.log_bytes(), (10, 2 + 2 + 2));
    }

    #[test]
    fn a_line_cannot_forge_another() {
        let io = AttemptIo::new(LogLimits::default());
        io.log("a\nERROR forged\u{1b}[2J");
        assert_eq!(io.take().logs, ["a\\nERROR forged\\u{1b}[2J"]);
    }

    #[test]
    fn a_cut_keeps_whole_characters() {
        assert_eq!(cut("aéé", 2), "a");
    }

    #[test]
    fn what_is_put_back_comes_first_and_is_not_newer() {
        let io = AttemptIo::new(LogLimits::default());
        io.log("1");
        io.progress(Bytes::from_static(b"1"));
        let taken = io.take();
        io.log("2");
        io.progress(Bytes::from_static(b"2"));
        io.put_back(taken);
        let Recorded { logs, progress, data } = io.take();
        assert_eq!(logs, ["1", "2"]);
        assert_eq!((progress.as_deref(), data), (Some(&b"2"[..]), None));
    }
}
