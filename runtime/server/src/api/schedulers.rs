//! Schedulers: rules that make jobs again and again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{Page, Scheduled, SchedulerSpec};
use jobcell_core::{Millis, QueueName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Shared;
use super::access::{Caller, Role};
use super::body::Body;
use super::changes::Changes;
use super::page::{self, Items, Path, Query, Slice};
use crate::audit::rule_of;
use crate::input::OptionsInput;
use crate::problem::{Document, Problem};
use crate::view::SchedulerView;

/// A scheduler to be made or changed. Either `every` or `pattern` says when its jobs run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewScheduler)]
pub(crate) struct SchedulerInput {
    /// Milliseconds between its jobs.
    #[schema(minimum = 1)]
    every: Option<u64>,
    /// How far into each distance jobs run, in milliseconds.
    offset: Option<u64>,
    /// Cron: five fields, or six with seconds in front.
    pattern: Option<String>,
    /// The time zone of the pattern by its IANA name. Default UTC.
    tz: Option<String>,
    /// The first job of a pattern runs at once.
    #[serde(default)]
    immediately: bool,
    /// No job runs before, in milliseconds since 1970.
    start_date: Option<Millis>,
    /// No job is made after.
    end_date: Option<Millis>,
    /// So many jobs are made in all.
    #[schema(minimum = 1)]
    limit: Option<u64>,
    /// The name of its jobs. Default the scheduler's id.
    name: Option<String>,
    /// The payload of its jobs. Default `{}`.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
    /// The options of its jobs.
    opts: Option<OptionsInput>,
}

/// Places behind a slice that are looked at for one more: some may hold what cannot be read.
const AFTER: u64 = 50;

/// A longer distance is a mistake; its next slot may be beyond what a store can date.
const EVERY_MAX: u64 = 100 * 365 * 24 * 3_600_000;

/// What a scheduler makes next.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Set {
    /// The scheduler.
    id: String,
    /// Its queue.
    queue: String,
    /// Its pending job.
    job: String,
    /// When that is due, in milliseconds since 1970.
    next: Millis,
}

/// Schedulers, those that come next first.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/schedulers", tag = "schedulers",
    params(("queue" = String, Path), Slice),
    responses((status = 200, body = Items<SchedulerView>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(desk): Shared,
    caller: Caller,
    Path(queue): Path<String>,
    Query(slice): Query<Slice>,
) -> Result<Json<Items<SchedulerView>>, Problem> {
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    desk.known.check(&caller, &queue).await?;
    let (offset, limit) = (slice.offset()?, slice.limit()?);
    let found = desk.store.schedulers(&queue, Page { offset, limit }).await?;
    // Those that cannot be read are left out, so a short slice need not be the last: only what comes after says that.
    let after = Page { offset: offset.saturating_add(limit), limit: AFTER };
    let is_last = desk.store.schedulers(&queue, after).await?.is_empty();
    let next = if is_last { None } else { page::cursor(&after.offset) };
    let view = |scheduler| SchedulerView::new(scheduler, &queue).redacted(&desk.redaction);
    let items = found.iter().map(view).collect();
    Ok(Json(Items { items, next }))
}

/// One scheduler.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/schedulers/{id}", tag = "schedulers",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = SchedulerView), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Json<SchedulerView>, Problem> {
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    match desk.store.scheduler(&queue, &id).await? {
        Some(scheduler) => Ok(Json(SchedulerView::new(&scheduler, &queue).redacted(&desk.redaction))),
        None => Err(missing(&queue, &id)),
    }
}

/// Makes a scheduler, or changes the one with this id: its pending job is replaced, one that runs goes on. May be
/// repeated.
#[utoipa::path(put, path = "/api/v1/queues/{queue}/schedulers/{id}", tag = "schedulers",
    params(("queue" = String, Path), ("id" = String, Path)), request_body = SchedulerInput,
    responses((status = 200, body = Set), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn set(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
    Body(input): Body<SchedulerInput>,
) -> Result<Changes<Json<Set>>, Problem> {
    caller.must_be(Role::Operator)?;
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    let spec = spec(id.clone(), input)?;
    let now = desk.clock.now();
    // What is wrong with what was sent is a bad request; what is in the way in the store is not.
    spec.check().map_err(|error| Problem::bad_request(error.to_string()))?;
    spec.timetable
        .first(None, now)
        .map_err(|error| Problem::bad_request(spec.rejected(&error).to_string()))?;
    // For the audit alone: what cannot be read is replaced all the same.
    let before = desk.store.scheduler(&queue, &id).await.ok().flatten();
    let after = rule_of(&spec);
    let Scheduled { job, due } = desk.store.set_scheduler(&queue, spec, now).await?;
    desk.known.add(&queue).await;
    Ok(Changes {
        before: before.map(|scheduler| rule_of(&scheduler.spec)),
        after: Some(after),
        answer: Json(Set { id, queue: queue.to_string(), job: job.to_string(), next: due }),
    })
}

fn spec(id: String, input: SchedulerInput) -> Result<SchedulerSpec, Problem> {
    let SchedulerInput {
        every,
        offset,
        pattern,
        tz,
        immediately,
        start_date,
        end_date,
        limit,
        name,
        data,
        opts,
    } = input;
    let rule = match (every, pattern) {
        (Some(every), None) if tz.is_none() && !immediately => Rule::Every { every, offset },
        (None, Some(pattern)) if offset.is_none() => Rule::Cron { pattern, tz, immediately },
        (Some(_), None) => {
            return Err(Problem::bad_request("`tz` and `immediately` go with `pattern`, not with `every`"));
        }
        (None, Some(_)) => {
            return Err(Problem::bad_request("`offset` goes with `every`, not with `pattern`"));
        }
        (Some(_), Some(_)) => return Err(Problem::bad_request("`every` and `pattern` exclude each other")),
        (None, None) => return Err(Problem::bad_request("say when its jobs run: `every` or `pattern`")),
    };
    if let Some(every) = every.filter(|every| *every > EVERY_MAX) {
        return Err(Problem::bad_request(format!(
            "every {every} is longer than a hundred years; it is milliseconds"
        )));
    }
    let name = name.unwrap_or_else(|| id.clone());
    if name.is_empty() {
        return Err(Problem::bad_request("the jobs' name is empty; handlers are chosen by it"));
    }
    let data = data.map(|data| Bytes::from(Box::<str>::from(data).into_string()));
    let timetable = Timetable { rule, start: start_date, end: end_date, limit };
    Ok(SchedulerSpec { id, timetable, name, data, options: opts.unwrap_or_default().into() })
}

/// Removes a scheduler with its pending job; one that is due already or runs goes on.
#[utoipa::path(delete, path = "/api/v1/queues/{queue}/schedulers/{id}", tag = "schedulers",
    params(("queue" = String, Path), ("id" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
) -> Result<Changes<StatusCode>, Problem> {
    caller.must_be(Role::Operator)?;
    caller.must_see_all()?;
    let queue = QueueName::new(queue)?;
    let before = desk.store.scheduler(&queue, &id).await.ok().flatten();
    if desk.store.remove_scheduler(&queue, &id).await? {
        let before = before.map(|scheduler| rule_of(&scheduler.spec));
        Ok(Changes { before, after: None, answer: StatusCode::NO_CONTENT })
    } else {
        Err(missing(&queue, &id))
    }
}

fn missing(queue: &QueueName, id: &str) -> Problem {
    Problem::not_found(format!("scheduler {id:?} does not exist in queue {:?}", queue.as_str()))
}
