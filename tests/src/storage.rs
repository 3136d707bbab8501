//! A real S3-compatible storage for one test: `s3s-fs`, a program that checks signatures as S3 does and keeps buckets as
//! folders.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::site::Site;
use crate::{artifacts, ports, wait};

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";

/// One storage on a free loopback port; it keeps what it stored when it is stopped and started again.
pub struct Storage {
    port: u16,
    keys: (String, String),
    folder: TempDir,
    process: Option<Process>,
}

impl Storage {
    /// Starts one with this bucket and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        Self::start_as(bucket, ACCESS_KEY, SECRET_KEY)
    }

    /// Starts one with this bucket that takes this access key, with this secret, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start_as(bucket: &str, access_key: &str, secret_key: &str) -> Self {
        let keys = (access_key.to_owned(), secret_key.to_owned());
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join(bucket)).expect("a folder for the bucket");
        let mut storage = Self { port: ports::free(), keys, folder, process: None };
        storage.up();
        storage
    }

    /// Starts it on the same port with what it had stored.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub fn up(&mut self) {
        let mut command = Command::new(artifacts::storage());
        command
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--access-key", &self.keys.0, "--secret-key", &self.keys.1])
            .arg(self.folder.path())
            .env("RUST_LOG", "off");
        let mut process = Process::start("s3s-fs", &mut command);
        process.keep_stdout();
        wait::until("the storage answers", || {
            assert!(process.try_status().is_none(), "the storage ended: {:?}", process.lines());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.process = Some(process);
    }

    /// Kills it.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The variables by which S3 clients find it and sign.
    #[must_use]
    pub fn env(&self, site: Site) -> Site {
        site.env("AWS_ENDPOINT", &self.url())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &self.keys.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.keys.1)
            .env("AWS_ALLOW_HTTP", "true")
    }

    /// Where an object lies, past all who ask: `bucket/key`.
    #[must_use]
    pub fn path(&self, object: &str) -> PathBuf {
        self.folder.path().join(object)
    }
}
