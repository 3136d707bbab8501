//! How a campaign stands: counted off the ledger.

use std::collections::BTreeMap;

use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::order::Order;
use crate::state::State;

/// How a campaign stands. `sent + failed + uncertain + skipped + waiting` is always `recipients`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub recipients: u32,
    /// Taken by the provider, whatever became of them since.
    pub sent: u32,
    /// Of the sent ones: on a phone.
    pub delivered: u32,
    /// Of the delivered ones: read.
    pub read: u32,
    /// Refused by the provider, at once or later.
    pub failed: u32,
    /// May have been sent; not sent again.
    pub uncertain: u32,
    /// Not sent because the recipient does not want messages.
    pub skipped: u32,
    /// Neither sent nor given up.
    pub waiting: u32,
}

/// Which campaign is meant, and how large it is: the payload of `campaign` will do.
#[derive(Deserialize, Serialize)]
pub struct Counted {
    /// The team's name of it.
    pub campaign: String,
    /// Its recipients, by the number that writes to them.
    pub numbers: BTreeMap<String, u32>,
}

/// Job `tally`: also for a campaign that has ended, because statuses go on coming for days.
#[handler]
pub fn tally(job: Job<Counted>) -> Result<Tally, Failure> {
    let ledger = Ledger::open()?;
    let mut tally = Tally::default();
    for (number, &recipients) in &job.data.numbers {
        tally.add(&ledger.read(&job.data.campaign, number, recipients)?);
    }
    Ok(tally)
}

/// Job `forget`: removes what is known of a campaign, once its statuses are of no interest any more. Never of one that
/// still sends.
#[handler]
pub fn forget(job: Job<Counted>) -> Result<(), Failure> {
    let ledger = Ledger::open()?;
    for (number, &recipients) in &job.data.numbers {
        ledger.forget(&job.data.campaign, number, recipients)?;
    }
    Ok(Order::forget(ledger.bucket(), &job.data.campaign)?)
}

impl Tally {
    /// Counts these in.
    pub fn add(&mut self, states: &[State]) {
        for state in states {
            self.recipients += 1;
            match state {
                State::Open | State::Asked(_) => self.waiting += 1,
                State::Uncertain => self.uncertain += 1,
                State::Failed => self.failed += 1,
                State::Skipped => self.skipped += 1,
                State::Sent => self.sent += 1,
                State::Delivered => (self.sent, self.delivered) = (self.sent + 1, self.delivered + 1),
                State::Read => {
                    (self.sent, self.delivered, self.read) =
                        (self.sent + 1, self.delivered + 1, self.read + 1);
                }
            }
        }
    }
}
