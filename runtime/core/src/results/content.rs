//! What two jobs have in common that may share a result: as a digest, and as keys of the cache.

mod canonical;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::decide::check_json;
use crate::names::key_part;
use canonical::canonical;

/// Changes when what is hashed does, so that results of an older release are not taken for others.
const RULES: &str = "jobcell results 1";
/// Bytes of a tenant's name that can be a part of keys: the same as for the cache that handlers see.
const TENANT_BYTES_MAX: usize = 512;

/// Whose content it is.
pub(super) struct Whose<'a> {
    pub(super) handler: &'a str,
    /// The version's digest; none where versions share results.
    pub(super) version: Option<&'a str>,
    /// The job's name: a handler may do different things by it.
    pub(super) job: &'a str,
    pub(super) tenant: &'a str,
}

/// The content of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Tenant, handler and digest: the end of both keys.
    place: String,
}

// === impl Content ===

impl Content {
    /// Of this payload, or of the parts of it that these pointers name.
    ///
    /// # Errors
    /// Why there is none. Without a part that counts, jobs are not equal: they only lack the same.
    pub(super) fn of(whose: &Whose<'_>, key: &[String], payload: &[u8]) -> Result<Self, String> {
        let Whose { handler, version, job, tenant } = *whose;
        if tenant.len() > TENANT_BYTES_MAX {
            return Err(format!("the job's tenant has more than {TENANT_BYTES_MAX} bytes"));
        }
        let mut hash = Sha256::new();
        for part in [RULES, handler, version.unwrap_or_default(), job, tenant] {
            feed(&mut hash, part.as_bytes());
        }
        let text = std::str::from_utf8(payload).ok().filter(|text| check_json(text.as_bytes()).is_ok());
        if key.is_empty() {
            let json = text.and_then(canonical);
            feed(&mut hash, if json.is_some() { b"json" } else { b"bytes" });
            feed(&mut hash, json.as_deref().map_or(payload, str::as_bytes));
        } else {
            let text = text.ok_or("the payload is not JSON, and result-cache.key names parts of it")?;
            for pointer in key {
                let part = find(text, pointer).ok_or_else(|| format!("the payload has no {pointer}"))?;
                feed(&mut hash, pointer.as_bytes());
                // Nested deeper than anybody reads: as it is written then.
                feed(&mut hash, canonical(part).map_or(Cow::Borrowed(part), Cow::Owned).as_bytes());
            }
        }
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { place: format!("{}:{}:{digest}", key_part(tenant), key_part(handler)) })
    }

    /// Where its result is. A handler's own keys begin with its tenant, in which there is no `#`: it reaches neither this
    /// nor the lock.
    pub(super) fn result_key(&self) -> String {
        format!("#result:{}", self.place)
    }

    /// Where it is noted that somebody computes it.
    pub(super) fn lock_key(&self) -> String {
        format!("#computing:{}", self.place)
    }
}

/// With the length in front, so that the border between two parts counts.
fn feed(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// What a JSON pointer leads to in valid JSON, as it is written. Of several members of one name the last, as in
/// JavaScript.
fn find<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let mut steps = pointer.split('/');
    if steps.next() != Some("") {
        return None;
    }
    steps.try_fold(text, |text, step| {
        let name = step.replace("~1", "/").replace("~0", "~");
        if text.trim_start().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let is_index =
                name == "0" || (!name.starts_with('0') && name.bytes().all(|c| c.is_ascii_digit()));
            items.get(name.parse::<usize>().ok().filter(|_| is_index)?).map(|item| item.get())
        } else {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            members.get(&name).map(|member| member.get())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOSE: Whose<'_> =
        Whose { handler: "moderation", version: Some("sha256:aa"), job: "image", tenant: "acme" };

    fn of(key: &[&str], payload: &str) -> Content {
        let key: Vec<String> = key.iter().map(|&pointer| pointer.to_owned()).collect();
        Content::of(&WHOSE, &key, payload.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_written_differently_is_the_same() {
        let one = of(&[], r#"{"b": [1, 2.50], "a": "é"}"#);
        assert_eq!(one, of(&[], "{\"a\":\"\\u00e9\",\n\"b\":[1,2.50]}"));
        assert_ne!(one, of(&[], r#"{"b": [2.50, 1], "a": "é"}"#));
        // Larger than a float can tell apart.
        assert_ne!(of(&[], r#"{"id":184467440737095516160}"#), of(&[], r#"{"id":184467440737095516161}"#));
        assert_ne!(of(&[], r#"{"a":1}"#), of(&[], r#"{"a":"1"}"#));
    }

    #[test]
    fn only_what_is_named_counts() {
        let key = ["/content/sha256", "/kinds/0"];
        let one = of(&key, r#"{"content":{"sha256":"ab","at":1},"kinds":["x","y"]}"#);
        assert_eq!(one, of(&key, r#"{"content":{"at":2,"sha256":"ab"},"kinds":["x"],"by":7}"#));
        assert_ne!(one, of(&key, r#"{"content":{"sha256":"ac"},"kinds":["x"]}"#));
        assert_ne!(of(&["/a"], r#"{"a":1,"b":1}"#), of(&["/b"], r#"{"a":1,"b":1}"#));
        assert_eq!(of(&["/a~1b/~0"], r#"{"a/b":{"~":1}}"#), of(&["/a~1b/~0"], r#"{"a/b":{"~":1},"c":2}"#));
    }

    #[test]
    fn jobs_that_lack_what_counts_have_nothing_in_common() {
        let none =
            |payload: &[u8]| Content::of(&WHOSE, &["/content/sha256".to_owned()], payload).unwrap_err();
        for payload in [&b"{}"[..], b"{\"content\":\"x\"}", b"{\"content\":[]}", b"null"] {
            assert_eq!(none(payload), "the payload has no /content/sha256");
        }
        assert!(none(b"\xff").contains("not JSON"));
        let long = Whose { tenant: &"t".repeat(513), ..WHOSE };
        assert!(Content::of(&long, &[], b"1").unwrap_err().contains("tenant"));
    }

    #[test]
    fn everything_that_tells_jobs_apart_does() {
        let digest = |whose: &Whose<'_>| Content::of(whose, &[], b"1").unwrap();
        let one = digest(&WHOSE);
        for other in [
            Whose { handler: "other", ..WHOSE },
            Whose { version: Some("sha256:bb"), ..WHOSE },
            Whose { version: None, ..WHOSE },
            Whose { job: "video", ..WHOSE },
            Whose { tenant: "", ..WHOSE },
            // The border between two parts.
            Whose { job: "imageacme", tenant: "", ..WHOSE },
        ] {
            assert_ne!(digest(&other), one);
        }
        let raw = |bytes: &[u8]| Content::of(&WHOSE, &[], bytes).unwrap();
        assert_ne!(raw(b"not json"), raw(b"not  json"));
    }

    #[test]
    fn no_key_of_a_handler_is_one_of_these() {
        let content =
            Content::of(&Whose { tenant: "#result:a", handler: "b:c", ..WHOSE }, &[], b"1").unwrap();
        assert!(content.result_key().starts_with("#result:%23result%3Aa:b%3Ac:"), "{content:?}");
        // As the capability puts them together.
        let of_guest = format!("{}:{}:{}", key_part("#result"), key_part("a"), "b");
        assert!(!of_guest.starts_with('#'));
    }

    #[test]
    fn pointers_into_arrays_are_plain_numbers() {
        for (pointer, found) in [
            ("/0", Some("1")),
            ("/1/x", Some("2")),
            ("/00", None),
            ("/+0", None),
            ("/-", None),
            ("", Some("[1,{\"x\":2}]")),
        ] {
            assert_eq!(find("[1,{\"x\":2}]", pointer), found, "{pointer}");
        }
        assert_eq!(find("{\"a\":1,\"a\":2}", "/a"), Some("2"));
        assert_eq!(find("{\"\":1}", "/"), Some("1"));
        assert_eq!(find("{\"a\":1}", "a"), None);
    }
}
