//! The three real handlers, each on real input in a real cell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use jobcell_tests::{Answer, Receiver, Site};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::stage::{Stage, on_both_stores};

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sha256_mac(secret: &str, message: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(message);
    hex::encode(mac.finalize().into_bytes())
}

fn sha512_mac(secret: &str, message: &[u8]) -> String {
    let mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).unwrap().chain_update(message);
    hex::encode(mac.finalize().into_bytes())
}

fn payment_site(stage: &Stage) -> Site {
    stage
        .site(
            r#"
[queues.donations]
handlers = { "verify-payment" = "payment", "verify-webhook" = "payment" }
[handlers.payment]
source = "${payment}"
[handlers.payment.grants]
cache = true
secrets = ["stripe-webhook", "paystack-webhook", "razorpay-webhook", "meta-webhook"]
http = [{ url = "https://api.stripe.com", methods = ["GET"] }]
[secrets]
stripe-webhook = { env = "STRIPE_SECRET" }
paystack-webhook = { env = "PAYSTACK_SECRET" }
razorpay-webhook = { env = "RAZORPAY_SECRET" }
meta-webhook = { env = "META_SECRET" }
"#,
        )
        .env("STRIPE_SECRET", "whsec_of_the_test")
        .env("PAYSTACK_SECRET", "paystack of the test")
        .env("RAZORPAY_SECRET", "razorpay of the test")
        .env("META_SECRET", "meta of the test")
}

fn stripe(event: &str, amount: u64, signed_at: u64) -> Value {
    let body = json!({
        "id": event, "object": "event", "type": "checkout.session.completed",
        "data": { "object": {
            "id": "cs_1", "object": "checkout.session", "amount_total": amount, "currency": "usd",
            "payment_intent": "pi_1", "payment_status": "paid", "status": "complete",
        }},
    })
    .to_string();
    let mac = sha256_mac("whsec_of_the_test", format!("{signed_at}.{body}").as_bytes());
    json!({
        "provider": "stripe",
        "headers": { "Stripe-Signature": format!("t={signed_at},v1={mac}") },
        "body": body,
        "expect": { "amount": 5000, "currency": "USD" },
    })
}

on_both_stores! {
    fn payments_are_verified_and_everything_else_is_refused(stage: &Stage) {
        let site = payment_site(stage);
        let add = |data: &Value| site.enqueue("donations", "verify-payment", data, &["--attempts", "3"]);
        let good = add(&stripe("evt_1", 5000, now_secs()));
        let _ = site.burst();
        let job = site.job("donations", &good);
        assert_eq!(job["state"], "completed", "{job}");
        assert_eq!(job["returnvalue"]["reference"], "pi_1", "{job}");

        let mut forged = stripe("evt_2", 5000, now_secs());
        forged["body"] = forged["body"].as_str().unwrap().replace("paid", "void").into();
        let cases = [
            (add(&forged), "signature"),
            (add(&stripe("evt_3", 4999, now_secs())), "4999"),
            (add(&stripe("evt_4", 5000, now_secs() - 3600)), "tolerance"),
            (add(&stripe("evt_1", 5000, now_secs())), "evt_1"),
        ];
        let _ = site.burst();
        for (id, word) in &cases {
            let job = site.job("donations", id);
            let reason = job["failedReason"].as_str().unwrap_or_default();
            assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(1)), "{word}: {job}");
            assert!(reason.contains(word), "{word:?} in {reason:?}");
            assert!(!job.to_string().contains("whsec_of_the_test"), "the secret is nowhere: {job}");
        }
    }

    fn a_photograph_becomes_thumbnails_without_its_metadata(stage: &Stage) {
        let site = media_site(stage);
        let photo = media::sample::photo();
        site.write("uploads/in/photo.jpg", &photo);
        let data = json!({
            "source": { "blob": { "store": "uploads", "key": "in/photo.jpg" } },
            "destination": { "store": "uploads", "prefix": "out/" },
            "widths": [64, 320],
        });
        let id = site.enqueue("media", "thumbnails", &data, &[]);
        let _ = site.burst();
        let job = site.job("media", &id);
        assert_eq!(job["state"], "completed", "{job}");
        let outputs = job["returnvalue"]["outputs"].as_array().expect("outputs");
        assert_eq!(outputs.len(), 2, "{job}");
        for (output, width) in outputs.iter().zip([64, 320]) {
            assert_eq!((&output["width"], &output["contentType"]), (&json!(width), &json!("image/jpeg")), "{job}");
            // The camera held the picture sideways: upright it is higher than wide.
            assert!(output["height"].as_u64() > output["width"].as_u64(), "{job}");
            let file = site.read(&format!("uploads/{}", output["key"].as_str().expect("a key")));
            assert_eq!(output["bytes"], file.len(), "{job}");
            assert_eq!(output["sha256"], hex::encode(Sha256::digest(&file)), "{job}");
            assert!(file.starts_with(b"\xff\xd8\xff"), "a JPEG");
            assert!(!file.windows(4).any(|bytes| bytes == b"Exif"), "metadata is gone");
        }
    }

    fn a_message_is_delivered_once_the_receiver_is_back(stage: &Stage) {
        let receiver = Receiver::start([
            Answer::new(503),
            Answer::new(429).header("Retry-After", "1"),
            Answer::new(200).body(r#"{"id":"msg_1"}"#),
        ]);
        let site = notification_site(stage, &receiver);
        let more = ["--attempts", "5", "--backoff", "fixed:50"];
        let id = site.enqueue("notes", "notify", &webhook(&receiver), &more);
        let _ = site.burst();
        let job = site.job("notes", &id);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("completed"), &json!(3)), "{job}");
        let heard = receiver.heard();
        assert_eq!(heard.len(), 3, "{heard:?}");
        for request in &heard {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook"));
            assert_eq!(request.json(), json!({"text": "5000 from Ada"}));
            let header = request.header("x-jobcell-signature").expect("signed");
            let (time, mac) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=…,v1=…");
            let message = [time.as_bytes(), b".", &request.body].concat();
            assert_eq!(mac, sha256_mac("our signing key", &message));
            assert_eq!(request.header("idempotency-key"), heard[0].header("idempotency-key"));
            assert!(request.header("idempotency-key").is_some_and(|key| !key.is_empty()));
        }
        let waited = job["finishedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(end, start)| end - start);
        assert!(waited >= Some(1_000), "Retry-After was honoured: {job}");
    }

    fn a_refused_message_fails_at_once(stage: &Stage) {
        let receiver = Receiver::start([Answer::new(410).body("gone for good")]);
        let site = notification_site(stage, &receiver);
        let id = site.enqueue("notes", "notify", &webhook(&receiver), &["--attempts", "5"]);
        let mut elsewhere = webhook(&receiver);
        elsewhere["channel"]["webhook"]["url"] = "http://127.0.0.1:9/hook".into();
        let denied = site.enqueue("notes", "notify", &elsewhere, &["--attempts", "5"]);
        let _ = site.burst();
        for (id, word) in [(&id, "410"), (&denied, "grant")] {
            let job = site.job("notes", id);
            assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("failed"), &json!(1)), "{job}");
            assert!(job["failedReason"].as_str().is_some_and(|why| why.contains(word)), "{word:?}: {job}");
        }
        assert_eq!(receiver.heard().len(), 1);
    }
}

#[test]
fn every_provider_signs_its_own_way() {
    let site = payment_site(&Stage::embedded());
    let add = |provider: &str, header: &str, signature: String, body: &str, expect: Value| {
        let data = json!({
            "provider": provider, "headers": { header: signature }, "body": body, "expect": expect,
        });
        site.enqueue("donations", "verify-payment", &data, &[])
    };
    let paystack = r#"{"event":"charge.success","data":{"id":9,"amount":50000,"currency":"NGN","status":"success","reference":"ref_9"}}"#;
    let razorpay = r#"{"entity":"event","event":"payment.captured","created_at":1,"payload":{"payment":{"entity":{"id":"pay_1","amount":70000,"currency":"INR","status":"captured"}}}}"#;
    let ids = [
        add(
            "paystack",
            "x-paystack-signature",
            sha512_mac("paystack of the test", paystack.as_bytes()),
            paystack,
            json!({"amount": 50000, "currency": "NGN"}),
        ),
        add(
            "razorpay",
            "X-Razorpay-Signature",
            sha256_mac("razorpay of the test", razorpay.as_bytes()),
            razorpay,
            json!({"amount": 70000, "currency": "INR"}),
        ),
    ];
    let meta = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"id":"wamid.1"}]}}]}]}"#;
    let signature = format!("sha256={}", sha256_mac("meta of the test", meta.as_bytes()));
    let data =
        json!({ "provider": "whatsapp", "headers": { "x-hub-signature-256": signature }, "body": meta });
    let meta = site.enqueue("donations", "verify-webhook", &data, &[]);
    let _ = site.burst();
    for id in ids.iter().chain([&meta]) {
        let job = site.job("donations", id);
        assert_eq!(
            (&job["state"], &job["returnvalue"]["verified"]),
            (&json!("completed"), &json!(true)),
            "{job}"
        );
    }
}

#[test]
fn a_picture_that_is_a_bomb_or_broken_is_refused_without_a_second_attempt() {
    let site = media_site(&Stage::embedded());
    let photo = media::sample::photo();
    site.write("uploads/cut.jpg", &photo[..photo.len() / 3]);
    site.write("uploads/bomb.png", bomb());
    site.write("uploads/text.jpg", "this is no picture");
    let add = |key: &str| {
        let data = json!({
            "source": { "blob": { "store": "uploads", "key": key } },
            "destination": { "store": "uploads", "prefix": "out/" },
        });
        site.enqueue("media", "thumbnails", &data, &["--attempts", "3"])
    };
    let cases = [
        (add("bomb.png"), "60000"),
        (add("cut.jpg"), "JPEG"),
        (add("text.jpg"), "unknown image format"),
        (add("nowhere.jpg"), "nowhere.jpg"),
    ];
    let _ = site.burst();
    for (id, word) in &cases {
        let job = site.job("media", id);
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert_eq!(job["state"], "failed", "{job}");
        assert!(reason.to_lowercase().contains(&word.to_lowercase()), "{word:?} in {reason:?}");
        if word != &"nowhere.jpg" {
            assert_eq!(job["attemptsMade"], 1, "{job}");
        }
    }
    assert!(!site.path().join("uploads/out").exists(), "nothing was written");
}

/// A well-formed PNG that declares 60000 × 60000 pixels in some seventy bytes.
fn bomb() -> Vec<u8> {
    let side = 60_000_u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 6, 0, 0, 0]].concat();
    // Deflate's empty stream: what the pixels are does not come into it.
    let pixels = [0x78, 0x9c, 0x03, 0, 0, 0, 0, 1];
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &pixels), chunk(b"IEND", &[])];
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [&kind[..], content].concat();
    let mut crc = !0_u32;
    for byte in &body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

fn media_site(stage: &Stage) -> Site {
    let site = stage.site(
        r#"
[queues.media]
handler = "media"
[handlers.media]
source = "${media}"
limits = { memory = "128MiB", deadline = "30s" }
[handlers.media.grants]
blobs = ["uploads"]
http = [{ url = "https://images.example.com", methods = ["GET"] }]
[blobs.uploads]
url = "file://${site}/uploads"
"#,
    );
    Stage::folder(&site, "uploads");
    site
}

fn notification_site(stage: &Stage, receiver: &Receiver) -> Site {
    let config = format!(
        r#"
[queues.notes]
handler = "notification"
[handlers.notification]
source = "${{notification}}"
[handlers.notification.grants]
secrets = ["notification-webhook"]
publish = ["job_updates"]
http = [{{ url = "{}", methods = ["POST"], private = true }}]
[secrets]
notification-webhook = {{ env = "NOTIFICATION_SECRET" }}
"#,
        receiver.url()
    );
    stage.site(&config).env("NOTIFICATION_SECRET", "our signing key")
}

fn webhook(receiver: &Receiver) -> Value {
    json!({
        "channel": { "webhook": { "url": format!("{}/hook", receiver.url()) } },
        "template": { "text": "{{amount}} from {{name}}" },
        "data": { "amount": 5000, "name": "Ada" },
        "timeout_secs": Duration::from_secs(5).as_secs(),
    })
}
