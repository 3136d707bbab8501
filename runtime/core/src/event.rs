//! Everything the runtime can say about itself, as one type: logs and metrics are both made from it, so that they
//! cannot disagree.

use std::time::Duration;

use crate::names::{JobId, QueueName};
use crate::outcome::StopCause;
use crate::runner::Receipt;
use crate::store::Refusal;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A job was claimed and starts.
    Started {
        /// The queue.
        queue: QueueName,
        /// From when it could have started (made, or due) to now.
        waited: Duration,
    },
    /// An attempt ended.
    Ended {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
        /// The handler, `-` when none was found.
        handler: String,
        /// Its version.
        version: String,
        /// [`crate::Outcome::label`].
        outcome: &'static str,
        /// When the host ended it or it broke.
        stop: Option<StopCause>,
        /// The attempt's number.
        attempt: u64,
        /// What it cost.
        receipt: Receipt,
    },
    /// A finish was not accepted; the result is dropped.
    Refused {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
        /// Why.
        refusal: Refusal,
    },
    /// A lock could not be renewed; its attempt is cancelled.
    LockLost {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
    },
    /// A job of a vanished worker is waiting again.
    Stalled {
        /// The queue.
        queue: QueueName,
        /// The job.
        id: JobId,
    },
    /// A call to the store was answered.
    StoreCall {
        /// The verb.
        verb: &'static str,
        /// How long it took.
        took: Duration,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A guest was refused something.
    Denied {
        /// The handler.
        handler: String,
        /// The capability.
        capability: &'static str,
    },
}

/// Hears every [`Event`]. Called on the hot path: must not block.
pub trait Observer: Send + Sync + 'static {
    /// Takes note.
    fn on(&self, event: &Event);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&self, _: &Event) {}
}
