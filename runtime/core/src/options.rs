//! What a producer may ask of a job, in the spelling that BullMQ stores in the job's `opts` field.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Millis;

/// The options of one job. Members this host does not know are kept by the store and ignored here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobOptions {
    /// How often the job is tried in all; 0 and 1 both mean once.
    #[serde(deserialize_with = "whole")]
    pub attempts: u64,
    /// How long to wait between attempts; none retries at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Milliseconds to wait before the job may start.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "whole")]
    pub delay: u64,
    /// 0 is none and runs first; else 1 (highest) to 2 097 151.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "whole")]
    pub priority: u64,
    /// Puts the job in front of the queue instead of at its end.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub lifo: bool,
    /// The id the producer chose.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_option")]
    pub job_id: Option<String>,
    /// When the producer made the job.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub timestamp: Option<Millis>,
    /// What becomes of the job once it completed; none leaves it to the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<Keep>,
    /// What becomes of the job once it failed for good; none leaves it to the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<Keep>,
    /// How many stack traces are kept; none keeps all.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub stack_trace_limit: Option<u64>,
    /// How many log lines are kept; none keeps all.
    #[serde(rename = "kl", skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub keep_logs: Option<u64>,
    /// The parent in a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRef>,
    /// Deduplication.
    #[serde(rename = "de", skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Opaque telemetry context of the producer (`bullmq-otel`: the W3C carrier as JSON text).
    #[serde(rename = "tm", skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<String>,
    /// The telemetry context must not be handed on.
    #[serde(rename = "omc", skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub omit_context: bool,
    /// On final failure the parent fails too.
    #[serde(rename = "fpof", skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub fail_parent_on_failure: bool,
    /// On final failure the parent goes on at once.
    #[serde(rename = "cpof", skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub continue_parent_on_failure: bool,
    /// On final failure the parent no longer waits for this child, and can read why.
    #[serde(rename = "idof", skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub ignore_dependency_on_failure: bool,
    /// On final failure the parent no longer waits for this child.
    #[serde(rename = "rdof", skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub remove_dependency_on_failure: bool,
    /// Ours: milliseconds one attempt may take; the handler's own deadline still holds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub timeout: Option<u64>,
    /// Ours: whose job this is; separates caches and live updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Ours: a result that was kept is not taken; what this job comes to is kept in its place.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "truthy")]
    pub fresh: bool,
    /// Ours: how far the job is from its producer. A handler's job has that of the job the handler ran for, and one.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "whole")]
    pub depth: u64,
}

/// A parent as `opts` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// The parent's id.
    #[serde(deserialize_with = "text")]
    pub id: String,
    /// `<prefix>:<queue>` of the parent.
    pub queue: String,
}

/// Deduplication as `opts` names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deduplication {
    /// Jobs with the same id are duplicates.
    pub id: String,
    /// Milliseconds the id stays taken; none until the owner finishes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub ttl: Option<u64>,
    /// A duplicate starts the `ttl` anew.
    #[serde(skip_serializing_if = "is_false")]
    pub extend: bool,
    /// A duplicate takes the place of an owner that is still delayed.
    #[serde(skip_serializing_if = "is_false")]
    pub replace: bool,
    /// A duplicate of a running owner is run after it.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_last_if_active: bool,
    /// A duplicate of a delayed owner that does not replace it gives it its own delay, counted anew.
    #[serde(skip_serializing_if = "is_false")]
    pub reschedule: bool,
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backoff {
    /// The rule.
    #[serde(rename = "type")]
    pub kind: BackoffKind,
    /// Milliseconds the rule starts from.
    pub delay: u64,
    /// Share of the wait that is random, 0 to 1; none is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// The rules of [`Backoff`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackoffKind {
    /// The same wait each time.
    Fixed,
    /// Doubles each time.
    Exponential,
    /// A rule the producer's own workers have and this host has not: an attempt that needs it fails for good.
    Custom(String),
}

/// Which finished jobs stay, as `removeOnComplete` and `removeOnFail` say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// Every one.
    All,
    /// None: the job goes as soon as it is finished.
    None,
    /// Up to these bounds.
    UpTo(KeepLimits),
}

/// The bounds of [`Keep::UpTo`]. At least one is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepLimits {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bound_option")]
    pub count: Option<u64>,
    /// Those finished within so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bound_option")]
    pub age: Option<u64>,
    /// How many old ones one finish may remove; none is 1000.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole_option")]
    pub limit: Option<u64>,
}

// === impl JobOptions ===

impl JobOptions {
    /// How often the job may be tried, at least 1.
    #[must_use]
    pub fn attempts_max(&self) -> u64 {
        self.attempts.max(1)
    }

    /// What its final failure does to its parent, in BullMQ's words; at most one may be asked for, and none leaves the
    /// parent waiting.
    #[must_use]
    pub fn parent_policies(&self) -> Vec<&'static str> {
        [
            (self.fail_parent_on_failure, "failParentOnFailure"),
            (self.continue_parent_on_failure, "continueParentOnFailure"),
            (self.ignore_dependency_on_failure, "ignoreDependencyOnFailure"),
            (self.remove_dependency_on_failure, "removeDependencyOnFailure"),
        ]
        .into_iter()
        .filter_map(|(asked, name)| asked.then_some(name))
        .collect()
    }
}

// === impl Keep ===

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_bool(false),
            Self::None => serializer.serialize_bool(true),
            Self::UpTo(limits) => limits.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Remove(bool),
            Count(f64),
            Limits(KeepLimits),
        }
        let count = |n: u64| {
            if n == 0 {
                Self::None
            } else {
                Self::UpTo(KeepLimits { count: Some(n), ..KeepLimits::default() })
            }
        };
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Remove(true) => Self::None,
            Wire::Remove(false) => Self::All,
            Wire::Count(n) if n < 0.0 => Self::All,
            Wire::Count(n) => count(clamp(n)),
            Wire::Limits(KeepLimits { count: None, age: None, .. }) => Self::All,
            Wire::Limits(KeepLimits { count: Some(0), .. }) => Self::None,
            Wire::Limits(limits) => Self::UpTo(limits),
        })
    }
}

// === impl Backoff ===

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Fixed(f64),
            Rule {
                // A rule without a name waits the same each time.
                #[serde(rename = "type", default = "BackoffKind::fixed")]
                kind: BackoffKind,
                #[serde(default)]
                delay: Option<f64>,
                #[serde(default)]
                jitter: Option<f64>,
            },
        }
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Fixed(delay) => Self { kind: BackoffKind::Fixed, delay: clamp(delay), jitter: None },
            Wire::Rule { kind, delay, jitter } => Self { kind, delay: clamp(delay.unwrap_or(0.0)), jitter },
        })
    }
}

impl BackoffKind {
    fn fixed() -> Self {
        Self::Fixed
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed => "fixed",
            Self::Exponential => "exponential",
            Self::Custom(name) => name,
        }
    }
}

impl Serialize for BackoffKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for BackoffKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(match name.as_str() {
            "fixed" => Self::Fixed,
            "exponential" => Self::Exponential,
            _ => Self::Custom(name),
        })
    }
}

// Producers in loosely typed languages store fractions and negative numbers; both have an obvious meaning here.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what is wanted"
)]
fn clamp(n: f64) -> u64 {
    n as u64
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(whole_option(deserializer)?.unwrap_or(0))
}

fn whole_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(number_option(deserializer)?.map(clamp))
}

/// A bound, which below zero is none.
fn bound_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(number_option(deserializer)?.filter(|n| *n >= 0.0).map(clamp))
}

/// What producers in loosely typed languages store for a number, a flag or an id.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

#[expect(clippy::cast_precision_loss, reason = "times and counts are far below 2^53")]
fn number_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(match Option::<Loose>::deserialize(deserializer)? {
        None => None,
        Some(Loose::Flag(flag)) => Some(f64::from(u8::from(flag))),
        Some(Loose::Whole(n)) => Some(n as f64),
        Some(Loose::Number(n)) => Some(n),
        Some(Loose::Text(text)) => match text.trim().parse() {
            Ok(n) => Some(n),
            Err(_) => return Err(D::Error::custom(format!("{text:?} is not a number"))),
        },
    })
}

fn truthy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Option::<Loose>::deserialize(deserializer)? {
        None => false,
        Some(Loose::Flag(flag)) => flag,
        Some(Loose::Whole(n)) => n != 0,
        Some(Loose::Number(n)) => n != 0.0,
        Some(Loose::Text(text)) => !text.is_empty(),
    })
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text_option(deserializer)?.ok_or_else(|| D::Error::custom("null is not an id"))
}

fn text_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Loose>::deserialize(deserializer)?.map(|value| match value {
        Loose::Flag(flag) => flag.to_string(),
        Loose::Whole(n) => n.to_string(),
        Loose::Number(n) => n.to_string(),
        Loose::Text(text) => text,
    }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(b: &bool) -> bool {
    !*b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> JobOptions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_node_stores_is_read() {
        let o = parse(
            r#"{"attempts":3,"backoff":{"type":"exponential","delay":1000,"jitter":0.5},"removeOnComplete":true,
                "removeOnFail":{"age":3600,"count":10},"kl":5,"unknown":{"kept":1},"de":{"id":"d","ttl":5}}"#,
        );
        assert_eq!(o.attempts_max(), 3);
        assert_eq!(
            o.backoff,
            Some(Backoff { kind: BackoffKind::Exponential, delay: 1000, jitter: Some(0.5) })
        );
        assert_eq!(o.remove_on_complete, Some(Keep::None));
        assert_eq!(
            o.remove_on_fail,
            Some(Keep::UpTo(KeepLimits { count: Some(10), age: Some(3600), limit: None }))
        );
        assert_eq!(o.keep_logs, Some(5));
        assert_eq!(o.deduplication.unwrap().ttl, Some(5));
    }

    #[test]
    fn loose_numbers_and_bare_backoffs_are_taken() {
        let o =
            parse(r#"{"attempts":-1,"delay":1500.7,"backoff":250,"removeOnComplete":5,"removeOnFail":-1}"#);
        assert_eq!((o.attempts_max(), o.delay), (1, 1500));
        assert_eq!(o.backoff, Some(Backoff { kind: BackoffKind::Fixed, delay: 250, jitter: None }));
        assert_eq!(
            o.remove_on_complete,
            Some(Keep::UpTo(KeepLimits { count: Some(5), ..KeepLimits::default() }))
        );
        assert_eq!(o.remove_on_fail, Some(Keep::All));
        assert_eq!(parse(r#"{"removeOnComplete":0}"#).remove_on_complete, Some(Keep::None));
    }

    #[test]
    fn what_means_something_is_taken_whatever_its_type() {
        let o = parse(
            r#"{"timestamp":1700000000000.5,"lifo":1,"attempts":"3","jobId":17,"parent":{"id":4,"queue":"bull:q"},
                "backoff":{"delay":9},"delay":true,"fpof":0}"#,
        );
        assert_eq!((o.timestamp, o.lifo, o.attempts), (Some(1_700_000_000_000), true, 3));
        assert_eq!((o.job_id.as_deref(), o.parent.unwrap().id.as_str()), (Some("17"), "4"));
        assert_eq!(o.backoff, Some(Backoff { kind: BackoffKind::Fixed, delay: 9, jitter: None }));
        assert_eq!((o.delay, o.fail_parent_on_failure), (1, false));
        assert!(serde_json::from_str::<JobOptions>(r#"{"attempts":"many"}"#).is_err());
    }

    #[test]
    fn a_negative_bound_keeps_everything() {
        assert_eq!(parse(r#"{"removeOnComplete":{"count":-1}}"#).remove_on_complete, Some(Keep::All));
        let aged = parse(r#"{"removeOnComplete":{"count":-1,"age":60}}"#).remove_on_complete;
        assert_eq!(aged, Some(Keep::UpTo(KeepLimits { age: Some(60), ..KeepLimits::default() })));
    }

    #[test]
    fn what_we_store_is_what_we_read() {
        let o = JobOptions {
            attempts: 4,
            backoff: Some(Backoff { kind: BackoffKind::Custom("mine".into()), delay: 9, jitter: None }),
            remove_on_complete: Some(Keep::UpTo(KeepLimits { age: Some(60), ..KeepLimits::default() })),
            remove_on_fail: Some(Keep::All),
            tenant: Some("t1".into()),
            ..JobOptions::default()
        };
        assert_eq!(parse(&serde_json::to_string(&o).unwrap()), o);
    }
}
