//! Ending jobs from outside, and what their attempts cost.

use std::collections::BTreeMap;

use jobcell_core::store::{AttemptReceipt, Cancelled, Token};
use jobcell_core::{JobId, JobState, Millis, StoreError};
use redis::Value;

use super::look::Place;
use super::script;
use super::store::ListStore;
use crate::error;
use crate::reply;

/// How often a job is looked for again that was not where it had been seen: it moves while somebody looks.
const LOOKS_MAX: usize = 5;

impl ListStore {
    pub(super) async fn cancel_job(&self, id: &JobId, now: Millis) -> Result<Cancelled, StoreError> {
        for _ in 0..LOOKS_MAX {
            let done = match self.read_state(id).await? {
                None => return Ok(Cancelled::NotFound),
                Some(state) if state.is_finished() => return Ok(Cancelled::Finished(state)),
                Some(JobState::Active) => self.ask_to_end(id).await?.then_some(Cancelled::Asked),
                Some(_) => self.end_waiting(id, now).await?.map(Cancelled::Ended),
            };
            if let Some(done) = done {
                return Ok(done);
            }
        }
        Err(StoreError::Unavailable(format!("job {id:?} moves all the time; try again")))
    }

    /// False when it does not run any more.
    async fn ask_to_end(&self, id: &JobId) -> Result<bool, StoreError> {
        let Some(record) = self.keys.record(id) else { return Ok(false) };
        let asked = self.run(self.call(&script::CANCEL).arg(record)).await?;
        Ok(reply::int(&asked)? == 1)
    }

    /// Where it waited; none when it is not there any more.
    async fn end_waiting(&self, id: &JobId, now: Millis) -> Result<Option<JobState>, StoreError> {
        let Some((place, raw)) = self.find(id, &[Place::Delayed, Place::Waiting]).await? else {
            return Ok(None);
        };
        let mut call = self.call(&script::CHANGE);
        let record = self.keys.record(id).unwrap_or_default();
        call.arg("cancel").arg(&raw[..]).arg(id.as_str()).arg(record).arg(place.state().as_str()).arg(now);
        Ok((reply::int(&self.run(&call).await?)? == 1).then(|| place.state()))
    }

    pub(super) async fn read_cancelled(&self, running: &[(JobId, Token)]) -> Result<Vec<Token>, StoreError> {
        let mut hosts: BTreeMap<&str, Vec<&Token>> = BTreeMap::new();
        for (_, token) in running {
            let host = token.as_str().rsplit_once(':').map_or("", |(host, _)| host);
            hosts.entry(host).or_default().push(token);
        }
        let mut asked = Vec::new();
        for (host, tokens) in hosts {
            let mut fields = redis::cmd("HMGET");
            fields.arg(self.keys.claims(host));
            for token in &tokens {
                fields.arg(format!("{token}/cancel"));
            }
            let values = reply::array(self.ask(&fields).await?)?;
            let meant = tokens.into_iter().zip(values).filter(|(_, value)| *value != Value::Nil);
            asked.extend(meant.map(|(token, _)| token.clone()));
        }
        Ok(asked)
    }

    /// A record has one place for it: the last.
    pub(super) async fn read_receipts(&self, id: &JobId) -> Result<Vec<AttemptReceipt>, StoreError> {
        let Some(record) = self.keys.record(id) else { return Ok(Vec::new()) };
        let json = match self.redis.call(redis::cmd("HGET").arg(record).arg("receipt")).await {
            Ok(json) => reply::text(json)?,
            // Whatever it is, it is no record of a job.
            Err(e) if error::has_code(&e, "WRONGTYPE") => None,
            Err(e) => return Err(self.explain(&e).await),
        };
        // A field of this name may be its owner's.
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()).into_iter().collect())
    }
}
