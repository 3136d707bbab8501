//! `[handlers.NAME.canary]`: how a canary of the handler is begun and judged where nobody says otherwise.

use std::time::Duration;

use jobcell_handlers::CanaryRules;

use super::forms::{COUNT, DURATION, Form, SHARE};
use super::node::{Node, Value};
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// How canaries begin and are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CanaryConfig {
    /// Of a hundred jobs so many.
    pub percent: u8,
    /// When one is promoted or rolled back by itself.
    pub rules: CanaryRules,
}

const PERCENT: Key<u64> = Key::value(
    "percent",
    COUNT,
    "5",
    "Of a hundred jobs so many go to the canary, 1 to 100; always the same ones, by their ids. The default finds what fails \
     often within minutes and hurts few.",
);
const WINDOW: Key<Duration> = Key::value(
    "window",
    DURATION,
    "\"10m\"",
    "How far back jobs are compared, 1 second to 1 day: long enough for `min-jobs`, short enough that the hour before does \
     not excuse what happens now.",
);
const MIN_JOBS: Key<u64> = Key::value(
    "min-jobs",
    COUNT,
    "20",
    "Jobs of the canary before anything is decided: with fewer, luck decides.",
);
const MAX_FAILURES_OVER: Key<f64> = Key::value(
    "max-failures-over",
    SHARE,
    "0.02",
    "By how much more of its jobs may fail or trap than of the active version's: 0.02 is two in a hundred. More than that, \
     beyond doubt, rolls it back.",
);
const MAX_LATENCY: Key<f64> = Key::value(
    "max-latency",
    Form { name: "factor", expects: "a number of 1 to 1000 such as 1.5", read: factor },
    "1.5",
    "How many times the active version's 95th percentile its jobs may take, measured in steps of a fifth and from 10 ms \
     more on. More, beyond doubt, rolls it back.",
);
const PROMOTE_AFTER: Key<Duration> = Key::new(
    "promote-after",
    DURATION,
    Absent::Means("a person promotes"),
    "After so long it takes all jobs by itself, unless it is worse.",
);

pub(super) static CANARY: Section = Section {
    about: "How a canary is begun and judged when the command does not say.",
    keys: &[
        PERCENT.entry(),
        WINDOW.entry(),
        MIN_JOBS.entry(),
        MAX_FAILURES_OVER.entry(),
        MAX_LATENCY.entry(),
        PROMOTE_AFTER.entry(),
    ],
};

pub(super) fn read(reader: &Reader<'_>) -> CanaryConfig {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let rules = CanaryRules {
        window_ms: millis(reader.value(&WINDOW)),
        min_jobs: reader.value(&MIN_JOBS),
        max_failures_over: reader.value(&MAX_FAILURES_OVER),
        max_latency: reader.value(&MAX_LATENCY),
        promote_after_ms: reader.get(&PROMOTE_AFTER).map(millis),
    };
    if let Err(fault) = rules.check() {
        reader.fault(fault.rule, &format!("is {}", fault.found), &format!("give {}", fault.fix));
    }
    let percent = reader.value(&PERCENT);
    let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100).unwrap_or_else(|| {
        reader.fault(PERCENT.name, &format!("is {percent}"), "give 1 to 100");
        100
    });
    CanaryConfig { percent, rules }
}

fn factor(node: &Node) -> Result<f64, String> {
    let factor = match node.value {
        Value::Float(number) => number,
        #[expect(clippy::cast_precision_loss, reason = "what is too large for a double is no factor")]
        Value::Int(number) => number as f64,
        _ => return Err("is no number".to_owned()),
    };
    if (1.0..=1000.0).contains(&factor) { Ok(factor) } else { Err("is not between 1 and 1000".to_owned()) }
}
