//! Trees of jobs as BullMQ's `FlowProducer` takes them, read from JSON. What is wrong is told with the job it is wrong
//! with, such as `job "resize" (children[1])`, and in our own words: a JSON library speaks of Rust's types.

use std::collections::BTreeMap;

use bytes::Bytes;
use jobcell_core::store::{FLOW_DEPTH_MAX, Flow, NewJob};
use jobcell_core::{JobId, QueueName};
use jobcell_server::OptionsInput;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::nearest;

/// Characters of a wrong value that are shown.
const SHOWN_MAX: usize = 40;

const MEMBERS: [&str; 6] = ["name", "queueName", "prefix", "data", "opts", "children"];

/// The options of a job, with what each must be.
const OPTIONS: &[(&str, &str)] = &[
    ("attempts", "a whole number"),
    ("backoff", "milliseconds, or {\"type\": \"fixed\" or \"exponential\", \"delay\": milliseconds}"),
    ("delay", "a whole number of milliseconds"),
    ("priority", "a whole number"),
    ("lifo", FLAG),
    ("jobId", "text"),
    ("timestamp", "a whole number of milliseconds since 1970"),
    ("removeOnComplete", KEEP),
    ("removeOnFail", KEEP),
    ("stackTraceLimit", "a whole number"),
    ("keepLogs", "a whole number"),
    ("sizeLimit", "a whole number of bytes"),
    ("parent", "{\"id\": ID, \"queue\": \"PREFIX:QUEUE\"}"),
    ("deduplication", "an object with an id"),
    ("telemetry", "an object"),
    ("failParentOnFailure", FLAG),
    ("continueParentOnFailure", FLAG),
    ("ignoreDependencyOnFailure", FLAG),
    ("removeDependencyOnFailure", FLAG),
    ("timeout", "a whole number of milliseconds"),
    ("tenant", "text"),
    ("fresh", FLAG),
];
const DEDUPLICATION: &[(&str, &str)] = &[
    ("id", "text"),
    ("ttl", "a whole number of milliseconds"),
    ("extend", FLAG),
    ("replace", FLAG),
    ("keepLastIfActive", FLAG),
    ("reschedule", FLAG),
];
const TELEMETRY: &[(&str, &str)] = &[("metadata", "text"), ("omitContext", FLAG)];
const FLAG: &str = "true or false";
const KEEP: &str = "true, false, a count, or {\"age\": seconds, \"count\": a count}";

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// One job of the tree while it is read.
struct Place<'a> {
    /// From the top, as in `children[0].children[2]`; empty at the top.
    path: &'a str,
    /// Its name, once that is known.
    name: Option<String>,
}

/// Reads a tree; `prefix` is what the keys of the store begin with.
///
/// # Errors
/// What is wrong, in which job, and how it is written.
pub(crate) fn read(json: &[u8], prefix: &str) -> Result<Flow, String> {
    let tree: &RawValue = serde_json::from_slice(json).map_err(|fault| {
        format!("it is not JSON: {fault}; in a shell put JSON in single quotes, or use @FILE")
    })?;
    job(tree, prefix, "", 1)
}

/// Reads a job with all below it.
fn job(json: &RawValue, prefix: &str, path: &str, depth: usize) -> Result<Flow, String> {
    let mut place = Place { path, name: None };
    // Trees deeper than this are refused whole later; here it bounds how deep reading goes.
    if depth > FLOW_DEPTH_MAX {
        return Err(
            place.fault(&format!("is more than {FLOW_DEPTH_MAX} levels deep; let handlers add children"))
        );
    }
    let Some(members) = object(json) else {
        let form = "{\"name\": NAME, \"queueName\": QUEUE, \"data\": …, \"children\": […]}";
        return Err(place.fault(&format!("is {}, not an object; write {form}", shown(json))));
    };
    let text = |member: &str| members.get(member).filter(|value| value.get() != "null");
    place.name = text("name").and_then(|name| of(name));
    if let Some(unknown) = members.keys().find(|member| !MEMBERS.contains(&member.as_str())) {
        return Err(place.unknown("", unknown, MEMBERS));
    }
    let required = |member: &'static str| match text(member) {
        None => Err(place.fault(&format!("has no {member}; give it one"))),
        Some(value) => of(value).ok_or_else(|| place.wrong(member, value, "text")),
    };
    let name: String = required("name")?;
    if name.is_empty() {
        return Err(place.fault("has an empty name; handlers are chosen by it"));
    }
    let queue: String = required("queueName")?;
    let queue =
        QueueName::new(&queue).map_err(|fault| place.fault(&format!("cannot be on its queue: {fault}")))?;
    if let Some(value) = text("prefix") {
        let named: String = of(value).ok_or_else(|| place.wrong("prefix", value, "text"))?;
        if named != prefix {
            return Err(
                place.fault(&format!("has prefix {named:?}, and this store has {prefix:?}; leave it out"))
            );
        }
    }
    let data = members
        .get("data")
        .map_or(Bytes::from_static(b"{}"), |data| Bytes::copy_from_slice(data.get().as_bytes()));
    let options = match text("opts") {
        None => OptionsInput::default(),
        Some(value) => options(value, &place)?,
    };
    if let Some(limit) = options.size_limit.filter(|limit| data.len() > *limit) {
        let fix = "shorten it, or raise the limit";
        return Err(
            place.fault(&format!("has {} bytes of data, over its sizeLimit of {limit}; {fix}", data.len()))
        );
    }
    let new = NewJob { name, data, options: options.into(), parent: None };
    if let Some(id) = &new.options.job_id {
        JobId::custom(id).map_err(|fault| place.fault(&format!("cannot have its id: {fault}")))?;
    }
    let below: Vec<&RawValue> = match text("children") {
        None => Vec::new(),
        Some(value) => of(value).ok_or_else(|| place.wrong("children", value, "a list of jobs"))?,
    };
    let mut children = Vec::with_capacity(below.len());
    for (i, child) in below.into_iter().enumerate() {
        let dot = if path.is_empty() { "" } else { "." };
        children.push(job(child, prefix, &format!("{path}{dot}children[{i}]"), depth + 1)?);
    }
    Ok(Flow { queue, job: new, children })
}

fn options(json: &RawValue, place: &Place<'_>) -> Result<OptionsInput, String> {
    let members = checked(json, "opts", OPTIONS, place)?;
    for (group, known) in [("deduplication", DEDUPLICATION), ("telemetry", TELEMETRY)] {
        if let Some(value) = members.get(group).filter(|value| value.get() != "null") {
            checked(value, &format!("opts.{group}"), known, place)?;
        }
    }
    for (member, value) in &members {
        let alone: String = joined(&BTreeMap::from([(member.clone(), *value)]));
        if serde_json::from_str::<OptionsInput>(&alone).is_err() {
            let Some((group, known)) = [("deduplication", DEDUPLICATION), ("telemetry", TELEMETRY)]
                .into_iter()
                .find(|(group, _)| group == member)
            else {
                return Err(place.wrong(&format!("opts.{member}"), value, expected(OPTIONS, member)));
            };
            return Err(wrong_within(group, value, known, place));
        }
    }
    serde_json::from_str(&joined(&members))
        .map_err(|fault| place.fault(&format!("has opts that cannot be read: {fault}")))
}

/// The member of a group that is wrong.
fn wrong_within(
    group: &str,
    json: &RawValue,
    known: &[(&'static str, &'static str)],
    place: &Place<'_>,
) -> String {
    for (member, value) in object(json).unwrap_or_default() {
        let alone = format!("{{{group:?}:{}}}", joined(&BTreeMap::from([(member.clone(), value)])));
        if serde_json::from_str::<OptionsInput>(&alone).is_err() {
            return place.wrong(&format!("opts.{group}.{member}"), value, expected(known, &member));
        }
    }
    place.wrong(&format!("opts.{group}"), json, "as it should be")
}

/// The members of an object, all of which are known.
fn checked<'a>(
    json: &'a RawValue,
    path: &str,
    known: &[(&'static str, &'static str)],
    place: &Place<'_>,
) -> Result<Members<'a>, String> {
    let members = object(json).ok_or_else(|| place.wrong(path, json, "an object"))?;
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    match members.keys().find(|member| !names.contains(&member.as_str())) {
        Some(unknown) => Err(place.unknown(&format!("{path}."), unknown, names)),
        None => Ok(members),
    }
}

fn expected(known: &[(&'static str, &'static str)], member: &str) -> &'static str {
    known.iter().find(|(name, _)| *name == member).map_or("as it should be", |(_, expected)| expected)
}

fn object(json: &RawValue) -> Option<Members<'_>> {
    of(json)
}

fn of<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

fn joined(members: &Members<'_>) -> String {
    // Maps with text keys always encode.
    serde_json::to_string(members).unwrap_or_default()
}

/// The start of a value.
fn shown(json: &RawValue) -> String {
    let text = json.get();
    let start: String = text.chars().take(SHOWN_MAX).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

// === impl Place ===

impl Place<'_> {
    fn fault(&self, what: &str) -> String {
        let at = if self.path.is_empty() { "at the top" } else { self.path };
        match &self.name {
            Some(name) if !name.is_empty() => format!("job {name:?} ({at}) {what}"),
            _ if self.path.is_empty() => format!("the job at the top {what}"),
            _ => format!("the job at {at} {what}"),
        }
    }

    fn wrong(&self, member: &str, value: &RawValue, expected: &str) -> String {
        self.fault(&format!("has {member} = {}; write {expected}", shown(value)))
    }

    fn unknown<'a>(&self, path: &str, member: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        let fix =
            nearest(member, known).map_or(String::new(), |near| format!("; did you mean {path}{near}?"));
        self.fault(&format!("has {path}{member}, which is unknown{fix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(json: &str) -> Result<Flow, String> {
        read(json.as_bytes(), "bull")
    }

    #[test]
    fn a_flow_is_read_as_the_flow_producer_takes_it() {
        let flow = read_text(
            r#"{"name":"top","queueName":"q","prefix":"bull","data":{"b": 1.0,"a":2},"opts":{"attempts":3},
                "children":[{"name":"a","queueName":"r","opts":{"failParentOnFailure":true}},
                            {"name":"b","queueName":"q","children":[],"opts":null},
                            {"name":"c","queueName":"q","data":null,"children":null}]}"#,
        )
        .unwrap();
        assert_eq!((&flow.job.data[..], flow.job.options.attempts), (&br#"{"b": 1.0,"a":2}"#[..], 3));
        let data: Vec<_> = flow.children.iter().map(|child| &child.job.data[..]).collect();
        assert_eq!(data, [&b"{}"[..], b"{}", b"null"]);
        assert!(flow.children[0].job.options.fail_parent_on_failure);
        assert_eq!(flow.children[0].queue.as_str(), "r");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_job() {
        let below = |job: &str| {
            format!(r#"{{"name":"a","queueName":"q","children":[{{"name":"b","queueName":"q"}},{job}]}}"#)
        };
        let here = "job \"c\" (children[1])";
        for (json, said) in [
            ("{bad".to_owned(), &["it is not JSON", "line 1"][..]),
            ("[]".to_owned(), &["the job at the top is [], not an object"]),
            (r#"{"name":"a"}"#.to_owned(), &["job \"a\" (at the top) has no queueName"]),
            (r#"{"queueName":"q"}"#.to_owned(), &["the job at the top has no name"]),
            (
                r#"{"name":"a","queueName":"q","childs":[]}"#.to_owned(),
                &["has childs", "did you mean children?"],
            ),
            (
                r#"{"name":"a","queueName":"q","opts":{"prio":1}}"#.to_owned(),
                &["has opts.prio, which is unknown"],
            ),
            (below(r#"{"name":"","queueName":"q"}"#), &["the job at children[1] has an empty name"]),
            (below(r#"{"name":"c","queueName":"q:r"}"#), &[here, "q:r"]),
            (below(r#"{"name":"c","queueName":7}"#), &[here, "queueName = 7; write text"]),
            (below(r#"{"name":"c","queueName":"q","prefix":"other"}"#), &[here, "\"other\"", "leave it out"]),
            (
                below(r#"{"name":"c","queueName":"q","children":{}}"#),
                &[here, "children = {}; write a list of jobs"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","opts":{"jobId":"7"}}"#),
                &[here, "cannot have its id", "whole numbers"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","opts":{"attempts":"x"}}"#),
                &[here, "opts.attempts = \"x\"; write a whole number"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","opts":{"deduplication":{"id":"x","tll":5}}}"#),
                &[here, "opts.deduplication.tll", "did you mean opts.deduplication.ttl?"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","opts":{"deduplication":{"id":"x","ttl":"5"}}}"#),
                &[here, "opts.deduplication.ttl = \"5\"; write a whole number of milliseconds"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","data":"xxxxx","opts":{"sizeLimit":3}}"#),
                &[here, "sizeLimit of 3"],
            ),
            (
                below(r#"{"name":"c","queueName":"q","children":[{"name":"d"}]}"#),
                &["job \"d\" (children[1].children[0]) has no queueName"],
            ),
        ] {
            let told = read_text(&json).unwrap_err();
            for part in said {
                assert!(told.contains(part), "{part:?} is not in {told}");
            }
            for foreign in ["missing field", "unknown field", "invalid type", "u64", "expected"] {
                assert!(json == "{bad" || !told.contains(foreign), "{told}");
            }
        }
    }

    #[test]
    fn every_option_that_can_be_read_has_its_words() {
        let values = ["1", "true", "\"a\"", r#"{"id":"1","queue":"bull:q"}"#, r#"{"id":"d"}"#, "{}"];
        for (member, expected) in OPTIONS {
            let reads = |value: &&str| {
                serde_json::from_str::<OptionsInput>(&format!("{{{member:?}:{value}}}")).is_ok()
            };
            assert!(values.iter().any(reads), "{member} ({expected}) is unknown to the options");
        }
        let all = OPTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let unknown = serde_json::from_str::<OptionsInput>(r#"{"?":1}"#).unwrap_err().to_string();
        for named in unknown.split('`').skip(3).step_by(2) {
            assert!(all.contains(&named), "{named} has no words");
        }
    }

    #[test]
    fn a_tree_without_end_is_refused_before_it_is_read() {
        let deep = (0..2000).fold(r#"{"name":"a","queueName":"q"}"#.to_owned(), |below, _| {
            format!(r#"{{"name":"a","queueName":"q","children":[{below}]}}"#)
        });
        assert!(read_text(&deep).unwrap_err().contains("64 levels"));
    }
}
