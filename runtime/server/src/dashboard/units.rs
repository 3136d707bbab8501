//! Numbers, sizes and times as people read them.

use std::time::{Duration, UNIX_EPOCH};

use jobcell_core::Millis;
use maud::{Markup, html};

/// The last time that can be written with a year of four digits.
const LAST_MILLIS: Millis = 253_402_300_799_000;

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A cell of a table: zeros are quiet.
pub(super) fn cell(number: u64) -> Markup {
    html! { @if number == 0 { span.zero { "0" } } @else { (count(number)) } }
}

/// `3.4 ms`, from microseconds.
pub(super) fn micros(micros: u64) -> String {
    if micros < 1000 { format!("{micros} µs") } else { millis_of(micros as f64 / 1000.0) }
}

/// `3.4 s`, from milliseconds.
pub(super) fn millis(millis: u64) -> String {
    millis_of(millis as f64)
}

fn millis_of(millis: f64) -> String {
    let seconds = millis / 1000.0;
    match millis {
        m if m < 10.0 => format!("{} ms", short(m)),
        m if m < 1000.0 => format!("{m:.0} ms"),
        _ if seconds < 60.0 => format!("{} s", short(seconds)),
        _ if seconds < 3600.0 => both(seconds, 60.0, ["min", "s"]),
        _ if seconds < 86_400.0 => both(seconds / 60.0, 60.0, ["h", "min"]),
        _ => both(seconds / 3600.0, 24.0, ["d", "h"]),
    }
}

/// A large unit and, unless there are none, how many of the small one are left.
fn both(small: f64, per_large: f64, [large, left]: [&str; 2]) -> String {
    let (whole, rest) = ((small / per_large).floor(), (small % per_large).floor());
    if rest < 1.0 { format!("{whole:.0} {large}") } else { format!("{whole:.0} {large} {rest:.0} {left}") }
}

/// One decimal, unless it is nought.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

/// `64 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", if value < 10.0 { short(value) } else { format!("{value:.0}") }, UNITS[unit])
}

/// `2026-11-20 21:03:11 UTC`.
pub(super) fn utc(at: Millis) -> String {
    let text = iso(at);
    text.replace('T', " ").replace('Z', " UTC")
}

fn iso(at: Millis) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(at.min(LAST_MILLIS));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `21:03`, in UTC.
pub(super) fn clock(at: Millis) -> String {
    iso(at).get(11..16).unwrap_or_default().to_owned()
}

/// How long ago or ahead, with the time itself on hover. The script lets it count on.
pub(super) fn time(at: Millis, now: Millis) -> Markup {
    let text =
        if at <= now { format!("{} ago", coarse(now - at)) } else { format!("in {}", coarse(at - now)) };
    html! { time.nowrap datetime=(iso(at)) title=(utc(at)) data-at=(at) { (text) } }
}

/// `5 min`: the script counts with the same words.
pub(super) fn coarse(millis: Millis) -> String {
    match millis / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20].map(bytes),
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 MiB"]
        );
        assert_eq!([250, 3400, 52_000].map(micros), ["250 µs", "3.4 ms", "52 ms"]);
        let long = [999, 1500, 61_000, 60_000, 3_700_000, 7 * 86_400_000].map(millis);
        assert_eq!(long, ["999 ms", "1.5 s", "1 min 1 s", "1 min", "1 h 1 min", "7 d"]);
    }

    #[test]
    fn times_are_told_both_ways() {
        assert!(time(1_000, 61_000).into_string().contains(">1 min ago<"));
        assert!(time(61_000, 1_000).into_string().contains(">in 1 min<"));
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        // Whatever a producer wrote as a time.
        assert!(time(u64::MAX, 0).into_string().contains("9999-12-31"));
        assert_eq!(clock(3_660_000), "01:01");
    }
}
