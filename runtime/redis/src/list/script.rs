//! The scripts of list queues: each is `lua/frame.lua` and its own file, whose header says what it does.

use std::sync::LazyLock;

use crate::script::Script;

const FRAME: &str = include_str!("lua/frame.lua");

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::of(&[FRAME, include_str!(concat!("lua/", $file))]));)*

        #[cfg(test)]
        static ALL: &[(&str, &str)] = &[$(($file, include_str!(concat!("lua/", $file)))),*];
    };
}

scripts! {
    FINISH = "finish.lua";
    START = "start.lua";
    RECOVER = "recover.lua";
    RENEW = "renew.lua";
    UNCLAIM = "unclaim.lua";
    ADD = "add.lua";
    SAID = "said.lua";
    CHANGE = "change.lua";
    DRAIN = "drain.lua";
    COUNTS = "counts.lua";
    PAUSE = "pause.lua";
    RUNNING = "running.lua";
    CANCEL = "cancel.lua";
}

/// As [`crate::script::words`], of these scripts.
#[cfg(test)]
pub(super) fn words() -> std::collections::BTreeSet<&'static str> {
    crate::script::words_of(ALL.iter().map(|(_, text)| *text).chain([FRAME]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_is_given_and_what_it_returns() {
        for (file, text) in ALL {
            for part in ["-- KEYS[1]", "-- ARGV[1]", "-- Returns", "return"] {
                assert!(text.contains(part), "{file} has no {part:?}");
            }
        }
    }
}
