//! Queues: how they stand, pausing, cleaning, limits.

use axum::Json;
use axum::extract::State;
use futures::future::try_join_all;
use jobcell_core::store::RateLimit;
use jobcell_core::{JobState, QueueName};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Role};
use super::body::Body;
use super::changes::Changes;
use super::page::{self, Items, Path, Query, Slice};
use super::{Desk, Shared};
use crate::explain::Explanation;
use crate::problem::{Document, Problem};
use crate::view::{LimitsView, QueueView, RateView, StateName};

/// What was done to a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// The queue.
    name: String,
    /// Whether it is paused now.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    /// How many jobs are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<u64>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    /// Removes the delayed jobs too.
    delayed: bool,
}

/// What to clean away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clean {
    /// The state of the jobs. Active ones go only when nobody holds their lock; those that wait for children go with
    /// their trees instead.
    #[schema(value_type = StateName)]
    state: String,
    /// Milliseconds since its end (finished ones) or its making that a job must have seen. Default 0.
    #[serde(default)]
    grace: u64,
    /// The most jobs to remove. Default 1000.
    #[serde(default)]
    #[schema(minimum = 1)]
    limit: Option<u64>,
}

/// The limits to set. What is left out stays; null lifts the limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLimits {
    /// Jobs that may be active at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    concurrency: Option<Option<u64>>,
    /// How often jobs may be started.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<RateView>)]
    rate: Option<Option<RateView>>,
}

/// A worker that waits on a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// The name it was given.
    name: Option<String>,
    /// Where it connects from.
    address: String,
    /// How long it has been connected, in milliseconds.
    age_ms: u64,
}

/// Queues in a slice when nothing is asked for: all, of nearly everybody.
const LISTED: u64 = 1000;
/// Queues that are looked at at once.
const AT_ONCE: usize = 64;

/// Tells "left out" from "null".
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Every queue, by name. Default 1000 in a slice.
#[utoipa::path(get, path = "/api/v1/queues", tag = "queues", params(Slice), responses(
    (status = 200, body = Items<QueueView>), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn list(
    State(desk): Shared,
    caller: Caller,
    Query(slice): Query<Slice>,
) -> Result<Json<Items<QueueView>>, Problem> {
    caller.must_see_all()?;
    let limit = slice.limit_or(LISTED)?;
    let last: Option<String> = slice.place()?;
    let all = desk.known.all().await?;
    let behind = all.iter().filter(|queue| last.as_deref().is_none_or(|last| queue.as_str() > last));
    let mut queues: Vec<&QueueName> = behind.take(usize::try_from(limit).unwrap_or(usize::MAX) + 1).collect();
    let has_more = queues.len() as u64 > limit;
    queues.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = queues.last().filter(|_| has_more).and_then(|last| page::cursor(&last.as_str()));
    let mut items = Vec::with_capacity(queues.len());
    for some in queues.chunks(AT_ONCE) {
        items.extend(try_join_all(some.iter().map(|queue| view(&desk, queue))).await?);
    }
    Ok(Json(Items { items, next }))
}

/// One queue.
#[utoipa::path(get, path = "/api/v1/queues/{queue}", tag = "queues", params(("queue" = String, Path)), responses(
    (status = 200, body = QueueView), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn get(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Json<QueueView>, Problem> {
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    desk.known.check(&caller, &queue).await?;
    Ok(Json(view(&desk, &queue).await?))
}

/// Stops giving out jobs, on every host. May be repeated.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/pause", tag = "queues", params(("queue" = String, Path)), responses(
    (status = 200, body = Done), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn pause(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Changes<Json<Done>>, Problem> {
    set_paused(&desk, &caller, &queue, true).await
}

/// Gives out jobs again. May be repeated.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/resume", tag = "queues", params(("queue" = String, Path)), responses(
    (status = 200, body = Done), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn resume(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Changes<Json<Done>>, Problem> {
    set_paused(&desk, &caller, &queue, false).await
}

/// Removes all jobs that wait. Those that run and those that are finished stay.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/drain", tag = "queues", params(("queue" = String, Path), Drain),
    responses((status = 200, body = Done), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn drain(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Query(Drain { delayed }): Query<Drain>,
) -> Result<Changes<Json<Done>>, Problem> {
    let queue = operable(&desk, &caller, &queue, Role::Admin).await?;
    let count = desk.store.drain(&queue, delayed).await?;
    Ok(removed(&queue, count, json!({ "removed": count, "delayed": delayed })))
}

/// Removes old jobs of a state.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/clean", tag = "queues", params(("queue" = String, Path)),
    request_body = Clean, responses((status = 200, body = Done), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn clean(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Body(Clean { state, grace, limit }): Body<Clean>,
) -> Result<Changes<Json<Done>>, Problem> {
    let queue = operable(&desk, &caller, &queue, Role::Admin).await?;
    let state: JobState = state.parse().map_err(Problem::bad_request)?;
    let before = desk.clock.now().saturating_sub(grace);
    let gone = desk.store.clean(&queue, state, before, limit.unwrap_or(1000)).await?;
    let count = gone.len() as u64;
    Ok(removed(&queue, count, json!({ "removed": count, "state": state.as_str() })))
}

async fn set_paused(
    desk: &Desk,
    caller: &Caller,
    queue: &str,
    paused: bool,
) -> Result<Changes<Json<Done>>, Problem> {
    let queue = operable(desk, caller, queue, Role::Operator).await?;
    let before = desk.store.is_paused(&queue).await?;
    if paused {
        desk.store.pause(&queue).await?;
    } else {
        desk.store.resume(&queue).await?;
    }
    Ok(Changes {
        before: Some(json!({ "paused": before })),
        after: Some(json!({ "paused": paused })),
        answer: Json(Done { name: queue.to_string(), paused: Some(paused), removed: None }),
    })
}

fn removed(queue: &QueueName, count: u64, after: Value) -> Changes<Json<Done>> {
    let done = Done { name: queue.to_string(), paused: None, removed: Some(count) };
    Changes { before: None, after: Some(after), answer: Json(done) }
}

/// The limits that hold over all workers.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/limits", tag = "queues", params(("queue" = String, Path)),
    responses((status = 200, body = LimitsView), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn limits(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Json<LimitsView>, Problem> {
    let queue = operable(&desk, &caller, &queue, Role::Viewer).await?;
    Ok(Json(LimitsView::new(&queue, &desk.store.limits(&queue).await?)))
}

/// Why jobs that were added do not run: everything that holds the queue up, with what to do.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/explain", tag = "queues", params(("queue" = String, Path)),
    responses((status = 200, body = Explanation), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn explain(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Json<Explanation>, Problem> {
    caller.must_be(Role::Viewer)?;
    caller.must_see_all()?;
    // Also of a queue that nobody knows: its name may be one that was mixed up.
    let queue = QueueName::new(queue)?;
    let Some(explain) = &desk.explain else {
        return Err(Problem::not_found("this server belongs to no host that could explain it"));
    };
    Ok(Json(explain.explain(&queue).await?))
}

/// Sets limits over all workers.
#[utoipa::path(patch, path = "/api/v1/queues/{queue}/limits", tag = "queues", params(("queue" = String, Path)),
    request_body = NewLimits, responses((status = 200, body = LimitsView), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn set_limits(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Body(NewLimits { concurrency, rate }): Body<NewLimits>,
) -> Result<Changes<Json<LimitsView>>, Problem> {
    let queue = operable(&desk, &caller, &queue, Role::Operator).await?;
    let before = LimitsView::new(&queue, &desk.store.limits(&queue).await?);
    if let Some(concurrency) = concurrency {
        desk.store.set_concurrency(&queue, concurrency).await?;
    }
    if let Some(rate) = rate {
        let limit = |RateView { max, per_ms }| RateLimit { max, per: Duration::from_millis(per_ms) };
        desk.store.set_rate(&queue, rate.map(limit)).await?;
    }
    let after = LimitsView::new(&queue, &desk.store.limits(&queue).await?);
    Ok(Changes { before: Some(json!(before)), after: Some(json!(after)), answer: Json(after) })
}

/// The workers that wait on the queue now, of every kind.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/workers", tag = "queues", params(("queue" = String, Path)),
    responses((status = 200, body = Items<Worker>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn workers(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
) -> Result<Json<Items<Worker>>, Problem> {
    let queue = operable(&desk, &caller, &queue, Role::Viewer).await?;
    let seen = desk.store.workers(&queue).await?.into_iter().map(|seen| Worker {
        name: seen.name,
        address: seen.address,
        age_ms: u64::try_from(seen.age.as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Json(Items { items: seen.collect(), next: None }))
}

/// A queue that exists, for somebody who may do this to it.
async fn operable(desk: &Desk, caller: &Caller, queue: &str, role: Role) -> Result<QueueName, Problem> {
    caller.must_be(role)?;
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    desk.known.check(caller, &queue).await?;
    Ok(queue)
}

async fn view(desk: &Desk, queue: &QueueName) -> Result<QueueView, Problem> {
    let (counts, paused) = futures::try_join!(desk.store.counts(queue), desk.store.is_paused(queue))?;
    let configured = desk.known.is_configured(queue);
    Ok(QueueView { name: queue.to_string(), paused, configured, counts })
}
