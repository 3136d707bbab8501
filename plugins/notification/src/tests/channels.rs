//! What each channel sends.

use hmac::{Hmac, Mac};
use jobcell_sdk::http::Response;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{HOOK, KEY, NOW, SLACK, WHATSAPP, answering, body, host, invalid, job, over_http, request, run};

#[test]
fn every_request_carries_the_same_idempotency_key_on_every_attempt() {
    for payload in over_http() {
        let host = answering(Response::new(200));
        for attempt in [1, 2] {
            let result = run(&host, job(&payload).attempt(attempt)).unwrap();
            assert_eq!(result["idempotency_key"], "test:mail:7");
        }
        let requests = host.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.method.as_str(), "POST");
            assert_eq!(request.header_value("idempotency-key"), Some("test:mail:7"));
            assert_eq!(request.header_value("content-type"), Some("application/json"));
            assert!(request.header_value("user-agent").is_some());
        }
    }
}

#[test]
fn a_webhook_is_signed_over_its_time_and_body() {
    let host = answering(Response::new(202));
    let payload = json!({
        "channel": {"webhook": {"url": HOOK, "headers": {"X-Event": "donation.received"}}},
        "template": {"id": "{{donation.id}}", "text": "{{donation.by}} gave {{donation.cents}}"},
        "data": {"donation": {"id": 7, "by": "\"Ada\"", "cents": 500}},
    });
    let result = run(&host, job(&payload)).unwrap();
    assert_eq!(
        result,
        json!({"delivered": true, "channel": "webhook", "status": 202, "idempotency_key": "test:mail:7"})
    );
    let request = request(&host);
    assert_eq!(request.url, HOOK);
    assert_eq!(request.header_value("x-event"), Some("donation.received"));
    assert_eq!(body(&host), json!({"id": 7, "text": "\"Ada\" gave 500"}));
    let signed = [NOW.to_string().as_bytes(), b".", &request.body].concat();
    let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap().chain_update(signed).finalize();
    let expected = format!("t={NOW},v1={}", hex::encode(mac.into_bytes()));
    assert_eq!(request.header_value("x-jobcell-signature"), Some(&*expected));
}

#[test]
fn a_webhook_without_a_template_sends_the_data() {
    let host = answering(Response::new(200));
    run(&host, job(&json!({"channel": {"webhook": {"url": HOOK}}, "data": {"a": [1, "{{b}}"]}}))).unwrap();
    assert_eq!(body(&host), json!({"a": [1, "{{b}}"]}));
}

#[test]
fn a_webhook_takes_another_secret_and_no_headers_of_its_own_kind() {
    let other = answering(Response::new(200)).secret("partner", "another key");
    let mut payload = json!({"channel": {"webhook": {"url": HOOK, "secret": "partner"}}});
    run(&other, job(&payload)).unwrap();
    let with_default = answering(Response::new(200));
    run(&with_default, job(&json!({"channel": {"webhook": {"url": HOOK}}}))).unwrap();
    let signature =
        |request: jobcell_sdk::http::Request| request.header_value("x-jobcell-signature").map(str::to_owned);
    assert_ne!(signature(request(&other)), signature(request(&with_default)));

    for (name, value) in [
        ("Host", "evil"),
        ("content-LENGTH", "0"),
        ("Idempotency-Key", "x"),
        ("X-Jobcell-Signature", "x"),
        ("Proxy-Authorization", "x"),
        ("bad name", "x"),
        ("", "x"),
        ("X-A", "b\r\nHost: evil"),
    ] {
        payload["channel"]["webhook"]["headers"] = json!({ name: value });
        let host = answering(Response::new(200));
        invalid(run(&host, job(&payload)), "channel.webhook.headers");
        assert_eq!(host.requests(), []);
    }
}

#[test]
fn slack_gets_text_and_blocks() {
    let host = answering(Response::new(200).with_body("ok"));
    let payload = json!({
        "channel": {"slack": {"url": SLACK}},
        "template": {"text": "From {{name}}", "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": "*{{name}}*"}}]},
        "data": {"name": "<!here>"},
    });
    run(&host, job(&payload)).unwrap();
    assert_eq!(
        body(&host),
        json!({"text": "From &lt;!here&gt;", "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": "*&lt;!here&gt;*"}}]})
    );
}

#[test]
fn the_secret_part_of_a_slack_url_stays_with_the_host() {
    let host = answering(Response::new(200)).secret("slack-hook", "x");
    let mut payload = json!({
        "channel": {"slack": {"url": "https://hooks.slack.com/services/T0/B0/{secret}", "secret": "slack-hook"}},
        "template": {"text": "x"},
    });
    run(&host, job(&payload)).unwrap();
    // What the far end sees, after the host has put the secret in.
    assert_eq!(request(&host).url, SLACK);

    payload["channel"]["slack"]["url"] = json!(SLACK);
    invalid(run(&host, job(&payload)), "channel.slack.url");
    payload["channel"]["slack"] = json!({"url": "https://hooks.slack.com/services/T0/B0/{secret}"});
    invalid(run(&host, job(&payload)), "channel.slack.secret");
}

#[test]
fn whatsapp_gets_a_message_and_answers_its_id() {
    let answer = json!({"messaging_product": "whatsapp", "messages": [{"id": "wamid.X"}]});
    let host = host().respond(WHATSAPP, Response::new(200).with_json(&answer));
    let result = run(&host, job(&over_http()[2])).unwrap();
    assert_eq!(result["message_id"], "wamid.X");
    assert_eq!(request(&host).header_value("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(
        body(&host),
        json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "4915112345678",
            "type": "text", "text": {"body": "A&B", "preview_url": false},
            "biz_opaque_callback_data": "test:mail:7"})
    );
}

#[test]
fn whatsapp_addresses_are_digits() {
    for (field, value) in [
        ("phone_number_id", "../1055"),
        ("phone_number_id", ""),
        ("to", "Ada"),
        ("to", "+49 151"),
        ("to", "1234"),
        ("to", "1234567890123456"),
        ("version", "23"),
        ("version", "v23/../me"),
    ] {
        let mut payload = over_http()[2].clone();
        payload["channel"]["whatsapp"][field] = json!(value);
        let host = answering(Response::new(200));
        invalid(run(&host, job(&payload)), &format!("channel.whatsapp.{field}"));
        assert_eq!(host.requests(), []);
    }
    let mut payload = over_http()[2].clone();
    payload["channel"]["whatsapp"]["version"] = json!("v21.0");
    payload["channel"]["whatsapp"]["base_url"] = json!("http://127.0.0.1:9/");
    let host = answering(Response::new(200));
    run(&host, job(&payload)).unwrap();
    assert_eq!(request(&host).url, "http://127.0.0.1:9/v21.0/1055/messages");
}

#[test]
fn resend_gets_its_shape() {
    let host =
        host().respond("https://api.resend.com/emails", Response::new(200).with_json(&json!({"id": "re_1"})));
    assert_eq!(run(&host, job(&over_http()[3])).unwrap()["message_id"], "re_1");
    assert_eq!(request(&host).header_value("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(
        body(&host),
        json!({"from": "\"Us, Inc.\" <us@example.com>", "to": ["ada@example.com"], "reply_to": "help@example.com",
            "subject": "Thanks A&B", "html": "<p>A&amp;B</p>", "text": "A&B"})
    );
}

#[test]
fn postmark_gets_its_shape() {
    let answer = Response::new(200).with_json(&json!({"MessageID": "pm-1", "ErrorCode": 0}));
    let host = host().respond("https://api.postmarkapp.com/email", answer);
    assert_eq!(run(&host, job(&over_http()[4])).unwrap()["message_id"], "pm-1");
    assert_eq!(request(&host).header_value("x-postmark-server-token"), Some(KEY));
    assert_eq!(
        body(&host),
        json!({"From": "\"Us, Inc.\" <us@example.com>", "To": "ada@example.com", "ReplyTo": "help@example.com",
            "Subject": "Thanks A&B", "HtmlBody": "<p>A&amp;B</p>", "TextBody": "A&B",
            "Headers": [{"Name": "X-Idempotency-Key", "Value": "test:mail:7"}]})
    );
}

#[test]
fn sendgrid_gets_its_shape() {
    let answer = Response::new(202).with_header("X-Message-Id", "sg-1");
    let host = host().respond("https://api.sendgrid.com/v3/mail/send", answer);
    let result = run(&host, job(&over_http()[5])).unwrap();
    assert_eq!((&result["message_id"], &result["status"]), (&json!("sg-1"), &json!(202)));
    assert_eq!(
        body(&host),
        json!({"personalizations": [{"to": [{"email": "ada@example.com"}],
                "custom_args": {"idempotency_key": "test:mail:7"}}],
            "from": {"email": "us@example.com", "name": "Us, Inc."}, "reply_to": {"email": "help@example.com"},
            "subject": "Thanks A&B", "headers": {"X-Idempotency-Key": "test:mail:7"},
            "content": [{"type": "text/plain", "value": "A&B"}, {"type": "text/html", "value": "<p>A&amp;B</p>"}]})
    );
}

#[test]
fn an_overlay_message_goes_to_the_jobs_tenant() {
    let host = host();
    let payload = json!({"channel": {"overlay": {"channel": "overlay"}},
        "template": {"headline": "{{name}} gave {{cents}}", "cents": "{{cents}}"}, "data": {"name": "Ada", "cents": 5}});
    let result = run(&host, job(&payload).tenant("t1")).unwrap();
    assert_eq!(result, json!({"delivered": true, "channel": "overlay", "idempotency_key": "test:mail:7"}));
    let [(channel, message)] = host.published().try_into().unwrap();
    assert_eq!(channel, "overlay");
    assert_eq!(
        serde_json::from_slice::<Value>(&message).unwrap(),
        json!({"tenantId": "t1", "queue": "mail", "jobId": "7", "idempotencyKey": "test:mail:7",
            "data": {"headline": "Ada gave 5", "cents": 5}})
    );
}

#[test]
fn an_overlay_message_has_exactly_one_tenant() {
    let named = |tenant: &str| json!({"channel": {"overlay": {"channel": "overlay", "tenant": tenant}}});
    let unnamed = json!({"channel": {"overlay": {"channel": "overlay"}}});
    assert!(run(&host(), job(&named("t1"))).is_ok());
    assert!(run(&host(), job(&named("t1")).tenant("t1")).is_ok());
    for faulty in [job(&named("t2")).tenant("t1"), job(&unnamed), job(&named("")), job(&unnamed).tenant("")] {
        let host = host();
        invalid(run(&host, faulty), "channel.overlay.tenant");
        assert_eq!(host.published(), []);
    }
}
