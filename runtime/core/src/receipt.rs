//! What one attempt cost: measured by a [`crate::Runner`], stored with the job, shown by `job receipt` and `invoke`.
//!
//! The names of the fields are public: they are what `--json` prints and what the store keeps. Zeros and empty lists
//! are left out, and what a newer host writes besides is ignored.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::outcome::StopCause;

/// What one attempt cost. Zero or empty where a runner does not measure it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// Microseconds from the start of the attempt to its outcome.
    #[serde(skip_serializing_if = "is_zero")]
    pub wall_us: u64,
    /// Microseconds of it spent computing, host calls included, waiting excluded.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_us: u64,
    /// Microseconds to make the cell.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_us: u64,
    /// Most bytes of memory and tables the guest held.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory_peak_bytes: u64,
    /// Calls from the guest into the host.
    #[serde(skip_serializing_if = "HostCalls::is_empty")]
    pub host_calls: HostCalls,
    /// Where requests went, and what they carried.
    #[serde(skip_serializing_if = "Destinations::is_empty")]
    pub destinations: Destinations,
    /// Limits used to 80 % or more, and those that refused something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<Near>,
    /// Nothing was run: the result is that of another job with the same content ([`crate::results`]).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// That job, as `QUEUE/ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed_by: Option<String>,
    /// Bytes written into the job's log.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_bytes: u64,
    /// Bytes that did not go into the log because of its limits.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_bytes_dropped: u64,
    /// Whole lines that did not.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_lines_dropped: u64,
    /// Why the host ended the attempt, or what broke.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known_cause")]
    pub stopped_by: Option<StopCause>,
}

/// What a guest can call the host for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostCall {
    /// `jobcell:job/context`: progress, log, time left, children.
    Context,
    /// `wasi:logging`.
    Logging,
    /// `wasi:http`.
    Http,
    /// `jobcell:job/secrets`.
    Secrets,
    /// `jobcell:job/cache`.
    Cache,
    /// `wasi:keyvalue`.
    KeyValue,
    /// `wasi:config`.
    Config,
    /// `jobcell:job/blobs`.
    Blobs,
    /// `jobcell:job/jobs`.
    Jobs,
    /// `jobcell:job/publish`.
    Publish,
    /// The rest of WASI: clocks, random, streams, polls.
    Wasi,
}

/// How often the host was called, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCalls([u32; HostCall::ALL.len()]);

/// One place that requests went to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// Host and port; [`Destinations::OTHERS`] for all beyond the first [`Destinations::MAX`].
    pub host: String,
    /// Requests that left, answered or not.
    pub requests: u32,
    /// Bytes of their bodies.
    pub sent: u64,
    /// Bytes of the answers' bodies.
    pub received: u64,
}

/// The places that requests went to, in the order of their first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Destinations(Vec<Destination>);

/// A limit that was nearly used up, or that refused something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// The key under `[handlers.NAME.limits]`.
    pub name: Cow<'static, str>,
    /// How much was used, or asked for where it was refused: bytes, a count, or milliseconds.
    pub used: u64,
    /// The limit, in the same unit.
    pub of: u64,
}

// === impl Receipt ===

impl Receipt {
    /// Notes a limit when 80 % or more of it is used. Of several notes of one limit the highest stays.
    pub fn note(&mut self, name: impl Into<Cow<'static, str>>, used: u64, of: u64) {
        if Near::is_near(used, of) {
            Near::keep(&mut self.near, Near { name: name.into(), used, of });
        }
    }

    /// As compact JSON text of at most about so many bytes: destinations, then near limits are cut off when it is
    /// longer. The rest takes at most about 600 bytes, and is never cut.
    #[must_use]
    pub fn to_json(&self, bytes_max: usize) -> String {
        // Serialising cannot fail: there are no maps with keys that are no text.
        let text = |receipt: &Self| serde_json::to_string(receipt).unwrap_or_default();
        let whole = text(self);
        if whole.len() <= bytes_max {
            return whole;
        }
        let mut cut = self.clone();
        while cut.destinations.0.pop().is_some() || cut.near.pop().is_some() {
            let shorter = text(&cut);
            if shorter.len() <= bytes_max {
                return shorter;
            }
        }
        text(&cut)
    }
}

// === impl HostCall ===

impl HostCall {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::Context,
        Self::Logging,
        Self::Http,
        Self::Secrets,
        Self::Cache,
        Self::KeyValue,
        Self::Config,
        Self::Blobs,
        Self::Jobs,
        Self::Publish,
        Self::Wasi,
    ];

    /// The name in a receipt.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Logging => "logging",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::Cache => "cache",
            Self::KeyValue => "keyvalue",
            Self::Config => "config",
            Self::Blobs => "blobs",
            Self::Jobs => "jobs",
            Self::Publish => "publish",
            Self::Wasi => "wasi",
        }
    }
}

// === impl HostCalls ===

impl HostCalls {
    /// Counts one call.
    #[inline]
    pub fn count(&mut self, kind: HostCall) {
        let calls = &mut self.0[kind as usize];
        *calls = calls.saturating_add(1);
    }

    /// Calls of one kind.
    #[must_use]
    pub fn of(&self, kind: HostCall) -> u32 {
        self.0[kind as usize]
    }

    /// Calls of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|calls| u64::from(*calls)).sum()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|calls| *calls == 0)
    }

    /// The kinds that were called, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (HostCall, u32)> + '_ {
        HostCall::ALL.into_iter().zip(self.0).filter(|(_, calls)| *calls > 0)
    }
}

impl Serialize for HostCalls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, calls) in self.iter() {
            map.serialize_entry(kind.as_str(), &calls)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for HostCalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = HostCalls;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("counts by kind of host call")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HostCalls, A::Error> {
                let mut calls = HostCalls::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match HostCall::ALL.into_iter().find(|kind| kind.as_str() == name) {
                        Some(kind) => calls.0[kind as usize] = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(calls)
            }
        }
        deserializer.deserialize_map(Kinds)
    }
}

// === impl Destinations ===

impl Destinations {
    /// Places that are told apart.
    pub const MAX: usize = 16;
    /// The name of all others.
    pub const OTHERS: &'static str = "others";

    /// The place of this host, made when it is new. The index holds as long as `self`.
    pub fn index(&mut self, host: &str) -> usize {
        let host = if self.0.len() < Self::MAX || self.0.iter().any(|known| known.host == host) {
            host
        } else {
            Self::OTHERS
        };
        self.0.iter().position(|known| known.host == host).unwrap_or_else(|| {
            self.0.push(Destination { host: host.to_owned(), ..Destination::default() });
            self.0.len() - 1
        })
    }

    /// The place with this index.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Destination> {
        self.0.get_mut(index)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Destination> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Near ===

impl Near {
    /// Whether so much of a limit is worth a note.
    #[must_use]
    pub fn is_near(used: u64, of: u64) -> bool {
        // Of a limit of nothing, nothing is not near.
        used > 0 && used >= of - of / 5
    }

    /// Adds a note; of several notes of one limit the highest stays.
    pub fn keep(notes: &mut Vec<Self>, note: Self) {
        match notes.iter_mut().find(|kept| kept.name == note.name) {
            Some(kept) if kept.used >= note.used => {}
            Some(kept) => *kept = note,
            None => notes.push(note),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A cause that only a newer host knows is none.
fn known_cause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StopCause>, D::Error> {
    let name = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(name.and_then(|name| StopCause::ALL.into_iter().find(|cause| cause.as_str() == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Receipt {
        let mut receipt = Receipt { wall_us: 12, stopped_by: Some(StopCause::Cpu), ..Receipt::default() };
        receipt.host_calls.count(HostCall::Http);
        receipt.host_calls.count(HostCall::Http);
        receipt.host_calls.count(HostCall::Wasi);
        let at = receipt.destinations.index("a.example:443");
        *receipt.destinations.get_mut(at).unwrap() =
            Destination { host: "a.example:443".to_owned(), requests: 2, sent: 5, received: 7 };
        receipt.note("cpu", 9, 10);
        receipt
    }

    #[test]
    fn only_what_happened_is_written_and_it_reads_back() {
        assert_eq!(serde_json::to_string(&Receipt::default()).unwrap(), "{}");
        let text = serde_json::to_string(&full()).unwrap();
        assert_eq!(
            text,
            r#"{"wall_us":12,"host_calls":{"http":2,"wasi":1},"destinations":[{"host":"a.example:443","requests":2,"sent":5,"received":7}],"near":[{"name":"cpu","used":9,"of":10}],"stopped_by":"cpu"}"#
        );
        assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), full());
    }

    #[test]
    fn what_a_newer_host_adds_is_ignored() {
        let newer = r#"{"wall_us":1,"joules":3,"host_calls":{"gpu":2,"jobs":1},"stopped_by":"heat"}"#;
        let read: Receipt = serde_json::from_str(newer).unwrap();
        assert_eq!((read.wall_us, read.host_calls.total(), read.stopped_by), (1, 1, None));
    }

    #[test]
    fn the_page_about_receipts_names_everything() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/receipts.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut receipt = full();
        HostCall::ALL.into_iter().for_each(|kind| receipt.host_calls.count(kind));
        (receipt.cpu_us, receipt.start_us, receipt.memory_peak_bytes) = (1, 1, 1);
        (receipt.log_bytes, receipt.log_bytes_dropped, receipt.log_lines_dropped) = (1, 1, 1);
        (receipt.cached, receipt.computed_by) = (true, Some("q/1".to_owned()));
        let serde_json::Value::Object(fields) = serde_json::to_value(&receipt).unwrap() else { panic!() };
        assert_eq!(fields.len(), 13);
        let mut names: Vec<&str> = StopCause::ALL.map(StopCause::as_str).to_vec();
        names.extend(HostCall::ALL.map(HostCall::as_str));
        names.extend(fields.keys().map(String::as_str));
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn kinds_stand_at_their_own_place() {
        for (index, kind) in HostCall::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn beyond_the_first_sixteen_places_are_one() {
        let mut places = Destinations::default();
        for n in 0..40 {
            let at = places.index(&format!("h{n}"));
            places.get_mut(at).unwrap().requests += 1;
        }
        assert_eq!(places.iter().count(), 17);
        let last = places.iter().last().unwrap();
        assert_eq!((last.host.as_str(), last.requests), (Destinations::OTHERS, 24));
        assert_eq!(places.index("h3"), 3);
    }

    #[test]
    fn a_limit_is_near_from_four_fifths_on() {
        let mut receipt = Receipt::default();
        for (used, of) in [(0, 0), (7, 10), (0, 10), (79, 100)] {
            receipt.note("a", used, of);
        }
        assert!(receipt.near.is_empty());
        receipt.note("b", 80, 100);
        receipt.note("b", 120, 100);
        receipt.note("b", 90, 100);
        receipt.note("c", 1, 0);
        let noted: Vec<_> = receipt.near.iter().map(|near| (near.name.as_ref(), near.used)).collect();
        assert_eq!(noted, [("b", 120), ("c", 1)]);
    }

    #[test]
    fn a_long_receipt_is_cut_where_it_says_least() {
        let mut receipt = full();
        for n in 0..20 {
            receipt.destinations.index(&format!("{n}.{}", "x".repeat(200)));
        }
        let cut = receipt.to_json(700);
        assert!(cut.len() <= 700, "{}", cut.len());
        let read: Receipt = serde_json::from_str(&cut).unwrap();
        assert_eq!((&read.near, read.stopped_by), (&receipt.near, Some(StopCause::Cpu)));
        assert!(read.destinations.iter().count() < 17);
        assert!(!receipt.to_json(0).contains("destinations"));
        assert_eq!(receipt.to_json(1 << 20), serde_json::to_string(&receipt).unwrap());
    }
}
