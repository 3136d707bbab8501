//! The real BullMQ in a Node process, called by method name.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};

use crate::process::Process;
use crate::redis::RedisServer;
use crate::{artifacts, wait};

/// Which BullMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Major {
    /// 5.81.5, the last line that knows a paused list.
    Five,
    /// 6.7.0.
    Six,
}

impl Major {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Five, Self::Six];
}

/// See the module. A call that BullMQ rejects is an `Err` with its message.
pub struct Bull {
    _process: Process,
    stdin: ChildStdin,
    replies: Receiver<Value>,
    early: HashMap<u64, Value>,
    last: u64,
}

/// A call whose answer has not been asked for yet.
#[must_use]
#[derive(Debug)]
pub struct Ticket(u64);

impl Bull {
    /// Starts Node on this server.
    ///
    /// # Panics
    /// When Node or BullMQ is not there.
    #[must_use]
    pub fn start(major: Major, redis: &RedisServer) -> Self {
        let folder = artifacts::interop();
        let mut command = Command::new("node");
        command
            .current_dir(&folder)
            .arg("agent.mjs")
            .arg(match major {
                Major::Five => "bullmq5",
                Major::Six => "bullmq6",
            })
            .arg(redis.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::start(&format!("BullMQ {major:?}"), &mut command);
        let stdin = process.child().stdin.take().expect("stdin was asked for");
        let stdout = process.child().stdout.take().expect("stdout was asked for");
        let (sender, replies) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "stray": line }));
                if sender.send(reply).is_err() {
                    return;
                }
            }
        });
        Self { _process: process, stdin, replies, early: HashMap::new(), last: 0 }
    }

    /// Calls a method of the `Queue`.
    #[track_caller]
    pub fn queue(&mut self, queue: &str, method: &str, args: Value) -> Value {
        self.call(json!({ "on": "queue", "queue": queue, "method": method, "args": args }))
    }

    /// Calls a method of a `Job`.
    #[track_caller]
    pub fn job(&mut self, queue: &str, id: &str, method: &str, args: Value) -> Value {
        self.call(json!({ "on": "job", "queue": queue, "id": id, "method": method, "args": args }))
    }

    /// Adds a job and returns its id.
    #[track_caller]
    pub fn add(&mut self, queue: &str, name: &str, data: Value, opts: Value) -> String {
        let job = self.queue(queue, "add", json!([name, data, opts]));
        job["id"].as_str().expect("a job has an id").to_owned()
    }

    /// A job as `Queue.getJob` gives it.
    #[track_caller]
    pub fn get(&mut self, queue: &str, id: &str) -> Value {
        self.queue(queue, "getJob", json!([id]))
    }

    /// Its state as `Job.getState` says.
    #[track_caller]
    pub fn state(&mut self, queue: &str, id: &str) -> String {
        self.job(queue, id, "getState", json!([])).as_str().expect("a state").to_owned()
    }

    /// Starts to listen to the queue's events; [`Self::seen`] has them.
    #[track_caller]
    pub fn listen(&mut self, queue: &str) {
        self.call(json!({ "on": "events", "queue": queue, "method": "listen" }));
    }

    /// Events heard since [`Self::listen`], each with its name under `event`.
    #[track_caller]
    pub fn seen(&mut self, queue: &str) -> Vec<Value> {
        let seen = self.call(json!({ "on": "events", "queue": queue, "method": "seen" }));
        seen.as_array().expect("a list of events").clone()
    }

    /// Waits until an event of this name was heard for the job.
    #[track_caller]
    pub fn wait_event(&mut self, queue: &str, event: &str, id: &str) -> Value {
        wait::until(&format!("event {event} of job {id}"), || {
            let seen = self.seen(queue);
            seen.into_iter().find(|entry| entry["event"] == event && entry["jobId"] == id)
        })
    }

    /// Asks for `Job.waitUntilFinished` without waiting for the answer.
    #[track_caller]
    pub fn finish_later(&mut self, queue: &str, id: &str) -> Ticket {
        self.send(json!({ "on": "finished", "queue": queue, "id": id, "ms": wait::SOON.as_millis() as u64 }))
    }

    /// `Job.waitUntilFinished`: the result, or why it failed.
    ///
    /// # Errors
    /// The message with which BullMQ rejects.
    #[track_caller]
    pub fn finished(&mut self, queue: &str, id: &str) -> Result<Value, String> {
        let ticket = self.finish_later(queue, id);
        self.answer(ticket)
    }

    /// Starts a `Worker` in Node that answers `{"by": "node"}`.
    #[track_caller]
    pub fn work(&mut self, queue: &str, options: Value) {
        self.call(json!({ "on": "worker", "queue": queue, "method": "start", "args": [options] }));
    }

    /// Calls anything; see `agent.mjs`.
    ///
    /// # Panics
    /// When BullMQ rejects it.
    #[track_caller]
    pub fn call(&mut self, request: Value) -> Value {
        let shown = request.to_string();
        let ticket = self.send(request);
        self.answer(ticket).unwrap_or_else(|error| panic!("BullMQ rejects {shown}: {error}"))
    }

    fn send(&mut self, mut request: Value) -> Ticket {
        self.last += 1;
        request["ticket"] = self.last.into();
        writeln!(self.stdin, "{request}").expect("Node reads its stdin");
        Ticket(self.last)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// The message with which BullMQ rejects.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn answer(&mut self, ticket: Ticket) -> Result<Value, String> {
        loop {
            if let Some(mut reply) = self.early.remove(&ticket.0) {
                return match reply.get("error").and_then(Value::as_str) {
                    Some(error) => Err(error.to_owned()),
                    None => Ok(reply["ok"].take()),
                };
            }
            // Node's own limit for a result comes first, so that a late job is told from a dead Node.
            let reply = self.replies.recv_timeout(wait::SOON * 2).expect("an answer from Node");
            let number = reply["ticket"].as_u64().unwrap_or_else(|| panic!("Node says {reply}"));
            self.early.insert(number, reply);
        }
    }
}
