//! One `redis-server` with whatever options a suite wants.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::resp::{Resp, Value};
use crate::{ports, wait};

/// A server on a free loopback port in a folder of its own, killed on drop. It saves nothing.
pub struct RedisNode {
    port: u16,
    args: Vec<String>,
    folder: TempDir,
    process: Option<Process>,
}

impl RedisNode {
    /// Starts one with these arguments and waits until it answers on its port without TLS.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        Self::at(ports::free(), args)
    }

    pub(super) fn at(port: u16, args: &[&str]) -> Self {
        let mut node = Self {
            port,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            process: None,
        };
        node.up();
        node
    }

    /// Starts it again on the same port with the same files.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub fn up(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--daemonize", "no", "--repl-diskless-sync-delay", "0", "--dir"])
            .arg(self.folder.path())
            .args(&self.args)
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        self.process = Some(answering("redis-server", self.port, command));
    }

    /// Ends it without a goodbye.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Freezes it: connections stay open and nothing answers.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&self) {
        self.process.as_ref().expect("a running server").signal(Signal::STOP);
    }

    /// Ends [`Self::freeze`].
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&self) {
        self.process.as_ref().expect("a running server").signal(Signal::CONT);
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command over a connection of its own.
    ///
    /// # Panics
    /// When the server refuses it or is gone.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Value {
        self.client().run(words)
    }

    /// A new connection.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Resp {
        Resp::connect(self.port, None).expect("a connection to redis-server")
    }

    /// What it says of itself under this name in `INFO`; none when it does not answer.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<String> {
        info(self.port, "everything", name)
    }

    pub(super) fn pid(&mut self) -> u32 {
        self.process.as_mut().expect("a running server").child().id()
    }
}

/// A field of `INFO`.
fn info(port: u16, section: &str, name: &str) -> Option<String> {
    let text = Resp::connect(port, None).ok()?.try_run(&["INFO", section]).ok()?.text()?;
    let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    field.map(|value| value.trim_end().to_owned())
}

/// Starts a server and waits until it answers.
#[track_caller]
pub(super) fn answering(name: &str, port: u16, mut command: Command) -> Process {
    let mut process = Process::start(name, &mut command);
    process.keep_stdout();
    wait::until("redis-server answers", || {
        assert!(process.try_status().is_none(), "{name} ended: {:?}", process.lines());
        // A refusal for want of a password is an answer.
        let answer = Resp::connect(port, None).ok()?.try_run(&["PING"]);
        match answer {
            Ok(_) => Some(()),
            Err(e) => e.to_string().contains("NOAUTH").then_some(()),
        }
    });
    process
}
