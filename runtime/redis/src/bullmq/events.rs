//! Reading a queue's event stream, over connections that may block.

use std::time::Duration;

use jobcell_core::store::StoredEvent;
use jobcell_core::{QueueName, StoreError};
use redis::Value;

use super::BullStore;
use crate::link::{Readers, Redis};
use crate::reply;

/// Entries one call returns.
const ENTRIES_MAX: usize = 1000;
/// What `CLIENT LIST` shows of the connections that read events.
pub(crate) const READERS: &str = "jobcell:events";

impl Readers {
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
