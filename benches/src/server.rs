//! The Redis that everything is measured on: one a run, without persistence, on a free loopback port.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const READY: Duration = Duration::from_secs(10);

/// A running server; ends with its value.
pub(crate) struct Server {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

/// What Redis has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// Seconds of processor time.
    pub(crate) cpu: f64,
    /// Microseconds inside of scripts.
    pub(crate) scripts: f64,
}

impl Server {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder for Redis")?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting redis-server")?;
        let server = Self { port, _child: child, _folder: folder };
        let end = Instant::now() + READY;
        while Instant::now() < end {
            if let Ok(mut connection) = server.connect().await
                && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("redis-server does not answer within {READY:?}")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        // The library's default of half a second is no bound for a script that adds a thousand jobs.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

/// What the server behind this connection has used.
pub(crate) async fn used(connection: &mut MultiplexedConnection) -> anyhow::Result<Used> {
    let cpu: String = redis::cmd("INFO").arg("cpu").query_async(connection).await?;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await?;
    let number = |key: &str| -> f64 {
        let value = cpu.lines().find_map(|line| line.strip_prefix(key));
        value.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
    };
    let scripts = stats
        .lines()
        .filter(|line| line.starts_with("cmdstat_eval") || line.starts_with("cmdstat_fcall"))
        .filter_map(|line| line.split_once("usec=")?.1.split(',').next()?.parse::<f64>().ok())
        .sum();
    Ok(Used { cpu: number("used_cpu_user:") + number("used_cpu_sys:"), scripts })
}
