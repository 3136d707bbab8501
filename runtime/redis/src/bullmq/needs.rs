//! What the user must be allowed to do for queues in BullMQ's layout.

use crate::keys::literally;
use crate::permissions::Needs;

/// `k` is a key of a queue.
const COMMANDS: &[&str] = &[
    "BZPOPMIN k 1",
    "DECRBY k 1",
    "DEL k",
    "EVALSHA x 1 k",
    "EXEC",
    "EXISTS k",
    "GET k",
    "HDEL k f",
    "HEXISTS k f",
    "HGET k f",
    "HGETALL k",
    "HINCRBY k f 1",
    "HKEYS k",
    "HMGET k f",
    "HSCAN k 0",
    "HSET k f v",
    "INCR k",
    "INCRBY k 1",
    "LLEN k",
    "LPOS k v",
    "LPUSH k v",
    "LRANGE k 0 1",
    "LREM k 1 v",
    "LSET k 0 v",
    "LTRIM k 0 1",
    "MGET k",
    "MULTI",
    "PERSIST k",
    "PEXPIRE k 1",
    "PING",
    "PTTL k",
    "RENAME k k",
    "RPOP k",
    "RPOPLPUSH k k",
    "RPUSH k v",
    "SADD k v",
    "SCAN 0",
    "SCARD k",
    "SCRIPT LOAD x",
    "SET k v",
    "SMEMBERS k",
    "SREM k v",
    "SSCAN k 0",
    "TYPE k",
    "UNLINK k",
    "XADD k * f v",
    "XREAD STREAMS k 0",
    "XREVRANGE k + -",
    "XTRIM k MAXLEN 1",
    "ZADD k 1 v",
    "ZCARD k",
    "ZCOUNT k 0 1",
    "ZPOPMIN k",
    "ZRANGE k 0 1",
    "ZRANGEBYSCORE k 0 1",
    "ZRANK k v",
    "ZREM k v",
    "ZREVRANGE k 0 1",
    "ZREVRANGEBYSCORE k 1 0",
    "ZREVRANK k v",
    "ZSCORE k v",
];

/// What queues whose keys begin so need. One queue's keys stand for those of all.
pub(crate) fn needs(prefix: &str) -> Needs {
    let pattern = format!("{}:*", literally(prefix));
    Needs::new("", COMMANDS).key("k", format!("{prefix}:jobcell:meta"), &pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::tests::assert_covers;
    use crate::script;

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        // Only what hosts share asks for the time, and has needs of its own.
        let words = script::words().into_iter().filter(|word| *word != "TIME").collect();
        assert_covers(&needs("bull"), &words);
    }
}
