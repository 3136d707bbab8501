//! A small Redis client for looking at what is stored: one connection, one command at a time.
//!
//! Written here so that what the tests see does not pass through the client library of the program under test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait;

/// A command that takes longer has hung; scripts of the tests end in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Nil,
    /// A status or a string; bytes that are no UTF-8 are replaced.
    Text(String),
    /// A number.
    Int(i64),
    /// Several.
    List(Vec<Value>),
}

impl Resp {
    /// Connects to a server on loopback.
    ///
    /// # Errors
    /// When nothing answers there, or the password is refused.
    pub fn connect(port: u16, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream) };
        if let Some(password) = password {
            connection.try_run(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Waits until so many replicas have all that the server was given before.
    ///
    /// # Panics
    /// When they do not come to have it.
    #[track_caller]
    pub fn wait_replicated(&mut self, replicas: i64) {
        // `WAIT` is about the writes of its own connection, and says yes at once where there are none: one that comes
        // after all others covers them. Its key is of the slot that the suites' queues have on a cluster.
        let _ = self.run(&["SET", "{bull}:replicated", "1", "PX", "60000"]);
        let count = replicas.to_string();
        wait::until("the replicas have everything", || {
            (self.run(&["WAIT", &count, "1000"]).int() >= replicas).then_some(())
        });
    }

    /// Runs a command.
    ///
    /// # Panics
    /// When the server refuses it or is gone.
    #[track_caller]
    pub fn run(&mut self, words: &[&str]) -> Value {
        self.try_run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When the server refuses it or is gone.
    pub fn try_run(&mut self, words: &[&str]) -> io::Result<Value> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
        self.stream.get_mut().write_all(&request)?;
        self.read()
    }

    /// Waits for a message that was subscribed to.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn message(&mut self) -> Value {
        self.read().expect("a message")
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(line.len().min(1));
        let number = || rest.parse::<i64>().map_err(|_| io::Error::other(format!("not a number: {line:?}")));
        match kind {
            "+" => Ok(Value::Text(rest.to_owned())),
            "-" => Err(io::Error::other(rest.to_owned())),
            ":" => Ok(Value::Int(number()?)),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Value::Nil),
                Ok(bytes) => {
                    let mut text = vec![0; bytes + 2];
                    self.stream.read_exact(&mut text)?;
                    text.truncate(bytes);
                    Ok(Value::Text(String::from_utf8_lossy(&text).into_owned()))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Ok(Value::Nil),
                Ok(count) => (0..count).map(|_| self.read()).collect::<io::Result<_>>().map(Value::List),
            },
            _ => Err(io::Error::other(format!("unexpected reply {line:?}"))),
        }
    }
}

impl Value {
    /// The text, where it is one; a number as text.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The texts of a list.
    ///
    /// # Panics
    /// When it is no list of texts.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().map(|item| item.text().expect("a text")).collect(),
            other => panic!("not a list: {other:?}"),
        }
    }

    /// The number.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }
}
