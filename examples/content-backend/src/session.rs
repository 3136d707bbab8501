//! Sessions as the web server's session store writes them: JSON under `session:sess:<id>`.

use jobcell_sdk::prelude::*;
use jobcell_sdk::{kv, time};
use serde::Deserialize;

#[derive(Deserialize)]
struct Session {
    cookie: Cookie,
    #[serde(rename = "userId")]
    user: Option<String>,
}

#[derive(Deserialize)]
struct Cookie {
    /// When the browser forgets it, in ISO 8601 and UTC; none is when it is closed.
    expires: Option<String>,
}

/// Whose session this is.
///
/// # Errors
/// Fatal when there is none, nobody is logged in with it, or it is over: another attempt would find the same.
pub fn user(session: &str) -> Result<String, Failure> {
    let sessions = kv::open("sessions")?;
    let held = sessions.get(session)?.or_fatal("the session is over, or never was; log in again")?;
    let held: Session =
        serde_json::from_slice(&held).or_fatal("the session is not what a session store writes")?;
    // All are written in the same way, in which texts are ordered as times are.
    if held.cookie.expires.is_some_and(|expires| *expires <= *iso(time::now_ms())) {
        return Err(Failure::fatal("the session has expired; log in again"));
    }
    held.user.or_fatal("nobody is logged in with this session")
}

/// A time as JavaScript writes it: `2026-11-21T00:30:00.000Z`.
fn iso(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days since 1 March 0000, in eras of 400 years, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::Host;
    use serde_json::json;

    use super::*;

    /// 2026-11-21T00:30:00.000Z
    const NOW_MS: u64 = 1_795_221_000_000;

    fn found(session: &str) -> Result<String, Failure> {
        let host = Host::new().at(NOW_MS).kept_value("sessions", "abc", session).read_only("sessions");
        host.within(|| user("abc"))
    }

    #[test]
    fn a_session_says_whose_it_is_until_it_is_over() {
        let session = |expires: &str| {
            found(&json!({"cookie": {"originalMaxAge": 86_400_000, "expires": expires, "httpOnly": true}, "userId": "7"}).to_string())
        };
        assert_eq!(session("2026-11-21T00:30:00.001Z"), Ok("7".to_owned()));
        for over in ["2026-11-21T00:30:00.000Z", "2026-11-20T23:59:59.999Z", "1999-01-01T00:00:00.000Z"] {
            assert!(matches!(session(over), Err(Failure::Fatal(why)) if why.contains("expired")), "{over}");
        }
        assert_eq!(found(r#"{"cookie":{},"userId":"7"}"#), Ok("7".to_owned()));
    }

    #[test]
    fn no_session_is_no_user_and_no_second_attempt() {
        assert!(matches!(found(r#"{"cookie":{}}"#), Err(Failure::Fatal(_))));
        assert!(matches!(found("not json"), Err(Failure::Fatal(_))));
        let none = Host::new().bucket("sessions").within(|| user("abc"));
        assert!(matches!(none, Err(Failure::Fatal(why)) if why.contains("log in again")));
    }

    #[test]
    fn times_are_written_as_javascript_writes_them() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_795_221_000_000, "2026-11-21T00:30:00.000Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso(unix_ms), text);
        }
    }
}
