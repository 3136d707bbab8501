//! Looking, without changing anything.

use jobcell_core::store::{Counts, Page};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, StoreError};
use redis::Value;

use super::{BullStore, record};
use crate::keys::QUEUE_KEYS;
use crate::reply;
use crate::script;

/// Jobs a page may have, as the port says.
pub(super) const PAGE_MAX: u64 = 1000;
/// Keys one step of a scan looks at: a few hundred microseconds of Redis's time.
const SCAN_COUNT: u32 = 1000;
/// Scores of one millisecond in the set of delayed jobs.
const DUE_SCORES: u64 = 4096;

impl BullStore {
    pub(super) async fn ask(
        &self,
        cmd: &redis::Cmd,
        queue: &QueueName,
        jobs: &[&JobId],
    ) -> Result<Value, StoreError> {
        match self.redis.call(cmd).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(e, &self.keys(queue), jobs).await),
        }
    }

    pub(super) async fn read_job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>, StoreError> {
        let hash = self.ask(redis::cmd("HGETALL").arg(self.keys(queue).job(id)), queue, &[id]).await?;
        Ok(record::look(id.clone(), reply::array(hash)?))
    }

    pub(super) async fn read_state(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Option<JobState>, StoreError> {
        let keys = self.keys(queue);
        let mut call = script::STATE.call(&keys.meta());
        call.arg(id.as_str());
        let name = reply::text(self.run(&call, &keys, &[id]).await?)?;
        Ok(name.and_then(|name| match name.as_str() {
            "wait" | "paused" => Some(JobState::Waiting),
            other => other.parse().ok(),
        }))
    }

    pub(super) async fn read_counts(&self, queue: &QueueName) -> Result<Counts, StoreError> {
        let keys = self.keys(queue);
        let mut counts = Counts::default();
        let parts = [
            ("LLEN", "wait", JobState::Waiting),
            ("LLEN", "paused", JobState::Waiting),
            ("LLEN", "active", JobState::Active),
            ("ZCARD", "prioritized", JobState::Prioritized),
            ("ZCARD", "delayed", JobState::Delayed),
            ("ZCARD", "waiting-children", JobState::WaitingChildren),
            ("ZCARD", "completed", JobState::Completed),
            ("ZCARD", "failed", JobState::Failed),
        ];
        // One transaction, so that a job on its way from one state to the next is counted once.
        let mut pipe = redis::pipe();
        pipe.cmd("MULTI");
        for (cmd, last, _) in parts {
            pipe.cmd(cmd).arg(keys.of(last));
        }
        pipe.cmd("EXEC");
        let replies = self.redis.call_all(&pipe).await?.pop().unwrap_or_default();
        for ((_, _, state), n) in parts.into_iter().zip(reply::array(replies)?) {
            if let Value::ServerError(e) = n {
                return Err(self.explain(e.into(), &keys, &[]).await);
            }
            *counts.0.entry(state).or_default() += reply::count(&n)?;
        }
        Ok(counts)
    }

    pub(super) async fn read_list(
        &self,
        queue: &QueueName,
        state: JobState,
        page: Page,
    ) -> Result<Vec<Job>, StoreError> {
        let ids = self.page_ids(queue, state, page).await?;
        self.read_jobs(queue, ids).await
    }

    async fn read_jobs(&self, queue: &QueueName, ids: Vec<JobId>) -> Result<Vec<Job>, StoreError> {
        let keys = self.keys(queue);
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.cmd("HGETALL").arg(keys.job(id));
        }
        let hashes = self.redis.call_all(&pipe).await?;
        // An id whose job went away in between is no job.
        let jobs = ids.into_iter().zip(hashes).map(|(id, hash)| Ok(record::look(id, reply::array(hash)?)));
        Ok(jobs.collect::<Result<Vec<_>, StoreError>>()?.into_iter().flatten().collect())
    }

    /// The jobs behind this one in a sorted set, which knows its place; lists do not, and go by offsets.
    pub(super) async fn read_behind(
        &self,
        queue: &QueueName,
        state: JobState,
        behind: &JobId,
        limit: u64,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        let (rank, range) = match state {
            JobState::Waiting | JobState::Active => return Ok(None),
            JobState::Prioritized | JobState::Delayed | JobState::WaitingChildren => ("ZRANK", "ZRANGE"),
            JobState::Completed | JobState::Failed => ("ZREVRANK", "ZREVRANGE"),
        };
        let key = self.keys(queue).of(state.as_str());
        let at = self.ask(redis::cmd(rank).arg(&key).arg(behind.as_str()), queue, &[behind]).await?;
        if at == Value::Nil {
            return Ok(None);
        }
        let first = reply::int(&at)? + 1;
        let last = first + i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0) - 1;
        if last < first {
            return Ok(Some(Vec::new()));
        }
        let ids = self.ask(redis::cmd(range).arg(&key).arg(first).arg(last), queue, &[]).await?;
        let ids = reply::texts(ids)?.iter().filter_map(|id| JobId::new(id).ok()).collect();
        self.read_jobs(queue, ids).await.map(Some)
    }

    /// Delayed jobs whose time has come: their scores are due times, each with room for 4096 of the same millisecond.
    pub(super) async fn read_due(
        &self,
        queue: &QueueName,
        now: Millis,
        most: u64,
    ) -> Result<u64, StoreError> {
        let end = now.saturating_add(1).saturating_mul(DUE_SCORES);
        let mut count = redis::cmd("ZCOUNT");
        count.arg(self.keys(queue).of("delayed")).arg("-inf").arg(format!("({end}"));
        Ok(reply::count(&self.ask(&count, queue, &[]).await?)?.min(most))
    }

    /// The ids of a page, those that run next first.
    async fn page_ids(
        &self,
        queue: &QueueName,
        state: JobState,
        page: Page,
    ) -> Result<Vec<JobId>, StoreError> {
        let keys = self.keys(queue);
        let limit = page.limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let first = i64::try_from(page.offset).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
        let last = first + i64::try_from(limit).unwrap_or(0) - 1;
        let range = |cmd: &str, set: &str| {
            let mut range = redis::cmd(cmd);
            range.arg(keys.of(set)).arg(first).arg(last);
            range
        };
        let ids = match state {
            JobState::Waiting => {
                let mut ids = self.consumed(queue, "wait", first, last).await?;
                if ids.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
                    let waiting = self.ask(redis::cmd("LLEN").arg(keys.of("wait")), queue, &[]).await?;
                    let before = reply::int(&waiting)?;
                    let (first, last) = ((first - before).max(0), last - before);
                    ids.extend(self.consumed(queue, "paused", first, last).await?);
                }
                ids
            }
            JobState::Active => self.consumed(queue, "active", first, last).await?,
            JobState::Prioritized => {
                reply::texts(self.ask(&range("ZRANGE", "prioritized"), queue, &[]).await?)?
            }
            JobState::Delayed => reply::texts(self.ask(&range("ZRANGE", "delayed"), queue, &[]).await?)?,
            JobState::WaitingChildren => {
                reply::texts(self.ask(&range("ZRANGE", "waiting-children"), queue, &[]).await?)?
            }
            JobState::Completed => {
                reply::texts(self.ask(&range("ZREVRANGE", "completed"), queue, &[]).await?)?
            }
            JobState::Failed => reply::texts(self.ask(&range("ZREVRANGE", "failed"), queue, &[]).await?)?,
        };
        Ok(ids.iter().filter_map(|id| JobId::new(id).ok()).collect())
    }

    /// Lists are consumed from their right end.
    async fn consumed(
        &self,
        queue: &QueueName,
        list: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<String>, StoreError> {
        if last < first {
            return Ok(Vec::new());
        }
        let mut range = redis::cmd("LRANGE");
        range.arg(self.keys(queue).of(list)).arg(-1 - last).arg(-1 - first);
        let mut ids = reply::texts(self.ask(&range, queue, &[]).await?)?;
        ids.reverse();
        Ok(ids)
    }

    pub(super) async fn read_logs(
        &self,
        queue: &QueueName,
        id: &JobId,
        page: Page,
    ) -> Result<Vec<String>, StoreError> {
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let last = page.offset.saturating_add(page.limit.min(PAGE_MAX)) - 1;
        let mut range = redis::cmd("LRANGE");
        range.arg(self.keys(queue).of_job(id, ":logs")).arg(page.offset).arg(last);
        reply::texts(self.ask(&range, queue, &[id]).await?)
    }

    pub(super) async fn read_children(
        &self,
        queue: &QueueName,
        id: &JobId,
        which: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let key = self.keys(queue).of_job(id, which);
        reply::pairs(self.ask(redis::cmd("HGETALL").arg(key), queue, &[id]).await?)
    }

    pub(super) async fn read_paused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        let mut cmd = redis::cmd("HEXISTS");
        cmd.arg(self.keys(queue).meta()).arg("paused");
        Ok(reply::int(&self.ask(&cmd, queue, &[]).await?)? == 1)
    }

    pub(super) async fn read_queues(&self) -> Result<Vec<QueueName>, StoreError> {
        let mut queues = std::collections::BTreeSet::new();
        let pattern = self.redis.keys().queue_pattern();
        for node in self.redis.nodes() {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
                let reply = node.call(&scan).await.map_err(|e| self.redis.error(&e))?;
                let [next, keys] = reply::tuple(reply)?;
                let keys = reply::texts(keys)?.into_iter();
                let keys = keys.filter_map(|key| Some((self.redis.keys().queue_of(&key)?, key)));
                queues.extend(self.of_their_type(keys.collect()).await?);
                cursor = reply::text(next)?.unwrap_or_default();
                if cursor == "0" || cursor.is_empty() {
                    break;
                }
            }
        }
        Ok(queues.into_iter().collect())
    }

    /// Of keys that show queues, the queues: what somebody else keeps under such a name is none.
    async fn of_their_type(&self, keys: Vec<(QueueName, String)>) -> Result<Vec<QueueName>, StoreError> {
        let mut types = redis::pipe();
        for (_, key) in &keys {
            types.cmd("TYPE").arg(key);
        }
        let found = self.redis.call_all(&types).await?;
        let fits = |key: &str, found: Value| {
            let found = reply::text(found).ok().flatten();
            QUEUE_KEYS.iter().any(|(last, wanted)| {
                key.strip_suffix(last).is_some_and(|base| base.ends_with(':'))
                    && found.as_deref() == Some(wanted)
            })
        };
        let queues = keys
            .into_iter()
            .zip(found)
            .filter_map(|((queue, key), found)| fits(&key, found).then_some(queue));
        Ok(queues.collect())
    }
}
