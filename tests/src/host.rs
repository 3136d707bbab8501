//! A host that stays up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::Process;
use crate::site::Site;
use crate::wait;

/// From the start to ready: compiling the components of a site the first time is most of it.
const READY: Duration = Duration::from_secs(90);

/// `jobcell run` in a site.
pub struct Host {
    process: Process,
    port: u16,
}

impl Host {
    /// Starts it and waits until it is ready.
    #[must_use]
    #[track_caller]
    pub fn start(site: &Site) -> Self {
        Self::start_with(site, &[])
    }

    /// Starts it with further arguments and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[must_use]
    #[track_caller]
    pub fn start_with(site: &Site, args: &[&str]) -> Self {
        Self::start_as(site, &[&["run"], args].concat())
    }

    /// Starts it by these words, such as `dev`, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[must_use]
    #[track_caller]
    pub fn start_as(site: &Site, words: &[&str]) -> Self {
        Self::start_within(site, words, READY)
    }

    /// The same where it takes longer than usual.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[must_use]
    #[track_caller]
    pub fn start_within(site: &Site, words: &[&str], limit: Duration) -> Self {
        let mut host = Self::launch_as(site, words);
        wait::within(limit, "the host is ready", || {
            if let Some(status) = host.process.try_status() {
                panic!("the host ended before it was ready: {status}");
            }
            (host.get("/readyz")?.0 == 200).then_some(())
        });
        host
    }

    /// Starts it without waiting for anything.
    #[must_use]
    pub fn launch(site: &Site, args: &[&str]) -> Self {
        Self::launch_as(site, &[&["run"], args].concat())
    }

    fn launch_as(site: &Site, words: &[&str]) -> Self {
        let mut command = site.command();
        command.args(words).stdout(Stdio::piped());
        let mut process = Process::start(&format!("jobcell {}", words.join(" ")), &mut command);
        process.keep_stdout();
        Self { process, port: site.port() }
    }

    /// Status and body of a page, or `None` when nothing answers.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path, &[], None)
    }

    /// The same for any request; a body is JSON.
    #[must_use]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(wait::SOON)).ok()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        write!(stream, "{head}\r\n{body}").ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).ok()?;
        let response = String::from_utf8_lossy(&response);
        let (head, body) = response.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some((status, if chunked { unchunked(body) } else { body.to_owned() }))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Waits for a line of the log that contains this.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait::until(&format!("the host logs {text:?}"), || {
            self.log().into_iter().find(|line| line.contains(text))
        })
    }

    /// Asks it to end, as a supervisor does.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Sends another signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Its exit code once it has ended; `None` when a signal ended it.
    ///
    /// # Panics
    /// When it goes on.
    #[track_caller]
    pub fn code(&mut self) -> Option<i32> {
        self.process.status(wait::SOON).code()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// When it does not end well.
    #[track_caller]
    pub fn stop(mut self) {
        self.terminate();
        assert_eq!(self.code(), Some(0), "exit code of a host that was asked to end");
    }

    /// Its process id.
    #[must_use]
    pub fn id(&mut self) -> u32 {
        self.process.child().id()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}
