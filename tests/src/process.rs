//! A program that runs beside the test, whose output is kept and which never outlives its value.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// See the module.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Set once the test ended it on purpose or collected its status.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it with stderr kept, and stdout too unless the caller takes that.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stderr.take().expect("stderr was asked for");
        keep(pipe, Arc::clone(&lines));
        Self { name: name.to_owned(), child, lines, ended: None }
    }

    /// Keeps stdout beside stderr.
    pub(crate) fn keep_stdout(&mut self) {
        if let Some(pipe) = self.child.stdout.take() {
            keep(pipe, Arc::clone(&self.lines));
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it has said so far, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its status, if it has ended.
    pub(crate) fn try_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("asking for the status of a child");
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn status(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait::within(limit, &what, || self.try_status())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("signal {signal:?} to {}: {error}", self.name));
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if self.try_status().is_none() {
            // It may have ended since; either way it is gone.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- {} said ({:?}):", self.name, self.ended);
            for line in self.lines() {
                eprintln!("    {line}");
            }
        }
    }
}

fn keep(pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
