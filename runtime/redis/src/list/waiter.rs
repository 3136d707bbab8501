//! Waiting for work without taking it.
//!
//! A list has no marker beside it: producers push and that is all. `BLMOVE list list RIGHT RIGHT` blocks until there is
//! an item and then moves it from the right end to the right end, which changes nothing, so that nothing can be lost
//! between waking up and claiming. It wakes every idle worker of the queue; whoever claims first has the item.
//!
//! What does not show in the list (a queue that is resumed, a delayed item of another host) is asked for every second
//! on the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::StoreError;
use jobcell_core::store::{Waiter, Wake};
use redis::Value;
use tokio::time::{Instant, sleep};

use super::keys::ListKeys;
use crate::link::{Broken, Dedicated, Redis};
use crate::reply;

/// The longest block, and so the longest time until a delayed item is seen that another host put there.
const BLOCK_MAX: Duration = Duration::from_secs(1);
/// The shortest block: Redis before 7.0.8 takes 1 ms for no limit at all.
const BLOCK_MIN: Duration = Duration::from_millis(2);
/// Time between looks at a paused queue that has items.
const PAUSED_LOOK: Duration = Duration::from_millis(100);
/// What `CLIENT LIST` shows.
const NAME: &str = "jobcell:list";

/// Until when claims give nothing because of a rate limit: there are items all the same, and no reason to wake for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Instant>>>);

/// Waits for items of one list.
pub(super) struct ListWaiter {
    connection: Dedicated,
    redis: Redis,
    list: String,
    paused: String,
    delayed: String,
    rest: Rest,
    /// The due time that was told last: telling it again and again would be no wait.
    told: Option<u64>,
}

// === impl Rest ===

impl Rest {
    /// The answer of a claim.
    pub(super) fn begin(&self, rest: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rest.map(|rest| Instant::now() + rest);
    }

    fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

// === impl ListWaiter ===

impl ListWaiter {
    pub(super) async fn connect(redis: &Redis, keys: &ListKeys, rest: Rest) -> Result<Self, StoreError> {
        let list = keys.list().to_owned();
        Ok(Self {
            connection: Dedicated::connect(redis, list.clone(), NAME.to_owned()).await?,
            redis: redis.clone(),
            list,
            paused: keys.of("paused"),
            delayed: keys.of("delayed"),
            rest,
            told: None,
        })
    }

    /// Blocks until the list has an item. False when it has none for so long.
    async fn peek(&mut self, block: Duration) -> Result<bool, StoreError> {
        let block = block.max(BLOCK_MIN);
        let mut cmd = redis::cmd("BLMOVE");
        cmd.arg(&self.list).arg(&self.list).arg("RIGHT").arg("RIGHT").arg(block.as_secs_f64());
        match self.connection.call(&cmd, block).await {
            Ok(item) => Ok(item != Value::Nil),
            // Work may be waiting with the server that has the list now.
            Err(Broken::Elsewhere) => Ok(true),
            Err(Broken::Failed(e)) => Err(e),
        }
    }

    /// Whether the queue is paused, and when its next delayed item is due.
    async fn look(&self) -> Result<(bool, Option<u64>), StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("EXISTS").arg(&self.paused);
        pipe.cmd("ZRANGE").arg(&self.delayed).arg(0).arg(0).arg("WITHSCORES");
        let [paused, head] = reply::tuple(Value::Array(self.redis.call_all(&pipe).await?))?;
        Ok((reply::int(&paused)? == 1, reply::array(head)?.get(1).and_then(due)))
    }
}

#[async_trait]
impl Waiter for ListWaiter {
    async fn wait(&mut self, timeout: Duration) -> Result<Wake, StoreError> {
        let end = Instant::now() + timeout.max(BLOCK_MIN);
        loop {
            let (is_paused, due) = self.look().await?;
            if !is_paused && due.is_some() && due != self.told {
                self.told = due;
                return Ok(due.map_or(Wake::Now, Wake::At));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wake::TimedOut);
            }
            // Items that are not given out would end a block at once.
            match if is_paused { Some(PAUSED_LOOK) } else { self.rest.left() } {
                Some(pause) => sleep(pause.min(left)).await,
                None if self.peek(BLOCK_MAX.min(left)).await? => {
                    let (is_paused, _) = self.look().await?;
                    if !is_paused {
                        return Ok(Wake::Now);
                    }
                }
                None => {}
            }
        }
    }
}

/// Scores are written here as whole milliseconds; whatever else somebody wrote is not waited for.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and times are whole"
)]
fn due(score: &Value) -> Option<u64> {
    let due = match score {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<f64>().ok()?,
        Value::Double(due) => *due,
        _ => return None,
    };
    (due >= 1.0).then_some(due as u64)
}
