//! Holding one campaign and letting it go on.
//!
//! The order of a campaign stands in the bucket, where every message looks before it is sent. A pause makes all messages
//! that are on their way void by raising the *round*; they leave their queues unsent, without waiting anywhere. When the
//! campaign goes on it is fed again, in the new round, from the first message that was not sent.

use jobcell_sdk::HostError;
use jobcell_sdk::kv::Bucket;
use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::address::is_name;
use crate::ledger::Ledger;

/// What is ordered for a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Nothing of it is to be sent now.
    pub paused: bool,
    /// Messages of other rounds than this one are void.
    pub round: u32,
}

/// Which campaign is meant.
#[derive(Deserialize, Serialize)]
pub struct Which {
    /// The team's name of it.
    pub campaign: String,
}

/// Job `pause`: when it has completed, no further message of the campaign is begun. Pausing twice is fine.
#[handler]
pub fn pause(job: Job<Which>) -> Result<Order, Failure> {
    change(&job.data, |order| match order.paused {
        true => order,
        false => Order { paused: true, round: order.round + 1 },
    })
}

/// Job `resume`: the campaign goes on where it was, within the seconds after which a held campaign looks again.
#[handler]
pub fn resume(job: Job<Which>) -> Result<Order, Failure> {
    change(&job.data, |order| Order { paused: false, ..order })
}

fn change(which: &Which, change: impl Fn(Order) -> Order) -> Result<Order, Failure> {
    if !is_name(&which.campaign) {
        return Err(Failure::invalid("campaign: 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    Ok(Order::update(Ledger::open()?.bucket(), &which.campaign, change)?)
}

impl Order {
    /// The order that stands; none was ever given: send.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn of(bucket: &Bucket, campaign: &str) -> Result<Self, HostError> {
        Ok(Self::read(bucket.get(&key(campaign))?.as_deref()))
    }

    /// Gives another order, in one atomic step.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn update(bucket: &Bucket, campaign: &str, change: impl Fn(Self) -> Self) -> Result<Self, HostError> {
        let written = bucket.update(&key(campaign), |order| {
            let order = change(Self::read(order.as_deref()));
            let paused = if order.paused { "paused" } else { "running" };
            format!("{paused} {}", order.round).into_bytes()
        })?;
        Ok(Self::read(Some(&written)))
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn forget(bucket: &Bucket, campaign: &str) -> Result<(), HostError> {
        bucket.delete(&key(campaign))
    }

    fn read(text: Option<&[u8]>) -> Self {
        let text = text.map(String::from_utf8_lossy).unwrap_or_default();
        match text.split_once(' ') {
            Some((word, round)) => Self { paused: word == "paused", round: round.parse().unwrap_or(0) },
            None => Self::default(),
        }
    }
}

fn key(campaign: &str) -> String {
    format!("{campaign}/order")
}
