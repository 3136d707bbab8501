//! Asking the WhatsApp Cloud API to send one message, and what its answer means for the message and for the number.
//!
//! The API knows no idempotency key, so the one thing that matters here is the difference between *was not taken*, after
//! which a message may be sent again, and *may have been taken*, after which it must not.

use std::time::{Duration, UNIX_EPOCH};

use jobcell_sdk::http::{HttpError, Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{secrets, time};
use serde_json::{Value, json};

use crate::message::Message;
use crate::settings;

/// The secret with the access token; the host puts it into the request.
pub const TOKEN: &str = "whatsapp-token";
/// How long an answer may take, connecting included: longer than the host tries to connect (10 s), so that a provider
/// that cannot be reached is told apart from one that has the message and does not answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Rest of a number when the provider says "too many" without saying how long.
const REST_DEFAULT: Duration = Duration::from_secs(30);
/// Longest rest that is believed; a bad header must not park a number for a year.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// Rest of a number while the provider is not there.
const REST_AWAY: Duration = Duration::from_secs(5);
/// The same while it refuses the token: that takes a person.
const REST_LOCKED_OUT: Duration = Duration::from_secs(60);
/// Rest of one recipient who was written to too often.
const REST_PAIR: Duration = Duration::from_secs(10);

/// Meta's codes for "too many" of an app, an account, or a number.
const TOO_MANY: &[i64] = &[4, 80_007, 130_429];
/// Too many messages to this one recipient.
const TOO_MANY_TO_ONE: i64 = 131_056;
/// The service is down for the moment.
const AWAY: &[i64] = &[2, 131_016, 133_004];
/// The token is not valid.
const TOKEN_INVALID: i64 = 190;

/// What became of one request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message is on its way, under the provider's id.
    Taken(Option<String>),
    /// Not taken; the number has to rest.
    Rest(Duration, String),
    /// Not taken; this recipient has to be left alone for a while, the number may go on.
    Crowded(Duration),
    /// Not taken, and never will be.
    Refused(String),
    /// Possibly taken: there was no answer that says.
    Unknown(String),
}

/// The request for a message.
///
/// # Errors
/// Fatal when a setting or the token's secret is missing.
pub fn request(message: &Message) -> Result<Request, Failure> {
    let url = format!("{}/{}/messages", settings::graph()?, message.address.number);
    let parameters: Vec<Value> =
        message.parameters.iter().map(|text| json!({ "type": "text", "text": text })).collect();
    let components = match parameters.is_empty() {
        true => json!([]),
        false => json!([{ "type": "body", "parameters": parameters }]),
    };
    let body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to,
        "type": "template",
        "template": {
            "name": message.template.name,
            "language": { "code": message.template.language },
            "components": components,
        },
        // Comes back with every status of the message, and says what it is about before we have heard its id.
        "biz_opaque_callback_data": message.address.to_string(),
    });
    let token = secrets::placeholder(TOKEN)?;
    Ok(Request::post(url).bearer(token).json(&body).timeout(ANSWER_WITHIN).max_body(64 * 1024))
}

/// Sends it.
pub fn ask(request: Request) -> Result<Answer, HttpError> {
    match request.send() {
        Ok(response) => Ok(judge(&response, time::now_ms())),
        Err(error) if error.is_permanent() && error.is_unsent() => Err(error),
        Err(error) if error.is_unsent() => Ok(Answer::Rest(REST_AWAY, error.to_string())),
        Err(error) => Ok(Answer::Unknown(error.to_string())),
    }
}

fn judge(response: &Response, now_ms: u64) -> Answer {
    let body = response.json::<Value>().unwrap_or_default();
    if response.is_success() {
        return Answer::Taken(body["messages"][0]["id"].as_str().map(str::to_owned));
    }
    let (status, code) = (response.status, body["error"]["code"].as_i64().unwrap_or_default());
    let text: String = body["error"]["message"].as_str().unwrap_or_default().chars().take(240).collect();
    let reason = format!("the provider answered {status}, code {code}: {text}");
    let rest = || response.header("retry-after").and_then(|value| retry_after(value, now_ms));
    match status {
        _ if code == TOO_MANY_TO_ONE => Answer::Crowded(rest().unwrap_or(REST_PAIR)),
        429 => Answer::Rest(rest().unwrap_or(REST_DEFAULT), reason),
        _ if TOO_MANY.contains(&code) => Answer::Rest(rest().unwrap_or(REST_DEFAULT), reason),
        503 => Answer::Rest(rest().unwrap_or(REST_AWAY), reason),
        _ if AWAY.contains(&code) => Answer::Rest(rest().unwrap_or(REST_AWAY), reason),
        401 => Answer::Rest(REST_LOCKED_OUT, reason),
        _ if code == TOKEN_INVALID => Answer::Rest(REST_LOCKED_OUT, reason),
        400..=499 => Answer::Refused(reason),
        // Some server on the way failed, after the message had gone out or before.
        _ => Answer::Unknown(reason),
    }
}

/// How long `Retry-After` asks to wait: whole seconds, or an HTTP date. `None` when it is neither.
fn retry_after(value: &str, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(REST_MAX, Duration::from_secs).min(REST_MAX));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    Some(until.duration_since(now).unwrap_or_default().min(REST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: i64) -> Answer {
        judge(&Response::new(status).with_json(&json!({ "error": { "code": code, "message": "m" } })), 0)
    }

    #[test]
    fn only_an_answer_that_says_no_lets_a_message_go_out_again() {
        for (status, code) in
            [(429, 0), (429, 130_429), (400, 80_007), (400, 4), (503, 0), (500, 2), (401, 190), (400, 190)]
        {
            assert!(matches!(judged(status, code), Answer::Rest(..)), "{status} {code}");
        }
        for (status, code) in [(400, 131_026), (404, 100), (403, 368), (400, 132_001)] {
            assert!(matches!(judged(status, code), Answer::Refused(_)), "{status} {code}");
        }
        for (status, code) in [(500, 0), (502, 0), (504, 0), (500, 131_000), (302, 0)] {
            assert!(matches!(judged(status, code), Answer::Unknown(_)), "{status} {code}");
        }
        assert_eq!(judged(400, TOO_MANY_TO_ONE), Answer::Crowded(REST_PAIR));
    }

    #[test]
    fn a_taken_message_is_taken_whatever_the_body_says() {
        let taken = |body: &Value| judge(&Response::new(200).with_json(body), 0);
        assert_eq!(
            taken(&json!({ "messages": [{ "id": "wamid.1" }] })),
            Answer::Taken(Some("wamid.1".into()))
        );
        assert_eq!(taken(&json!("ok")), Answer::Taken(None));
        assert_eq!(judge(&Response::new(200).with_body("<html>"), 0), Answer::Taken(None));
    }

    #[test]
    fn a_rest_is_as_long_as_the_provider_says() {
        let rest =
            |value: &str| match judge(&Response::new(429).with_header("Retry-After", value), 784_111_777_000)
            {
                Answer::Rest(rest, _) => rest.as_secs(),
                other => panic!("{other:?}"),
            };
        assert_eq!(
            [rest("7"), rest("Sun, 06 Nov 1994 08:50:07 GMT"), rest("soon"), rest("99999999999999999999")],
            [7, 30, 30, 3_600]
        );
    }
}
