//! Putting secrets in the place of their stand-ins, on the last step before a request leaves.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::place::{Place, RuleSecret};
use crate::secret::PLACEHOLDER_START;

/// Bytes of a stand-in: its beginning and 32 hex digits.
const LENGTH: usize = PLACEHOLDER_START.len() + 32;

/// How a secret is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As it is: header values, unknown bodies.
    Plain,
    /// Inside a JSON string.
    Json,
    /// In a URL or a form.
    Url,
}

/// One granted secret: its stand-in, its value, and what the request's rule says about it.
pub(crate) struct StandIn<'a> {
    pub(crate) text: &'a str,
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    pub(crate) rule: Option<&'a RuleSecret>,
}

/// Puts secrets into the parts of one request.
pub(crate) struct Substitution<'a> {
    known: Vec<StandIn<'a>>,
    /// Bytes that the request may still grow by: a short stand-in can stand for a long secret, many times.
    room: usize,
    /// Secrets whose stand-ins were left as they are, with the place.
    kept: Vec<(&'a str, String)>,
}

/// The request would grow too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

// === impl Substitution ===

impl<'a> Substitution<'a> {
    pub(crate) fn new(known: Vec<StandIn<'a>>, room: usize) -> Self {
        Self { known, room, kept: Vec::new() }
    }

    /// Changes how many bytes what follows may grow by.
    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// The secrets that were left out, and where; each place once.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(name, place)| (*name, place.as_str()))
    }

    /// The text with every stand-in replaced whose secret may go there.
    ///
    /// # Errors
    /// When it would grow too much.
    pub(crate) fn put<'t>(
        &mut self,
        text: &'t [u8],
        place: Place<'_>,
        spelling: Spelling,
    ) -> Result<Cow<'t, [u8]>, NoRoom> {
        if self.known.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let finder = memmem::Finder::new(PLACEHOLDER_START);
        let mut out: Option<Vec<u8>> = None;
        let mut done = 0;
        for at in finder.find_iter(text) {
            let end = at + LENGTH;
            let Some(known) = text
                .get(at..end)
                .and_then(|found| self.known.iter().position(|known| known.text.as_bytes() == found))
            else {
                continue;
            };
            let StandIn { name, value, rule, .. } = self.known[known];
            if !rule.is_some_and(|rule| rule.allows(place)) {
                let word = place.word();
                if !self.kept.iter().any(|kept| *kept == (name, word.clone())) {
                    self.kept.push((name, word));
                }
                continue;
            }
            let value = written(value, spelling);
            self.room = self.room.checked_sub(value.len()).ok_or(NoRoom)?;
            let out = out.get_or_insert_default();
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(value.as_bytes());
            done = end;
        }
        Ok(match out {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.extend_from_slice(&text[done..]);
                Cow::Owned(out)
            }
        })
    }

    /// The same for a header's value. In `authorization: Basic …` the stand-in is looked for inside the encoding.
    ///
    /// # Errors
    /// When it would grow too much.
    pub(crate) fn put_header<'t>(
        &mut self,
        value: &'t [u8],
        place: Place<'_>,
    ) -> Result<Cow<'t, [u8]>, NoRoom> {
        let is_authorization = matches!(place, Place::Header(name) if *name == http::header::AUTHORIZATION);
        if is_authorization
            && let Some((scheme, encoded)) = value.split_at_checked(6)
            && scheme.eq_ignore_ascii_case(b"basic ")
            && let Ok(pair) = STANDARD.decode(encoded.trim_ascii())
            && let Cow::Owned(pair) = self.put(&pair, place, Spelling::Plain)?
        {
            return Ok(Cow::Owned(format!("Basic {}", STANDARD.encode(pair)).into_bytes()));
        }
        self.put(value, place, Spelling::Plain)
    }
}

fn written(value: &str, spelling: Spelling) -> Cow<'_, str> {
    match spelling {
        Spelling::Plain => Cow::Borrowed(value),
        Spelling::Json => Cow::Owned(in_json(value)),
        Spelling::Url => Cow::Owned(in_url(value)),
    }
}

/// As it stands inside the quotes of a JSON text.
pub(crate) fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Percent-encoded, all but what is never encoded.
pub(crate) fn in_url(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};

    use super::*;

    fn stand_in(n: u8) -> String {
        format!("{PLACEHOLDER_START}{}", hex::encode([n; 16]))
    }

    fn everywhere(name: &str) -> RuleSecret {
        let places = ["url", "body", "header:authorization"].map(str::to_owned);
        RuleSecret::new(name, Some(&places)).unwrap()
    }

    fn run_in(
        text: &str,
        place: Place<'_>,
        spelling: Spelling,
        room: usize,
    ) -> Result<(String, Vec<String>), NoRoom> {
        let (a, b) = (stand_in(1), stand_in(2));
        let rule = everywhere("a");
        let known = vec![
            StandIn { text: &a, name: "a", value: "s\"1/é", rule: Some(&rule) },
            StandIn { text: &b, name: "b", value: "never", rule: None },
        ];
        let mut substitution = Substitution::new(known, room);
        let out = match place {
            Place::Header(_) => substitution.put_header(text.as_bytes(), place)?,
            Place::Url | Place::Body => substitution.put(text.as_bytes(), place, spelling)?,
        };
        let kept = substitution.kept().map(|(name, place)| format!("{name} in {place}")).collect();
        Ok((String::from_utf8(out.into_owned()).unwrap(), kept))
    }

    fn run(text: &str, spelling: Spelling) -> (String, Vec<String>) {
        run_in(text, Place::Body, spelling, 1000).unwrap()
    }

    #[test]
    fn each_place_has_its_spelling() {
        let text = format!("<{}><{0}>", stand_in(1));
        assert_eq!(run(&text, Spelling::Plain).0, "<s\"1/é><s\"1/é>");
        assert_eq!(run(&text, Spelling::Json).0, "<s\\\"1/é><s\\\"1/é>");
        assert_eq!(run(&text, Spelling::Url).0, "<s%221%2F%C3%A9><s%221%2F%C3%A9>");
    }

    #[test]
    fn what_may_not_go_there_stays_and_is_named_once() {
        let text = format!("{}{0}", stand_in(2));
        assert_eq!(run(&text, Spelling::Plain), (text, vec!["b in body".to_owned()]));
        let text = stand_in(1);
        let kept = run_in(&text, Place::Header(&COOKIE), Spelling::Plain, 1000).unwrap();
        assert_eq!(kept, (text, vec!["a in header:cookie".to_owned()]));
    }

    #[test]
    fn unknown_and_cut_stand_ins_are_only_text() {
        for text in
            [stand_in(9), stand_in(1)[..LENGTH - 1].to_owned(), PLACEHOLDER_START.repeat(3), String::new()]
        {
            assert_eq!(run(&text, Spelling::Plain), (text, Vec::new()));
        }
        let after_a_cut_one = format!("{PLACEHOLDER_START}{}", stand_in(1));
        assert_eq!(run(&after_a_cut_one, Spelling::Plain).0, format!("{PLACEHOLDER_START}s\"1/é"));
    }

    #[test]
    fn basic_credentials_are_replaced_inside_their_encoding() {
        let basic = |pair: &str| format!("basic {}", STANDARD.encode(pair));
        let (sent, _) = run_in(
            &basic(&format!("user:{}", stand_in(1))),
            Place::Header(&AUTHORIZATION),
            Spelling::Plain,
            1000,
        )
        .unwrap();
        assert_eq!(sent, format!("Basic {}", STANDARD.encode("user:s\"1/é")));
        for as_it_is in
            [basic("user:pass"), "Basic %%%".to_owned(), "Basic".to_owned(), "Bearer x".to_owned()]
        {
            let (sent, _) = run_in(&as_it_is, Place::Header(&AUTHORIZATION), Spelling::Plain, 1000).unwrap();
            assert_eq!(sent, as_it_is);
        }
    }

    #[test]
    fn many_stand_ins_cannot_blow_a_request_up() {
        let text = stand_in(1).repeat(100);
        assert_eq!(run_in(&text, Place::Body, Spelling::Plain, 599).unwrap_err(), NoRoom);
        assert!(run_in(&text, Place::Body, Spelling::Plain, 600).is_ok());
    }
}
