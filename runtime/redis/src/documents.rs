//! What hosts share, over Redis: documents, blobs and logs.
//!
//! A folder is three keys: a hash of its documents, a stream whose newest id is its revision, and a sorted set of what
//! expires. Each write is one script. Revisions are times of the server's clock where they can be (milliseconds; one
//! more than the last where that is not later), so that none is given twice even when a master is lost with writes that
//! had not reached its replica, or an older state is restored: who wrote over a revision that he saw there gets a
//! conflict, and who waits for another one gets one.
//!
//! All keys of a deployment are in one slot of a cluster. Waiting and blobs have connections of their own: a wait keeps
//! its connection, and a large blob would keep the answers of calls for jobs waiting behind it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::documents::{
    Document, Documents, Entries, Entry, Expect, Folder, Log, Put, check_blob, check_document, check_entries,
    check_entry,
};
use jobcell_core::store::StoreError;
use redis::{Cmd, RedisError, Value};
use tokio::time::{Instant, sleep};

use crate::bullmq::events::{id_of_newest, newest};
use crate::bullmq::ms;
use crate::error;
use crate::keys::FleetKeys;
use crate::link::{Readers, Redis};
use crate::permissions::{Needs, Permissions};
use crate::reply;
use crate::script::{self, Script};

/// What `CLIENT LIST` shows of connections that wait or carry blobs.
const NAME: &str = "jobcell:documents";
/// How long a blob may take. A large one on a slow line takes its time.
const BLOB_WAIT: Duration = Duration::from_secs(120);
/// The longest that one command blocks; who waits longer asks again.
const BLOCK_MAX: Duration = Duration::from_secs(30);
/// The shortest: Redis before 7.0.8 takes 1 ms for no limit at all.
const BLOCK_MIN: Duration = Duration::from_millis(2);
/// The pause of a wait while Redis is away.
const AWAY_PAUSE: Duration = Duration::from_millis(200);

/// Documents under `jobcell-fleet/{:<prefix>}/`, apart from every queue and from what handlers are granted. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct RedisDocuments {
    redis: Redis,
    keys: FleetKeys,
    permissions: Permissions,
    readers: Readers,
}

/// What documents run on their keys, `k`.
const COMMANDS: &[&str] = &[
    "DEL k",
    "EVALSHA x 1 k",
    "GET k",
    "HDEL k f",
    "HGET k f",
    "HGETALL k",
    "HSET k f v",
    "PING",
    "SCRIPT LOAD x",
    "SET k v",
    "TIME",
    "XADD k * f v",
    "XREAD STREAMS k 0",
    "XREVRANGE k + -",
    "ZADD k 1 v",
    "ZRANGEBYSCORE k 0 1",
    "ZREM k v",
];

/// What the user must be allowed to do for them.
pub(crate) fn needs(prefix: &str) -> Needs {
    let keys = FleetKeys::new(prefix);
    let [example, ..] = keys.folder(Folder::Handlers);
    Needs::new("what hosts share", COMMANDS).key("k", example, &keys.pattern())
}

// === impl RedisDocuments ===

impl RedisDocuments {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let keys = FleetKeys::new(redis.options().key_prefix());
        Self { redis, keys, permissions: Permissions::default(), readers: Readers::new(NAME) }
    }

    /// What the user may not do with these keys, with the fix; none when nothing is missing, or Redis cannot tell.
    pub async fn denied(&self) -> Option<String> {
        self.permissions.fault_anywhere(&self.redis, &self.needs()).await
    }

    fn needs(&self) -> Needs {
        needs(self.redis.options().key_prefix())
    }

    async fn explain(&self, e: &RedisError, key: &str) -> StoreError {
        if error::is_denied(e) {
            return self.redis.denied(e, &self.permissions, &self.needs(), key).await;
        }
        if error::has_code(e, "WRONGTYPE") {
            return StoreError::Corrupt(format!(
                "key {key:?}, or one that begins so, holds something else than Jobcell's documents; rename or delete it"
            ));
        }
        self.redis.error(e)
    }

    async fn call(&self, key: &str, cmd: &Cmd) -> Result<Value, StoreError> {
        match self.redis.call(cmd).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(&e, key).await),
        }
    }

    /// Runs a script on a folder.
    async fn run(&self, script: &Script, folder: Folder, args: &[&[u8]]) -> Result<Value, StoreError> {
        self.run_on(script, &self.keys.folder(folder), args).await
    }

    async fn run_on(&self, script: &Script, keys: &[String], args: &[&[u8]]) -> Result<Value, StoreError> {
        let mut call = script.call_alone(keys);
        for arg in args {
            call.arg(*arg);
        }
        match call.send(&self.redis).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.explain(&e, keys.first().map_or("", String::as_str)).await),
        }
    }

    async fn revision(&self, folder: Folder) -> Result<u64, StoreError> {
        let [_, changes, _] = self.keys.folder(folder);
        number(&id_of_newest(self.call(&changes, &newest(&changes)).await?)?)
    }

    /// The revision, after at most `wait` for another one than `seen`.
    async fn look(&self, folder: Folder, seen: u64, wait: Duration) -> Result<u64, StoreError> {
        let revision = self.revision(folder).await?;
        if revision != seen || wait < BLOCK_MIN {
            return Ok(revision);
        }
        let (wait, [_, changes, _]) = (wait.min(BLOCK_MAX), self.keys.folder(folder));
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(1).arg("BLOCK").arg(ms(wait));
        cmd.arg("STREAMS").arg(&changes).arg(format!("{seen}-0"));
        self.readers.call(&self.redis, &changes, &cmd, wait).await?;
        self.revision(folder).await
    }
}

#[async_trait]
impl Documents for RedisDocuments {
    async fn get(&self, folder: Folder, name: &str) -> Result<Option<Document>, StoreError> {
        document(reply::array(self.run(&script::FLEET_GET, folder, &[name.as_bytes()]).await?)?)
    }

    async fn list(&self, folder: Folder) -> Result<Vec<(String, Document)>, StoreError> {
        let mut parts = reply::array(self.run(&script::FLEET_LIST, folder, &[]).await?)?.into_iter();
        let mut all = Vec::new();
        while let (Some(name), Some(revision), Some(content)) = (parts.next(), parts.next(), parts.next()) {
            let name = reply::text(name)?.unwrap_or_default();
            all.extend(document(vec![revision, content])?.map(|document| (name, document)));
        }
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError> {
        check_document(name, &content)?;
        let (expect, expires) = (expected(expect), expires.map_or(0, ms).to_string());
        let args = [name.as_bytes(), expect.as_bytes(), &content, expires.as_bytes()];
        put(self.run(&script::FLEET_PUT, folder, &args).await?)
    }

    async fn put_logged(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        entries: Entries<'_>,
    ) -> Result<Put, StoreError> {
        check_document(name, &content)?;
        check_entries(&entries)?;
        let keys: Vec<String> =
            self.keys.folder(folder).into_iter().chain([self.keys.log(entries.log)]).collect();
        let (expect, keep) = (expected(expect), entries.keep.max(1).to_string());
        let mut args = vec![name.as_bytes(), expect.as_bytes(), &content, b"0", keep.as_bytes()];
        args.extend(entries.contents.iter().map(|entry| &entry[..]));
        put(self.run_on(&script::FLEET_PUT, &keys, &args).await?)
    }

    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError> {
        let expect = expected(expect);
        let args = [name.as_bytes(), expect.as_bytes()];
        match written(self.run(&script::FLEET_REMOVE, folder, &args).await?)? {
            Ok(Some(revision)) => Ok(Put::Written(revision)),
            Ok(None) => self.revision(folder).await.map(Put::Written),
            Err(there) => Ok(Put::Conflict(there)),
        }
    }

    /// A broken connection is waited out as long as there is patience.
    async fn changed(
        &self,
        folder: Folder,
        seen: Option<u64>,
        patience: Duration,
    ) -> Result<u64, StoreError> {
        let Some(seen) = seen else { return self.revision(folder).await };
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            match self.look(folder, seen, left).await {
                Ok(revision) if revision != seen || begun.elapsed() >= patience => return Ok(revision),
                // Less is left than can be waited for.
                Ok(_) => sleep(patience.saturating_sub(begun.elapsed()).min(BLOCK_MIN)).await,
                Err(e) if e.is_transient() && begun.elapsed() < patience => {
                    sleep(patience.saturating_sub(begun.elapsed()).min(AWAY_PAUSE)).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError> {
        check_blob(digest, &content)?;
        let key = self.keys.blob(digest);
        let mut cmd = redis::cmd("SET");
        cmd.arg(&key).arg(&content[..]);
        self.readers.call(&self.redis, &key, &cmd, BLOB_WAIT).await.map(drop)
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        let key = self.keys.blob(digest);
        let mut cmd = redis::cmd("GET");
        cmd.arg(&key);
        let content = self.readers.call(&self.redis, &key, &cmd, BLOB_WAIT).await?;
        Ok(reply::bytes(content)?.map(Bytes::from))
    }

    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError> {
        let key = self.keys.blob(digest);
        let mut cmd = redis::cmd("DEL");
        cmd.arg(&key);
        self.call(&key, &cmd).await.map(drop)
    }

    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError> {
        check_entry(log, &content)?;
        let (keys, keep) = ([self.keys.log(log)], keep.max(1).to_string());
        reply::count(&self.run_on(&script::FLEET_APPEND, &keys, &[&content, keep.as_bytes()]).await?)
    }

    async fn entries(&self, log: &Log, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let newest = match before {
            Some(before) => before.saturating_sub(1).to_string(),
            None => "+".to_owned(),
        };
        if limit == 0 {
            return Ok(Vec::new());
        }
        let key = self.keys.log(log);
        let mut cmd = redis::cmd("XREVRANGE");
        cmd.arg(&key).arg(newest).arg("-").arg("COUNT").arg(limit);
        let entries = reply::array(self.call(&key, &cmd).await?)?.into_iter().map(|entry| {
            let [id, fields] = reply::tuple(entry)?;
            let [_, content] = reply::tuple(fields)?;
            let content = Bytes::from(reply::bytes(content)?.unwrap_or_default());
            Ok(Entry { number: number(&reply::text(id)?.unwrap_or_default())?, content })
        });
        entries.collect()
    }
}

/// As the scripts are told it.
fn expected(expect: Expect) -> String {
    match expect {
        Expect::Anything => "any".to_owned(),
        Expect::Absent => "none".to_owned(),
        Expect::Revision(revision) => revision.to_string(),
    }
}

/// Revision and content, or nothing.
fn document(parts: Vec<Value>) -> Result<Option<Document>, StoreError> {
    if parts.is_empty() {
        return Ok(None);
    }
    let [revision, content] = reply::tuple(Value::Array(parts))?;
    let content = Bytes::from(reply::bytes(content)?.unwrap_or_default());
    Ok(Some(Document { revision: reply::count(&revision)?, content }))
}

/// What a writing script says: the revision it wrote, if it had to, or what is there instead.
fn written(value: Value) -> Result<Result<Option<u64>, Option<Document>>, StoreError> {
    let mut parts = reply::array(value)?;
    if parts.is_empty() {
        return Err(StoreError::Corrupt("redis answered nothing where a write was expected".to_owned()));
    }
    let done = parts.remove(0);
    if done != Value::Int(1) {
        return document(parts).map(Err);
    }
    parts.first().map(reply::count).transpose().map(Ok)
}

/// What became of a document's write.
fn put(value: Value) -> Result<Put, StoreError> {
    match written(value)? {
        Ok(Some(revision)) => Ok(Put::Written(revision)),
        Ok(None) => Err(StoreError::Corrupt("redis did not say what it wrote a document as".to_owned())),
        Err(there) => Ok(Put::Conflict(there)),
    }
}

/// The number in the id of a stream's entry.
fn number(id: &str) -> Result<u64, StoreError> {
    let number = id.split('-').next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| StoreError::Corrupt(format!("entry {id:?} of a stream is none of Jobcell's")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::tests::assert_covers;

    #[test]
    fn every_command_of_its_scripts_is_asked_for() {
        let texts = [
            include_str!("lua/fleet.lua"),
            include_str!("lua/fleet_get.lua"),
            include_str!("lua/fleet_list.lua"),
            include_str!("lua/fleet_put.lua"),
            include_str!("lua/fleet_remove.lua"),
            include_str!("lua/fleet_append.lua"),
        ];
        assert_covers(&needs("bull"), &script::words_of(texts.into_iter()));
    }

    #[test]
    fn its_keys_are_in_one_slot_and_no_queues() {
        for prefix in ["bull", "{bull}", "", "a{b}c", "}{"] {
            let keys = FleetKeys::new(prefix);
            let mut all =
                vec![keys.blob("sha256:00"), keys.log(&Log::Audit), keys.log(&Log::Handler("}{".into()))];
            all.extend(Folder::ALL.into_iter().flat_map(|folder| keys.folder(folder)));
            let slots: Vec<u16> = all.iter().map(|key| crate::link::slots::slot_of(key.as_bytes())).collect();
            assert!(slots.windows(2).all(|two| two[0] == two[1]), "{prefix}: {all:?}");
            assert!(all.iter().all(|key| key.starts_with("jobcell-fleet/{:")), "{all:?}");
        }
        assert_eq!(FleetKeys::new("bull").folder(Folder::Hosts)[1], "jobcell-fleet/{:bull}/hosts:changes");
    }
}
