//! One long step of a command: what it is, that it is still alive, how long it took.
//!
//! On a terminal the child draws its own progress. Elsewhere its output is kept aside and a line every quarter of a
//! minute says how far it is; when it fails, everything it said is printed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Often enough that a log does not look dead, seldom enough that it stays readable.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Lines kept for the case of a failure: a compiler's errors, not its whole history.
const KEPT_LINES: usize = 2_000;

/// Runs the command as a step named `title`.
///
/// # Errors
/// When the program cannot be started, or ends with anything but success.
pub(crate) fn run(title: &str, command: &mut Command) -> anyhow::Result<()> {
    let started = Instant::now();
    println!("▸ {title}");
    let status = if std::io::stderr().is_terminal() {
        command.stdin(Stdio::null()).status().with_context(|| cannot_start(command))?
    } else {
        quietly(title, command, started)?
    };
    if !status.success() {
        bail!("{title}: `{}` failed ({status})", shown(command));
    }
    println!("  done in {}", elapsed(started));
    Ok(())
}

fn quietly(title: &str, command: &mut Command, started: Instant) -> anyhow::Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start(command))?;
    let (sender, lines) = mpsc::channel();
    let out = child.stdout.take().map(|pipe| forward(pipe, sender.clone()));
    let err = child.stderr.take().map(|pipe| forward(pipe, sender));
    let mut kept = VecDeque::new();
    let mut next = started + HEARTBEAT;
    loop {
        match lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {
                let last = kept.back().map_or("", |line: &String| line.trim());
                println!("  … {title}, {} so far: {last}", elapsed(started));
                next += HEARTBEAT;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for reader in [out, err].into_iter().flatten() {
        // The reader only ends with its pipe; a panic in it has nothing to add to the step's own status.
        let _ = reader.join();
    }
    let status = child.wait().context("waiting for the step's program")?;
    if !status.success() {
        for line in kept {
            eprintln!("{line}");
        }
    }
    Ok(status)
}

fn forward(pipe: impl Read + Send + 'static, sender: mpsc::Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    })
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", shown(command))
}

/// `4.2 s` or `3 min 07 s`.
pub(crate) fn elapsed(since: Instant) -> String {
    spelled(since.elapsed())
}

/// This length of time, for a person.
pub(crate) fn spelled(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        secs => format!("{} min {:02} s", secs / 60, secs % 60),
    }
}
