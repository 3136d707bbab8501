//! What lies beside a queue: jobs that somebody put where no worker of the queue looks.

use serde::Serialize;

/// What lies beside a queue; see [`Admin::elsewhere`](super::Admin::elsewhere).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Elsewhere {
    /// Where else jobs wait under the queue's name.
    pub strays: Vec<Stray>,
    /// Which client last opened the queue to add jobs, as it says itself: `bullmq:6.7.0`. None where none has said so.
    pub written_by: Option<String>,
    /// Jobs in the list that BullMQ 5 keeps those of a paused queue in, and BullMQ 6 does not.
    pub parked: u64,
    /// Jobs in the list that BullMQ 6 keeps them in, paused or not.
    pub unparked: u64,
    /// Keys of the queue that hold something else, a sentence each.
    pub misused: Vec<String>,
    /// Whether everything was looked at: a store that is large or slow is looked at in part.
    pub whole: bool,
}

/// Jobs that wait under the queue's name where its workers do not look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stray {
    /// Where.
    pub place: StrayPlace,
    /// How many wait there.
    pub waiting: u64,
}

/// Where jobs wait that nobody looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StrayPlace {
    /// Under another prefix of keys.
    Prefix(String),
    /// In another database of the same server.
    Database(u32),
    /// In a plain list of this key, where a queue in BullMQ's layout is expected.
    List(String),
    /// In BullMQ's layout as a queue of this name, where a plain list is expected.
    BullMq(String),
}
