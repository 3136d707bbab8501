//! The times that a cron pattern names.
//!
//! Patterns, days and zones mean what they mean to `cron-parser`, which BullMQ's clients use, so that it does not matter
//! which of a fleet's workers makes the next job. On a day on which the clock is changed:
//!
//! - A pattern for every hour runs in every hour there is: not in the one left out, twice in the one repeated.
//! - Any other runs once for each time it names: in the first of two equal hours, and instead of an hour left out in the
//!   hour after it, at the same minute and second.
//!
//! `cron-parser` departs from its own rule in three places, where ours does not: it leaves out a whole day that begins
//! with an hour left out, it repeats a time of the day when it is asked in the second of two equal hours, and shifts by
//! other than one hour it sees or not by version.

use chrono::offset::LocalResult;
use chrono::{DateTime, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::ScheduleError;
use super::pattern::{self, Translated};
use crate::clock::Millis;

/// How far from a change of the clock times are looked at with care: more than any zone is ever put back or forward.
const NEAR: TimeDelta = TimeDelta::hours(4);
/// The end of the year 9999. Later times are somebody's mistake, and at the calendar's end reckoning stops.
const LATEST: Millis = 253_402_300_799_999;
/// Hours left out in a row for which another is found.
const HOURS_LEFT_OUT_MAX: i64 = 3;

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    times: croner::Cron,
    every_hour: bool,
    zone: Zone,
}

#[derive(Debug, Clone, Copy)]
enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

impl Cron {
    /// Reads a pattern of five fields, six with seconds in front, or an alias such as `@hourly`. No zone is UTC.
    ///
    /// # Errors
    /// [`ScheduleError::Pattern`], [`ScheduleError::Zone`].
    pub fn new(text: &str, tz: Option<&str>) -> Result<Self, ScheduleError> {
        let fault = |cause| ScheduleError::Pattern { pattern: text.to_owned(), cause };
        let Translated { text: plain, every_hour } = pattern::translate(text).map_err(fault)?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
        let times = parser.parse(&plain).map_err(|e| fault(e.to_string()))?;
        Ok(Self { times, every_hour, zone: Zone::new(tz.unwrap_or_default())? })
    }

    /// The first time after this one; none when the pattern never comes again, or this one is later than the year 9999.
    #[must_use]
    pub fn next(&self, after: Millis) -> Option<Millis> {
        if after > LATEST {
            return None;
        }
        let after = DateTime::<Utc>::from_timestamp_millis(i64::try_from(after).ok()?)?;
        let from = self.zone.local(after)?;
        let found = if self.zone.is_steady(after) {
            let civil = self.civil_after(from)?;
            match self.zone.resolve(civil) {
                LocalResult::Single(moment) if self.zone.is_steady(moment) => Some(moment),
                _ => self.near_a_change(civil - NEAR, after),
            }
        } else {
            self.near_a_change(from - NEAR - NEAR, after)
        };
        Millis::try_from(found?.timestamp_millis()).ok()
    }

    /// The same where the clock is changed: of the times that the pattern names from here on, the first after `after`.
    fn near_a_change(&self, from: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut best: Option<DateTime<Utc>> = None;
        let mut civil = from;
        while let Some(next) = self.civil_after(civil) {
            civil = next;
            // What is much later on the clock is later.
            if best.and_then(|best| self.zone.local(best)).is_some_and(|local| civil > local + NEAR) {
                break;
            }
            let moments = self.moments(civil).into_iter().flatten().filter(|moment| *moment > after);
            best = best.into_iter().chain(moments).min();
        }
        best
    }

    /// The next time on the clock that the pattern names, whether it exists or not.
    fn civil_after(&self, civil: NaiveDateTime) -> Option<NaiveDateTime> {
        self.times.find_next_occurrence(&civil.with_nanosecond(0)?, false).ok()
    }

    /// When a job runs that the clock's time `civil` is named for.
    fn moments(&self, civil: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        match self.zone.resolve(civil) {
            LocalResult::Single(moment) => [Some(moment), None],
            LocalResult::Ambiguous(first, second) => [Some(first), Some(second).filter(|_| self.every_hour)],
            LocalResult::None if self.every_hour => [None, None],
            LocalResult::None => [self.instead_of(civil), None],
        }
    }

    /// The time in the first hour after those left out.
    fn instead_of(&self, civil: NaiveDateTime) -> Option<DateTime<Utc>> {
        let exists = |time: NaiveDateTime| !matches!(self.zone.resolve(time), LocalResult::None);
        let whole_hour_is_left_out = |time: NaiveDateTime| {
            let (begin, end) = (time.with_minute(0)?.with_second(0)?, time.with_minute(59)?.with_second(59)?);
            Some(!exists(begin) && !exists(end))
        };
        for hours in 0..=HOURS_LEFT_OUT_MAX {
            let time = civil + TimeDelta::hours(hours);
            if !whole_hour_is_left_out(time)? {
                return if hours > 0 { self.zone.resolve(time).earliest() } else { None };
            }
        }
        None
    }
}

// === impl Zone ===

impl Zone {
    fn new(name: &str) -> Result<Self, ScheduleError> {
        if name.is_empty() {
            return Ok(Self::Named(Tz::UTC));
        }
        if let Ok(zone) = name.parse() {
            return Ok(Self::Named(zone));
        }
        // Other clients do not mind the case, and take offsets such as UTC+5:30.
        let other_case = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        other_case
            .map(|zone| Self::Named(*zone))
            .or_else(|| offset(name).map(Self::Fixed))
            .ok_or_else(|| ScheduleError::Zone { name: name.to_owned() })
    }

    /// What the clock shows; none beyond the years that can be reckoned.
    fn local(self, moment: DateTime<Utc>) -> Option<NaiveDateTime> {
        moment.naive_utc().checked_add_offset(self.offset(moment))
    }

    fn offset(self, moment: DateTime<Utc>) -> FixedOffset {
        match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&moment.naive_utc()).fix(),
            Self::Fixed(offset) => offset,
        }
    }

    fn resolve(self, civil: NaiveDateTime) -> LocalResult<DateTime<Utc>> {
        match self {
            Self::Named(zone) => zone.from_local_datetime(&civil).map(|moment| moment.to_utc()),
            Self::Fixed(offset) => offset.from_local_datetime(&civil).map(|moment| moment.to_utc()),
        }
    }

    /// Whether the clock is not changed around this time.
    fn is_steady(self, moment: DateTime<Utc>) -> bool {
        self.offset(moment - NEAR) == self.offset(moment + NEAR)
    }
}

/// `UTC+5` or `UTC-3:30`.
fn offset(name: &str) -> Option<FixedOffset> {
    let (utc, rest) = name.split_at_checked(3)?;
    let sign = match rest.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = rest[1..].split_once(':').unwrap_or((&rest[1..], "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let known = utc.eq_ignore_ascii_case("utc") && (0..=14).contains(&hours) && (0..60).contains(&minutes);
    // Only what is known is small enough to be reckoned with.
    if known { FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis::try_from(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()).unwrap()
    }

    /// The next times as the clock of the zone shows them.
    fn run(pattern: &str, tz: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::new(pattern, Some(tz)).unwrap();
        let mut now = at(from);
        let mut times = Vec::new();
        for _ in 0..count {
            now = cron.next(now).unwrap();
            let moment = DateTime::<Utc>::from_timestamp_millis(now.cast_signed()).unwrap();
            let shown = moment.with_timezone(&cron.zone.offset(moment));
            times.push(shown.format("%m-%d %H:%M:%S%:z").to_string().trim_end_matches(":00").to_owned());
        }
        times
    }

    #[test]
    fn the_next_time_is_strictly_after() {
        assert_eq!(
            run("*/5 * * * * *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["01-01 00:00:05+00", "01-01 00:00:10+00"]
        );
        assert_eq!(run("*/5 * * * * *", "UTC", "2026-01-01T00:00:04.999Z", 1), ["01-01 00:00:05+00"]);
        assert_eq!(
            run("0 9 * * MON-FRI", "Asia/Tokyo", "2026-01-02T00:00:00Z", 2),
            ["01-05 09:00:00+09", "01-06 09:00:00+09"]
        );
        assert_eq!(run("30 9 * * *", "", "2026-01-02T00:00:00Z", 1), ["01-02 09:30:00+00"]);
    }

    #[test]
    fn days_match_as_bullmqs_parser_says() {
        // Both are restricted: either will do.
        assert_eq!(
            run("0 0 13 * FRI", "UTC", "2026-02-10T00:00:00Z", 3),
            ["02-13 00:00:00+00", "02-20 00:00:00+00", "02-27 00:00:00+00"]
        );
        assert_eq!(
            run("0 0 L * *", "UTC", "2028-02-01T00:00:00Z", 2),
            ["02-29 00:00:00+00", "03-31 00:00:00+00"]
        );
        assert_eq!(
            run("0 0 * * 5L", "UTC", "2026-01-01T00:00:00Z", 2),
            ["01-30 00:00:00+00", "02-27 00:00:00+00"]
        );
        assert_eq!(
            run("0 0 * * MON#2", "UTC", "2026-01-01T00:00:00Z", 2),
            ["01-12 00:00:00+00", "02-09 00:00:00+00"]
        );
        assert_eq!(
            run("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["02-29 00:00:00+00", "02-29 00:00:00+00"]
        );
    }

    #[test]
    fn a_pattern_that_never_comes_ends_the_search() {
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * 31 11 *"] {
            assert_eq!(
                Cron::new(never, Some("Europe/Berlin")).unwrap().next(at("2026-01-01T00:00:00Z")),
                None,
                "{never}"
            );
        }
        assert_eq!(Cron::new("* * * * *", None).unwrap().next(Millis::MAX), None);
    }

    #[test]
    fn an_hour_left_out_runs_in_the_next() {
        let from = "2025-03-29T00:00:00Z";
        assert_eq!(
            run("30 2 * * *", "Europe/Berlin", from, 3),
            ["03-29 02:30:00+01", "03-30 03:30:00+02", "03-31 02:30:00+02"]
        );
        assert_eq!(
            run("0 2 * * *", "Europe/Berlin", from, 3),
            ["03-29 02:00:00+01", "03-30 03:00:00+02", "03-31 02:00:00+02"]
        );
        assert_eq!(
            run("30 1-3 * * *", "Europe/Berlin", "2025-03-30T00:00:00Z", 3),
            ["03-30 01:30:00+01", "03-30 03:30:00+02", "03-31 01:30:00+02"]
        );
        assert_eq!(
            run("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:00:00Z", 3),
            ["03-30 01:30:00+01", "03-30 03:00:00+02", "03-30 03:30:00+02"]
        );
    }

    #[test]
    fn an_hour_repeated_runs_once_unless_every_hour_is_meant() {
        let from = "2025-10-25T23:00:00Z";
        assert_eq!(run("30 2 * * *", "Europe/Berlin", from, 2), ["10-26 02:30:00+02", "10-27 02:30:00+01"]);
        assert_eq!(
            run("30 1-3 * * *", "Europe/Berlin", from, 3),
            ["10-26 01:30:00+02", "10-26 02:30:00+02", "10-26 03:30:00+01"]
        );
        let twice = run("*/30 * * * *", "Europe/Berlin", "2025-10-25T23:45:00Z", 5);
        assert_eq!(
            twice,
            [
                "10-26 02:00:00+02",
                "10-26 02:30:00+02",
                "10-26 02:00:00+01",
                "10-26 02:30:00+01",
                "10-26 03:00:00+01"
            ]
        );
        assert_eq!(
            run("30 2 * * *", "Europe/Berlin", "2025-10-26T01:10:00Z", 1),
            ["10-27 02:30:00+01"],
            "asked in the second hour"
        );
    }

    #[test]
    fn a_day_that_begins_late_is_not_left_out() {
        let from = "2024-04-25T10:00:00Z";
        assert_eq!(run("0 0 * * *", "Africa/Cairo", from, 2), ["04-26 01:00:00+03", "04-27 00:00:00+03"]);
        assert_eq!(
            run("15 0,23 * * *", "Africa/Cairo", from, 3),
            ["04-25 23:15:00+02", "04-26 01:15:00+03", "04-26 23:15:00+03"]
        );
    }

    #[test]
    fn shifts_of_other_than_an_hour_run_each_time_once() {
        let half = "Australia/Lord_Howe";
        assert_eq!(
            run("15 2 * * *", half, "2024-10-05T00:00:00Z", 1),
            ["10-07 02:15:00+11"],
            "its hour is there, the minute is not"
        );
        assert_eq!(
            run("45 1 * * *", half, "2024-04-06T00:00:00Z", 2),
            ["04-07 01:45:00+11", "04-08 01:45:00+10:30"]
        );
        assert_eq!(
            run("30 1,2 * * *", "Antarctica/Troll", "2024-03-30T10:00:00Z", 2),
            ["03-31 03:30:00+02", "04-01 01:30:00+02"]
        );
        assert_eq!(
            run("0 12 * * *", "Pacific/Apia", "2011-12-29T10:00:00Z", 2),
            ["12-29 12:00:00-10", "12-31 12:00:00+14"],
            "a day that never was"
        );
    }

    #[test]
    fn every_second_near_a_change_is_found_in_order() {
        let cron = Cron::new("* * * * * *", Some("Europe/Berlin")).unwrap();
        for around in ["2025-10-26T01:00:00Z", "2025-03-30T01:00:00Z", "2025-10-26T00:00:00Z"] {
            let mut now = at(around) - 3000;
            for _ in 0..6 {
                assert_eq!(cron.next(now), Some(now + 1000));
                now += 1000;
            }
        }
    }

    #[test]
    fn the_calendar_ends_without_a_panic() {
        for zone in ["UTC", "UTC-14", "UTC+14", "Europe/Berlin"] {
            let cron = Cron::new("* * * * *", Some(zone)).unwrap();
            let _ = cron.next(LATEST);
            for late in [LATEST + 1, 8_210_266_873_199_999, 8_210_266_876_799_999, Millis::MAX] {
                assert_eq!(cron.next(late), None, "{zone} {late}");
            }
        }
    }

    #[test]
    fn zones_are_iana_names_or_offsets() {
        assert_eq!(run("0 9 * * *", "europe/berlin", "2026-01-01T00:00:00Z", 1), ["01-01 09:00:00+01"]);
        assert_eq!(run("0 9 * * *", "UTC+5:30", "2026-01-01T00:00:00Z", 1), ["01-01 09:00:00+05:30"]);
        for bad in ["Mars/Olympus", "UTC+99", "UTC", "utc-", "é+1", "UTC+0026800000", "UTC+1:2147483647"] {
            let told = Cron::new("0 9 * * *", Some(bad)).map(drop);
            assert_eq!(told.is_err(), bad != "UTC", "{bad}");
        }
        let told = Cron::new("0 9 * * *", Some("Mars/Olympus")).unwrap_err().to_string();
        assert!(told.contains("Mars/Olympus") && told.contains("Europe/Berlin"), "{told}");
    }
}
