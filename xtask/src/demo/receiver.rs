//! The partner that is told about the donation: an HTTP endpoint that is down for the first request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bodies larger than this are not ours.
const BODY_MAX: usize = 1 << 20;

/// One request.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    headers: Vec<(String, String)>,
    /// As sent.
    pub(super) body: Vec<u8>,
    /// What it was answered.
    pub(super) status: u16,
}

/// Listens on loopback as long as the program runs.
pub(super) struct Receiver {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Receiver {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A broken connection is the sender's to notice; it will try again.
                let _ = serve(&stream, &kept);
            }
        });
        Ok(Self { port, heard })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where to send.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/donations", self.port)
    }

    /// Everything heard so far.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Heard {
    /// A header's value; the name in lower case.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Answers one request: 503 the first time, 200 from then on.
fn serve(stream: &TcpStream, heard: &Mutex<Vec<Heard>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut request = Heard::default();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    request.body = vec![0; length.min(BODY_MAX)];
    reader.read_exact(&mut request.body)?;
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    request.status = if heard.is_empty() { 503 } else { 200 };
    let status = request.status;
    heard.push(request);
    drop(heard);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} -\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}")
}
