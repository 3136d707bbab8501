//! What the job says the payment should be, and whether the event is that.
//!
//! Everything left out of the expectation is either not checked (amount, currency, reference) or defaults to
//! "money has arrived" (event type, status): an authentic refund of the right amount is not a payment.

use serde::Deserialize;

use crate::event::{Event, Facts, currency_code};
use crate::provider::Provider;
use crate::refusal::Refusal;

/// What the payment should be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The event's type, or several of which it must be one. Default: the provider's types that say money has
    /// arrived ([`Provider::paid_events`]); for Meta, any.
    #[serde(default)]
    event_type: Option<OneOf>,
    /// Minor units of the currency, exactly: 5000 is 50.00 USD and 5000 JPY. Needs `currency`.
    #[serde(default)]
    amount: Option<u64>,
    /// ISO 4217 code in any case.
    #[serde(default)]
    currency: Option<String>,
    /// The provider's status, or several of which it must be one. Default: [`Provider::paid_statuses`].
    #[serde(default)]
    status: Option<OneOf>,
    /// What the payment is about in the provider's books, as the result's `reference` gives it.
    #[serde(default)]
    reference: Option<String>,
}

/// One text or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOf {
    One(String),
    Many(Vec<String>),
}

impl OneOf {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

impl Expectation {
    /// Can this be expected of the provider at all? Asked before anything else is done.
    ///
    /// # Errors
    /// [`Refusal::Payload`] for an amount without a currency, a currency that is none, an empty list, or money
    /// from a provider whose webhooks carry none.
    pub fn validate(&self, provider: Provider) -> Result<(), Refusal> {
        let Self { event_type, amount, currency, status, reference: _ } = self;
        let given =
            [("amount", amount.is_some()), ("currency", currency.is_some()), ("status", status.is_some())];
        if let (false, Some((field, _))) = (provider.carries_money(), given.iter().find(|(_, given)| *given))
        {
            return Err(Refusal::Payload(format!(
                "expect.{field}: webhooks of {provider} carry none, leave it out"
            )));
        }
        if amount.is_some() && currency.is_none() {
            return Err(Refusal::Payload("expect.amount needs expect.currency: 5000 of what?".into()));
        }
        if let Some(currency) = currency
            && currency_code(currency).is_none()
        {
            return Err(Refusal::Payload(format!(
                "expect.currency: {currency:?} is not a code of three letters"
            )));
        }
        for (field, texts) in [("event_type", event_type), ("status", status)] {
            if texts.as_ref().is_some_and(|texts| texts.texts().is_empty()) {
                return Err(Refusal::Payload(format!(
                    "expect.{field}: the list is empty, nothing could meet it"
                )));
            }
        }
        Ok(())
    }

    /// Compares the event and returns its money as read.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`] with every difference at once; [`Refusal::Event`] for money that cannot be read.
    pub fn check(&self, event: &Event) -> Result<Facts, Refusal> {
        let facts = event.money.facts()?;
        let mut differences = Vec::new();
        let mut compare = |what: &str, wanted: &[String], actual: Option<&str>| {
            if !wanted.is_empty() && !wanted.iter().any(|wanted| Some(&**wanted) == actual) {
                let actual = actual.map_or("absent".into(), |actual| format!("{actual:?}"));
                differences.push(format!("{what} is {actual}, expected {}", wanted.join(" or ")));
            }
        };
        let Self { event_type, amount, currency, status: _, reference } = self;
        let wanted = |texts: &Option<OneOf>, default: &[&str]| -> Vec<String> {
            let texts = texts.as_ref().map_or(default.to_vec(), OneOf::texts);
            texts.into_iter().map(str::to_owned).collect()
        };
        compare("event type", &wanted(event_type, event.provider.paid_events()), Some(&event.kind));
        compare("status", &self.statuses(event.provider), facts.status.as_deref());
        let amount: Vec<String> = amount.iter().map(u64::to_string).collect();
        compare("amount", &amount, facts.amount.map(|amount| amount.to_string()).as_deref());
        let currency: Vec<String> = currency.iter().filter_map(|code| currency_code(code)).collect();
        compare("currency", &currency, facts.currency.as_deref());
        compare("reference", reference.as_slice(), event.reference.as_deref());
        if differences.is_empty() { Ok(facts) } else { Err(Refusal::Mismatch(differences)) }
    }

    /// The statuses of which the event must have one; empty when the provider has none.
    pub fn statuses(&self, provider: Provider) -> Vec<String> {
        let texts = self.status.as_ref().map_or(provider.paid_statuses().to_vec(), OneOf::texts);
        texts.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn expect(json: Value) -> Expectation {
        serde_json::from_value(json).unwrap()
    }

    fn intent(changes: Value) -> Event {
        let mut object = json!({"object": "payment_intent", "id": "pi_1", "amount_received": 5000,
            "currency": "usd", "status": "succeeded"});
        object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let kind =
            if object["status"] == "succeeded" { "payment_intent.succeeded" } else { "payment_intent.x" };
        let body = json!({"id": "evt_1", "object": "event", "type": kind, "data": {"object": object}});
        Event::read(Provider::Stripe, body.to_string().as_bytes()).unwrap()
    }

    fn differences(expectation: Value, event: &Event) -> Vec<String> {
        match expect(expectation).check(event) {
            Err(Refusal::Mismatch(differences)) => differences,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_expected_payment_passes_whatever_the_case_of_its_currency() {
        for currency in ["usd", "USD", "Usd"] {
            let wanted = json!({"event_type": "payment_intent.succeeded", "amount": 5000, "currency": currency,
                "status": ["succeeded"], "reference": "pi_1"});
            let facts = expect(wanted).check(&intent(json!({}))).unwrap();
            assert_eq!((facts.amount, facts.currency.as_deref()), (Some(5000), Some("USD")));
        }
        assert!(expect(json!({})).check(&intent(json!({}))).is_ok());
    }

    #[test]
    fn every_difference_is_told_with_both_sides() {
        let wanted = json!({"event_type": ["charge.succeeded", "invoice.paid"], "amount": 5001, "currency": "eur",
            "status": "paid", "reference": "pi_2"});
        let differences = differences(wanted, &intent(json!({}))).join("\n");
        assert_eq!(
            differences,
            "event type is \"payment_intent.succeeded\", expected charge.succeeded or invoice.paid\n\
             status is \"succeeded\", expected paid\n\
             amount is \"5000\", expected 5001\n\
             currency is \"USD\", expected EUR\n\
             reference is \"pi_1\", expected pi_2"
        );
    }

    #[test]
    fn left_out_type_and_status_mean_that_money_has_arrived() {
        let event = intent(json!({"status": "requires_payment_method", "amount": 5000}));
        let differences = differences(json!({"amount": 5000, "currency": "USD"}), &event);
        assert_eq!(differences.len(), 2, "{differences:?}");
        let both = json!({"event_type": "payment_intent.x", "status": "requires_payment_method"});
        assert!(expect(both).check(&event).is_ok());
    }

    #[test]
    fn absent_money_is_a_difference_and_odd_money_is_unreadable() {
        let none = intent(json!({"amount_received": null, "currency": null}));
        let absent = differences(json!({"amount": 1, "currency": "USD"}), &none).join("; ");
        assert!(absent.contains("amount is absent, expected 1") && absent.contains("currency is absent"));
        for odd in
            [json!({"amount_received": 5000.0}), json!({"amount_received": "50.00"}), json!({"currency": 5})]
        {
            let refusal = expect(json!({})).check(&intent(odd.clone())).unwrap_err();
            assert!(matches!(refusal, Refusal::Event(_)), "{odd}: {refusal}");
        }
    }

    #[test]
    fn expectations_that_cannot_be_met_are_the_payloads_fault() {
        for (provider, wanted, field) in [
            (Provider::Stripe, json!({"amount": 5}), "currency"),
            (Provider::Stripe, json!({"currency": "dollars"}), "currency"),
            (Provider::Stripe, json!({"status": []}), "status"),
            (Provider::Stripe, json!({"event_type": []}), "event_type"),
            (Provider::Meta, json!({"amount": 5, "currency": "USD"}), "amount"),
            (Provider::Meta, json!({"currency": "USD"}), "currency"),
            (Provider::Meta, json!({"status": "read"}), "status"),
        ] {
            let refusal = expect(wanted.clone()).validate(provider).unwrap_err();
            assert!(
                matches!(&refusal, Refusal::Payload(reason) if reason.contains(field)),
                "{wanted}: {refusal}"
            );
        }
        assert_eq!(expect(json!({"event_type": "messages"})).validate(Provider::Meta), Ok(()));
    }

    #[test]
    fn expected_amounts_are_whole_from_the_start() {
        for wrong in ["5000.0", "50.5", "\"5000\"", "-1", "18446744073709551616", "5e3"] {
            let json = format!("{{\"amount\": {wrong}, \"currency\": \"usd\"}}");
            assert!(serde_json::from_str::<Expectation>(&json).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Expectation>("{\"amount\": 18446744073709551615}").is_ok());
    }
}
