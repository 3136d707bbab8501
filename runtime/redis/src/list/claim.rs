//! Claiming items, starting their jobs, holding them, getting back those of vanished hosts.
//!
//! An item is moved to its host first and read afterwards: reading JSON inside Redis would hold up everybody. What a
//! host dies between the two steps with is held under a lock like anything else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jobcell_core::store::{Claim, ClaimRequest, Claimed, Malformed, Recovered, StallPolicy, Token};
use jobcell_core::{JobId, Millis, StoreError};
use redis::Value;

use super::item::Item;
use super::record::Record;
use super::script;
use super::store::ListStore;
use crate::bullmq::ms;
use crate::reply;
use crate::script::Call;

/// Items one call takes: it holds Redis for about 10 µs each.
const ITEMS_A_CALL_MAX: usize = 1000;
/// Bytes after which one call takes no more: the reply is held whole, here and in Redis.
const BYTES_A_CALL: usize = 8 * 1024 * 1024;
/// Locks one call renews.
const LOCKS_A_CALL_MAX: usize = 2000;
/// Bytes of items that are read in place; reading more takes milliseconds, during which nothing else would happen.
const BYTES_READ_HERE: usize = 1024 * 1024;
/// Claims remembered whose replies are missing. Of more, the oldest are left to recovery.
const UNANSWERED_MAX: usize = 64;

/// Claims that were never answered: the connection broke after they were sent. What they took is held by tokens that
/// nobody knows, so it is given back as soon as Redis answers again.
#[derive(Debug, Clone, Default)]
pub(super) struct Unanswered(Arc<Mutex<Vec<ClaimRequest>>>);

// === impl Unanswered ===

impl Unanswered {
    fn claims(&self) -> std::sync::MutexGuard<'_, Vec<ClaimRequest>> {
        // Every change leaves it whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, request: &ClaimRequest) {
        let mut claims = self.claims();
        if claims.len() == UNANSWERED_MAX {
            claims.remove(0);
        }
        claims.push(request.clone());
    }
}

/// The arguments of the claim, as `finish.lua` lists them.
pub(super) fn encode(call: &mut Call<'_>, request: Option<&ClaimRequest>) {
    let Some(ClaimRequest { max, token_prefix, token_first, lock, worker_name: _, rate, now: _ }) = request
    else {
        call.arg(0).arg("").arg(0).arg(0).arg("").arg("").arg(0);
        return;
    };
    call.arg(*max.min(&ITEMS_A_CALL_MAX)).arg(&**token_prefix).arg(*token_first).arg(ms(*lock));
    match rate {
        Some(rate) => call.arg(rate.max).arg(ms(rate.per)),
        None => call.arg("").arg(""),
    };
    call.arg(BYTES_A_CALL);
}

/// An item that was claimed, and what it is.
struct Taken {
    token: Token,
    raw: Bytes,
    item: Item,
    record: Option<Vec<u8>>,
}

impl ListStore {
    /// Makes running jobs of the items that a claim took.
    pub(super) async fn start(
        &self,
        request: &ClaimRequest,
        items: Vec<Value>,
    ) -> Result<Vec<Claimed>, StoreError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let raws = items.into_iter().map(|item| Ok(Bytes::from(reply::bytes(item)?.unwrap_or_default())));
        let taken = self.read_items(request, raws.collect::<Result<_, StoreError>>()?).await?;
        let mut call = self.call(&script::START);
        let worker = request.worker_name.as_deref().unwrap_or_default();
        call.arg(request.now).arg(ms(request.lock)).arg(worker).arg(taken.len());
        for Taken { token, raw: _, item, record } in &taken {
            let envelope = item.envelope.as_ref();
            let mode = match envelope {
                _ if item.fault.is_some() => "x",
                Some(envelope) if envelope.data.is_some() => "w",
                _ => "d",
            };
            call.arg(token.as_str())
                .arg(item.id.as_str())
                .arg(record.as_deref().unwrap_or_default())
                .arg(envelope.and_then(|envelope| envelope.tenant.as_deref()).unwrap_or_default())
                .arg(envelope.and_then(|envelope| envelope.name.as_deref()).unwrap_or_default())
                .arg(mode);
        }
        let [answers, untold] = reply::tuple(self.run(&call).await?)?;
        self.note_untold(untold);
        let mut claimed = Vec::with_capacity(taken.len());
        for (taken, answer) in taken.into_iter().zip(reply::array(answers)?) {
            claimed.extend(self.started(request, taken, reply::array(answer)?)?);
        }
        Ok(claimed)
    }

    async fn read_items(&self, request: &ClaimRequest, raws: Vec<Bytes>) -> Result<Vec<Taken>, StoreError> {
        let bytes: usize = raws.iter().map(Bytes::len).sum();
        let (request, keys) = (request.clone(), Arc::clone(&self.keys));
        let read = move || -> Result<Vec<Taken>, StoreError> {
            let read = raws.into_iter().enumerate().map(|(i, raw)| {
                let item = Item::read(&raw).map_err(|e| StoreError::Corrupt(e.to_string()))?;
                Ok(Taken { token: request.token(i), record: keys.record(&item.id), raw, item })
            });
            read.collect()
        };
        if bytes <= BYTES_READ_HERE {
            return read();
        }
        let panicked = |e| StoreError::Other(format!("reading claimed items panicked: {e}"));
        tokio::task::spawn_blocking(read).await.map_err(panicked)?
    }

    /// One claimed item as a job; none when it is not this host's after all.
    fn started(
        &self,
        request: &ClaimRequest,
        taken: Taken,
        answer: Vec<Value>,
    ) -> Result<Option<Claimed>, StoreError> {
        let Taken { token, raw, item, record } = taken;
        let id = item.id.clone();
        let mut parts = answer.into_iter();
        let job = match reply::int(&parts.next().unwrap_or(Value::Nil))? {
            0 => {
                let mut job = Record::of_start(parts)?.into_job(self, id.clone(), Some((&item, &raw)));
                job.processed_on = Some(request.now);
                job.processed_by = request.worker_name.as_deref().map(str::to_owned);
                Ok(Arc::new(job))
            }
            3 => {
                let why = reply::text(parts.next().unwrap_or(Value::Nil))?.unwrap_or_default();
                Err(item.fault.unwrap_or_else(|| unusable(record.as_deref(), &why)))
            }
            code => {
                let why = if code == 2 { "the same job runs already" } else { "its lock is gone" };
                tracing::debug!(queue = %self.queue, job = %id, why, "a claimed item is not started");
                return Ok(None);
            }
        };
        Ok(Some(Claimed { id, token, job }))
    }

    /// Gives back what unanswered claims took. What cannot be given back now is tried again with the next call.
    pub(super) async fn give_back_unanswered(&self) {
        let claims = std::mem::take(&mut *self.unanswered.claims());
        let mut claims = claims.into_iter();
        while let Some(request) = claims.next() {
            let mut call = self.call(&script::UNCLAIM);
            call.arg(&*request.token_prefix).arg(request.token_first).arg(request.max);
            match self.run(&call).await.and_then(|count| reply::count(&count)) {
                Ok(0) => {}
                Ok(items) => {
                    tracing::info!(queue = %self.queue, items, "gave back items whose claim was never answered");
                }
                Err(e) if e.is_transient() => {
                    std::iter::once(request).chain(claims).for_each(|claim| self.unanswered.add(&claim));
                    return;
                }
                Err(error) => {
                    tracing::warn!(queue = %self.queue, %error, "items whose claim was never answered are left to be recovered when their locks run out");
                }
            }
        }
    }

    /// The claim's part of a reply.
    pub(super) async fn claimed(
        &self,
        request: Option<&ClaimRequest>,
        [items, rest, due]: [Value; 3],
    ) -> Result<Claim, StoreError> {
        let rest = Some(reply::count(&rest)?).filter(|ms| *ms > 0).map(Duration::from_millis);
        if request.is_some() {
            self.rest.begin(rest);
        }
        let jobs = match request {
            Some(request) => self.start(request, reply::array(items)?).await?,
            None => Vec::new(),
        };
        Ok(Claim { jobs, rate_limited: rest, next_due: Some(reply::count(&due)?).filter(|ms| *ms > 0) })
    }

    pub(super) async fn renew_locks(
        &self,
        locks: &[(JobId, Token)],
        lock: Duration,
    ) -> Result<Vec<JobId>, StoreError> {
        let mut lost = Vec::new();
        for part in locks.chunks(LOCKS_A_CALL_MAX) {
            let mut call = self.call(&script::RENEW);
            call.arg(ms(lock));
            for (id, token) in part {
                call.arg(token.as_str()).arg(id.as_str());
            }
            for place in reply::array(self.run(&call).await?)? {
                let place = usize::try_from(reply::int(&place)?).unwrap_or(usize::MAX);
                lost.extend(part.get(place).map(|(id, _)| id.clone()));
            }
        }
        Ok(lost)
    }

    pub(super) async fn recover(&self, policy: StallPolicy, now: Millis) -> Result<Recovered, StoreError> {
        self.give_back_unanswered().await;
        let mut call = self.call(&script::RECOVER);
        call.arg(now).arg(ms(policy.interval)).arg(policy.max);
        let mut back = reply::array(self.run(&call).await?)?.into_iter();
        let mut jobs = Vec::new();
        while let (Some(id), Some(raw)) = (back.next(), back.next()) {
            // Back they are in any case; one that nobody had read yet is named by what it is.
            jobs.extend(match reply::text(id)? {
                Some(id) => JobId::new(id).ok(),
                None => Item::read(&reply::bytes(raw)?.unwrap_or_default().into()).ok().map(|item| item.id),
            });
        }
        Ok(Recovered { jobs })
    }
}

/// Why a job cannot be run although its item can be read.
fn unusable(record: Option<&[u8]>, why: &str) -> Malformed {
    let (field, cause) = match record {
        None => ("id", "its record would be a key that the queue keeps for itself; choose another id, or another `record` in the config".to_owned()),
        Some(record) => {
            let key = String::from_utf8_lossy(record);
            let key: String = key.chars().take(200).collect();
            ("record", format!("key {key:?} is no hash ({why}); rename or delete it"))
        }
    };
    Malformed { field: field.to_owned(), cause }
}
