//! Days and hours of the calendar, in UTC.

/// Milliseconds.
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Of our era.
    pub year: i64,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
}

impl Date {
    /// The day of this moment, in milliseconds since 1970.
    #[must_use]
    pub fn of(ms: u64) -> Self {
        // Years that begin in March put the leap day at their end, and 400 of them are one cycle.
        let days = i64::try_from(ms / DAY).unwrap_or(0) + 719_468;
        let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let number = |n: i64| u32::try_from(n).unwrap_or(0);
        Self {
            year: year + 400 * cycle + i64::from(month <= 2),
            month: number(month),
            day: number(day - (153 * shifted + 2) / 5 + 1),
        }
    }

    /// Reads `2026-11-21`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let date = Self { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
        let is_day = (1..=12).contains(&date.month) && (1..=date.days_of_month()).contains(&date.day);
        (is_day && parts.next().is_none()).then_some(date)
    }

    /// Whether the year has a 29th of February.
    #[must_use]
    pub fn is_leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    fn days_of_month(self) -> u32 {
        match self.month {
            2 => 28 + u32::from(Self::is_leap(self.year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The hour of this moment: `2026-11-21T09`.
#[must_use]
pub fn hour(ms: u64) -> String {
    format!("{}T{:02}", Date::of(ms), ms % DAY / HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_day_of_the_calendar() {
        for (ms, day) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_799_999, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_795_219_200_000, "2026-11-21"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(Date::of(ms).to_string(), day);
            assert_eq!(Date::read(day), Some(Date::of(ms)));
        }
        assert_eq!(hour(1_795_219_200_000 + 9 * HOUR + 1), "2026-11-21T09");
    }

    #[test]
    fn days_that_are_none_are_not_read() {
        for text in
            ["", "2026-11", "2026-02-29", "2026-13-01", "2026-11-31", "2026-00-10", "a-b-c", "2026-1-1-1"]
        {
            assert_eq!(Date::read(text), None, "{text}");
        }
        assert!(Date::read("2024-02-29").is_some() && Date::is_leap(2000) && !Date::is_leap(1900));
    }
}
