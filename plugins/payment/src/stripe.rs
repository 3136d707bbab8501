//! Where things stand in Stripe's events: `data.object` is the object that the event is about, and its kind
//! says which of its several amounts is the money.

use crate::event::{Event, Money, Node, is_path_segment};
use crate::provider::Provider;
use crate::refusal::Refusal;

/// Reads an event.
///
/// # Errors
/// [`Refusal::Event`] when it has no id or type.
pub fn event(root: &Node<'_>) -> Result<Event, Refusal> {
    let id = root.text("id")?.to_owned();
    let kind = root.text("type")?.to_owned();
    let object = root.get("data.object");
    Ok(Event {
        provider: Provider::Stripe,
        id,
        kind,
        reference: object.as_ref().and_then(|object| {
            object.id("payment_intent").or_else(|| object.id("payment_intent.id")).or_else(|| object.id("id"))
        }),
        lookup: object.as_ref().and_then(lookup),
        money: object.as_ref().map(money).unwrap_or_default(),
    })
}

/// The money of one object, as events and the API give it. Its kind decides which of its amounts counts: what
/// arrived and what was asked for differ after a partial capture, and only the first is money.
pub fn money(object: &Node<'_>) -> Money {
    let captured = object.first(&["captured"]).is_some_and(|captured| captured.value == true);
    let succeeded = object.text("status") == Ok("succeeded");
    let (amount, status): (&[&str], &str) = match family(object) {
        // A session is "complete" also while a bank transfer is under way; only payment_status is about money.
        "checkout.session" => (&["amount_total"], "payment_status"),
        "payment_intent" if succeeded => (&["amount_received", "amount"], "status"),
        "charge" if captured => (&["amount_captured", "amount"], "status"),
        "invoice" => (&["amount_paid"], "status"),
        _ => (&["amount"], "status"),
    };
    Money {
        amount: object.first(amount),
        currency: object.first(&["currency"]),
        status: object.first(&[status]),
    }
}

fn family<'a>(object: &Node<'a>) -> &'a str {
    object.text("object").unwrap_or_default()
}

/// The payment intent where there is one, a charge by itself where there is not (charges made without intents).
fn lookup(object: &Node<'_>) -> Option<String> {
    let own = |wanted: &str| {
        if family(object) == wanted { object.id("id") } else { None }
    };
    let intent = own("payment_intent")
        .or_else(|| object.id("payment_intent"))
        .or_else(|| object.id("payment_intent.id"))
        .filter(|id| is_path_segment(id));
    match intent {
        Some(id) => Some(format!("v1/payment_intents/{id}")),
        None => own("charge").filter(|id| is_path_segment(id)).map(|id| format!("v1/charges/{id}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &str, object: Value) -> Event {
        let body = json!({"id": "evt_1", "object": "event", "type": kind, "data": {"object": object}});
        event(&Node::root(&body)).unwrap()
    }

    fn paid(event: &Event) -> (Option<u64>, Option<&str>) {
        let amount = event.money.amount.as_ref().map(|amount| amount.minor_units().unwrap());
        (amount, event.money.status.as_ref().map(|status| status.text().unwrap()))
    }

    #[test]
    fn a_checkout_session_counts_its_total_and_payment_status() {
        let event = read(
            "checkout.session.completed",
            json!({"object": "checkout.session", "id": "cs_1", "amount_total": 5000, "amount_subtotal": 4000,
                   "currency": "usd", "status": "complete", "payment_status": "unpaid", "payment_intent": "pi_1"}),
        );
        assert_eq!(paid(&event), (Some(5000), Some("unpaid")));
        assert_eq!(event.reference.as_deref(), Some("pi_1"));
        assert_eq!(event.lookup.as_deref(), Some("v1/payment_intents/pi_1"));
        assert_eq!(event.money.amount.unwrap().path, "data.object.amount_total");
    }

    #[test]
    fn a_payment_intent_counts_what_was_received() {
        let object = |status: &str| {
            json!({"object": "payment_intent", "id": "pi_2", "amount": 900, "amount_received": 700,
                   "currency": "eur", "status": status})
        };
        assert_eq!(
            paid(&read("payment_intent.succeeded", object("succeeded"))),
            (Some(700), Some("succeeded"))
        );
        let held = read("payment_intent.amount_capturable_updated", object("requires_capture"));
        assert_eq!(paid(&held), (Some(900), Some("requires_capture")));
        assert_eq!(held.lookup.as_deref(), Some("v1/payment_intents/pi_2"));
    }

    #[test]
    fn a_charge_counts_what_was_captured_and_can_be_looked_up_without_an_intent() {
        let event = read(
            "charge.succeeded",
            json!({"object": "charge", "id": "ch_1", "amount": 900, "amount_captured": 800, "captured": true,
                   "currency": "usd", "status": "succeeded", "payment_intent": null}),
        );
        assert_eq!(paid(&event), (Some(800), Some("succeeded")));
        assert_eq!(event.lookup.as_deref(), Some("v1/charges/ch_1"));
        assert_eq!(event.reference.as_deref(), Some("ch_1"));
        let held = json!({"object": "charge", "amount": 900, "amount_captured": 0, "captured": false});
        assert_eq!(paid(&read("charge.succeeded", held)), (Some(900), None));
    }

    #[test]
    fn expanded_intents_invoices_and_other_objects_are_read() {
        let expanded = json!({"object": "charge", "id": "ch_1", "payment_intent": {"id": "pi_9"}});
        assert_eq!(read("charge.updated", expanded).lookup.as_deref(), Some("v1/payment_intents/pi_9"));
        let invoice =
            json!({"object": "invoice", "id": "in_1", "amount_due": 9, "amount_paid": 7, "status": "paid"});
        let invoice = read("invoice.paid", invoice);
        assert_eq!((paid(&invoice), &invoice.lookup), ((Some(7), Some("paid")), &None));
        let refund = read("refund.created", json!({"object": "refund", "id": "re_1", "amount": 5}));
        assert_eq!(paid(&refund), (Some(5), None));
        let odd = read("charge.x", json!({"object": "charge", "id": "../x"}));
        assert_eq!(odd.lookup, None);
    }

    #[test]
    fn events_without_an_object_still_have_id_and_type() {
        let body =
            json!({"id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found"});
        let event = event(&Node::root(&body)).unwrap();
        assert_eq!((event.money, event.reference, event.lookup), (Money::default(), None, None));
    }
}
