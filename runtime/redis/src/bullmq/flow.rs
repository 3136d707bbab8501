//! Trees of jobs: adding them whole, looking at them, taking them apart.

use std::collections::HashMap;

use jobcell_core::store::{AddedFlow, Children, Flow, FlowJob, Removed};
use jobcell_core::{JobId, Millis, QueueName, StoreError};
use redis::{RedisError, Value};

use super::BullStore;
use super::add::{self, Parts};
use crate::error;
use crate::reply;
use crate::script;

/// Jobs that one call prunes: it holds Redis for about 20 µs each.
const PRUNED_A_CALL: u64 = 500;

impl BullStore {
    pub(super) async fn add_tree(&self, flow: Flow, now: Millis) -> Result<AddedFlow, StoreError> {
        let jobs = flow.laid_out(self.redis.options().key_prefix(), rand::random)?;
        let (mut queues, mut places): (Vec<QueueName>, HashMap<QueueName, usize>) = Default::default();
        for FlowJob { queue, job, .. } in &jobs {
            add::check(job, now)?;
            self.check_slot(queue, job)?;
            if !places.contains_key(queue) {
                queues.push(queue.clone());
                places.insert(queue.clone(), queues.len());
            }
        }
        let metas: Vec<String> = queues.iter().map(|queue| self.keys(queue).meta()).collect();
        let mut call = script::FLOW.call_on(&metas);
        call.arg(now).arg(jobs.len());
        for FlowJob { queue, id, job, waits, above: _ } in &jobs {
            call.arg(places[queue]);
            let parts = Parts { id: id.as_str(), parent: job.parent()?, waits: *waits };
            add::encode(&mut call, job, parts, now)?;
        }
        let value = match call.send(&self.redis).await {
            Ok(value) => value,
            Err(e) => return Err(self.explain_flow(e, &jobs, &queues).await),
        };
        let mut reply = reply::array(value)?.into_iter();
        let mut added = Vec::with_capacity(jobs.len());
        while let (Some(code), Some(said)) = (reply.next(), reply.next()) {
            let code = reply::int(&code)?;
            let place =
                if code < 0 { usize::try_from(reply::int(&said)?).unwrap_or(0) } else { added.len() + 1 };
            let Some(FlowJob { queue, job, .. }) = jobs.get(place.wrapping_sub(1)) else { break };
            if code < 0 {
                let StoreError::Rejected(why) = add::refused(code, job) else { break };
                return Err(StoreError::Rejected(format!(
                    "nothing of the flow was added: in queue {:?} {why}",
                    queue.as_str()
                )));
            }
            added.push(add::became(code, said, job)?);
        }
        AddedFlow::assemble(&jobs, added)
            .ok_or_else(|| StoreError::Corrupt("the flow script answered for too few jobs".to_owned()))
    }

    async fn explain_flow(&self, e: RedisError, jobs: &[FlowJob], queues: &[QueueName]) -> StoreError {
        if error::has_code(&e, "CROSSSLOT") {
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            return StoreError::Rejected(format!(
                "the queues of the flow ({}) are in different slots of the Redis Cluster, where nothing can be added to \
                 all of them at once; put the key prefix in braces, or the same part of their names",
                names.join(", ")
            ));
        }
        if !error::has_code(&e, "WRONGTYPE") {
            return self.redis.error(&e);
        }
        let mut wrong = Vec::new();
        for queue in queues {
            let ids: Vec<&JobId> = jobs.iter().filter(|job| job.queue == *queue).map(|job| &job.id).collect();
            match self.wrong_types(&self.keys(queue), &ids).await {
                Ok(found) => wrong.extend(found),
                Err(e) => return e,
            }
        }
        if wrong.is_empty() {
            return StoreError::Corrupt(error::describe(&e));
        }
        StoreError::Corrupt(format!("{}; rename or delete it", wrong.join(", ")))
    }

    pub(super) async fn remove_whole(
        &self,
        queue: &QueueName,
        id: &JobId,
        tree: bool,
    ) -> Result<Removed, StoreError> {
        let keys = self.keys(queue);
        let mut call = script::REMOVE.call(&keys.meta());
        call.arg(id.as_str()).arg(u8::from(tree));
        match reply::int(&self.run(&call, &keys, &[id]).await?)? {
            1 => Ok(Removed::Yes),
            0 => Ok(Removed::Running),
            -8 => Ok(Removed::Scheduled),
            -13 => Err(StoreError::Rejected(format!(
                "too many jobs are below job {id:?} to be removed in one step; remove its unprocessed children first, \
                 or the trees below it one by one"
            ))),
            _ => Ok(Removed::NotFound),
        }
    }

    pub(super) async fn prune(&self, queue: &QueueName, id: &JobId) -> Result<u64, StoreError> {
        let keys = self.keys(queue);
        let mut pruned = 0;
        loop {
            let mut call = script::PRUNE.call(&keys.meta());
            call.arg(id.as_str()).arg(PRUNED_A_CALL);
            let [gone, more] = reply::tuple(self.run(&call, &keys, &[id]).await?)?;
            match reply::int(&gone)? {
                // Its own job went while its children did.
                -1 if pruned > 0 => return Ok(pruned),
                -1 => return Err(StoreError::NotFound(id.clone())),
                gone => pruned += u64::try_from(gone).unwrap_or(0),
            }
            if reply::int(&more)? == 0 {
                return Ok(pruned);
            }
        }
    }

    pub(super) async fn leave(&self, queue: &QueueName, id: &JobId) -> Result<bool, StoreError> {
        let mut call = script::LEAVE.call(&self.keys(queue).meta());
        call.arg(id.as_str());
        Ok(self.run_on_job(queue, id, &call).await? == 1)
    }

    pub(super) async fn read_family(
        &self,
        queue: &QueueName,
        id: &JobId,
        limit: u64,
    ) -> Result<Children, StoreError> {
        let keys = self.keys(queue);
        let mut call = script::CHILDREN.call(&keys.meta());
        call.arg(id.as_str()).arg(limit);
        let [pending, completed, ignored, failed]: [Value; 4] =
            reply::tuple(self.run(&call, &keys, &[id]).await?)?;
        Ok(Children {
            pending: reply::texts(pending)?,
            completed: reply::pairs(completed)?,
            ignored: reply::pairs(ignored)?,
            failed: reply::texts(failed)?,
        })
    }
}
