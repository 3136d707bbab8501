//! Everything the runtime can say about itself, as one type: logs and metrics are both made from it, so that they
//! cannot disagree.

use std::sync::Arc;
use std::time::Duration;

use crate::names::{JobId, QueueName};
use crate::outcome::StopCause;
use crate::runner::Receipt;
use crate::store::Refusal;
use crate::trace::{Begins, Trace, TraceId};

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "made on the stack and heard by reference; a box would cost each attempt"
)]
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
        /// When the host ended it or it broke; the job may have been given back all the same.
        stop: Option<StopCause>,
        /// The attempt's number.
        attempt: u64,
        /// What it cost.
        receipt: Receipt,
        /// The trace it was followed by.
        trace: Option<TraceId>,
    },
    /// The end of an attempt was not written; its result is dropped. [`Event::Ended`] came before it all the same.
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
    /// A job whose lock had run out is waiting again: its worker vanished, or was cut off from the store.
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
    /// A kept result was looked for, for an attempt ([`crate::results`]).
    Results {
        /// The handler.
        handler: String,
        /// What came of it.
        found: Found,
    },
    /// A handler changed while the host runs. What it starts with is no change.
    Swapped {
        /// The handler.
        handler: String,
        /// How.
        kind: SwapKind,
    },
}

/// What came of looking for a kept result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// There was one: nothing was run.
    Hit,
    /// There was none: the attempt runs.
    Miss,
    /// Another job computes it: this one was given back for a moment.
    Wait,
    /// Not looked for: the producer asked for a fresh one, or the job has no content to look by. The attempt runs.
    Bypass,
    /// The cache did not answer. The attempt runs.
    Error,
}

impl Found {
    /// Everything that can come of it.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Wait, Self::Bypass, Self::Error];

    /// As a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Wait => "wait",
            Self::Bypass => "bypass",
            Self::Error => "error",
        }
    }
}

/// How a handler of a running host changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwapKind {
    /// It is new.
    Load,
    /// Another version takes its jobs.
    Change,
    /// It is gone.
    Remove,
    /// A part of its jobs goes to another version.
    Canary,
    /// The version that had a part of its jobs has all of them.
    Promote,
    /// The version before takes its jobs again, or the one on trial takes no more: somebody, or the numbers, said so.
    Rollback,
    /// A version broke so often that none of its jobs goes there any more.
    Quarantine,
}

// === impl SwapKind ===

impl SwapKind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::Load,
        Self::Change,
        Self::Remove,
        Self::Canary,
        Self::Promote,
        Self::Rollback,
        Self::Quarantine,
    ];

    /// What leads from one version to the other, where none is no handler. None when there is nothing on either side.
    #[must_use]
    pub fn between(from: Option<&str>, to: Option<&str>) -> Option<Self> {
        match (from, to) {
            (None, Some(_)) => Some(Self::Load),
            (Some(_), Some(_)) => Some(Self::Change),
            (Some(_), None) => Some(Self::Remove),
            (None, None) => None,
        }
    }

    /// As a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Change => "change",
            Self::Remove => "remove",
            Self::Canary => "canary",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Quarantine => "quarantine",
        }
    }
}

/// Hears every [`Event`]. Called on the hot path: must not block.
pub trait Observer: Send + Sync + 'static {
    /// Takes note.
    fn on(&self, event: &Event);

    /// An attempt begins: what follows it through the host. Nobody by default. Called on the hot path: must not block.
    fn follow(&self, _: &Begins<'_>) -> Option<Arc<dyn Trace>> {
        None
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_named_by_what_was_and_what_is() {
        let kind = |from, to| SwapKind::between(from, to).map(SwapKind::as_str);
        assert_eq!(kind(None, Some("b")), Some("load"));
        assert_eq!(kind(Some("a"), Some("b")), Some("change"));
        assert_eq!(kind(Some("a"), None), Some("remove"));
        assert_eq!(kind(None, None), None);
    }
}
