//! One run of a job, as a [`crate::Runner`] sees it, and what the run says while it goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Millis;
use crate::effects::Tape;
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::StopCause;
use crate::trace::{Note, Trace};

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
    /// Lines a second, after a burst of twice as many. Default 200: nobody reads faster, and each write of lines costs
    /// the store a call.
    pub rate: u32,
    /// How often a second what a running attempt says, progress included, is written to the store; the rest goes with
    /// its end. Default 5: fast enough for a person watching, slow enough that a chatty handler does not load the store.
    pub writes: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, line_bytes: 4 * 1024, lines: 1000, rate: 200, writes: 5 }
    }
}

/// Collects log lines and progress of a running attempt. The worker writes them to the store: now and then while the
/// attempt runs, the rest together with its outcome.
#[derive(Default)]
pub struct AttemptIo {
    state: Mutex<State>,
    /// Wakes whoever writes to the store while the attempt still runs.
    changed: Notify,
    asked: AtomicBool,
    /// Wakes whoever waits for `asked`.
    ask: Notify,
    redact: OnceLock<Arc<dyn Redact>>,
    /// What follows the attempt; another one when the same job is run again under the same claim.
    trace: RwLock<Option<Arc<dyn Trace>>>,
}

/// Takes out of a text what must not be written down.
pub trait Redact: Send + Sync {
    /// The text without it; `None` when there is nothing to take out.
    fn redact(&self, text: &str) -> Option<String>;
}

#[derive(Default)]
struct State {
    limits: LogLimits,
    lines: Vec<String>,
    lines_total: usize,
    bytes: usize,
    bytes_dropped: usize,
    lines_dropped: usize,
    /// The log says that it was cut.
    is_cut: bool,
    /// The log says that lines came too fast.
    was_fast: bool,
    /// When the lines so far would have been logged at the pace of the limit.
    pace: Option<Instant>,
    progress: Option<Bytes>,
    data: Option<Bytes>,
    stop: Option<StopCause>,
    tape: Option<Tape>,
}

/// What an attempt left in its log, and what it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logged {
    /// Bytes kept, and how many may be.
    pub bytes: usize,
    /// See `bytes`.
    pub bytes_max: usize,
    /// Lines kept, and how many may be.
    pub lines: usize,
    /// See `lines`.
    pub lines_max: usize,
    /// Bytes dropped: whole lines and the ends of long ones.
    pub bytes_dropped: usize,
    /// Whole lines dropped.
    pub lines_dropped: usize,
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

    /// Has all that is logged and told as progress from now on cleaned by this; the first one stays.
    pub fn redact_with(&self, redact: Arc<dyn Redact>) {
        self.redact.get_or_init(|| redact);
    }

    /// Has what happens from now on followed by this.
    pub fn follow_with(&self, trace: Arc<dyn Trace>) {
        // Replaced in one piece, so a panic elsewhere cannot have broken it.
        *self.trace.write().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }

    /// What follows the attempt.
    #[must_use]
    pub fn trace(&self) -> Option<Arc<dyn Trace>> {
        self.trace.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whoever follows the attempt.
    pub fn note(&self, note: Note<'_>) {
        if let Some(trace) = self.trace() {
            trace.note(note);
        }
    }

    /// The text without what must not be written down; none when there is nothing to take out.
    #[must_use]
    pub fn redacted(&self, text: &str) -> Option<String> {
        self.redact.get()?.redact(text)
    }

    /// Has the effects of the run that begins next recorded, or answered from a recording; see [`crate::effects`]. Each run
    /// needs a tape of its own.
    pub fn set_tape(&self, tape: Tape) {
        self.state().tape = Some(tape);
    }

    /// Takes the tape for the run that begins.
    #[must_use]
    pub fn take_tape(&self) -> Option<Tape> {
        self.state().tape.take()
    }

    /// Whether the run that begins next is answered from a recording.
    #[must_use]
    pub fn is_played(&self) -> bool {
        matches!(self.state().tape, Some(Tape::Play(_)))
    }

    /// Adds a line to the job's log. Over the limits it is cut or dropped, which one more line then says.
    pub fn log(&self, line: &str) {
        let redacted = self.redact.get().and_then(|redact| {
            // Before the cut, which could leave a part that is no longer recognised; but of a line without end, not all.
            let looked_at = self.state().limits.line_bytes.saturating_add(REDACTED_BEYOND_CUT);
            redact.redact(cut(line, looked_at))
        });
        let line = redacted.as_deref().unwrap_or(line);
        let line_bytes = self.state().limits.line_bytes;
        // Cleaned before it is counted: an escape has several times the bytes of what it stands for.
        let cleaned = clean(cut(line, line_bytes));
        let kept = cut(&cleaned, line_bytes);
        let is_kept = {
            let mut state = self.state();
            let full =
                state.lines_total >= state.limits.lines || state.bytes + kept.len() > state.limits.bytes;
            let is_kept = !full && state.keeps_pace();
            if is_kept {
                state.bytes += kept.len();
                state.bytes_dropped += line.len().saturating_sub(kept.len());
                state.lines_total += 1;
                state.lines.push(kept.to_owned());
            } else {
                state.drop_line(line, full);
            }
            is_kept
        };
        if is_kept {
            self.note(Note::Line(kept));
        }
        self.changed.notify_one();
    }

    /// Replaces the progress. The caller has checked that it is JSON.
    pub fn progress(&self, json: Bytes) {
        let redacted = self.redact.get().and_then(|redact| redact.redact(std::str::from_utf8(&json).ok()?));
        self.state().progress = Some(redacted.map_or(json, Bytes::from));
        self.changed.notify_one();
    }

    /// Replaces the payload that a later attempt sees. The caller has checked its size and, where needed, its form.
    pub fn update_data(&self, data: Bytes) {
        self.state().data = Some(data);
        self.changed.notify_one();
    }

    /// Somebody wants the job to end. The attempt may end by itself for the grace that its queue sets; then
    /// [`Attempt::cancel`] fires, with [`StopCause::Cancelled`].
    pub fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.ask.notify_waiters();
        }
    }

    /// Whether somebody wants the job to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Waits until somebody wants the job to end. Cancel safe.
    pub async fn asked(&self) {
        // Made before the look: what is told in between is heard.
        let told = self.ask.notified();
        if !self.is_asked() {
            told.await;
        }
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

    /// What went into the log so far, and what did not.
    #[must_use]
    pub fn logged(&self) -> Logged {
        let state = self.state();
        let LogLimits { bytes: bytes_max, lines: lines_max, .. } = state.limits;
        Logged {
            bytes: state.bytes,
            bytes_max,
            lines: state.lines_total,
            lines_max,
            bytes_dropped: state.bytes_dropped,
            lines_dropped: state.lines_dropped,
        }
    }

    /// The least time between two writes of what a running attempt says.
    #[must_use]
    pub fn write_every(&self) -> Duration {
        Duration::from_secs(1) / self.state().limits.writes.max(1)
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

impl State {
    /// Whether one more line keeps to the rate, burst included; if so it is counted.
    fn keeps_pace(&mut self) -> bool {
        let now = Instant::now();
        let pace = self.pace.map_or(now, |pace| pace.max(now));
        let keeps = pace - now < BURST;
        if keeps {
            self.pace = Some(pace + Duration::from_secs(1) / self.limits.rate.max(1));
        }
        keeps
    }

    fn drop_line(&mut self, line: &str, full: bool) {
        self.bytes_dropped += line.len();
        self.lines_dropped += 1;
        let said = if full { &mut self.is_cut } else { &mut self.was_fast };
        if std::mem::replace(said, true) {
            return;
        }
        let LogLimits { bytes, lines, rate, .. } = self.limits;
        self.lines.push(if full {
            format!("[log cut: the limit is {lines} lines and {bytes} bytes an attempt]")
        } else {
            format!("[lines dropped: the limit is {rate} lines a second]")
        });
    }
}

/// How long lines may come faster than the limit's rate before they are dropped, if nothing was logged before.
const BURST: Duration = Duration::from_secs(2);

/// Bytes beyond the end of a line's kept part that are looked at when it is redacted.
const REDACTED_BEYOND_CUT: usize = 64 * 1024;

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
    &line[..line.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_once_and_says_so() {
        let io = AttemptIo::new(LogLimits { bytes: 10, line_bytes: 4, ..LogLimits::default() });
        for line in ["abcdef", "gh", "ijkl", "mn", "op"] {
            io.log(line);
        }
        let Recorded { logs, .. } = io.take();
        assert_eq!(&logs[..3], ["abcd", "gh", "ijkl"]);
        assert!(logs[3].starts_with("[log cut"), "{logs:?}");
        assert_eq!(logs.len(), 4);
        let Logged { bytes, lines, bytes_dropped, lines_dropped, .. } = io.logged();
        assert_eq!((bytes, lines, bytes_dropped, lines_dropped), (10, 3, 2 + 2 + 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_come_too_fast_are_dropped_and_that_is_said_once() {
        let io = AttemptIo::new(LogLimits { rate: 10, ..LogLimits::default() });
        let flood = || (0..50).for_each(|_| io.log("x"));
        flood();
        let logs = io.take().logs;
        assert_eq!(logs.len(), 21, "a burst of two seconds' worth, and what became of the rest");
        assert_eq!(logs[20], "[lines dropped: the limit is 10 lines a second]");
        tokio::time::advance(Duration::from_millis(500)).await;
        flood();
        assert_eq!(io.take().logs, ["x"; 5]);
        tokio::time::advance(Duration::from_secs(60)).await;
        flood();
        assert_eq!(io.take().logs, ["x"; 20], "a long silence saves up one burst only");
        assert_eq!(io.logged().lines_dropped, 30 + 45 + 30);
    }

    #[test]
    fn what_is_redacted_is_so_before_the_cut_and_in_progress() {
        struct Hide;
        impl Redact for Hide {
            fn redact(&self, text: &str) -> Option<String> {
                text.contains("hunter2").then(|| text.replace("hunter2", "[secret]"))
            }
        }
        let io = AttemptIo::new(LogLimits { line_bytes: 8, ..LogLimits::default() });
        io.redact_with(Arc::new(Hide));
        io.log("see hunter2 there");
        io.log("nothing");
        io.progress(Bytes::from_static(br#""at hunter2""#));
        let Recorded { logs, progress, .. } = io.take();
        assert_eq!(logs, ["see [sec", "nothing"]);
        assert_eq!(progress.as_deref(), Some(&br#""at [secret]""#[..]));
    }

    #[test]
    fn what_a_line_costs_is_what_is_kept_of_it() {
        let io = AttemptIo::new(LogLimits { bytes: 40, line_bytes: 16, ..LogLimits::default() });
        for _ in 0..5 {
            io.log("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}");
        }
        let Recorded { logs, .. } = io.take();
        assert_eq!(&logs[..2], ["\\u{1}\\u{2}\\u{3}\\"; 2]);
        assert!(logs.len() == 3 && logs[2].starts_with("[log cut"), "{logs:?}");
        assert_eq!(io.logged().bytes, 32);
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
