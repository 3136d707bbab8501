//! What a question consists of: made into a fingerprint, and into a few words for people.

use jobcell_core::HostCall;
use jobcell_core::effects::{Print, Request};
use sha2::{Digest, Sha256};

use super::scrub::Scrub;

/// Bytes of a question's words.
const WHAT_BYTES_MAX: usize = 200;

/// Collects what a question consists of. Secrets and their stand-ins are taken out of every part first, so that two
/// versions of a handler, whose stand-ins differ, ask the same where they mean the same.
pub(crate) struct Parts<'a> {
    kind: HostCall,
    hash: Sha256,
    what: String,
    scrub: Option<&'a Scrub>,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    pub(crate) fn new(kind: HostCall, call: &str, scrub: Option<&'a Scrub>) -> Self {
        let mut parts = Self { kind, hash: Sha256::new(), what: call.to_owned(), scrub };
        parts.add(kind.as_str().as_bytes());
        parts.add(call.as_bytes());
        parts
    }

    fn add(&mut self, part: &[u8]) {
        // With its length before it: no two lists of parts are one text.
        self.hash.update((part.len() as u64).to_le_bytes());
        self.hash.update(part);
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, part: &[u8]) {
        match self.scrub.and_then(|scrub| scrub.bytes(part)) {
            Some(clean) => self.add(&clean),
            None => self.add(part),
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, part: &str) {
        self.bytes(part.as_bytes());
    }

    /// A text that may be missing.
    pub(crate) fn maybe(&mut self, part: Option<&str>) {
        self.number(part.is_some().into());
        self.text(part.unwrap_or_default());
    }

    /// A number.
    pub(crate) fn number(&mut self, part: u64) {
        self.add(&part.to_le_bytes());
    }

    /// A number that may be missing.
    pub(crate) fn maybe_number(&mut self, part: Option<u64>) {
        self.number(part.is_some().into());
        self.number(part.unwrap_or_default());
    }

    /// A text that people should see: a key, a channel, the place a request goes to.
    pub(crate) fn name(&mut self, part: &str) {
        self.text(part);
        self.say(part);
    }

    /// Words for people that are no part of the question.
    pub(crate) fn say(&mut self, words: &str) {
        let clean = self.scrub.and_then(|scrub| scrub.shown(words));
        let words = clean.as_deref().unwrap_or(words);
        let room = WHAT_BYTES_MAX.saturating_sub(self.what.len() + 1);
        self.what.push(' ');
        self.what.push_str(&words[..words.floor_char_boundary(room)]);
    }

    pub(crate) fn request(self, writes: bool) -> Request {
        let Self { kind, hash, what, scrub: _ } = self;
        let mut print = [0; 16];
        print.copy_from_slice(&hash.finalize()[..16]);
        Request { kind, what, print: Print(print), writes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parts: impl FnOnce(&mut Parts<'_>)) -> Request {
        let mut asked = Parts::new(HostCall::Cache, "cache set", None);
        parts(&mut asked);
        asked.request(true)
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let prints = [
            request(|_| ()),
            request(|ask| ask.text("ab")),
            request(|ask| ["a", "b"].into_iter().for_each(|part| ask.text(part))),
            request(|ask| ["", "ab"].into_iter().for_each(|part| ask.text(part))),
            request(|ask| ask.maybe(None)),
            request(|ask| ask.maybe(Some(""))),
            request(|ask| ask.maybe_number(None)),
            request(|ask| ask.maybe_number(Some(0))),
            Parts::new(HostCall::KeyValue, "cache set", None).request(true),
            Parts::new(HostCall::Cache, "cache get", None).request(true),
        ]
        .map(|request| request.print);
        for (n, print) in prints.iter().enumerate() {
            assert!(!prints[..n].contains(print), "{n}");
        }
        assert_eq!(request(|ask| ask.text("ab")), request(|ask| ask.text("ab")));
    }

    #[test]
    fn words_are_cut_and_are_no_part_of_the_question() {
        let long = request(|ask| ask.say(&"é".repeat(500)));
        assert!(long.what.starts_with("cache set é") && long.what.len() <= WHAT_BYTES_MAX);
        assert_eq!(long.print, request(|_| ()).print);
        assert_eq!(request(|ask| ask.name("user:1")).what, "cache set user:1");
    }
}
