//! Jobs: adding, looking, and what can be done to one.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jobcell_core::options::JobOptions;
use jobcell_core::store::{Added, AttemptReceipt, Cancelled, NewJob, Page, Removed};
use jobcell_core::wait::{self, Ending};
use jobcell_core::{Job, JobId, JobState, QueueName, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Role};
use super::body::OneOrMany;
use super::page::{self, Items, Path, Query, Slice};
use super::{Desk, Shared};
use crate::input::OptionsInput;
use crate::problem::{Document, Problem};
use crate::view::{JobView, StateName, raw};

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
    /// With `wait`: `completed`, `failed`, `gone`, or `pending` when it had not ended in time.
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

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// States, separated by commas; none is every state, in the order of a job's life.
    state: Option<String>,
    /// `next` of the slice before; none begins at the start.
    cursor: Option<String>,
    /// How many to give. Default 50.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retrying {
    /// Gives the job all its attempts again.
    reset_attempts: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Removing {
    /// Removes all jobs below it in its flow as well.
    children: bool,
}

/// What was done to a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    /// The job.
    id: String,
    /// Its queue.
    queue: String,
    /// The state it is in now.
    #[schema(value_type = Option<StateName>)]
    state: Option<&'static str>,
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
/// that was cut off can be repeated.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs", tag = "jobs", params(("queue" = String, Path), Waiting),
    request_body = JobInputs, responses(
        (status = 201, description = "Added, or there already", body = EnqueuedAll),
        (status = 200, description = "Ended while it was waited for", body = Enqueued),
        (status = 202, description = "Not ended within the wait", body = Enqueued),
        (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Query(Waiting { wait }): Query<Waiting>,
    given: OneOrMany<JobInput>,
) -> Result<Response, Problem> {
    caller.must_be(Role::Operator)?;
    let queue = QueueName::new(queue)?;
    if let Some(wait) = wait.filter(|wait| !(1..=WAIT_MAX).contains(wait)) {
        return Err(Problem::bad_request(format!("wait {wait} is not between 1 and {WAIT_MAX} seconds")));
    }
    let enqueued = |added: &Added| Enqueued {
        id: added.id().to_string(),
        queue: queue.to_string(),
        added: matches!(added, Added::New(_)),
        state: None,
        result: None,
        reason: None,
    };
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
    let jobs = inputs.into_iter().map(|input| new_job(input, &caller)).collect::<Result<Vec<_>, _>>()?;
    check_ids(&desk, &caller, &queue, &jobs).await?;
    // Listen first: a job that is removed as soon as it ends is seen only in the events.
    let after =
        if wait.is_some() { Some(wait::listen_from(desk.store.as_ref(), &queue).await?) } else { None };
    let added = desk.store.add(&queue, jobs, desk.clock.now()).await?;
    desk.known.add(&queue).await;
    match (wait, after, added.as_slice()) {
        (Some(wait), Some(after), [added]) => {
            let patience = Duration::from_secs(wait);
            let ending = wait::for_ending(desk.store.as_ref(), &queue, added.id(), after, patience).await?;
            Ok(ended(enqueued(added), ending).into_response())
        }
        (_, _, [added]) if is_one => Ok((StatusCode::CREATED, Json(enqueued(added))).into_response()),
        (_, _, all) => {
            let all: Vec<Enqueued> = all.iter().map(enqueued).collect();
            Ok((StatusCode::CREATED, Json(all)).into_response())
        }
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

fn ended(enqueued: Enqueued, ending: Ending) -> (StatusCode, Json<Enqueued>) {
    let (status, state, result, reason) = match ending {
        Ending::Completed(result) => (StatusCode::OK, "completed", Some(raw(result.as_bytes())), None),
        Ending::Failed(reason) => (StatusCode::OK, "failed", None, Some(reason)),
        Ending::Gone => {
            (StatusCode::OK, "gone", None, Some("it was removed before its end was seen".to_owned()))
        }
        Ending::TimedOut => (StatusCode::ACCEPTED, "pending", None, None),
    };
    (status, Json(Enqueued { state: Some(state), result, reason, ..enqueued }))
}

/// Jobs of a queue: those that run next first, finished ones newest first. A job that stays in its state is not left out
/// while up to 500 others come or go before it between two slices; one that moves may be seen twice.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs", tag = "jobs", params(("queue" = String, Path), Wanted),
    responses((status = 200, body = Items<JobView>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Query(Wanted { state, cursor, limit }): Query<Wanted>,
) -> Result<Json<Items<JobView>>, Problem> {
    let queue = QueueName::new(queue)?;
    desk.known.check(&caller, &queue).await?;
    let states = match state.as_deref() {
        None | Some("") => JobState::ALL.to_vec(),
        Some(states) => states
            .split(',')
            .map(|state| state.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(Problem::bad_request)?,
    };
    let slice = Slice { cursor, limit };
    let (jobs, next) = page::jobs(desk.store.as_ref(), &queue, &states, &slice).await?;
    // Those of other tenants are left out of a slice, which may be short for it.
    let seen = jobs.iter().filter(|(_, job)| caller.sees(job));
    let items = seen.map(|(state, job)| JobView::new(job, &queue, Some(*state))).collect();
    Ok(Json(Items { items, next }))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs/{id}", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = JobView), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Json<JobView>, Problem> {
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let state = desk.store.state(&queue, &job.id).await?;
    Ok(Json(JobView::new(&job, &queue, state)))
}

/// Removes a job in whatever state, unless it runs.
#[utoipa::path(delete, path = "/api/v1/queues/{queue}/jobs/{id}", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path), Removing),
    responses((status = 204, description = "It is gone"), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
    Query(Removing { children }): Query<Removing>,
) -> Result<StatusCode, Problem> {
    caller.must_be(Role::Operator)?;
    if children {
        // What hangs below it may be anybody's.
        caller.must_see_all()?;
    }
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let removed = if children {
        desk.store.remove_tree(&queue, &job.id).await?
    } else {
        desk.store.remove(&queue, &job.id).await?
    };
    match removed {
        Removed::Yes => Ok(StatusCode::NO_CONTENT),
        Removed::NotFound => Err(missing(&queue, &id)),
        Removed::Running => Err(Problem::conflict(format!(
            "job {id:?}, or one below it, is running; wait for its end, or cancel it"
        ))),
        Removed::Scheduled => {
            let scheduler = job.scheduler.unwrap_or_default();
            Err(Problem::conflict(format!(
                "job {id:?} belongs to scheduler {scheduler:?}; remove that instead"
            )))
        }
    }
}

/// The lines of a job's log, oldest first.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs/{id}/logs", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path), Slice),
    responses((status = 200, body = Items<String>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn logs(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
    Query(slice): Query<Slice>,
) -> Result<Json<Items<String>>, Problem> {
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let (offset, limit) = (slice.offset()?, slice.limit()?);
    let items = desk.store.logs(&queue, &job.id, Page { offset, limit }).await?;
    let more = items.len() as u64 == limit
        && !desk.store.logs(&queue, &job.id, Page { offset: offset + limit, limit: 1 }).await?.is_empty();
    let next = if more { page::cursor(&(offset + limit)) } else { None };
    Ok(Json(Items { items, next }))
}

/// Puts a finished job back among the waiting ones.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs/{id}/retry", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path), Retrying),
    responses((status = 200, body = Changed), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn retry(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
    Query(Retrying { reset_attempts }): Query<Retrying>,
) -> Result<Json<Changed>, Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    desk.store.retry(&queue, &job.id, reset_attempts).await?;
    changed(&desk, &queue, &job.id).await
}

/// Makes a delayed job due now.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs/{id}/promote", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Changed), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn promote(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Json<Changed>, Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    desk.store.promote(&queue, &job.id).await?;
    changed(&desk, &queue, &job.id).await
}

/// Ends a job for good: one that waits at once, one that runs within a second or so, after its handler was told.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs/{id}/cancel", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "It waited, and has ended", body = Changed),
        (status = 202, description = "It runs, and is being ended", body = Changed),
        (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Changed>), Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    match desk.store.cancel(&queue, &job.id, desk.clock.now()).await? {
        Cancelled::Asked => Ok((StatusCode::ACCEPTED, changed(&desk, &queue, &job.id).await?)),
        Cancelled::Ended(_) => Ok((StatusCode::OK, changed(&desk, &queue, &job.id).await?)),
        Cancelled::Finished(state) => {
            Err(Problem::conflict(format!("job {id:?} is {state} already; there is nothing to cancel")))
        }
        Cancelled::Scheduled => Err(scheduled(&job, &id)),
        Cancelled::NotFound => Err(missing(&queue, &id)),
    }
}

/// What the job's last attempts cost, oldest first.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs/{id}/receipt", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Items<serde_json::Value>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn receipt(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Json<Items<AttemptReceipt>>, Problem> {
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    Ok(Json(Items { items: desk.store.receipts(&queue, &job.id).await?, next: None }))
}

async fn changed(desk: &Desk, queue: &QueueName, id: &JobId) -> Result<Json<Changed>, Problem> {
    let state = desk.store.state(queue, id).await?.map(JobState::as_str);
    Ok(Json(Changed { id: id.to_string(), queue: queue.to_string(), state }))
}

/// A job that exists and may be seen: others' jobs are as if they were not there.
pub(super) async fn seen(
    desk: &Desk,
    caller: &Caller,
    queue: &str,
    id: &str,
) -> Result<(QueueName, Job), Problem> {
    let (queue, job_id) = (QueueName::new(queue)?, JobId::new(id)?);
    match desk.store.get(&queue, &job_id).await {
        Ok(Some(job)) if caller.sees(&job) => Ok((queue, job)),
        Ok(_) | Err(StoreError::NotFound(_)) => Err(missing(&queue, id)),
        // Some names are those of the queue's own records; no job has them.
        Err(StoreError::Corrupt(cause)) => {
            tracing::debug!(queue = queue.as_str(), id, cause, "no job can be read there");
            Err(missing(&queue, id))
        }
        Err(error) => Err(error.into()),
    }
}

fn scheduled(job: &Job, id: &str) -> Problem {
    let scheduler = job.scheduler.as_deref().unwrap_or_default();
    Problem::conflict(format!("job {id:?} belongs to scheduler {scheduler:?}; remove that instead"))
}

fn missing(queue: &QueueName, id: &str) -> Problem {
    Problem::not_found(format!(
        "job {id:?} does not exist in queue {:?}; it may have been removed when it finished",
        queue.as_str()
    ))
}
