//! `[handlers.NAME] result-cache`: which results are kept by content. A duration says all that most need.

use std::time::Duration;

use jobcell_core::results::KeepResults;

use super::forms::{DURATION, Form, SWITCH, TEXTS};
use super::handler::HandlerConfig;
use super::node::{Node, Value};
use super::reader::Reader;
use super::table::{Absent, Entry, Inner, Key, Section};

const TTL: Key<Duration> = Key::new(
    "ttl",
    DURATION,
    Absent::Required,
    "How long a result lasts from when it was computed. It lives in the store's memory, or on its disk, that long.",
);
const KEY: Key<Vec<String>> = Key::new(
    "key",
    Form {
        name: "list of JSON pointers",
        expects: "a list of JSON pointers into the payload, such as [\"/content/sha256\"]",
        read: pointers,
    },
    Absent::Means("all of the payload"),
    "The parts of the payload that make jobs equal, as JSON pointers: `[\"/content/sha256\"]`. Where a payload lacks one, \
     nothing is looked up and its job runs.",
);
const ACROSS_VERSIONS: Key<bool> = Key::value(
    "across-versions",
    SWITCH,
    "false",
    "A version answers with what another version of the handler came to. Without it each version begins with none, so that \
     a corrected handler never answers with what the faulty one said.",
);

static SECTION: Section = Section {
    about: "Keeps what attempts come to, by the content of their jobs: the same content of the same tenant is not run again \
            while its result lasts. `result-cache = \"24h\"` is short for `result-cache = { ttl = \"24h\" }`. For handlers \
            that do nothing but answer: a hit repeats no effect. [Kept results](result-cache.md) has the rules.",
    keys: &[TTL.entry(), KEY.entry(), ACROSS_VERSIONS.entry()],
};

/// The key in a handler's table.
pub(super) const RESULT_CACHE: Entry = Entry {
    name: "result-cache",
    form: "duration or table",
    default: Absent::Means("no result is kept"),
    about: "How long what an attempt came to is the answer to jobs with the same content: `\"24h\"`, or a table that also says \
            what of the payload counts. Off by default, because a job that is answered so has none of its effects.",
    inner: Inner::Section(&SECTION),
};

/// Reads it from the handler's table. None where it is not written, or wrong.
pub(super) fn read(handler: &Reader<'_>) -> Option<KeepResults> {
    let node = handler.node(RESULT_CACHE.name)?;
    if !matches!(node.value, Value::Table(_)) {
        const SHORT: Key<Duration> =
            Key::new(RESULT_CACHE.name, DURATION, RESULT_CACHE.default, RESULT_CACHE.about);
        return handler.get(&SHORT).map(KeepResults::new);
    }
    let reader = handler.section(RESULT_CACHE.name, &SECTION);
    let (key, across_versions) = (reader.get(&KEY).unwrap_or_default(), reader.value(&ACROSS_VERSIONS));
    Some(KeepResults { ttl: reader.get(&TTL)?, key, across_versions })
}

/// What a handler's grants say against keeping its results: a hit repeats nothing of what it does.
pub(super) fn warning(handler: &HandlerConfig) -> Option<String> {
    let HandlerConfig { name, grants, result_cache, .. } = handler;
    let granted = [("publish", !grants.publish.is_empty()), ("enqueue", !grants.enqueue.is_empty())];
    let effects: Vec<&str> =
        granted.iter().filter(|(_, is_granted)| *is_granted).map(|(name, _)| *name).collect();
    (result_cache.is_some() && !effects.is_empty()).then(|| {
        format!(
            "handlers.{name}.result-cache: a job that is answered with a kept result does nothing else, and this handler is \
             granted to {}; keep results of handlers that only answer, or take the grant away",
            effects.join(" and to ")
        )
    })
}

/// Pointers that lead somewhere: `""` would be the whole payload, which needs none.
fn pointers(node: &Node) -> Result<Vec<String>, String> {
    let pointers = (TEXTS.read)(node)?;
    if pointers.is_empty() {
        return Err("is empty; leave it out where all of the payload counts".to_owned());
    }
    let is_pointer = |text: &String| {
        let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        text.starts_with('/') && escapes
    };
    match pointers.iter().find(|text| !is_pointer(text)) {
        Some(text) => Err(format!("has {text:?}, which does not begin with '/' or has a '~' without 0 or 1")),
        None => Ok(pointers),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileChoice, Request, load_all};
    use super::*;

    fn load(line: &str) -> (Option<KeepResults>, Vec<String>) {
        let toml = format!("[handlers.m]\nsource = \"m.wasm\"\n{line}\n");
        let loaded =
            load_all(&Request { file: FileChoice::Text("jobcell.toml".into(), toml), ..Request::default() });
        let faults = loaded.faults.iter().map(ToString::to_string).collect();
        (loaded.config.handlers["m"].result_cache.clone(), faults)
    }

    #[test]
    fn a_duration_or_a_table_says_it() {
        let day = Duration::from_secs(86_400);
        assert_eq!(load(""), (None, Vec::new()));
        assert_eq!(load("result-cache = \"24h\""), (Some(KeepResults::new(day)), Vec::new()));
        let whole =
            "result-cache = { ttl = \"1d\", key = [\"/content/sha256\", \"/a~1b\"], across-versions = true }";
        let key = vec!["/content/sha256".to_owned(), "/a~1b".to_owned()];
        assert_eq!(load(whole), (Some(KeepResults { ttl: day, key, across_versions: true }), Vec::new()));
    }

    #[test]
    fn a_handler_that_does_more_than_answer_is_warned_of() {
        let warnings = |more: &str| {
            let toml = format!(
                "[handlers.m]\nsource = \"m.wasm\"\nresult-cache = \"1h\"\n[handlers.m.grants]\n{more}\n"
            );
            let file = FileChoice::Text("jobcell.toml".into(), toml);
            load_all(&Request { file, ..Request::default() }).config.warnings
        };
        assert_eq!(warnings("cache = true"), Vec::<String>::new());
        let told = warnings("enqueue = [\"mail\"]\npublish = [\"news\"]");
        assert!(told.len() == 1 && told[0].contains("handlers.m.result-cache"), "{told:?}");
        assert!(told[0].contains("to publish and to enqueue"), "{told:?}");
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_key() {
        for (line, key, told) in [
            ("result-cache = 24", "handlers.m.result-cache", "has no unit"),
            ("result-cache = true", "handlers.m.result-cache", "is not text"),
            ("result-cache = {}", "handlers.m.result-cache.ttl", "is missing"),
            ("result-cache = { tll = \"1h\" }", "handlers.m.result-cache.tll", "did you mean \"ttl\""),
            ("result-cache = { ttl = \"1h\", key = [] }", "handlers.m.result-cache.key", "is empty"),
            (
                "result-cache = { ttl = \"1h\", key = [\"a\"] }",
                "handlers.m.result-cache.key",
                "does not begin",
            ),
            ("result-cache = { ttl = \"1h\", key = [\"/a~2\"] }", "handlers.m.result-cache.key", "'~'"),
        ] {
            let (_, faults) = load(line);
            assert!(
                faults.iter().any(|fault| fault.contains(key) && fault.contains(told)),
                "{line}: {faults:?}"
            );
        }
    }
}
