//! The publish capability over Redis.

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::publish::{PublishError, Publisher};

use crate::error;
use crate::keys::literally;
use crate::link::Redis;
use crate::permissions::{Needs, Permissions};

/// `PUBLISH` on the channel of the same name.
#[derive(Debug, Clone)]
pub struct RedisPublisher {
    redis: Redis,
    permissions: Permissions,
}

/// What the user must be allowed to do to publish where a handler may: to this channel, or to all that begin as it says
/// before a `*` at its end.
pub(crate) fn needs(granted: &str) -> Needs {
    let (example, pattern) = match granted.strip_suffix('*') {
        Some(beginning) => (format!("{beginning}jobcell"), format!("{}*", literally(beginning))),
        None => (granted.to_owned(), literally(granted)),
    };
    let whose = format!("the grant to publish to {granted:?}");
    Needs::new(whose, &["PING", "PUBLISH c m"]).channel("c", example, &pattern)
}

// === impl RedisPublisher ===

impl RedisPublisher {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, permissions: Permissions::default() }
    }

    /// Why what a handler is granted (a channel, or a beginning followed by `*`) cannot be published to by this user,
    /// with the fix; none when it can be, or Redis cannot tell.
    pub async fn denied(&self, granted: &str) -> Option<String> {
        self.permissions.fault_anywhere(&self.redis, &needs(granted)).await
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
