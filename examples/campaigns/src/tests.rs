//! Whole campaigns against a host in memory, and the webhooks that come of them.

mod campaigns;
mod messages;
mod webhooks;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jobcell_sdk::http::{HttpError, Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::testing::{self, Host};
use serde_json::{Value, json};

use crate::ledger::{BUCKET, Ledger};
use crate::message::{Ended, Message};
use crate::state::State;

const NOW: u64 = 1_800_000_000_000;
const GRAPH: &str = "https://graph.example/v23.0";
const APP: &str = "http://app.internal:3000";
const NUMBERS: [&str; 2] = ["1001", "1002"];

/// What the provider is to answer, by recipient; others are taken.
type Answers = Rc<RefCell<BTreeMap<String, Result<Response, HttpError>>>>;

/// A host with both far ends: the provider, and the team's back end with as many recipients as it is asked for. The
/// recipient at a place of a number is called by both: `1001` and `00017`.
fn host() -> (Host, Answers) {
    let answers = Answers::default();
    let told = Rc::clone(&answers);
    let host = Host::new()
        .at(NOW)
        .bucket(BUCKET)
        .cache()
        .config("graph", GRAPH)
        .config("app", APP)
        .config("window", "10")
        .secret(crate::provider::TOKEN, "a-token")
        .secret(crate::recipients::TOKEN, "b-token")
        .secret(crate::webhook::SECRET, "the app's secret")
        .enqueues("messages-1001")
        .enqueues("messages-1002")
        .enqueues(crate::webhook::INBOX)
        .on_request(move |request| match request.url.starts_with(APP) {
            true => Ok(recipients(request)),
            false => {
                let body: Value = request.body_json()?;
                let to = body["to"].as_str().unwrap_or_default();
                told.borrow().get(to).cloned().unwrap_or_else(|| Ok(taken(to)))
            }
        });
    (host, answers)
}

fn taken(to: &str) -> Response {
    Response::new(200).with_json(&json!({ "messages": [{ "id": format!("wamid.{to}") }] }))
}

fn recipients(request: &Request) -> Response {
    let (_, query) = request.url.split_once('?').unwrap();
    let query: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let (from, limit): (u32, u32) = (query["from"].parse().unwrap(), query["limit"].parse().unwrap());
    let page: Vec<Value> = (from..from + limit)
        .map(|place| json!({ "to": format!("{}{place:05}", query["number"]), "parameters": ["Ada"], "optedOut": place == 3 }))
        .collect();
    Response::new(200).with_json(&page)
}

fn message(place: u32, round: u32) -> Value {
    json!({
        "campaign": "sale", "number": "1001", "place": place, "round": round, "to": format!("1001{place:05}"),
        "template": { "name": "spring", "language": "en_US" }, "parameters": ["Ada"],
    })
}

fn send(host: &Host, payload: &Value, starts: u32) -> Result<Ended, Failure> {
    let payload: Message = serde_json::from_value(payload.clone()).unwrap();
    host.run(crate::message::message, testing::job(payload).starts(starts))
}

fn state(host: &Host, place: u32) -> State {
    host.within(|| Ledger::open().unwrap().read("sale", "1001", place + 1).unwrap()[place as usize])
}

/// Requests to the provider.
fn asked(host: &Host) -> usize {
    host.requests().iter().filter(|request| request.url.starts_with(GRAPH)).count()
}
