//! Where things stand in Meta's deliveries: `entry[].changes[]`, or `entry[].messaging[]` for pages. One
//! delivery can hold several; none of them carries money.

use std::collections::BTreeSet;

use crate::event::{Event, Money, Node, body_digest};
use crate::provider::Provider;
use crate::refusal::Refusal;

/// Reads a delivery. Its type is the field that changed, e.g. `messages`; several different ones are joined by
/// commas in alphabetical order, so that an expectation of one is not met by a mixture.
///
/// # Errors
/// [`Refusal::Event`] when it has no entries, or an entry without changes.
pub fn event(root: &Node<'_>, body: &[u8]) -> Result<Event, Refusal> {
    root.text("object")?;
    let entries = root.list("entry");
    let mut kinds = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let fields: Vec<&str> = match (Node::root(entry).list("changes"), Node::root(entry).list("messaging"))
        {
            ([], []) => return Err(Refusal::Event(format!("`entry[{index}]` has no changes"))),
            ([], _) => vec!["messaging"],
            (changes, _) => {
                changes.iter().map(|change| Node::root(change).text("field")).collect::<Result<_, _>>()?
            }
        };
        kinds.extend(fields);
    }
    if kinds.is_empty() {
        return Err(Refusal::Event("it has no `entry`".into()));
    }
    let kind = kinds.into_iter().collect::<Vec<_>>().join(",");
    Ok(Event {
        provider: Provider::Meta,
        id: format!("{kind}:{}", body_digest(body)),
        kind,
        reference: message_id(root),
        lookup: None,
        money: Money::default(),
    })
}

/// The WhatsApp message that the delivery is about, received or reported on; the first where there are several.
fn message_id(root: &Node<'_>) -> Option<String> {
    let entries = root.list("entry").iter();
    entries.flat_map(|entry| Node::root(entry).list("changes")).find_map(|change| {
        let change = Node::root(change);
        let first = |list: &str| change.list(list).first().and_then(|item| Node::root(item).id("id"));
        first("value.messages").or_else(|| first("value.statuses"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<Event, Refusal> {
        event(&Node::root(&body), body.to_string().as_bytes())
    }

    #[test]
    fn a_message_is_read() {
        let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
            {"field": "messages", "value": {"messages": [{"id": "wamid.A", "type": "text"}]}}]}]});
        let event = read(body).unwrap();
        assert_eq!((&*event.kind, event.reference.as_deref()), ("messages", Some("wamid.A")));
        assert!(event.id.starts_with("messages:sha256-"));
        assert_eq!((event.money, event.lookup), (Money::default(), None));
    }

    #[test]
    fn a_status_report_names_its_message_and_a_page_has_messaging() {
        let status = json!({"object": "whatsapp_business_account", "entry": [{"changes": [
            {"field": "messages", "value": {"statuses": [{"id": "wamid.B", "status": "read"}]}}]}]});
        assert_eq!(read(status).unwrap().reference.as_deref(), Some("wamid.B"));
        let page = json!({"object": "page", "entry": [{"messaging": [{"message": {}}]}]});
        assert_eq!(read(page).unwrap().kind, "messaging");
    }

    #[test]
    fn mixtures_are_named_as_such() {
        let body = json!({"object": "x", "entry": [
            {"changes": [{"field": "messages"}, {"field": "flows"}]}, {"changes": [{"field": "messages"}]}]});
        assert_eq!(read(body).unwrap().kind, "flows,messages");
    }

    #[test]
    fn deliveries_without_changes_are_refused() {
        for body in [
            json!({"object": "page"}),
            json!({"object": "page", "entry": []}),
            json!({"object": "page", "entry": [{}]}),
            json!({"object": "page", "entry": [{"changes": [{}]}]}),
            json!({"entry": [{"changes": [{"field": "messages"}]}]}),
        ] {
            assert!(read(body.clone()).is_err(), "{body}");
        }
    }
}
