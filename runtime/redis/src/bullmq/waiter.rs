//! Waiting for work: a connection of its own that blocks on the queue's marker.

use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::StoreError;
use jobcell_core::store::{Waiter, Wake};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

use crate::connect::{ConnectError, ConnectOptions};
use crate::error;
use crate::link::Backoff;
use crate::reply;

/// The shortest wait: Redis before 7.0.8 takes 1 ms for no limit at all.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// How much longer than asked an answer may take before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(1);

/// Blocks on the marker of one queue.
pub(super) struct MarkerWaiter {
    options: ConnectOptions,
    marker: String,
    client_name: String,
    /// Taken for as long as a call is under way, so that a dropped call takes its connection along: it could otherwise
    /// swallow a marker that nobody hears of.
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

// === impl MarkerWaiter ===

impl MarkerWaiter {
    pub(super) async fn connect(
        options: ConnectOptions,
        marker: String,
        client_name: String,
    ) -> Result<Self, ConnectError> {
        let connection = open(&options, &client_name).await?;
        Ok(Self { options, marker, client_name, connection: Some(connection), backoff: Backoff::default() })
    }

    async fn connected(&mut self) -> Result<MultiplexedConnection, StoreError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let pause = self.backoff.next_pause();
        // At once the first time: what broke may be no more than this connection.
        if self.backoff.tries() > 1 {
            tokio::time::sleep(pause).await;
        }
        Ok(open(&self.options, &self.client_name).await?)
    }
}

/// The name makes the worker visible to BullMQ's `getWorkers`; a user that may not set it works all the same.
async fn open(options: &ConnectOptions, name: &str) -> Result<MultiplexedConnection, ConnectError> {
    let mut connection = options.open(None).await?;
    let named: RedisResult<()> =
        redis::cmd("CLIENT").arg("SETNAME").arg(name).query_async(&mut connection).await;
    if let Err(e) = named {
        tracing::debug!(name, cause = %error::describe(&e), "the worker's connection has no name");
    }
    Ok(connection)
}

#[async_trait]
impl Waiter for MarkerWaiter {
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError> {
        let timeout = timeout.max(WAIT_MIN);
        let mut connection = self.connected().await?;
        let mut cmd = redis::cmd("BZPOPMIN");
        cmd.arg(&self.marker).arg(timeout.as_secs_f64());
        let reply = tokio::time::timeout(timeout + GRACE, cmd.query_async::<Value>(&mut connection)).await;
        let address = self.options.address();
        let Ok(reply) = reply else {
            return Err(StoreError::Unavailable(format!(
                "redis at {address} stopped answering; connecting anew"
            )));
        };
        let popped = reply.map_err(|e| error::of_store(&address, &e))?;
        self.backoff.reset();
        self.connection = Some(connection);
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
