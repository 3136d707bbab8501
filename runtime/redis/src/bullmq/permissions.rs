//! What the user must be allowed to do, and finding out whether it is.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::Value;

use crate::error;
use crate::link::Node;
use crate::reply;
use crate::script;

/// What is sent beside the scripts.
const SENT: [&str; 27] = [
    "BZPOPMIN", "DEL", "EVALSHA", "EXEC", "EXISTS", "GET", "HEXISTS", "HGETALL", "HMGET", "INFO", "LLEN", "LRANGE",
    "MULTI", "PING", "SCAN", "SCRIPT|LOAD", "SET", "TYPE", "UNLINK", "XREAD", "XREVRANGE", "XTRIM", "ZADD", "ZCARD",
    "ZRANGE", "ZREVRANGE", "ZSCORE",
];

/// How long a finding holds: rights change rarely, and health is asked for every few seconds.
const HOLDS: Duration = Duration::from_secs(60);

/// What was found lately, by node.
#[derive(Debug, Clone, Default)]
pub(super) struct Permissions(Arc<Mutex<HashMap<String, Finding>>>);

/// When it was found, and what.
type Finding = (Instant, Vec<String>);

// === impl Permissions ===

impl Permissions {
    /// What the user is not allowed on this node: commands, and the key when its like are out of reach. Nothing where
    /// the server cannot tell: that shows when it is used, with the same advice.
    pub(super) async fn missing(&self, node: &Node, key: &str) -> Vec<String> {
        if let Some((found, missing)) = self.known().get(&node.name)
            && found.elapsed() < HOLDS
        {
            return missing.clone();
        }
        let Some(missing) = ask(node, key).await else { return Vec::new() };
        self.known().insert(node.name.clone(), (Instant::now(), missing.clone()));
        missing
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Finding>> {
        // Every change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(node: &Node, key: &str) -> Option<Vec<String>> {
    let script = &script::PERMISSIONS;
    // What is a word of a command and no command is not known to the server, and passed over.
    let words: BTreeSet<&str> = script::words().into_iter().chain(SENT).collect();
    let asked = script.bare(std::iter::once(key).chain(words));
    let mut answer = node.call(&asked).await;
    if matches!(&answer, Err(e) if script::is_unknown(e)) {
        if let Err(e) = node.call(&script.load()).await {
            return error::login_fix(&e).map(|_| vec!["SCRIPT|LOAD".to_owned()]);
        }
        answer = node.call(&asked).await;
    }
    match answer {
        Ok(Value::Array(missing)) => reply::texts(Value::Array(missing)).ok(),
        Err(e) if error::login_fix(&e).is_some() => Some(vec!["EVALSHA".to_owned()]),
        Ok(_) | Err(_) => None,
    }
}

/// The fault and its fix, in one line.
pub(super) fn fault(missing: &[String], key: &str, prefix: &str, user: Option<&str>) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let user = user.unwrap_or("default");
    let (keys, commands): (Vec<&String>, Vec<&String>) = missing.iter().partition(|what| *what == key);
    let mut what = Vec::new();
    let mut fix = format!("ACL SETUSER {user}");
    if !commands.is_empty() {
        let names: Vec<String> = commands.iter().map(|name| name.to_lowercase()).collect();
        what.push(format!("run {}", names.join(", ")));
        names.iter().for_each(|name| fix += &format!(" +{name}"));
    }
    if !keys.is_empty() {
        what.push(format!("touch keys such as {key:?}"));
        fix += &format!(" ~{prefix}:*");
    }
    Some(format!("the user {user:?} may not {}; {fix}, and the same in the ACL file or redis.conf", what.join(" nor ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_the_scripts_are_found_in_them() {
        let words = script::words();
        for command in ["EXISTS", "HSCAN", "LPUSH", "RPOPLPUSH", "XADD", "ZPOPMIN"] {
            assert!(words.contains(command), "{command}: {words:?}");
        }
    }

    #[test]
    fn a_fault_names_what_is_missing_and_what_to_type() {
        let missing = ["XADD".to_owned(), "SCRIPT|LOAD".to_owned(), "bull:k".to_owned()];
        let text = fault(&missing, "bull:k", "bull", Some("ops")).unwrap();
        assert!(text.contains("ACL SETUSER ops +xadd +script|load ~bull:*"), "{text}");
        assert_eq!(fault(&[], "bull:k", "bull", None), None);
    }
}
