//! One run of the program to its end.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No command of these tests needs longer, the compiling of a component included.
const LIMIT: Duration = Duration::from_secs(120);

/// What it did.
#[derive(Debug)]
pub struct Ran {
    shown: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it answered.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

impl Ran {
    /// Runs it.
    #[track_caller]
    pub(crate) fn run(command: &mut Command, stdin: Option<&str>) -> Self {
        let shown = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // A program that does not read its stdin closes it; the test judges what it answers.
            let _ = pipe.write_all(text.as_bytes());
        }
        let out = child.stdout.take().map(collect).expect("stdout was asked for");
        let err = child.stderr.take().map(collect).expect("stderr was asked for");
        let status = end_of(&mut child);
        let text = |reader: thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().expect("reading a child's output")).into_owned()
        };
        let ran = Self {
            shown,
            code: status.and_then(|status| status.code()),
            stdout: text(out),
            stderr: text(err),
        };
        assert!(status.is_some(), "not done within {LIMIT:?}\n{ran}");
        ran
    }

    /// Itself, having succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Itself, having ended with this code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of\n{self}");
        self
    }

    /// Itself, with all of these words on stderr.
    ///
    /// # Panics
    /// When one is not there.
    #[track_caller]
    #[must_use]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} on stderr of\n{self}");
        }
        self
    }

    /// Itself, with all of these words in its answer on stdout.
    ///
    /// # Panics
    /// When one is not there.
    #[track_caller]
    #[must_use]
    pub fn answers(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "no {word:?} on stdout of\n{self}");
        }
        self
    }

    /// The single JSON value on stdout.
    ///
    /// # Panics
    /// When stdout is anything else.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON value ({error}):\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shown, code, stdout, stderr } = self;
        write!(f, "{shown}\nexit code: {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Its status, or `None` when it had to be killed because it did not end.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("asking for a child's status") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    // It may just have ended; what counts is that it is gone, so that its output ends.
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_with_its_input_and_its_code_is_kept() {
        let ran = Ran::run(Command::new("sh").args(["-c", "cat; echo oops >&2; exit 3"]), Some("{\"a\":1}"));
        let ran = ran.exits(3).says(&["oops"]);
        assert_eq!(ran.json()["a"], 1);
    }
}
