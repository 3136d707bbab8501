//! Looking for jobs of a queue where no worker of it looks: under another prefix, in another database, in the layout of
//! the other protocol. For people who miss jobs; nothing is changed, and every look is bounded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jobcell_core::store::{Elsewhere, Stray, StrayPlace};
use jobcell_core::{QueueName, StoreError};
use redis::{Cmd, Pipeline, Value};

use crate::bullmq::BullStore;
use crate::connect::{Connection, Use};
use crate::keys::{Keys, literally};
use crate::link::Redis;
use crate::list::ListStore;
use crate::reply;

/// Keys one step of a scan looks at, and how many steps there are of each server: half a million keys.
const SCAN_COUNT: u32 = 1000;
const SCAN_STEPS: usize = 500;
/// How long the scan of a server may take in all.
const SCAN_MAX: Duration = Duration::from_secs(2);
/// Other prefixes and databases that are looked at: who has more has made them on purpose.
const PREFIXES_MAX: usize = 20;
const DATABASES_MAX: usize = 16;
/// How long another database may take to answer.
const DATABASE_MAX: Duration = Duration::from_secs(2);

/// The keys that jobs of a queue wait under, and how to count them.
const WAITING: [(&str, &str); 4] =
    [("LLEN", "wait"), ("LLEN", "paused"), ("ZCARD", "prioritized"), ("ZCARD", "delayed")];

impl BullStore {
    pub(crate) async fn read_elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        let redis = self.redis();
        let (keys, prefix) = (redis.keys().queue(queue), redis.options().key_prefix());
        let mut found = Elsewhere { whole: true, ..Elsewhere::default() };
        found.misused = self.misused(queue).await?;
        let version = redis.call(redis::cmd("HGET").arg(keys.meta()).arg("version")).await;
        found.written_by = version.ok().and_then(|version| reply::text(version).ok()?);
        [found.unparked, found.parked] =
            [length(redis, keys.of("wait")).await, length(redis, keys.of("paused")).await];
        let list = queue.to_string();
        found.stray(StrayPlace::List(list.clone()), length(redis, list).await);
        let (prefixes, whole) = prefixes(redis, queue).await;
        found.whole = whole;
        for other in prefixes.into_iter().filter(|other| other != prefix).take(PREFIXES_MAX) {
            let waiting = sum(redis.call_all(&waiting(&other, queue)).await.ok());
            found.stray(StrayPlace::Prefix(other), waiting);
        }
        for (database, connection) in databases(redis, &keys.meta()).await {
            let counted = connection.call_all(&waiting(prefix, queue)).await.ok();
            found.stray(StrayPlace::Database(database), sum(counted));
        }
        Ok(found)
    }
}

impl ListStore {
    pub(crate) async fn read_elsewhere(&self, queue: &QueueName) -> Result<Elsewhere, StoreError> {
        let (redis, list) = (self.redis(), self.list());
        let prefix = redis.options().key_prefix();
        let mut found = Elsewhere { whole: true, ..Elsewhere::default() };
        let names = [Some(queue.clone()), QueueName::new(list).ok()];
        for name in names.into_iter().flatten().collect::<BTreeSet<_>>() {
            let counted = sum(redis.call_all(&waiting(prefix, &name)).await.ok());
            found.stray(StrayPlace::BullMq(name.to_string()), counted);
        }
        for (database, connection) in databases(redis, list).await {
            let counted = connection.call(redis::cmd("LLEN").arg(list)).await.ok();
            found.stray(StrayPlace::Database(database), sum(counted.map(|count| vec![count])));
        }
        Ok(found)
    }
}

/// Notes what was found, where it is anything.
trait Note {
    fn stray(&mut self, place: StrayPlace, waiting: u64);
}

impl Note for Elsewhere {
    fn stray(&mut self, place: StrayPlace, waiting: u64) {
        if waiting > 0 {
            self.strays.push(Stray { place, waiting });
        }
    }
}

/// Counts the jobs that wait in the queue of this name under this prefix.
fn waiting(prefix: &str, queue: &QueueName) -> Pipeline {
    let keys = Keys::new(prefix).queue(queue);
    let mut pipe = redis::pipe();
    for (count, last) in WAITING {
        pipe.cmd(count).arg(keys.of(last));
    }
    pipe
}

/// What is no number is the error of a key that holds something else, and nothing waits there.
fn sum(counts: Option<Vec<Value>>) -> u64 {
    counts.into_iter().flatten().filter_map(|count| reply::count(&count).ok()).sum()
}

/// The length of a list; 0 where there is none.
async fn length(redis: &Redis, key: String) -> u64 {
    let counted = redis.call(redis::cmd("LLEN").arg(key)).await.ok();
    sum(counted.map(|count| vec![count]))
}

/// Every prefix under which a queue of this name shows, and whether all keys were looked at.
async fn prefixes(redis: &Redis, queue: &QueueName) -> (BTreeSet<String>, bool) {
    let (mut prefixes, mut whole) = (BTreeSet::new(), true);
    let pattern = format!("*:{}:[im][de]*", literally(queue.as_str()));
    let ends = [format!(":{queue}:meta"), format!(":{queue}:id")];
    for node in redis.nodes() {
        let (mut cursor, began, mut steps) = ("0".to_owned(), Instant::now(), 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
            let Some((next, keys)) = scanned(node.call(&scan).await.ok()) else {
                whole = false;
                break;
            };
            let found =
                keys.iter().filter_map(|key| ends.iter().find_map(|end| key.strip_suffix(end.as_str())));
            prefixes.extend(found.map(str::to_owned));
            steps += 1;
            if next == "0" {
                break;
            }
            if steps == SCAN_STEPS || began.elapsed() > SCAN_MAX {
                whole = false;
                break;
            }
            cursor = next;
        }
    }
    (prefixes, whole)
}

fn scanned(reply: Option<Value>) -> Option<(String, Vec<String>)> {
    let [next, keys] = reply::tuple(reply?).ok()?;
    Some((reply::text(next).ok()??, reply::texts(keys).ok()?))
}

/// A connection to each other database of the server that has this key, where there is something in it and the user may
/// look. A cluster has one database only.
async fn databases(redis: &Redis, key: &str) -> Vec<(u32, Connection)> {
    let options = redis.options();
    let Some(seat) = redis.seat(key).filter(|_| !options.is_cluster()) else { return Vec::new() };
    let mut ask: Cmd = redis::cmd("INFO");
    ask.arg("keyspace");
    let info = redis.call_near(key, &ask).await.ok().and_then(|info| reply::text(info).ok()?);
    let used = info.as_deref().map(used_databases).unwrap_or_default();
    let mut open = Vec::new();
    for database in used.into_iter().filter(|number| *number != options.number()).take(DATABASES_MAX) {
        let purpose = Use { silence_max: Some(DATABASE_MAX), name: "jobcell", to_sentinel: false };
        let there = options.clone().database(database);
        if let Ok(connection) = there.open(&seat.address, purpose, DATABASE_MAX).await {
            open.push((database, connection));
        }
    }
    open
}

/// `db0:keys=1,expires=0,avg_ttl=0`
fn used_databases(info: &str) -> Vec<u32> {
    let lines = info.lines().filter_map(|line| line.strip_prefix("db")?.split_once(":keys="));
    lines.filter_map(|(number, _)| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_in_use_are_read_from_what_redis_tells() {
        let info = "# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\ndb15:keys=1,expires=1,avg_ttl=3\r\n";
        assert_eq!(used_databases(info), [0, 15]);
        assert_eq!(used_databases("# Keyspace\r\n"), Vec::<u32>::new());
    }

    #[test]
    fn what_is_no_count_counts_nothing() {
        assert_eq!(sum(Some(vec![Value::Int(2), Value::Nil, Value::Int(3)])), 5);
        assert_eq!(sum(None), 0);
    }
}
