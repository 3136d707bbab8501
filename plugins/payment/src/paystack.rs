//! Where things stand in Paystack's events: `data` is the transaction, transfer or refund.

use crate::event::{Event, Money, Node, body_digest, is_path_segment};
use crate::provider::Provider;
use crate::refusal::Refusal;

/// Reads an event. Paystack gives events no id: a transaction succeeds once, so `charge.success` is known by its
/// transaction; reminders and the like repeat with the same subject, so they are known by their body.
///
/// # Errors
/// [`Refusal::Event`] when it has no type or no data.
pub fn event(root: &Node<'_>, body: &[u8]) -> Result<Event, Refusal> {
    let kind = root.text("event")?.to_owned();
    let data = root.get("data").ok_or_else(|| Refusal::Event("it has no `data`".into()))?;
    let subject = match (&*kind, data.id("id")) {
        ("charge.success", Some(transaction)) => transaction,
        _ => body_digest(body),
    };
    let reference = data.id("reference").or_else(|| data.id("transaction_reference"));
    // The verify call knows transactions only; a transfer's reference would find nothing, or something else.
    let lookup =
        reference.as_deref().filter(|reference| kind.starts_with("charge.") && is_path_segment(reference));
    Ok(Event {
        provider: Provider::Paystack,
        id: format!("{kind}:{subject}"),
        lookup: lookup.map(|reference| format!("transaction/verify/{reference}")),
        kind,
        reference,
        money: money(&data),
    })
}

/// The money of one transaction, transfer or refund, as events and the API give it.
pub fn money(data: &Node<'_>) -> Money {
    Money {
        amount: data.first(&["amount"]),
        currency: data.first(&["currency"]),
        status: data.first(&["status"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Event {
        event(&Node::root(&body), body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_successful_charge_is_known_by_its_transaction() {
        let event = read(json!({"event": "charge.success", "data": {
            "id": 302_961, "status": "success", "reference": "qTPrJoy9Bx", "amount": 10_000, "currency": "NGN"}}));
        assert_eq!(event.id, "charge.success:302961");
        assert_eq!(event.reference.as_deref(), Some("qTPrJoy9Bx"));
        assert_eq!(event.lookup.as_deref(), Some("transaction/verify/qTPrJoy9Bx"));
        assert_eq!(event.money.amount.unwrap().minor_units(), Ok(10_000));
        assert_eq!(event.money.currency.unwrap().currency().unwrap(), "NGN");
    }

    #[test]
    fn refunds_give_their_amount_as_text_and_cannot_be_looked_up() {
        let event = read(json!({"event": "refund.processed", "data": {
            "status": "processed", "transaction_reference": "T1", "amount": "10000", "currency": "NGN"}}));
        assert!(event.id.starts_with("refund.processed:sha256-"), "{}", event.id);
        assert_eq!(event.money.amount.unwrap().minor_units(), Ok(10_000));
        assert_eq!((event.reference.as_deref(), event.lookup), (Some("T1"), None));
    }

    #[test]
    fn the_same_reminder_on_another_day_is_another_event() {
        let remind =
            |day: u8| read(json!({"event": "charge.dispute.remind", "data": {"id": 7, "due": day}})).id;
        assert_eq!(remind(1), remind(1));
        assert_ne!(remind(1), remind(2));
    }

    #[test]
    fn a_reference_that_is_no_path_segment_is_not_looked_up() {
        let event =
            read(json!({"event": "charge.success", "data": {"id": "x", "reference": "../../balance"}}));
        assert_eq!(event.lookup, None);
        assert_eq!(event.id, "charge.success:x");
    }
}
