//! What became of a queue's jobs, read from Redis itself and not through any client's eyes; and a producer that needs no
//! client either, so that a fault hits nobody but the host under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::redis::RedisServer;
use crate::resp::{Resp, Value};
use crate::wait;

/// Adds jobs as BullMQ's own clients do: the id, the record, its event, the list, the marker.
const ADD: &str = r#"
local added = {}
for i = 3, #ARGV do
  local id = tostring(redis.call('INCR', KEYS[1] .. 'id'))
  redis.call('HSET', KEYS[1] .. id, 'name', ARGV[1], 'data', ARGV[i], 'opts', '{"attempts":1}', 'timestamp', ARGV[2],
    'delay', 0, 'priority', 0)
  redis.call('XADD', KEYS[1] .. 'events', '*', 'event', 'added', 'jobId', id, 'name', ARGV[1])
  redis.call('LPUSH', KEYS[1] .. 'wait', id)
  redis.call('XADD', KEYS[1] .. 'events', '*', 'event', 'waiting', 'jobId', id)
  added[#added + 1] = id
end
redis.call('ZADD', KEYS[1] .. 'marker', 0, '0')
return added"#;

/// Entries of a stream in one reply.
const PAGE: usize = 5000;

/// A queue's books.
pub struct Ledger {
    port: u16,
    prefix: String,
}

impl Ledger {
    /// Of this queue under the default prefix. Keeps every event from now on.
    #[track_caller]
    #[must_use]
    pub fn of(redis: &RedisServer, queue: &str) -> Self {
        Self::at(redis.port(), "bull", queue)
    }

    /// Of a queue on the server at this port.
    #[track_caller]
    #[must_use]
    pub fn at(port: u16, prefix: &str, queue: &str) -> Self {
        let ledger = Self { port, prefix: format!("{prefix}:{queue}:") };
        ledger.keep_events();
        ledger
    }

    /// Makes the stream of events long enough for every one of a test. Clients that produce set it to their own length
    /// when they start.
    #[track_caller]
    pub fn keep_events(&self) {
        self.client().run(&["HSET", &self.key("meta"), "opts.maxLenEvents", "10000000"]);
    }

    fn client(&self) -> Resp {
        Resp::connect(self.port, None).expect("a connection to redis-server")
    }

    /// A key of the queue.
    #[must_use]
    pub fn key(&self, last: &str) -> String {
        format!("{}{last}", self.prefix)
    }

    /// Adds jobs of this name with these payloads and returns their ids.
    #[track_caller]
    pub fn push(&self, name: &str, payloads: impl IntoIterator<Item = Json>) -> Vec<String> {
        let payloads: Vec<String> = payloads.into_iter().map(|payload| payload.to_string()).collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let now = now.as_millis().to_string();
        let mut words = vec!["EVAL", ADD, "1", &self.prefix, name, &now];
        words.extend(payloads.iter().map(String::as_str));
        self.client().run(&words).texts()
    }

    /// Adds so many no-ops.
    #[track_caller]
    pub fn push_noops(&self, count: usize) -> Vec<String> {
        self.push("noop", (0..count).map(|i| serde_json::json!({ "i": i })))
    }

    /// How often each job was completed, by the queue's events.
    #[track_caller]
    #[must_use]
    pub fn completions(&self) -> BTreeMap<String, usize> {
        self.count("completed")
    }

    /// How often each job had this event.
    #[track_caller]
    #[must_use]
    pub fn count(&self, event: &str) -> BTreeMap<String, usize> {
        let (mut client, mut counts) = (self.client(), BTreeMap::new());
        let (events, page) = (self.key("events"), PAGE.to_string());
        let mut from = "-".to_owned();
        loop {
            let Value::List(entries) = client.run(&["XRANGE", &events, &from, "+", "COUNT", &page]) else {
                panic!("a stream is a list of entries");
            };
            for entry in &entries {
                let Value::List(parts) = entry else { panic!("an entry has an id and fields") };
                from = format!("({}", parts[0].text().expect("an id"));
                let fields = parts[1].texts();
                let field = |name| fields.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
                if field("event").as_deref() == Some(event) {
                    *counts.entry(field("jobId").unwrap_or_default()).or_default() += 1;
                }
            }
            if entries.len() < PAGE {
                return counts;
            }
        }
    }

    /// How many jobs are completed.
    #[track_caller]
    #[must_use]
    pub fn completed(&self) -> usize {
        usize::try_from(self.client().run(&["ZCARD", &self.key("completed")]).int()).expect("a count")
    }

    /// A field of a job's record.
    #[track_caller]
    #[must_use]
    pub fn field(&self, id: &str, name: &str) -> Option<String> {
        self.client().run(&["HGET", &self.key(id), name]).text()
    }

    /// Waits until these jobs are completed and returns how long that took.
    #[track_caller]
    pub fn wait_completed(&self, ids: &[String], limit: Duration) -> Duration {
        let began = Instant::now();
        let mut client = None;
        wait::within(limit, &format!("{} jobs are completed", ids.len()), || {
            // The server may be away for a moment.
            let connection = match &mut client {
                Some(connection) => connection,
                None => client.insert(Resp::connect(self.port, None).ok()?),
            };
            let mut words = vec!["ZMSCORE".to_owned(), self.key("completed")];
            words.extend_from_slice(ids);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match connection.try_run(&words) {
                Ok(Value::List(scores)) => scores.iter().all(|score| *score != Value::Nil).then_some(()),
                Ok(_) => None,
                Err(_) => {
                    client = None;
                    None
                }
            }
        });
        began.elapsed()
    }

    /// Checks that each of these jobs was completed exactly once, by one counted attempt, and that nothing is left of
    /// them anywhere else.
    ///
    /// # Panics
    /// Names every job of which that is not so.
    #[track_caller]
    pub fn check_completed_once(&self, ids: &[String]) {
        let completions = self.completions();
        let mut wrong = String::new();
        for id in ids {
            let (times, attempts) = (completions.get(id).copied().unwrap_or(0), self.field(id, "atm"));
            if times != 1 || attempts.as_deref() != Some("1") {
                let _ = writeln!(wrong, "job {id}: completed {times} times, atm {attempts:?}");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        self.check_nothing_left();
    }

    /// Checks that no job waits, runs or is locked.
    ///
    /// # Panics
    /// Names what is left.
    #[track_caller]
    pub fn check_nothing_left(&self) {
        let mut client = self.client();
        for (list, count) in [
            ("wait", "LLEN"),
            ("paused", "LLEN"),
            ("active", "LLEN"),
            ("prioritized", "ZCARD"),
            ("delayed", "ZCARD"),
            ("waiting-children", "ZCARD"),
        ] {
            assert_eq!(client.run(&[count, &self.key(list)]).int(), 0, "{list} is empty");
        }
        let locks = client.run(&["KEYS", &self.key("*:lock")]).texts();
        assert!(locks.is_empty(), "locks are left: {locks:?}");
    }
}
