//! A donation as the team's database and overlays see it.

use serde::{Deserialize, Serialize};

/// What the team's API is told to save, and what is broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The team's own id of the donation, given when the donor went to pay.
    pub donation: String,
    /// Whose stream it is for.
    pub streamer: String,
    /// The donor's name, as typed.
    pub donor: String,
    /// What the donor wrote.
    pub message: String,
    /// Minor units; what was paid, not what was announced.
    pub amount: u64,
    /// ISO 4217, in upper case.
    pub currency: String,
    /// The provider's event: the same for every delivery of it, so the team's table keeps it unique.
    pub event: String,
    /// The provider's id of the payment, where the event has one.
    pub payment: Option<String>,
    /// The donor's picture at every width; empty where there is none.
    pub pictures: Vec<Picture>,
    /// Why there is no picture although the donor sent one.
    pub degraded: Option<String>,
}

/// One thumbnail in the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// In the bucket's folder.
    pub key: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}
