//! The scripts: what each is made of, and calling one by its hash.
//!
//! A script's text is `frame.lua`, the modules it names and its own file. Modules stand behind the names of the table
//! `lib` and are made when first used, so that the common way through a script does not pay for making functions it
//! never calls. The header of each file says what it does, what it is given and what it returns.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, Script as Source, ServerErrorKind, ToRedisArgs, Value};

use crate::link::Redis;

/// A script that Redis runs as one step.
pub(crate) struct Script {
    text: String,
    hash: String,
}

/// A call being put together.
pub(crate) struct Call<'a> {
    script: &'a Script,
    cmd: Cmd,
}

/// A part that scripts share: its name in them and its text.
struct Module(&'static str, &'static str);

const FRAME: &str = include_str!("lua/frame.lua");
const QUEUES: Module = Module("queues", include_str!("lua/queues.lua"));
const FAMILY: Module = Module("family", include_str!("lua/family.lua"));
const JOBS: Module = Module("jobs", include_str!("lua/jobs.lua"));
const DEDUP: Module = Module("dedup", include_str!("lua/dedup.lua"));
const RETENTION: Module = Module("retention", include_str!("lua/retention.lua"));
const RECORDED: Module = Module("recorded", include_str!("lua/recorded.lua"));
const OUTCOME: Module = Module("outcome", include_str!("lua/outcome.lua"));
const METRICS: Module = Module("metrics", include_str!("lua/metrics.lua"));
const LISTS: Module = Module("lists", include_str!("lua/lists.lua"));

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($module:ident),*] $file:literal;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::compose(&[$($module),*], include_str!(concat!("lua/", $file))));)*

        #[cfg(test)]
        static ALL: &[(&str, &LazyLock<Script>)] = &[$(($file, &$name)),*];
    };
}

scripts! {
    FINISH = [QUEUES, FAMILY, JOBS, DEDUP, RETENTION, RECORDED, OUTCOME, METRICS] "finish.lua";
    ADD = [QUEUES, FAMILY, JOBS, DEDUP] "add.lua";
    UNCLAIM = [QUEUES] "unclaim.lua";
    RENEW = [] "renew.lua";
    STALLED = [QUEUES] "stalled.lua";
    PROGRESS = [QUEUES] "progress.lua";
    LOGS = [] "logs.lua";
    DATA = [] "data.lua";
    PAUSE = [QUEUES, LISTS] "pause.lua";
    RESUME = [QUEUES, LISTS] "resume.lua";
    PROMOTE = [QUEUES] "promote.lua";
    RETRY = [QUEUES] "retry.lua";
    REMOVE = [QUEUES, FAMILY] "remove.lua";
    DRAIN = [QUEUES, FAMILY] "drain.lua";
    STATE = [] "state.lua";
    INCREMENT = [] "increment.lua";
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
        let hash = Source::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    /// Starts a call; `key` becomes `KEYS[1]`.
    pub(crate) fn call(&self, key: &str) -> Call<'_> {
        let mut cmd = Cmd::with_capacity(24, 512);
        cmd.arg("EVALSHA").arg(&self.hash).arg(1).arg(key);
        Call { script: self, cmd }
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
        match redis.call(&self.cmd).await {
            Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                redis.call(redis::cmd("SCRIPT").arg("LOAD").arg(&self.script.text)).await?;
                redis.call(&self.cmd).await
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_is_given_and_every_module_it_uses_is_there() {
        for (file, script) in ALL {
            assert!(script.text.contains("-- KEYS[1]"), "{file} has no header");
            assert!(
                script.text.trim_end().lines().last().unwrap().contains("return")
                    || script.text.ends_with("end\n")
            );
            for Module(name, _) in [QUEUES, FAMILY, JOBS, DEDUP, RETENTION, RECORDED, OUTCOME, METRICS, LISTS]
            {
                let used = script.text.contains(&format!("lib.{name}."));
                let made = script.text.contains(&format!("name == '{name}'"));
                assert_eq!(used, made, "{file} uses {name} without naming it, or the other way round");
            }
        }
    }
}
