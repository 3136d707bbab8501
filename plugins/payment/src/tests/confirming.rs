//! What the provider's API answers, and what becomes of the job.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Response};
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::Host;
use serde_json::{Value, json};

use super::{NOW, SECRET, checkout, fatal, host, payment, retry, run};
use crate::provider::Provider;
use crate::sample;

const INTENT: &str = "https://api.stripe.com/v1/payment_intents/pi_sample_1";

fn asking() -> Value {
    let mut payload = checkout(1);
    payload["confirm"] = json!({});
    payload
}

fn intent(status: &str, amount: u64) -> Response {
    Response::new(200).with_json(&json!({"object": "payment_intent", "id": "pi_sample_1", "amount": 5000,
        "amount_received": amount, "currency": "usd", "status": status}))
}

fn answered(response: Response) -> Result<Value, Failure> {
    run(&host().respond(INTENT, response), payment(&asking()))
}

fn authorization(host: &Host) -> String {
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    requests[0].header_value("authorization").unwrap().to_owned()
}

#[test]
fn a_confirmed_payment_says_so() {
    let host = host().respond(INTENT, intent("succeeded", 5000));
    let result = run(&host, payment(&asking())).unwrap();
    assert_eq!((&result["confirmed"], &result["amount"]), (&json!(true), &json!(5000)));
    // The host has put the key in place of the placeholder.
    assert_eq!(authorization(&host), "Bearer sk_test_key");
}

#[test]
fn paystack_and_razorpay_are_asked_in_their_own_way() {
    let body = json!({"event": "charge.success", "data":
        {"id": 1, "status": "success", "reference": "T1", "amount": 700, "currency": "NGN"}});
    let mut paystack = sample::delivery(Provider::Paystack, SECRET.as_bytes(), NOW, &body.to_string());
    paystack["expect"] = json!({"amount": 700, "currency": "NGN"});
    paystack["confirm"] = json!({"secret": "paystack-api"});
    let data = json!({"status": true, "message": "ok", "data":
        {"id": 1, "status": "success", "reference": "T1", "amount": 700, "currency": "NGN"}});
    let host_ =
        host().respond("https://api.paystack.co/transaction/verify/T1", Response::new(200).with_json(&data));
    assert_eq!(run(&host_, payment(&paystack)).unwrap()["confirmed"], true);
    assert_eq!(authorization(&host_), "Bearer sk_test_key");

    let entity = json!({"id": "pay_1", "amount": 900, "currency": "INR", "status": "captured"});
    let body =
        json!({"event": "payment.captured", "created_at": 1, "payload": {"payment": {"entity": entity}}});
    let mut razorpay = sample::delivery(Provider::Razorpay, SECRET.as_bytes(), NOW, &body.to_string());
    razorpay["expect"] = json!({"amount": 900, "currency": "INR"});
    razorpay["confirm"] = json!({"base_url": "http://127.0.0.1:9/razorpay/"});
    let url = "http://127.0.0.1:9/razorpay/v1/payments/pay_1";
    let host_ = host().respond(url, Response::new(200).with_json(&entity));
    assert_eq!(run(&host_, payment(&razorpay)).unwrap()["confirmed"], true);
    assert_eq!(authorization(&host_), "Basic sk_test_key");
}

#[test]
fn an_api_that_contradicts_the_event_is_fatal() {
    fatal(answered(intent("canceled", 5000)), "status canceled");
    fatal(answered(intent("succeeded", 4999)), "amount 4999, expected 5000");
    fatal(answered(Response::new(200).with_json(&json!({}))), "id absent, expected pi_sample_1");
}

#[test]
fn statuses_of_the_api_decide_what_becomes_of_the_job() {
    fatal(answered(Response::new(404)), "knows no such payment");
    fatal(answered(Response::new(401)), "stripe-api");
    fatal(answered(Response::new(302).with_header("location", "https://evil.example")), "302");
    retry(answered(Response::new(500)), "500");
    retry(answered(Response::new(503)), "503");
    retry(answered(Response::new(200).with_body("<html>")), "not JSON");
    retry(answered(intent("processing", 0)), "processing");
}

#[test]
fn too_many_requests_wait_as_told() {
    for (value, secs) in [("17", 17), ("Tue, 14 Nov 2023 22:13:45 GMT", 25), ("nonsense", 30)] {
        match answered(Response::new(429).with_header("Retry-After", value)) {
            Err(Failure::RetryAfter { delay, reason }) => {
                assert_eq!(delay, Duration::from_secs(secs), "{value}");
                assert!(reason.contains("429"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn faults_on_the_way_are_retried_and_refusals_of_the_host_are_not() {
    let failed = |error| run(&host().fail(INTENT, error), payment(&asking()));
    retry(failed(HttpError::Timeout), "timed out");
    retry(failed(HttpError::Connect("refused".into())), "refused");
    retry(failed(HttpError::Dns("no such name".into())), "name");
    retry(failed(HttpError::Tls("expired".into())), "expired");
    fatal(failed(HttpError::Denied("add it to grants.http".into())), "grants.http");
    fatal(failed(HttpError::TooLarge("1 MiB".into())), "1 MiB");
}

#[test]
fn the_exchange_is_limited_in_time_by_the_payload_and_the_deadline() {
    let timeout = |payload: &Value, deadline_secs: u64| {
        let host = host().respond(INTENT, intent("succeeded", 5000));
        run(&host, payment(payload).deadline((NOW + deadline_secs) * 1_000)).unwrap();
        host.requests()[0].timeout
    };
    let mut payload = asking();
    assert_eq!(timeout(&payload, 30), Some(Duration::from_secs(10)));
    assert_eq!(timeout(&payload, 4), Some(Duration::from_secs(4)));
    payload["confirm"]["timeout_secs"] = json!(20);
    assert_eq!(timeout(&payload, 30), Some(Duration::from_secs(20)));
}

#[test]
fn a_key_that_is_not_granted_is_fatal_and_named() {
    let bare = Host::new().at(NOW * 1_000).cache().secret("stripe-webhook", SECRET);
    fatal(run(&bare, payment(&asking())), "stripe-api");
}

#[test]
fn an_event_without_a_payment_cannot_be_confirmed() {
    let body = json!({"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object":
        {"object": "invoice", "id": "in_1", "amount_paid": 5, "currency": "usd", "status": "paid"}}});
    let mut payload = sample::delivery(Provider::Stripe, SECRET.as_bytes(), NOW, &body.to_string());
    payload["expect"] = json!({"amount": 5, "currency": "usd"});
    payload["confirm"] = json!({});
    fatal(run(&host(), payment(&payload)), "name no payment");
}
