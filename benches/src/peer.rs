//! The workers that are compared, as processes.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::process;
use crate::queue::QUEUE;

/// From the start of a worker to "ready".
const READY: Duration = Duration::from_secs(60);

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Ours: each job in a fresh cell.
    Jobcell,
    /// BullMQ in Node, the job a function call.
    BullmqNode,
    /// The Rust crate `bullmq-official`, the job a function call.
    BullmqRust,
    /// BullMQ in Node, the job in a reused child process.
    BullmqSandboxed,
}

/// One of them at work; ends with its value.
pub(crate) struct Running {
    child: Child,
    site: Option<Site>,
}

/// Where a host runs.
struct Site {
    folder: TempDir,
    listen: SocketAddr,
}

impl Peer {
    /// The name in tables and raw results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jobcell => "jobcell (fresh cell per job)",
            Self::BullmqNode => "BullMQ 6.7.0 Node, in-process",
            Self::BullmqRust => "bullmq-official 1.4.4, Rust",
            Self::BullmqSandboxed => "BullMQ 6.7.0, child processes",
        }
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(self, url: &str, concurrency: usize) -> anyhow::Result<Running> {
        match self {
            Self::Jobcell => Running::jobcell(&config(url, concurrency)?, &[]).await,
            Self::BullmqNode => Running::spoken(node("in-process", url, concurrency)?).await,
            Self::BullmqSandboxed => Running::spoken(node("sandboxed", url, concurrency)?).await,
            Self::BullmqRust => {
                let mut command = Command::new(variable("JOBCELL_RELEASE")?.join("bullmq-official-peer"));
                command.args([url, QUEUE, &concurrency.to_string()]);
                Running::spoken(command).await
            }
        }
    }
}

impl Running {
    /// Starts the host with this config, in which `${listen}` stands for a free address, and these files beside it.
    /// Waits until it is ready.
    pub(crate) async fn jobcell(config: &str, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder for the host")?;
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?;
        let config = config.replace("${listen}", &listen.to_string());
        for (name, text) in files.iter().copied().chain([("jobcell.toml", config.as_str())]) {
            std::fs::write(folder.path().join(name), text)
                .with_context(|| format!("writing the host's {name}"))?;
        }
        Self::host(Site { folder, listen }).await
    }

    /// Ends the host and starts it again in the same place.
    pub(crate) async fn restart(mut self) -> anyhow::Result<Self> {
        self.child.kill().await.context("ending a host")?;
        Self::host(self.site.context("only a host can be started again")?).await
    }

    async fn host(site: Site) -> anyhow::Result<Self> {
        let log = std::fs::File::create(site.folder.path().join("log")).context("the host's log")?;
        let mut child = Command::new(variable("JOBCELL_BIN")?)
            .args(["-q", "run"])
            .current_dir(site.folder.path())
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting jobcell")?;
        let end = Instant::now() + READY;
        while !is_ready(site.listen).await {
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let log = std::fs::read_to_string(site.folder.path().join("log")).unwrap_or_default();
                bail!("jobcell is not ready ({ended:?}):\n{log}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { child, site: Some(site) })
    }

    async fn spoken(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let out = child.stdout.take().context("stdout was asked for")?;
        let mut lines = BufReader::new(out).lines();
        let first = timeout(READY, lines.next_line()).await.context("the worker does not get ready")??;
        if first.as_deref() != Some("ready") {
            bail!("{command:?} says {first:?} instead of ready");
        }
        Ok(Self { child, site: None })
    }

    /// Where its HTTP side is, when it is a host.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.site.as_ref().map(|site| site.listen)
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Seconds of processor time so far, children included.
    pub(crate) fn cpu_secs(&self) -> f64 {
        process::cpu_secs(self.pid())
    }

    /// Resident memory in KiB, children included.
    pub(crate) fn rss_kib(&self) -> u64 {
        process::rss_kib(self.pid())
    }

    /// How many processes it is.
    pub(crate) fn processes(&self) -> usize {
        process::count(self.pid())
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // Killed on purpose: a stopped worker says nothing that is measured. BullMQ's children end with their parent's
        // channel.
        self.child.kill().await.context("ending a worker")
    }
}

/// The host's config for the measured queue. Everything is kept, as BullMQ does by default.
fn config(url: &str, concurrency: usize) -> anyhow::Result<String> {
    let guest = guest("basic")?;
    Ok(format!(
        r#"
[redis]
url = "{url}"
[server]
listen = "${{listen}}"
[queues.{QUEUE}]
handler = "basic"
concurrency = {concurrency}
keep = {{ completed = "all", failed = "all" }}
[handlers.basic]
source = {guest:?}
"#
    ))
}

/// The component of a guest.
pub(crate) fn guest(name: &str) -> anyhow::Result<PathBuf> {
    Ok(variable("JOBCELL_GUESTS")?.join(format!("{name}.wasm")))
}

/// A path that `cargo xtask bench` gives.
pub(crate) fn variable(name: &str) -> anyhow::Result<PathBuf> {
    let value =
        std::env::var_os(name).with_context(|| format!("{name} is not set; run `cargo xtask bench`"))?;
    Ok(PathBuf::from(value))
}

fn node(kind: &str, url: &str, concurrency: usize) -> anyhow::Result<Command> {
    let mut command = Command::new("node");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/bullmq.mjs"))
        .args([kind, url, QUEUE, &concurrency.to_string()])
        .env("NODE_ENV", "production")
        .env("JOBCELL_INTEROP", variable("JOBCELL_INTEROP")?);
    Ok(command)
}

async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<bool, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}
