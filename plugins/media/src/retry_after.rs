//! How long a server asks us to stay away: `Retry-After`, in seconds or as a date.

use std::time::Duration;

/// Longest wait taken from a server. A wrong clock or a hostile header must not park a job for years.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// The wait that `value` asks for at `now_ms` (milliseconds since the epoch), at most an hour; `None` when it is
/// neither seconds nor a date, and when a date has passed.
#[must_use]
pub fn wait(value: &str, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are as good as for ever.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = date_ms(value)?;
        Duration::from_millis(until.checked_sub(now_ms)?)
    };
    Some(wait.min(WAIT_MAX))
}

/// An HTTP date in its one current form, `Sun, 06 Nov 1994 08:49:37 GMT`, in milliseconds since the epoch.
fn date_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month_name = words.next()?;
    let month = 1 + MONTHS.iter().position(|name| *name == month_name)? as u64;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next() != Some("GMT")
        || !(1970..=9999).contains(&year)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since the epoch, counting years from March so that the leap day comes last.
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    let days = march_year * 365 + leap_days + (march_month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_milliseconds() {
        assert_eq!(date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(date_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date_ms("Tue, 29 Feb 2028 12:00:00 GMT"), Some(1_835_438_400_000));
        for bad in ["", "soon", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 1"] {
            assert_eq!(date_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_are_seconds_or_until_a_date_and_never_more_than_an_hour() {
        assert_eq!(wait("7", 0), Some(Duration::from_secs(7)));
        assert_eq!(wait(" 120 ", 0), Some(Duration::from_secs(120)));
        assert_eq!(wait("99999999999999999999999", 0), Some(WAIT_MAX));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_767_000), Some(Duration::from_secs(10)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_778_000), None);
        assert_eq!(wait("-3", 0), None);
        assert_eq!(wait("", 0), None);
    }
}
