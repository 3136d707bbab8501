//! What a delivery's signature claims: which bytes were signed, when, and with which MACs.
//!
//! Reading the claim is plain text work and lives here; whether one of the MACs is right is asked of the host,
//! which alone holds the secret. Stripe signs `<timestamp>.<body>` and may give several MACs while secrets are
//! rolled; the others sign the bare body and give one.

use crate::delivery::Delivery;
use crate::provider::Provider;
use crate::refusal::Refusal;

/// MACs tried per delivery. Stripe sends one per active secret, two while a secret is rolled; each one costs a
/// host call, so a header full of them must not be work without end.
const MACS_MAX: usize = 8;
/// Longest signature header read, in bytes: eight MACs of 64 bytes in hex with room to spare.
const HEADER_BYTES_MAX: usize = 2_048;

/// What the signature header says, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The bytes under the MAC.
    pub message: Vec<u8>,
    /// Each may be the right one; never empty.
    pub macs: Vec<Vec<u8>>,
    /// When the provider signed, in seconds since the Unix epoch, where the scheme has it.
    pub signed_at: Option<u64>,
}

impl Claim {
    /// Reads the delivery's signature header.
    ///
    /// # Errors
    /// [`Refusal::Signature`] when it is absent, repeated or malformed; [`Refusal::Payload`] for an unusable body.
    pub fn read(delivery: &Delivery) -> Result<Self, Refusal> {
        let provider = delivery.provider;
        let header = delivery.header(provider.signature_header())?;
        if header.len() > HEADER_BYTES_MAX {
            return Err(malformed(provider, "it is longer than any real one"));
        }
        let body = delivery.body()?;
        match provider {
            Provider::Stripe => Self::timestamped(provider, header, &body),
            Provider::Paystack | Provider::Razorpay => Self::bare(provider, header, &body),
            Provider::Meta => match header.split_once('=') {
                Some(("sha256", mac)) => Self::bare(provider, mac, &body),
                _ => Err(malformed(provider, "it does not start with `sha256=`")),
            },
        }
    }

    /// `t=1700000000,v1=<hex>[,v1=<hex>]`, other schemes ignored: `v0` exists only for test events, and taking
    /// it would let anyone choose the weakest scheme.
    fn timestamped(provider: Provider, header: &str, body: &[u8]) -> Result<Self, Refusal> {
        let mut timestamp = None;
        let mut macs = Vec::new();
        for item in header.split(',') {
            let Some((key, value)) = item.trim().split_once('=') else {
                return Err(malformed(provider, "an item is not of the form `key=value`"));
            };
            match key {
                "t" if timestamp.is_some() => return Err(malformed(provider, "it has two timestamps")),
                "t" => timestamp = Some(value),
                // A MAC that is not one cannot match, and says nothing about its neighbours.
                "v1" => macs.extend(mac(provider, value)),
                _ => {}
            }
        }
        let Some(timestamp) = timestamp else {
            return Err(malformed(provider, "it has no timestamp `t`"));
        };
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let (true, Ok(signed_at)) = (digits, timestamp.parse()) else {
            return Err(malformed(provider, "its timestamp is not a count of seconds"));
        };
        if macs.is_empty() {
            return Err(malformed(provider, "it has no `v1` signature of 64 hex digits"));
        }
        if macs.len() > MACS_MAX {
            return Err(malformed(provider, "it has more `v1` signatures than secrets can be active"));
        }
        // The timestamp's own text is signed, so it is repeated as it came and not printed from the number.
        let message = [timestamp.as_bytes(), b".", body].concat();
        Ok(Self { message, macs, signed_at: Some(signed_at) })
    }

    fn bare(provider: Provider, header: &str, body: &[u8]) -> Result<Self, Refusal> {
        match mac(provider, header) {
            Some(mac) => Ok(Self { message: body.to_vec(), macs: vec![mac], signed_at: None }),
            None => Err(malformed(provider, &format!("it is not {} hex digits", provider.mac_bytes() * 2))),
        }
    }

    /// Asks `matches(message, mac)` until one MAC is right.
    ///
    /// # Errors
    /// Whatever `matches` answers, and [`Refusal::Signature`] when none is right.
    pub fn prove<E: From<Refusal>>(
        &self,
        mut matches: impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        for mac in &self.macs {
            if matches(&self.message, mac)? {
                return Ok(());
            }
        }
        Err(Refusal::Signature("it was not made from this body with the named secret".into()).into())
    }

    /// Checks that the provider signed within `tolerance_secs` of the receipt, where the scheme says when.
    ///
    /// `received_ms` is when the receiver enqueued the job and not now: a job that waited behind others, or that
    /// is retried an hour later because the provider's API was down, is no less authentic for it.
    ///
    /// # Errors
    /// [`Refusal::Signature`] when it is too old, or too far in the future.
    pub fn check_age(&self, received_ms: u64, tolerance_secs: u64) -> Result<(), Refusal> {
        let Some(signed_at) = self.signed_at else {
            return Ok(());
        };
        let received_at = received_ms / 1_000;
        let distance = received_at.abs_diff(signed_at);
        if distance <= tolerance_secs {
            return Ok(());
        }
        let side = if signed_at < received_at { "before" } else { "after" };
        Err(Refusal::Signature(format!(
            "it was made {distance} s {side} the delivery was received, the tolerance is {tolerance_secs} s"
        )))
    }
}

/// The MAC's bytes, when the text is hex of exactly the provider's length.
fn mac(provider: Provider, text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok().filter(|mac| mac.len() == provider.mac_bytes())
}

fn malformed(provider: Provider, problem: &str) -> Refusal {
    Refusal::Signature(format!("the {} header is malformed: {problem}", provider.signature_header()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(provider: &str, header: &str) -> Result<Claim, Refusal> {
        let payload = json!({
            "provider": provider,
            "headers": {
                "stripe-signature": header, "x-paystack-signature": header,
                "x-razorpay-signature": header, "x-hub-signature-256": header,
            },
            "body": "{\"a\":1}",
        });
        Claim::read(&serde_json::from_value(payload).unwrap())
    }

    fn problem(provider: &str, header: &str) -> String {
        match claim(provider, header) {
            Err(Refusal::Signature(problem)) => problem,
            other => panic!("{provider} {header}: {other:?}"),
        }
    }

    #[test]
    fn stripe_signs_the_timestamp_text_and_the_body() {
        let v1 = "ab".repeat(32);
        let claim = claim("stripe", &format!("t=0017,v1={v1}, v0={v1},v1={},v2=x", "CD".repeat(32))).unwrap();
        assert_eq!(claim.message, b"0017.{\"a\":1}");
        assert_eq!(claim.macs, [vec![0xab; 32], vec![0xcd; 32]]);
        assert_eq!(claim.signed_at, Some(17));
    }

    #[test]
    fn malformed_stripe_headers_are_refused_by_name() {
        let v1 = "ab".repeat(32);
        for (header, expected) in [
            (String::new(), "key=value"),
            ("nonsense".into(), "key=value"),
            (format!("v1={v1}"), "no timestamp"),
            (format!("t=,v1={v1}"), "count of seconds"),
            (format!("t=+5,v1={v1}"), "count of seconds"),
            (format!("t=-5,v1={v1}"), "count of seconds"),
            (format!("t=5.0,v1={v1}"), "count of seconds"),
            (format!("t=99999999999999999999,v1={v1}"), "count of seconds"),
            (format!("t=5,t=5,v1={v1}"), "two timestamps"),
            ("t=5".into(), "no `v1`"),
            (format!("t=5,v0={v1}"), "no `v1`"),
            ("t=5,v1=".into(), "no `v1`"),
            ("t=5,v1=zz".into(), "no `v1`"),
            (format!("t=5,v1={}", &v1[2..]), "no `v1`"),
            (format!("t=5{}", format!(",v1={v1}").repeat(9)), "more `v1`"),
            (format!("t=5,v9={}", "x".repeat(3_000)), "longer"),
        ] {
            let problem = problem("stripe", &header);
            assert!(problem.contains(expected), "{header}: {problem}");
        }
    }

    #[test]
    fn bare_schemes_want_hex_of_their_own_length() {
        assert_eq!(claim("paystack", &"0f".repeat(64)).unwrap().macs, [vec![0x0f; 64]]);
        assert_eq!(claim("razorpay", &"0F".repeat(32)).unwrap().message, b"{\"a\":1}");
        assert_eq!(claim("meta", &format!("sha256={}", "0f".repeat(32))).unwrap().signed_at, None);
        assert!(problem("paystack", &"0f".repeat(32)).contains("128 hex"));
        assert!(problem("razorpay", &"0f".repeat(64)).contains("64 hex"));
        assert!(problem("meta", &"0f".repeat(32)).contains("sha256="));
        assert!(problem("meta", &format!("sha1={}", "0f".repeat(20))).contains("sha256="));
        assert!(problem("meta", &format!("SHA256={}", "0f".repeat(32))).contains("sha256="));
    }

    #[test]
    fn one_right_mac_among_several_is_enough_and_none_is_refused() {
        let claim = Claim { message: b"m".to_vec(), macs: vec![vec![1], vec![2]], signed_at: None };
        let asked = |right: u8| claim.prove::<Refusal>(|_, mac| Ok(mac == [right]));
        assert_eq!(asked(2), Ok(()));
        assert!(matches!(asked(3), Err(Refusal::Signature(_))));
        let broken = claim.prove::<Refusal>(|_, _| Err(Refusal::Payload("host".into())));
        assert_eq!(broken, Err(Refusal::Payload("host".into())));
    }

    #[test]
    fn the_tolerance_counts_both_ways_and_includes_its_end() {
        let claim = |signed_at| Claim { message: vec![], macs: vec![], signed_at };
        let received_ms = 1_000_000_999;
        for fine in [None, Some(1_000_000), Some(999_700), Some(1_000_300)] {
            assert_eq!(claim(fine).check_age(received_ms, 300), Ok(()), "{fine:?}");
        }
        for (wrong, side) in [(999_699, "before"), (1_000_301, "after"), (0, "before"), (u64::MAX, "after")] {
            let Err(Refusal::Signature(reason)) = claim(Some(wrong)).check_age(received_ms, 300) else {
                panic!("{wrong} accepted");
            };
            assert!(reason.contains(side), "{reason}");
        }
    }
}
