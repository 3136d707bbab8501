//! What a receiver's answer means for the job, the same for every channel that is HTTP.

use std::time::{Duration, UNIX_EPOCH};

use jobcell_sdk::http::Response;
use jobcell_sdk::prelude::Failure;

/// Wait when the receiver says "too many" without saying how long.
pub const REST_DEFAULT: Duration = Duration::from_secs(30);
/// Longest wait believed; a bad header must not park a notification for a year.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// Characters of an answer that are repeated in a failure: enough for an error's code and sentence.
const EXCERPT_CHARS: usize = 240;
/// Bytes of an answer that are looked at for the excerpt, so that a huge one costs nothing.
const EXCERPT_BYTES: usize = 4_096;
/// Unbroken characters that look like a key: shorter than any key of the services here (32 and more), longer
/// than the words and most ids in error texts.
const KEY_CHARS: usize = 28;

/// Was the message taken?
///
/// # Errors
/// 429, and a 503 that says when: [`Failure::RetryAfter`]. Other 5xx, 408 and 425: [`Failure::Retry`]. Everything
/// else but 2xx: [`Failure::Fatal`], with a piece of the answer. Redirects are among these: the receiver's
/// address in the job is out of date, and following it would carry keys to a host nobody granted.
pub fn judge(response: &Response, what: &str, now_ms: u64) -> Result<(), Failure> {
    let status = response.status;
    let rest = response.header("retry-after").and_then(|value| retry_after(value, now_ms));
    let reason = || format!("{what} was answered with {status}{}", excerpt(&response.body));
    match (status, rest) {
        (200..=299, _) => Ok(()),
        (429, rest) => Err(Failure::retry_after(reason(), rest.unwrap_or(REST_DEFAULT))),
        (503, Some(rest)) => Err(Failure::retry_after(reason(), rest)),
        (408 | 425 | 500..=599, _) => Err(Failure::retry(reason())),
        _ => Err(Failure::fatal(reason())),
    }
}

/// How long `Retry-After` asks to wait: whole seconds, or an HTTP date; at most an hour, a past date means now.
/// `None` when it is neither.
pub fn retry_after(value: &str, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is certainly more than an hour.
        return Some(value.parse().map_or(REST_MAX, Duration::from_secs).min(REST_MAX));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    Some(until.duration_since(now).unwrap_or_default().min(REST_MAX))
}

/// `: "…"` with the beginning of the answer on one line, without what could be a key: some services repeat the
/// request's headers in their errors. Empty for an empty answer.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out = String::new();
    let mut is_credential = false;
    for word in line.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        let shown = if is_credential { "…".into() } else { without_keys(word) };
        out.push_str(&shown);
        let scheme = word.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        is_credential = ["bearer", "basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    }
    let cut: String = out.chars().take(EXCERPT_CHARS).collect();
    let more = if cut.len() < out.len() || body.len() > EXCERPT_BYTES { "…" } else { "" };
    if cut.is_empty() { String::new() } else { format!(": {cut}{more}") }
}

/// The word with every long run of key characters left out.
fn without_keys(word: &str) -> String {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+');
    let mut out = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(is_key) {
        let run = rest[start..].find(|c| !is_key(c)).unwrap_or(rest.len() - start);
        let (before, key, after) = (&rest[..start], &rest[start..start + run], &rest[start + run..]);
        out.push_str(before);
        // Long names of error codes have no digits, keys do.
        let is_long = key.len() >= KEY_CHARS && key.bytes().any(|byte| byte.is_ascii_digit());
        out.push_str(if is_long { "…" } else { key });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW_MS: u64 = 784_111_777_000;

    fn judged(response: Response) -> Result<(), Failure> {
        judge(&response, "the message", NOW_MS)
    }

    #[test]
    fn retry_after_reads_seconds_and_dates_and_is_bounded() {
        for (value, secs) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Mon, 06 Nov 1995 08:49:37 GMT", Some(3_600)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, NOW_MS), secs.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn statuses_decide_between_done_retrying_and_giving_up() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(Response::new(status)), Ok(()), "{status}");
        }
        for status in [408, 425, 500, 502, 503, 504, 599] {
            assert!(matches!(judged(Response::new(status)), Err(Failure::Retry(_))), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 409, 410, 413, 422] {
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

    #[test]
    fn an_excerpt_is_short_one_line_and_without_keys() {
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(b"  channel_not_found\r\n\x1b[31m gone"), ": channel_not_found [31m gone");
        let long = excerpt("word ".repeat(5_000).as_bytes());
        assert!(long.chars().count() <= EXCERPT_CHARS + 3 && long.ends_with('…'), "{long}");
        let key = "SG.abcdefghijk1234567890lmnopqrstuv";
        for echo in [
            format!("{{\"authorization\":\"Bearer {key}\"}}"),
            format!("token={key}"),
            format!("bad key: {key}"),
            "Authorization: Bearer short1".to_owned(),
            "\"Basic dXNlcjpwYXNz\"".to_owned(),
        ] {
            let shown = excerpt(echo.as_bytes());
            for secret in [key, "abcdefghijk1234567890", "short1", "dXNlcjpwYXNz"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        assert_eq!(
            excerpt(b"{\"code\":\"template_parameter_count_mismatch\"}"),
            ": {\"code\":\"template_parameter_count_mismatch\"}"
        );
        assert!(excerpt(&[0xff, 0xfe, b'x']).contains('x'));
    }
}
