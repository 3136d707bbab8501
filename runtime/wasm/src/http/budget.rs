//! What is left of an attempt's HTTP limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::limits::HttpLimits;

/// What is left of an attempt's HTTP limits. Shared with the tasks that send.
pub(crate) struct Budget {
    requests: AtomicU32,
    slots: AtomicU32,
    upload: AtomicU64,
    download: AtomicU64,
}

/// A request on its way; its place is free again when its response has been read or given up.
pub(crate) struct Slot(Arc<Budget>);

/// Which limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    Requests,
    Concurrent,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limits: &HttpLimits) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU32::new(limits.requests),
            slots: AtomicU32::new(limits.concurrent),
            upload: AtomicU64::new(limits.upload),
            download: AtomicU64::new(limits.download),
        })
    }

    /// Takes one request and a place for it.
    ///
    /// # Errors
    /// Which of the two is used up.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Slot, Spent> {
        take_one(&self.slots).ok_or(Spent::Concurrent)?;
        let slot = Slot(Arc::clone(self));
        take_one(&self.requests).ok_or(Spent::Requests)?;
        Ok(slot)
    }

    /// Takes bytes to send; false when so many are not left.
    pub(crate) fn upload(&self, bytes: usize) -> bool {
        take(&self.upload, bytes)
    }

    /// Takes bytes to receive; false when so many are not left.
    pub(crate) fn download(&self, bytes: usize) -> bool {
        take(&self.download, bytes)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.fetch_add(1, Ordering::Relaxed);
    }
}

fn take_one(left: &AtomicU32) -> Option<u32> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()
}

fn take(left: &AtomicU64, bytes: usize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes as u64)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_requests_do_not() {
        let budget = Budget::new(&HttpLimits { requests: 2, concurrent: 1, ..HttpLimits::default() });
        let first = budget.start().ok();
        assert_eq!(budget.start().err(), Some(Spent::Concurrent));
        drop(first);
        drop(budget.start().ok());
        assert_eq!(budget.start().err(), Some(Spent::Requests));
        assert_eq!(budget.slots.load(Ordering::Relaxed), 1);
    }
}
