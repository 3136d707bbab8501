//! Putting secrets in the place of their stand-ins, on the last step before a request leaves.

use std::borrow::Cow;
use std::fmt::Write;

use crate::secret::PLACEHOLDER_START;

/// Bytes of a stand-in: its beginning and 32 hex digits.
const LENGTH: usize = PLACEHOLDER_START.len() + 32;

/// How a secret is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// As it is: header values, unknown bodies.
    Plain,
    /// Inside a JSON string.
    Json,
    /// In a URL or a form.
    Url,
}

/// One granted secret: its stand-in, and its value where the request's rule lists it.
pub(crate) struct StandIn<'a> {
    pub(crate) text: &'a str,
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a str>,
}

/// The text with every stand-in replaced whose secret may go there. The names of those that may not, and so stay as
/// they are, are added to `kept`.
pub(crate) fn substitute<'t>(
    text: &'t [u8],
    place: Place,
    known: &[StandIn<'_>],
    kept: &mut Vec<String>,
) -> Cow<'t, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut done = 0;
    let mut from = 0;
    while let Some(at) = find(text, from) {
        let end = at + LENGTH;
        from = at + PLACEHOLDER_START.len();
        let found =
            text.get(at..end).and_then(|text| known.iter().find(|known| known.text.as_bytes() == text));
        let Some(found) = found else { continue };
        let Some(value) = found.value else {
            if !kept.iter().any(|name| name == found.name) {
                kept.push(found.name.to_owned());
            }
            continue;
        };
        let out = out.get_or_insert_default();
        out.extend_from_slice(&text[done..at]);
        out.extend_from_slice(written(value, place).as_bytes());
        (done, from) = (end, end);
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.extend_from_slice(&text[done..]);
            Cow::Owned(out)
        }
    }
}

fn find(text: &[u8], from: usize) -> Option<usize> {
    let start = PLACEHOLDER_START.as_bytes();
    text.get(from..)?.windows(start.len()).position(|window| window == start).map(|at| from + at)
}

fn written(value: &str, place: Place) -> Cow<'_, str> {
    match place {
        Place::Plain => Cow::Borrowed(value),
        Place::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
        }
        Place::Url => {
            let mut out = String::with_capacity(value.len());
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    // Writing to a text cannot fail.
                    let _ = write!(out, "%{byte:02X}");
                }
            }
            Cow::Owned(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(n: u8) -> String {
        format!("{PLACEHOLDER_START}{}", hex::encode([n; 16]))
    }

    fn run(text: &str, place: Place) -> (String, Vec<String>) {
        let (a, b) = (stand_in(1), stand_in(2));
        let known = [
            StandIn { text: &a, name: "a", value: Some("s\"1/é") },
            StandIn { text: &b, name: "b", value: None },
        ];
        let mut kept = Vec::new();
        let out = substitute(text.as_bytes(), place, &known, &mut kept).into_owned();
        (String::from_utf8(out).unwrap(), kept)
    }

    #[test]
    fn each_place_has_its_spelling() {
        let text = format!("<{}><{0}>", stand_in(1));
        assert_eq!(run(&text, Place::Plain).0, "<s\"1/é><s\"1/é>");
        assert_eq!(run(&text, Place::Json).0, "<s\\\"1/é><s\\\"1/é>");
        assert_eq!(run(&text, Place::Url).0, "<s%221%2F%C3%A9><s%221%2F%C3%A9>");
    }

    #[test]
    fn what_may_not_go_there_stays_and_is_named_once() {
        let text = format!("{}{0}", stand_in(2));
        assert_eq!(run(&text, Place::Plain), (text, vec!["b".to_owned()]));
    }

    #[test]
    fn unknown_and_cut_stand_ins_are_only_text() {
        for text in
            [stand_in(9), stand_in(1)[..LENGTH - 1].to_owned(), PLACEHOLDER_START.repeat(3), String::new()]
        {
            assert_eq!(run(&text, Place::Plain), (text, Vec::new()));
        }
    }
}
