//! Adding jobs, as envelopes.

use jobcell_core::store::{Added, NewJob};
use jobcell_core::{JobId, Millis, StoreError};
use redis::Value;

use super::store::ListStore;
use super::{item, script};
use crate::reply;
use crate::script::Call;

/// Jobs one script adds, and payload bytes after which it takes no more.
const JOBS_A_CALL_MAX: usize = 200;
const BYTES_A_CALL: usize = 1024 * 1024;

impl ListStore {
    pub(super) async fn add_jobs(&self, jobs: Vec<NewJob>, now: Millis) -> Result<Vec<Added>, StoreError> {
        let mut added = Vec::with_capacity(jobs.len());
        let mut rest = &jobs[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(part_len(rest));
            // A job that must not be stored keeps back those after it, not those before.
            let fault = part.iter().enumerate().find_map(|(i, job)| self.check(job).err().map(|e| (i, e)));
            let good = fault.as_ref().map_or(part, |(i, _)| &part[..*i]);
            if !good.is_empty() {
                self.add_part(good, now, &mut added).await?;
            }
            if let Some((_, e)) = fault {
                return Err(e);
            }
            rest = after;
        }
        Ok(added)
    }

    /// What a list has no place for is refused, so that nobody believes in it.
    fn check(&self, job: &NewJob) -> Result<(), StoreError> {
        job.check()?;
        let options = &job.options;
        let asked = [
            (options.priority > 0, "priorities"),
            (options.backoff.is_some(), "backoff of a single job; its config has one for all"),
            (options.deduplication.is_some(), "deduplication"),
            (job.parent()?.is_some(), "flows"),
            (
                options.remove_on_complete.is_some() || options.remove_on_fail.is_some(),
                "keeping of a single job; its config has one for all",
            ),
            (options.timeout.is_some(), "timeout of a single job; its handler has one for all"),
            (options.keep_logs.is_some(), "log length of a single job"),
            (options.stack_trace_limit.is_some(), "trace length of a single job"),
        ];
        if let Some((_, what)) = asked.iter().find(|(asked, _)| *asked) {
            return Err(StoreError::unsupported(&self.queue, what));
        }
        if let Some(id) = &options.job_id {
            JobId::custom(id).map_err(|e| StoreError::Rejected(e.to_string()))?;
        }
        Ok(())
    }

    async fn add_part(&self, jobs: &[NewJob], now: Millis, added: &mut Vec<Added>) -> Result<(), StoreError> {
        let mut call = self.call(&script::ADD);
        call.arg(jobs.len());
        let ids: Result<Vec<JobId>, StoreError> =
            jobs.iter().map(|job| self.encode_new(&mut call, job, now)).collect();
        let answers = reply::array(self.run(&call).await?)?;
        for (id, answer) in ids?.into_iter().zip(answers) {
            added.push(match answer {
                Value::Int(0) => Added::New(id),
                Value::Int(_) => Added::Duplicate(id),
                why => {
                    let why = reply::text(why)?.unwrap_or_default();
                    return Err(StoreError::Corrupt(format!(
                        "the record of job {id:?} is no hash ({why}); rename or delete it"
                    )));
                }
            });
        }
        Ok(())
    }

    /// One job's arguments, as `add.lua` lists them.
    fn encode_new(&self, call: &mut Call<'_>, job: &NewJob, now: Millis) -> Result<JobId, StoreError> {
        let options = &job.options;
        let id = match &options.job_id {
            Some(id) => item::name_of(id.as_bytes()).map_err(|e| StoreError::Rejected(e.to_string()))?,
            None => JobId::random(rand::random()),
        };
        let record = self.keys.record(&id).ok_or_else(|| {
            StoreError::Rejected(format!(
                "job id {id:?} cannot be used: its record would be a key that the queue keeps for itself; \
                 choose another one"
            ))
        })?;
        let (envelope, data) = item::envelope_of(&id, job)
            .map_err(|e| StoreError::Rejected(format!("job {id:?} cannot be stored: {e}")))?;
        let made = job.timestamp(now);
        let due = (options.delay > 0).then(|| made.saturating_add(options.delay).to_string());
        let flags = match (options.lifo, options.job_id.is_some()) {
            (true, true) => "lc",
            (true, false) => "l",
            (false, true) => "c",
            (false, false) => "",
        };
        let mut fields: Vec<(&str, &[u8])> = vec![("name", job.name.as_bytes())];
        let made = made.to_string();
        fields.push(("addedAt", made.as_bytes()));
        let delay = options.delay.to_string();
        if options.delay > 0 {
            fields.push(("delay", delay.as_bytes()));
        }
        let depth = options.depth.to_string();
        if options.depth > 0 {
            fields.push(("depth", depth.as_bytes()));
        }
        fields.extend(options.tenant.as_ref().map(|tenant| ("tenantId", tenant.as_bytes())));
        fields.extend(options.telemetry.as_ref().map(|carried| ("telemetry", carried.as_bytes())));
        fields.extend(data.as_ref().map(|data| ("data", &data[..])));
        call.arg(flags).arg(id.as_str()).arg(envelope).arg(record).arg(due.unwrap_or_default());
        call.arg(fields.len());
        for (field, value) in fields {
            call.arg(field).arg(value);
        }
        Ok(id)
    }
}

/// How many jobs go into the next call, at least one.
fn part_len(jobs: &[NewJob]) -> usize {
    let mut bytes = 0;
    let small = jobs.iter().take(JOBS_A_CALL_MAX).take_while(|job| {
        let fits = bytes < BYTES_A_CALL;
        bytes += job.data.len();
        fits
    });
    small.count().max(1)
}
