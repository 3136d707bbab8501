//! Takes known secrets out of what a handler, or a peer it talks to, makes the host write down: log lines, progress,
//! reasons of failures, backtraces and receipts; and what a handler may not see out of the responses it gets.
//!
//! It is a net against accidents, not a wall: a handler that was shown a secret (`reveal = true`) can always spell it
//! in a way that nobody recognises. It knows the value as it is, inside JSON, percent-encoded, in hexadecimal, and in
//! both forms of base64 wherever it begins; and each line of a value that has several, because a log is made of lines.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jobcell_core::attempt::Redact;
use jobcell_core::{Outcome, Stopped};

use crate::http::substitute::{in_json, in_url};
use crate::secret::Secrets;

/// Shorter values are not looked for: they would be found in ordinary words and numbers, and finding them would tell
/// what they are.
pub(crate) const VALUE_BYTES_MIN: usize = 6;
/// Longer values are looked for in pieces, so that a part of a key is found too. A multiple of three, so that every
/// piece stands alike in base64.
const PIECE_BYTES: usize = 96;
/// Lines of a value with several are looked for when they are as long.
const LINE_BYTES_MIN: usize = 16;
/// Bytes of a value that are looked for. What a secret's file may hold is more, but a match this long is one.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Finds the secrets granted to one handler.
pub(crate) struct Redactor {
    secrets: Arc<Secrets>,
    granted: Vec<Granted>,
    /// Made when the first text comes: many attempts say nothing.
    compiled: OnceLock<Option<Compiled>>,
}

/// One granted secret.
pub(crate) struct Granted {
    pub(crate) name: String,
    /// Whether the handler may see it.
    pub(crate) reveal: bool,
    pub(crate) stand_in: String,
}

struct Compiled {
    patterns: AhoCorasick,
    /// What the patterns look for.
    texts: Vec<Vec<u8>>,
    /// Which of the granted secrets each pattern belongs to.
    owners: Vec<usize>,
}

// === impl Redactor ===

impl Redactor {
    /// None when nothing is granted.
    pub(crate) fn new(secrets: Arc<Secrets>, granted: Vec<Granted>) -> Option<Arc<Self>> {
        let redactor = Self { secrets, granted, compiled: OnceLock::new() };
        if redactor.granted.is_empty() { None } else { Some(Arc::new(redactor)) }
    }

    /// The text with `[secret NAME]` for every secret. None when there is none.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        // The text may be JSON, so the name must not end a string of it.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let marked = |name: &str| name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>();
        let replaced =
            self.replace(text.as_bytes(), |granted| Some(format!("[secret {}]", marked(&granted.name))))?;
        Some(String::from_utf8_lossy(&replaced).into_owned())
    }

    /// The bytes with what `mark` makes of its name for every secret. None when there is none.
    pub(crate) fn replaced(&self, bytes: &[u8], mark: &dyn Fn(&str) -> String) -> Option<Vec<u8>> {
        self.replace(bytes, |granted| Some(mark(&granted.name)))
    }

    /// A response's header with the stand-ins of secrets that the handler may not see. A location with a token in it
    /// can still be followed: the stand-in is replaced again on the way out. None when there is none.
    pub(crate) fn header(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.replace(value, |granted| (!granted.reveal).then(|| granted.stand_in.clone()))
    }

    /// What of a body can be handed on when `data` follows on `held`: secrets that the handler may not see are overwritten
    /// byte by byte. An end that could begin one is kept in `held`.
    pub(crate) fn mask(&self, held: &mut Bytes, data: Bytes) -> Bytes {
        let Some(compiled) = self.compiled.get_or_init(|| self.compile()) else { return data };
        let mut whole = if held.is_empty() {
            data
        } else {
            let joined = [std::mem::take(held), data].concat();
            Bytes::from(joined)
        };
        let is_hidden = |pattern: usize| !self.granted[compiled.owners[pattern]].reveal;
        let found: Vec<_> = compiled
            .patterns
            .find_iter(&whole)
            .filter(|found| is_hidden(found.pattern().as_usize()))
            .map(|found| found.range())
            .collect();
        let tail = found.last().map_or(0, |range| range.end);
        let hidden = compiled
            .texts
            .iter()
            .enumerate()
            .filter(|(at, _)| is_hidden(*at))
            .map(|(_, text)| text.as_slice());
        *held = whole.split_off(whole.len() - begun(&whole[tail..], hidden));
        if found.is_empty() {
            return whole;
        }
        let mut masked = whole.to_vec();
        for range in found {
            masked[range].fill(b'*');
        }
        Bytes::from(masked)
    }

    /// The outcome with its reason and backtrace free of secrets. Results are data and stay as they are.
    pub(crate) fn outcome(&self, outcome: Outcome) -> Outcome {
        let clean = |text: String| self.text(&text).unwrap_or(text);
        match outcome {
            Outcome::Retry { reason, after } => Outcome::Retry { reason: clean(reason), after },
            Outcome::Fatal(reason) => Outcome::Fatal(clean(reason)),
            Outcome::Invalid(reason) => Outcome::Invalid(clean(reason)),
            Outcome::Stopped(Stopped { cause, reason, backtrace }) => {
                let backtrace = backtrace.into_iter().map(clean).collect();
                Outcome::Stopped(Stopped { cause, reason: clean(reason), backtrace })
            }
            Outcome::Complete(_)
            | Outcome::RateLimited(_)
            | Outcome::DelayUntil(_)
            | Outcome::Requeue
            | Outcome::WaitForChildren => outcome,
        }
    }

    fn replace(&self, text: &[u8], with: impl Fn(&Granted) -> Option<String>) -> Option<Vec<u8>> {
        let Compiled { patterns, owners, .. } = self.compiled.get_or_init(|| self.compile()).as_ref()?;
        let mut out: Option<Vec<u8>> = None;
        let mut done = 0;
        let mut last = None;
        for found in patterns.find_iter(text) {
            let owner = owners[found.pattern().as_usize()];
            let Some(replacement) = with(&self.granted[owner]) else { continue };
            let out = out.get_or_insert_default();
            // Pieces of one value one after the other are one value.
            if last != Some((owner, found.start())) {
                out.extend_from_slice(&text[done..found.start()]);
                out.extend_from_slice(replacement.as_bytes());
            }
            done = found.end();
            last = Some((owner, found.end()));
        }
        let mut out = out?;
        out.extend_from_slice(&text[done..]);
        Some(out)
    }

    fn compile(&self) -> Option<Compiled> {
        let mut spellings = BTreeSet::new();
        let (mut texts, mut owners) = (Vec::new(), Vec::new());
        for (owner, granted) in self.granted.iter().enumerate() {
            let Some(secret) = self.secrets.get(&granted.name) else { continue };
            for piece in pieces(secret.expose()) {
                for spelling in spellings_of(&piece) {
                    if spelling.len() >= VALUE_BYTES_MIN && spellings.insert(spelling.clone()) {
                        texts.push(spelling);
                        owners.push(owner);
                    }
                }
            }
        }
        if texts.is_empty() {
            return None;
        }
        // This kind is the smallest, and values are few and short. It fails for more patterns than memory holds only.
        let patterns = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&texts);
        match patterns {
            Ok(patterns) => Some(Compiled { patterns, texts, owners }),
            Err(error) => {
                tracing::error!(%error, "secrets cannot be looked for in what handlers say");
                None
            }
        }
    }
}

impl Redact for Redactor {
    fn redact(&self, text: &str) -> Option<String> {
        self.text(text)
    }
}

/// Bytes at the end of this data that one of the texts begins with, without being there whole.
fn begun<'t>(data: &[u8], texts: impl Iterator<Item = &'t [u8]>) -> usize {
    let Some(last) = data.last() else { return 0 };
    let longest = |text: &[u8]| {
        let most = data.len().min(text.len().saturating_sub(1));
        (1..=most).rev().find(|length| text[length - 1] == *last && data.ends_with(&text[..*length]))
    };
    texts.filter_map(longest).max().unwrap_or(0)
}

/// The value, or the pieces of a long one; and its lines.
fn pieces(value: &str) -> Vec<Cow<'_, str>> {
    let value = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
    if value.len() < VALUE_BYTES_MIN {
        return Vec::new();
    }
    let mut pieces: Vec<Cow<'_, str>> = if value.len() <= 2 * PIECE_BYTES {
        vec![value.into()]
    } else {
        value.as_bytes().chunks(PIECE_BYTES).map(String::from_utf8_lossy).collect()
    };
    // The first and the last line of a key in PEM say only what it is.
    let lines = value.lines().map(str::trim).filter(|line| {
        line.len() >= LINE_BYTES_MIN && line.len() < value.len() && !line.starts_with("-----")
    });
    pieces.extend(lines.map(Cow::Borrowed));
    pieces
}

/// The ways in which a value is commonly written.
fn spellings_of(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let in_url = in_url(value);
    let mut spellings = vec![
        bytes.to_vec(),
        in_json(value).into_bytes(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        in_url.replace("%20", "+").into_bytes(),
        lower_escapes(&in_url),
        in_url.into_bytes(),
    ];
    for before in 0..3 {
        // Characters that depend on the value alone, whatever stands before and after it.
        let (from, to) = ((before * 8_usize).div_ceil(6), (before + bytes.len()) * 8 / 6);
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            spellings.extend(encoded.as_bytes().get(from..to).map(<[u8]>::to_vec));
        }
    }
    spellings
}

/// Percent-encoded text with its escapes in small letters.
fn lower_escapes(text: &str) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        if out[at] == b'%' {
            let end = (at + 3).min(out.len());
            out[at..end].make_ascii_lowercase();
            at = end;
        } else {
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use jobcell_core::StopCause;

    use super::*;

    const VALUE: &str = "p@ss/w\"rd é+1 long";

    fn redactor_of(values: &[(&str, &str, bool)]) -> Arc<Redactor> {
        let secrets = values.iter().map(|(name, value, _)| ((*name).to_owned(), (*value).to_owned()));
        let granted = values
            .iter()
            .map(|(name, _, reveal)| Granted {
                name: (*name).to_owned(),
                reveal: *reveal,
                stand_in: format!("stand-in-{name}"),
            })
            .collect();
        Redactor::new(Arc::new(Secrets::new(secrets)), granted).unwrap()
    }

    #[test]
    fn every_common_spelling_is_found() {
        let redactor = redactor_of(&[("key", VALUE, false)]);
        let json = serde_json::to_string(VALUE).unwrap();
        let mut spelled = vec![
            VALUE.to_owned(),
            json[1..json.len() - 1].to_owned(),
            in_url(VALUE),
            in_url(VALUE).to_lowercase(),
            in_url(VALUE).replace("%20", "+"),
            hex::encode(VALUE),
            hex::encode_upper(VALUE),
        ];
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "zz", "zzz"] {
                let text = format!("{before}{VALUE}{after}");
                spelled.extend([STANDARD.encode(&text), URL_SAFE.encode(&text)]);
            }
        }
        for text in spelled {
            let shown = redactor.text(&format!("<{text}> twice {text}")).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(shown.matches("[secret key]").count(), 2, "{text}: {shown}");
            assert!(!shown.contains("w\"rd") && !shown.contains(&text), "{text}: {shown}");
        }
        assert_eq!(redactor.text("nothing of the kind"), None);
    }

    #[test]
    fn long_values_are_found_in_pieces_and_by_their_lines() {
        let lines: Vec<_> = (0..20).map(|n| format!("{n:02}{}", "Ab9/".repeat(15))).collect();
        let pem = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----\n", lines.join("\n"));
        let redactor = redactor_of(&[("pem", &pem, true)]);
        let shown = redactor.text(&format!("<{pem}>")).unwrap();
        assert_eq!(shown, "<[secret pem]>");
        for line in &lines {
            assert_eq!(redactor.text(line).unwrap(), "[secret pem]");
        }
        assert_eq!(redactor.text("-----BEGIN KEY-----"), None);
    }

    #[test]
    fn short_values_are_left_alone() {
        assert_eq!(redactor_of(&[("pin", "12345", false)]).text("12345 123456"), None);
        assert!(Redactor::new(Arc::default(), Vec::new()).is_none());
    }

    #[test]
    fn a_header_keeps_what_the_handler_may_see() {
        let redactor = redactor_of(&[("seen", "seen-value", true), ("hidden", "hidden-value", false)]);
        let header = redactor.header(b"/x?a=seen-value&b=hidden-value").unwrap();
        assert_eq!(String::from_utf8(header).unwrap(), "/x?a=seen-value&b=stand-in-hidden");
        assert_eq!(redactor.header(b"seen-value"), None);
    }

    #[test]
    fn reasons_and_backtraces_are_cleaned_and_results_are_not() {
        let redactor = redactor_of(&[("key", "secret-value", true)]);
        let told = || "saw secret-value".to_owned();
        let shown = [
            Outcome::Fatal(told()),
            Outcome::Invalid(told()),
            Outcome::Retry { reason: told(), after: None },
            Outcome::Stopped(Stopped { cause: StopCause::Panic, reason: told(), backtrace: vec![told()] }),
        ]
        .map(|outcome| format!("{:?}", redactor.outcome(outcome)));
        for shown in shown {
            assert!(shown.contains("saw [secret key]") && !shown.contains("secret-value"), "{shown}");
        }
        let result = Outcome::Complete(told().into());
        assert!(matches!(redactor.outcome(result), Outcome::Complete(bytes) if bytes == told()));
    }
}
