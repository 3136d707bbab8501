//! The payment handlers: is this webhook authentic, is it the payment we expect, and have we seen it before?
//!
//! | job name | checks | payload |
//! |---|---|---|
//! | `verify-payment` | signature, age, expectation, replay, and the provider's API where asked | [`delivery::Delivery`] with `expect` |
//! | `verify-webhook` | signature, age, replay | [`delivery::Delivery`] without `expect` and `confirm` |
//!
//! Stripe, Paystack, Razorpay and Meta (WhatsApp included) are understood. The signing secret stays with the host,
//! which answers only whether a MAC is right.
//!
//! | finding | failure |
//! |---|---|
//! | payload that contradicts itself, or expects what the provider cannot say | invalid |
//! | signature missing, malformed, wrong, too old or from the future | fatal |
//! | signed body that is no event; amount that is no whole number | fatal |
//! | event type, amount, currency, status or reference not as expected | fatal, with both sides |
//! | event already accepted in another job | fatal |
//! | event that another job is working on | retry |
//! | provider's API: 5xx, 408, no connection, timeout, not settled yet | retry |
//! | provider's API: 429, or 503 with `Retry-After` | retry after that time |
//! | provider's API: payment unknown, key refused, other values than the event | fatal |
//!
//! README.md beside this crate has payloads to copy and the grants that the handlers need.

pub mod answer;
pub mod confirm;
pub mod delivery;
pub mod event;
pub mod expectation;
pub mod meta;
pub mod paystack;
pub mod provider;
pub mod razorpay;
pub mod refusal;
pub mod replay;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod signature;
pub mod stripe;
#[cfg(test)]
mod tests;
pub mod verify;

use delivery::Delivery;
use jobcell_sdk::prelude::*;
use verify::{Payment, Webhook};

/// Job `verify-payment`: everything about one payment's webhook.
#[handler]
fn verify_payment(job: Job<Delivery>) -> Result<Payment, Failure> {
    verify::payment(&job)
}

/// Job `verify-webhook`: authentic and new, whatever it says.
#[handler]
fn verify_webhook(job: Job<Delivery>) -> Result<Webhook, Failure> {
    verify::webhook(&job)
}

plugin!(verify_payment, verify_webhook);
