//! A provider's event, read from a body whose signature is already proved.
//!
//! Every value keeps the JSON path it came from, so that a refusal says where to look. Numbers are never
//! converted: an amount is a whole count of minor units in the JSON, or it is refused.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::{meta, paystack, razorpay, stripe};

/// Longest event id kept, in bytes. Real ones have under 100; it becomes part of a cache key.
const ID_BYTES_MAX: usize = 255;

/// What both handlers work with.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who sent it.
    pub provider: Provider,
    /// The same for every delivery of the same event, and made of signed content only: a header such as
    /// `X-Razorpay-Event-Id` can be changed by whoever repeats a delivery.
    pub id: String,
    /// The provider's name of what happened, e.g. `payment_intent.succeeded`.
    pub kind: String,
    /// What the money is about in the provider's books: payment, transaction or order.
    pub reference: Option<String>,
    /// Where the provider's API answers for it: a path below the API's root, checked to be one.
    pub lookup: Option<String>,
    /// Where its money stands, unread: an event that is only identified may carry anything there.
    pub money: Money,
}

impl Event {
    /// Reads the body as an event of the provider.
    ///
    /// # Errors
    /// [`Refusal::Event`] when it is not JSON or lacks what identifies an event.
    pub fn read(provider: Provider, body: &[u8]) -> Result<Self, Refusal> {
        let json: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::Event(format!("the signed body is not JSON: {error}")))?;
        let root = Node::root(&json);
        let event = match provider {
            Provider::Stripe => stripe::event(&root),
            Provider::Paystack => paystack::event(&root, body),
            Provider::Razorpay => razorpay::event(&root),
            Provider::Meta => meta::event(&root, body),
        }?;
        let Self { id, kind, .. } = &event;
        for (what, text) in [("id", id), ("type", kind)] {
            if text.is_empty()
                || text.len() > ID_BYTES_MAX
                || !text.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(Refusal::Event(format!(
                    "its {what} is not 1 to {ID_BYTES_MAX} printable characters"
                )));
            }
        }
        Ok(event)
    }
}

/// Where an event, or an answer of the provider's API, says how much, in what, and how it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Money {
    /// The amount's place.
    pub amount: Option<Found>,
    /// The currency's place.
    pub currency: Option<Found>,
    /// The status's place.
    pub status: Option<Found>,
}

/// The same, read and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Minor units of the currency.
    pub amount: Option<u64>,
    /// ISO code in upper case.
    pub currency: Option<String>,
    /// The provider's word.
    pub status: Option<String>,
}

impl Money {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`Refusal::Event`] for a value that is there and is not what it should be.
    pub fn facts(&self) -> Result<Facts, Refusal> {
        let Self { amount, currency, status } = self;
        Ok(Facts {
            amount: amount.as_ref().map(Found::minor_units).transpose()?,
            currency: currency.as_ref().map(Found::currency).transpose()?,
            status: status.as_ref().map(|status| status.text().map(str::to_owned)).transpose()?,
        })
    }
}

/// `sha256-<hex>` of the body: the event id where a provider gives none. Whoever repeats a delivery must repeat
/// exactly these bytes, since they are what the signature covers.
pub fn body_digest(body: &[u8]) -> String {
    format!("sha256-{}", hex::encode(Sha256::digest(body)))
}

/// A place in the event's JSON.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The whole body.
    pub fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The member below, by a dotted path; absent and `null` are the same to every provider.
    pub fn get(&self, path: &str) -> Option<Self> {
        let value = path.split('.').try_fold(self.value, |value, key| value.get(key))?;
        let path = if self.path.is_empty() { path.to_owned() } else { format!("{}.{path}", self.path) };
        (!value.is_null()).then_some(Self { path, value })
    }

    /// The member below as text.
    ///
    /// # Errors
    /// [`Refusal::Event`] when it is absent or no text.
    pub fn text(&self, path: &str) -> Result<&'a str, Refusal> {
        let node = self.get(path).ok_or_else(|| Refusal::Event(format!("it has no `{path}`")))?;
        node.value.as_str().ok_or_else(|| Refusal::Event(format!("`{}` is not text", node.path)))
    }

    /// The text or whole number below as text; `None` when it is absent or something else.
    pub fn id(&self, path: &str) -> Option<String> {
        match self.get(path)?.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_u64() => Some(number.to_string()),
            _ => None,
        }
    }

    /// The first of these members that is there.
    pub fn first(&self, paths: &[&str]) -> Option<Found> {
        paths.iter().find_map(|path| self.get(path)).map(|node| node.found())
    }

    /// The elements of the list below; empty when there is none.
    pub fn list(&self, path: &str) -> &'a [Value] {
        self.get(path).and_then(|node| node.value.as_array()).map_or(&[], Vec::as_slice)
    }

    fn found(&self) -> Found {
        Found { path: self.path.clone(), value: self.value.clone() }
    }
}

/// A value of the event and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Dotted path from the body's root.
    pub path: String,
    /// As it stands there.
    pub value: Value,
}

impl Found {
    /// The amount in minor units: a whole JSON number, or whole digits in a text (Paystack's refunds).
    ///
    /// # Errors
    /// [`Refusal::Event`] for fractions, exponents, signs and numbers over 64 bits: rounding money silently is
    /// worse than refusing it.
    pub fn minor_units(&self) -> Result<u64, Refusal> {
        let amount = match &self.value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            _ => None,
        };
        amount.ok_or_else(|| {
            Refusal::Event(format!(
                "`{}` is {}, not a whole number of minor units from 0 to {}",
                self.path,
                excerpt(&self.value),
                u64::MAX
            ))
        })
    }

    /// The text.
    ///
    /// # Errors
    /// [`Refusal::Event`] when it is none.
    pub fn text(&self) -> Result<&str, Refusal> {
        self.value
            .as_str()
            .ok_or_else(|| Refusal::Event(format!("`{}` is {}, not text", self.path, excerpt(&self.value))))
    }

    /// The ISO code in upper case.
    ///
    /// # Errors
    /// [`Refusal::Event`] when it is not three letters.
    pub fn currency(&self) -> Result<String, Refusal> {
        let text = self.text()?;
        currency_code(text)
            .ok_or_else(|| Refusal::Event(format!("`{}` is not a currency code of three letters", self.path)))
    }
}

/// The upper-case form of an ISO 4217 code; providers and producers differ in case.
pub fn currency_code(text: &str) -> Option<String> {
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .then(|| text.to_ascii_uppercase())
}

/// A value as it can stand in a failure's reason: short, and nothing of objects, which may hold personal data.
fn excerpt(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => format!("the text {:?}", text.chars().take(32).collect::<String>()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Is this an id that can stand as one segment of a URL's path, as it is? Letters, digits and `-_.=`, and not
/// a step up or nowhere.
pub fn is_path_segment(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(plain) && id.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(json: &str) -> Result<u64, Refusal> {
        Found { path: "a".into(), value: serde_json::from_str(json).unwrap() }.minor_units()
    }

    #[test]
    fn amounts_are_whole_or_refused() {
        for (json, expected) in
            [("0", 0), ("5000", 5000), ("\"10000\"", 10_000), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(amount(json), Ok(expected), "{json}");
        }
        for json in [
            "50.0",
            "50.5",
            "5e3",
            "-1",
            "-0.0",
            "1e400000",
            "18446744073709551616",
            "\"50.00\"",
            "\"5,000\"",
            "\"\"",
            "\" 5\"",
            "\"+5\"",
            "\"-5\"",
            "\"18446744073709551616\"",
            "true",
            "[5]",
            "{}",
            "null",
        ] {
            let Ok(value) = serde_json::from_str::<Value>(json) else {
                continue;
            };
            let refusal = Found { path: "data.amount".into(), value }.minor_units().unwrap_err();
            assert!(refusal.to_string().contains("data.amount"), "{json}: {refusal}");
        }
    }

    #[test]
    fn every_u64_survives_as_number_and_as_text() {
        // A walk over all magnitudes with a fixed generator; equal runs everywhere.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for shift in (0..64).cycle().take(2_000) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let units = state >> shift;
            assert_eq!(amount(&units.to_string()), Ok(units));
            assert_eq!(amount(&format!("\"{units}\"")), Ok(units));
            assert!(amount(&format!("{units}.0")).is_err());
        }
    }

    #[test]
    fn currencies_are_three_letters_in_any_case() {
        assert_eq!(currency_code("usd").as_deref(), Some("USD"));
        for wrong in ["", "us", "usdt", "u$d", "€"] {
            assert_eq!(currency_code(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ids_that_would_change_the_path_are_not_segments() {
        for fine in ["pi_3Nx", "T1.a=b-c", "..a"] {
            assert!(is_path_segment(fine), "{fine}");
        }
        for wrong in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "é"] {
            assert!(!is_path_segment(wrong), "{wrong}");
        }
    }

    #[test]
    fn bodies_that_are_no_events_are_refused() {
        for provider in [Provider::Stripe, Provider::Paystack, Provider::Razorpay, Provider::Meta] {
            for body in ["", "nonsense", "[]", "null", "{}", "{\"id\":5}", "\u{feff}{}", "{\"type\":\"\"}"] {
                let refusal = Event::read(provider, body.as_bytes()).unwrap_err();
                assert!(matches!(refusal, Refusal::Event(_)), "{provider} {body}: {refusal}");
            }
        }
    }

    #[test]
    fn ids_that_cannot_be_keys_are_refused() {
        for id in ["", "evt 1", "évt", &"e".repeat(256)] {
            let body = serde_json::json!({"object": "event", "id": id, "type": "x"}).to_string();
            assert!(Event::read(Provider::Stripe, body.as_bytes()).is_err(), "{id}");
        }
    }
}
