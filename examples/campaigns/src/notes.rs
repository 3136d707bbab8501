//! What is kept beside the ledger: who wants no messages, and which numbers rest.

use std::time::Duration;

use jobcell_sdk::kv::Bucket;
use jobcell_sdk::{HostError, context, time};

/// Does this recipient want no messages?
///
/// # Errors
/// When the store cannot be reached.
pub fn wants_none(bucket: &Bucket, to: &str) -> Result<bool, HostError> {
    bucket.exists(&stopped_key(to))
}

/// Notes that this person wants no messages, or does again.
///
/// # Errors
/// When the store cannot be reached.
pub fn wish(bucket: &Bucket, from: &str, wants_none: bool) -> Result<(), HostError> {
    match wants_none {
        true => bucket.set(&stopped_key(from), b"1"),
        false => bucket.delete(&stopped_key(from)),
    }
}

/// Notes that a number rests, for whoever looks at the campaign. The queue's own rest is what counts, so that failing to
/// note it is no failure.
pub fn rest(bucket: &Bucket, number: &str, rest: Duration) {
    let until = time::now_ms().saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
    if let Err(error) = bucket.set(&rest_key(number), until.to_string()) {
        context::log(format!("the rest of number {number} could not be noted: {error}"));
    }
}

/// Until when a number rests, in milliseconds since the epoch; 0 when it never did.
///
/// # Errors
/// When the store cannot be reached.
pub fn rests_until(bucket: &Bucket, number: &str) -> Result<u64, HostError> {
    let until = bucket.get(&rest_key(number))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&until).parse().unwrap_or(0))
}

/// The provider writes numbers without `+`, people's lists often with it.
fn stopped_key(phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    format!("stopped/{digits}")
}

fn rest_key(number: &str) -> String {
    format!("rests/{number}")
}
