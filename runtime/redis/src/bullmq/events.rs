//! Reading a queue's event stream, over connections that may block.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobcell_core::store::StoredEvent;
use jobcell_core::{QueueName, StoreError};
use redis::Value;

use super::BullStore;
use crate::connect::CONNECT_TIMEOUT;
use crate::error;
use crate::link::{Broken, Redis, Seated};
use crate::reply;

/// Entries one call returns.
const ENTRIES_MAX: usize = 1000;
/// Connections kept for the next reader; more readers than that open their own each time.
const IDLE_MAX: usize = 8;
/// What `CLIENT LIST` shows.
const NAME: &str = "jobcell:events";

/// Connections for blocking reads. One serves one reader at a time; a reader that is dropped takes its own along.
#[derive(Clone, Default)]
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Seated>>>,
}

// === impl Readers ===

impl Readers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Seated>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Runs a command on this key that blocks for at most `wait`.
    async fn call(
        &self,
        redis: &Redis,
        key: &str,
        cmd: &redis::Cmd,
        wait: Duration,
    ) -> Result<Value, StoreError> {
        // Those that lead elsewhere by now are dropped.
        let idle = {
            let mut idle = self.idle();
            idle.retain(|open| redis.is_current(open));
            let fits = idle.iter().position(|open| redis.is_seated(open, key));
            fits.map(|place| idle.swap_remove(place))
        };
        let reused = idle.is_some();
        let mut open = match idle {
            Some(open) => open,
            None => redis.seated(key, NAME, CONNECT_TIMEOUT).await?,
        };
        let mut reply = redis.block(&open, key, cmd, wait).await;
        if reply.is_err() && reused {
            // It broke while nobody used it. Reading twice does no harm.
            open = redis.seated(key, NAME, CONNECT_TIMEOUT).await?;
            reply = redis.block(&open, key, cmd, wait).await;
        }
        let value = reply.map_err(|broken| match broken {
            Broken::Elsewhere => redis.error(&error::unsent("another server has the queue now")),
            Broken::Failed(e) => e,
        })?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(open);
        }
        Ok(value)
    }

    /// The entries of a stream of events after this one; waits for the first.
    pub(crate) async fn events(
        &self,
        redis: &Redis,
        key: &str,
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
        cmd.arg("STREAMS").arg(key).arg(after);
        let streams = reply::array(self.call(redis, key, &cmd, Duration::from_millis(wait_ms)).await?)?;
        match streams.into_iter().next() {
            None => Ok(Vec::new()),
            Some(stream) => {
                let [_, entries] = reply::tuple(stream)?;
                decode(entries)
            }
        }
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("idle", &self.idle().len()).finish_non_exhaustive()
    }
}

impl BullStore {
    pub(super) async fn newest_event(&self, queue: &QueueName) -> Result<String, StoreError> {
        let keys = self.keys(queue);
        match self.redis.call(&newest(&keys.of("events"))).await {
            Ok(entries) => id_of_newest(entries),
            Err(e) => Err(self.explain(e, &keys, &[]).await),
        }
    }

    pub(super) async fn events_after(
        &self,
        queue: &QueueName,
        after: &str,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.readers.events(&self.redis, &self.keys(queue).of("events"), after, wait).await
    }
}

/// Asks for the newest entry of a stream of events.
pub(crate) fn newest(key: &str) -> redis::Cmd {
    let mut cmd = redis::cmd("XREVRANGE");
    cmd.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    cmd
}

/// The id in the answer to [`newest`].
pub(crate) fn id_of_newest(entries: Value) -> Result<String, StoreError> {
    Ok(decode(entries)?.pop().map_or_else(|| "0-0".to_owned(), |event| event.id))
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
