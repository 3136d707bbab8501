//! What the user must be allowed to do, and finding out whether it is.
//!
//! Who needs rights names the keys and channels that it touches, each by an example, and the commands that it runs on
//! them: one [`Needs`] for BullMQ's queues, one for each list queue, one for what handlers are granted.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::Value;

use crate::error;
use crate::link::{Node, Redis};
use crate::reply;
use crate::script;

/// How long a finding holds: rights change rarely, and health is asked for every few seconds.
const HOLDS: Duration = Duration::from_secs(60);

/// What somebody must be allowed to do.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// Whose they are, for messages; empty for the queues in BullMQ's layout, of which there is always some talk.
    whose: String,
    /// Commands, each with all its arguments; a word that a [`Thing`] goes by stands for its example. See
    /// `lua/permissions.lua` for why no argument may be missing. Tests hold each table against the scripts and against
    /// a server.
    commands: &'static [&'static str],
    things: Vec<Thing>,
}

/// What commands are run on.
#[derive(Debug, Clone)]
struct Thing {
    /// What it goes by in the commands.
    word: &'static str,
    example: String,
    /// The rule that allows all of its like: `~pattern`, or `&pattern` for a channel.
    rule: String,
}

/// What was found lately, by node and whose needs they were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Permissions(Arc<Mutex<HashMap<(String, String), Finding>>>);

/// When it was found, and what: the commands that are not allowed.
type Finding = (Instant, Vec<&'static str>);

// === impl Needs ===

impl Needs {
    pub(crate) fn new(whose: impl Into<String>, commands: &'static [&'static str]) -> Self {
        Self { whose: whose.into(), commands, things: Vec::new() }
    }

    /// Commands are run on keys like this one, all of which match the pattern.
    pub(crate) fn key(mut self, word: &'static str, example: String, pattern: &str) -> Self {
        self.things.push(Thing { word, example, rule: format!("~{pattern}") });
        self
    }

    /// Something is published to channels like this one.
    pub(crate) fn channel(mut self, word: &'static str, example: String, pattern: &str) -> Self {
        self.things.push(Thing { word, example, rule: format!("&{pattern}") });
        self
    }

    /// The commands of this name.
    fn named(&self, name: &str) -> Vec<&'static str> {
        self.commands.iter().copied().filter(|command| self::name(command) == name).collect()
    }

    fn thing(&self, word: &str) -> Option<&Thing> {
        self.things.iter().find(|thing| thing.word == word)
    }

    fn things_of(&self, command: &str) -> impl Iterator<Item = &Thing> {
        command.split(' ').skip(1).filter_map(|word| self.thing(word))
    }

    /// The fault and its fix in one line; none when nothing is missing. Redis does not say whether a command or its key
    /// is the trouble: where every command on a key is refused it is the key, where the same command is allowed on
    /// another key too; else the fix allows both, which does no harm.
    fn fault(&self, missing: &[&'static str], user: Option<&str>) -> Option<String> {
        if missing.is_empty() {
            return None;
        }
        let user = user.unwrap_or("default");
        let is_missing = |command: &str| missing.contains(&command);
        let touches = |thing: &Thing, command: &str| self.things_of(command).any(|t| t.word == thing.word);
        let out_of_reach = |thing: &Thing| {
            self.commands.iter().filter(|command| touches(thing, command)).all(|command| is_missing(command))
        };
        let allowed_elsewhere = |name: &str| self.named(name).iter().any(|command| !is_missing(command));
        let (mut keys, mut channels) = (BTreeSet::new(), BTreeSet::new());
        let (mut commands, mut on, mut rules) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for command in missing {
            rules.extend(self.things_of(command).map(|thing| thing.rule.as_str()));
            let lost: Vec<&Thing> = self.things_of(command).filter(|thing| out_of_reach(thing)).collect();
            for thing in &lost {
                let place = if thing.rule.starts_with('&') { &mut channels } else { &mut keys };
                place.insert(format!("{:?}", thing.example));
            }
            // With a channel there is one command only, which may well be what is missing.
            let is_key = !lost.is_empty() && lost.iter().all(|thing| thing.rule.starts_with('~'));
            let name = name(command);
            if is_key {
                continue;
            }
            if allowed_elsewhere(&name) {
                keys.extend(self.things_of(command).map(|thing| format!("{:?}", thing.example)));
            } else {
                if lost.is_empty() {
                    on.extend(self.things_of(command).map(|thing| format!("{:?}", thing.example)));
                }
                commands.insert(name);
            }
        }
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut what = Vec::new();
        if !keys.is_empty() {
            what.push(format!("touch keys such as {}", list(&keys)));
        }
        let told: BTreeSet<String> =
            commands.iter().filter(|name| channels.is_empty() || *name != "publish").cloned().collect();
        if !told.is_empty() {
            let on = if on.is_empty() { String::new() } else { format!(" on keys such as {}", list(&on)) };
            what.push(format!("run {}{on}", list(&told)));
        }
        if !channels.is_empty() {
            what.push(format!("publish to channels such as {}", list(&channels)));
        }
        let commands: String = commands.iter().map(|name| format!(" +{name}")).collect();
        let rules: String = rules.iter().map(|rule| format!(" {}", quoted(rule))).collect();
        let whose = if self.whose.is_empty() { String::new() } else { format!("{}: ", self.whose) };
        Some(format!(
            "{whose}the user {user:?} may not {}; ACL SETUSER {user}{commands}{rules}, and the same in the ACL file or \
             redis.conf",
            what.join(", nor ")
        ))
    }

    /// What the script is given.
    fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        for command in self.commands {
            let words = command.split(' ').enumerate().map(|(place, word)| match self.thing(word) {
                Some(thing) if place > 0 => thing.example.clone(),
                _ => word.to_owned(),
            });
            let words: Vec<String> = words.collect();
            args.push(words.len().to_string());
            args.extend(words);
        }
        args
    }
}

/// A rule as it is typed.
fn quoted(rule: &str) -> String {
    if rule.contains([' ', '"', '\'', '\\']) { format!("{rule:?}") } else { rule.to_owned() }
}

// === impl Permissions ===

impl Permissions {
    /// What the user may not do on this node, with the fix; none where all is well, or the server cannot tell: that
    /// shows when it is used, with the same advice.
    pub(crate) async fn fault(&self, node: &Node, needs: &Needs, user: Option<&str>) -> Option<String> {
        let place = (node.name.clone(), needs.whose.clone());
        let known = self.known().get(&place).filter(|(found, _)| found.elapsed() < HOLDS).cloned();
        let missing = match known {
            Some((_, missing)) => missing,
            None => {
                let missing = ask(node, needs).await?;
                self.known().insert(place, (Instant::now(), missing.clone()));
                missing
            }
        };
        needs.fault(&missing, user)
    }

    /// The first fault of all servers, for what is spread over them.
    pub(crate) async fn fault_anywhere(&self, redis: &Redis, needs: &Needs) -> Option<String> {
        for node in redis.nodes() {
            if let Some(fault) = self.fault(&node, needs, redis.options().user()).await {
                return Some(fault);
            }
        }
        None
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Finding>> {
        // Every change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(node: &Node, needs: &Needs) -> Option<Vec<&'static str>> {
    let script = &script::PERMISSIONS;
    let asked = script.bare(needs.args());
    let mut answer = node.call(&asked).await;
    if matches!(&answer, Err(e) if script::is_unknown(e)) {
        if let Err(e) = node.call(&script.load()).await {
            return error::keeps_out(&e).then(|| needs.named("script|load"));
        }
        answer = node.call(&asked).await;
    }
    match answer {
        Ok(Value::Array(places)) => {
            let places = places.iter().map(reply::int).collect::<Result<Vec<_>, _>>().ok()?;
            let named = |place: &i64| needs.commands.get(usize::try_from(place - 1).ok()?).copied();
            Some(places.iter().filter_map(named).collect())
        }
        Err(e) if error::keeps_out(&e) => Some(needs.named("evalsha")),
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

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use jobcell_core::keyvalue::KeyRange;
    use jobcell_tests::Value;

    use super::*;
    use crate::{bullmq, list};

    /// Words in the scripts that are told to commands.
    const TOLD: [&str; 9] =
        ["COUNT", "KEEPTTL", "LEFT", "LIMIT", "MAXLEN", "PXAT", "RANK", "RIGHT", "WITHSCORES"];
    /// Commands that this crate sends and can do without, or that only some ways of running Redis need: those tell of
    /// their absence by themselves.
    const BESIDES: [&str; 10] =
        ["ASKING", "AUTH", "CLIENT", "CLUSTER", "CONFIG", "HELLO", "INFO", "ROLE", "SELECT", "SENTINEL"];

    fn first_words(needs: &Needs) -> Vec<&'static str> {
        needs.commands.iter().map(|command| command.split(' ').next().unwrap()).collect()
    }

    /// Every command that these scripts call is among those that are asked for.
    pub(crate) fn assert_covers(needs: &Needs, words: &BTreeSet<&'static str>) {
        let asked = first_words(needs);
        assert!(asked.is_sorted(), "{asked:?}");
        for word in words {
            assert!(
                asked.contains(word) || TOLD.contains(word),
                "the scripts say {word:?}: a command goes into the table of needs with all its arguments, another \
                 word into TOLD"
            );
        }
    }

    fn shared(prefix: &str) -> KeyRange {
        KeyRange { prefix: prefix.to_owned(), ttl: None }
    }

    fn all() -> Vec<Needs> {
        vec![
            bullmq::needs::needs("bull"),
            list::needs::tests::needs(),
            crate::cache::needs("bull"),
            crate::keyvalue::needs("bull"),
            crate::keyvalue::range_needs(&shared("feed:"), false),
            crate::keyvalue::range_needs(&shared("cms:{tenant}:"), true),
            crate::documents::needs("bull"),
            crate::publish::needs("c"),
        ]
    }

    #[test]
    fn every_command_that_this_crate_sends_by_itself_is_asked_for() {
        let needs = all();
        let asked: BTreeSet<&str> = needs.iter().flat_map(first_words).chain(BESIDES).collect();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut sent = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // What tests send concerns nobody.
                let text = text.split("#[cfg(test)]").next().unwrap();
                for (_, rest) in
                    text.match_indices("cmd(\"").map(|(at, found)| text.split_at(at + found.len()))
                {
                    let word = rest.split('"').next().unwrap();
                    assert!(asked.contains(word), "{}: {word} is not in any table of needs", path.display());
                    sent += 1;
                }
            }
        }
        assert!(sent > 40, "only {sent} commands were found in the sources");
    }

    #[test]
    fn every_command_is_asked_for_with_all_its_arguments() {
        let server = jobcell_tests::fleet::RedisNode::start(&[]);
        for needs in all() {
            for command in needs.commands {
                assert_whole(&server, &needs, command);
            }
        }
    }

    /// A command that lacks arguments can kill the server that is asked about it.
    fn assert_whole(server: &jobcell_tests::fleet::RedisNode, needs: &Needs, command: &str) {
        if !command.contains(' ') {
            // One word is whole when the server takes no less, and looks for no key behind it.
            let about = server.run(&["COMMAND", "INFO", command]);
            let Value::List(about) = about else { panic!("{command}: {about:?}") };
            let Value::List(parts) = &about[0] else { panic!("{command} is not known: {about:?}") };
            assert!([1, -1].contains(&parts[1].int()) && parts[3].int() == 0, "{command}: {parts:?}");
            return;
        }
        let words: Vec<&str> = ["COMMAND", "GETKEYS"].into_iter().chain(command.split(' ')).collect();
        let keys: Vec<&str> = needs
            .things_of(command)
            .filter(|thing| thing.rule.starts_with('~'))
            .map(|thing| thing.word)
            .collect();
        // The server counts the arguments before it looks for keys among them.
        match server.client().try_run(&words) {
            Ok(found) => assert_eq!(found.texts(), keys, "{command}"),
            Err(e) => {
                assert!(keys.is_empty() && e.to_string().contains("no key arguments"), "{command}: {e}");
            }
        }
    }

    const SOME: &[&str] =
        &["GET a", "GET b", "LMOVE a b LEFT LEFT", "PUBLISH c m", "SCRIPT LOAD x", "SET b v", "XADD a * f v"];

    fn some(whose: &str) -> Needs {
        Needs::new(whose, SOME)
            .key("a", "jobs".to_owned(), "jobs")
            .key("b", "jobs:dead".to_owned(), "jobs:*")
            .channel("c", "updates".to_owned(), "updates")
    }

    #[test]
    fn a_fault_names_what_is_missing_and_what_to_type() {
        let told = |missing: &[&'static str]| some("").fault(missing, Some("ops")).unwrap();
        assert_eq!(some("").fault(&[], None), None);
        assert_eq!(
            told(&["XADD a * f v", "SCRIPT LOAD x"]),
            "the user \"ops\" may not run script|load, xadd on keys such as \"jobs\"; ACL SETUSER ops +script|load +xadd \
             ~jobs, and the same in the ACL file or redis.conf"
        );
        // Every command on the key.
        let text = told(&["GET a", "LMOVE a b LEFT LEFT", "XADD a * f v"]);
        assert!(
            text.contains("may not touch keys such as \"jobs\"; ACL SETUSER ops ~jobs ~jobs:*,"),
            "{text}"
        );
        // The command is allowed on another key.
        let text = told(&["GET b"]);
        assert!(
            text.contains("may not touch keys such as \"jobs:dead\"; ACL SETUSER ops ~jobs:*,"),
            "{text}"
        );
        // The channel or the command: nobody can tell.
        let text = told(&["PUBLISH c m"]);
        assert!(
            text.contains(
                "may not publish to channels such as \"updates\"; ACL SETUSER ops +publish &updates,"
            ),
            "{text}"
        );
        let text = some("list queue \"q\"").fault(&["SET b v", "PUBLISH c m"], None).unwrap();
        assert!(text.starts_with("list queue \"q\": the user \"default\" may not run set on keys"), "{text}");
        assert!(
            text.contains(", nor publish to") && text.contains(" +publish +set &updates ~jobs:*,"),
            "{text}"
        );
    }
}
