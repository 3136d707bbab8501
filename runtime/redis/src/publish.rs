//! The publish capability over Redis.

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::publish::{PublishError, Publisher};

use crate::error;
use crate::link::Redis;

/// `PUBLISH` on the channel of the same name.
#[derive(Debug, Clone)]
pub struct RedisPublisher {
    redis: Redis,
}

// === impl RedisPublisher ===

impl RedisPublisher {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), PublishError> {
        let sent = self.redis.call(redis::cmd("PUBLISH").arg(channel).arg(&message[..])).await;
        sent.map(drop).map_err(|e| PublishError {
            channel: channel.to_owned(),
            cause: format!("redis at {}: {}", self.redis.address(), error::describe(&e)),
        })
    }
}
