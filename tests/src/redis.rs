//! A real `redis-server` for one test.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::resp::Resp;
use crate::{ports, wait};

/// A server on a free loopback port in a folder of its own. It keeps an append-only file, so that it can be stopped
/// and started again without losing what it acknowledged.
pub struct RedisServer {
    port: u16,
    password: Option<String>,
    folder: TempDir,
    process: Option<Process>,
    /// Further arguments of the program.
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// Starts one that asks for a password.
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        Self::launch(Some(password))
    }

    /// One that is not started yet; [`Self::up`] does that.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            port: ports::free(),
            password: None,
            folder: tempfile::tempdir().expect("a temporary folder"),
            process: None,
            arguments: Vec::new(),
        }
    }

    fn launch(password: Option<&str>) -> Self {
        let mut server = Self { password: password.map(str::to_owned), ..Self::absent() };
        server.up();
        server
    }

    /// Starts it on the same port with what it had stored.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub fn up(&mut self) {
        self.begin_up();
        let process = self.process.as_mut().expect("it was started");
        wait::until("redis-server answers", || {
            assert!(process.try_status().is_none(), "redis-server ended: {:?}", process.lines());
            let mut connection = Resp::connect(self.port, self.password.as_deref()).ok()?;
            connection.try_run(&["PING"]).ok()
        });
    }

    /// The same without waiting until it answers.
    pub fn begin_up(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no"])
            .args(["--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        let mut process = Process::start("redis-server", &mut command);
        process.keep_stdout();
        self.process = Some(process);
    }

    /// Ends it as a power cut would; what it had acknowledged comes back with [`Self::up`].
    ///
    /// # Panics
    /// When it cannot be reached for a last flush.
    pub fn down(&mut self) {
        // Once a second is not yet: what a test saw acknowledged must survive, so that the test is about the host.
        self.client().run(&["CONFIG", "SET", "appendfsync", "always"]);
        self.client().run(&["INCR", "harness:flush"]);
        self.process = None;
    }

    /// Ends it for good: nothing of what it had stored comes back with [`Self::up`].
    ///
    /// # Panics
    /// When its folder cannot be emptied.
    pub fn lose_everything(&mut self) {
        self.process = None;
        self.folder = tempfile::tempdir().expect("a temporary folder");
    }

    /// Further arguments from the next [`Self::up`] on, such as `["--key-load-delay", "1000"]`.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
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

    /// Its address, password included.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// A new connection.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Resp {
        Resp::connect(self.port, self.password.as_deref()).expect("a connection to redis-server")
    }

    /// A hash as stored.
    #[must_use]
    #[track_caller]
    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        let flat = self.client().run(&["HGETALL", key]).texts();
        flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }
}
