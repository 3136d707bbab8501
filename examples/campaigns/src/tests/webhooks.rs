//! What comes in: believed only with a signature, counted once.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::*;
use crate::order::Which;
use crate::tally::{Counted, forget, tally};
use crate::webhook::{Delivery, Heard, webhook};

fn signed(body: &Value) -> Delivery {
    let body = body.to_string();
    let mac = Hmac::<Sha256>::new_from_slice(b"the app's secret").unwrap().chain_update(&body).finalize();
    Delivery { signature: Some(format!("sha256={}", hex::encode(mac.into_bytes()))), body }
}

fn hear(host: &Host, delivery: Delivery) -> Result<Heard, Failure> {
    host.run(webhook, testing::job(delivery))
}

fn statuses(statuses: &[(&str, &str)]) -> Value {
    let statuses: Vec<Value> = statuses
        .iter()
        .map(
            |(status, about)| json!({ "id": "wamid.1", "status": status, "biz_opaque_callback_data": about }),
        )
        .collect();
    json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [{ "field": "messages", "value": { "statuses": statuses } }] }] })
}

fn written(id: &str, from: &str, text: &str) -> Value {
    let message = json!({ "id": id, "from": from, "type": "text", "text": { "body": text } });
    json!({ "entry": [{ "changes": [{ "value": { "messages": [message] } }] }] })
}

#[test]
fn only_what_the_provider_signed_is_believed() {
    let (host, _) = host();
    let news = statuses(&[("sent", "sale/1001/0")]);
    let forged = Delivery { body: statuses(&[("read", "sale/1001/0")]).to_string(), ..signed(&news) };
    let unsigned = Delivery { signature: None, ..signed(&news) };
    let odd = Delivery { signature: Some("sha256=zz".into()), ..signed(&news) };
    for delivery in [forged, unsigned, odd] {
        let Err(Failure::Fatal(reason)) = hear(&host, delivery) else { panic!() };
        assert!(reason.starts_with("bad signature: "), "{reason}");
    }
    assert_eq!(state(&host, 0), State::Open);
    assert_eq!(hear(&host, signed(&news)), Ok(Heard { statuses: 1, ..Heard::default() }));
    assert_eq!(state(&host, 0), State::Sent);
}

#[test]
fn statuses_come_twice_and_out_of_order_and_count_once() {
    let (host, _) = host();
    let news = statuses(&[
        ("read", "sale/1001/0"),
        ("sent", "sale/1001/0"),
        ("delivered", "sale/1001/1"),
        ("sent", "order 7"),
        ("warmed", "sale/1001/1"),
    ]);
    assert_eq!(hear(&host, signed(&news)), Ok(Heard { statuses: 2, repeats: 1, others: 2, messages: 0 }));
    assert_eq!(hear(&host, signed(&news)), Ok(Heard { statuses: 0, repeats: 3, others: 2, messages: 0 }));
    let counted =
        || testing::job(Counted { campaign: "sale".into(), numbers: BTreeMap::from([("1001".into(), 2)]) });
    let now = host.run(tally, counted()).unwrap();
    assert_eq!((now.sent, now.delivered, now.read, now.waiting), (2, 2, 1, 0));
    host.run(forget, counted()).unwrap();
    assert_eq!(host.run(tally, counted()).unwrap().waiting, 2, "forgotten");
}

#[test]
fn a_status_tells_what_became_of_an_uncertain_message() {
    let (host, answers) = host();
    answers.borrow_mut().insert("100100000".into(), Err(HttpError::Timeout));
    send(&host, &message(0, 0), 1).unwrap_err();
    assert_eq!(state(&host, 0), State::Uncertain);
    hear(&host, signed(&statuses(&[("delivered", "sale/1001/0")]))).unwrap();
    assert_eq!(state(&host, 0), State::Delivered);
    assert!(host.logs().iter().any(|line| line.contains("sale/1001/0 was uncertain")));
}

#[test]
fn what_people_write_is_handed_on_once() {
    let (host, _) = host();
    let news = written("wamid.A", "491", "hello");
    assert_eq!(hear(&host, signed(&news)).unwrap().messages, 1);
    assert_eq!(hear(&host, signed(&news)), Ok(Heard { repeats: 1, ..Heard::default() }));
    let handed_on = host.enqueued();
    assert_eq!(handed_on.len(), 1);
    assert_eq!((&*handed_on[0].queue, &*handed_on[0].id), ("inbox", "in-wamid.A"));
}

#[test]
fn who_says_stop_is_not_written_to_until_they_say_start() {
    let (host, _) = host();
    hear(&host, signed(&written("wamid.A", "100100000", " Stop "))).unwrap();
    assert_eq!(send(&host, &message(0, 0), 1).unwrap().state, "skipped");
    assert_eq!((asked(&host), state(&host, 0)), (0, State::Skipped));
    hear(&host, signed(&written("wamid.B", "100100001", "STOP"))).unwrap();
    hear(&host, signed(&written("wamid.C", "100100001", "start"))).unwrap();
    assert_eq!(send(&host, &message(1, 0), 1).unwrap().state, "sent");
}

#[test]
fn the_whole_plugin_takes_jobs_by_name() {
    let (host, _) = host();
    let job = testing::json(&Which { campaign: "sale".into() }).name("pause");
    assert_eq!(host.dispatch(&crate::PLUGIN, job).as_deref(), Ok(&br#"{"paused":true,"round":1}"#[..]));
    let job = testing::json(&json!({ "body": "{}" })).name("webhook");
    let failure = host.dispatch(&crate::PLUGIN, job).unwrap_err();
    assert_eq!(failure, Failure::fatal("bad signature: the request had no X-Hub-Signature-256"));
}
