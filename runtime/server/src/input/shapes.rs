//! Options that BullMQ takes in several shapes, read strictly: a member that is misspelt would silently be none.

use jobcell_core::Keep;
use jobcell_core::options::{Backoff, BackoffKind, KeepLimits, ParentRef};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Whether and which finished jobs stay.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct KeepInput(pub(super) Keep);

/// How long to wait between attempts.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct BackoffInput(pub(super) Backoff);

/// The parent in a flow.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct ParentInput(pub(super) ParentRef);

/// `true` keeps none, `false` all, a number so many, an object within its bounds.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Keep)]
#[expect(dead_code, reason = "gives the schema of the option its shape")]
pub(crate) enum KeepShape {
    Flag(bool),
    Count(u64),
    Limits(KeepBounds),
}

/// The newest `count`, those finished within `age` seconds, and how many one finish may remove.
#[derive(ToSchema)]
#[schema(as = KeepBounds)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "gives the schema of the option its shape")]
pub(crate) struct KeepBounds {
    #[schema(nullable = false)]
    count: Option<u64>,
    #[schema(nullable = false)]
    age: Option<u64>,
    #[schema(nullable = false)]
    limit: Option<u64>,
}

/// Milliseconds, or a rule.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Backoff)]
#[expect(dead_code, reason = "gives the schema of the option its shape")]
pub(crate) enum BackoffShape {
    Milliseconds(u64),
    Rule(BackoffRule),
}

/// `type` is `fixed` (the default), `exponential`, or a rule of other workers of the queue; `delay` is milliseconds, `jitter` the share of it that is random.
#[derive(ToSchema)]
#[schema(as = BackoffRule)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "gives the schema of the option its shape")]
pub(crate) struct BackoffRule {
    #[schema(nullable = false)]
    r#type: Option<String>,
    #[schema(nullable = false)]
    delay: Option<u64>,
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    jitter: Option<f64>,
}

/// The parent: its id, and its queue as `PREFIX:QUEUE`.
#[derive(ToSchema)]
#[schema(as = Parent)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "gives the schema of the option its shape")]
pub(crate) struct ParentShape {
    id: String,
    queue: String,
}

impl TryFrom<Value> for KeepInput {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let count = |count| KeepLimits { count: Some(count), ..KeepLimits::default() };
        Ok(Self(match value {
            Value::Bool(true) => Keep::None,
            Value::Bool(false) => Keep::All,
            // BullMQ's word for all.
            Value::Number(number) if number.as_i64() == Some(-1) => Keep::All,
            Value::Number(number) => match whole("it", &Value::Number(number))? {
                0 => Keep::None,
                so_many => Keep::UpTo(count(so_many)),
            },
            Value::Object(members) => {
                known(&members, &["count", "age", "limit"])?;
                let bound = |name| members.get(name).map(|value| whole(name, value)).transpose();
                let limits =
                    KeepLimits { count: bound("count")?, age: bound("age")?, limit: bound("limit")? };
                match limits {
                    KeepLimits { count: None, age: None, .. } => {
                        return Err("neither `count` nor `age` is given; `false` keeps all".to_owned());
                    }
                    KeepLimits { count: Some(0), .. } => Keep::None,
                    limits => Keep::UpTo(limits),
                }
            }
            other => return Err(format!("{other} is no boolean, number or object with `count` and `age`")),
        }))
    }
}

impl TryFrom<Value> for BackoffInput {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Ok(Self(match value {
            Value::Number(_) => {
                Backoff { kind: BackoffKind::Fixed, delay: whole("it", &value)?, jitter: None }
            }
            Value::Object(members) => {
                known(&members, &["type", "delay", "jitter"])?;
                let kind = match members.get("type") {
                    None => BackoffKind::Fixed,
                    Some(Value::String(name)) => match name.as_str() {
                        "fixed" => BackoffKind::Fixed,
                        "exponential" => BackoffKind::Exponential,
                        "" => return Err("`type` is empty; use fixed or exponential".to_owned()),
                        // A rule that workers of another kind may have.
                        other => BackoffKind::Custom(other.to_owned()),
                    },
                    Some(other) => return Err(format!("`type` is {other}, and no text")),
                };
                let delay = members.get("delay").map(|delay| whole("delay", delay)).transpose()?.unwrap_or(0);
                let jitter = members.get("jitter").map(share).transpose()?;
                Backoff { kind, delay, jitter }
            }
            other => return Err(format!("{other} is no number of milliseconds and no object with `delay`")),
        }))
    }
}

impl TryFrom<Value> for ParentInput {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let Value::Object(members) = value else {
            return Err(format!("{value} is no object with `id` and `queue`"));
        };
        known(&members, &["id", "queue"])?;
        let text = |name: &str| match members.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(other) => Err(format!("`{name}` is {other}, and no text with something in it")),
            None => Err(format!("`{name}` is missing")),
        };
        Ok(Self(ParentRef { id: text("id")?, queue: text("queue")? }))
    }
}

fn known(members: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("there is no `{name}`; there are {}", names.join(", "))),
    }
}

fn whole(name: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{name} is {value}, and no whole number of 0 or more"))
}

fn share(value: &Value) -> Result<f64, String> {
    let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("jitter is {value}, and no number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_is_read() {
        let keep = |value| KeepInput::try_from(value).map(|KeepInput(keep)| keep);
        assert_eq!(keep(json!(true)), Ok(Keep::None));
        assert_eq!(keep(json!(false)), Ok(Keep::All));
        assert_eq!(keep(json!(0)), Ok(Keep::None));
        assert_eq!(keep(json!(-1)), Ok(Keep::All));
        let limits = KeepLimits { count: Some(5), age: Some(60), limit: None };
        assert_eq!(keep(json!({"count": 5, "age": 60})), Ok(Keep::UpTo(limits)));
        let backoff = |value| BackoffInput::try_from(value).map(|BackoffInput(backoff)| backoff);
        let fixed = Backoff { kind: BackoffKind::Fixed, delay: 7, jitter: None };
        assert_eq!(backoff(json!(7)), Ok(fixed.clone()));
        assert_eq!(backoff(json!({"delay": 7})), Ok(fixed));
        assert!(backoff(json!({"type": "exponential", "delay": 7, "jitter": 0.5})).is_ok());
    }

    #[test]
    fn what_is_misspelt_is_refused_by_name() {
        for (value, part) in [
            (json!({"cuont": 5}), "cuont"),
            (json!({"limit": 5}), "count"),
            (json!({"count": -5}), "-5"),
            (json!("yes"), "yes"),
            (json!(1.5), "1.5"),
        ] {
            let told = KeepInput::try_from(value).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        for (value, part) in [
            (json!({"type": ""}), "exponential"),
            (json!({"dealy": 5}), "dealy"),
            (json!({"jitter": 2}), "jitter"),
            (json!({"type": 5}), "type"),
            (json!([1]), "[1]"),
        ] {
            let told = BackoffInput::try_from(value).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        assert!(ParentInput::try_from(json!({"id": "1", "queue": "bull:q", "x": 1})).is_err());
        assert!(ParentInput::try_from(json!({"id": 1, "queue": "bull:q"})).is_err());
    }
}
