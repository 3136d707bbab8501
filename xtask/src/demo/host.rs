//! The host as the demo uses it: jobs go in, and come back when they have ended.
//!
//! The embedded store belongs to one process at a time, so there the jobs are enqueued first and the host then works
//! until nothing is left. Over Redis the host runs all the time, as it would in production.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::site::Site;

/// From the start to ready; compiling the handlers the first time is most of it.
const READY: Duration = Duration::from_secs(120);
/// A job of the demo takes milliseconds; one that is retried, a second.
const ENDED: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(25);

/// See the module.
pub(super) struct Host<'a> {
    site: &'a Site,
    running: Option<Child>,
}

/// A job to be put on a queue.
pub(super) struct Order {
    pub(super) queue: &'static str,
    pub(super) name: &'static str,
    pub(super) data: Value,
    pub(super) options: &'static [&'static str],
}

impl<'a> Host<'a> {
    /// Over Redis: starts the host and waits until it is ready.
    pub(super) fn start(site: &'a Site) -> anyhow::Result<Self> {
        let mut host = Self { site, running: None };
        if site.has_redis() {
            host.keep_running()?;
        }
        Ok(host)
    }

    /// From now on the host runs all the time, and has the embedded store for itself.
    pub(super) fn keep_running(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let mut command = self.site.command()?;
        self.running = Some(command.arg("run").stdout(Stdio::null()).spawn().context("starting the host")?);
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY;
        while Instant::now() < end {
            if let Some(child) = &mut self.running
                && let Some(status) = child.try_wait().context("asking for the host's status")?
            {
                bail!("the host ended at once ({status}):\n{}", self.last_words());
            }
            if is_ready(self.site.port()) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("the host was not ready within {READY:?}:\n{}", self.last_words())
    }

    /// Puts these on their queues and gives them back, as the store has them, once all have ended.
    pub(super) fn work(&self, orders: &[Order]) -> anyhow::Result<Vec<Value>> {
        let ids = orders.iter().map(|order| self.enqueue(order)).collect::<anyhow::Result<Vec<_>>>()?;
        if !self.site.has_redis() {
            self.answer(&["run", "--burst"])?;
        }
        let end = Instant::now() + ENDED;
        let mut jobs = Vec::new();
        for (order, id) in orders.iter().zip(ids) {
            loop {
                let text = self.answer(&["--json", "job", "get", order.queue, &id])?;
                let job: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
                if job["state"] == "completed" || job["state"] == "failed" {
                    jobs.push(job);
                    break;
                }
                if Instant::now() > end {
                    bail!("job {id} of {} has not ended within {ENDED:?}: {job}", order.queue);
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(jobs)
    }

    fn enqueue(&self, order: &Order) -> anyhow::Result<String> {
        let data = order.data.to_string();
        let args = [&["enqueue", order.queue, order.name, "--data", &data], order.options].concat();
        Ok(self.answer(&args)?.trim().to_owned())
    }

    /// Runs one command and gives what it answers.
    fn answer(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.site.command()?.args(args).output().context("running the host's program")?;
        if !output.status.success() {
            let shown = args.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            bail!("`jobcell {shown} …` failed ({}):\n{}", output.status, self.last_words());
        }
        String::from_utf8(output.stdout).context("the answer is no text")
    }

    /// Asks the host to end, where it runs, and waits for that.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            child.kill().context("ending the host")?;
        }
        let status = child.wait().context("waiting for the host's end")?;
        if !status.success() {
            bail!("the host ended with {status}:\n{}", self.last_words());
        }
        Ok(())
    }

    /// The end of the host's log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.site.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            // Only when the story broke off; there is nobody left to tell.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
