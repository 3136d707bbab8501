//! Reading a queue's event stream, over connections that may block.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobcell_core::store::StoredEvent;
use jobcell_core::{QueueName, StoreError};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

use super::BullStore;
use crate::connect::ConnectOptions;
use crate::error;
use crate::reply;

/// Entries one call returns.
const ENTRIES_MAX: usize = 1000;
/// Connections kept for the next reader; more readers than that open their own each time.
const IDLE_MAX: usize = 8;
/// How much longer than asked an answer may take before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(1);

/// Connections for blocking reads. One serves one reader at a time; a reader that is dropped takes its own along.
#[derive(Clone)]
pub(super) struct Readers {
    options: ConnectOptions,
    idle: Arc<Mutex<Vec<MultiplexedConnection>>>,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self { options, idle: Arc::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    /// Runs a command that blocks for at most `wait`.
    async fn call(&self, cmd: &redis::Cmd, wait: Duration) -> Result<Value, StoreError> {
        let idle = self.idle().pop();
        let reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.options.open(None).await?,
        };
        let mut reply = answer(&mut connection, cmd, wait).await;
        if reused && matches!(&reply, Some(Err(e)) if error::is_broken(e)) {
            // It broke while nobody used it. Reading twice does no harm.
            connection = self.options.open(None).await?;
            reply = answer(&mut connection, cmd, wait).await;
        }
        let Some(reply) = reply else {
            let address = self.options.address();
            return Err(StoreError::Unavailable(format!(
                "redis at {address} stopped answering; connecting anew"
            )));
        };
        let value = reply.map_err(|e| error::of_store(&self.options.address(), &e))?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(value)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("idle", &self.idle().len()).finish_non_exhaustive()
    }
}

async fn answer(
    connection: &mut MultiplexedConnection,
    cmd: &redis::Cmd,
    wait: Duration,
) -> Option<RedisResult<Value>> {
    tokio::time::timeout(wait + GRACE, cmd.query_async::<Value>(connection)).await.ok()
}

impl BullStore {
    pub(super) async fn newest_event(&self, queue: &QueueName) -> Result<String, StoreError> {
        let keys = self.keys(queue);
        let mut cmd = redis::cmd("XREVRANGE");
        cmd.arg(keys.of("events")).arg("+").arg("-").arg("COUNT").arg(1);
        let entries = match self.redis.call(&cmd).await {
            Ok(entries) => entries,
            Err(e) => return Err(self.explain(e, &keys, &[]).await),
        };
        Ok(decode(entries)?.pop().map_or_else(|| "0-0".to_owned(), |event| event.id))
    }

    pub(super) async fn events_after(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(ENTRIES_MAX);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(3_600_000);
        if wait_ms > 0 {
            // None would be for ever to Redis.
            cmd.arg("BLOCK").arg(wait_ms);
        }
        cmd.arg("STREAMS").arg(self.keys(queue).of("events")).arg(after);
        let streams = reply::array(self.readers.call(&cmd, Duration::from_millis(wait_ms)).await?)?;
        match streams.into_iter().next() {
            None => Ok(Vec::new()),
            Some(stream) => {
                let [_, entries] = reply::tuple(stream)?;
                decode(entries)
            }
        }
    }
}

fn decode(entries: Value) -> Result<Vec<StoredEvent>, StoreError> {
    let entries = reply::array(entries)?.into_iter().map(|entry| {
        let [id, fields] = reply::tuple(entry)?;
        let mut fields = reply::pairs(fields)?;
        let event = fields.iter().position(|(key, _)| key == "event").map(|i| fields.remove(i).1);
        Ok(StoredEvent { id: reply::text(id)?.unwrap_or_default(), event: event.unwrap_or_default(), fields })
    });
    entries.collect()
}
