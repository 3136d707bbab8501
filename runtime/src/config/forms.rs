//! The forms a value can be written in: durations, sizes, counts, names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jobcell_core::Keep;
use jobcell_core::options::KeepLimits;
use jobcell_wasm::Limits;

use super::fault::Origin;
use super::node::{Node, Value};

/// One form: its name, what a person should write, and how it is read. Reading gives the cause when it is wrong.
pub(super) struct Form<T: 'static> {
    pub(super) name: &'static str,
    pub(super) expects: &'static str,
    pub(super) read: fn(&Node) -> Result<T, String>,
}

/// The longest duration taken: longer ones are typing errors, and clocks overflow on some.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) const TEXT: Form<String> = Form { name: "text", expects: "text in quotes", read: text };
pub(super) const SWITCH: Form<bool> = Form { name: "true or false", expects: "true or false", read: switch };
pub(super) const COUNT: Form<u64> =
    Form { name: "count", expects: "a whole number, at least 1", read: |node| at_least(node, 1) };
pub(super) const COUNT_OR_NONE: Form<u64> =
    Form { name: "count", expects: "a whole number, 0 or more", read: |node| at_least(node, 0) };
pub(super) const DURATION: Form<Duration> = Form {
    name: "duration",
    expects: "a duration with its unit, such as \"25s\", \"500ms\" or \"7d\"",
    read: duration,
};
pub(super) const DURATION_OR_NONE: Form<Duration> = Form {
    name: "duration",
    expects: "a duration with its unit, such as \"25s\", or \"0s\"",
    read: any_duration,
};
pub(super) const BYTES: Form<u64> = Form {
    name: "size",
    expects: "a size with its unit, such as \"128MiB\", \"64KiB\" or \"512B\"",
    read: bytes,
};
pub(super) const STACK: Form<u64> = Form {
    name: "size",
    expects: "a size from \"64KiB\" to \"64MiB\": less runs nothing, and more is reserved for every cell",
    read: stack,
};
pub(super) const ADDRESS: Form<SocketAddr> = Form {
    name: "address",
    expects: "an IP address and a port, such as \"127.0.0.1:8787\" or \"0.0.0.0:8787\"",
    read: address,
};
pub(super) const PATH: Form<PathBuf> = Form { name: "path", expects: "a path in quotes", read: path };
pub(super) const TEXTS: Form<Vec<String>> =
    Form { name: "list of text", expects: "a list of text, such as [\"a\", \"b\"]", read: texts };
pub(super) const NAMES: Form<BTreeMap<String, String>> =
    Form { name: "text by name", expects: "a table of text, such as { a = \"b\" }", read: names };
pub(super) const SHARE: Form<f64> =
    Form { name: "number from 0 to 1", expects: "a number from 0 to 1, such as 0.5", read: share };
pub(super) const KEEP: Form<Keep> = Form {
    name: "count, age, \"all\" or \"none\"",
    expects: "a count such as \"1000\", an age such as \"7d\", \"all\" or \"none\"",
    read: keep,
};

/// Text that may not be empty.
pub(super) fn text(node: &Node) -> Result<String, String> {
    match node.as_text() {
        Some("") => Err("is empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => Err("is not text".to_owned()),
    }
}

/// The scheme of a URL and what follows it. A message may name the scheme: nothing else that could be a secret passes.
pub(super) fn scheme_of(url: &str) -> Result<(&str, &str), String> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or_else(|| "is not a URL".to_owned())
}

/// Text without what may be a password in it: the login before an `@`, and the query of a URL.
pub(super) fn without_login(text: &str) -> String {
    let (start, rest) = match scheme_of(text) {
        Ok((scheme, rest)) => (format!("{scheme}://"), rest),
        Err(_) => (String::new(), text),
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, place)) if !start.is_empty() || login.contains(':') => ("***@", place),
        _ => ("", rest),
    };
    match rest.split_once('?') {
        Some((place, _)) if !start.is_empty() => format!("{start}{login}{place}?***"),
        _ => format!("{start}{login}{rest}"),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, choices: &[(&str, T)]) -> Result<T, String> {
    let given = text(node)?;
    let found = choices.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| *value).ok_or_else(|| "is not one of the words it can be".to_owned())
}

fn switch(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(truth) => Ok(truth),
        _ => Err("is neither true nor false".to_owned()),
    }
}

fn at_least(node: &Node, least: u64) -> Result<u64, String> {
    let Value::Int(number) = node.value else { return Err("is not a whole number".to_owned()) };
    match u64::try_from(number) {
        Ok(number) if number >= least => Ok(number),
        _ => Err("is too small".to_owned()),
    }
}

fn duration(node: &Node) -> Result<Duration, String> {
    match any_duration(node)? {
        Duration::ZERO => Err("is no time at all".to_owned()),
        duration => Ok(duration),
    }
}

fn any_duration(node: &Node) -> Result<Duration, String> {
    if matches!(node.value, Value::Int(_) | Value::Float(_)) {
        return Err("has no unit".to_owned());
    }
    let duration =
        humantime::parse_duration(&text(node)?).map_err(|fault| format!("is not a duration ({fault})"))?;
    if duration > DURATION_MAX {
        return Err("is longer than a year".to_owned());
    }
    // The store counts milliseconds.
    if !duration.is_zero() && duration < Duration::from_millis(1) {
        return Err("is shorter than a millisecond".to_owned());
    }
    Ok(duration)
}

fn stack(node: &Node) -> Result<u64, String> {
    let stack = bytes(node)?;
    let sizes = Limits::STACK_MIN as u64..=Limits::STACK_MAX as u64;
    if sizes.contains(&stack) { Ok(stack) } else { Err("is no stack for a guest".to_owned()) }
}

fn bytes(node: &Node) -> Result<u64, String> {
    if matches!(node.value, Value::Int(_) | Value::Float(_)) {
        return Err("has no unit".to_owned());
    }
    let text = text(node)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "does not begin with a whole number".to_owned())?;
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "" => return Err("has no unit".to_owned()),
        other => return Err(format!("has an unknown unit {other:?}")),
    };
    match number.checked_mul(factor) {
        Some(0) => Err("is nothing at all".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("is too large".to_owned()),
    }
}

fn address(node: &Node) -> Result<SocketAddr, String> {
    let text = text(node)?;
    // The one name that everybody writes, and that means the same everywhere.
    let numeric = text.replacen("localhost:", "127.0.0.1:", usize::from(text.starts_with("localhost:")));
    numeric.parse().map_err(|_| "is not an IP address with a port".to_owned())
}

/// A path in the file is meant from the file's directory, one from elsewhere from the current one.
fn path(node: &Node) -> Result<PathBuf, String> {
    Ok(resolve(&text(node)?, &node.origin))
}

pub(super) fn resolve(path: &str, origin: &Origin) -> PathBuf {
    match origin {
        Origin::File { path: file, .. } => {
            file.parent().map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
        }
        Origin::Variable(_) | Origin::Flag(_) | Origin::Default => PathBuf::from(path),
    }
}

fn texts(node: &Node) -> Result<Vec<String>, String> {
    let Value::List(items) = &node.value else { return Err("is not a list".to_owned()) };
    items.iter().map(|item| text(item).map_err(|cause| format!("has an item that {cause}"))).collect()
}

fn names(node: &Node) -> Result<BTreeMap<String, String>, String> {
    let Value::Table(table) = &node.value else { return Err("is not a table".to_owned()) };
    let scalar = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            Some(node.raw.clone().unwrap_or_else(|| node.shown()))
        }
        Value::List(_) | Value::Table(_) | Value::Other(_) => None,
    };
    let entry = |(name, node): (&String, &Node)| {
        let text = scalar(node).ok_or_else(|| format!("has a value that is not text, at {name:?}"))?;
        Ok((name.clone(), text))
    };
    table.iter().map(entry).collect()
}

#[expect(clippy::cast_precision_loss, reason = "only 0 and 1 pass the check")]
fn share(node: &Node) -> Result<f64, String> {
    let number = match node.value {
        Value::Float(number) => number,
        Value::Int(number) => number as f64,
        _ => return Err("is not a number".to_owned()),
    };
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("is not between 0 and 1".to_owned()) }
}

fn keep(node: &Node) -> Result<Keep, String> {
    let count = |count| match count {
        0 => Keep::None,
        count => Keep::UpTo(KeepLimits { count: Some(count), ..KeepLimits::default() }),
    };
    if let Value::Int(_) = node.value {
        return at_least(node, 0).map(count);
    }
    let text = text(node)?;
    match text.as_str() {
        "all" => return Ok(Keep::All),
        "none" => return Ok(Keep::None),
        _ => {}
    }
    if let Ok(number) = text.parse() {
        return Ok(count(number));
    }
    let age = humantime::parse_duration(&text).map_err(|_| "is neither a count nor an age".to_owned())?;
    if age < Duration::from_secs(1) {
        return Err("is an age below a second, the unit in which ages are stored".to_owned());
    }
    Ok(Keep::UpTo(KeepLimits { age: Some(age.as_secs()), ..KeepLimits::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(form: &Form<T>, toml: &str) -> Result<T, String> {
        (form.read)(&Node::from_default(toml))
    }

    #[test]
    fn durations_have_a_unit_and_a_sensible_length() {
        assert_eq!(read(&DURATION, "\"25s\""), Ok(Duration::from_secs(25)));
        assert_eq!(read(&DURATION, "\"500ms\""), Ok(Duration::from_millis(500)));
        assert_eq!(read(&DURATION, "\"7d\""), Ok(Duration::from_secs(7 * 86_400)));
        for (bad, cause) in [
            ("25", "has no unit"),
            ("\"0s\"", "no time"),
            ("\"3ns\"", "millisecond"),
            ("\"soon\"", "is not a duration"),
            ("\"900y\"", "longer than a year"),
            ("true", "is not text"),
        ] {
            let told = read(&DURATION, bad).unwrap_err();
            assert!(told.contains(cause), "{bad}: {told}");
        }
        assert_eq!(read(&DURATION_OR_NONE, "\"0s\""), Ok(Duration::ZERO));
    }

    #[test]
    fn logins_are_left_out() {
        for (text, shown) in [
            ("https://u:pw@h/x", "https://***@h/x"),
            ("https://u:p/w@h/x", "https://***@h/x"),
            ("s3://b/x?key=pw", "s3://b/x?***"),
            ("s3://u:p?w@b", "s3://***@b"),
            ("u:pw@h", "***@h"),
            ("u:pw@h://x", "***@h://x"),
            ("a@b c", "a@b c"),
            ("what?", "what?"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(read(&BYTES, "\"128MiB\""), Ok(128 << 20));
        assert_eq!(read(&BYTES, "\"64 KiB\""), Ok(64 << 10));
        assert_eq!(read(&BYTES, "\"1MB\""), Ok(1_000_000));
        for (bad, cause) in [
            ("128", "has no unit"),
            ("\"128\"", "has no unit"),
            ("\"1.5MiB\"", "unknown unit"),
            ("\"MiB\"", "whole number"),
            ("\"0B\"", "nothing"),
            ("\"99999999999GiB\"", "too large"),
        ] {
            let told = read(&BYTES, bad).unwrap_err();
            assert!(told.contains(cause), "{bad}: {told}");
        }
    }

    #[test]
    fn keeping_is_a_count_an_age_all_or_none() {
        let count = |n| Keep::UpTo(KeepLimits { count: Some(n), ..KeepLimits::default() });
        assert_eq!(read(&KEEP, "\"1000\""), Ok(count(1000)));
        assert_eq!(read(&KEEP, "1000"), Ok(count(1000)));
        assert_eq!(read(&KEEP, "0"), Ok(Keep::None));
        assert_eq!(read(&KEEP, "\"all\""), Ok(Keep::All));
        assert_eq!(read(&KEEP, "\"none\""), Ok(Keep::None));
        assert_eq!(
            read(&KEEP, "\"7d\""),
            Ok(Keep::UpTo(KeepLimits { age: Some(604_800), ..KeepLimits::default() }))
        );
        for bad in ["\"some\"", "-1", "\"10ms\"", "1.5"] {
            assert!(read(&KEEP, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_and_shares_are_bounded() {
        assert_eq!(read(&COUNT, "1"), Ok(1));
        assert!(read(&COUNT, "0").is_err() && read(&COUNT, "-1").is_err() && read(&COUNT, "1.0").is_err());
        assert!(read(&COUNT, "99999999999999999999").is_err());
        assert_eq!(read(&SHARE, "1"), Ok(1.0));
        assert!(read(&SHARE, "1.1").is_err() && read(&SHARE, "nan").is_err());
    }

    #[test]
    fn addresses_are_numeric_but_for_localhost() {
        assert_eq!(read(&ADDRESS, "\"localhost:1\"").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(read(&ADDRESS, "\"[::1]:80\"").unwrap().to_string(), "[::1]:80");
        for bad in ["\":8787\"", "\"8787\"", "8787", "\"example.com:80\"", "\"1.2.3.4\""] {
            assert!(read(&ADDRESS, bad).is_err(), "{bad}");
        }
    }
}
