//! Values on the command line: read strictly, with what is wrong and what to write.

use std::time::Duration;

use jobcell_core::options::{Backoff, BackoffKind, Deduplication, KeepLimits};
use jobcell_core::store::RateLimit;
use jobcell_core::{JobId, Keep, QueueName};

/// A parent as it is typed: `QUEUE:ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParentArg {
    pub(super) queue: QueueName,
    pub(super) id: JobId,
}

/// A year: longer delays are typing errors.
const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Milliseconds, or a duration with a unit.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    let delay = match text.parse() {
        Ok(millis) => Duration::from_millis(millis),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "write milliseconds such as 5000, or a duration such as 5s".to_owned())?,
    };
    if delay > DELAY_MAX { Err("it is longer than a year".to_owned()) } else { Ok(delay) }
}

/// How long ago, with a unit or in milliseconds. Unlike a delay it may be long.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "write an age such as 7d or 12h, or milliseconds".to_owned()),
    }
}

/// `MAX/PER`, as in `100/1s`; the 1 may be left out.
pub(super) fn rate(text: &str) -> Result<RateLimit, String> {
    let form = "write MAX/PER, for example 100/1s or 5/m";
    let (max, per) = text.split_once('/').ok_or(form)?;
    let max = max.trim().parse().map_err(|_| form)?;
    let per = per.trim();
    let per = match per.parse() {
        Ok(millis) => Duration::from_millis(millis),
        Err(_) => humantime::parse_duration(per)
            .or_else(|_| humantime::parse_duration(&format!("1{per}")))
            .map_err(|_| form)?,
    };
    if max == 0 || per < Duration::from_millis(1) {
        return Err("it would stop the queue; to do so, pause it".to_owned());
    }
    if per > DELAY_MAX {
        return Err("its time is longer than a year".to_owned());
    }
    Ok(RateLimit { max, per })
}

/// A time of day: RFC 3339, a date, or milliseconds since 1970.
pub(super) fn time(text: &str) -> Result<u64, String> {
    jobcell_core::schedule::parse_time(text).ok_or_else(|| {
        "write a time such as 2030-01-31T09:00:00Z, a date, or milliseconds since 1970".to_owned()
    })
}

fn delay_ms(text: &str) -> Result<u64, String> {
    Ok(u64::try_from(delay(text)?.as_millis()).unwrap_or(u64::MAX))
}

/// `KIND:MS`.
pub(super) fn backoff(text: &str) -> Result<Backoff, String> {
    let (kind, delay) =
        text.split_once(':').ok_or("write fixed:MS or exponential:MS, for example exponential:1000")?;
    let kind = match kind {
        "fixed" => BackoffKind::Fixed,
        "exponential" => BackoffKind::Exponential,
        other => return Err(format!("there is no backoff {other:?}; write fixed:MS or exponential:MS")),
    };
    Ok(Backoff { kind, delay: delay_ms(delay)?, jitter: None })
}

/// `ID[:TTL]`. Ids may have colons: what follows the last one is the time when it looks like one. An id that ends in what
/// looks like a time is written with a `:` at its end, which stands for no time.
pub(super) fn deduplication(text: &str) -> Result<Deduplication, String> {
    let (id, ttl) = match text.rsplit_once(':') {
        Some((id, "")) => (id, None),
        Some((id, ttl)) if looks_like_time(ttl) => {
            let ttl = delay_ms(ttl).map_err(|fix| {
                format!(
                    "its time {ttl:?} cannot be used: {fix}; if it is part of the id, end the id with a ':'"
                )
            })?;
            (id, Some(ttl))
        }
        _ => (text, None),
    };
    match (id, ttl) {
        ("", _) => Err("the deduplication id is empty".to_owned()),
        (_, Some(0)) => {
            Err("the time is 0; leave it out to hold the id until the job is finished".to_owned())
        }
        (id, ttl) => Ok(Deduplication { id: id.to_owned(), ttl, ..Deduplication::default() }),
    }
}

/// A number, with or without a unit behind it, or several of these. Digits with letters between them, as in a UUID, are none.
fn looks_like_time(text: &str) -> bool {
    let is_part = |part: &str| {
        let number = part.trim_start_matches('-');
        let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        unit.len() < number.len()
            && number.starts_with(|c: char| c.is_ascii_digit())
            && unit.chars().all(char::is_alphabetic)
    };
    let mut parts = text.split(' ');
    let begins = parts.next().is_some_and(is_part);
    humantime::parse_duration(text).is_ok()
        || (begins && parts.all(|part| part.chars().all(char::is_alphanumeric)))
}

/// `QUEUE:ID`.
pub(super) fn parent(text: &str) -> Result<ParentArg, String> {
    let (queue, id) = text.split_once(':').ok_or("write QUEUE:ID")?;
    Ok(ParentArg {
        queue: QueueName::new(queue).map_err(|error| error.to_string())?,
        id: JobId::new(id).map_err(|error| error.to_string())?,
    })
}

/// A count, an age, `all` or `none`.
pub(super) fn keep(text: &str) -> Result<Keep, String> {
    let up_to = |limits| Ok(Keep::UpTo(limits));
    match (text, text.parse()) {
        ("all", _) => Ok(Keep::All),
        ("none", _) | (_, Ok(0)) => Ok(Keep::None),
        (_, Ok(count)) => up_to(KeepLimits { count: Some(count), ..KeepLimits::default() }),
        (_, Err(_)) => match humantime::parse_duration(text) {
            Ok(age) if age.as_secs() > 0 => {
                up_to(KeepLimits { age: Some(age.as_secs()), ..KeepLimits::default() })
            }
            _ => Err("write a count such as 1000, an age such as 7d, all or none".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_milliseconds_or_durations() {
        assert_eq!(delay("1500"), Ok(Duration::from_millis(1500)));
        assert_eq!(delay("5m"), Ok(Duration::from_secs(300)));
        assert!(delay("soon").is_err() && delay("-1").is_err() && delay("99999999999999").is_err());
    }

    #[test]
    fn rates_are_a_count_and_a_time() {
        let rate_of = |max, ms| Ok(RateLimit { max, per: Duration::from_millis(ms) });
        assert_eq!(rate("100/1s"), rate_of(100, 1000));
        assert_eq!(rate("5/m"), rate_of(5, 60_000));
        assert_eq!(rate("7 / 250"), rate_of(7, 250));
        for bad in ["100", "0/s", "5/0s", "-1/s", "a/s", "5/x", "1/9y", "1/0"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_may_be_long() {
        assert_eq!(age("3y").map(|age| age.as_secs() > 3 * 364 * 86_400), Ok(true));
        assert_eq!(age("1500"), Ok(Duration::from_millis(1500)));
        assert!(age("old").is_err() && age("-1d").is_err());
    }

    #[test]
    fn backoffs_name_kind_and_delay() {
        let expected = Backoff { kind: BackoffKind::Exponential, delay: 1000, jitter: None };
        assert_eq!(backoff("exponential:1000"), Ok(expected.clone()));
        assert_eq!(backoff("exponential:1s"), Ok(expected));
        assert!(backoff("1000").is_err() && backoff("linear:5").is_err());
    }

    #[test]
    fn deduplication_ids_may_have_colons() {
        let read = |text| deduplication(text).map(|d| (d.id, d.ttl));
        assert_eq!(read("order"), Ok(("order".to_owned(), None)));
        assert_eq!(read("order:5000"), Ok(("order".to_owned(), Some(5000))));
        assert_eq!(read("order:x:5s"), Ok(("order:x".to_owned(), Some(5000))));
        assert_eq!(read("order:x"), Ok(("order:x".to_owned(), None)));
        let uuid = "order:3fa85f64-5717-4562-b3fc-2c963f66afa6";
        assert_eq!(read(uuid), Ok((uuid.to_owned(), None)));
        assert_eq!(read("order:1h30m"), Ok(("order".to_owned(), Some(5_400_000))));
        assert_eq!(read("order:17:"), Ok(("order:17".to_owned(), None)));
        for bad in
            [":5", "", ":", "a:0", "mail:1x", "mail:-5", "mail:1.5x", "mail:99999999999999", "mail:5 minuets"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        let told = read("mail:1x").unwrap_err();
        assert!(told.contains("\"1x\"") && told.contains("a duration such as 5s"), "{told}");
    }

    #[test]
    fn parents_are_a_queue_and_an_id() {
        let parent_arg = parent("flows:repeat:a:1").unwrap();
        assert_eq!((parent_arg.queue.as_str(), parent_arg.id.as_str()), ("flows", "repeat:a:1"));
        assert!(parent("flows").is_err() && parent(":1").is_err() && parent("flows:").is_err());
    }

    #[test]
    fn keeping_is_a_count_an_age_all_or_none() {
        assert_eq!(keep("none"), Ok(Keep::None));
        assert_eq!(keep("0"), Ok(Keep::None));
        assert_eq!(keep("all"), Ok(Keep::All));
        assert_eq!(keep("7d"), Ok(Keep::UpTo(KeepLimits { age: Some(604_800), ..KeepLimits::default() })));
        assert!(keep("some").is_err() && keep("5ms").is_err());
    }
}
