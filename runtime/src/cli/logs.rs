//! The program's own log, on stderr: lines for people, or one JSON object a line.
//!
//! What jobs, producers and other programs are called by stands in it, so no text may make a line that looks like
//! another one: in JSON everything is quoted, and for people every line after the first of an entry is moved in, while an
//! entry begins with a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::Global;
use crate::config::{Environment, LogFormat};

/// Starts logging. `RUST_LOG` wins over `-v` and `-q`; without any, a host tells what it does and other commands only
/// what goes wrong.
pub(super) fn start(global: &Global, environment: &Environment, format: LogFormat, is_host: bool) {
    let filter = environment.get("RUST_LOG").map_or_else(
        || EnvFilter::new(level(global, is_host)),
        // A typing error in the variable must not keep a host from starting.
        |directives| EnvFilter::builder().parse_lossy(directives),
    );
    let colours = io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // Fails only when the embedding program logs already, and then its way stands.
    let started = match format {
        LogFormat::Text => {
            builder.with_writer(Tidy { colours }).with_ansi(colours).with_target(false).try_init()
        }
        LogFormat::Json => {
            let json = builder.with_writer(io::stderr).json().flatten_event(true);
            json.with_current_span(false).with_span_list(false).try_init()
        }
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
}

/// Everything of ours at the level (`jobcell` begins the name of each of our crates); what others say only when loud.
fn level(global: &Global, is_host: bool) -> &'static str {
    match (global.quiet, global.verbose, is_host) {
        (true, _, _) => "error",
        (false, 0, false) => "warn",
        (false, 0, true) | (false, 1, false) => "warn,jobcell=info",
        (false, 1, true) | (false, 2, false) => "info,jobcell=debug",
        // The compiler tells every instruction it makes: gigabytes, and none of it about jobs.
        (false, _, _) => "trace,cranelift=info,regalloc2=info,wasmtime=info",
    }
}

/// A panic is an entry like any other, so that whoever reads JSON can read it.
fn panicked(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace =
        (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current().name().map(str::to_owned);
    tracing::error!(
        location,
        thread,
        backtrace,
        "panic: {}",
        panic.payload_as_str().unwrap_or("without a message")
    );
}

/// Writes entries to stderr so that none looks like several.
#[derive(Clone, Copy)]
struct Tidy {
    colours: bool,
}

impl<'a> MakeWriter<'a> for Tidy {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Tidy {
    /// Called once for each entry, with all of it.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(tidied(&String::from_utf8_lossy(entry), self.colours).as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The entry with its later lines moved in, and no control characters but those that colour it.
fn tidied(entry: &str, colours: bool) -> Cow<'_, str> {
    let (text, end) = entry.strip_suffix('\n').map_or((entry, ""), |text| (text, "\n"));
    let is_plain = |c: char| !c.is_control() || c == '\t' || (colours && c == '\u{1b}');
    if text.chars().all(is_plain) {
        return Cow::Borrowed(entry);
    }
    let mut tidy = String::with_capacity(entry.len() + 64);
    for c in text.chars() {
        match c {
            '\n' => tidy.push_str("\n    "),
            c if is_plain(c) => tidy.push(c),
            // Writing to a String cannot fail.
            c => drop(write!(tidy, "{}", c.escape_default())),
        }
    }
    tidy.push_str(end);
    Cow::Owned(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_line_that_looks_like_another_entry() {
        let forged =
            "2026-01-01T00:00:00Z  WARN job=a\n2026-01-01T00:00:01Z ERROR all is lost\r\u{1b}[2J\u{7}\n";
        let tidy = tidied(forged, false);
        assert_eq!(tidy.lines().count(), 2);
        assert!(tidy.lines().nth(1).unwrap().starts_with("    2026"), "{tidy}");
        assert!(tidy.contains("\\r\\u{1b}[2J\\u{7}") && tidy.ends_with('\n'), "{tidy:?}");
        assert!(matches!(tidied("plain\tline é\n", false), Cow::Borrowed(_)));
        assert_eq!(tidied("\u{1b}[33mWARN\u{1b}[0m a\nb\n", true), "\u{1b}[33mWARN\u{1b}[0m a\n    b\n");
    }
}
