//! Ending jobs from outside, and what their attempts cost.

use std::collections::HashMap;

use jobcell_core::store::{AttemptReceipt, Cancelled, RECEIPTS_MAX, Token};
use jobcell_core::{JobId, JobState, Keep, Millis, QueueName, StoreError};

use super::{BullStore, finish};
use crate::keys::CANCELS;
use crate::reply;
use crate::script;

impl BullStore {
    pub(super) async fn cancel_job(
        &self,
        queue: &QueueName,
        id: &JobId,
        now: Millis,
    ) -> Result<Cancelled, StoreError> {
        let keys = self.keys(queue);
        // Options never change, so what is read here holds.
        let Some(job) = self.read_job(queue, id).await? else { return Ok(Cancelled::NotFound) };
        let keep = job.options.remove_on_fail.as_ref().unwrap_or(&Keep::All);
        let mut call = script::CANCEL.call(&keys.meta());
        call.arg(id.as_str()).arg(now).arg(finish::policy(keep));
        let place = reply::text(self.run(&call, &keys, &[id]).await?)?;
        Ok(match place.as_deref() {
            None => Cancelled::NotFound,
            Some("active") => Cancelled::Asked,
            Some("completed") => Cancelled::Finished(JobState::Completed),
            Some("failed") => Cancelled::Finished(JobState::Failed),
            Some("scheduled") => Cancelled::Scheduled,
            Some("wait" | "paused") => Cancelled::Ended(JobState::Waiting),
            Some(place) => match place.parse() {
                Ok(state) => Cancelled::Ended(state),
                Err(_) => {
                    let job = keys.job(id);
                    return Err(StoreError::Corrupt(format!("job {job:?} is in no state; remove it")));
                }
            },
        })
    }

    pub(super) async fn read_cancelled(
        &self,
        queue: &QueueName,
        running: &[(JobId, Token)],
    ) -> Result<Vec<Token>, StoreError> {
        let requests = self.ask(redis::cmd("HGETALL").arg(self.keys(queue).of(CANCELS)), queue, &[]).await?;
        let requests: HashMap<String, String> = reply::pairs(requests)?.into_iter().collect();
        let is_meant = |(id, token): &&(JobId, Token)| {
            let meant = requests.get(id.as_str()).and_then(|request| request.strip_prefix(token.as_str()));
            meant.is_some_and(|rest| rest.starts_with(' '))
        };
        Ok(running.iter().filter(is_meant).map(|(_, token)| token.clone()).collect())
    }

    pub(super) async fn read_receipts(
        &self,
        queue: &QueueName,
        id: &JobId,
    ) -> Result<Vec<AttemptReceipt>, StoreError> {
        let keys = self.keys(queue);
        let mut call = script::RECEIPTS.call(&keys.meta());
        call.arg(id.as_str()).arg(RECEIPTS_MAX);
        let receipts = reply::texts(self.run(&call, &keys, &[id]).await?)?;
        // What a newer host wrote, or somebody else, and cannot be read is left out.
        Ok(receipts.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
    }
}
