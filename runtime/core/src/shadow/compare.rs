//! What two runs of the same job differ in.

use serde_json::Value;

use crate::outcome::{Outcome, StopCause};

/// Whether an attempt ended by what its handler did. What the host, an operator or a lost lock ended says nothing about a
/// version.
#[must_use]
pub fn is_comparable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stopped(stopped) => !matches!(
            stopped.cause,
            StopCause::Cancelled
                | StopCause::Shutdown
                | StopCause::LockLost
                | StopCause::Host
                | StopCause::Payload
        ),
        Outcome::Complete(_)
        | Outcome::Retry { .. }
        | Outcome::Fatal(_)
        | Outcome::Invalid(_)
        | Outcome::RateLimited(_)
        | Outcome::DelayUntil(_)
        | Outcome::Requeue
        | Outcome::WaitForChildren => true,
    }
}

/// What two outcomes of the same job differ in; none when they agree. Results are compared as JSON where both are, what
/// failed by its reason, and what was ended by its cause, because the words of a trap name addresses. The text names
/// places in results and never their content.
#[must_use]
pub fn difference(active: &Outcome, candidate: &Outcome) -> Option<String> {
    let words = |outcome: &Outcome| match outcome {
        Outcome::Stopped(stopped) => format!("stopped ({})", stopped.cause.as_str()),
        other => other.label().to_owned(),
    };
    let (was, is) = (words(active), words(candidate));
    if was != is {
        return Some(format!("outcome: {was}, and the candidate's is {is}"));
    }
    match (active, candidate) {
        (Outcome::Complete(active), Outcome::Complete(candidate)) => results(active, candidate),
        (Outcome::Retry { reason: a, after: x }, Outcome::Retry { reason: b, after: y }) => {
            if a != b {
                Some(format!("the reason of its {was}"))
            } else {
                (x != y).then(|| "how long to wait for its retry".to_owned())
            }
        }
        (Outcome::Fatal(a), Outcome::Fatal(b)) | (Outcome::Invalid(a), Outcome::Invalid(b)) => {
            (a != b).then(|| format!("the reason of its {was}"))
        }
        (Outcome::RateLimited(a), Outcome::RateLimited(b)) => {
            (a != b).then(|| "how long its queue is to rest".to_owned())
        }
        (Outcome::DelayUntil(a), Outcome::DelayUntil(b)) => {
            (a != b).then(|| "when it is to run again".to_owned())
        }
        _ => None,
    }
}

/// What two results differ in, as [`difference`] says it.
#[must_use]
pub fn results(active: &[u8], candidate: &[u8]) -> Option<String> {
    if active == candidate {
        return None;
    }
    let json = |bytes: &[u8]| {
        if bytes.is_empty() { Some(Value::Null) } else { serde_json::from_slice::<Value>(bytes).ok() }
    };
    match (json(active), json(candidate)) {
        (Some(active), Some(candidate)) => place(&active, &candidate, String::new()).map(|place| {
            if place.is_empty() { "the result".to_owned() } else { format!("the result at {place}") }
        }),
        _ => Some(format!("the result: {} bytes, and the candidate's has {}", active.len(), candidate.len())),
    }
}

/// The first place, as a JSON pointer, at which two values differ.
fn place(a: &Value, b: &Value, at: String) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let below = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => place(a, b, below),
                    _ => Some(below),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            let both = a.iter().zip(b).enumerate();
            let first = both.into_iter().find_map(|(n, (a, b))| place(a, b, format!("{at}/{n}")));
            first.or_else(|| (a.len() != b.len()).then(|| format!("{at}/{}", a.len().min(b.len()))))
        }
        _ => (a != b).then_some(at),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn complete(json: &'static str) -> Outcome {
        Outcome::Complete(json.into())
    }

    #[test]
    fn results_are_compared_as_json_and_the_place_is_named() {
        for (a, b) in [("", "null"), (r#"{"a":1,"b":[2]}"#, r#"{ "b": [2], "a": 1 }"#), ("raw", "raw")] {
            assert_eq!(difference(&complete(a), &complete(b)), None, "{a} {b}");
        }
        for (a, b, at) in [
            (r#"{"a":1}"#, r#"{"a":2}"#, "the result at /a"),
            (r#"{"a":{"b/c":[1,2]}}"#, r#"{"a":{"b/c":[1,3]}}"#, "the result at /a/b~1c/1"),
            (r#"{"a":1}"#, r#"{"a":1,"z":0}"#, "the result at /z"),
            ("[1]", "[1,2]", "the result at /1"),
            ("1", "2", "the result"),
        ] {
            assert_eq!(difference(&complete(a), &complete(b)).as_deref(), Some(at), "{a} {b}");
        }
        let raw = difference(&complete("secret"), &complete("other")).unwrap();
        assert!(raw.contains("6 bytes") && !raw.contains("secret"), "{raw}");
    }

    #[test]
    fn ends_are_compared_by_what_a_handler_chose() {
        let retry = |reason: &str, after| Outcome::Retry { reason: reason.to_owned(), after };
        let second = Some(Duration::from_secs(1));
        assert_eq!(difference(&retry("a", None), &retry("a", None)), None);
        assert!(difference(&retry("a", None), &retry("b", None)).unwrap().contains("reason"));
        assert!(difference(&retry("a", None), &retry("a", second)).unwrap().contains("wait"));
        let trap = |cause, reason: &str| Outcome::stopped(cause, reason);
        assert_eq!(difference(&trap(StopCause::Trap, "at 1"), &trap(StopCause::Trap, "at 2")), None);
        let differ = difference(&trap(StopCause::Trap, ""), &trap(StopCause::Memory, "")).unwrap();
        assert_eq!(differ, "outcome: stopped (trap), and the candidate's is stopped (memory)");
        let differ = difference(&complete("1"), &Outcome::Fatal("x".to_owned())).unwrap();
        assert_eq!(differ, "outcome: completed, and the candidate's is fatal");
        assert!(difference(&Outcome::DelayUntil(1), &Outcome::DelayUntil(2)).is_some());
        assert!(!is_comparable(&trap(StopCause::LockLost, "")) && is_comparable(&trap(StopCause::Cpu, "")));
    }
}
