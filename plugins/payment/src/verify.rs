//! The order of the checks, from what costs nothing to what leaves the cell:
//! payload → signature → age → event → expectation → replay → the provider's API.

use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{HostError, context, secrets, time};
use serde::Serialize;

use crate::delivery::Delivery;
use crate::event::{Event, Facts};
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::replay::Hold;
use crate::signature::Claim;

/// What `verify-payment` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// What `verify-webhook` would answer for it.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// Minor units of the currency; `null` where the event carries none.
    pub amount: Option<u64>,
    /// ISO code in upper case.
    pub currency: Option<String>,
    /// The provider's word.
    pub status: Option<String>,
    /// Has the provider's API agreed? False when it was not asked.
    pub confirmed: bool,
}

/// What `verify-webhook` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Always true; everything else is a failure.
    pub verified: bool,
    /// Who sent it.
    pub provider: Provider,
    /// The same for every delivery of one event.
    pub event_id: String,
    /// The provider's name of what happened.
    pub event_type: String,
    /// What it is about in the provider's books: payment, transaction, order, message.
    pub reference: Option<String>,
}

/// Everything about one payment's webhook; see the crate's documentation.
///
/// # Errors
/// As the crate's documentation lists them.
pub fn payment(job: &Job<Delivery>) -> Result<Payment, Failure> {
    let delivery = &job.data;
    let Some(expectation) = &delivery.expect else {
        let reason = "`expect` is required; verify-webhook checks signature and replay alone";
        return Err(Refusal::Payload(reason.into()).into());
    };
    expectation.validate(delivery.provider)?;
    if let Some(confirm) = &delivery.confirm {
        confirm.validate(delivery.provider)?;
    }
    let event = authentic(job)?;
    let Facts { amount, currency, status } = &expectation.check(&event)?;
    let hold = Hold::take(job, &event, ttl(delivery)?)?;
    if let Some(confirm) = &delivery.confirm {
        let facts = Facts { amount: *amount, currency: currency.clone(), status: status.clone() };
        if let Err(failure) = confirm.ask(&event, &facts, expectation) {
            hold.after(job, &failure);
            return Err(failure);
        }
    }
    hold.complete()?;
    Ok(Payment {
        webhook: Webhook::from(event),
        amount: *amount,
        currency: currency.clone(),
        status: status.clone(),
        confirmed: delivery.confirm.is_some(),
    })
}

/// Signature and replay alone.
///
/// # Errors
/// As the crate's documentation lists them.
pub fn webhook(job: &Job<Delivery>) -> Result<Webhook, Failure> {
    let delivery = &job.data;
    for (field, given) in [("expect", delivery.expect.is_some()), ("confirm", delivery.confirm.is_some())] {
        if given {
            return Err(Refusal::Payload(format!("`{field}` is for verify-payment, leave it out")).into());
        }
    }
    let event = authentic(job)?;
    Hold::take(job, &event, ttl(delivery)?)?.complete()?;
    Ok(Webhook::from(event))
}

/// The event, once the host has said that the provider signed it.
fn authentic(job: &Job<Delivery>) -> Result<Event, Failure> {
    let delivery = &job.data;
    let (provider, secret) = (delivery.provider, delivery.secret());
    let tolerance_secs = delivery.tolerance_secs()?;
    ttl(delivery)?;
    let claim = Claim::read(delivery)?;
    claim.prove(|message, mac| {
        secrets::verify_hmac(secret, provider.algorithm(), message, mac)
            .map_err(|error| secret_fault(secret, &error))
    })?;
    // Jobs of producers that tell no time are judged by the clock.
    let received_ms = if job.enqueued_at == 0 { time::now_ms() } else { job.enqueued_at };
    claim.check_age(received_ms, tolerance_secs)?;
    let event = Event::read(provider, &delivery.body()?)?;
    context::log(format!("signature proved: {provider} event {} of type {}", event.id, event.kind));
    Ok(event)
}

fn ttl(delivery: &Delivery) -> Result<Duration, Refusal> {
    delivery.replay_ttl_secs().map(Duration::from_secs)
}

/// A secret that the host does not know will not appear by trying again; one it cannot reach now may.
pub(crate) fn secret_fault(secret: &str, error: &HostError) -> Failure {
    let reason = format!("secret `{secret}`: {error}");
    match error {
        HostError::NotFound => Failure::Fatal(reason),
        error if error.is_permanent() => Failure::Fatal(reason),
        _ => Failure::Retry(reason),
    }
}

impl From<Event> for Webhook {
    fn from(event: Event) -> Self {
        let Event { provider, id, kind, reference, lookup: _, money: _ } = event;
        Self { verified: true, provider, event_id: id, event_type: kind, reference }
    }
}
