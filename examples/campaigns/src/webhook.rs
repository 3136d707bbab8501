//! What the provider tells: what became of messages, and what people write.
//!
//! The team's web server puts the request on the queue as it came and answers at once. Only here is the signature proved,
//! with a key that stays in the host.

use std::time::Duration;

use jobcell_sdk::jobs::{self, Options};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{cache, context, secrets};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::Address;
use crate::ledger::{Ledger, Marked};
use crate::notes;
use crate::patience::outlast;
use crate::state::State;

/// The secret that signs: the app's.
pub const SECRET: &str = "whatsapp-app-secret";
/// Where what people write is handed on to.
pub const INBOX: &str = "inbox";
/// How long a message that came in is known; the provider repeats its webhooks for up to a week.
const SEEN: Duration = Duration::from_secs(8 * 86_400);
/// Pause before another try when the store is away.
const PAUSE: Duration = Duration::from_secs(1);
/// Words, in small letters, of people who want no further messages, and who want them again.
const STOP: &[&str] = &["stop", "unsubscribe"];
const START: &[&str] = &["start", "subscribe"];

/// A request as the web server received it.
#[derive(Deserialize, Serialize)]
pub struct Delivery {
    /// Header `X-Hub-Signature-256`; absent where the request had none.
    #[serde(default)]
    pub signature: Option<String>,
    /// The body, byte for byte: parsed and written again it has another signature.
    pub body: String,
}

/// What was in it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Statuses of campaigns' messages that said something new.
    pub statuses: u32,
    /// Messages of people, handed on.
    pub messages: u32,
    /// Either, known before.
    pub repeats: u32,
    /// Statuses of messages that no campaign sent, and kinds of news that are not for us.
    pub others: u32,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    value: News,
}

#[derive(Default, Deserialize)]
struct News {
    #[serde(default)]
    statuses: Vec<Status>,
    #[serde(default)]
    messages: Vec<Value>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    biz_opaque_callback_data: String,
}

/// Job `webhook`.
#[handler]
pub fn webhook(job: Job<Delivery>) -> Result<Heard, Failure> {
    prove(&job.data)?;
    let envelope: Envelope =
        serde_json::from_str(&job.data.body).or_fatal("the signed body is no webhook")?;
    let ledger = Ledger::open()?;
    record(&ledger, envelope).map_err(|failure| outlast(failure, PAUSE))
}

fn prove(delivery: &Delivery) -> Result<(), Failure> {
    let signature =
        delivery.signature.as_deref().or_fatal("bad signature: the request had no X-Hub-Signature-256")?;
    let mac = signature.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok());
    let mac = mac.or_fatal("bad signature: X-Hub-Signature-256 is not `sha256=` and hex digits")?;
    match secrets::verify_hmac(SECRET, secrets::Algorithm::Sha256, &delivery.body, mac)? {
        true => Ok(()),
        false => Err(Failure::fatal("bad signature: it was not made from this body with the app's secret")),
    }
}

fn record(ledger: &Ledger, envelope: Envelope) -> Result<Heard, Failure> {
    let mut heard = Heard::default();
    for change in envelope.entry.into_iter().flat_map(|entry| entry.changes) {
        let News { statuses, messages } = change.value;
        if statuses.is_empty() && messages.is_empty() {
            heard.others += 1;
        }
        for status in statuses {
            heard.note_status(ledger, &status)?;
        }
        for message in messages {
            heard.take_in(ledger, &message)?;
        }
    }
    Ok(heard)
}

impl Heard {
    /// Writes into the ledger what became of a message. Whatever comes twice or too late changes nothing there.
    fn note_status(&mut self, ledger: &Ledger, status: &Status) -> Result<(), Failure> {
        let state = match &*status.status {
            "sent" => State::Sent,
            "delivered" => State::Delivered,
            "read" => State::Read,
            "failed" => State::Failed,
            _ => {
                self.others += 1;
                return Ok(());
            }
        };
        let Ok(message) = status.biz_opaque_callback_data.parse::<Address>() else {
            self.others += 1;
            return Ok(());
        };
        match ledger.mark(&message, state)? {
            Marked::Was(State::Uncertain) => {
                context::log(format!("{message} was uncertain; it is {}", state.word()));
                self.statuses += 1;
            }
            Marked::Was(_) => self.statuses += 1,
            Marked::Stays(_) => self.repeats += 1,
        }
        Ok(())
    }

    /// Hands on what a person wrote, once. Noted as seen only afterwards: an attempt that ends in between is repeated, and
    /// the job that it handed on has the same id.
    fn take_in(&mut self, ledger: &Ledger, message: &Value) -> Result<(), Failure> {
        let (Some(id), Some(from)) = (message["id"].as_str(), message["from"].as_str()) else {
            self.others += 1;
            return Ok(());
        };
        let seen = format!("seen/{id}");
        if cache::get(&seen)?.is_some() {
            self.repeats += 1;
            return Ok(());
        }
        let said = message["text"]["body"].as_str().unwrap_or_default().trim().to_lowercase();
        for (words, wants_none) in [(STOP, true), (START, false)] {
            if words.contains(&&*said) {
                notes::wish(ledger.bucket(), from, wants_none)?;
            }
        }
        let options = Options { id: Some(format!("in-{}", id.replace(':', "."))), ..Options::default() };
        jobs::enqueue(INBOX, "incoming", message, &options)?;
        cache::set(&seen, b"1", Some(SEEN))?;
        self.messages += 1;
        Ok(())
    }
}
