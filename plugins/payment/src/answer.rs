//! What a provider API's status means for the job. Only the status and one header are read here.

use std::time::{Duration, UNIX_EPOCH};

use jobcell_sdk::http::Response;
use jobcell_sdk::prelude::Failure;

/// Wait when the provider says "too many" without saying how long, in seconds.
const REST_DEFAULT_SECS: u64 = 30;
/// Longest wait believed, in seconds; a bad header must not park a payment for a year.
const REST_MAX_SECS: u64 = 3_600;

/// Is this the 200 that was hoped for?
///
/// # Errors
/// 429 and a 503 that says when: [`Failure::RetryAfter`]. Other 5xx, 408 and 425: [`Failure::Retry`].
/// Everything else, redirects included: [`Failure::Fatal`], with a hint where the cause is usually the key.
pub fn judge(response: &Response, what: &str, secret: &str, now_ms: u64) -> Result<(), Failure> {
    let status = response.status;
    let rest = || response.header("retry-after").and_then(|value| retry_after(value, now_ms));
    match status {
        200 => Ok(()),
        429 => {
            let rest = rest().unwrap_or(Duration::from_secs(REST_DEFAULT_SECS));
            Err(Failure::retry_after(format!("{what}: the provider answered 429, too many requests"), rest))
        }
        503 if rest().is_some() => {
            let reason = format!("{what}: the provider answered 503, unavailable");
            Err(Failure::retry_after(reason, rest().unwrap_or_default()))
        }
        408 | 425 | 500..=599 => Err(Failure::retry(format!("{what}: the provider answered {status}"))),
        401 | 403 => Err(Failure::fatal(format!(
            "{what}: the provider answered {status}; check secret `{secret}` and its permissions"
        ))),
        404 => Err(Failure::fatal(format!("{what}: the provider answered 404, it knows no such payment"))),
        _ => Err(Failure::fatal(format!(
            "{what}: the provider answered {status}, which is no answer to a GET"
        ))),
    }
}

/// How long `Retry-After` asks to wait: whole seconds, or an HTTP date; at most an hour, a past date means now.
/// `None` when it is neither.
pub fn retry_after(value: &str, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    let limit = Duration::from_secs(REST_MAX_SECS);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is certainly more than an hour.
        return Some(value.parse().map_or(limit, Duration::from_secs).min(limit));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    Some(until.duration_since(now).unwrap_or_default().min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW_MS: u64 = 784_111_777_000;

    fn judged(response: Response) -> Result<(), Failure> {
        judge(&response, "asking", "stripe-api", NOW_MS)
    }

    #[test]
    fn retry_after_reads_seconds_and_dates_and_is_bounded() {
        for (value, secs) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("999999", Some(3_600)),
            ("99999999999999999999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Mon, 06 Nov 1995 08:49:37 GMT", Some(3_600)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, NOW_MS), secs.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn statuses_decide_between_retrying_and_giving_up() {
        assert_eq!(judged(Response::new(200)), Ok(()));
        for status in [408, 425, 500, 502, 503, 504, 599] {
            assert!(matches!(judged(Response::new(status)), Err(Failure::Retry(_))), "{status}");
        }
        for status in [201, 204, 301, 302, 307, 400, 401, 402, 403, 404, 409, 422] {
            assert!(matches!(judged(Response::new(status)), Err(Failure::Fatal(_))), "{status}");
        }
    }

    #[test]
    fn too_many_waits_as_told_or_by_default() {
        let wait = |response| match judged(response) {
            Err(Failure::RetryAfter { delay, .. }) => delay.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(Response::new(429)), 30);
        assert_eq!(wait(Response::new(429).with_header("Retry-After", "7")), 7);
        assert_eq!(wait(Response::new(503).with_header("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")), 10);
    }
}
