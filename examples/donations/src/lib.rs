//! The handlers of the donations example.
//!
//! | job name | queue | does |
//! |---|---|---|
//! | `donation` | donationQueue | leads one donation through its steps, each a job of its own |
//! | `save-donation` | donationQueue | writes it to the team's database, through the team's API |
//!
//! The other steps are plugins: `verify-payment` (payment), `thumbnails` (media), `notify` (notification).
//!
//! A donation is in no cell while a step runs: it enqueues the step as its child, waits for it, and is run again with
//! what came of it. [`children`] reads that, [`donation`] decides what is next.

pub mod children;
pub mod donation;
pub mod record;
pub mod save;
#[cfg(test)]
mod tests;

jobcell_sdk::plugin!(donation::donation, save::save_donation);
