//! Pausing in mixed fleets: random operations by real producers of either major or both, with our host and a BullMQ
//! worker on the queue. BullMQ's majors keep the jobs of a paused queue in different lists, and the older one's resume
//! overwrites what the newer one left; nothing of ours may ever put a job where that loses it.
//!
//! Left out is only what BullMQ's own clients do to each other: an older client pausing or resuming while the other's
//! jobs are in the list that it is about to overwrite.
//!
//! `JOBCELL_PAUSE_SEED` repeats a run; a failure prints the seed and the operations.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jobcell_tests::parity::{self, Area};
use jobcell_tests::{Bull, Client, Host, RedisServer, Site, Value, wait};
use serde_json::json;

use crate::stage::BASIC;

/// Operations in a run.
const OPERATIONS: usize = 220;
const QUEUE: &str = "work";

/// Numbers that depend on the seed alone (a multiplicative congruential generator; its high bits are good enough).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).expect("a small number")]
    }
}

struct Fleet {
    redis: RedisServer,
    site: Site,
    producers: Vec<Bull>,
    dice: Dice,
    paused: bool,
    added: BTreeSet<String>,
    /// What was done, for a failure's report.
    done: Vec<String>,
}

impl Fleet {
    fn holds(&self, list: &str) -> bool {
        self.redis.client().run(&["EXISTS", &format!("bull:{QUEUE}:{list}")]).int() == 1
    }

    fn note(&mut self, who: &str, what: &str) {
        let lists = ["wait", "paused", "delayed"].map(|list| if self.holds(list) { list } else { "-" });
        self.done.push(format!("{who} {what} {lists:?}"));
    }

    /// Which producer acts, or ours.
    fn actor(&mut self) -> Option<usize> {
        let actor = self.dice.below(self.producers.len() as u64 + 1);
        usize::try_from(actor).ok().filter(|actor| *actor < self.producers.len())
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=7 => self.add(),
            8..=10 => self.pause(),
            11..=14 => self.resume(),
            15 => {
                let _ = self.site.cli(&["queue", "promote", QUEUE]).ok();
                self.note("ours", "promote");
            }
            16 => {
                let _ = self.site.cli(&["queue", "retry", QUEUE, "--state", "failed"]).ok();
                self.note("ours", "retry");
            }
            // Time for retries to come due and for workers to take something.
            _ => std::thread::sleep(Duration::from_millis(self.dice.below(60))),
        }
    }

    fn add(&mut self) {
        let opts = match self.dice.below(5) {
            0 => json!({"delay": 20 + self.dice.below(200)}),
            1 => json!({"priority": 1 + self.dice.below(3)}),
            2 => json!({"lifo": true}),
            3 => json!({"attempts": 5, "backoff": 20 + self.dice.below(150)}),
            _ => json!({"attempts": 5}),
        };
        // A flaky job fails once: it waits for its retry while others pause, add and resume.
        let name = *self.dice.one_of(&["noop", "flaky"]);
        let opts = if name == "flaky" && opts["attempts"].is_null() {
            json!({"attempts": 5, "backoff": 30})
        } else {
            opts
        };
        let data = json!({"i": self.added.len(), "until": 2});
        let (who, id) = match self.actor() {
            Some(producer) => {
                let producer = &self.producers[producer];
                let id = producer.add(QUEUE, name, data, opts.clone());
                (producer.client().to_string(), id)
            }
            None => ("ours".to_owned(), self.site.enqueue(QUEUE, name, &data, &["--attempts", "5"])),
        };
        self.note(&who, &format!("add {id} {name} {opts}"));
        self.added.insert(id);
    }

    fn pause(&mut self) {
        let actor = self.actor();
        // An older client would rename `wait` over `paused`.
        if !self.is_left_out(actor) {
            self.command(actor, "pause");
            self.paused = true;
        }
    }

    fn resume(&mut self) {
        let actor = self.actor();
        // An older client would rename `paused` over `wait`.
        if !self.is_left_out(actor) {
            self.command(actor, "resume");
            self.paused = false;
        }
    }

    /// Whether an older client would lose what a newer one put into a paused queue. With producers of the older major
    /// alone nobody does, so that whatever is lost then is our fault.
    fn is_left_out(&self, actor: Option<usize>) -> bool {
        let older = actor.is_some_and(|actor| self.producers[actor].client() == Client::Five);
        let mixed = self.producers.len() > 1;
        older && mixed && self.paused && self.holds("wait")
    }

    fn command(&mut self, actor: Option<usize>, what: &str) {
        let who = match actor {
            Some(producer) => {
                self.producers[producer].queue(QUEUE, what, json!([]));
                self.producers[producer].client().to_string()
            }
            None => {
                let _ = self.site.cli(&["queue", what, QUEUE]).ok();
                "ours".to_owned()
            }
        };
        self.note(&who, what);
    }

    /// Goes on, and waits until every job that was ever added has completed.
    fn settle(&mut self) {
        let _ = self.site.cli(&["queue", "resume", QUEUE]).ok();
        self.note("ours", "resume");
        let mut client = self.redis.client();
        let missing = |client: &mut jobcell_tests::Resp| {
            let completed = client.run(&["ZRANGE", &format!("bull:{QUEUE}:completed"), "0", "-1"]).texts();
            let completed: BTreeSet<String> = completed.into_iter().collect();
            self.added.difference(&completed).cloned().collect::<Vec<_>>()
        };
        let begun = std::time::Instant::now();
        let events = format!("bull:{QUEUE}:events");
        loop {
            // Before looking: what completes in between is then no news that is missed.
            let newest = client.run(&["XREVRANGE", &events, "+", "-", "COUNT", "1"]);
            if missing(&mut client).is_empty() {
                return;
            }
            let Some(left) = wait::SOON.checked_sub(begun.elapsed()) else { break };
            let after = newest_id(&newest).unwrap_or_else(|| "0".to_owned());
            let patience = left.as_millis().clamp(1, 1000).to_string();
            let _ = client.run(&["XREAD", "BLOCK", &patience, "COUNT", "1", "STREAMS", &events, &after]);
        }
        let states: Vec<String> = missing(&mut client)
            .into_iter()
            .map(|id| format!("{id} is {}", self.producers[0].state(QUEUE, &id)))
            .collect();
        panic!("{} of {} jobs did not complete: {states:?}", states.len(), self.added.len());
    }
}

/// The id of the one entry that `XREVRANGE` answers.
fn newest_id(reply: &Value) -> Option<String> {
    let Value::List(entries) = reply else { return None };
    let Value::List(entry) = entries.first()? else { return None };
    entry.first()?.text()
}

fn seed() -> u64 {
    let given = std::env::var("JOBCELL_PAUSE_SEED").ok();
    given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
            u64::try_from(now.as_nanos() % (1 << 48)).expect("48 bits")
        },
        |seed| seed.parse().expect("JOBCELL_PAUSE_SEED is a number"),
    )
}

/// Random operations by these producers while our host and a BullMQ worker serve the queue.
fn stress(producers: &[Client], worker: Option<Client>) {
    let sentence = match producers {
        [_] => "random adding, pausing, resuming and retrying by producers of one major loses no job",
        _ => "random adding, pausing, resuming and retrying by producers of both majors loses no job",
    };
    let _cases: Vec<_> =
        producers.iter().map(|client| parity::case(*client, Area::Pausing, sentence)).collect();
    let redis = RedisServer::start();
    let seed = seed();
    println!("JOBCELL_PAUSE_SEED={seed}");
    let site = Site::redis(&redis, &BASIC.replace("concurrency = 4", "concurrency = 3\npoll = \"500ms\""));
    let host = Host::start(&site);
    let bulls: Vec<Bull> = producers.iter().map(|client| Bull::start(*client, &redis)).collect();
    let other = worker.map(|client| Bull::start(client, &redis));
    if let Some(other) = &other {
        other.work(QUEUE, json!({"concurrency": 2, "drainDelay": 1}));
    }
    let mut fleet = Fleet {
        redis,
        site,
        producers: bulls,
        dice: Dice(seed),
        paused: false,
        added: BTreeSet::new(),
        done: Vec::new(),
    };
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..OPERATIONS {
            fleet.step();
        }
        fleet.settle();
    }));
    if let Err(panic) = ran {
        println!("JOBCELL_PAUSE_SEED={seed}\n{}", fleet.done.join("\n"));
        std::panic::resume_unwind(panic);
    }
    assert!(fleet.added.len() > OPERATIONS / 5, "enough was added: {}", fleet.added.len());
    drop(other);
    host.stop();
}

#[test]
fn nothing_is_lost_with_producers_of_the_older_major() {
    stress(&[Client::Five], Some(Client::Five));
}

#[test]
fn nothing_is_lost_with_producers_of_the_newer_major() {
    stress(&[Client::Six], Some(Client::Six));
}

#[test]
fn nothing_is_lost_with_producers_of_both_majors() {
    stress(&[Client::Five, Client::Six], Some(Client::Five));
}

#[test]
fn nothing_is_lost_where_only_our_hosts_work_for_both_majors() {
    stress(&[Client::Six, Client::Five], None);
}
