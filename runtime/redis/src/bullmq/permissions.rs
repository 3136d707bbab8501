//! What the user must be allowed to do, and finding out whether it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::Value;

use crate::error;
use crate::link::Node;
use crate::reply;
use crate::script;

/// What queues need, each with all its arguments; `k` is a key. See `lua/permissions.lua` for why none may be missing: a
/// command that is added here must be whole. A test holds the table against the scripts, another one against a server.
const NEEDED: &[&str] = &[
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
    "INFO",
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
    "ZREM k v",
    "ZREVRANGE k 0 1",
    "ZREVRANGEBYSCORE k 1 0",
    "ZSCORE k v",
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
    let mut args = Vec::new();
    for command in NEEDED {
        let words = command.split(' ').map(|word| if word == "k" { key } else { word });
        let words: Vec<String> = words.map(str::to_owned).collect();
        args.push(words.len().to_string());
        args.extend(words);
    }
    let asked = script.bare(args);
    let mut answer = node.call(&asked).await;
    if matches!(&answer, Err(e) if script::is_unknown(e)) {
        if let Err(e) = node.call(&script.load()).await {
            return error::login_fix(&e).map(|_| vec!["script|load".to_owned()]);
        }
        answer = node.call(&asked).await;
    }
    match answer {
        Ok(Value::Array(places)) => {
            let places = places.iter().map(reply::int).collect::<Result<Vec<_>, _>>().ok()?;
            let named =
                |place: &i64| NEEDED.get(usize::try_from(place - 1).ok()?).map(|command| name(command));
            Some(places.iter().filter_map(named).collect())
        }
        Err(e) if error::login_fix(&e).is_some() => Some(vec!["evalsha".to_owned()]),
        Ok(_) | Err(_) => None,
    }
}

/// A command as rights name it.
fn name(command: &str) -> String {
    let mut words = command.split(' ');
    match (words.next().unwrap_or_default(), words.next()) {
        ("SCRIPT", Some(sub)) => format!("script|{}", sub.to_lowercase()),
        (name, _) => name.to_lowercase(),
    }
}

/// The fault and its fix, in one line. Redis does not say whether a command or its key is the trouble: where every
/// command with a key is refused it is the key; else the fix allows both, which does no harm.
pub(super) fn fault(missing: &[String], key: &str, prefix: &str, user: Option<&str>) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let user = user.unwrap_or("default");
    let with_key: Vec<String> = NEEDED
        .iter()
        .filter(|command| command.split(' ').any(|word| word == "k"))
        .map(|command| name(command))
        .collect();
    let is_key = with_key.iter().all(|name| missing.contains(name));
    let commands: Vec<&str> =
        missing.iter().filter(|name| !is_key || !with_key.contains(name)).map(String::as_str).collect();
    let mut what = Vec::new();
    if is_key {
        what.push(format!("touch keys such as {key:?}"));
    }
    if !commands.is_empty() {
        what.push(format!("run {} on keys such as {key:?}", commands.join(", ")));
    }
    let allowed: String = commands.iter().map(|name| format!(" +{name}")).collect();
    Some(format!(
        "the user {user:?} may not {}; ACL SETUSER {user}{allowed} ~{prefix}:*, and the same in \
         the ACL file or redis.conf",
        what.join(", nor ")
    ))
}

#[cfg(test)]
mod tests {
    use jobcell_tests::Value;

    use super::{NEEDED, fault, name, script};

    /// Words in the scripts that are told to commands.
    const TOLD: [&str; 6] = ["COUNT", "KEEPTTL", "LIMIT", "MAXLEN", "RANK", "WITHSCORES"];

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        let asked: Vec<&str> = NEEDED.iter().map(|command| command.split(' ').next().unwrap()).collect();
        assert!(asked.is_sorted(), "{asked:?}");
        for word in script::words() {
            assert!(
                asked.contains(&word) || TOLD.contains(&word),
                "the scripts say {word:?}: a command goes into NEEDED with all its arguments, another word into TOLD"
            );
        }
    }

    #[test]
    fn every_command_is_asked_for_with_all_its_arguments() {
        let server = jobcell_tests::fleet::RedisNode::start(&[]);
        for command in NEEDED {
            if !command.contains(' ') {
                // One word is whole when the server takes no less, and looks for no key behind it.
                let about = server.run(&["COMMAND", "INFO", command]);
                let Value::List(about) = about else { panic!("{command}: {about:?}") };
                let Value::List(parts) = &about[0] else { panic!("{command} is not known: {about:?}") };
                assert!([1, -1].contains(&parts[1].int()) && parts[3].int() == 0, "{command}: {parts:?}");
                continue;
            }
            let words: Vec<&str> = ["COMMAND", "GETKEYS"].into_iter().chain(command.split(' ')).collect();
            let keys = command.split(' ').filter(|word| *word == "k").count();
            // The server counts the arguments before it looks for keys among them.
            match server.client().try_run(&words) {
                Ok(found) => assert_eq!(found.texts(), vec!["k"; keys], "{command}"),
                Err(e) => assert!(keys == 0 && e.to_string().contains("no key arguments"), "{command}: {e}"),
            }
        }
    }

    #[test]
    fn a_fault_names_what_is_missing_and_what_to_type() {
        let missing = ["xadd".to_owned(), "script|load".to_owned()];
        let text = fault(&missing, "bull:k", "bull", Some("ops")).unwrap();
        assert!(text.contains("may not run xadd, script|load on keys such as \"bull:k\""), "{text}");
        assert!(text.contains("ACL SETUSER ops +xadd +script|load ~bull:*,"), "{text}");
        let keys: Vec<String> =
            NEEDED.iter().filter(|command| command.contains(" k")).map(|command| name(command)).collect();
        let text = fault(&keys, "bull:k", "bull", None).unwrap();
        assert!(
            text.contains("may not touch keys such as \"bull:k\"; ACL SETUSER default ~bull:*,"),
            "{text}"
        );
        assert_eq!(fault(&[], "bull:k", "bull", None), None);
    }
}
