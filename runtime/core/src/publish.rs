//! The port behind the `publish` capability: tell whoever listens now.

use async_trait::async_trait;
use bytes::Bytes;

/// Nothing is kept: a message nobody listens to is gone.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Sends the message. A dropped future may or may not have sent it.
    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), PublishError>;
}

/// The message was not sent.
#[derive(Debug, thiserror::Error)]
#[error("channel {channel:?} cannot be reached: {cause}")]
pub struct PublishError {
    /// Where to.
    pub channel: String,
    /// Why not.
    pub cause: String,
}
