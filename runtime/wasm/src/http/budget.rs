//! What is left of an attempt's HTTP limits, and where its requests went.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jobcell_core::receipt::{Destinations, Near, Receipt};

use crate::limits::HttpLimits;

/// What is left of an attempt's HTTP limits. Shared with the tasks that send.
pub(crate) struct Budget {
    limits: HttpLimits,
    requests: AtomicU32,
    slots: AtomicU32,
    upload: AtomicU64,
    download: AtomicU64,
    notes: Mutex<Notes>,
}

/// For the receipt.
#[derive(Default)]
struct Notes {
    destinations: Destinations,
    /// Limits that refused something.
    refused: Vec<Near>,
}

/// A request on its way; its place is free again when its response has been read or given up.
pub(crate) struct Slot(Arc<Budget>);

/// Which limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    Requests,
    Concurrent,
}

const REQUESTS: &str = "http.requests";
const CONCURRENT: &str = "http.concurrent";
const UPLOAD: &str = "http.upload";
const DOWNLOAD: &str = "http.download";

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limits: &HttpLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            requests: AtomicU32::new(limits.requests),
            slots: AtomicU32::new(limits.concurrent),
            upload: AtomicU64::new(limits.upload),
            download: AtomicU64::new(limits.download),
            notes: Mutex::default(),
        })
    }

    /// Takes one request and a place for it.
    ///
    /// # Errors
    /// Which of the two is used up.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Slot, Spent> {
        let one_more = |limit: u32| u64::from(limit) + 1;
        if take_one(&self.slots).is_none() {
            self.refuse(CONCURRENT, one_more(self.limits.concurrent), self.limits.concurrent.into());
            return Err(Spent::Concurrent);
        }
        let slot = Slot(Arc::clone(self));
        if take_one(&self.requests).is_none() {
            self.refuse(REQUESTS, one_more(self.limits.requests), self.limits.requests.into());
            return Err(Spent::Requests);
        }
        Ok(slot)
    }

    /// Takes bytes to send; false when so many are not left.
    pub(crate) fn upload(&self, bytes: usize) -> bool {
        self.take(&self.upload, bytes, UPLOAD, self.limits.upload)
    }

    /// Bytes that can still be sent.
    pub(crate) fn upload_left(&self) -> usize {
        usize::try_from(self.upload.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Takes bytes to receive; false when so many are not left.
    pub(crate) fn download(&self, bytes: usize) -> bool {
        self.take(&self.download, bytes, DOWNLOAD, self.limits.download)
    }

    /// Notes that a request with so long a body leaves for this host; what comes back is noted under the index.
    pub(crate) fn departed(&self, host: &str, sent: usize) -> usize {
        let mut notes = self.notes();
        let index = notes.destinations.index(host);
        if let Some(destination) = notes.destinations.get_mut(index) {
            destination.requests = destination.requests.saturating_add(1);
            destination.sent += sent as u64;
        }
        index
    }

    /// Notes bytes of a response's body.
    pub(crate) fn received(&self, destination: usize, bytes: usize) {
        if let Some(destination) = self.notes().destinations.get_mut(destination) {
            destination.received += bytes as u64;
        }
    }

    /// Adds where requests went, and the limits that were nearly used up.
    pub(crate) fn write_receipt(&self, receipt: &mut Receipt) {
        let HttpLimits { requests, upload, download, .. } = self.limits;
        receipt.note(REQUESTS, u64::from(requests - self.requests.load(Ordering::Relaxed)), requests.into());
        receipt.note(UPLOAD, upload - self.upload.load(Ordering::Relaxed), upload);
        receipt.note(DOWNLOAD, download - self.download.load(Ordering::Relaxed), download);
        let notes = self.notes();
        for note in &notes.refused {
            Near::keep(&mut receipt.near, note.clone());
        }
        receipt.destinations = notes.destinations.clone();
    }

    fn take(&self, left: &AtomicU64, bytes: usize, name: &'static str, of: u64) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| left.checked_sub(bytes);
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => true,
            Err(left) => {
                self.refuse(name, (of - left).saturating_add(bytes), of);
                false
            }
        }
    }

    fn refuse(&self, name: &'static str, used: u64, of: u64) {
        Near::keep(&mut self.notes().refused, Near { name: name.into(), used, of });
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        // Every change leaves the notes whole, so a panic elsewhere cannot have broken them.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn the_receipt_tells_where_requests_went_and_what_was_refused() {
        let limits =
            HttpLimits { requests: 5, concurrent: 2, upload: 10, download: 100, ..HttpLimits::default() };
        let budget = Budget::new(&limits);
        for _ in 0..4 {
            drop(budget.start().ok());
        }
        assert!(budget.upload(8) && !budget.upload(3) && budget.download(50));
        for (host, sent, received) in [("a.io:443", 3, 20), ("b.io:80", 5, 1), ("a.io:443", 0, 29)] {
            let at = budget.departed(host, sent);
            budget.received(at, received);
        }
        let mut receipt = Receipt::default();
        budget.write_receipt(&mut receipt);
        let gone: Vec<_> = receipt
            .destinations
            .iter()
            .map(|to| (to.host.as_str(), to.requests, to.sent, to.received))
            .collect();
        assert_eq!(gone, [("a.io:443", 2, 3, 49), ("b.io:80", 1, 5, 1)]);
        let near: Vec<_> = receipt.near.iter().map(|near| (near.name.as_ref(), near.used, near.of)).collect();
        assert_eq!(near, [("http.requests", 4, 5), ("http.upload", 11, 10)]);
    }
}
