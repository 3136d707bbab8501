//! Where the two differ on purpose, each with its reason. What the tests look past is here, what they leave out in
//! `avoided`, and nothing anywhere else.

mod avoided;

use serde_json::{Value, json};

use super::act::{Act, What};
use super::choose::DEDUPLICATIONS;
use super::keys::{Lines, each_stream};
use super::world::World;
use super::{Major, QUEUES};

pub(super) use avoided::avoid;

/// What is done to both databases after a step, so that what one of the two leaves over does not matter from there on.
pub(super) fn even(world: &mut World, act: &Act, ours: &Value) -> Vec<Vec<String>> {
    let key = |last: &str| format!("bull:{}:{last}", act.queue);
    let command =
        |name: &str, key: String, members: Vec<String>| [vec![name.to_owned(), key], members].concat();
    match act.what {
        // Lifting a rate limit ends the window that has begun; BullMQ leaves it to a worker's own limit to run into.
        What::Rate { rate: None } if !world.rests(act.queue) => {
            vec![command("DEL", key("limiter"), Vec::new())]
        }
        // With a queue go its window and the deduplication ids its jobs own; BullMQ leaves those.
        What::Obliterate { .. } if ours["ok"].is_null() && ours["error"].is_null() => {
            let owned = DEDUPLICATIONS.map(|id| key(&format!("de:{id}")));
            vec![command("DEL", key("limiter"), owned.to_vec())]
        }
        // What was active is forgotten with the job, else it would be said of the next one with this id that it was seen.
        What::Clean { state: "active", .. } => {
            let gone = ours["ok"].as_array().into_iter().flatten();
            let gone: Vec<String> = gone.filter_map(|id| id.as_str().map(str::to_owned)).collect();
            if gone.is_empty() { Vec::new() } else { vec![command("SREM", key("stalled"), gone)] }
        }
        _ => Vec::new(),
    }
}

/// What may differ about the events of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leeway {
    /// Nothing.
    None,
    /// Their order. What is below a job goes from the bottom here, so that what is broken off can go on, and from the top
    /// in BullMQ.
    Order,
    /// Whether the queue was drained. We judge that once for a batch of ends and the claim after it, BullMQ after each end
    /// for good.
    Drained,
}

pub(super) fn leeway(act: &Act) -> Leeway {
    match &act.what {
        What::Prune { .. } => Leeway::Order,
        What::Finish { ends, .. } if ends.len() > 1 => Leeway::Drained,
        _ => Leeway::None,
    }
}

/// Takes what may differ out of both.
pub(super) fn level(theirs: &mut Lines, ours: &mut Lines, leeway: Leeway, major: Major) {
    if major == Major::Six {
        // Which job a scheduler made after this one; BullMQ 6 does not write it any more.
        ours.retain(|place, _| !place.ends_with(" .nrjid"));
    }
    for side in [&mut *theirs, &mut *ours] {
        match leeway {
            Leeway::None => {}
            Leeway::Order => each_stream(side, |events| events.sort()),
            Leeway::Drained => each_stream(side, |events| events.retain(|event| event != "event | drained")),
        }
        each_stream(side, releases_last);
        *side = std::mem::take(side).into_iter().map(|(place, text)| line(place, text)).collect();
    }
    for queue in QUEUES {
        stalled(queue, theirs);
        stalled(queue, ours);
        markers(queue, theirs, ours);
        // The length of the event stream has a default, which we write with a queue's first event and BullMQ somewhat later.
        let length = format!("bull:{queue}:meta .opts.maxLenEvents");
        if !theirs.contains_key(&length) && ours.get(&length).is_some_and(|length| length == "10000") {
            ours.remove(&length);
        }
    }
}

/// A job that goes by the rule of one that ended may set its parent free. BullMQ tells of that before it tells of the end;
/// here the rule is applied once for a whole batch of ends.
#[expect(clippy::ptr_arg, reason = "one of several that change the events of both sides")]
fn releases_last(events: &mut Vec<String>) {
    events.sort_by_key(|event| event.ends_with(" | prev | waiting-children"));
}

/// Jobs that were seen active and are not any more mean nothing. We forget one that is cleaned away, BullMQ later.
fn stalled(queue: &str, side: &mut Lines) {
    let active: Vec<String> = texts(side, &format!("bull:{queue}:active "));
    let start = format!("bull:{queue}:stalled {{");
    side.retain(|place, _| {
        place.strip_prefix(&start).is_none_or(|id| active.iter().any(|active| *active == id[..id.len() - 1]))
    });
}

fn texts(side: &Lines, start: &str) -> Vec<String> {
    side.iter().filter(|(place, _)| place.starts_with(start)).map(|(_, text)| text.clone()).collect()
}

/// Markers are hints that wake workers, who look again in any case.
fn markers(queue: &str, theirs: &mut Lines, ours: &mut Lines) {
    let now = format!("bull:{queue}:marker {{0}}");
    let any =
        |side: &Lines, key: &str| side.keys().any(|place| place.starts_with(&format!("bull:{queue}:{key} ")));
    let wakes = ours.contains_key(&now);
    // BullMQ leaves one after each start; we leave none when nothing waits any more.
    if !any(ours, "wait") && !any(ours, "prioritized") && !ours.contains_key(&now) {
        theirs.remove(&now);
    }
    // BullMQ's resuming leaves one also where the queue's concurrency is used up.
    let active = ours.keys().filter(|place| place.starts_with(&format!("bull:{queue}:active "))).count();
    let most = ours.get(&format!("bull:{queue}:meta .concurrency")).and_then(|most| most.parse().ok());
    if most.is_some_and(|most: usize| active >= most) && !ours.contains_key(&now) {
        theirs.remove(&now);
    }
    // We leave one also where a job with a priority is given back, and where an end made room under the queue's concurrency.
    if (any(ours, "wait") || any(ours, "prioritized")) && !theirs.contains_key(&now) {
        ours.remove(&now);
    }
    // BullMQ leaves none about a job that is tried again later when the same step found another; we always do. One that
    // wakes too early does no harm, and both leave such ones behind, also when nothing is delayed any more.
    let later = format!("bull:{queue}:marker {{1}}");
    let start = format!("bull:{queue}:delayed {{");
    let first = ours.iter().filter(|(place, _)| place.starts_with(&start)).map(|(_, score)| due(score)).min();
    let told = ours.get(&later).and_then(|told| told.parse::<f64>().ok());
    // Where one wakes at once the other says nothing: who looks finds what is delayed, too.
    let enough = told.map_or(wakes, |told| first.is_none_or(|first| told as u64 <= first));
    if enough || first.is_none() {
        ours.remove(&later);
        theirs.remove(&later);
    }
}

/// When a job with this score is due.
fn due(score: &str) -> u64 {
    score.parse::<f64>().map_or(0, |score| (score / 4096.0) as u64)
}

fn line(place: String, text: String) -> (String, String) {
    // Tokens: BullMQ's job takes over the token of the one that ended in the same step.
    if place.ends_with(":lock") {
        return (place, "a token".to_owned());
    }
    // The options as they are meant: members' order, and `3` for `{"count": 3}`.
    if place.ends_with(" .opts") {
        return (place, options(&text));
    }
    (place, text)
}

fn options(text: &str) -> String {
    let Ok(Value::Object(opts)) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let meant = |(name, value): (String, Value)| match value {
        Value::Number(count) if name.starts_with("removeOn") => Some((name, json!({ "count": count }))),
        // As good as none.
        Value::Number(tries) if name == "attempts" && tries.as_u64() == Some(0) => None,
        value => Some((name, value)),
    };
    Value::Object(opts.into_iter().filter_map(meant).collect()).to_string()
}

/// Takes what may differ out of both answers.
pub(super) fn level_answers(act: &Act, theirs: &mut Lines, ours: &mut Lines) {
    let said = |side: &Lines, place, text| side.get(place).is_some_and(|told: &String| told == text);
    let same = match act.what {
        // That a job has no parent to leave is no fault to us.
        What::Leave { .. } => said(theirs, "answer .error", "-5") && said(ours, "answer .ok", "false"),
        // That there is no such job is none to BullMQ.
        What::Prune { .. } => said(theirs, "answer .ok", "null") && said(ours, "answer .error", "-1"),
        // BullMQ makes no scheduler that never comes round, and does not say so.
        What::Schedule { .. } => {
            said(theirs, "answer .ok .job", "null")
                && ours.get("answer .error").is_some_and(|error| error.contains("never comes"))
        }
        // BullMQ says of a job that is not there that it is not delayed.
        What::Promote { .. } => said(theirs, "answer .error", "-3") && said(ours, "answer .error", "-1"),
        _ => false,
    };
    if same {
        theirs.clone_from(ours);
    }
    // A scheduler that has ended has no next run; BullMQ names its last one.
    for (place, next) in ours.iter().filter(|(place, _)| place.starts_with("answer .ok .schedulers")) {
        if place.ends_with(" .next") && next == "null" {
            theirs.insert(place.clone(), next.clone());
        }
    }
    for (place, code) in ours.iter().filter(|(place, _)| place.starts_with("answer .ok .ended")) {
        let told = theirs.get(place).map(String::as_str);
        // Of an attempt whose lock is gone BullMQ may say first that its job has children, or none; or that there is no such
        // job, where the job went by the rule of one that ended earlier in the batch: here it goes at the batch's end.
        if matches!(code.as_str(), "-2" | "-6") && matches!(told, Some("-4" | "-9" | "7" | "-1")) {
            theirs.insert(place.clone(), code.clone());
        }
    }
}
