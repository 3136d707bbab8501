//! `jobcell:job/jobs`: puts work on queues, for handlers granted `enqueue = ["QUEUE"]`.

use bytes::Bytes;
use jobcell_core::options::ParentRef;
use jobcell_core::store::{NewJob, Parent};
use jobcell_core::{Backoff, BackoffKind, HostCall, JobId, JobOptions, QueueName};

use super::{TENANT_BYTES_MAX, missing, shown, store_error, within};
use crate::cell::Cell;
use crate::effect::{Does, Parts};
use crate::grants::covers;
use crate::job::{handed_on, is_json};
use crate::usage::Budget;
use crate::world::jobcell::job::jobs::{self, BackoffKind as Kind, Host, OnChildFailure, Options};
use crate::world::jobcell::job::types::Error;

/// Bytes of a job's name.
const NAME_BYTES_MAX: usize = 256;
/// The lowest priority there is.
const PRIORITY_MAX: u32 = 2_097_151;

impl Host for Cell {
    async fn enqueue(
        &mut self,
        queue: String,
        name: String,
        data: Vec<u8>,
        options: Options,
    ) -> Result<String, Error> {
        self.called(HostCall::Jobs);
        let (queue, job) = self.new_job(&queue, name, data, &options)?;
        self.add(&queue, job).await
    }

    async fn enqueue_child(
        &mut self,
        queue: String,
        name: String,
        data: Vec<u8>,
        options: Options,
    ) -> Result<String, Error> {
        self.called(HostCall::Jobs);
        let (queue, mut job) = self.new_job(&queue, name, data, &options)?;
        let queue_key = format!("{}:{}", self.template.services().key_prefix, self.attempt.queue);
        let id = self.attempt.job.id.clone();
        job.options.parent = Some(ParentRef { id: id.as_str().to_owned(), queue: queue_key.clone() });
        job.parent = Some(Parent { queue_key, id });
        match options.on_failure {
            OnChildFailure::Block => {}
            OnChildFailure::FailParent => job.options.fail_parent_on_failure = true,
            OnChildFailure::ContinueParent => job.options.continue_parent_on_failure = true,
            OnChildFailure::Ignore => job.options.ignore_dependency_on_failure = true,
            OnChildFailure::RemoveDependency => job.options.remove_dependency_on_failure = true,
        }
        self.add(&queue, job).await
    }
}

impl Cell {
    fn new_job(
        &mut self,
        queue: &str,
        name: String,
        data: Vec<u8>,
        options: &Options,
    ) -> Result<(QueueName, NewJob), Error> {
        if !covers(&self.template.grants().enqueue, queue) {
            let queue = shown(queue);
            return Err(self.denied(
                "jobs",
                &format!("queue {queue:?}"),
                &format!("enqueue = [\"{queue}\"]"),
            ));
        }
        let queue = QueueName::new(queue).map_err(|fault| Error::Invalid(fault.to_string()))?;
        within(name.len(), NAME_BYTES_MAX)?;
        self.within("payload", data.len(), self.template.limits().payload)?;
        let data = if data.is_empty() { Bytes::from_static(b"null") } else { Bytes::from(data) };
        if !is_json(&data) {
            return Err(Error::Invalid("the payload is not JSON text".to_owned()));
        }
        let mut options = self.options(options)?;
        options.depth = self.deeper()?;
        Ok((queue, NewJob { name, data, options, parent: None }))
    }

    /// How far the jobs of this attempt are from the producer.
    fn deeper(&mut self) -> Result<u64, Error> {
        let (depth, limit) = (self.attempt.job.options.depth.saturating_add(1), self.template.limits().depth);
        if depth <= u64::from(limit) {
            return Ok(depth);
        }
        self.usage.refuse("depth", depth, limit.into());
        Err(Error::Quota(format!(
            "this job is {} enqueued jobs away from its producer, and the limit is {limit} (limits.depth)",
            depth - 1
        )))
    }

    fn options(&self, options: &Options) -> Result<JobOptions, Error> {
        let Options { id, delay_ms, priority, attempts, backoff, lifo, tenant, on_failure: _ } = options;
        if let Some(id) = id {
            JobId::custom(id).map_err(|fault| Error::Invalid(fault.to_string()))?;
        }
        let priority = priority.unwrap_or(0);
        if priority > PRIORITY_MAX {
            return Err(Error::Invalid(format!(
                "priority {priority} is over {PRIORITY_MAX}, the lowest there is"
            )));
        }
        Ok(JobOptions {
            job_id: id.clone(),
            delay: delay_ms.unwrap_or(0),
            priority: u64::from(priority),
            attempts: u64::from(attempts.unwrap_or(0)),
            backoff: backoff.as_ref().map(backoff_of),
            lifo: *lifo,
            tenant: self.tenant_of(tenant.as_deref())?,
            telemetry: handed_on(&self.attempt),
            ..JobOptions::default()
        })
    }

    /// Whose a new job is. Work that a job makes is done for the same tenant. Only a job without a tenant can name one:
    /// else a tenant's job could have another one run with what the handler keeps for somebody else.
    fn tenant_of(&self, asked: Option<&str>) -> Result<Option<String>, Error> {
        let own = self.attempt.job.options.tenant.as_deref();
        within(asked.map_or(0, str::len), TENANT_BYTES_MAX)?;
        match (own, asked) {
            (Some(own), Some(asked)) if own != asked => {
                self.tell_denied("jobs");
                Err(Error::Denied(format!(
                    "a job of tenant {:?} cannot enqueue one of tenant {:?}; leave the tenant out, or let a job that \
                     has none do it",
                    shown(own),
                    shown(asked)
                )))
            }
            (own, asked) => Ok(asked.or(own).map(str::to_owned)),
        }
    }

    async fn add(&mut self, queue: &QueueName, job: NewJob) -> Result<String, Error> {
        self.spend(Budget::Enqueued, 1)?;
        let call = self.effect(HostCall::Jobs, "enqueue", Does::Write, |ask| parts(ask, queue, &job));
        let services = self.template.services();
        let store = services.store.as_ref().ok_or_else(|| missing("a job store"));
        call.answer(async {
            let added = store?.add(queue, vec![job], services.clock.now()).await.map_err(store_error)?;
            let added = added
                .first()
                .ok_or_else(|| Error::Other("the store did not say which job it added".to_owned()))?;
            Ok(added.id().as_str().to_owned())
        })
        .await
    }
}

/// What a new job consists of: all that the handler chose. The trace that it carries is the attempt's own.
fn parts(ask: &mut Parts<'_>, queue: &QueueName, job: &NewJob) {
    let NewJob { name, data, options, parent } = job;
    ask.name(queue.as_str());
    ask.name(name);
    ask.bytes(data);
    ask.maybe(options.job_id.as_deref());
    ask.maybe(options.tenant.as_deref());
    for number in [options.delay, options.priority, options.attempts, options.depth] {
        ask.number(number);
    }
    ask.maybe(options.backoff.as_ref().map(|backoff| format!("{backoff:?}")).as_deref());
    ask.maybe(parent.as_ref().map(|parent| parent.id.as_str()));
    for flag in [
        options.lifo,
        options.fail_parent_on_failure,
        options.continue_parent_on_failure,
        options.ignore_dependency_on_failure,
        options.remove_dependency_on_failure,
    ] {
        ask.number(flag.into());
    }
}

fn backoff_of(backoff: &jobs::Backoff) -> Backoff {
    let kind = match backoff.kind {
        Kind::Fixed => BackoffKind::Fixed,
        Kind::Exponential => BackoffKind::Exponential,
    };
    Backoff { kind, delay: backoff.delay_ms, jitter: None }
}
