//! Waiting for work: a connection of its own that blocks on the queue's marker.

use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::StoreError;
use jobcell_core::store::{Waiter, Wake};
use redis::Value;

use crate::link::{Broken, Dedicated, Redis};
use crate::reply;

/// The shortest wait: Redis before 7.0.8 takes 1 ms for no limit at all.
const WAIT_MIN: Duration = Duration::from_millis(2);

/// Blocks on the marker of one queue.
pub(super) struct MarkerWaiter {
    connection: Dedicated,
    marker: String,
}

// === impl MarkerWaiter ===

impl MarkerWaiter {
    /// The name makes the worker visible to BullMQ's `getWorkers`.
    pub(super) async fn connect(
        redis: &Redis,
        marker: String,
        client_name: String,
    ) -> Result<Self, StoreError> {
        Ok(Self { connection: Dedicated::connect(redis, marker.clone(), client_name).await?, marker })
    }
}

#[async_trait]
impl Waiter for MarkerWaiter {
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError> {
        let timeout = timeout.max(WAIT_MIN);
        let mut cmd = redis::cmd("BZPOPMIN");
        cmd.arg(&self.marker).arg(timeout.as_secs_f64());
        let popped = match self.connection.call(&cmd, timeout).await {
            Ok(popped) => popped,
            // Work may be waiting with the server that has the queue now.
            Err(Broken::Elsewhere) => return Ok(Wake::TimedOut),
            Err(Broken::Failed(StoreError::Other(cause))) if cause.contains("WRONGTYPE") => {
                let marker = &self.marker;
                return Err(StoreError::Corrupt(format!(
                    "key {marker:?} holds something else than a zset; rename or delete it"
                )));
            }
            Err(Broken::Failed(e)) => return Err(e),
        };
        match reply::array(popped)?.as_slice() {
            [_, _, score] => Ok(wake(score)),
            _ => Ok(Wake::TimedOut),
        }
    }
}

/// The marker's score is when there is work, 0 for now. Other clients write fractions of a millisecond.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and times are whole"
)]
fn wake(score: &Value) -> Wake {
    let due = match score {
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()),
        Value::Double(due) => Some(*due),
        _ => None,
    };
    match due {
        Some(due) if due >= 1.0 => Wake::At(due as u64),
        _ => Wake::Now,
    }
}
