//! Everything in a database, as lines that can be compared: where something stands, and what it is.

use std::collections::BTreeMap;

use jobcell_tests::{Resp, Value as Reply};
use serde_json::Value;

/// Takes every key with its type, time to live and content. A stream's entries are taken out, so that each is
/// compared once; nobody else reads them.
const DUMP: &str = r"
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local held
  if kind == 'string' then held = { redis.call('GET', key) }
  elseif kind == 'list' then held = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then held = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'hash' then held = redis.call('HGETALL', key)
  else
    held = {}
    for i, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do held[i] = table.concat(entry[2], ' | ') end
    redis.call('XTRIM', key, 'MAXLEN', 0)
  end
  all[#all + 1] = { key, kind, tostring(redis.call('PTTL', key)), held }
end
return all";

/// What stands where. The time to live of a key stands under `<key> ttl`.
pub(super) type Lines = BTreeMap<String, String>;

/// Takes stock of the database this connection has chosen.
pub(super) fn stock(redis: &mut Resp) -> Lines {
    let mut lines = Lines::new();
    let Reply::List(keys) = redis.run(&["EVAL", DUMP, "0"]) else { panic!("a list of keys") };
    for entry in keys {
        let Reply::List(parts) = entry else { panic!("a key") };
        let text = |i: usize| parts[i].text().expect("text");
        let (key, kind, ttl) = (text(0), text(1), text(2));
        if ttl != "-1" {
            lines.insert(format!("{key} ttl"), ttl);
        }
        list(&mut lines, &key, &kind, &parts[3].texts());
    }
    lines
}

fn list(lines: &mut Lines, key: &str, kind: &str, held: &[String]) {
    let pairs = held.chunks(2);
    match kind {
        "string" => drop(lines.insert(key.to_owned(), held[0].clone())),
        "hash" => lines.extend(pairs.map(|pair| (format!("{key} .{}", pair[0]), pair[1].clone()))),
        "zset" => lines.extend(pairs.map(|pair| (format!("{key} {{{}}}", pair[0]), pair[1].clone()))),
        "set" => lines.extend(held.iter().map(|member| (format!("{key} {{{member}}}"), String::new()))),
        _ => {
            let mark = if kind == "list" { "" } else { "#" };
            let at = |(i, entry): (usize, &String)| (format!("{key} {mark}{i:03}"), entry.clone());
            lines.extend(held.iter().enumerate().map(at));
        }
    }
}

/// Changes the events of each stream.
pub(super) fn each_stream(lines: &mut Lines, change: impl Fn(&mut Vec<String>)) {
    let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    lines.retain(|place, event| match place.split_once(" #") {
        None => true,
        Some((stream, _)) => {
            streams.entry(stream.to_owned()).or_default().push(std::mem::take(event));
            false
        }
    });
    for (stream, mut events) in streams {
        change(&mut events);
        lines.extend(events.into_iter().enumerate().map(|(i, event)| (format!("{stream} #{i:03}"), event)));
    }
}

/// What differs, a line each; empty when nothing does.
pub(super) fn differences(theirs: &Lines, ours: &Lines) -> Vec<String> {
    let places: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let differs = |place: &&String| {
        let (a, b) = (theirs.get(*place), ours.get(*place));
        a != b && !(place.ends_with(" ttl") && alike(a, b))
    };
    let told = |place: &String| {
        let show = |side: &Lines| side.get(place).map_or("-".to_owned(), |text| format!("{text:?}"));
        format!("{place}\n    bullmq  {}\n    jobcell {}", show(theirs), show(ours))
    };
    places.into_iter().filter(differs).map(told).collect()
}

/// Times to live in these tests are hours, so that a minute between the two sides' steps does not matter.
fn alike(a: Option<&String>, b: Option<&String>) -> bool {
    let ms = |ttl: Option<&String>| ttl.and_then(|ttl| ttl.parse::<i64>().ok());
    matches!((ms(a), ms(b)), (Some(a), Some(b)) if (a - b).abs() < 60_000)
}

/// An answer as lines.
pub(super) fn of_answer(answer: &Value) -> Lines {
    let mut lines = Lines::new();
    lay_out(&mut lines, "answer".to_owned(), answer);
    lines
}

fn lay_out(lines: &mut Lines, place: String, value: &Value) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| lay_out(lines, format!("{place} .{name}"), value));
        }
        Value::Array(items) if !items.is_empty() => {
            let at = |(i, value)| lay_out(lines, format!("{place} {i:03}"), value);
            items.iter().enumerate().for_each(at);
        }
        value => drop(lines.insert(place, value.to_string())),
    }
}
