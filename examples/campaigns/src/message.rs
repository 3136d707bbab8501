//! Sending one message, at most once.
//!
//! The ledger has the message as *asked* before the provider is, and as what it answered afterwards. An attempt that
//! finds *asked* comes after one that ended in between, with its host for example: nobody knows whether that message went
//! out, so it is not sent again but told as uncertain, until a status of the provider's says more.

use std::time::Duration;

use jobcell_sdk::http::Request;
use jobcell_sdk::prelude::*;
use jobcell_sdk::{HostError, context};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::ledger::{Ledger, Marked};
use crate::notes;
use crate::order::Order;
use crate::patience::{in_a_while, outlast};
use crate::provider::{self, ANSWER_WITHIN, Answer};
use crate::state::State;

/// Pause before another try when the store is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What a campaign enqueues for each recipient.
#[derive(Clone, Deserialize, Serialize)]
pub struct Message {
    /// Which one it is.
    #[serde(flatten)]
    pub address: Address,
    /// Of which round of the campaign; see [`crate::order`].
    pub round: u32,
    /// The recipient's number.
    pub to: String,
    /// What is sent.
    pub template: Template,
    /// What is filled in, in order.
    pub parameters: Vec<String>,
    /// What the attempt before could not write down, because the store was away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// A template that Meta has approved.
#[derive(Clone, Deserialize, Serialize)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// As Meta spells it: `en_US`.
    pub language: String,
}

/// What there is to write down of a message: the letter it should have, or the capital that an attempt left although it
/// did not ask, to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Heard {
    letter: char,
    note: String,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// In a word; `held` when its campaign was paused before it began.
    pub state: &'static str,
    /// The provider's id of the message, or why it was not sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Job `message`.
#[handler]
pub fn message(job: Job<Message>) -> Result<Ended, Failure> {
    let ledger = Ledger::open()?;
    send(&ledger, job).map_err(|failure| outlast(failure, PAUSE))
}

fn send(ledger: &Ledger, job: Job<Message>) -> Result<Ended, Failure> {
    let (starts, mut message) = (job.starts, job.data);
    if let Some(heard) = message.heard.take() {
        if let Some(ended) = write_late(ledger, &message, heard)? {
            return ended;
        }
        // Said once: a later attempt of the same mark must not take it for its own.
        context::update_data(&message)?;
    }
    let order = Order::of(ledger.bucket(), &message.address.campaign)?;
    if order.paused || order.round != message.round {
        return Ok(Ended { state: "held", note: String::new() });
    }
    if notes::wants_none(ledger.bucket(), &message.to)? {
        return write(ledger, message, State::Skipped, "the recipient wants no messages".to_owned());
    }
    // Before the mark: what is missing here is no question that was asked.
    let request = provider::request(&message)?;
    let asked = State::asked_by(message.round, starts);
    match ledger.mark(&message.address, asked) {
        Ok(Marked::Was(_)) => conclude(ledger, message, asked, request),
        // Another job of this message, of the round before a pause, is about to hear.
        Ok(Marked::Stays(State::Asked(_))) if starts == 1 => Err(in_a_while(2 * ANSWER_WITHIN)),
        Ok(Marked::Stays(State::Asked(_))) => {
            write(ledger, message, State::Uncertain, "an attempt before ended before the answer".to_owned())
        }
        Ok(Marked::Stays(state)) => Ok(Ended { state: state.word(), note: String::new() }),
        // The mark may be there, and this attempt knows that it does not ask.
        Err(error) => Err(keep(message, Heard { letter: asked.letter().into(), note: String::new() }, error)),
    }
}

/// Asks, and does what the answer means.
fn conclude(ledger: &Ledger, message: Message, asked: State, request: Request) -> Result<Ended, Failure> {
    let failure = match provider::ask(request) {
        Ok(Answer::Taken(id)) => return write(ledger, message, State::Sent, id.unwrap_or_default()),
        Ok(Answer::Refused(reason)) => return write(ledger, message, State::Failed, reason),
        Ok(Answer::Unknown(reason)) => return write(ledger, message, State::Uncertain, reason),
        Ok(Answer::Crowded(rest)) => in_a_while(rest),
        Ok(Answer::Rest(rest, reason)) => {
            notes::rest(ledger.bucket(), &message.address.number, rest);
            context::log(format!("the number rests for {rest:?}: {reason}"));
            Failure::RateLimited(rest)
        }
        // Not granted, or no request at all: the configuration is at fault, and the message may go out when it is mended.
        Err(refusal) => refusal.into(),
    };
    match ledger.take_back(&message.address, asked) {
        Ok(_) => Err(failure),
        Err(error) => Err(keep(message, Heard { letter: asked.letter().into(), note: String::new() }, error)),
    }
}

/// Writes down what is known now.
fn write(ledger: &Ledger, message: Message, state: State, note: String) -> Result<Ended, Failure> {
    let heard = Heard { letter: state.letter().into(), note };
    match ledger.mark(&message.address, state) {
        Ok(_) => ended(state, heard.note),
        Err(error) => Err(keep(message, heard, error)),
    }
}

/// Where the store cannot take it now, the job keeps it and comes again: its host writes a job's end as soon as the store
/// is back.
fn keep(mut message: Message, heard: Heard, error: HostError) -> Failure {
    if error.is_permanent() {
        return error.into();
    }
    message.heard = Some(heard);
    match context::update_data(&message) {
        Ok(()) => error.into(),
        Err(fault) => fault.into(),
    }
}

/// Writes down what an attempt before could not. None when it had not asked: the message is to go out.
fn write_late(
    ledger: &Ledger,
    message: &Message,
    heard: Heard,
) -> Result<Option<Result<Ended, Failure>>, HostError> {
    let state = State::of(u8::try_from(heard.letter).unwrap_or_default());
    if matches!(state, State::Asked(_)) {
        ledger.take_back(&message.address, state)?;
        return Ok(None);
    }
    ledger.mark(&message.address, state)?;
    Ok(Some(ended(state, heard.note)))
}

/// The job's end: what went out or was not to go out is done, the rest is for people to see among the failed jobs.
fn ended(state: State, note: String) -> Result<Ended, Failure> {
    match state {
        State::Failed => Err(Failure::Fatal(note)),
        State::Uncertain => Err(Failure::Fatal(format!(
            "uncertain: {note}. The message may have gone out, so it is not sent again; a status of the provider's tells"
        ))),
        state => Ok(Ended { state: state.word(), note }),
    }
}
