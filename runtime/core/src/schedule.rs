//! When a scheduler's jobs run, reckoned as BullMQ does, so that any worker of a mixed fleet may make the next job.

mod cron;
mod every;
mod pattern;
mod repeat;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

pub use cron::Cron;
pub use every::Every;
pub use repeat::{Draft, Repeat, Template, parse_time};

use crate::clock::Millis;

/// A rule and its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// When jobs run.
    pub rule: Rule,
    /// No job runs before.
    pub start: Option<Millis>,
    /// No job is made after. With a cron rule no job is made for a later time either.
    pub end: Option<Millis>,
    /// So many jobs are made in all, counted from when the scheduler was last set.
    pub limit: Option<u64>,
}

/// When jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// At equal distances. Slots that went by while no worker was there are left out.
    Every {
        /// The distance in milliseconds, at least 1.
        every: u64,
        /// How far into each distance jobs run, in milliseconds; none lets the first run decide.
        offset: Option<u64>,
    },
    /// At the times a cron expression names.
    Cron {
        /// Five fields, or six with seconds in front.
        pattern: String,
        /// The time zone by its IANA name; none is UTC.
        tz: Option<String>,
        /// The first job runs at once.
        immediately: bool,
    },
}

/// The last job that was made, when a timetable is set anew or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// When it was due.
    pub slot: Millis,
    /// The distance it was made with, when there was one.
    pub every: Option<u64>,
    /// It has not been started, and is to be replaced.
    pub waits: bool,
}

/// A timetable that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron pattern cannot be read.
    #[error("cron pattern {pattern:?}: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it, and how to write it.
        cause: String,
    },
    /// The time zone is unknown.
    #[error("time zone {name:?} is unknown; use an IANA name such as Europe/Berlin, or UTC")]
    Zone {
        /// The name.
        name: String,
    },
    /// The pattern names no time that comes.
    #[error("cron pattern {pattern:?} never comes{until}; change it or its bounds", until = match end {
        Some(_) => " before the timetable ends",
        None => "",
    })]
    Never {
        /// The pattern.
        pattern: String,
        /// When the timetable ends.
        end: Option<Millis>,
    },
    /// Two parts of the timetable contradict each other, or one means nothing.
    #[error("{0}")]
    Senseless(String),
    /// What a job's options say about its scheduler cannot be read.
    #[error("the job's options: {field}: {cause}")]
    Options {
        /// The member.
        field: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl Timetable {
    /// When the first job runs of a timetable that is set now, over `last` where it takes the place of another.
    ///
    /// # Errors
    /// When it can never be kept.
    pub fn first(&self, last: Option<Last>, now: Millis) -> Result<Millis, ScheduleError> {
        self.check(now)?;
        match &self.rule {
            Rule::Every { .. } => Ok(self.every().map_or(now, |every| every.first(last, now))),
            Rule::Cron { immediately: true, .. } => Ok(now),
            Rule::Cron { pattern, .. } => self
                .named_after(now)?
                .ok_or_else(|| ScheduleError::Never { pattern: pattern.clone(), end: self.end }),
        }
    }

    /// When the job after one that runs now is due; none when the timetable has ended. `made` counts that one in.
    ///
    /// # Errors
    /// When the pattern or its zone cannot be read.
    pub fn next(&self, slot: Millis, made: u64, now: Millis) -> Result<Option<Millis>, ScheduleError> {
        if self.has_ended(made, now) {
            return Ok(None);
        }
        match self.every() {
            Some(every) => Ok(Some(every.next(slot, now))),
            None => self.named_after(slot.max(now)),
        }
    }

    /// Whether no more jobs are made after so many.
    #[must_use]
    pub fn has_ended(&self, made: u64, now: Millis) -> bool {
        self.limit.is_some_and(|limit| made >= limit) || self.end.is_some_and(|end| now > end)
    }

    /// The rule of equal distances, when it is one.
    #[must_use]
    pub fn every(&self) -> Option<Every> {
        match self.rule {
            Rule::Every { every, offset } => Some(Every { every, offset, start: self.start }),
            Rule::Cron { .. } => None,
        }
    }

    /// What is wrong with it by itself.
    ///
    /// # Errors
    /// When no job would ever run, or other than meant.
    pub fn check(&self, now: Millis) -> Result<(), ScheduleError> {
        let senseless = |text: String| Err(ScheduleError::Senseless(text));
        if self.limit == Some(0) {
            return senseless("a limit of 0 jobs makes none; leave it out, or give at least 1".to_owned());
        }
        if let Some(end) = self.end {
            if now > end {
                return senseless(format!("the end {} has passed; give a later one", told(end)));
            }
            if let Some(start) = self.start.filter(|start| *start > end) {
                return senseless(format!(
                    "the end {} is before the start {}; give a later one",
                    told(end),
                    told(start)
                ));
            }
        }
        match &self.rule {
            Rule::Every { every: 0, .. } => {
                senseless("a distance of 0 ms is none; give at least 1".to_owned())
            }
            Rule::Every { .. } => Ok(()),
            Rule::Cron { immediately: true, .. } if self.start.is_some() => senseless(
                "the first job cannot run both at once and not before the start; leave one out".to_owned(),
            ),
            Rule::Cron { pattern, tz, .. } => Cron::new(pattern, tz.as_deref()).map(drop),
        }
    }

    /// The first time that the pattern names after this one and within the bounds.
    fn named_after(&self, after: Millis) -> Result<Option<Millis>, ScheduleError> {
        let Rule::Cron { pattern, tz, .. } = &self.rule else { return Ok(None) };
        let next = Cron::new(pattern, tz.as_deref())?.next(after.max(self.start.unwrap_or(0)));
        Ok(next.filter(|slot| self.end.is_none_or(|end| *slot <= end)))
    }
}

/// A time as people read it; beyond the calendar's end as it is stored.
fn told(time: Millis) -> String {
    let date = i64::try_from(time).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    date.map_or_else(
        || format!("{time} ms since 1970"),
        |date| date.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn cron(pattern: &str) -> Timetable {
        let rule = Rule::Cron { pattern: pattern.into(), tz: None, immediately: false };
        Timetable { rule, start: None, end: None, limit: None }
    }

    fn every(every: u64) -> Timetable {
        Timetable { rule: Rule::Every { every, offset: None }, ..cron("* * * * *") }
    }

    #[test]
    fn a_cron_rule_keeps_its_bounds() {
        let minutes = cron("* * * * *");
        assert_eq!(minutes.first(None, NOW), Ok(1_700_000_040_000));
        assert_eq!(minutes.next(1_700_000_040_000, 1, 1_700_000_040_005), Ok(Some(1_700_000_100_000)));
        assert_eq!(
            minutes.next(1_700_000_040_000, 1, 1_700_000_030_000),
            Ok(Some(1_700_000_100_000)),
            "a slow clock"
        );
        assert_eq!(minutes.next(1_700_000_040_000, 1, NOW + 3_600_000), Ok(Some(1_700_003_640_000)), "late");
        let started = Timetable { start: Some(NOW + 1_000_000), ..minutes.clone() };
        assert_eq!(started.first(None, NOW), Ok(1_700_001_060_000));
        let ends = Timetable { end: Some(1_700_000_040_000), ..minutes };
        assert_eq!(ends.first(None, NOW), Ok(1_700_000_040_000), "the end belongs to it");
        assert_eq!(ends.next(1_700_000_040_000, 1, 1_700_000_040_000), Ok(None));
        let never = Timetable { end: Some(NOW + 1), ..ends };
        assert!(matches!(never.first(None, NOW), Err(ScheduleError::Never { .. })));
    }

    #[test]
    fn a_first_job_at_once_is_not_asked_of_the_pattern() {
        let rule = Rule::Cron { pattern: "0 0 1 1 *".into(), tz: None, immediately: true };
        let now = Timetable { rule, ..cron("") };
        assert_eq!(now.first(None, NOW), Ok(NOW));
        assert_eq!(now.next(NOW, 1, NOW), Ok(Some(1_704_067_200_000)));
        assert!(Timetable { start: Some(NOW), ..now }.first(None, NOW).is_err());
    }

    #[test]
    fn limits_and_ends_end_it() {
        let twice = Timetable { limit: Some(2), ..every(1000) };
        assert_eq!(twice.next(NOW, 1, NOW), Ok(Some(NOW + 1000)));
        assert_eq!(twice.next(NOW, 2, NOW), Ok(None));
        let ends = Timetable { end: Some(NOW + 10), ..every(1000) };
        assert_eq!(ends.next(NOW, 1, NOW + 10), Ok(Some(NOW + 1000)), "made before the end, run after it");
        assert_eq!(ends.next(NOW, 1, NOW + 11), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (bad, said) in [
            (every(0), "at least 1"),
            (Timetable { limit: Some(0), ..every(5) }, "limit of 0"),
            (Timetable { end: Some(NOW - 1), ..every(5) }, "the end 2023-11-14T22:13:19.999Z has passed"),
            (
                Timetable { end: Some(NOW + 5), start: Some(NOW + 1000), ..every(5) },
                "the end 2023-11-14T22:13:20.005Z is before the start 2023-11-14T22:13:21Z",
            ),
            (cron("61 * * * *"), "61 is out of range"),
            (cron("0 0 30 2 *"), "never comes"),
        ] {
            let told = bad.first(None, NOW).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
        }
    }
}
