//! A payment provider, as far as the demo needs one: it signs what it sends, and checks what it is sent.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::site::STRIPE_SECRET;

/// The donation in minor units: 50.00 USD.
pub(super) const AMOUNT: u64 = 5_000;

/// The payload of a `verify-payment` job: what our web server enqueues when the provider reports a donation.
pub(super) fn delivery(now_secs: u64, number: u64) -> Value {
    let body = json!({
        "id": format!("evt_demo_{number}"),
        "object": "event",
        "created": now_secs,
        "livemode": false,
        "type": "checkout.session.completed",
        "data": { "object": {
            "id": format!("cs_test_demo_{number}"),
            "object": "checkout.session",
            "amount_total": AMOUNT,
            "currency": "usd",
            "mode": "payment",
            "payment_intent": format!("pi_demo_{number}"),
            "payment_status": "paid",
            "status": "complete",
        }},
    })
    .to_string();
    let signature = mac(STRIPE_SECRET, format!("{now_secs}.{body}").as_bytes());
    json!({
        "provider": "stripe",
        "headers": { "stripe-signature": format!("t={now_secs},v1={signature}") },
        "body": body,
        "expect": { "amount": AMOUNT, "currency": "USD" },
    })
}

/// The same after somebody on the way made it a hundred times as much.
pub(super) fn forged(delivery: &Value) -> Value {
    let mut forged = delivery.clone();
    let body = forged["body"].as_str().unwrap_or_default();
    let more = body.replace(&AMOUNT.to_string(), &(AMOUNT * 100).to_string());
    forged["body"] = more.into();
    forged["expect"]["amount"] = (AMOUNT * 100).into();
    forged
}

/// Is this `t=…,v1=…` the signature of the body under the secret? What a receiver of our notifications does.
pub(super) fn is_signed(header: &str, body: &[u8], secret: &str) -> bool {
    let field = |name: &str| header.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (Some(time), Some(signature)) = (field("t"), field("v1")) else { return false };
    mac(secret, &[time.as_bytes(), b".", body].concat()) == signature
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn mac(secret: &str, message: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    hex::encode(mac.chain_update(message).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_signed_and_a_forged_one_is_not() {
        let honest = delivery(1_700_000_000, 1);
        let check = |delivery: &Value| {
            let header = delivery["headers"]["stripe-signature"].as_str().unwrap();
            is_signed(header, delivery["body"].as_str().unwrap().as_bytes(), STRIPE_SECRET)
        };
        assert!(check(&honest));
        assert!(!check(&forged(&honest)));
        assert!(!is_signed("v1=00", b"", STRIPE_SECRET));
    }
}
