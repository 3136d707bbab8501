//! Jobs: looking, and what can be done to one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jobcell_core::store::{AttemptReceipt, Cancelled, Page, Removed};
use jobcell_core::{Job, JobId, JobState, QueueName, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Role};
use super::changes::Changes;
use super::page::{self, Items, Path, Query, Slice};
use super::{Desk, Shared};
use crate::problem::{Document, Problem};
use crate::view::{JobView, StateName};

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

/// Jobs of a queue: those that run next first, finished ones newest first. A slice goes on behind the job that was seen
/// last. Where that has left its state, and of waiting and running jobs, none that stays is left out while up to 500
/// others come or go before it between two slices; one that moves may be seen twice.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs", tag = "jobs", params(("queue" = String, Path), Wanted),
    responses((status = 200, body = Items<JobView>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list(
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
    let items =
        seen.map(|(state, job)| JobView::new(job, &queue, Some(*state)).redacted(&desk.redaction)).collect();
    Ok(Json(Items { items, next }))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs/{id}", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = JobView), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Json<JobView>, Problem> {
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    // A record from before its state would show a job that has ended without its result.
    let looked_at = desk.store.look_at(&queue, &job.id).await?;
    let (job, state) = looked_at.ok_or_else(|| missing(&queue, &id))?;
    let receipts = desk.store.receipts(&queue, &job.id).await?;
    Ok(Json(JobView::new(&job, &queue, state).with_attempts(&receipts).redacted(&desk.redaction)))
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
) -> Result<Changes<StatusCode>, Problem> {
    caller.must_be(Role::Operator)?;
    if children {
        // What hangs below it may be anybody's.
        caller.must_see_all()?;
    }
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let before = desk.store.state(&queue, &job.id).await?.map(JobState::as_str);
    let removed = if children {
        desk.store.remove_tree(&queue, &job.id).await?
    } else {
        desk.store.remove(&queue, &job.id).await?
    };
    match removed {
        Removed::Yes => {
            let before = Some(json!({ "state": before, "name": job.name }));
            Ok(Changes { before, after: None, answer: StatusCode::NO_CONTENT })
        }
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
) -> Result<Changes<Json<Changed>>, Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let before = desk.store.state(&queue, &job.id).await?;
    desk.store.retry(&queue, &job.id, reset_attempts).await?;
    changed(&desk, &queue, &job.id, before).await
}

/// Makes a delayed job due now.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/jobs/{id}/promote", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Changed), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn promote(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Changes<Json<Changed>>, Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let before = desk.store.state(&queue, &job.id).await?;
    desk.store.promote(&queue, &job.id).await?;
    changed(&desk, &queue, &job.id, before).await
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
) -> Result<(StatusCode, Changes<Json<Changed>>), Problem> {
    caller.must_be(Role::Operator)?;
    let (queue, job) = seen(&desk, &caller, &queue, &id).await?;
    let before = desk.store.state(&queue, &job.id).await?;
    match desk.store.cancel(&queue, &job.id, desk.clock.now()).await? {
        Cancelled::Asked => Ok((StatusCode::ACCEPTED, changed(&desk, &queue, &job.id, before).await?)),
        Cancelled::Ended(_) => Ok((StatusCode::OK, changed(&desk, &queue, &job.id, before).await?)),
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

async fn changed(
    desk: &Desk,
    queue: &QueueName,
    id: &JobId,
    before: Option<JobState>,
) -> Result<Changes<Json<Changed>>, Problem> {
    let state = desk.store.state(queue, id).await?.map(JobState::as_str);
    Ok(Changes {
        before: Some(json!({ "state": before.map(JobState::as_str) })),
        after: Some(json!({ "state": state })),
        answer: Json(Changed { id: id.to_string(), queue: queue.to_string(), state }),
    })
}

/// A job that exists and may be seen: others' jobs are as if they were not there.
pub(crate) async fn seen(
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
