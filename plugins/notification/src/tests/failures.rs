//! What goes wrong, and what becomes of the job: the same for every channel.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Response};
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::{self, Host};
use serde_json::json;

use super::{HOOK, KEY, NOW, answering, host, invalid, job, over_http, request, run};

#[test]
fn too_many_requests_wait_as_told_in_every_channel() {
    for payload in over_http() {
        for (value, secs) in [("17", 17), ("Tue, 14 Nov 2023 22:13:45 GMT", 25), ("nonsense", 30)] {
            let host = answering(Response::new(429).with_header("retry-after", value));
            match run(&host, job(&payload)) {
                Err(Failure::RetryAfter { delay, reason }) => {
                    assert_eq!(delay, Duration::from_secs(secs), "{payload}");
                    assert!(reason.contains("429"), "{reason}");
                }
                other => panic!("{payload}: {other:?}"),
            }
        }
    }
}

#[test]
fn server_errors_are_retried_and_client_errors_are_not() {
    for payload in over_http() {
        for status in [408, 500, 502, 503, 504] {
            let result = run(&answering(Response::new(status)), job(&payload));
            assert!(
                matches!(&result, Err(Failure::Retry(reason)) if reason.contains(&status.to_string())),
                "{result:?}"
            );
        }
        for status in [301, 400, 401, 403, 404, 410, 413, 422] {
            let echo = format!("no: Bearer {KEY}\r\nbecause {}", "x".repeat(9_000));
            let result = run(&answering(Response::new(status).with_body(echo)), job(&payload));
            let Err(Failure::Fatal(reason)) = result else { panic!("{payload} {status}: {result:?}") };
            assert!(reason.contains(&status.to_string()) && reason.contains("no: Bearer"), "{reason}");
            assert!(!reason.contains(KEY) && reason.chars().count() < 400, "{reason}");
            assert!(!reason.contains(['\r', '\n']), "{reason}");
        }
    }
}

#[test]
fn no_answer_is_retried_and_a_refusal_by_the_host_is_not() {
    for payload in over_http() {
        for error in [
            HttpError::Timeout,
            HttpError::Dns("no name".into()),
            HttpError::Connect("refused".into()),
            HttpError::Tls("expired".into()),
            HttpError::Protocol("cut off".into()),
        ] {
            let failing = error.clone();
            let result = run(&host().on_request(move |_| Err(failing.clone())), job(&payload));
            assert!(matches!(result, Err(Failure::Retry(_))), "{error}: {result:?}");
        }
        // Nothing answers here, which to the in-memory host means that nothing is granted.
        assert!(matches!(run(&host(), job(&payload)), Err(Failure::Fatal(_))), "{payload}");
    }
}

#[test]
fn a_secret_or_channel_that_is_not_granted_is_fatal_and_named() {
    let secrets = [
        None,
        Some("notification-webhook"),
        Some("whatsapp"),
        Some("resend-api"),
        Some("postmark-api"),
        Some("sendgrid-api"),
    ];
    let payloads = over_http();
    // Slack's URL needs no secret; it is the second payload.
    let mut order = vec![0, 2, 3, 4, 5];
    for secret in secrets.into_iter().flatten() {
        let payload = &payloads[order.remove(0)];
        let bare = Host::new().at(NOW * 1_000).on_request(|_| Ok(Response::new(200)));
        let Err(Failure::Fatal(reason)) = run(&bare, job(payload)) else { panic!("{payload}") };
        assert!(reason.contains(secret), "{reason}");
        assert_eq!(bare.requests(), []);
    }
    let overlay = json!({"channel": {"overlay": {"channel": "other", "tenant": "t"}}});
    let Err(Failure::Fatal(reason)) = run(&host(), job(&overlay)) else { panic!("published") };
    assert!(reason.contains("other"), "{reason}");
}

#[test]
fn a_missing_variable_is_invalid_and_nothing_is_sent() {
    for payload in over_http().iter_mut().skip(1) {
        payload["data"] = json!({"nom": "Ada"});
        let host = answering(Response::new(200));
        invalid(run(&host, job(payload)), "data.name: is missing");
        assert_eq!(host.requests(), []);
    }
}

#[test]
fn payloads_that_cannot_be_meant_are_invalid() {
    for (payload, told) in [
        (json!({}), "channel"),
        (json!({"channel": {"fax": {}}}), "fax"),
        (json!({"channel": {"webhook": {}}}), "url"),
        (json!({"channel": {"webhook": {"url": HOOK, "urll": 1}}}), "channel.webhook.urll"),
        (json!({"channel": {"webhook": {"url": HOOK}}, "to": []}), "to"),
        (json!({"channel": {"webhook": {"url": HOOK}}, "timeout_secs": 0}), "timeout_secs"),
        (json!({"channel": {"webhook": {"url": HOOK}}, "timeout_secs": 61}), "timeout_secs"),
        (json!({"channel": {"slack": {"url": HOOK}}}), "template: is missing"),
        (json!({"channel": {"slack": {"url": HOOK}}, "template": {"text": 5}}), "template.text"),
        (json!({"channel": {"email": {"provider": "smtp"}}}), "channel.email.provider"),
    ] {
        invalid(run(&answering(Response::new(200)), job(&payload)), told);
    }
    invalid(run(&host(), testing::json(&json!({})).name("notify-all")), "`notify`");
    let mut injected = over_http()[3].clone();
    injected["channel"]["email"]["to"]["email"] = json!("a@b.c\r\nBcc: d@e.f");
    invalid(run(&answering(Response::new(200)), job(&injected)), "channel.email.to.email");
}

#[test]
fn the_exchange_is_limited_in_time_by_the_payload_and_the_deadline() {
    for (secs, deadline_secs, expected) in [(None, 30, 10), (Some(20), 30, 20), (None, 4, 4)] {
        let host = answering(Response::new(200));
        let mut payload = over_http()[0].clone();
        payload["timeout_secs"] = json!(secs);
        run(&host, job(&payload).deadline((NOW + deadline_secs) * 1_000)).unwrap();
        assert_eq!(request(&host).timeout, Some(Duration::from_secs(expected)));
    }
}

#[test]
fn resends_concurrent_request_is_tried_again() {
    let conflict = |name: &str| {
        let answer = Response::new(409).with_json(&json!({"statusCode": 409, "name": name}));
        run(&answering(answer), job(&over_http()[3]))
    };
    assert!(matches!(conflict("concurrent_idempotent_requests"), Err(Failure::Retry(_))));
    assert!(matches!(conflict("invalid_idempotent_request"), Err(Failure::Fatal(_))));
}

#[test]
fn metas_throttling_waits_whatever_its_status() {
    let answer =
        Response::new(400).with_json(&json!({"error": {"code": 130_429, "message": "Rate limit hit"}}));
    let result = run(&answering(answer), job(&over_http()[2]));
    assert!(
        matches!(&result, Err(Failure::RetryAfter { reason, .. }) if reason.contains("Rate limit")),
        "{result:?}"
    );
}
