//! The handlers as the component runs them: JSON in, dispatch by name, JSON or a failure out, against the SDK's
//! in-memory host.

mod confirming;
mod replaying;
mod signing;

use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::{self, Host};
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::sample;

/// The clock of all tests here, in seconds.
pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const SECRET: &str = "whsec_test";

/// A host with the signing secrets, keys for the APIs, a cache, and a clock.
pub(crate) fn host() -> Host {
    let mut host = Host::new().at(NOW * 1_000).cache();
    for provider in [Provider::Stripe, Provider::Paystack, Provider::Razorpay, Provider::Meta] {
        host =
            host.secret(provider.webhook_secret(), SECRET).secret(format!("{provider}-api"), "sk_test_key");
    }
    host
}

/// A `verify-payment` job with this payload.
pub(crate) fn payment(payload: &Value) -> testing::JobBuilder<jobcell_sdk::Raw> {
    testing::json(payload).name("verify-payment")
}

/// Runs it and reads the result.
pub(crate) fn run(
    host: &Host,
    job: impl Into<testing::JobBuilder<jobcell_sdk::Raw>>,
) -> Result<Value, Failure> {
    host.dispatch(&crate::PLUGIN, job).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The sample checkout, signed now.
pub(crate) fn checkout(number: u64) -> Value {
    sample::stripe_checkout(SECRET.as_bytes(), NOW, number)
}

#[track_caller]
pub(crate) fn fatal(result: Result<Value, Failure>, told: &str) {
    match result {
        Err(Failure::Fatal(reason)) if reason.contains(told) => no_secret(&reason),
        other => panic!("expected a fatal failure about {told:?}, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn invalid(result: Result<Value, Failure>, told: &str) {
    match result {
        Err(Failure::Invalid(reason)) if reason.contains(told) => no_secret(&reason),
        other => panic!("expected an invalid payload about {told:?}, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn retry(result: Result<Value, Failure>, told: &str) {
    match result {
        Err(Failure::Retry(reason)) if reason.contains(told) => no_secret(&reason),
        other => panic!("expected a retryable failure about {told:?}, got {other:?}"),
    }
}

#[track_caller]
fn no_secret(reason: &str) {
    assert!(!reason.contains(SECRET) && !reason.contains("sk_test_key"), "{reason}");
}

#[test]
fn a_stripe_checkout_is_verified() {
    let host = host();
    let result = run(&host, payment(&checkout(1))).unwrap();
    assert_eq!(
        result,
        json!({
            "verified": true, "provider": "stripe", "event_id": "evt_sample_1",
            "event_type": "checkout.session.completed", "reference": "pi_sample_1",
            "amount": 5000, "currency": "USD", "status": "paid", "confirmed": false,
        })
    );
    assert_eq!(host.requests(), []);
    assert_eq!(host.logs().len(), 1);
}

#[test]
fn the_other_providers_are_verified_too() {
    let paystack = json!({"event": "charge.success", "data": {
        "id": 302_961, "status": "success", "reference": "T1", "amount": 10_000, "currency": "NGN"}});
    let razorpay = json!({"event": "payment.captured", "created_at": 1, "payload": {"payment": {"entity":
        {"id": "pay_1", "amount": 50_000, "currency": "INR", "status": "captured"}}}});
    let meta = json!({"object": "whatsapp_business_account", "entry": [{"changes": [
        {"field": "messages", "value": {"messages": [{"id": "wamid.A"}]}}]}]});
    for (provider, body, expect, reference) in [
        (Provider::Paystack, paystack, json!({"amount": 10_000, "currency": "ngn"}), "T1"),
        (Provider::Razorpay, razorpay, json!({"amount": 50_000, "currency": "INR"}), "pay_1"),
        (Provider::Meta, meta, json!({"event_type": "messages"}), "wamid.A"),
    ] {
        let mut payload = sample::delivery(provider, SECRET.as_bytes(), NOW, &body.to_string());
        payload["expect"] = expect;
        let result = run(&host(), payment(&payload)).unwrap();
        assert_eq!(result["reference"], reference, "{provider}");
        assert_eq!(result["verified"], true);
    }
}

#[test]
fn differences_from_the_expectation_are_fatal_with_both_sides() {
    for (field, wanted, told) in [
        ("amount", json!(4_999), "amount is \"5000\", expected 4999"),
        ("currency", json!("eur"), "currency is \"USD\", expected EUR"),
        ("status", json!("unpaid"), "status is \"paid\", expected unpaid"),
        ("event_type", json!("charge.succeeded"), "expected charge.succeeded"),
        ("reference", json!("pi_other"), "reference is \"pi_sample_1\", expected pi_other"),
    ] {
        let mut payload = checkout(1);
        payload["expect"][field] = wanted;
        fatal(run(&host(), payment(&payload)), told);
    }
}

#[test]
fn money_that_is_not_whole_is_refused_and_never_rounded() {
    for amount in ["5000.0", "5000.4", "\"50.00\"", "5e3", "-5000", "18446744073709551616"] {
        let body = format!(
            r#"{{"id":"evt_1","object":"event","type":"payment_intent.succeeded","data":{{"object":
               {{"object":"payment_intent","id":"pi_1","amount_received":{amount},"currency":"usd","status":"succeeded"}}}}}}"#
        );
        let mut payload = sample::delivery(Provider::Stripe, SECRET.as_bytes(), NOW, &body);
        payload["expect"] = json!({"amount": 5000, "currency": "usd"});
        fatal(run(&host(), payment(&payload)), "data.object.amount_received");
    }
}

#[test]
fn payloads_that_cannot_be_meant_are_invalid() {
    let mut without = checkout(1);
    without.as_object_mut().unwrap().remove("expect");
    invalid(run(&host(), payment(&without)), "`expect` is required");
    let mut float = checkout(1);
    float["expect"]["amount"] = json!(5000.5);
    invalid(run(&host(), payment(&float)), "expect.amount");
    let mut unknown = checkout(1);
    unknown["expect"]["amout"] = json!(1);
    invalid(run(&host(), payment(&unknown)), "amout");
    let mut bodies = checkout(1);
    bodies["body_base64"] = json!("e30=");
    invalid(run(&host(), payment(&bodies)), "exclude");
    let mut confirmed = checkout(1);
    confirmed["confirm"] = json!({"base_url": "http://api.example.com"});
    invalid(run(&host(), payment(&confirmed)), "base_url");
    invalid(
        run(&host(), testing::json(&checkout(1)).name("verify-webhook")),
        "`expect` is for verify-payment",
    );
    invalid(run(&host(), testing::json(&checkout(1)).name("verify")), "verify-payment");
}

#[test]
fn the_webhook_handler_answers_the_basics() {
    let mut payload = checkout(4);
    payload.as_object_mut().unwrap().remove("expect");
    let result = run(&host(), testing::json(&payload).name("verify-webhook")).unwrap();
    assert_eq!(
        result,
        json!({
            "verified": true, "provider": "stripe", "event_id": "evt_sample_4",
            "event_type": "checkout.session.completed", "reference": "pi_sample_4",
        })
    );
}

#[test]
fn the_readmes_examples_fail_for_nothing_but_their_signature() {
    let examples: Vec<&str> = include_str!("../README.md").split("```json").skip(1).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let payload: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        fatal(run(&host(), payment(&payload)), "not made from this body");
    }
}
