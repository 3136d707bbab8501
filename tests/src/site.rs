//! A folder in which the program under test runs: its config, its store, its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::Ran;
use crate::redis::RedisServer;
use crate::{artifacts, ports};

/// Guests that a config can name as `${basic}`.
const GUESTS: [&str; 6] = ["basic", "capable", "media", "notification", "payment", "settings"];

/// See the module.
pub struct Site {
    folder: TempDir,
    port: u16,
    environment: Vec<(String, String)>,
    /// What runs the program, with its arguments; nothing when it runs by itself.
    under: Vec<String>,
}

impl Site {
    /// On the embedded store. `config` is the rest of `jobcell.toml`; `${basic}` and the like become the path of
    /// that guest, `${site}` this folder.
    #[must_use]
    pub fn embedded(config: &str) -> Self {
        Self::make("", config)
    }

    /// On this server.
    #[must_use]
    pub fn redis(redis: &RedisServer, config: &str) -> Self {
        Self::make(&format!("[redis]\nurl = \"{}\"\n", redis.url()), config)
    }

    /// On the Redis at this address, which need not be the server's own.
    #[must_use]
    pub fn at(url: &str, config: &str) -> Self {
        Self::make(&format!("[redis]\nurl = \"{url}\"\n"), config)
    }

    /// On the embedded store or this server.
    #[must_use]
    pub fn on(redis: Option<&RedisServer>, config: &str) -> Self {
        match redis {
            Some(redis) => Self::redis(redis, config),
            None => Self::embedded(config),
        }
    }

    /// With a config of nothing but this text.
    #[must_use]
    pub fn raw(config: &str) -> Self {
        let site = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: ports::free(),
            environment: Vec::new(),
            under: Vec::new(),
        };
        site.write_config(config);
        site
    }

    fn make(store: &str, config: &str) -> Self {
        let site = Self::raw("");
        site.write_config(&format!("[server]\nlisten = \"127.0.0.1:{}\"\n{store}\n{config}", site.port));
        site
    }

    /// Replaces `jobcell.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_config(&self, config: &str) {
        let mut text = config.replace("${site}", &self.folder.path().display().to_string());
        for name in GUESTS {
            let mark = format!("${{{name}}}");
            if text.contains(&mark) {
                text = text.replace(&mark, &artifacts::guest(name).display().to_string());
            }
        }
        self.write("jobcell.toml", text);
    }

    /// `jobcell.toml` as it is.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn config(&self) -> String {
        String::from_utf8(self.read("jobcell.toml")).expect("a config that was written here")
    }

    /// With a variable in the environment of everything that runs here.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the file");
        fs::write(&path, bytes).expect("writing a file of the test");
        path
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.folder.path().join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The program, ready to be given arguments: in this folder, with an environment that holds nothing of the
    /// machine's own settings.
    #[must_use]
    pub fn command(&self) -> Command {
        self.prepared(artifacts::host())
    }

    /// Has programs run by another one, which is given them and their arguments behind its own.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Runs another program here to its end.
    #[track_caller]
    #[must_use]
    pub fn program(&self, program: &Path, args: &[&str]) -> Ran {
        Ran::run(self.prepared(program).args(args), None)
    }

    fn prepared(&self, program: &Path) -> Command {
        let mut command = match self.under.split_first() {
            None => Command::new(program),
            Some((first, args)) => {
                let mut command = Command::new(first);
                command.args(args).arg(program);
                command
            }
        };
        command.current_dir(self.path()).env_clear().stdin(Stdio::null());
        for name in ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Compiling a component takes seconds and gives the same every time: all sites share the compiled ones.
        command.env("XDG_CACHE_HOME", artifacts::cache()).env("HOME", self.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one command to its end.
    #[track_caller]
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Ran {
        Ran::run(self.command().args(args), None)
    }

    /// Runs one command to its end with these variables in its environment.
    #[track_caller]
    #[must_use]
    pub fn cli_as(&self, environment: &[(&str, &str)], args: &[&str]) -> Ran {
        Ran::run(self.command().envs(environment.iter().copied()).args(args), None)
    }

    /// Runs one command to its end with this on stdin.
    #[track_caller]
    #[must_use]
    pub fn cli_with(&self, args: &[&str], stdin: &str) -> Ran {
        Ran::run(self.command().args(args), Some(stdin))
    }

    /// Enqueues a job and returns its id. `more` are further options of the command.
    #[track_caller]
    pub fn enqueue(&self, queue: &str, name: &str, data: &Value, more: &[&str]) -> String {
        let data = data.to_string();
        let args = [&["enqueue", queue, name, "--data", &data], more].concat();
        self.cli(&args).ok().stdout.trim().to_owned()
    }

    /// Works the queues until they are empty.
    #[track_caller]
    pub fn burst(&self) -> Ran {
        self.cli(&["run", "--burst"]).ok()
    }

    /// A job as `job get --json` shows it.
    #[track_caller]
    #[must_use]
    pub fn job(&self, queue: &str, id: &str) -> Value {
        self.cli(&["--json", "job", "get", queue, id]).ok().json()
    }

    /// The log of a job.
    #[track_caller]
    #[must_use]
    pub fn logs(&self, queue: &str, id: &str) -> Vec<String> {
        let ran = self.cli(&["job", "logs", queue, id]).ok();
        ran.stdout.lines().map(str::to_owned).collect()
    }
}
