//! Deliveries that are not what the provider signed, or not when.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobcell_sdk::testing::Host;
use serde_json::json;

use super::{NOW, SECRET, checkout, fatal, host, payment, run};
use crate::provider::Provider;
use crate::sample;

#[test]
fn a_changed_body_is_refused_at_every_byte() {
    let good = checkout(1);
    let body = good["body"].as_str().unwrap();
    for index in (0..body.len()).step_by(7) {
        let mut bytes = body.as_bytes().to_vec();
        bytes[index] ^= 1;
        let mut payload = good.clone();
        payload["body"] = json!(String::from_utf8(bytes).unwrap());
        fatal(run(&host(), payment(&payload)), "bad signature");
    }
}

#[test]
fn a_changed_signature_is_refused_for_every_provider() {
    for provider in [Provider::Stripe, Provider::Paystack, Provider::Razorpay, Provider::Meta] {
        let mut payload = sample::delivery(provider, b"another secret", NOW, "{}");
        payload["expect"] = json!({});
        fatal(run(&host(), payment(&payload)), "bad signature");
    }
}

#[test]
fn a_signature_by_another_granted_secret_is_refused() {
    let mut payload = checkout(1);
    payload["secret"] = json!("stripe-api");
    fatal(run(&host(), payment(&payload)), "bad signature");
}

#[test]
fn a_secret_that_is_not_granted_is_fatal_and_named() {
    let bare = Host::new().at(NOW * 1_000).cache();
    fatal(run(&bare, payment(&checkout(1))), "stripe-webhook");
}

#[test]
fn the_named_secret_is_used_and_one_of_several_signatures_is_enough() {
    let mut payload = checkout(1);
    payload["secret"] = json!("second-account");
    let rolled = host().secret("second-account", SECRET);
    let signature = payload["headers"]["Stripe-Signature"].as_str().unwrap();
    let (time, v1) = signature.split_once(',').unwrap();
    payload["headers"] = json!({"STRIPE-SIGNATURE": [format!("{time},v1={},{v1},v0=x", "00".repeat(32))]});
    assert!(run(&rolled, payment(&payload)).is_ok());
}

#[test]
fn v0_is_never_accepted() {
    let mut payload = checkout(1);
    let v0 = payload["headers"]["Stripe-Signature"].as_str().unwrap().replace("v1=", "v0=");
    payload["headers"]["Stripe-Signature"] = json!(v0);
    fatal(run(&host(), payment(&payload)), "no `v1`");
}

#[test]
fn missing_and_malformed_headers_are_fatal() {
    let mut payload = checkout(1);
    payload["headers"] = json!({"content-type": "application/json"});
    fatal(run(&host(), payment(&payload)), "no Stripe-Signature header");
    payload["headers"] = json!({"stripe-signature": "t=yesterday,v1=abc"});
    fatal(run(&host(), payment(&payload)), "malformed");
}

#[test]
fn stale_and_future_signatures_are_fatal() {
    for (signed_at, told) in [(NOW - 301, "301 s before"), (NOW + 301, "301 s after")] {
        let payload = sample::stripe_checkout(SECRET.as_bytes(), signed_at, 1);
        fatal(run(&host(), payment(&payload)), told);
    }
    for signed_at in [NOW - 300, NOW + 300] {
        assert!(run(&host(), payment(&sample::stripe_checkout(SECRET.as_bytes(), signed_at, 1))).is_ok());
    }
}

#[test]
fn the_tolerance_of_the_payload_counts() {
    let mut payload = sample::stripe_checkout(SECRET.as_bytes(), NOW - 60, 1);
    payload["tolerance_secs"] = json!(59);
    fatal(run(&host(), payment(&payload)), "tolerance is 59 s");
    payload["tolerance_secs"] = json!(60);
    assert!(run(&host(), payment(&payload)).is_ok());
}

#[test]
fn waiting_in_the_queue_does_not_make_a_delivery_stale() {
    let signed = sample::stripe_checkout(SECRET.as_bytes(), NOW - 7_200, 1);
    assert!(run(&host(), payment(&signed).enqueued_at((NOW - 7_200) * 1_000)).is_ok());
    // A producer that tells no time is judged by the clock.
    fatal(run(&host(), payment(&signed).enqueued_at(0)), "7200 s before");
}

#[test]
fn a_base64_body_is_verified_as_bytes() {
    let mut payload = checkout(1);
    let body = payload["body"].as_str().unwrap().to_owned();
    payload.as_object_mut().unwrap().remove("body");
    payload["body_base64"] = json!(STANDARD.encode(&body));
    assert!(run(&host(), payment(&payload)).is_ok());
    payload["body_base64"] = json!(STANDARD.encode(format!("{body}\n")));
    fatal(run(&host(), payment(&payload)), "bad signature");
}

#[test]
fn a_signed_body_that_is_no_event_is_fatal() {
    for body in ["", "not json", "[]", "{\"type\":\"x\"}"] {
        let mut payload = sample::delivery(Provider::Stripe, SECRET.as_bytes(), NOW, body);
        payload["expect"] = json!({});
        fatal(run(&host(), payment(&payload)), "unreadable event");
    }
}
