//! Asking the provider's API whether the payment is really there.
//!
//! A signed event proves what the provider said then; the API says what holds now, e.g. that the charge was
//! reversed meanwhile. The key never enters the guest: a placeholder goes into the `Authorization` header and the
//! host replaces it, only in requests to hosts for which the operator granted that secret. That grant, and not
//! anything here, is what makes a `base_url` from the payload harmless.

use std::time::Duration;

use jobcell_sdk::http::Request;
use jobcell_sdk::prelude::*;
use jobcell_sdk::{context, secrets, time};
use serde::Deserialize;
use serde_json::Value;

use crate::event::{Event, Facts, Money, Node};
use crate::expectation::Expectation;
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::verify::secret_fault;
use crate::{answer, paystack, razorpay, stripe};

/// Time for the whole exchange, in seconds. Providers answer a lookup well within it; a retry is cheaper than a
/// slot that waits.
const TIMEOUT_DEFAULT_SECS: u64 = 10;
const TIMEOUT_MAX_SECS: u64 = 60;
/// Longest answer read, in bytes. A payment with expanded members has a few ten thousand.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How to ask.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Name of the secret in the `Authorization` header; default `<provider>-api`. For Stripe and Paystack it is
    /// the API key; for Razorpay the base64 of `key_id:key_secret`, since only the host could join them.
    #[serde(default)]
    secret: Option<String>,
    /// Where the API is, without a path's end; default the provider's own. `https`, or `http` on loopback.
    #[serde(default)]
    base_url: Option<String>,
    /// Seconds for the whole exchange, 1 to 60, default 10.
    #[serde(default)]
    timeout_secs: Option<u64>,
}

/// One provider's API in plain data.
struct Api {
    base_url: &'static str,
    secret: &'static str,
    /// The word before the credentials in `Authorization`.
    scheme: &'static str,
}

fn api(provider: Provider) -> Option<Api> {
    match provider {
        Provider::Stripe => {
            Some(Api { base_url: "https://api.stripe.com", secret: "stripe-api", scheme: "Bearer" })
        }
        Provider::Paystack => {
            Some(Api { base_url: "https://api.paystack.co", secret: "paystack-api", scheme: "Bearer" })
        }
        Provider::Razorpay => {
            Some(Api { base_url: "https://api.razorpay.com", secret: "razorpay-api", scheme: "Basic" })
        }
        Provider::Meta => None,
    }
}

impl Confirm {
    /// Can the provider be asked like this? Asked before anything else is done.
    ///
    /// # Errors
    /// [`Refusal::Payload`] for a provider without such an API, a base URL that is neither `https` nor loopback,
    /// or a time out of bounds.
    pub fn validate(&self, provider: Provider) -> Result<(), Refusal> {
        let Some(api) = api(provider) else {
            return Err(Refusal::Payload(format!(
                "confirm: {provider} has no payments to confirm, leave it out"
            )));
        };
        self.timeout()?;
        let base_url = self.base_url(&api);
        if is_safe_base(base_url) {
            return Ok(());
        }
        Err(Refusal::Payload(
            "confirm.base_url must be https://host[:port][/path], or http:// on loopback, \
             without user, query and fragment"
                .into(),
        ))
    }

    /// Asks, and compares the answer with the event.
    ///
    /// # Errors
    /// Fatal when the answer contradicts the event, the payment is unknown or the key is refused; retried when the
    /// provider is not reachable, overloaded, or has not settled the payment yet.
    pub fn ask(&self, event: &Event, facts: &Facts, expectation: &Expectation) -> Result<(), Failure> {
        let (Some(api), Some(lookup)) = (api(event.provider), &event.lookup) else {
            let reason =
                format!("events of type {} name no payment that its API could be asked for", event.kind);
            return Err(Refusal::Event(reason).into());
        };
        let secret = self.secret.as_deref().unwrap_or(api.secret);
        let placeholder = secrets::placeholder(secret).map_err(|error| secret_fault(secret, &error))?;
        let what = format!("GET {lookup} of {}", event.provider);
        let response = Request::get(format!("{}/{lookup}", self.base_url(&api).trim_end_matches('/')))
            .header("Authorization", format!("{} {placeholder}", api.scheme))
            .header("Accept", "application/json")
            .timeout(self.timeout()?.min(context::remaining()))
            .max_body(ANSWER_BYTES_MAX)
            .send()
            .map_err(|error| match error.is_permanent() {
                true => Failure::fatal(format!("{what}: {error}")),
                false => Failure::retry(format!("{what}: {error}")),
            })?;
        answer::judge(&response, &what, secret, time::now_ms())?;
        // A page of a proxy in between is no statement of the provider, so it is asked again.
        let json: Value = serde_json::from_slice(&response.body)
            .map_err(|error| Failure::retry(format!("{what}: the answer is not JSON: {error}")))?;
        compare(event, facts, &expectation.statuses(event.provider), &json)
    }

    fn base_url<'a>(&'a self, api: &Api) -> &'a str {
        self.base_url.as_deref().unwrap_or(api.base_url)
    }

    fn timeout(&self) -> Result<Duration, Refusal> {
        match self.timeout_secs.unwrap_or(TIMEOUT_DEFAULT_SECS) {
            secs @ 1..=TIMEOUT_MAX_SECS => Ok(Duration::from_secs(secs)),
            secs => Err(Refusal::Payload(format!(
                "confirm.timeout_secs is {secs}, it can be 1 to {TIMEOUT_MAX_SECS}"
            ))),
        }
    }
}

/// Is this `https`, or `http` to this machine (tests and local proxies), with nothing that could be read as
/// another host by somebody?
fn is_safe_base(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
    let (rest, encrypted) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) if !authority.ends_with(']') => return false,
        _ => authority,
    };
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    rest.bytes().all(plain) && !host.is_empty() && !rest.contains("..") && (encrypted || loopback)
}

/// Does the API's payment agree with the event? `accepted` are the statuses that the job accepts; the provider's
/// paid ones are accepted beside them, as a payment may have moved on since the event.
fn compare(event: &Event, facts: &Facts, accepted: &[String], json: &Value) -> Result<(), Failure> {
    let root = Node::root(json);
    let (payment, id_member) = match event.provider {
        Provider::Paystack => (root.get("data").unwrap_or(root), "reference"),
        Provider::Stripe | Provider::Razorpay | Provider::Meta => (root, "id"),
    };
    let money = match event.provider {
        Provider::Stripe => stripe::money(&payment),
        Provider::Paystack => paystack::money(&payment),
        Provider::Razorpay => razorpay::money(&payment),
        Provider::Meta => Money::default(),
    };
    let asked = event.lookup.as_deref().and_then(|path| path.rsplit('/').next());
    let found = money.facts().map_err(|refusal| Failure::fatal(format!("the provider's API: {refusal}")))?;
    let mut differences = Vec::new();
    let mut require = |same: bool, what: &str, actual: Option<String>, expected: Option<String>| {
        if !same {
            let [actual, expected] = [actual, expected].map(|text| text.unwrap_or_else(|| "absent".into()));
            differences.push(format!("the provider's API has {what} {actual}, expected {expected}"));
        }
    };
    let id = payment.id(id_member);
    let is_same = id.as_deref() == asked;
    require(is_same, id_member, id, asked.map(str::to_owned));
    let status = found.status.as_deref().unwrap_or_default();
    let paid = event.provider.paid_statuses();
    let is_accepted = paid.contains(&status) || accepted.iter().any(|accepted| accepted == status);
    if is_same && !is_accepted && event.provider.pending_statuses().contains(&status) {
        return Err(Failure::retry(format!("the provider's API still has the payment as `{status}`")));
    }
    // What the event leaves open the API cannot contradict.
    let text = |amount: Option<u64>| amount.map(|amount| amount.to_string());
    let open = (facts.amount.is_none(), facts.currency.is_none());
    require(open.0 || found.amount == facts.amount, "amount", text(found.amount), text(facts.amount));
    require(
        open.1 || found.currency == facts.currency,
        "currency",
        found.currency.clone(),
        facts.currency.clone(),
    );
    let expected = accepted.iter().map(String::as_str).chain(paid.iter().copied());
    let mut expected: Vec<&str> = expected.collect();
    expected.dedup();
    require(is_accepted, "status", found.status.clone(), Some(expected.join(" or ")));
    if differences.is_empty() { Ok(()) } else { Err(Refusal::Mismatch(differences).into()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_https_and_loopback_are_asked() {
        for fine in [
            "https://api.stripe.com",
            "https://proxy.internal:8443/stripe",
            "http://127.0.0.1:9",
            "http://[::1]:80/x",
            "http://localhost",
            "https://[2001:db8::1]",
        ] {
            assert!(is_safe_base(fine), "{fine}");
        }
        for wrong in [
            "",
            "api.stripe.com",
            "ftp://a",
            "http://api.stripe.com",
            "http://127.0.0.1.evil.com",
            "https://",
            "https:///x",
            "http://127.0.0.1@evil.com",
            "https://a@b",
            "https://a?b",
            "https://a#b",
            "https://a\\b",
            "https://a b",
            "https://a/../b",
            "https://a:x",
            "http://localhost:99999",
            "HTTPS://a",
        ] {
            assert!(!is_safe_base(wrong), "{wrong}");
        }
    }

    #[test]
    fn meta_and_odd_times_cannot_be_asked() {
        let confirm = |json| serde_json::from_value::<Confirm>(json).unwrap();
        assert!(confirm(json!({})).validate(Provider::Meta).is_err());
        assert!(confirm(json!({"timeout_secs": 0})).validate(Provider::Stripe).is_err());
        assert!(confirm(json!({"timeout_secs": 61})).validate(Provider::Stripe).is_err());
        assert!(confirm(json!({"base_url": "http://evil"})).validate(Provider::Stripe).is_err());
        assert_eq!(confirm(json!({"timeout_secs": 60})).validate(Provider::Razorpay), Ok(()));
        assert!(serde_json::from_value::<Confirm>(json!({"key": "sk_live"})).is_err());
    }

    fn compared(answer: Value) -> Result<(), Failure> {
        let body = json!({"id": "evt_1", "object": "event", "type": "checkout.session.completed", "data": {"object":
            {"object": "checkout.session", "amount_total": 500, "currency": "usd", "payment_status": "paid",
             "payment_intent": "pi_1"}}});
        let event = Event::read(Provider::Stripe, body.to_string().as_bytes()).unwrap();
        let facts = event.money.facts().unwrap();
        compare(&event, &facts, &["paid".into()], &answer)
    }

    fn intent(changes: Value) -> Value {
        let mut intent = json!({"object": "payment_intent", "id": "pi_1", "amount": 500, "amount_received": 500,
            "currency": "usd", "status": "succeeded"});
        intent.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        intent
    }

    #[test]
    fn the_same_payment_is_confirmed_and_another_is_not() {
        assert_eq!(compared(intent(json!({}))), Ok(()));
        for (changes, told) in [
            (json!({"id": "pi_2"}), "id pi_2, expected pi_1"),
            (json!({"amount_received": 499}), "amount 499, expected 500"),
            (json!({"currency": "eur"}), "currency EUR, expected USD"),
            (json!({"currency": null}), "currency absent, expected USD"),
            (json!({"status": "canceled"}), "status canceled, expected paid or succeeded"),
            (json!({"amount_received": 499.5}), "amount_received"),
        ] {
            match compared(intent(changes)) {
                Err(Failure::Fatal(reason)) => assert!(reason.contains(told), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_payment_that_is_not_settled_yet_is_asked_for_again() {
        let answer = compared(intent(json!({"status": "processing", "amount_received": 0})));
        assert!(matches!(answer, Err(Failure::Retry(_))), "{answer:?}");
    }
}
