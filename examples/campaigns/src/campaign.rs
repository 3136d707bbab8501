//! A campaign: one job that lives until every recipient is accounted for.
//!
//! It works in *turns*. In each it counts how the campaign stands, tells its progress, puts as many further messages on
//! the queues of the numbers as these have room for, and gives itself back for a second, which uses no attempt. So the
//! queues are short however long the list is: two campaigns of one number take turns, a pause has little to take back,
//! and Redis does not hold a hundred thousand jobs for hours.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_sdk::jobs::{self, Backoff, Options};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{HostError, context, time};
use serde::{Deserialize, Serialize};

use crate::address::{Address, is_name, is_number};
use crate::ledger::Ledger;
use crate::message::{Message, Template};
use crate::order::Order;
use crate::patience::{in_a_while, outlast};
use crate::state::State;
use crate::tally::Tally;
use crate::{notes, recipients, settings};

/// Between two turns.
const TURN: Duration = Duration::from_secs(1);
/// Between two looks of a campaign that is held: the longest that `resume` takes to show.
const HELD: Duration = Duration::from_secs(2);
/// Between two tries when something is away.
const PAUSE: Duration = Duration::from_secs(2);
/// After so many turns without a change, messages have left their queues unsent: somebody drained one, or they broke their
/// cells. Longer than any attempt with its recovery takes; doubles each time that it was of no use.
const STUCK_TURNS: u32 = 120;

/// What the team's back end enqueues. The last member is the handler's own.
#[derive(Clone, Deserialize, Serialize)]
pub struct Campaign {
    /// The team's name of it, never used before: letters, digits, `-`, `_`, `.`.
    pub campaign: String,
    /// What is sent.
    pub template: Template,
    /// How many recipients each business number writes to.
    pub numbers: BTreeMap<String, u32>,
    /// How far it is.
    #[serde(default)]
    turn: Turn,
}

/// How far a campaign is. It is a matter of speed only: what was sent stands in the ledger.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Turn {
    round: u32,
    /// Places of each number that were put on its queue, this being the first that was not.
    fed: BTreeMap<String, u32>,
    /// Unsettled messages, and for how many turns there have been as many.
    waiting: u32,
    idle: u32,
    /// How often in a row they were put on their queues again for that.
    refed: u32,
}

/// What its progress says.
#[derive(Serialize)]
struct Progress<'a> {
    #[serde(flatten)]
    tally: Tally,
    percent: u64,
    paused: bool,
    /// Numbers that the provider told to wait, with the time, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resting: BTreeMap<&'a str, u64>,
}

/// Whether a turn had to stop early.
#[derive(PartialEq, Eq)]
enum Fed {
    /// The queues have what they have room for.
    Enough,
    /// This attempt may enqueue no more.
    Spent,
}

/// Job `campaign`; answers how it stands when nothing is left to send.
#[handler]
pub fn campaign(job: Job<Campaign>) -> Result<Tally, Failure> {
    let mut campaign = job.data;
    campaign.validate()?;
    let ledger = Ledger::open()?;
    campaign.take_turn(&ledger).map_err(|failure| outlast(failure, PAUSE))
}

impl Campaign {
    fn validate(&self) -> Result<(), Failure> {
        if !is_name(&self.campaign) {
            return Err(Failure::invalid("campaign: 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        match self.numbers.keys().find(|number| !is_number(number)) {
            Some(number) => {
                Err(Failure::invalid(format!("numbers: `{number}` is no id of a business number")))
            }
            None => Ok(()),
        }
    }

    fn take_turn(&mut self, ledger: &Ledger) -> Result<Tally, Failure> {
        let order = Order::of(ledger.bucket(), &self.campaign)?;
        let mut states = BTreeMap::new();
        let mut tally = Tally::default();
        for (number, &recipients) in &self.numbers {
            let known = ledger.read(&self.campaign, number, recipients)?;
            tally.add(&known);
            states.insert(number.clone(), known);
        }
        let resting = self.resting(ledger)?;
        let settled = u64::from(tally.recipients - tally.waiting);
        let percent = 100 * settled / u64::from(tally.recipients).max(1);
        context::progress(&Progress { tally, percent, paused: order.paused, resting: resting.clone() })?;
        if tally.waiting == 0 {
            return Ok(tally);
        }
        if order.paused {
            return Err(in_a_while(HELD));
        }
        let is_resting = !resting.is_empty();
        if order.round != self.turn.round || self.turn.fed.is_empty() {
            self.rewind(order.round, &states);
        }
        if self.is_stuck(tally.waiting, is_resting) {
            let order = self.unstick(ledger, &states)?;
            self.rewind(order.round, &states);
        }
        let fed = self.feed(ledger, &states);
        // Also when the back end went away half-way: what is on a queue is not put there again.
        context::update_data(self)?;
        match fed? {
            Fed::Enough => Err(in_a_while(TURN)),
            Fed::Spent => Err(Failure::Requeue),
        }
    }

    /// Numbers that rest now.
    fn resting(&self, ledger: &Ledger) -> Result<BTreeMap<&str, u64>, HostError> {
        let mut resting = BTreeMap::new();
        for number in self.numbers.keys() {
            let until = notes::rests_until(ledger.bucket(), number)?;
            if until > time::now_ms() {
                resting.insert(number.as_str(), until);
            }
        }
        Ok(resting)
    }

    /// Has nothing moved for so long that messages must have been lost from their queues?
    fn is_stuck(&mut self, waiting: u32, is_resting: bool) -> bool {
        let turn = &mut self.turn;
        if waiting != turn.waiting {
            (turn.waiting, turn.idle, turn.refed) = (waiting, 0, 0);
        }
        turn.idle = if is_resting { 0 } else { turn.idle + 1 };
        if turn.idle <= STUCK_TURNS << turn.refed.min(5) {
            return false;
        }
        (turn.idle, turn.refed) = (0, turn.refed + 1);
        true
    }

    /// Settles what nobody can be asking any more, and begins another round.
    fn unstick(&self, ledger: &Ledger, states: &BTreeMap<String, Vec<State>>) -> Result<Order, Failure> {
        context::log("nothing has moved for long: what is not sent is put on the queues again");
        for (number, states) in states {
            for (place, _) in (0..).zip(states).filter(|(_, state)| matches!(state, State::Asked(_))) {
                ledger.mark(&self.message(number, place), State::Uncertain)?;
            }
        }
        Ok(Order::update(ledger.bucket(), &self.campaign, |order| Order { round: order.round + 1, ..order })?)
    }

    /// Goes on from the first message of each number that is not sent.
    fn rewind(&mut self, round: u32, states: &BTreeMap<String, Vec<State>>) {
        self.turn.round = round;
        self.turn.fed = states
            .iter()
            .map(|(number, states)| {
                let first =
                    (0..).zip(states).find(|(_, state)| **state == State::Open).map(|(place, _)| place);
                (number.clone(), first.unwrap_or(self.numbers[number]))
            })
            .collect();
    }

    /// Puts messages on the queue of each number, up to the window.
    fn feed(&mut self, ledger: &Ledger, states: &BTreeMap<String, Vec<State>>) -> Result<Fed, Failure> {
        let window = settings::window()?;
        for (number, states) in states {
            let fed = self.turn.fed.get(number).copied().unwrap_or(0);
            let on_the_way = (0..fed).zip(states).filter(|(_, state)| !state.is_settled()).count();
            let room = window.saturating_sub(u32::try_from(on_the_way).unwrap_or(u32::MAX));
            if self.feed_number(ledger, number, states, room)? == Fed::Spent {
                return Ok(Fed::Spent);
            }
        }
        Ok(Fed::Enough)
    }

    fn feed_number(
        &mut self,
        ledger: &Ledger,
        number: &str,
        states: &[State],
        mut room: u32,
    ) -> Result<Fed, Failure> {
        let recipients = u32::try_from(states.len()).unwrap_or(u32::MAX);
        let mut fed = self.turn.fed.get(number).copied().unwrap_or(0);
        while room > 0 && fed < recipients {
            for recipient in recipients::page(&self.campaign, number, fed, room.min(recipients - fed))? {
                if states[fed as usize] == State::Open {
                    match self.feed_one(ledger, number, fed, recipient) {
                        Ok(is_queued) => room -= u32::from(is_queued),
                        Err(HostError::Quota(_)) => return Ok(Fed::Spent),
                        Err(error) => return Err(error.into()),
                    }
                }
                fed += 1;
                self.turn.fed.insert(number.to_owned(), fed);
            }
        }
        Ok(Fed::Enough)
    }

    /// Answers whether there is one more on the queue: who wants no messages takes no room there.
    fn feed_one(
        &self,
        ledger: &Ledger,
        number: &str,
        place: u32,
        recipient: recipients::Recipient,
    ) -> Result<bool, HostError> {
        let address = self.message(number, place);
        if recipient.opted_out {
            return ledger.mark(&address, State::Skipped).map(|_| false);
        }
        // The same id for the same message: what a turn that broke off had put on the queue is not put there twice.
        let id = format!("{}-{number}-{place}-{}", self.campaign, self.turn.round);
        let options = Options {
            id: Some(id),
            attempts: Some(3),
            backoff: Some(Backoff::Exponential(Duration::from_secs(1))),
            ..Options::default()
        };
        let message = Message {
            address,
            round: self.turn.round,
            to: recipient.to,
            template: self.template.clone(),
            parameters: recipient.parameters,
            heard: None,
        };
        jobs::enqueue(&format!("messages-{number}"), "message", &message, &options).map(|_| true)
    }

    fn message(&self, number: &str, place: u32) -> Address {
        Address { campaign: self.campaign.clone(), number: number.to_owned(), place }
    }
}
