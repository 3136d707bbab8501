//! Signed sample deliveries: what a receiver would enqueue, made natively with a secret that the caller knows.
//!
//! For demonstrations and tests only. A cell never signs, so this is behind the feature `sample` and outside of
//! the component.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::provider::Provider;

/// The donation of [`stripe_checkout`] in minor units.
pub const AMOUNT: u64 = 5_000;
/// Its currency.
pub const CURRENCY: &str = "USD";

/// The payload of a `verify-payment` job: Stripe reports a completed checkout of [`AMOUNT`] [`CURRENCY`].
///
/// `secret` is the value of the secret named `stripe-webhook` on the host; `signed_at_secs` is in seconds since
/// the Unix epoch and must lie within 300 s of the enqueueing. Event and payment are named after `number`: two
/// payloads with one number are deliveries of one event, of which the second is refused as a replay.
pub fn stripe_checkout(secret: &[u8], signed_at_secs: u64, number: u64) -> Value {
    let body = json!({
        "id": format!("evt_sample_{number}"),
        "object": "event",
        "api_version": "2024-06-20",
        "created": signed_at_secs,
        "livemode": false,
        "type": "checkout.session.completed",
        "data": { "object": {
            "id": format!("cs_test_sample_{number}"),
            "object": "checkout.session",
            "amount_total": AMOUNT,
            "currency": CURRENCY.to_ascii_lowercase(),
            "mode": "payment",
            "payment_intent": format!("pi_sample_{number}"),
            "payment_status": "paid",
            "status": "complete",
        }},
    })
    .to_string();
    let mut payload = delivery(Provider::Stripe, secret, signed_at_secs, &body);
    payload["expect"] = json!({
        "event_type": "checkout.session.completed",
        "amount": AMOUNT,
        "currency": CURRENCY,
        "status": "paid",
    });
    payload
}

/// A delivery of this body as the provider would sign it, with the headers a receiver would also see; without
/// `expect`. `signed_at_secs` counts for Stripe only.
pub fn delivery(provider: Provider, secret: &[u8], signed_at_secs: u64, body: &str) -> Value {
    let signature = match provider {
        Provider::Stripe => {
            let mac = sha256(secret, format!("{signed_at_secs}.{body}").as_bytes());
            format!("t={signed_at_secs},v1={mac}")
        }
        Provider::Paystack => sha512(secret, body.as_bytes()),
        Provider::Razorpay => sha256(secret, body.as_bytes()),
        Provider::Meta => format!("sha256={}", sha256(secret, body.as_bytes())),
    };
    json!({
        "provider": provider,
        "headers": { "content-type": "application/json", provider.signature_header(): signature },
        "body": body,
    })
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn sha256(secret: &[u8], message: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    hex::encode(mac.chain_update(message).finalize().into_bytes())
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn sha512(secret: &[u8], message: &[u8]) -> String {
    let mac = Hmac::<Sha512>::new_from_slice(secret).expect("any key length");
    hex::encode(mac.chain_update(message).finalize().into_bytes())
}
