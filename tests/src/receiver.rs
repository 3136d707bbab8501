//! A small HTTP server that hears what handlers send out and answers as told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wait;

/// Largest body taken; a handler that sends more is not what these tests are about.
const BODY_MAX: usize = 8 << 20;

/// One request.
#[derive(Debug, Clone)]
pub struct Heard {
    /// `POST`.
    pub method: String,
    /// `/hook?x=1`.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As sent.
    pub body: Vec<u8>,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
}

/// Listens until dropped.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    /// Answers in order; the last one stays.
    answers: Mutex<VecDeque<Answer>>,
}

impl Receiver {
    /// Answers with these in order, the last of them for ever after.
    ///
    /// # Panics
    /// When there is no answer, or no port.
    #[must_use]
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("its address").port();
        let shared =
            Arc::new(Shared { answers: Mutex::new(answers.into_iter().collect()), ..Shared::default() });
        assert!(!lock(&shared.answers).is_empty(), "a receiver needs an answer");
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(shared) = weak.upgrade() else { return };
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, shared }
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything heard so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.shared.heard).clone()
    }

    /// Waits until so many requests were heard.
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Heard> {
        wait::until(&format!("{count} requests"), || {
            let heard = self.heard();
            (heard.len() >= count).then_some(heard)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Wakes the listener, which then finds that nobody wants it any more.
        let shared = std::mem::take(&mut self.shared);
        drop(shared);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if thread::panicking() {
            eprintln!("--- the receiver on port {} is stopped", self.port);
        }
    }
}

impl Heard {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

impl Answer {
    /// A status with a JSON body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: b"{}".to_vec(), delay: Duration::ZERO }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// After a while.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    // A connection that breaks is the sender's affair; the test sees what was heard.
    let _ = stream.set_read_timeout(Some(wait::SOON));
    let Ok(reader) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reader);
    while let Some(heard) = hear(&mut reader) {
        lock(&shared.heard).push(heard);
        let answer = {
            let mut answers = lock(&shared.answers);
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        };
        let Some(answer) = answer else { return };
        thread::sleep(answer.delay);
        let mut response = format!("HTTP/1.1 {} -\r\n", answer.status);
        for (name, value) in &answer.headers {
            response.push_str(&format!("{name}: {value}\r\n"));
        }
        response.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.body.len()
        ));
        if stream.write_all(response.as_bytes()).and_then(|()| stream.write_all(&answer.body)).is_err() {
            return;
        }
    }
}

fn hear(reader: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let body = if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        chunked(reader)?
    } else {
        let length = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
        let mut body = vec![0; length.min(BODY_MAX)];
        reader.read_exact(&mut body).ok()?;
        body
    };
    Some(Heard { method, target, headers, body })
}

fn chunked(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        let mut chunk = vec![0; length.min(BODY_MAX) + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 || body.len() > BODY_MAX {
            return Some(body);
        }
        chunk.truncate(length);
        body.append(&mut chunk);
    }
}
