//! What of payloads and results nobody is shown: fields by their paths, replaced by a mark.
//!
//! A path begins with what it is a part of (`data`, `returnvalue`, `progress`, …, as a job's view names it) and goes
//! down by names, by numbers into arrays, and by `*` through whatever is there. An array that a name is looked for in
//! is gone through: `data.cards.number` also takes the numbers of all cards in a list.
//!
//! This hides things from people who look, in the API, live updates and the dashboard. Whoever reads the store or writes
//! handlers sees them all the same.

use serde_json::Value;
use serde_json::value::RawValue;

/// What stands in the place of what was taken away.
pub(crate) const MARK: &str = "[redacted]";
/// Steps of a path at most: deeper than payloads are, and a bound on what one rule costs.
const STEPS_MAX: usize = 32;

/// Fields that nobody is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    paths: Vec<Vec<Step>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `*`: everything there.
    Any,
    /// A member, or an element by its number.
    Named(String),
}

/// Why a path cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing between two dots, or at all.
    #[error("{0:?} has an empty name in it; write for example data.card.number")]
    Empty(String),
    /// Only one name: that would be all of it.
    #[error("{0:?} names no field; write {0}.* for everything in it")]
    Whole(String),
    /// Too long.
    #[error("{0:?} has more than {STEPS_MAX} names")]
    Long(String),
}

// === impl Redaction ===

impl Redaction {
    /// Of these paths.
    ///
    /// # Errors
    /// The first path that cannot be used.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        let paths = paths.into_iter().map(steps).collect::<Result<_, _>>()?;
        Ok(Self { paths })
    }

    /// Whether anything is taken away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Takes the fields away from a whole view, whose members are what paths begin with.
    pub fn apply(&self, view: &mut Value) {
        for path in &self.paths {
            take(view, path);
        }
    }

    /// A part of a view as it is shown; `part` is the name that paths begin with. Text that is no JSON is taken away
    /// whole when a path begins with this part: nobody can tell what is in it.
    #[must_use]
    pub fn of_part(&self, part: &str, text: Box<RawValue>) -> Box<RawValue> {
        let matching: Vec<&[Step]> = self
            .paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| first.is(part))
            .map(|(_, rest)| rest)
            .collect();
        if matching.is_empty() {
            return text;
        }
        let hidden =
            || RawValue::from_string(format!("\"{MARK}\"")).unwrap_or_else(|_| RawValue::NULL.to_owned());
        // Read anew, and not as the raw text: a number too large for a double would not survive it, and such fields are
        // shown as they are only where nothing is redacted.
        let Ok(mut value) = serde_json::from_str::<Value>(text.get()) else { return hidden() };
        if let Value::String(inner) = &value {
            // A payload that is JSON in a string, or no JSON at all.
            let Ok(mut value) = serde_json::from_str::<Value>(inner) else { return hidden() };
            if !matches!(value, Value::Object(_) | Value::Array(_)) {
                return hidden();
            }
            matching.iter().for_each(|path| take(&mut value, path));
            return quoted(&Value::String(value.to_string())).unwrap_or_else(hidden);
        }
        matching.iter().for_each(|path| take(&mut value, path));
        quoted(&value).unwrap_or_else(hidden)
    }
}

fn quoted(value: &Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}

// === impl Step ===

impl Step {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => named == name,
        }
    }
}

fn steps(path: &str) -> Result<Vec<Step>, PathError> {
    let steps: Vec<Step> = path
        .split('.')
        .map(|name| if name == "*" { Step::Any } else { Step::Named(name.to_owned()) })
        .collect();
    if steps.iter().any(|step| matches!(step, Step::Named(name) if name.is_empty())) {
        return Err(PathError::Empty(path.to_owned()));
    }
    match steps.len() {
        1 => Err(PathError::Whole(path.to_owned())),
        2..=STEPS_MAX => Ok(steps),
        _ => Err(PathError::Long(path.to_owned())),
    }
}

/// Goes down as deep as the path is long; JSON that was read is at most 128 deep anyhow.
fn take(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else {
        *value = Value::String(MARK.to_owned());
        return;
    };
    match value {
        Value::Object(members) => {
            members.iter_mut().filter(|(name, _)| step.is(name)).for_each(|(_, member)| take(member, rest));
        }
        Value::Array(elements) => {
            let number = match step {
                Step::Any => return elements.iter_mut().for_each(|element| take(element, rest)),
                Step::Named(name) => name.parse::<usize>().ok(),
            };
            match number {
                Some(number) => elements.get_mut(number).into_iter().for_each(|element| take(element, rest)),
                // The name is looked for in every element.
                None => elements.iter_mut().for_each(|element| take(element, path)),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(paths: &[&str], part: &str, text: &str) -> String {
        let raw = crate::view::raw(text.as_bytes());
        Redaction::new(paths.iter().copied()).unwrap().of_part(part, raw).get().to_owned()
    }

    #[test]
    fn fields_are_replaced_by_name_number_and_through_arrays() {
        let card = r#"{"card":{"number":"4242","month":5},"name":"x"}"#;
        let without = json!({"card": {"number": MARK, "month": 5}, "name": "x"});
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(read(shown(&["data.card.number"], "data", card)), without);
        let cards = r#"{"cards":[{"number":1},[{"number":2}],{"other":3},7]}"#;
        let all = json!({"cards": [{"number": MARK}, [{"number": MARK}], {"other": 3}, 7]});
        assert_eq!(read(shown(&["data.cards.number"], "data", cards)), all);
        let second = json!({"cards": [{"number": 1}, [{"number": 2}], MARK, 7]});
        assert_eq!(read(shown(&["data.cards.2"], "data", cards)), second);
        let any =
            read(shown(&["data.*.number"], "data", r#"{"a":{"number":1},"b":[{"number":[2]}],"number":3}"#));
        assert_eq!(any, json!({"a": {"number": MARK}, "b": [{"number": MARK}], "number": 3}));
        assert_eq!(read(shown(&["*.token"], "returnvalue", r#"{"token":"s"}"#)), json!({"token": MARK}));
    }

    #[test]
    fn what_nothing_is_said_of_stays_to_the_byte() {
        let text = r#"{"big":123456789012345678901234567890, "b" : 1}"#;
        assert_eq!(shown(&["returnvalue.x"], "data", text), text);
        assert_eq!(shown(&[], "data", "not json"), "\"not json\"");
    }

    #[test]
    fn a_payload_that_is_no_json_hides_whole() {
        let hidden = format!("\"{MARK}\"");
        for text in ["card=4242", "", "{\"card\":", "\"card 4242\"", "\u{0}"] {
            assert_eq!(shown(&["data.card"], "data", text), hidden, "{text:?}");
        }
        // JSON within a string is gone through, and stays a string.
        let inner = shown(&["data.card"], "data", r#""{\"card\":4242,\"n\":1}""#);
        assert!(
            !inner.contains("4242") && inner.starts_with('"') && inner.contains("\\\"n\\\":1"),
            "{inner}"
        );
        assert_eq!(shown(&["data.card"], "data", "7"), "7", "a number has no field");
    }

    #[test]
    fn paths_that_make_no_sense_are_refused() {
        for (path, part) in [("", "empty"), ("data", "data.*"), ("data..x", "empty"), ("data.", "empty")] {
            let told = Redaction::new([path]).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
        assert!(Redaction::new([vec!["a"; 33].join(".").as_str()]).is_err());
    }

    #[test]
    fn deep_payloads_do_no_harm() {
        let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        assert_eq!(shown(&["data.x.y"], "data", &deep), deep);
        let too_deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(shown(&["data.x.y"], "data", &too_deep).contains(MARK));
    }
}
