//! Live messages within this process: the back end of the `publish` capability when there is no Redis.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::publish::{PublishError, Publisher};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Messages that one channel holds for its slowest listener. One that lags further misses the oldest.
const LAG_MAX: usize = 1024;

/// Hands messages to whoever listens in this process. Clones share the channels.
#[derive(Clone, Default)]
pub struct InProcessPublisher {
    channels: Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>,
}

/// Listens to one channel.
pub struct Subscription {
    receiver: broadcast::Receiver<Bytes>,
}

/// What a [`Subscription`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Bytes),
    /// The listener was too slow and missed so many.
    Missed(u64),
    /// Nobody can publish any more.
    Closed,
}

impl InProcessPublisher {
    fn channels(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Bytes>>> {
        // Every change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Subscription {
        let mut channels = self.channels();
        // Channels that nobody listens to any more go when somebody comes, so that their number is bounded by listeners.
        channels.retain(|_, sender| sender.receiver_count() > 0);
        let sender = channels.entry(channel.to_owned()).or_insert_with(|| broadcast::Sender::new(LAG_MAX));
        Subscription { receiver: sender.subscribe() }
    }
}

#[async_trait]
impl Publisher for InProcessPublisher {
    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), PublishError> {
        if let Some(sender) = self.channels().get(channel) {
            // An error says that nobody listens, which is no fault.
            let _ = sender.send(message);
        }
        Ok(())
    }
}

impl Subscription {
    /// The next message. Cancel safe.
    pub async fn next(&mut self) -> Received {
        match self.receiver.recv().await {
            Ok(message) => Received::Message(message),
            Err(RecvError::Lagged(missed)) => Received::Missed(missed),
            Err(RecvError::Closed) => Received::Closed,
        }
    }
}
