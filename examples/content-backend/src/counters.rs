//! Likes and views: counted in Redis by the web server, written to the database in batches, each gain once.
//!
//! What was written is noted beside the counter, with the number of its batch. A flush goes in steps, and whoever takes
//! one up in the middle comes to the same end:
//!
//! 1. The gains since the last flush become the *pending* batch, with the next number; one write, which only one wins.
//! 2. The database is sent the batch under its key, as often as it takes; it applies each key once.
//! 3. Each counter's note is set to what the batch said, unless a later batch has set it.
//! 4. The batch is not pending any more, unless a later one is.

use std::collections::BTreeMap;

use jobcell_sdk::kv::{self, Bucket, Swap};
use jobcell_sdk::prelude::*;
use jobcell_sdk::time;
use serde::{Deserialize, Serialize};

use crate::database;

/// Counters in one batch. More are for the next flush.
const BATCH_MAX: usize = 200;

/// What the job answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Flushed {
    /// The number of the batch; none where nothing had changed.
    pub batch: Option<u64>,
    /// Counters in it.
    pub counters: usize,
}

/// The last batch: its number, and what is in it as long as it is on its way.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pending {
    number: u64,
    /// When it was made: in a Redis that is new the numbers begin again, and the database has seen the first ones.
    made_ms: u64,
    counters: BTreeMap<String, Gain>,
}

/// What a counter had gained.
#[derive(Debug, Serialize, Deserialize)]
struct Gain {
    /// To add in the database; likes can be taken back.
    by: i64,
    /// Where the counter stood.
    total: i64,
}

/// What was written of a counter.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    batch: u64,
    total: i64,
}

// === impl Pending ===

impl Pending {
    /// What the database knows it by.
    fn key(&self) -> String {
        format!("counters-{}-{}", self.made_ms, self.number)
    }
}

const PENDING: &str = "pending";

/// Writes what the counters gained to the database.
///
/// # Errors
/// When Redis or the database does not answer; the batch stays pending then, and the next flush goes on with it.
pub fn flush() -> Result<Flushed, Failure> {
    let own = kv::open("content")?;
    let Some(pending) = take_up(&own)? else { return Ok(Flushed { batch: None, counters: 0 }) };
    let sent: serde_json::Value = database::post("/counters", &pending.key(), &pending.counters)?;
    jobcell_sdk::context::log(format!("batch {}: {sent}", pending.number));
    settle(&own, &pending)?;
    Ok(Flushed { batch: Some(pending.number), counters: pending.counters.len() })
}

/// The batch that is on its way, or a new one; none where nothing changed.
fn take_up(own: &Bucket) -> Result<Option<Pending>, Failure> {
    let seen = own.watch(PENDING)?;
    let last: Pending = match seen.current()? {
        Some(held) => serde_json::from_slice(&held).or_fatal("the pending batch")?,
        None => Pending::default(),
    };
    if !last.counters.is_empty() {
        return Ok(Some(last));
    }
    let batch = Pending { number: last.number + 1, made_ms: time::now_ms(), counters: gains(own)? };
    if batch.counters.is_empty() {
        return Ok(None);
    }
    match seen.swap(serde_json::to_vec(&batch)?)? {
        Swap::Done => Ok(Some(batch)),
        // Another flush was first: its batch is the one.
        Swap::Lost(_) => Err(Failure::retry("another flush began at the same time")),
    }
}

/// What has changed since it was written last.
fn gains(own: &Bucket) -> Result<BTreeMap<String, Gain>, Failure> {
    let posts = kv::open("posts")?;
    let (mut gains, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = posts.keys(cursor.as_deref())?;
        for key in page.keys.into_iter().filter(|key| key.ends_with(":likes") || key.ends_with(":views")) {
            let Some(total) = posts.get(&key)? else { continue };
            let total: i64 =
                String::from_utf8_lossy(&total).parse().or_fatal(format!("post:{key} is no number"))?;
            let by = total - written(own, &key)?;
            if by != 0 && gains.len() < BATCH_MAX {
                gains.insert(key, Gain { by, total });
            }
        }
        cursor = page.cursor;
        if cursor.is_none() || gains.len() == BATCH_MAX {
            return Ok(gains);
        }
    }
}

/// What the database has of a counter: as noted, or as it says where there is no note, such as in a Redis that is new.
fn written(own: &Bucket, key: &str) -> Result<i64, Failure> {
    if let Some(note) = own.get(&note_of(key))? {
        return Ok(serde_json::from_slice::<Note>(&note).or_fatal("the note of a counter")?.total);
    }
    database::get(&format!("/counters/{key}"))
}

/// Notes what the batch wrote, and that it is done.
fn settle(own: &Bucket, done: &Pending) -> Result<(), Failure> {
    for (key, gain) in &done.counters {
        own.update(&note_of(key), |held| {
            let later = held.filter(|held| {
                serde_json::from_slice::<Note>(held).is_ok_and(|note| note.batch > done.number)
            });
            let note = Note { batch: done.number, total: gain.total };
            later.unwrap_or_else(|| serde_json::to_vec(&note).unwrap_or_default())
        })?;
    }
    own.update(PENDING, |held| {
        let held = held.unwrap_or_default();
        match serde_json::from_slice::<Pending>(&held) {
            Ok(pending) if pending.number == done.number => {
                let none = Pending { counters: BTreeMap::new(), ..pending };
                serde_json::to_vec(&none).unwrap_or_default()
            }
            _ => held,
        }
    })?;
    Ok(())
}

fn note_of(key: &str) -> String {
    format!("written:{key}")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use jobcell_sdk::http::{HttpError, Method, Request, Response};
    use jobcell_sdk::testing::Host;
    use serde_json::json;

    use super::*;

    /// The database: its totals, and which batches it has applied.
    #[derive(Default)]
    struct Database {
        totals: BTreeMap<String, i64>,
        applied: Vec<String>,
        /// The next batch is applied, and its answer lost.
        loses_answer: bool,
        /// The next batch does not arrive.
        is_away: bool,
    }

    impl Database {
        fn meet(&mut self, request: &Request) -> Result<Response, HttpError> {
            if request.method == Method::Get {
                let key = request.url.rsplit('/').next().unwrap();
                return Ok(Response::new(200).with_json(&self.totals.get(key).unwrap_or(&0)));
            }
            if std::mem::take(&mut self.is_away) {
                return Ok(Response::new(503));
            }
            let number = request.header_value("idempotency-key").unwrap().to_owned();
            if !self.applied.contains(&number) {
                for (key, gain) in request.body_json::<BTreeMap<String, Gain>>()? {
                    *self.totals.entry(key).or_default() += gain.by;
                }
                self.applied.push(number);
            }
            if std::mem::take(&mut self.loses_answer) {
                return Ok(Response::new(502));
            }
            Ok(Response::new(200).with_json(&json!({"applied": true})))
        }
    }

    fn rig() -> (Host, Rc<RefCell<Database>>) {
        let database = Rc::new(RefCell::new(Database::default()));
        (host(1_000, Rc::clone(&database)), database)
    }

    /// A Redis in which nothing is yet.
    fn host(now_ms: u64, database: Rc<RefCell<Database>>) -> Host {
        Host::new()
            .at(now_ms)
            .bucket("posts")
            .bucket("content")
            .config("database", "http://db.test")
            .on_request(move |request| database.borrow_mut().meet(request))
    }

    fn click(host: &Host, key: &str, by: i64) {
        host.within(|| kv::open("posts").and_then(|posts| posts.increment(key, by))).unwrap();
    }

    fn total(database: &RefCell<Database>, key: &str) -> i64 {
        database.borrow().totals.get(key).copied().unwrap_or(0)
    }

    #[test]
    fn gains_are_written_in_batches_and_each_once() {
        let (host, database) = rig();
        click(&host, "7:likes", 3);
        click(&host, "7:views", 10);
        click(&host, "7:comments", 1);
        assert_eq!(host.within(flush), Ok(Flushed { batch: Some(1), counters: 2 }));
        assert_eq!(host.within(flush), Ok(Flushed { batch: None, counters: 0 }));
        click(&host, "7:likes", -1);
        assert_eq!(host.within(flush), Ok(Flushed { batch: Some(2), counters: 1 }));
        assert_eq!((total(&database, "7:likes"), total(&database, "7:views")), (2, 10));
        assert_eq!(total(&database, "7:comments"), 0);
    }

    #[test]
    fn a_batch_whose_answer_was_lost_is_sent_again_and_applied_once() {
        for lost in [true, false] {
            let (host, database) = rig();
            click(&host, "7:likes", 3);
            database.borrow_mut().loses_answer = lost;
            database.borrow_mut().is_away = !lost;
            assert!(matches!(host.within(flush), Err(Failure::Retry(_))));
            // Clicks go on, and are in the next batch.
            click(&host, "7:likes", 4);
            assert_eq!(host.within(flush), Ok(Flushed { batch: Some(1), counters: 1 }));
            assert_eq!(total(&database, "7:likes"), 3);
            assert_eq!(host.within(flush), Ok(Flushed { batch: Some(2), counters: 1 }));
            assert_eq!((total(&database, "7:likes"), database.borrow().applied.len()), (7, 2));
        }
    }

    #[test]
    fn a_flush_that_was_overtaken_takes_nothing_back() {
        let (host, database) = rig();
        click(&host, "7:likes", 3);
        host.within(|| {
            let own = kv::open("content").unwrap();
            // This one has sent its batch and stands still; another one ends it, and a later one too.
            let slow = take_up(&own).unwrap().unwrap();
            flush().unwrap();
            kv::open("posts").unwrap().increment("7:likes", 5).unwrap();
            flush().unwrap();
            settle(&own, &slow).unwrap();
            assert_eq!(flush(), Ok(Flushed { batch: None, counters: 0 }));
        });
        assert_eq!(total(&database, "7:likes"), 8);
    }

    #[test]
    fn in_a_redis_that_is_new_the_database_says_what_it_has() {
        let (first, database) = rig();
        click(&first, "7:likes", 100);
        assert_eq!(first.within(flush), Ok(Flushed { batch: Some(1), counters: 1 }));
        // Its numbers begin again, and the database must not take the first for one it has seen.
        let second = host(2_000, Rc::clone(&database));
        click(&second, "7:likes", 101);
        assert_eq!(second.within(flush), Ok(Flushed { batch: Some(1), counters: 1 }));
        assert_eq!((total(&database, "7:likes"), database.borrow().applied.len()), (101, 2));
    }

    #[test]
    fn many_counters_take_several_batches() {
        let (host, database) = rig();
        for post in 0..450 {
            click(&host, &format!("{post}:likes"), 1);
        }
        let batches: Vec<usize> = (0..4).map(|_| host.within(flush).unwrap().counters).collect();
        assert_eq!(batches, [200, 200, 50, 0]);
        assert_eq!(database.borrow().totals.values().sum::<i64>(), 450);
    }

    #[test]
    fn a_counter_that_is_no_number_is_told() {
        let (host, _) = rig();
        host.within(|| kv::open("posts").unwrap().set("7:likes", "many")).unwrap();
        assert!(matches!(host.within(flush), Err(Failure::Fatal(why)) if why.contains("post:7:likes")));
    }
}
