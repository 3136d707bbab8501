//! Adding jobs: one or many, with or without waiting, and what becomes of them while the store is away.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jobcell_core::options::JobOptions;
use jobcell_core::store::{Added, NewJob};
use jobcell_core::wait::{self, Ending};
use jobcell_core::{JobId, QueueName, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Role};
use super::body::OneOrMany;
use super::carried::Carried;
use super::page::{Path, Query};
use super::{Desk, Shared};
use crate::input::OptionsInput;
use crate::problem::{Document, Problem};
use crate::redact::Redaction;
use crate::spool::{Spool, SpoolError};
use crate::view::raw;

/// A job to be added, as BullMQ's `addBulk` takes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewJob)]
pub(crate) struct JobInput {
    /// The kind of job, by which a handler is chosen.
    #[schema(min_length = 1)]
    name: String,
    /// The payload, any JSON. Default `{}`.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
    /// The options.
    #[serde(default)]
    opts: Option<OptionsInput>,
}

/// What became of a job that was to be added.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enqueued {
    /// The id of the job that is in the store now.
    id: String,
    /// The queue.
    queue: String,
    /// False when a job with this id, or the owner of the deduplication id, was there already.
    added: bool,
    /// With `wait`: `completed`, `failed`, `gone`, or `pending` when it had not ended in time. `spooled` when the store is
    /// away and the host keeps the job until it is back.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// With `wait`: the result of a job that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// With `wait`: why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// One answer for one job, an array for an array.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "gives the schema of the answer its shape")]
pub(crate) enum EnqueuedAll {
    One(Enqueued),
    Many(Vec<Enqueued>),
}

/// The same for what is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = NewJobs)]
#[expect(dead_code, reason = "gives the schema of the body its shape")]
pub(crate) enum JobInputs {
    One(Box<JobInput>),
    Many(Vec<JobInput>),
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Waiting {
    /// Waits up to so many seconds for the job's end and answers with its result. For one job, not for an array.
    #[param(minimum = 1, maximum = 240)]
    wait: Option<u64>,
}

/// The longest wait: connections are used for 300 s.
const WAIT_MAX: u64 = 240;
/// Jobs of one request.
const JOBS_MAX: usize = 1000;

/// How much longer than usual a request may take, because it asks to wait.
pub(super) fn asked_wait(uri: &Uri) -> Duration {
    let wait = axum::extract::Query::<Waiting>::try_from_uri(uri).ok().and_then(|query| query.0.wait);
    Duration::from_secs(wait.unwrap_or(0).min(WAIT_MAX))
}

/// Adds a job, or an array of them, in order. A job whose `opts.jobId` is there already is not added again, so a request
/// that was cut off can be repeated. Jobs without a telemetry context of their own carry the request's.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs", tag = "jobs", params(("queue" = String, Path), Waiting,
        ("traceparent" = Option<String>, Header, description = "The trace that the jobs are part of (W3C)"),
        ("tracestate" = Option<String>, Header, description = "Goes with `traceparent`")),
    request_body = JobInputs, responses(
        (status = 201, description = "Added, or there already", body = EnqueuedAll),
        (status = 200, description = "Ended while it was waited for", body = Enqueued),
        (status = 202, description = "Not ended within the wait, or kept until the store is back", body = EnqueuedAll),
        (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn add(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Query(Waiting { wait }): Query<Waiting>,
    Carried(context): Carried,
    given: OneOrMany<JobInput>,
) -> Result<Response, Problem> {
    caller.must_be(Role::Operator)?;
    let queue = QueueName::new(queue)?;
    if let Some(wait) = wait.filter(|wait| !(1..=WAIT_MAX).contains(wait)) {
        return Err(Problem::bad_request(format!("wait {wait} is not between 1 and {WAIT_MAX} seconds")));
    }
    let (inputs, is_one) = match given {
        OneOrMany::One(input) => (vec![input], true),
        OneOrMany::Many(inputs) => (inputs, false),
    };
    if inputs.len() > JOBS_MAX {
        let what = format!("{} jobs in one request; the limit is {JOBS_MAX}", inputs.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what));
    }
    if wait.is_some() && !is_one {
        return Err(Problem::bad_request("`wait` is for one job, not for an array; leave one of them out"));
    }
    let mut jobs = inputs.into_iter().map(|input| new_job(input, &caller)).collect::<Result<Vec<_>, _>>()?;
    // A producer that says where its trace is, or that it ends here, knows better.
    for job in jobs.iter_mut().filter(|job| job.options.telemetry.is_none() && !job.options.omit_context) {
        job.options.telemetry.clone_from(&context);
    }
    check_ids(&desk, &caller, &queue, &jobs).await?;
    let (after, stored) = match desk.spool.as_deref().filter(|spool| spool.takes(&queue)) {
        None => store(&desk, &queue, jobs, wait.is_some()).await?,
        Some(spool) => {
            let jobs = with_ids(jobs, spool);
            match try_store(&desk, &queue, &jobs, wait.is_some(), spool).await? {
                Some(stored) => stored,
                None => {
                    spool.keep(&queue, &jobs, desk.clock.now()).await?;
                    return Ok(spooled(&queue, &jobs, is_one));
                }
            }
        }
    };
    desk.known.add(&queue).await;
    let enqueued = |added: &Added| Enqueued::new(&queue, added.id().as_str(), matches!(added, Added::New(_)));
    match (wait, after, stored.as_slice()) {
        (Some(wait), Some(after), [added]) => {
            let patience = Duration::from_secs(wait);
            let ending = wait::for_ending(desk.store.as_ref(), &queue, added.id(), after, patience).await?;
            Ok(ended(enqueued(added), ending, &desk.redaction).into_response())
        }
        (_, _, [added]) if is_one => Ok((StatusCode::CREATED, Json(enqueued(added))).into_response()),
        (_, _, all) => {
            let all: Vec<Enqueued> = all.iter().map(enqueued).collect();
            Ok((StatusCode::CREATED, Json(all)).into_response())
        }
    }
}

/// Where to listen for the end of what was added, and what was added.
type Stored = (Option<String>, Vec<Added>);

async fn store(desk: &Desk, queue: &QueueName, jobs: Vec<NewJob>, waits: bool) -> Result<Stored, StoreError> {
    // Listen first: a job that is removed as soon as it ends is seen only in the events.
    let after = if waits { Some(wait::listen_from(desk.store.as_ref(), queue).await?) } else { None };
    Ok((after, desk.store.add(queue, jobs, desk.clock.now()).await?))
}

/// None when the jobs are for the spool: the store is away, or others wait there already.
async fn try_store(
    desk: &Desk,
    queue: &QueueName,
    jobs: &[NewJob],
    waits: bool,
    spool: &dyn Spool,
) -> Result<Option<Stored>, StoreError> {
    if spool.holds_jobs() {
        return Ok(None);
    }
    match store(desk, queue, jobs.to_vec(), waits).await {
        Ok(stored) => Ok(Some(stored)),
        Err(StoreError::Unavailable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every job with an id, given before the store is tried: what was added although the answer was lost is then not added
/// again from the spool.
fn with_ids(mut jobs: Vec<NewJob>, spool: &dyn Spool) -> Vec<NewJob> {
    for job in &mut jobs {
        if job.options.job_id.is_none() {
            job.options.job_id = Some(spool.new_id());
        }
    }
    jobs
}

fn spooled(queue: &QueueName, jobs: &[NewJob], is_one: bool) -> Response {
    let of = |job: &NewJob| {
        let id = job.options.job_id.as_deref().unwrap_or_default();
        Enqueued { state: Some("spooled"), ..Enqueued::new(queue, id, true) }
    };
    match jobs {
        [job] if is_one => (StatusCode::ACCEPTED, Json(of(job))).into_response(),
        jobs => (StatusCode::ACCEPTED, Json(jobs.iter().map(of).collect::<Vec<_>>())).into_response(),
    }
}

fn new_job(JobInput { name, data, opts }: JobInput, caller: &Caller) -> Result<NewJob, Problem> {
    if name.is_empty() {
        return Err(Problem::bad_request("the job's name is empty; handlers are chosen by it"));
    }
    let data =
        data.map_or(Bytes::from_static(b"{}"), |data| Bytes::from(Box::<str>::from(data).into_string()));
    let opts = opts.unwrap_or_default();
    if let Some(limit) = opts.size_limit.filter(|limit| data.len() > *limit) {
        let what = format!("job {name:?} has {} bytes of data, over its sizeLimit of {limit}", data.len());
        return Err(Problem::bad_request(what));
    }
    let mut options = JobOptions::from(opts);
    if let Some(id) = &options.job_id {
        JobId::custom(id)?;
    }
    if let Some(tenant) = caller.tenant() {
        match &options.tenant {
            Some(named) if named != tenant => {
                let what = format!(
                    "{} is bound to the tenant {tenant:?} and cannot add jobs of {named:?}",
                    caller.name
                );
                return Err(Problem::new(StatusCode::FORBIDDEN, what));
            }
            _ => options.tenant = Some(tenant.to_owned()),
        }
        // Both name jobs of the queue that may be others', and change what becomes of them.
        let shared =
            [(options.parent.is_some(), "parent"), (options.deduplication.is_some(), "deduplication")];
        if let Some((_, option)) = shared.into_iter().find(|(is_given, _)| *is_given) {
            let what =
                format!("{} is bound to a tenant, and opts.{option} may concern others' jobs", caller.name);
            return Err(Problem::forbidden(what));
        }
    }
    Ok(NewJob { name, data, options, parent: None })
}

/// A queue's ids are all its tenants': who is bound to one may not touch or hear of the job that has an id already.
async fn check_ids(desk: &Desk, caller: &Caller, queue: &QueueName, jobs: &[NewJob]) -> Result<(), Problem> {
    if caller.tenant().is_none() {
        return Ok(());
    }
    for id in jobs.iter().filter_map(|job| job.options.job_id.as_deref()) {
        if desk.store.get(queue, &JobId::new(id)?).await?.is_some_and(|job| !caller.sees(&job)) {
            return Err(Problem::conflict(format!(
                "the id {id:?} is taken in this queue; choose another one"
            )));
        }
    }
    Ok(())
}

fn ended(enqueued: Enqueued, ending: Ending, redaction: &Redaction) -> (StatusCode, Json<Enqueued>) {
    let shown = |result: &str| redaction.of_part("returnvalue", raw(result.as_bytes()));
    let (status, state, result, reason) = match ending {
        Ending::Completed(result) => (StatusCode::OK, "completed", Some(shown(&result)), None),
        Ending::Failed(reason) => (StatusCode::OK, "failed", None, Some(reason)),
        Ending::Gone => {
            (StatusCode::OK, "gone", None, Some("it was removed before its end was seen".to_owned()))
        }
        Ending::TimedOut => (StatusCode::ACCEPTED, "pending", None, None),
    };
    (status, Json(Enqueued { state: Some(state), result, reason, ..enqueued }))
}

// === impl Enqueued ===

impl Enqueued {
    fn new(queue: &QueueName, id: &str, added: bool) -> Self {
        let (id, queue) = (id.to_owned(), queue.to_string());
        Self { id, queue, added, state: None, result: None, reason: None }
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        if let SpoolError::Write(_) = error {
            tracing::error!(%error, "jobs could not be kept");
        }
        Self::store_away(error.to_string())
    }
}
