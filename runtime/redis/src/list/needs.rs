//! What the user must be allowed to do for a list queue.

use super::keys::ListKeys;
use super::options::ListOptions;
use crate::keys::literally;
use crate::permissions::Needs;

/// `k` is the list, `b` a key beside it, `r` a record, `l` its log, `c` the channel of updates.
const COMMANDS: &[&str] = &[
    "BLMOVE k k RIGHT RIGHT 1",
    "DEL b",
    "DEL l",
    "DEL r",
    "EVALSHA x 1 k",
    "EXISTS b",
    "EXISTS r",
    "GET b",
    "HDEL b f",
    "HDEL r f",
    "HEXISTS b f",
    "HEXISTS r f",
    "HGET b f",
    "HGET r f",
    "HINCRBY b f 1",
    "HMGET b f",
    "HMGET r f",
    "HSET b f v",
    "HSET r f v",
    "HVALS b",
    "INCRBY b 1",
    "LLEN b",
    "LLEN k",
    "LLEN l",
    "LMOVE b k LEFT RIGHT",
    "LMOVE k b RIGHT LEFT",
    "LPOP k 1",
    "LPOS b v",
    "LPOS k v",
    "LPUSH b v",
    "LPUSH k v",
    "LRANGE b 0 1",
    "LRANGE k 0 1",
    "LRANGE l 0 1",
    "LREM b 1 v",
    "LREM k 1 v",
    "LTRIM b 0 1",
    "LTRIM l 0 1",
    "PERSIST r",
    "PEXPIRE b 1",
    "PEXPIRE l 1",
    "PEXPIRE r 1",
    "PING",
    "PTTL b",
    "PUBLISH c m",
    "RPOP b",
    "RPUSH k v",
    "RPUSH l v",
    "SADD b v",
    "SCRIPT LOAD x",
    "SET b v",
    "SMEMBERS b",
    "SREM b v",
    "TIME",
    "TYPE b",
    "TYPE k",
    "TYPE l",
    "XADD b * f v",
    "XREAD STREAMS b 0",
    "XREVRANGE b + -",
    "ZADD b 1 v",
    "ZCARD b",
    "ZPOPMIN b",
    "ZRANGE b 0 1",
    "ZRANGEBYSCORE b 0 1",
    "ZREM b v",
    "ZREVRANGE b 0 1",
    "ZSCORE b v",
];

/// What this queue needs.
pub(super) fn needs(queue: &str, keys: &ListKeys, options: &ListOptions) -> Needs {
    let list = literally(keys.list());
    let (record, every_record) = keys.record_like("jobcell", literally);
    Needs::new(format!("list queue {queue:?}"), COMMANDS)
        .key("k", keys.list().to_owned(), &list)
        .key("b", keys.of("dead"), &format!("{list}:*"))
        .key("r", record.clone(), &every_record)
        .key("l", record + ":logs", &format!("{every_record}:logs"))
        .channel("c", options.updates.clone(), &literally(&options.updates))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::list::script;
    use crate::permissions::tests::assert_covers;

    /// What a job is said to be.
    const STATUS: [&str; 5] = ["COMPLETED", "FAILED", "RETRYING", "RUNNING", "WAITING"];

    /// For a queue whose keys and records have nothing in common.
    pub(crate) fn needs() -> Needs {
        let options = ListOptions { record: "job-{id}".to_owned(), ..ListOptions::new("jobs") };
        super::needs("q", &ListKeys::new(&options), &options)
    }

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        let words = script::words().into_iter().filter(|word| !STATUS.contains(word)).collect();
        assert_covers(&needs(), &words);
    }
}
