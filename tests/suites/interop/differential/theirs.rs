//! The real BullMQ in a Node process; see `differential.mjs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use jobcell_tests::{RedisServer, artifacts};
use serde_json::{Value, json};

use super::act::Act;
use super::{Major, QUEUES, THEIRS};

/// A step that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Theirs {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<String>,
}

impl Theirs {
    pub(super) fn start(major: Major, server: &RedisServer) -> Self {
        let mut child = Command::new("node")
            .current_dir(artifacts::interop())
            .arg("differential.mjs")
            .arg(match major {
                Major::Five => "bullmq5",
                Major::Six => "bullmq6",
            })
            .arg(format!("{}/{THEIRS}", server.url()))
            .args(QUEUES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = child.stdout.take().expect("stdout was asked for");
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let theirs = Self { child, stdin, replies };
        assert_eq!(theirs.answer()["ok"], "ready");
        theirs
    }

    /// Asks without waiting for the answer.
    pub(super) fn ask(&mut self, now: u64, act: &Act) {
        writeln!(self.stdin, "{}", json!({ "now": now, "act": act })).expect("node reads its stdin");
    }

    /// The answer to what was asked before.
    pub(super) fn answer(&self) -> Value {
        let line = self.replies.recv_timeout(TIMEOUT).expect("an answer from node");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("node says {line}"))
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
