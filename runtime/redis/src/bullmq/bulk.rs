//! Changing many jobs at once, part by part: no call holds Redis for long.

use jobcell_core::store::Obliterated;
use jobcell_core::{JobId, JobState, Millis, QueueName, StoreError};

use super::BullStore;
use crate::keys::QueueKeys;
use crate::reply;
use crate::script;

/// Jobs one call moves or looks at: it holds Redis for about 10 µs each.
const JOBS_A_CALL: u64 = 500;
/// Keys one step of a scan looks at: a few hundred microseconds of Redis's time.
const SCAN_COUNT: u32 = 1000;
/// Events one call trims.
const EVENTS_A_CALL: u32 = 10_000;

impl BullStore {
    pub(super) async fn promote_many(&self, queue: &QueueName, limit: u64) -> Result<u64, StoreError> {
        self.make_wait(queue, "delayed", "+inf", limit).await
    }

    pub(super) async fn retry_many(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<u64, StoreError> {
        match state {
            JobState::Completed | JobState::Failed => {
                self.make_wait(queue, state.as_str(), &before.to_string(), limit).await
            }
            other => Err(StoreError::Rejected(format!(
                "{other} jobs cannot be retried; only completed and failed ones can"
            ))),
        }
    }

    async fn make_wait(
        &self,
        queue: &QueueName,
        set: &str,
        up_to: &str,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let keys = self.keys(queue);
        // Those that come meanwhile (a retried job may fail again at once) are not asked for.
        let size = self.ask(redis::cmd("ZCARD").arg(keys.of(set)), queue, &[]).await?;
        let limit = limit.min(reply::count(&size)?);
        let (mut moved, mut stayed) = (0, 0);
        while moved < limit {
            let mut call = script::BULK.call(&keys.meta());
            call.arg(set).arg(up_to).arg(stayed).arg(JOBS_A_CALL.min(limit - moved));
            let [now, here] = reply::tuple(self.run(&call, &keys, &[]).await?)?;
            let now = reply::count(&now)?;
            if now == 0 {
                break;
            }
            moved += now;
            stayed += reply::count(&here)?;
        }
        Ok(moved)
    }

    pub(super) async fn clean_jobs(
        &self,
        queue: &QueueName,
        state: JobState,
        before: Millis,
        limit: u64,
    ) -> Result<Vec<JobId>, StoreError> {
        let sets: &[&str] = match state {
            JobState::Waiting => &["wait", "paused"],
            JobState::WaitingChildren => {
                return Err(StoreError::Rejected(
                    "jobs that wait for their children cannot be cleaned by age; remove them one by one, which takes their children along"
                        .to_owned(),
                ));
            }
            JobState::Active => &["active"],
            JobState::Prioritized => &["prioritized"],
            JobState::Delayed => &["delayed"],
            JobState::Completed => &["completed"],
            JobState::Failed => &["failed"],
        };
        let mut gone = Vec::new();
        for set in sets {
            self.clean_set(queue, set, before, limit, &mut gone).await?;
        }
        let mut told = redis::cmd("XADD");
        told.arg(self.keys(queue).of("events")).arg("*");
        told.arg("event").arg("cleaned").arg("count").arg(gone.len());
        self.ask(&told, queue, &[]).await?;
        Ok(gone)
    }

    async fn clean_set(
        &self,
        queue: &QueueName,
        set: &str,
        before: Millis,
        limit: u64,
        gone: &mut Vec<JobId>,
    ) -> Result<(), StoreError> {
        let keys = self.keys(queue);
        let mut kept = 0;
        while (gone.len() as u64) < limit {
            let look = JOBS_A_CALL.min(limit - gone.len() as u64);
            let mut call = script::CLEAN.call(&keys.meta());
            call.arg(set).arg(before).arg(kept).arg(look);
            let [removed, stayed] = reply::tuple(self.run(&call, &keys, &[]).await?)?;
            let (removed, stayed) = (reply::texts(removed)?, reply::count(&stayed)?);
            kept += stayed;
            if removed.is_empty() && stayed == 0 {
                break;
            }
            gone.extend(removed.iter().filter_map(|id| JobId::new(id).ok()));
        }
        Ok(())
    }

    pub(super) async fn obliterate_queue(
        &self,
        queue: &QueueName,
        force: bool,
    ) -> Result<Obliterated, StoreError> {
        let keys = self.keys(queue);
        let mut last = false;
        loop {
            let mut call = script::OBLITERATE.call(&keys.meta());
            call.arg(u8::from(force)).arg(JOBS_A_CALL).arg(u8::from(last));
            match reply::int(&self.run(&call, &keys, &[]).await?)? {
                -1 => return Ok(Obliterated::NotPaused),
                -2 => return Ok(Obliterated::Active),
                // Somebody may have added a job since.
                1 => last = false,
                _ if last => return Ok(Obliterated::Yes),
                _ => {
                    self.forget_deduplication(&keys).await?;
                    last = true;
                }
            }
        }
    }

    /// Deduplication ids that outlast their jobs are found by their keys only.
    async fn forget_deduplication(&self, keys: &QueueKeys) -> Result<(), StoreError> {
        let failed = |e| self.redis.error(&e);
        for (last, kind) in [("de:", "string"), ("dn:", "hash")] {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(keys.pattern_of(last)).arg("COUNT").arg(SCAN_COUNT);
                let found = self.redis.call_near(&keys.meta(), scan.arg("TYPE").arg(kind)).await;
                let [next, found] = reply::tuple(found.map_err(failed)?)?;
                let found = reply::texts(found)?;
                if !found.is_empty() {
                    let mut unlink = redis::cmd("UNLINK");
                    unlink.arg(found);
                    self.redis.call(&unlink).await.map_err(failed)?;
                }
                cursor = reply::text(next)?.unwrap_or_default();
                if cursor == "0" || cursor.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn trim_stream(&self, queue: &QueueName, keep: u64) -> Result<u64, StoreError> {
        let key = self.keys(queue).of("events");
        let mut trimmed = 0;
        loop {
            // Whole nodes first, which is cheap; what is left of the last is less than a hundred.
            let mut about = redis::cmd("XTRIM");
            about.arg(&key).arg("MAXLEN").arg("~").arg(keep).arg("LIMIT").arg(EVENTS_A_CALL);
            let gone = reply::count(&self.ask(&about, queue, &[]).await?)?;
            trimmed += gone;
            if gone == 0 {
                break;
            }
        }
        let mut exactly = redis::cmd("XTRIM");
        exactly.arg(&key).arg("MAXLEN").arg(keep);
        Ok(trimmed + reply::count(&self.ask(&exactly, queue, &[]).await?)?)
    }
}
