//! The handler as the component runs it: JSON in, JSON or a failure out, against the SDK's in-memory host.

mod channels;
mod failures;

use jobcell_sdk::http::Response;
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::{self, Host, JobBuilder};
use jobcell_sdk::{Raw, http};
use serde_json::{Value, json};

/// The clock of all tests here, in seconds: Tue, 14 Nov 2023 22:13:20 GMT.
pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const KEY: &str = "key-0123456789-abcdefghij-0123456789";
pub(crate) const HOOK: &str = "https://hooks.example.com/in";
pub(crate) const SLACK: &str = "https://hooks.slack.com/services/T0/B0/x";
pub(crate) const WHATSAPP: &str = "https://graph.facebook.com/v23.0/1055/messages";

/// A host with a secret for every channel, which takes every message.
pub(crate) fn host() -> Host {
    let secrets = ["notification-webhook", "whatsapp", "resend-api", "postmark-api", "sendgrid-api"];
    secrets
        .into_iter()
        .fold(Host::new().at(NOW * 1_000), |host, name| host.secret(name, KEY))
        .publishes("overlay")
}

/// A host whose every receiver answers like this.
pub(crate) fn answering(response: Response) -> Host {
    host().on_request(move |_| Ok(response.clone()))
}

/// A `notify` job with this payload.
pub(crate) fn job(payload: &Value) -> JobBuilder<Raw> {
    testing::json(payload).name("notify").queue("mail").id("7")
}

/// Runs it and reads the result.
pub(crate) fn run(host: &Host, job: impl Into<JobBuilder<Raw>>) -> Result<Value, Failure> {
    host.dispatch(&crate::PLUGIN, job).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The only request that was sent.
#[track_caller]
pub(crate) fn request(host: &Host) -> http::Request {
    let mut requests = host.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

/// Its body.
#[track_caller]
pub(crate) fn body(host: &Host) -> Value {
    request(host).body_json().unwrap()
}

#[track_caller]
pub(crate) fn invalid(result: Result<Value, Failure>, told: &str) {
    match result {
        Err(Failure::Invalid(reason)) => assert!(reason.contains(told), "{told}: {reason}"),
        other => panic!("expected an invalid payload about {told:?}, got {other:?}"),
    }
}

/// A payload for every channel that is HTTP.
pub(crate) fn over_http() -> Vec<Value> {
    let email = |provider: &str| {
        json!({
            "channel": {"email": {"provider": provider, "from": {"email": "us@example.com", "name": "Us, Inc."},
                "to": {"email": "ada@example.com"}, "reply_to": {"email": "help@example.com"}}},
            "template": {"subject": "Thanks {{name}}", "html": "<p>{{name}}</p>", "text": "{{name}}"},
            "data": {"name": "A&B"},
        })
    };
    vec![
        json!({"channel": {"webhook": {"url": HOOK}}, "data": {"name": "A&B"}}),
        json!({"channel": {"slack": {"url": SLACK}}, "template": {"text": "{{name}}"}, "data": {"name": "A&B"}}),
        json!({"channel": {"whatsapp": {"phone_number_id": "1055", "to": "+4915112345678"}},
            "template": {"text": {"body": "{{name}}"}}, "data": {"name": "A&B"}}),
        email("resend"),
        email("postmark"),
        email("sendgrid"),
    ]
}

#[test]
fn the_readmes_examples_are_sent() {
    let examples: Vec<&str> = include_str!("../README.md").split("```json").skip(1).collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        let payload: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        let host = answering(Response::new(200)).secret("slack-hook", "x").publishes("job_updates");
        let result = run(&host, job(&payload)).unwrap_or_else(|failure| panic!("{failure}: {payload}"));
        assert_eq!(result["delivered"], true);
    }
}
