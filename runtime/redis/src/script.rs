//! The scripts: what each is made of, and calling one by its hash.
//!
//! A script's text is `frame.lua`, the modules it names and its own file. Modules stand behind the names of the table
//! `lib` and are made when first used, so that the common way through a script does not pay for making functions it
//! never calls. The header of each file says what it does, what it is given and what it returns.

#[cfg(test)]
use std::collections::BTreeSet;
use std::sync::LazyLock;

use redis::{Arg, Cmd, ErrorKind, RedisError, Script as Source, ServerErrorKind, ToRedisArgs, Value};

use crate::error;
use crate::link::{Redis, slots};

/// A script that Redis runs as one step.
pub(crate) struct Script {
    text: String,
    hash: String,
}

/// A call being put together.
pub(crate) struct Call<'a> {
    script: &'a Script,
    keys: Vec<String>,
    /// It touches no key but those, so that a cluster sees by itself when one of them is elsewhere.
    alone: bool,
    cmd: Cmd,
}

/// Not of a queue: it runs on every node, and so has no key.
pub(crate) static PERMISSIONS: LazyLock<Script> =
    LazyLock::new(|| Script::of(&[include_str!("lua/permissions.lua")]));

/// How often a script is loaded for one call: again when another server has taken over in between.
const LOADS_MAX: usize = 2;

/// A part that scripts share: its name in them and its text.
struct Module(&'static str, &'static str);

const FRAME: &str = include_str!("lua/frame.lua");
const QUEUES: Module = Module("queues", include_str!("lua/queues.lua"));
const FAMILY: Module = Module("family", include_str!("lua/family.lua"));
const TREES: Module = Module("trees", include_str!("lua/trees.lua"));
const GIVEN: Module = Module("given", include_str!("lua/given.lua"));
const JOBS: Module = Module("jobs", include_str!("lua/jobs.lua"));
const DEDUP: Module = Module("dedup", include_str!("lua/dedup.lua"));
const RETENTION: Module = Module("retention", include_str!("lua/retention.lua"));
const RECORDED: Module = Module("recorded", include_str!("lua/recorded.lua"));
const OUTCOME: Module = Module("outcome", include_str!("lua/outcome.lua"));
const MISFITS: Module = Module("misfits", include_str!("lua/misfits.lua"));
const METRICS: Module = Module("metrics", include_str!("lua/metrics.lua"));
const SLOTS: Module = Module("slots", include_str!("lua/slots.lua"));
const CANCELS: Module = Module("cancels", include_str!("lua/cancels.lua"));
const LISTS: Module = Module("lists", include_str!("lua/lists.lua"));
const FLEET: Module = Module("fleet", include_str!("lua/fleet.lua"));
const BUCKET: Module = Module("bucket", include_str!("lua/bucket.lua"));
const RANGE: Module = Module("range", include_str!("lua/range.lua"));

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($module:ident),*] $file:literal;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::compose(&[$($module),*], include_str!(concat!("lua/", $file))));)*

        #[cfg(test)]
        static ALL: &[(&str, &LazyLock<Script>)] = &[$(($file, &$name)),*];
    };
}

scripts! {
    FINISH = [QUEUES, FAMILY, JOBS, DEDUP, RETENTION, RECORDED, OUTCOME, MISFITS, METRICS, CANCELS] "finish.lua";
    CANCEL = [QUEUES, FAMILY, JOBS, DEDUP, RETENTION, OUTCOME, SLOTS, CANCELS] "cancel.lua";
    RECEIPTS = [] "receipts.lua";
    ADD = [QUEUES, FAMILY, GIVEN, JOBS, DEDUP] "add.lua";
    FLOW = [QUEUES, FAMILY, GIVEN, JOBS, DEDUP] "flow.lua";
    UNCLAIM = [QUEUES] "unclaim.lua";
    SCHEDULE = [QUEUES, FAMILY, JOBS, SLOTS] "schedule.lua";
    UNSCHEDULE = [QUEUES, FAMILY, JOBS, SLOTS] "unschedule.lua";
    ITERATE = [QUEUES, JOBS, SLOTS] "iterate.lua";
    RENEW = [] "renew.lua";
    STALLED = [QUEUES, CANCELS] "stalled.lua";
    PROGRESS = [QUEUES] "progress.lua";
    LOGS = [] "logs.lua";
    DATA = [] "data.lua";
    PAUSE = [QUEUES, LISTS] "pause.lua";
    RESUME = [QUEUES, LISTS] "resume.lua";
    PROMOTE = [QUEUES] "promote.lua";
    RETRY = [QUEUES, FAMILY] "retry.lua";
    REMOVE = [QUEUES, FAMILY, TREES] "remove.lua";
    PRUNE = [QUEUES, FAMILY, TREES] "prune.lua";
    LEAVE = [QUEUES, FAMILY] "leave.lua";
    CHILDREN = [] "children.lua";
    DRAIN = [QUEUES, FAMILY] "drain.lua";
    DELAY = [QUEUES] "delay.lua";
    PRIORITY = [QUEUES] "priority.lua";
    LIMITS = [] "limits.lua";
    LIMIT = [QUEUES] "limit.lua";
    BULK = [QUEUES, FAMILY] "bulk.lua";
    CLEAN = [QUEUES, FAMILY] "clean.lua";
    OBLITERATE = [QUEUES, FAMILY] "obliterate.lua";
    PRIORITIES = [] "priorities.lua";
    SERIES = [] "series.lua";
    STATE = [] "state.lua";
    INCREMENT = [] "increment.lua";
    KV_SET = [BUCKET] "kv_set.lua";
    KV_DELETE = [] "kv_delete.lua";
    KV_INCREMENT = [BUCKET] "kv_increment.lua";
    KV_SWAP = [BUCKET] "kv_swap.lua";
    RANGE_SET = [RANGE] "range_set.lua";
    RANGE_DELETE = [RANGE] "range_delete.lua";
    RANGE_SWAP = [RANGE] "range_swap.lua";
    FLEET_GET = [FLEET] "fleet_get.lua";
    FLEET_LIST = [FLEET] "fleet_list.lua";
    FLEET_PUT = [FLEET] "fleet_put.lua";
    FLEET_REMOVE = [FLEET] "fleet_remove.lua";
    FLEET_APPEND = [FLEET] "fleet_append.lua";
}

// === impl Script ===

impl Script {
    fn compose(modules: &[Module], body: &str) -> Self {
        let mut text = String::from(FRAME);
        if !modules.is_empty() {
            text += "local lib = setmetatable({}, { __index = function(lib, name)\nlocal made\n";
            for Module(name, part) in modules {
                text += &format!("if name == '{name}' then made = (function()\n{part}end)() end\n");
            }
            text += "rawset(lib, name, made)\nreturn made\nend })\n";
        }
        text += body;
        Self::of(&[&text])
    }

    /// A script of these parts.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let text = parts.concat();
        let hash = Source::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    /// The call of a script without keys.
    pub(crate) fn bare(&self, args: impl IntoIterator<Item = impl ToRedisArgs>) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(0);
        for arg in args {
            cmd.arg(arg);
        }
        cmd
    }

    /// The call that makes a server know it.
    pub(crate) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.text);
        cmd
    }

    /// Starts a call; `key` becomes `KEYS[1]`.
    pub(crate) fn call(&self, key: &str) -> Call<'_> {
        self.call_on(&[key])
    }

    /// Starts a call that touches several queues. A cluster refuses it, before it runs, when they are not in one slot.
    pub(crate) fn call_on(&self, keys: &[impl AsRef<str>]) -> Call<'_> {
        let mut cmd = Cmd::with_capacity(24, 512);
        cmd.arg("EVALSHA").arg(&self.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key.as_ref());
        }
        let keys = keys.iter().map(|key| key.as_ref().to_owned()).collect();
        Call { script: self, keys, alone: false, cmd }
    }

    /// Starts a call that touches these keys and no other.
    pub(crate) fn call_alone(&self, keys: &[impl AsRef<str>]) -> Call<'_> {
        Call { alone: true, ..self.call_on(keys) }
    }
}

// === impl Call ===

impl Call<'_> {
    /// Adds to `ARGV`.
    pub(crate) fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.cmd.arg(value);
        self
    }

    /// Runs the script, after loading it where the server does not know it (any more).
    pub(crate) async fn send(&self, redis: &Redis) -> Result<Value, RedisError> {
        let guarded = if redis.options().is_cluster() && !self.alone { Some(self.guarded()?) } else { None };
        let cmd = guarded.as_ref().unwrap_or(&self.cmd);
        let mut loads = 0;
        loop {
            match redis.call(cmd).await {
                Err(e) if is_unknown(&e) && loads < LOADS_MAX => {
                    let key = self.keys.first().map_or("", String::as_str);
                    redis.call_near(key, &self.script.load()).await?;
                    loads += 1;
                }
                result => return result,
            }
        }
    }

    /// The same for a cluster. Scripts make most of the keys they touch, so that Redis cannot see beforehand that some
    /// are on their way to another node, and a script would break off in the middle. A key that never exists, named
    /// beside the others, makes it refuse the call while their slot moves.
    fn guarded(&self) -> Result<Cmd, RedisError> {
        if let Some(key) = self.keys.iter().find(|key| slots::tag_of(key.as_bytes()).is_none()) {
            return Err(error::refused(format!(
                "the keys beside {key:?} would lie on several nodes of the redis cluster; put the key prefix in braces \
                 ([redis] prefix = \"{{bull}}\") here and in every BullMQ client, or the queue's name"
            )));
        }
        let mut cmd = Cmd::with_capacity(24, 512);
        cmd.arg("EVALSHA").arg(&self.script.hash).arg(self.keys.len() + 1);
        for key in &self.keys {
            cmd.arg(key);
        }
        // It begins as the keys beside the first one do, so that it is among those that the user may touch.
        let first = self.keys.first().map_or("", String::as_str);
        cmd.arg(format!("{first}:~~~~"));
        for arg in self.cmd.args_iter().skip(3 + self.keys.len()) {
            if let Arg::Simple(arg) = arg {
                cmd.arg(arg);
            }
        }
        Ok(cmd)
    }
}

/// The words in capitals that the scripts hold: every command they call, and what commands are told. For tests alone:
/// what is found this way must never reach a server.
#[cfg(test)]
pub(crate) fn words() -> BTreeSet<&'static str> {
    words_of(ALL.iter().map(|(_, script)| script.text.as_str()))
}

/// The same of these texts.
#[cfg(test)]
pub(crate) fn words_of<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let quoted = texts.flat_map(|text| text.lines()).flat_map(|line| line.split('\'').skip(1).step_by(2));
    quoted.filter(|word| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())).collect()
}

/// Whether the server does not have the script.
pub(crate) fn is_unknown(e: &RedisError) -> bool {
    e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_is_given_and_every_module_it_uses_is_there() {
        for (file, script) in ALL {
            assert!(script.text.contains("-- KEYS[1]"), "{file} has no header");
            let last = script.text.trim_end().lines().last().unwrap();
            // What is returned may take several lines.
            let in_lines = script.text.contains("\nreturn {\n") && last == "}";
            assert!(last.contains("return") || in_lines || last == "end", "{file} returns nothing: {last:?}");
            for Module(name, _) in [
                QUEUES, FAMILY, TREES, GIVEN, JOBS, DEDUP, RETENTION, RECORDED, OUTCOME, MISFITS, METRICS,
                SLOTS, LISTS, BUCKET, RANGE, CANCELS, FLEET,
            ] {
                let used = script.text.contains(&format!("lib.{name}."));
                let made = script.text.contains(&format!("name == '{name}'"));
                assert_eq!(used, made, "{file} uses {name} without naming it, or the other way round");
            }
        }
    }
}
