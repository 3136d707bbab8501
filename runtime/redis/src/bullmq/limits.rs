//! The limits that hold for all workers of a queue.

use std::time::Duration;

use jobcell_core::store::{Limits, RateLimit};
use jobcell_core::{QueueName, StoreError};

use super::{BullStore, claim};
use crate::reply;
use crate::script;

impl BullStore {
    pub(super) async fn read_limits(&self, queue: &QueueName) -> Result<Limits, StoreError> {
        let keys = self.keys(queue);
        let reply = self.run(&script::LIMITS.call(&keys.meta()), &keys, &[]).await?;
        let [paused, concurrency, max, per, rest] = reply::tuple(reply)?;
        let [concurrency, max, per] = [concurrency, max, per].map(|value| number(&value));
        let rate = max.zip(per).map(|(max, per)| RateLimit { max, per: Duration::from_millis(per) });
        let rest = reply::count(&rest)?;
        Ok(Limits {
            paused: reply::text(paused)?.is_some_and(|paused| !paused.is_empty()),
            concurrency,
            rate,
            rests_for: (rest > 0).then(|| Duration::from_millis(rest)),
        })
    }

    pub(super) async fn write_concurrency(
        &self,
        queue: &QueueName,
        max: Option<u64>,
    ) -> Result<(), StoreError> {
        if max == Some(0) {
            return Err(StoreError::Rejected(format!(
                "a concurrency of 0 would stop queue {queue:?}; pause it, or use at least 1"
            )));
        }
        self.set_limit(queue, &["concurrency", &shown(max)]).await
    }

    pub(super) async fn write_rate(
        &self,
        queue: &QueueName,
        rate: Option<RateLimit>,
    ) -> Result<(), StoreError> {
        if rate.is_some_and(|rate| rate.max == 0 || rate.per.is_zero()) {
            return Err(StoreError::Rejected(format!(
                "a rate of nothing would stop queue {queue:?}; pause it, or use at least 1 start in some time"
            )));
        }
        let per = shown(rate.map(|rate| claim::ms(rate.per)));
        self.set_limit(queue, &["rate", &shown(rate.map(|rate| rate.max)), &per]).await
    }

    pub(super) async fn write_rest(
        &self,
        queue: &QueueName,
        rest: Option<Duration>,
    ) -> Result<(), StoreError> {
        let rest = rest.filter(|rest| !rest.is_zero()).map(claim::ms);
        self.set_limit(queue, &["rest", &shown(rest)]).await
    }

    async fn set_limit(&self, queue: &QueueName, words: &[&str]) -> Result<(), StoreError> {
        let keys = self.keys(queue);
        let mut call = script::LIMIT.call(&keys.meta());
        for word in words {
            call.arg(*word);
        }
        self.run(&call, &keys, &[]).await.map(drop)
    }
}

/// What BullMQ's clients store they read with `parseInt`; what is no number to it is none to us.
fn number(value: &redis::Value) -> Option<u64> {
    reply::count(value).ok().filter(|n| *n > 0)
}

fn shown(n: Option<u64>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}
