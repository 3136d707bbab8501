//! The back end of a team that sends WhatsApp campaigns: the webhooks that come in, and the campaigns that go out.
//!
//! | job | on | does |
//! |---|---|---|
//! | `webhook` | `webhook-processing` | proves the signature, records what became of messages, hands on what people wrote |
//! | `campaign` | `campaign-sender` | feeds the queues of the business numbers until every recipient is accounted for |
//! | `pause` · `resume` | `campaign-sender` | holds one campaign, and lets it go on |
//! | `tally` | `campaign-sender` | counts a campaign, also after it has ended |
//! | `forget` | `campaign-sender` | removes what is known of a campaign |
//! | `message` | `messages-<number>` | sends one message, at most once |
//!
//! Everything that must not be forgotten stands in one bucket ([`ledger`]): a letter for each message, which is written
//! before the provider is asked and again when it has answered. Tallies are not counters that could miss something:
//! they are counted off these letters, so that they always add up to the recipients.
//!
//! How fast a number sends is no concern of this code: each number has a queue of its own with a `rate`, and a 429 rests
//! that queue.

pub mod address;
pub mod campaign;
pub mod ledger;
pub mod message;
pub mod notes;
pub mod order;
pub mod patience;
pub mod provider;
pub mod recipients;
pub mod settings;
pub mod state;
pub mod tally;
pub mod webhook;

#[cfg(test)]
mod tests;

jobcell_sdk::plugin!(
    webhook::webhook,
    campaign::campaign,
    order::pause,
    order::resume,
    tally::tally,
    tally::forget,
    message::message,
);
