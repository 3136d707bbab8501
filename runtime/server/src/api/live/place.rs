//! Where a client is: the last event of each of its queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobcell_core::QueueName;

use crate::api::page::cursor;
use crate::problem::Problem;

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    /// In order.
    pub(super) queues: Arc<[QueueName]>,
    /// Of each queue.
    last: Vec<Option<Arc<str>>>,
}

// === impl Place ===

impl Place {
    /// Nowhere yet. The queues are in order, each once.
    pub(super) fn new(queues: Arc<[QueueName]>) -> Self {
        Self { last: vec![None; queues.len()], queues }
    }

    /// Moves on. False when it is not one of the queues.
    pub(super) fn reach(&mut self, queue: &QueueName, event: Arc<str>) -> bool {
        let Ok(at) = self.queues.binary_search(queue) else { return false };
        self.last[at] = Some(event);
        true
    }

    /// As it is handed to the client.
    pub(super) fn text(&self) -> Option<String> {
        let of_queues = self.queues.iter().zip(&self.last);
        let place: BTreeMap<&str, &str> =
            of_queues.filter_map(|(queue, last)| Some((queue.as_str(), last.as_deref()?))).collect();
        cursor(&place)
    }
}

/// What a client sends back.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let place = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
    place.ok_or_else(|| {
        Problem::bad_request(
            "Last-Event-ID is not one that this stream gave; leave it out to hear what comes from now on",
        )
    })
}
