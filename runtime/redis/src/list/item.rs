//! What producers push: bytes that are an envelope, or a job's id, or just a payload.
//!
//! An item that is a JSON object with `id` is an envelope. Every other item is the id of its job, byte for byte, and is
//! its payload too where the job's record has none.

use std::fmt;

use bytes::Bytes;
use jobcell_core::store::{Malformed, NewJob};
use jobcell_core::{JobId, NameError};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// What an id is in text when its bytes are none, or are mistakable: in hex.
const HEX: &str = "hex:";
/// What an id is in text when it is too long to be one: its digest.
const DIGEST: &str = "sha256:";
/// The longest item that is an id as it stands; longer ones are payloads. As long as ids are anywhere else.
const TEXT_BYTES_MAX: usize = 4096;
/// The longest item that is shown in hex.
const HEX_BYTES_MAX: usize = 512;

/// An item that was read.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Whose job it is.
    pub(crate) id: JobId,
    /// What it brings along; none when it is a bare id or payload.
    pub(crate) envelope: Option<Envelope>,
    /// Why it cannot be run.
    pub(crate) fault: Option<Malformed>,
}

/// What an envelope says of its job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) name: Option<String>,
    /// JSON text, as it stands in the item.
    pub(crate) data: Option<Bytes>,
    pub(crate) tenant: Option<String>,
    pub(crate) attempts: Option<u64>,
    /// No kept result is taken for it.
    pub(crate) fresh: bool,
}

// === impl Item ===

impl Item {
    /// Reads an item, whatever it is.
    ///
    /// # Errors
    /// Never for an item: only if a name that was made here is no name.
    pub(crate) fn read(raw: &Bytes) -> Result<Self, NameError> {
        let Some(members) = Members::of(raw) else {
            return Ok(Self { id: name_of(raw)?, envelope: None, fault: None });
        };
        match members.envelope(raw) {
            Ok((id, envelope)) => {
                Ok(Self { id: name_of(id.as_bytes())?, envelope: Some(envelope), fault: None })
            }
            Err(fault) => Ok(Self { id: name_of(raw)?, envelope: None, fault: Some(fault) }),
        }
    }
}

/// The name of the job with this id: the id, where it is a text.
pub(crate) fn name_of(raw: &[u8]) -> Result<JobId, NameError> {
    let plain = std::str::from_utf8(raw).ok().filter(|text| {
        !text.is_empty()
            && text.len() <= TEXT_BYTES_MAX
            && !text.starts_with(HEX)
            && !text.starts_with(DIGEST)
    });
    match plain {
        Some(text) => JobId::new(text),
        None if raw.len() <= HEX_BYTES_MAX => JobId::new(HEX.to_owned() + &hex::encode(raw)),
        None => JobId::new(DIGEST.to_owned() + &hex::encode(Sha256::digest(raw))),
    }
}

/// The id that has this name, as it stands in the key of its record; for a digest, the name.
pub(crate) fn bytes_of(name: &JobId) -> Vec<u8> {
    let text = name.as_str();
    text.strip_prefix(HEX)
        .and_then(|digits| hex::decode(digits).ok())
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

/// The envelope of a job that is added here. Its data goes along where it is JSON text, which is all an envelope can
/// hold; none means that it must go into the record.
pub(crate) fn envelope_of(id: &JobId, job: &NewJob) -> Result<(Vec<u8>, Option<Bytes>), serde_json::Error> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        id: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<u64>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        fresh: bool,
    }
    let NewJob { name, data, options, parent: _ } = job;
    // What surrounds a JSON value is no part of it, and would be lost.
    let json = serde_json::from_slice::<&RawValue>(data).ok().filter(|json| json.get().len() == data.len());
    let wire = Wire {
        id: id.as_str(),
        name,
        data: json,
        tenant_id: options.tenant.as_deref(),
        attempts: Some(options.attempts).filter(|attempts| *attempts > 0),
        fresh: options.fresh,
    };
    Ok((serde_json::to_vec(&wire)?, json.is_none().then(|| data.clone())))
}

/// The members of an object that make it an envelope. Of several of one name the last counts, as in JavaScript.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    tenant: Option<&'a RawValue>,
    attempts: Option<&'a RawValue>,
    fresh: Option<&'a RawValue>,
}

// === impl Members ===

impl<'a> Members<'a> {
    /// None when the item is no JSON object with `id`.
    fn of(raw: &'a [u8]) -> Option<Self> {
        if raw.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return None;
        }
        serde_json::from_slice::<Self>(raw).ok().filter(|members| members.id.is_some())
    }

    fn envelope(&self, raw: &Bytes) -> Result<(String, Envelope), Malformed> {
        let Self { id, name, data, tenant, attempts, fresh } = self;
        let id = id.map(|id| text_or_number("id", id)).transpose()?.flatten().unwrap_or_default();
        if id.is_empty() {
            return Err(malformed("id", "is null or empty; give each job an id"));
        }
        if id.len() > TEXT_BYTES_MAX {
            let cause = format!("has {} bytes; the limit is {TEXT_BYTES_MAX}", id.len());
            return Err(Malformed { field: "id".to_owned(), cause });
        }
        let name = match name.map(|name| serde_json::from_str::<Option<String>>(name.get())) {
            None => None,
            Some(Ok(name)) => name.filter(|name| !name.is_empty()),
            Some(Err(_)) => return Err(malformed("name", "is not a text")),
        };
        let envelope = Envelope {
            name,
            data: data.map(|data| raw.slice_ref(data.get().as_bytes())),
            tenant: tenant.map(|tenant| text_or_number("tenantId", tenant)).transpose()?.flatten(),
            attempts: attempts.map(count).transpose()?.flatten(),
            fresh: match fresh.map(|fresh| serde_json::from_str::<Option<bool>>(fresh.get())) {
                None => false,
                Some(Ok(fresh)) => fresh.unwrap_or_default(),
                Some(Err(_)) => return Err(malformed("fresh", "is neither true nor false")),
            },
        };
        Ok((id, envelope))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Members::default();
                while let Some(key) = map.next_key::<String>()? {
                    let member = match key.as_str() {
                        "id" => &mut members.id,
                        "name" => &mut members.name,
                        "data" => &mut members.data,
                        "tenantId" => &mut members.tenant,
                        "attempts" => &mut members.attempts,
                        "fresh" => &mut members.fresh,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *member = Some(map.next_value()?);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reading)
    }
}

fn malformed(field: &str, cause: &str) -> Malformed {
    Malformed { field: field.to_owned(), cause: cause.to_owned() }
}

/// A number stays as it is written: ids are often numbers, and longer than a float is exact.
fn text_or_number(field: &str, raw: &RawValue) -> Result<Option<String>, Malformed> {
    let json = raw.get();
    if json.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Ok(Some(json.to_owned()));
    }
    serde_json::from_str(json).map_err(|_| malformed(field, "is neither a text nor a number"))
}

/// How often a job is tried; 0 means once, as everywhere.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and not negative; a cast saturates"
)]
fn count(raw: &RawValue) -> Result<Option<u64>, Malformed> {
    let text = text_or_number("attempts", raw)?;
    let Some(text) = text else { return Ok(None) };
    match text.trim().parse::<f64>() {
        Ok(n) if n >= 0.0 && n.fract() == 0.0 => Ok(Some((n as u64).max(1))),
        _ => Err(malformed("attempts", "is not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &'static [u8]) -> Item {
        Item::read(&Bytes::from_static(raw)).unwrap()
    }

    #[test]
    fn an_object_with_an_id_is_an_envelope() {
        let item = read(
            br#" {"id":"a-1","name":"resize","data":{ "w" : 1.50 },"tenantId":"t1","attempts":5,"x":[1],"fresh":true} "#,
        );
        assert_eq!(item.id.as_str(), "a-1");
        let envelope = Envelope {
            name: Some("resize".into()),
            data: Some(Bytes::from_static(br#"{ "w" : 1.50 }"#)),
            tenant: Some("t1".into()),
            attempts: Some(5),
            fresh: true,
        };
        assert_eq!(item.envelope, Some(envelope));
    }

    #[test]
    fn ids_and_tenants_may_be_numbers_and_stay_as_they_are_written() {
        let item = read(br#"{"id":12345678901234567890,"tenantId":7,"attempts":"3"}"#);
        assert_eq!(item.id.as_str(), "12345678901234567890");
        let envelope = item.envelope.unwrap();
        assert_eq!((envelope.tenant.as_deref(), envelope.attempts), (Some("7"), Some(3)));
        assert_eq!(read(br#"{"id":7}"#).id, read(b"7").id, "one job, however it is pushed");
    }

    #[test]
    fn what_is_null_or_missing_says_nothing_but_null_data_is_data() {
        let item = read(br#"{"id":"a","name":null,"tenantId":null,"attempts":null}"#);
        assert_eq!(item.envelope, Some(Envelope::default()));
        let item = read(br#"{"id":"a","data":null}"#);
        assert_eq!(item.envelope.unwrap().data.as_deref(), Some(&b"null"[..]));
    }

    #[test]
    fn of_two_members_of_one_name_the_last_counts() {
        let item = read(br#"{"id":"a","i\u0064":"b","data":1,"data":2}"#);
        assert_eq!((item.id.as_str(), item.envelope.unwrap().data.as_deref()), ("b", Some(&b"2"[..])));
    }

    #[test]
    fn every_other_item_is_an_id() {
        for raw in [
            &b"job-uuid-1"[..],
            b"42",
            b"\"text\"",
            b"[{\"id\":1}]",
            b"{\"a\":1}",
            b"{\"id\":1} x",
            b"{\"id\":1",
            b"null",
            b" ",
            b"a:b:c",
            "\u{fc}\n".as_bytes(),
        ] {
            let item = Item::read(&Bytes::copy_from_slice(raw)).unwrap();
            assert!(item.envelope.is_none() && item.fault.is_none(), "{raw:?}");
            assert_eq!(item.id.as_str().as_bytes(), raw);
        }
    }

    #[test]
    fn names_are_different_where_ids_are_and_lead_back() {
        let long = vec![b'x'; TEXT_BYTES_MAX + 1];
        let binary = vec![0xff; HEX_BYTES_MAX + 1];
        let raws: [&[u8]; 9] =
            [b"", b"\xff\x00", b"ff00", b"hex:ff00", b"hex:", b"sha256:00", &long, &binary, b"\xff"];
        let names: std::collections::BTreeSet<_> = raws.iter().map(|raw| name_of(raw).unwrap()).collect();
        assert_eq!(names.len(), raws.len());
        for raw in raws.iter().filter(|raw| raw.len() <= HEX_BYTES_MAX) {
            assert_eq!(bytes_of(&name_of(raw).unwrap()), *raw);
        }
        assert!(name_of(&long).unwrap().as_str().starts_with("sha256:"));
    }

    #[test]
    fn an_envelope_that_cannot_be_run_says_which_member_is_wrong() {
        for (raw, field) in [
            (&br#"{"id":null}"#[..], "id"),
            (br#"{"id":""}"#, "id"),
            (br#"{"id":{"a":1}}"#, "id"),
            (br#"{"id":true}"#, "id"),
            (br#"{"id":1,"name":5}"#, "name"),
            (br#"{"id":1,"tenantId":[]}"#, "tenantId"),
            (br#"{"id":1,"attempts":"many"}"#, "attempts"),
            (br#"{"id":1,"attempts":-1}"#, "attempts"),
            (br#"{"id":1,"attempts":1.5}"#, "attempts"),
            (br#"{"id":1,"fresh":"yes"}"#, "fresh"),
        ] {
            let item = Item::read(&Bytes::copy_from_slice(raw)).unwrap();
            assert_eq!(item.fault.expect("a fault").field, field);
            assert_eq!(item.id.as_str().as_bytes(), raw, "it is named by itself");
        }
    }

    #[test]
    fn deep_data_is_taken_as_it_is() {
        let deep = format!("{{\"id\":1,\"data\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        let item = Item::read(&Bytes::from(deep.into_bytes())).unwrap();
        assert_eq!(item.envelope.unwrap().data.unwrap().len(), 10_000);
    }

    #[test]
    fn what_is_added_here_reads_back() {
        let mut job = NewJob::new("resize", "{\"a\" : [1]}");
        job.options.tenant = Some("t".to_owned());
        job.options.attempts = 4;
        let id = JobId::new("x").unwrap();
        let (raw, apart) = envelope_of(&id, &job).unwrap();
        assert_eq!(raw, br#"{"id":"x","name":"resize","data":{"a" : [1]},"tenantId":"t","attempts":4}"#);
        assert_eq!(apart, None);
        assert_eq!(Item::read(&raw.into()).unwrap().id, id);
        let (raw, apart) = envelope_of(&id, &NewJob::new("n", &b"\xff\x00"[..])).unwrap();
        assert_eq!((&raw[..], apart.as_deref()), (&br#"{"id":"x","name":"n"}"#[..], Some(&b"\xff\x00"[..])));
        let (_, apart) = envelope_of(&id, &NewJob::new("n", " 1 ")).unwrap();
        assert_eq!(apart.as_deref(), Some(&b" 1 "[..]));
    }
}
