//! When a scheduler's jobs run.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// A rule and its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// When jobs run.
    pub rule: Rule,
    /// No job runs before.
    pub start: Option<Millis>,
    /// No job is made after.
    pub end: Option<Millis>,
    /// So many jobs are made in all.
    pub limit: Option<u64>,
}

/// When jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// At equal distances.
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
