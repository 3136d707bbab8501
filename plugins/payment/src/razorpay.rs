//! Where things stand in Razorpay's events: `payload.<entity>.entity`, one per entity that takes part.

use crate::event::{Event, Money, Node, is_path_segment};
use crate::provider::Provider;
use crate::refusal::Refusal;

/// Which entity of a family of events carries the money, and in which member: of orders, links and invoices
/// what was paid, not what was asked.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("order", "order", "amount_paid"),
    ("payment_link", "payment_link", "amount_paid"),
    ("invoice", "invoice", "amount_paid"),
    ("subscription", "payment", "amount"),
    ("virtual_account", "payment", "amount"),
    ("qr_code", "payment", "amount"),
];

/// Reads an event. Razorpay's event id comes in a header that is not signed, so the event is known by type,
/// subject and `created_at`, which are.
///
/// # Errors
/// [`Refusal::Event`] when it has no type, or no subject or time to know it by.
pub fn event(root: &Node<'_>) -> Result<Event, Refusal> {
    let kind = root.text("event")?.to_owned();
    let family = kind.split('.').next().unwrap_or_default();
    let entity = |name: &str| root.get(&format!("payload.{name}.entity"));
    let subject = entity(family)
        .and_then(|entity| entity.id("id"))
        .ok_or_else(|| Refusal::Event(format!("it has no `payload.{family}.entity.id`")))?;
    let created_at =
        root.id("created_at").ok_or_else(|| Refusal::Event("it has no whole number `created_at`".into()))?;
    let (source, amount) = FAMILIES
        .iter()
        .find(|(name, ..)| *name == family)
        .map_or((family, "amount"), |&(_, source, amount)| (source, amount));
    let money = entity(source).map(|entity| money_in(&entity, amount)).unwrap_or_default();
    let payment = entity("payment").and_then(|payment| payment.id("id")).filter(|id| is_path_segment(id));
    Ok(Event {
        provider: Provider::Razorpay,
        id: format!("{kind}:{subject}:{created_at}"),
        reference: Some(payment.clone().unwrap_or(subject)),
        lookup: payment.map(|id| format!("v1/payments/{id}")),
        money,
        kind,
    })
}

/// The money of a payment by itself, as the API gives it.
pub fn money(payment: &Node<'_>) -> Money {
    money_in(payment, "amount")
}

fn money_in(entity: &Node<'_>, amount: &str) -> Money {
    Money {
        amount: entity.first(&[amount]),
        currency: entity.first(&["currency"]),
        status: entity.first(&["status"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<Event, Refusal> {
        event(&Node::root(&body))
    }

    #[test]
    fn a_captured_payment_is_read() {
        let event = read(json!({"entity": "event", "event": "payment.captured", "created_at": 1_567_674_606,
            "payload": {"payment": {"entity":
                {"id": "pay_1", "amount": 50_000, "currency": "INR", "status": "captured", "order_id": "order_1"}}}}))
        .unwrap();
        assert_eq!(event.id, "payment.captured:pay_1:1567674606");
        assert_eq!(event.lookup.as_deref(), Some("v1/payments/pay_1"));
        let amount = event.money.amount.unwrap();
        assert_eq!((&*amount.path, amount.minor_units()), ("payload.payment.entity.amount", Ok(50_000)));
    }

    #[test]
    fn a_paid_order_counts_what_was_paid() {
        let event = read(json!({"event": "order.paid", "created_at": 1, "payload": {
            "order": {"entity": {"id": "order_1", "amount": 9, "amount_paid": 8, "currency": "INR", "status": "paid"}},
            "payment": {"entity": {"id": "pay_1", "amount": 8, "status": "captured"}}}}))
        .unwrap();
        assert_eq!(event.id, "order.paid:order_1:1");
        assert_eq!(event.money.amount.unwrap().minor_units(), Ok(8));
        assert_eq!(event.money.status.unwrap().text(), Ok("paid"));
        assert_eq!(event.reference.as_deref(), Some("pay_1"));
    }

    #[test]
    fn a_subscription_takes_its_money_from_the_payment_and_differs_each_period() {
        let charged = |at: u64| {
            read(json!({"event": "subscription.charged", "created_at": at, "payload": {
                "subscription": {"entity": {"id": "sub_1", "status": "active"}},
                "payment": {"entity": {"id": "pay_1", "amount": 5, "currency": "INR", "status": "captured"}}}}))
            .unwrap()
        };
        assert_eq!(charged(1).money.amount.unwrap().minor_units(), Ok(5));
        assert_ne!(charged(1).id, charged(2).id);
    }

    #[test]
    fn events_without_subject_or_time_are_refused() {
        let entity = json!({"payment": {"entity": {"id": "pay_1"}}});
        for body in [
            json!({"event": "payment.captured", "created_at": 1}),
            json!({"event": "payment.captured", "created_at": 1, "payload": {"order": {"entity": {"id": "o"}}}}),
            json!({"event": "payment.captured", "payload": entity}),
            json!({"event": "payment.captured", "created_at": 1.5, "payload": entity}),
        ] {
            assert!(read(body.clone()).is_err(), "{body}");
        }
    }
}
