//! The job's payload: one webhook delivery as the receiver saw it, and what it should turn out to be.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::confirm::Confirm;
use crate::expectation::Expectation;
use crate::provider::Provider;
use crate::refusal::Refusal;

/// Distance allowed between a signature's timestamp and the receipt of the delivery, in seconds: Stripe's own.
const TOLERANCE_DEFAULT_SECS: u64 = 300;
/// More than a day would make the timestamp pointless.
const TOLERANCE_MAX_SECS: u64 = 86_400;
/// How long an accepted event is remembered, in seconds: longer than any of the providers redelivers (3 days).
const REPLAY_DEFAULT_SECS: u64 = 7 * 86_400;
/// A year: beyond it the cache would be used as a database.
const REPLAY_MAX_SECS: u64 = 366 * 86_400;

/// What a webhook receiver enqueues, for both handlers of this plugin.
///
/// The receiver does three things: copy the headers, keep the body's bytes as they came, and answer 200 once
/// the job is stored. Parsing the body first and serialising it again breaks every signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Whose webhook this is.
    pub provider: Provider,
    /// The request's headers; a value may be a text or a list of texts, as Node gives them.
    /// Names are compared without regard to case; headers that are not needed are ignored.
    pub headers: BTreeMap<String, HeaderValue>,
    /// The raw body when it is text. Exactly one of `body` and `body_base64` is given.
    #[serde(default)]
    body: Option<String>,
    /// The raw body in standard base64 with padding, for receivers that do not want to trust text encodings.
    #[serde(default)]
    body_base64: Option<String>,
    /// Name of the secret that signs; default `<provider>-webhook`. Must be in the handler's grants.
    #[serde(default)]
    secret: Option<String>,
    /// Stripe only: seconds between the signature's timestamp and the enqueueing of this job, in either
    /// direction. Default 300, at most a day. Time spent in the queue or between attempts does not count.
    #[serde(default)]
    tolerance_secs: Option<u64>,
    /// Seconds for which the event is remembered and refused in other jobs. Default 7 days, at least twice
    /// the tolerance, so that a signature is stale before its event is forgotten.
    #[serde(default)]
    replay_ttl_secs: Option<u64>,
    /// What the payment should be: required for `verify-payment`, refused by `verify-webhook`.
    #[serde(default)]
    pub expect: Option<Expectation>,
    /// Ask the provider's API as well; absent means no request is made. Only for `verify-payment`.
    #[serde(default)]
    pub confirm: Option<Confirm>,
}

/// One header's value, or all of them when it came several times.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// The header came once.
    One(String),
    /// The header came this often.
    Many(Vec<String>),
}

impl Delivery {
    /// The body's bytes as the provider signed them.
    ///
    /// # Errors
    /// [`Refusal::Payload`] when neither or both forms are given, or when the base64 is malformed.
    pub fn body(&self) -> Result<Cow<'_, [u8]>, Refusal> {
        match (&self.body, &self.body_base64) {
            (Some(text), None) => Ok(Cow::Borrowed(text.as_bytes())),
            (None, Some(encoded)) => STANDARD
                .decode(encoded)
                .map(Cow::Owned)
                .map_err(|error| Refusal::Payload(format!("body_base64 is not standard base64: {error}"))),
            (None, None) => Err(Refusal::Payload("one of `body` and `body_base64` is required".into())),
            (Some(_), Some(_)) => Err(Refusal::Payload("`body` and `body_base64` exclude each other".into())),
        }
    }

    /// The single value of the header, trimmed.
    ///
    /// # Errors
    /// [`Refusal::Signature`] when it is absent, or came more than once: a proxy that appends and a library
    /// that reads the first would otherwise disagree on which signature was checked.
    pub fn header(&self, name: &str) -> Result<&str, Refusal> {
        let mut values =
            self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).flat_map(|(_, value)| {
                match value {
                    HeaderValue::One(value) => std::slice::from_ref(value),
                    HeaderValue::Many(values) => values.as_slice(),
                }
            });
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.trim()),
            (None, _) => Err(Refusal::Signature(format!("the delivery has no {name} header"))),
            (Some(_), Some(_)) => Err(Refusal::Signature(format!("the {name} header came more than once"))),
        }
    }

    /// The name of the signing secret.
    pub fn secret(&self) -> &str {
        self.secret.as_deref().unwrap_or_else(|| self.provider.webhook_secret())
    }

    /// The tolerance in seconds.
    ///
    /// # Errors
    /// [`Refusal::Payload`] when it is 0, over a day, or given for a provider whose signature has no time.
    pub fn tolerance_secs(&self) -> Result<u64, Refusal> {
        match self.tolerance_secs {
            None => Ok(TOLERANCE_DEFAULT_SECS),
            Some(_) if self.provider != Provider::Stripe => Err(Refusal::Payload(format!(
                "tolerance_secs: signatures of {} carry no timestamp, leave it out",
                self.provider
            ))),
            Some(secs @ 1..=TOLERANCE_MAX_SECS) => Ok(secs),
            Some(secs) => Err(Refusal::Payload(format!(
                "tolerance_secs is {secs}, it can be 1 to {TOLERANCE_MAX_SECS}"
            ))),
        }
    }

    /// How long an accepted event is remembered, in seconds.
    ///
    /// # Errors
    /// [`Refusal::Payload`] when it is shorter than twice the tolerance or longer than a year.
    pub fn replay_ttl_secs(&self) -> Result<u64, Refusal> {
        let least = self.tolerance_secs()?.saturating_mul(2);
        let secs = self.replay_ttl_secs.unwrap_or(REPLAY_DEFAULT_SECS);
        if (least..=REPLAY_MAX_SECS).contains(&secs) {
            return Ok(secs);
        }
        Err(Refusal::Payload(format!("replay_ttl_secs is {secs}, it can be {least} to {REPLAY_MAX_SECS}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delivery(changes: serde_json::Value) -> Result<Delivery, serde_json::Error> {
        let mut payload = json!({ "provider": "stripe", "headers": {} });
        let fields = payload.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        serde_json::from_value(payload)
    }

    #[test]
    fn a_body_comes_as_text_or_base64_never_both_or_none() {
        assert_eq!(&*delivery(json!({"body": "{}"})).unwrap().body().unwrap(), b"{}");
        assert_eq!(&*delivery(json!({"body_base64": "e30="})).unwrap().body().unwrap(), b"{}");
        for wrong in [json!({}), json!({"body": "", "body_base64": ""}), json!({"body_base64": "e30"})] {
            let refusal = delivery(wrong.clone()).unwrap().body().unwrap_err();
            assert!(matches!(refusal, Refusal::Payload(_)), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn header_names_ignore_case_and_repeats_are_refused() {
        let one = delivery(json!({"headers": {"STRIPE-signature": " a "}})).unwrap();
        assert_eq!(one.header("Stripe-Signature").unwrap(), "a");
        let listed = delivery(json!({"headers": {"x-a": ["only"]}})).unwrap();
        assert_eq!(listed.header("X-A").unwrap(), "only");
        for twice in [json!({"x-a": ["1", "2"]}), json!({"x-a": "1", "X-A": "1"}), json!({"x-a": []})] {
            let delivery = delivery(json!({"headers": twice})).unwrap();
            assert!(matches!(delivery.header("X-A"), Err(Refusal::Signature(_))));
        }
    }

    #[test]
    fn unknown_fields_and_providers_are_named() {
        let error = delivery(json!({"bodyy": "x"})).unwrap_err().to_string();
        assert!(error.contains("bodyy"), "{error}");
        let error = delivery(json!({"provider": "paypal"})).unwrap_err().to_string();
        assert!(error.contains("paypal"), "{error}");
        assert_eq!(delivery(json!({"provider": "whatsapp"})).unwrap().provider, Provider::Meta);
    }

    #[test]
    fn windows_are_bounded() {
        assert_eq!(delivery(json!({})).unwrap().tolerance_secs(), Ok(300));
        assert_eq!(delivery(json!({})).unwrap().replay_ttl_secs(), Ok(604_800));
        for wrong in [json!({"tolerance_secs": 0}), json!({"tolerance_secs": 86_401})] {
            assert!(delivery(wrong).unwrap().tolerance_secs().is_err());
        }
        assert!(
            delivery(json!({"provider": "meta", "tolerance_secs": 9})).unwrap().tolerance_secs().is_err()
        );
        for wrong in [json!({"replay_ttl_secs": 599}), json!({"replay_ttl_secs": u64::MAX})] {
            assert!(delivery(wrong).unwrap().replay_ttl_secs().is_err());
        }
        assert_eq!(delivery(json!({"replay_ttl_secs": 600})).unwrap().replay_ttl_secs(), Ok(600));
    }
}
