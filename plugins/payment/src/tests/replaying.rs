//! One event, several jobs; and one job, several attempts.

use std::time::Duration;

use jobcell_sdk::http::Response;
use jobcell_sdk::testing::{self, Host};
use serde_json::{Value, json};

use super::{NOW, SECRET, checkout, fatal, host, payment, retry, run};
use crate::sample;

const INTENT: &str = "https://api.stripe.com/v1/payment_intents/pi_sample_1";
const KEY: &str = "event/verify-payment/stripe/evt_sample_1";

fn confirmed() -> Value {
    let mut payload = checkout(1);
    payload["confirm"] = json!({});
    payload
}

#[test]
fn a_second_job_with_the_same_event_is_a_replay() {
    let host = host();
    run(&host, payment(&checkout(1)).id("1")).unwrap();
    fatal(run(&host, payment(&checkout(1)).id("2")), "replay: event evt_sample_1");
    // Stripe signs a redelivery anew; it is the same event nevertheless.
    let again = sample::stripe_checkout(SECRET.as_bytes(), NOW + 1, 1);
    fatal(run(&host, payment(&again).id("3")), "test:test:1");
    assert!(run(&host, payment(&checkout(2)).id("4")).is_ok());
}

#[test]
fn a_retry_of_the_same_job_is_not_a_replay() {
    let host = host();
    let first = run(&host, payment(&checkout(1)).attempt(1)).unwrap();
    // The host vanished before it could store the result; the job is started again.
    let second = run(&host, payment(&checkout(1)).attempt(1).starts(2).stalls(1)).unwrap();
    let third = run(&host, payment(&checkout(1)).attempt(2)).unwrap();
    assert_eq!((&first, &first), (&second, &third));
}

#[test]
fn a_retryable_failure_keeps_the_event_for_the_same_job() {
    let unavailable = host().respond(INTENT, Response::new(500));
    retry(run(&unavailable, payment(&confirmed()).id("1").attempt(1)), "500");
    retry(run(&unavailable, payment(&checkout(1)).id("2")), "being worked on by the job");
    retry(run(&unavailable, payment(&confirmed()).id("1").attempt(2)), "500");
}

#[test]
fn the_last_failure_gives_the_event_back() {
    let failing = host().respond(INTENT, Response::new(500));
    retry(run(&failing, payment(&confirmed()).id("1").attempt(3)), "500");
    assert_eq!(failing.cached(KEY), None);
    assert!(run(&failing, payment(&checkout(1)).id("2")).is_ok());

    let unknown = host().respond(INTENT, Response::new(404));
    fatal(run(&unknown, payment(&confirmed()).id("1").attempt(1)), "404");
    assert!(run(&unknown, payment(&checkout(1)).id("2")).is_ok());
}

#[test]
fn refused_deliveries_do_not_use_up_the_event() {
    let host = host();
    let mut forged = checkout(1);
    forged["headers"]["Stripe-Signature"] = json!(format!("t={NOW},v1={}", "00".repeat(32)));
    fatal(run(&host, payment(&forged).id("1")), "bad signature");
    let mut wrong = checkout(1);
    wrong["expect"]["amount"] = json!(1);
    fatal(run(&host, payment(&wrong).id("2")), "amount");
    assert!(run(&host, payment(&checkout(1)).id("3")).is_ok());
}

#[test]
fn an_event_is_remembered_for_its_time() {
    let host = host();
    let mut payload = checkout(1);
    payload["replay_ttl_secs"] = json!(600);
    run(&host, payment(&payload).id("1")).unwrap();
    host.advance(Duration::from_secs(599));
    let later = sample::stripe_checkout(SECRET.as_bytes(), NOW + 599, 1);
    fatal(run(&host, payment(&later).id("2")), "replay");
    host.advance(Duration::from_secs(2));
    // The original delivery cannot come back now: its signature is stale.
    fatal(run(&host, payment(&payload).id("3")), "601 s before");
}

#[test]
fn the_two_handlers_do_not_take_events_from_each_other() {
    let host = host();
    let mut bare = checkout(1);
    bare.as_object_mut().unwrap().remove("expect");
    let webhook = |id: &str| testing::json(&bare).name("verify-webhook").id(id);
    run(&host, webhook("1")).unwrap();
    run(&host, payment(&checkout(1)).id("2")).unwrap();
    fatal(run(&host, webhook("3")), "replay");
}

#[test]
fn jobs_without_an_idempotency_key_are_told_apart_by_their_id() {
    let host = host();
    run(&host, payment(&checkout(1)).id("1").idempotency_key("")).unwrap();
    run(&host, payment(&checkout(1)).id("1").idempotency_key("")).unwrap();
    fatal(run(&host, payment(&checkout(1)).id("2").idempotency_key("")), "test:1");
}

#[test]
fn without_a_cache_nothing_is_accepted() {
    let bare = Host::new().at(NOW * 1_000).secret("stripe-webhook", SECRET);
    fatal(run(&bare, payment(&checkout(1))), "cache");
}
