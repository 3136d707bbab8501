//! What the test knows between steps: which jobs are held, and what is in our database, which until the first
//! difference is what is in theirs.

use jobcell_tests::{RedisServer, Resp};
use serde_json::Value;

use super::act::{Act, Held, How, What};
use super::{Major, OURS};

pub(super) struct World {
    pub(super) major: Major,
    redis: Resp,
    /// Jobs that were claimed and not ended yet, with their queues.
    pub(super) held: Vec<(&'static str, Held)>,
    /// Some that were ended, for ends that come too late.
    pub(super) stale: Vec<(&'static str, Held)>,
    tokens: u64,
}

// === impl World ===

impl World {
    pub(super) fn new(major: Major, server: &RedisServer) -> Self {
        let mut redis = server.client();
        redis.run(&["SELECT", &OURS.to_string()]);
        Self { major, redis, held: Vec::new(), stale: Vec::new(), tokens: 0 }
    }

    /// Forgets an earlier episode.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.stale.clear();
        self.tokens = 0;
    }

    /// As many new tokens, in a row.
    pub(super) fn tokens(&mut self, n: u64) -> Vec<String> {
        let first = self.tokens;
        self.tokens += n;
        (first..self.tokens).map(|i| format!("w:{i}")).collect()
    }

    fn texts(&mut self, words: &[&str]) -> Vec<String> {
        self.redis.run(words).texts()
    }

    fn number(&mut self, words: &[&str]) -> i64 {
        self.redis.run(words).int()
    }

    /// The ids in a list or sorted set of a queue, at most a hundred.
    pub(super) fn ids(&mut self, queue: &str, state: &str) -> Vec<String> {
        let key = format!("bull:{queue}:{state}");
        let range = if matches!(state, "wait" | "paused" | "active") { "LRANGE" } else { "ZRANGE" };
        self.texts(&[range, &key, "0", "99"])
    }

    /// The state of a finished job.
    pub(super) fn finished(&mut self, queue: &str, id: &str) -> Option<&'static str> {
        let listed =
            |state: &&str| self.redis.run(&["ZSCORE", &format!("bull:{queue}:{state}"), id]).text().is_some();
        ["failed", "completed"].into_iter().find(listed)
    }

    pub(super) fn field(&mut self, queue: &str, id: &str, field: &str) -> Option<String> {
        self.redis.run(&["HGET", &format!("bull:{queue}:{id}"), field]).text()
    }

    /// The key of the parent of the job with this key.
    pub(super) fn above(&mut self, key: &str) -> Option<String> {
        self.redis.run(&["HGET", key, "parentKey"]).text()
    }

    /// Whether the job's lock has this token.
    pub(super) fn owns(&mut self, queue: &str, held: &Held) -> bool {
        let lock = self.redis.run(&["GET", &format!("bull:{queue}:{}:lock", held.id)]).text();
        lock.as_ref() == Some(&held.token)
    }

    /// The jobs below this one with those they were reached from; without `all`, only those that are waited for.
    fn below(&mut self, key: &str, all: bool) -> Vec<(String, String)> {
        let (mut found, mut ahead): (Vec<(String, String)>, _) = (Vec::new(), vec![key.to_owned()]);
        while let Some(key) = ahead.pop() {
            let mut below = self.texts(&["SMEMBERS", &format!("{key}:dependencies")]);
            if all {
                below.extend(self.texts(&["HKEYS", &format!("{key}:processed")]));
                below.extend(self.texts(&["HKEYS", &format!("{key}:failed")]));
                below.extend(self.texts(&["ZRANGE", &format!("{key}:unsuccessful"), "0", "-1"]));
            }
            for child in below {
                if found.iter().all(|(other, _)| *other != child) {
                    ahead.push(child.clone());
                }
                found.push((child, key.clone()));
            }
        }
        found
    }

    /// Whether a job below this one has a lock; without `all`, only those that are waited for count.
    pub(super) fn runs_below(&mut self, key: &str, all: bool) -> bool {
        self.below(key, all).iter().any(|(child, _)| self.exists(&format!("{child}:lock")))
    }

    /// Whether a job below this one has another parent by now.
    pub(super) fn adopted_below(&mut self, key: &str) -> bool {
        self.below(key, true).iter().any(|(child, above)| self.above(child).is_some_and(|now| now != *above))
    }

    /// Whether there is such a scheduler that goes by the other rule.
    pub(super) fn ruled_otherwise(&mut self, queue: &str, id: &str, every: bool) -> bool {
        let other = if every { "pattern" } else { "every" };
        self.field(queue, &format!("repeat:{id}"), other).is_some()
    }

    /// Whether a job that a scheduler made is in one of the lists.
    pub(super) fn schedulers_job_waits(&mut self, queue: &str) -> bool {
        ["wait", "paused"].iter().any(|list| self.ids(queue, list).iter().any(|id| id.starts_with("repeat:")))
    }

    /// Whether the queue has a scheduler, or a job that one made.
    pub(super) fn any_scheduled(&mut self, queue: &str) -> bool {
        !self.keys(&format!("bull:{queue}:repeat*")).is_empty()
    }

    /// Whether a job in this state has run before.
    pub(super) fn any_started(&mut self, queue: &str, state: &str) -> bool {
        self.ids(queue, state).iter().any(|id| self.field(queue, id, "processedOn").is_some())
    }

    /// How many jobs in this state have a parent.
    pub(super) fn children(&mut self, queue: &str, state: &str) -> usize {
        self.ids(queue, state).iter().filter(|id| self.field(queue, id, "parentKey").is_some()).count()
    }

    /// Whether a job that may be claimed next is to fail without running.
    pub(super) fn deferred(&mut self, queue: &str) -> bool {
        let states = ["wait", "prioritized", "delayed"];
        let ids: Vec<String> = states.iter().flat_map(|state| self.ids(queue, state)).collect();
        ids.iter().any(|id| self.field(queue, id, "defa").is_some())
    }

    pub(super) fn keys(&mut self, pattern: &str) -> Vec<String> {
        let mut keys = self.texts(&["KEYS", pattern]);
        keys.sort();
        keys
    }

    pub(super) fn exists(&mut self, key: &str) -> bool {
        self.number(&["EXISTS", key]) == 1
    }

    pub(super) fn paused(&mut self, queue: &str) -> bool {
        self.number(&["HEXISTS", &format!("bull:{queue}:meta"), "paused"]) == 1
    }

    /// Whether somebody asked the queue to rest.
    pub(super) fn rests(&mut self, queue: &str) -> bool {
        let count = self.redis.run(&["GET", &format!("bull:{queue}:limiter")]).text();
        count.as_deref() == Some("9007199254740991")
    }

    /// How many are delayed that are due now.
    pub(super) fn due(&mut self, queue: &str, now: u64) -> i64 {
        let top = ((now + 1) * 4096 - 1).to_string();
        self.number(&["ZCOUNT", &format!("bull:{queue}:delayed"), "0", &top])
    }

    /// Remembers what our answer to a step said.
    pub(super) fn learn(&mut self, act: &Act, answer: &Value) {
        let answer = &answer["ok"];
        let (ends, next) = match &act.what {
            What::Claim { next, .. } => (&[][..], next),
            What::Finish { ends, next, .. } => (&ends[..], next),
            _ => return,
        };
        for (end, code) in ends.iter().zip(answer["ended"].as_array().into_iter().flatten()) {
            let over = matches!(code.as_i64(), Some(0 | -1 | -2 | -3 | -6));
            let at = self.held.iter().position(|(_, held)| held.token == end.held.token);
            if let Some(at) = at.filter(|_| over) {
                let held = self.held.remove(at);
                // A job that waits for children holds no lock, so its token cannot come too late for anything else.
                if !matches!(end.how, How::Children) {
                    self.stale.push(held);
                }
            }
        }
        for (job, token) in answer["jobs"].as_array().into_iter().flatten().zip(next) {
            let id = job["id"].as_str().expect("an id").to_owned();
            self.held.push((act.queue, Held { id, token: token.clone() }));
        }
        let surplus = self.stale.len().saturating_sub(10);
        self.stale.drain(..surplus);
    }
}
