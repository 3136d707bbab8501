//! What an error of Redis means to us.

use jobcell_core::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What an error of ours is that stands for a call which was never sent; the client library only makes such errors for
/// clusters of its own.
const UNSENT: ErrorKind = ErrorKind::ClusterConnectionNotFound;
/// The same for a call which this crate refuses.
const REFUSED: ErrorKind = ErrorKind::InvalidClientConfig;

pub(crate) const SET_SENTINEL_PASSWORD: &str =
    "set [redis] sentinel-password (and sentinel-username): sentinels have users of their own";
const SET_PASSWORD: &str =
    "set REDIS_PASSWORD (and REDIS_USERNAME for an ACL user) or put user:password@ into REDIS_URL";
const ALLOW: &str = "let this user run scripts, streams and blocking commands on the queue's keys: ACL SETUSER <user> ~<prefix>:* +@all -@admin -@dangerous +info +role +client|setname +client|list +cluster|slots";

/// There is no connection to send a call on.
pub(crate) fn unsent(cause: &str) -> RedisError {
    (UNSENT, "no connection", format!("no connection ({cause})")).into()
}

/// True when Redis cannot have heard of the call.
pub(crate) fn is_unsent(e: &RedisError) -> bool {
    e.kind() == UNSENT
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
    text.replace(['\r', '\n'], " ")
}

/// True when the server's reply has this code, also when a script met it: Redis before 7 wraps those.
pub(crate) fn has_code(e: &RedisError, code: &str) -> bool {
    e.code() == Some(code) || (e.code() == Some("ERR") && e.detail().is_some_and(|d| d.contains(code)))
}

/// What to change when Redis does not let us in.
pub(crate) fn login_fix(e: &RedisError) -> Option<&'static str> {
    if e.kind() == ErrorKind::AuthenticationFailed || has_code(e, "NOAUTH") || has_code(e, "WRONGPASS") {
        return Some(SET_PASSWORD);
    }
    (e.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || has_code(e, "NOPERM")).then_some(ALLOW)
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
    e.is_unrecoverable_error() || e.is_timeout() || has_code(e, "READONLY") || has_code(e, "MASTERDOWN")
}

/// The store's error. `WRONGTYPE` is left to the caller that can tell which key it is.
pub(crate) fn of_store(address: &str, e: &RedisError) -> StoreError {
    let cause = describe(e);
    if e.kind() == REFUSED {
        return StoreError::Rejected(cause);
    }
    if let Some(fix) = login_fix(e) {
        return StoreError::Denied(format!("redis at {address}: {cause}; {fix}"));
    }
    if is_passing(e) {
        return StoreError::Unavailable(format!("redis at {address}: {cause}{}", advice(e)));
    }
    StoreError::Other(format!("redis at {address}: {cause}{}", advice(e)))
}

fn advice(e: &RedisError) -> &'static str {
    if has_code(e, "OOM") {
        "; raise maxmemory or remove finished jobs"
    } else if has_code(e, "MISCONF") {
        "; Redis cannot save to its disk and refuses writes"
    } else if has_code(e, "READONLY") {
        "; this is a replica, connect to the master"
    } else if has_code(e, "MOVED") || has_code(e, "ASK") {
        "; this is a Redis Cluster, write redis+cluster:// instead of redis://"
    } else if has_code(e, "CROSSSLOT") || describe(e).contains("non local key") {
        "; on a Redis Cluster, which is written redis+cluster://, all keys of a queue and of the queues of a flow must be \
         in one slot: put the key prefix in braces (prefix = \"{bull}\")"
    } else if has_code(e, "BUSY") {
        "; a script runs for too long there, SCRIPT KILL ends it"
    } else if has_code(e, "max number of clients reached") {
        "; raise maxclients there"
    } else if has_code(e, "DENIED") {
        "; Redis is in protected mode: give it a password, or bind it to addresses that only friends reach"
    } else {
        ""
    }
}
