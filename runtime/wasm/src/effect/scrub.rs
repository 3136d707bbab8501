//! Takes secrets and their stand-ins out of what is recorded, and puts this handler's own back into what is played.
//!
//! Stand-ins are taken out too: each version of a handler has others, and one that is recorded would be asked for in vain.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderName;
use jobcell_core::effects::{Answer, Blob, BlobInfo, Fault, Response};
use memchr::memmem;

use crate::secret::PLACEHOLDER_START;
use crate::template::Template;

/// What stands before the name of a secret that was taken out: nothing that occurs in texts.
const BEFORE: &str = "\u{1}jobcell secret:";
/// What stands after it.
const AFTER: u8 = 1;
/// Bytes of a stand-in.
const STAND_IN_BYTES: usize = PLACEHOLDER_START.len() + 32;

/// Knows the secrets of one version of a handler.
pub(crate) struct Scrub(Arc<Template>);

// === impl Scrub ===

impl Scrub {
    /// None for a handler without secrets, whose recordings need no cleaning.
    pub(crate) fn of(template: &Arc<Template>) -> Option<Self> {
        template.redactor().is_some().then(|| Self(Arc::clone(template)))
    }

    /// The bytes without secrets; none when there were none.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let without_stand_ins = self.without_stand_ins(bytes);
        let seen = without_stand_ins.as_deref().unwrap_or(bytes);
        let clean = self.0.redactor().and_then(|redactor| redactor.replaced(seen, &mark));
        clean.or(without_stand_ins)
    }

    fn without_stand_ins(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut done = 0;
        for at in memmem::find_iter(bytes, PLACEHOLDER_START) {
            let end = at + STAND_IN_BYTES;
            let Some(name) = bytes.get(at..end).and_then(|text| self.0.secret_behind(text)) else { continue };
            let out = out.get_or_insert_default();
            out.extend_from_slice(&bytes[done..at]);
            out.extend_from_slice(mark(name).as_bytes());
            done = end;
        }
        let mut out = out?;
        out.extend_from_slice(&bytes[done..]);
        Some(out)
    }

    /// A text for people; none when there was nothing to take out.
    pub(crate) fn shown(&self, text: &str) -> Option<String> {
        let clean = self.without_stand_ins(text.as_bytes());
        let clean = clean
            .map(|clean| String::from_utf8_lossy(&clean).replace(BEFORE, "[secret ").replace('\u{1}', "]"));
        let redacted = self.0.redactor().and_then(|redactor| redactor.text(clean.as_deref().unwrap_or(text)));
        redacted.or(clean)
    }

    /// A request's header without secrets: in `authorization: Basic …` they are inside the encoding.
    pub(crate) fn header<'v>(&self, name: &HeaderName, value: &'v [u8]) -> Cow<'v, [u8]> {
        if *name == http::header::AUTHORIZATION
            && let Some((scheme, encoded)) = value.split_at_checked(6)
            && scheme.eq_ignore_ascii_case(b"basic ")
            && let Ok(pair) = STANDARD.decode(encoded.trim_ascii())
            && let Some(clean) = self.bytes(&pair)
        {
            return Cow::Owned(clean);
        }
        self.bytes(value).map_or(Cow::Borrowed(value), Cow::Owned)
    }

    /// An answer as it is recorded.
    pub(crate) fn out(&self, answer: Answer) -> Answer {
        each(answer, &|bytes| self.bytes(bytes))
    }

    /// A recorded answer as this handler is given it.
    pub(crate) fn back(&self, answer: Answer) -> Answer {
        each(answer, &|bytes| self.put_back(bytes))
    }

    fn put_back(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut done = 0;
        for at in memmem::find_iter(bytes, BEFORE) {
            let start = at + BEFORE.len();
            let Some(length) = bytes[start..].iter().position(|byte| *byte == AFTER) else { break };
            let Some(own) =
                std::str::from_utf8(&bytes[start..start + length]).ok().and_then(|name| self.own(name))
            else {
                continue;
            };
            let out = out.get_or_insert_default();
            out.extend_from_slice(&bytes[done..at]);
            out.extend_from_slice(own.as_bytes());
            done = start + length + 1;
        }
        let mut out = out?;
        out.extend_from_slice(&bytes[done..]);
        Some(out)
    }

    /// A secret as this handler may have it.
    fn own(&self, name: &str) -> Option<String> {
        let grant = self.0.grants().secret(name)?;
        if grant.reveal {
            self.0.services().secrets.get(name).map(|secret| secret.expose().to_owned())
        } else {
            Some(self.0.placeholder(name))
        }
    }
}

fn mark(name: &str) -> String {
    format!("{BEFORE}{name}\u{1}")
}

/// Changes every text in an answer.
fn each(answer: Answer, change: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Answer {
    let blob = |Blob(bytes): Blob| Blob(change(&bytes).map_or(bytes, Bytes::from));
    let text = |text: String| match change(text.as_bytes()) {
        Some(changed) => String::from_utf8_lossy(&changed).into_owned(),
        None => text,
    };
    let fields =
        |fields: Vec<(String, Blob)>| fields.into_iter().map(|(name, value)| (name, blob(value))).collect();
    match answer {
        Answer::Done | Answer::Flag(_) | Answer::Number(_) => answer,
        Answer::Text(answer) => Answer::Text(text(answer)),
        Answer::Value(value) => Answer::Value(value.map(blob)),
        Answer::Pairs(pairs) => {
            Answer::Pairs(pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect())
        }
        Answer::Keys(keys, next) => Answer::Keys(keys.into_iter().map(text).collect(), next),
        Answer::Content(size, content) => Answer::Content(size, content.map(blob)),
        Answer::Infos(infos) => {
            Answer::Infos(infos.into_iter().map(|info| BlobInfo { key: text(info.key), ..info }).collect())
        }
        Answer::Response(Response { status, headers, body, trailers, end }) => Answer::Response(Response {
            status,
            headers: fields(headers),
            body: blob(body),
            trailers: fields(trailers),
            end,
        }),
        Answer::Failed(Fault { code, detail }) => Answer::Failed(Fault { code, detail: detail.map(text) }),
    }
}
