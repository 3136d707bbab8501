//! A real client of BullMQ in a process of its own, called by method name.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::process::Process;
use crate::redis::RedisServer;
use crate::{artifacts, wait};

/// A client's own limit for a result comes first, so that a late job is told from a dead client.
const ANSWER: Duration = wait::SOON.saturating_mul(2);

/// See the module. Several threads may call it at once. A call that the client rejects is an `Err` with its message.
pub struct Bull {
    client: Client,
    _process: Process,
    stdin: Mutex<ChildStdin>,
    replies: Arc<Replies>,
    last: AtomicU64,
}

/// What the process has answered and nobody has asked for yet.
#[derive(Default)]
struct Replies {
    arrived: Mutex<Arrived>,
    changed: Condvar,
}

#[derive(Default)]
struct Arrived {
    by_ticket: HashMap<u64, Value>,
    /// Why no more will come.
    ended: Option<String>,
}

/// A call whose answer has not been asked for yet.
#[must_use]
#[derive(Debug)]
pub struct Ticket(u64);

impl Bull {
    /// Starts the client on this server.
    ///
    /// # Panics
    /// When it is not there, or in another release than the one that is to be tested.
    #[must_use]
    pub fn start(client: Client, redis: &RedisServer) -> Self {
        Self::at(client, &redis.url())
    }

    /// Starts the client on a Redis that is run in another way: see `agent.mjs`.
    ///
    /// # Panics
    /// When it is not there, or in another release than the one that is to be tested.
    #[must_use]
    pub fn at(client: Client, place: &str) -> Self {
        let mut command = match client {
            Client::Python => {
                let mut command = Command::new(artifacts::python());
                command.arg("agent.py");
                command
            }
            Client::Rust => Command::new(artifacts::rust_agent()),
            Client::Floor | Client::Five | Client::Six => {
                let mut command = Command::new("node");
                command.arg("agent.mjs").args(client.node_package());
                command
            }
        };
        command.current_dir(artifacts::interop()).arg(place);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&client.to_string(), &mut command);
        let stdin = process.child().stdin.take().expect("stdin was asked for");
        let stdout = process.child().stdout.take().expect("stdout was asked for");
        let replies = Arc::new(Replies::default());
        let shared = Arc::clone(&replies);
        thread::spawn(move || shared.collect(stdout));
        let bull =
            Self { client, _process: process, stdin: Mutex::new(stdin), replies, last: AtomicU64::new(0) };
        let version = bull.call(json!({ "on": "version" }));
        assert_eq!(version, client.version(), "the release of {client} that is installed");
        bull
    }

    /// Which client it is.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// Calls a method of the `Queue`.
    #[track_caller]
    pub fn queue(&self, queue: &str, method: &str, args: Value) -> Value {
        self.call(json!({ "on": "queue", "queue": queue, "method": method, "args": args }))
    }

    /// Calls a method of a `Job`.
    #[track_caller]
    pub fn job(&self, queue: &str, id: &str, method: &str, args: Value) -> Value {
        self.call(json!({ "on": "job", "queue": queue, "id": id, "method": method, "args": args }))
    }

    /// Adds a job and returns its id.
    #[track_caller]
    pub fn add(&self, queue: &str, name: &str, data: Value, opts: Value) -> String {
        let job = self.queue(queue, "add", json!([name, data, opts]));
        job["id"].as_str().expect("a job has an id").to_owned()
    }

    /// A job as `Queue.getJob` gives it.
    #[track_caller]
    pub fn get(&self, queue: &str, id: &str) -> Value {
        self.queue(queue, "getJob", json!([id]))
    }

    /// Its state as `Job.getState` says.
    #[track_caller]
    pub fn state(&self, queue: &str, id: &str) -> String {
        self.job(queue, id, "getState", json!([])).as_str().expect("a state").to_owned()
    }

    /// Starts to listen to the queue's events; [`Self::seen`] has them.
    #[track_caller]
    pub fn listen(&self, queue: &str) {
        self.call(json!({ "on": "events", "queue": queue, "method": "listen" }));
    }

    /// Events heard since [`Self::listen`], each with its name under `event`.
    #[track_caller]
    pub fn seen(&self, queue: &str) -> Vec<Value> {
        let seen = self.call(json!({ "on": "events", "queue": queue, "method": "seen" }));
        seen.as_array().expect("a list of events").clone()
    }

    /// Waits until an event of this name was heard for the job.
    #[track_caller]
    pub fn wait_event(&self, queue: &str, event: &str, id: &str) -> Value {
        wait::until(&format!("event {event} of job {id}"), || {
            let seen = self.seen(queue);
            seen.into_iter().find(|entry| entry["event"] == event && entry["jobId"] == id)
        })
    }

    /// Asks for `Job.waitUntilFinished` without waiting for the answer.
    #[track_caller]
    pub fn finish_later(&self, queue: &str, id: &str) -> Ticket {
        self.send(json!({ "on": "finished", "queue": queue, "id": id, "ms": wait::SOON.as_millis() as u64 }))
    }

    /// `Job.waitUntilFinished`: the result, or why it failed.
    ///
    /// # Errors
    /// The message with which BullMQ rejects.
    #[track_caller]
    pub fn finished(&self, queue: &str, id: &str) -> Result<Value, String> {
        let ticket = self.finish_later(queue, id);
        self.answer(ticket)
    }

    /// Starts a `Worker` of the client, which answers `{"by": "node", "i": …}`, or by `python`, or by `rust`.
    #[track_caller]
    pub fn work(&self, queue: &str, options: Value) {
        self.call(json!({ "on": "worker", "queue": queue, "method": "start", "args": [options] }));
    }

    /// Calls anything; see `agent.mjs`.
    ///
    /// # Panics
    /// When BullMQ rejects it.
    #[track_caller]
    pub fn call(&self, request: Value) -> Value {
        let shown = request.to_string();
        self.try_call(request).unwrap_or_else(|error| panic!("{} rejects {shown}: {error}", self.client))
    }

    /// Calls anything; see `agent.mjs`.
    ///
    /// # Errors
    /// The message with which BullMQ rejects.
    #[track_caller]
    pub fn try_call(&self, request: Value) -> Result<Value, String> {
        let ticket = self.send(request);
        self.answer(ticket)
    }

    fn send(&self, mut request: Value) -> Ticket {
        let ticket = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        request["ticket"] = ticket.into();
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(stdin, "{request}")
            .unwrap_or_else(|error| panic!("{} reads its stdin: {error}", self.client));
        Ticket(ticket)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// The message with which BullMQ rejects.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn answer(&self, ticket: Ticket) -> Result<Value, String> {
        let mut reply = self.replies.take(ticket.0).unwrap_or_else(|why| panic!("{}: {why}", self.client));
        match reply.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(reply["ok"].take()),
        }
    }
}

impl Replies {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the process says until it ends.
    fn collect(&self, stdout: ChildStdout) {
        let mut why = "it has ended".to_owned();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let reply = serde_json::from_str::<Value>(&line).ok();
            let Some((ticket, reply)) = reply.and_then(|reply| Some((reply["ticket"].as_u64()?, reply)))
            else {
                why = format!("it says {line:?}, which answers nothing");
                break;
            };
            self.lock().by_ticket.insert(ticket, reply);
            self.changed.notify_all();
        }
        self.lock().ended = Some(why);
        self.changed.notify_all();
    }

    /// Waits for the reply to a ticket.
    fn take(&self, ticket: u64) -> Result<Value, String> {
        let end = Instant::now() + ANSWER;
        let mut arrived = self.lock();
        loop {
            if let Some(reply) = arrived.by_ticket.remove(&ticket) {
                return Ok(reply);
            }
            if let Some(why) = &arrived.ended {
                return Err(why.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no answer within {ANSWER:?}"));
            }
            arrived = self.changed.wait_timeout(arrived, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
