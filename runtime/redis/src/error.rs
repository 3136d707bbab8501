//! What an error of Redis means to us.

use jobcell_core::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::connect::Said;

/// What an error of ours is that stands for a call which was never sent; the client library only makes such errors for
/// clusters of its own.
const UNSENT: ErrorKind = ErrorKind::ClusterConnectionNotFound;
/// The same for a call which this crate refuses.
const REFUSED: ErrorKind = ErrorKind::InvalidClientConfig;

pub(crate) const SET_SENTINEL_PASSWORD: &str =
    "set [redis] sentinel-password (and sentinel-username): sentinels have users of their own";
pub(crate) const OWN_CONNECTION: &str = "somebody has sent SUBSCRIBE on it, so something between here and Redis (a pooler, a \
     proxy) lends one connection to several clients; give each subscriber a connection of its own (in ioredis: \
     subscriber = client.duplicate()), or connect to Redis itself";
const ALLOW: &str = "let this user run scripts, streams and blocking commands on the queue's keys: ACL SETUSER <user> ~<prefix>:* +@all -@admin -@dangerous +info +role +client|setname +client|list +cluster|slots";

/// There is no connection to send a call on.
pub(crate) fn unsent(cause: &str) -> RedisError {
    (UNSENT, "no connection", format!("no connection ({cause})")).into()
}

/// True when Redis cannot have heard of the call.
pub(crate) fn is_unsent(e: &RedisError) -> bool {
    e.kind() == UNSENT
}

/// True when Redis answered the call, with this error.
pub(crate) fn is_answered(e: &RedisError) -> bool {
    e.code().is_some()
}

/// A call that cannot be right, whatever Redis would say.
pub(crate) fn refused(cause: String) -> RedisError {
    (REFUSED, "refused", cause).into()
}

/// The message without what the client library adds to it, on one line.
pub(crate) fn describe(e: &RedisError) -> String {
    let text = match (e.code(), e.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => e.to_string(),
    };
    // A script's hash and line say nothing about what its user may do.
    let text = if is_denied(e) { text.split(" script: ").next().unwrap_or(&text) } else { &text };
    text.trim_end().replace(['\r', '\n'], " ")
}

/// True when the server's reply has this code, also when a script met it: Redis before 7 wraps those.
pub(crate) fn has_code(e: &RedisError, code: &str) -> bool {
    e.code() == Some(code) || (e.code() == Some("ERR") && e.detail().is_some_and(|d| d.contains(code)))
}

/// True when this user is not allowed it. What a script meets has no code of its own.
pub(crate) fn is_denied(e: &RedisError) -> bool {
    let in_script = |text: &str| {
        text.contains("The user executing the script can't") || text.contains("ACL failure in script")
    };
    e.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || has_code(e, "NOPERM")
        || e.detail().is_some_and(in_script)
}

/// True when Redis does not let us in, or not that far.
pub(crate) fn keeps_out(e: &RedisError) -> bool {
    has_code(e, "NOAUTH") || has_code(e, "WRONGPASS") || needs_no_password(e) || is_denied(e)
}

/// What to change when Redis does not let this user in.
pub(crate) fn login_fix(said: &Said, user: Option<&str>, e: &RedisError) -> Option<String> {
    if has_code(e, "NOAUTH") {
        Some(said.login())
    } else if has_code(e, "WRONGPASS") {
        Some(said.other_login(user))
    } else if needs_no_password(e) {
        Some(format!("{}, or set one there (requirepass in redis.conf)", said.no_login()))
    } else {
        is_denied(e).then(|| ALLOW.to_owned())
    }
}

/// True when a password was given to a server that has none.
fn needs_no_password(e: &RedisError) -> bool {
    e.detail().is_some_and(|detail| detail.contains("called without any password configured"))
}

/// True when somebody has subscribed on this connection, on which nothing else may be called then.
pub(crate) fn is_subscribed(e: &RedisError) -> bool {
    e.detail().is_some_and(|detail| detail.contains("allowed in this context"))
}

/// True when what came back is not Redis's protocol.
pub(crate) fn is_foreign(e: &RedisError) -> bool {
    e.kind() == ErrorKind::Parse
}

/// Replies that go away by themselves or by mending the server, without any change here.
const PASSING: [&str; 13] = [
    "LOADING",
    "READONLY",
    "OOM",
    "MISCONF",
    "BUSY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    // Redis lost its memory, or another server took over, twice in a row.
    "NOSCRIPT",
    // Sent by a server that is full; it has no code.
    "max number of clients reached",
];

/// Replies with which Redis refuses a script before its first write.
const REFUSED_WHOLE: [&str; 9] =
    ["LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "NOSCRIPT"];

/// True when a script that met this has changed nothing: it was never sent, or refused as a whole.
pub(crate) fn did_nothing(e: &RedisError) -> bool {
    is_unsent(e) || REFUSED_WHOLE.iter().any(|code| has_code(e, code))
}

/// True when the same call may succeed later.
pub(crate) fn is_passing(e: &RedisError) -> bool {
    is_unsent(e) || e.is_io_error() || is_broken(e) || PASSING.iter().any(|code| has_code(e, code))
}

/// True when the connection is of no use any more.
pub(crate) fn is_broken(e: &RedisError) -> bool {
    // A replica that was the master is left too: the name may lead to the new one by now.
    e.is_unrecoverable_error()
        || e.is_timeout()
        || is_subscribed(e)
        || has_code(e, "READONLY")
        || has_code(e, "MASTERDOWN")
}

/// The store's error. `WRONGTYPE` is left to the caller that can tell which key it is.
pub(crate) fn of_store(address: &str, said: &Said, is_cluster: bool, e: &RedisError) -> StoreError {
    let cause = describe(e);
    if e.kind() == REFUSED {
        return StoreError::Rejected(cause);
    }
    if let Some(fix) = login_fix(said, None, e) {
        return StoreError::Denied(format!("redis at {address}: {cause}; {fix}"));
    }
    if is_passing(e) {
        return StoreError::Unavailable(format!("redis at {address}: {cause}{}", advice(is_cluster, e)));
    }
    StoreError::Other(format!("redis at {address}: {cause}{}", advice(is_cluster, e)))
}

/// True for what only a cluster answers.
fn is_of_cluster(e: &RedisError) -> bool {
    ["MOVED", "ASK", "CROSSSLOT"].iter().any(|code| has_code(e, code))
        || describe(e).contains("non local key")
}

/// What to change, behind a semicolon; nothing where nobody knows.
pub(crate) fn advice(is_cluster: bool, e: &RedisError) -> String {
    let advice = if has_code(e, "OOM") {
        "raise maxmemory there or remove finished jobs (jobcell queue clean QUEUE); an eviction policy such as allkeys-lru is \
         no way out: it deletes jobs"
    } else if has_code(e, "MISCONF") {
        "Redis cannot save to its disk and refuses writes: look at its log and the room on its disk"
    } else if has_code(e, "READONLY") {
        "this is a replica, connect to the master"
    } else if !is_cluster && is_of_cluster(e) {
        "this is a Redis Cluster: write redis+cluster:// instead of redis://, and put the key prefix in braces here and in \
         every BullMQ client (prefix = \"{bull}\")"
    } else if is_of_cluster(e) {
        "on a Redis Cluster all keys of a queue, and of the queues of a flow, must be in one slot: put the key prefix \
         in braces in [redis] and in every BullMQ client (prefix = \"{bull}\"), or the names of the queues"
    } else if has_code(e, "BUSY") {
        "a script runs for too long there, SCRIPT KILL ends it"
    } else if has_code(e, "LOADING") {
        "it reads its data from disk after a start, and is ready once it has"
    } else if has_code(e, "max number of clients reached") {
        "raise maxclients there, or look in CLIENT LIST who does not close connections"
    } else if has_code(e, "DENIED") {
        "Redis is in protected mode: give it a password, or bind it to addresses that only friends reach"
    } else if is_subscribed(e) {
        OWN_CONNECTION
    } else {
        return String::new();
    };
    format!("; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(e)) => e.into(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn troubles_that_pass_are_told_from_those_that_somebody_must_mend() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "ERR Error running script: -READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "BUSY Redis is busy running a script.",
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            "NOSCRIPT No matching script.",
            "ERR max number of clients reached",
        ] {
            assert!(of_store("h:1", &Said::default(), false, &said(line)).is_transient(), "{line}");
        }
        for line in [
            "WRONGTYPE Operation against a key",
            "ERR syntax error",
            "CROSSSLOT Keys in request",
            "MOVED 1 h:2",
        ] {
            let error = of_store("h:1", &Said::default(), false, &said(line));
            assert!(matches!(&error, StoreError::Other(_)), "{line}: {error:?}");
        }
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid",
            "NOPERM this user has no permissions",
            "ERR The user executing the script can't run this command or subcommand script: 0a, on @user_script:1.",
            "ERR ACL failure in script: User u has no permissions to run the 'set' command script: 0a, on @user_script:1.",
        ] {
            assert!(!describe(&said(line)).contains("user_script"), "{line}");
            assert!(
                matches!(of_store("h:1", &Said::default(), false, &said(line)), StoreError::Denied(_)),
                "{line}"
            );
        }
    }

    #[test]
    fn a_connection_is_left_when_it_leads_to_the_wrong_server() {
        for line in ["READONLY You can't write", "MASTERDOWN Link with MASTER is down"] {
            assert!(is_broken(&said(line)), "{line}");
        }
        for line in [
            "OOM command not allowed",
            "BUSY Redis is busy",
            "LOADING Redis is loading",
            "NOSCRIPT No",
            "ERR x",
        ] {
            assert!(!is_broken(&said(line)), "{line}");
        }
    }

    #[test]
    fn what_was_never_sent_is_known_to_be() {
        let unsent = unsent("reconnecting");
        assert!(is_unsent(&unsent) && of_store("h:1", &Said::default(), false, &unsent).is_transient());
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(!is_answered(&unsent) && !is_answered(&lost) && is_answered(&said("WRONGTYPE Operation")));
        assert!(!is_unsent(&lost) && of_store("h:1", &Said::default(), false, &lost).is_transient());
        assert!(
            matches!(of_store("h:1", &Said::default(), false, &refused("no".to_owned())), StoreError::Rejected(cause) if cause == "no")
        );
    }

    #[test]
    fn a_login_that_is_refused_is_told_what_to_change_by_the_name_it_was_said_by() {
        let told = |said: &Said, line: &str| login_fix(said, Some("ops"), &self::said(line)).unwrap();
        let (url, parts) = (Said::Url("--redis".to_owned()), Said::Parts);
        for (line, of_url, of_parts) in [
            ("NOAUTH Authentication required.", "user:password@ into --redis", "set REDIS_PASSWORD"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "in --redis", "user \"ops\""),
            (
                "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
                "out of --redis",
                "unset REDIS_PASSWORD, or set",
            ),
        ] {
            let (of_one, of_other) = (told(&url, line), told(&parts, line));
            assert!(of_one.contains(of_url), "{of_one}");
            assert!(of_other.contains(of_parts) && !of_other.contains("--redis"), "{of_other}");
        }
    }

    #[test]
    fn advice_is_given_where_there_is_some() {
        for (line, part) in [
            ("MOVED 1 h:2", "redis+cluster://"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "{bull}"),
            ("ERR max number of clients reached", "maxclients"),
            ("DENIED Redis is running in protected mode", "password"),
            ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
            ("OOM command not allowed", "maxmemory"),
            (
                "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                "client.duplicate()",
            ),
        ] {
            let text = of_store("h:1", &Said::default(), false, &said(line)).to_string();
            assert!(text.contains(part) && text.contains("h:1"), "{text}");
        }
        // Who has written that already is told what else it takes.
        let text = of_store("h:1", &Said::default(), true, &said("MOVED 1 h:2")).to_string();
        assert!(text.contains("{bull}") && !text.contains("redis+cluster"), "{text}");
    }
}
