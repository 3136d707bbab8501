//! Handlers and their versions: what runs, taking in new versions, and moving between them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as Raw;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Role};
use super::artifact;
use super::body::{Body, OptionalBody};
use super::changes::Changes;
use super::page::{Items, Path, Query, Slice};
use super::{Desk, Shared};
use crate::handlers::{
    Author, CanaryLimits, Change, Deployment, Handlers, HandlersFault, Then, standing, standing_since,
};
use crate::problem::{Document, Problem};

/// How a version is taken in.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Deploying {
    /// Makes it active at once. Default: it waits for `activate`.
    activate: bool,
    /// Gives it so many percent of the jobs at once.
    #[param(minimum = 1, maximum = 100)]
    canary: Option<u8>,
    /// Agrees to what it wants beyond the active version.
    approve: bool,
    /// Why, for the history.
    why: Option<String>,
    /// The handler's generation that the request is made on: when it has another one by now, 409.
    generation: Option<u64>,
}

/// Who moves on what, where a version is named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HandlerVersion)]
pub(crate) struct Naming {
    /// The version: its digest, or the beginning of it.
    #[serde(alias = "digest")]
    #[schema(min_length = 1)]
    version: String,
    /// Agrees to what it wants beyond the active version.
    #[serde(default)]
    approve: bool,
    /// Why, for the history.
    #[serde(default)]
    why: Option<String>,
    /// The handler's generation that the request is made on: when it has another one by now, 409.
    #[serde(default)]
    generation: Option<u64>,
}

/// The same for a canary. What is left out is as configured for the handler.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewCanary)]
pub(crate) struct NewCanary {
    /// The version: its digest, or the beginning of it.
    #[serde(alias = "digest")]
    #[schema(min_length = 1)]
    version: String,
    /// Its share of the jobs.
    #[schema(minimum = 1, maximum = 100)]
    percent: u8,
    /// Milliseconds of the newest jobs that are compared.
    #[serde(default)]
    window_ms: Option<u64>,
    /// Jobs that it must have run before anything is decided.
    #[serde(default)]
    min_jobs: Option<u64>,
    /// How much larger its share of failures may be before it is rolled back, from 0 to 1.
    #[serde(default)]
    max_failures_over: Option<f64>,
    /// How many times as long its jobs may take before it is rolled back.
    #[serde(default)]
    max_latency: Option<f64>,
    /// Milliseconds after which it is promoted when it did well; 0 never.
    #[serde(default)]
    promote_after_ms: Option<u64>,
    /// Agrees to what it wants beyond the active version.
    #[serde(default)]
    approve: bool,
    /// Why, for the history.
    #[serde(default)]
    why: Option<String>,
    /// The handler's generation that the request is made on: when it has another one by now, 409.
    #[serde(default)]
    generation: Option<u64>,
}

/// Which version runs on copies of jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewShadow)]
pub(crate) struct NewShadow {
    /// The version: its digest, or the beginning of it. None ends the shadow.
    #[serde(default, alias = "digest")]
    version: Option<String>,
    /// The share of the jobs that are copied. Default 10.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    percent: Option<u8>,
    /// Why, for the history.
    #[serde(default)]
    why: Option<String>,
    /// The handler's generation that the request is made on: when it has another one by now, 409.
    #[serde(default)]
    generation: Option<u64>,
}

/// Who moves on what, where no version is named.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = HandlerMove)]
pub(crate) struct Moving {
    /// Why, for the history.
    why: Option<String>,
    /// The handler's generation that the request is made on: when it has another one by now, 409.
    generation: Option<u64>,
}

/// A handler: its name, source, generation, active, previous and canary version, all versions newest first, and what
/// each host runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Handler, value_type = Object)]
pub(crate) struct Handler(Value);

/// One change: number, at, by, digest, from, to and why.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = HandlerChange, value_type = Object)]
pub(crate) struct Past(Value);

/// Characters of a reason at most: it is kept with every entry of the history.
const WHY_MAX: usize = 500;
/// The share of jobs that a shadow sees when nothing else is said: each costs a second cell.
const SHADOW_PERCENT: u8 = 10;

/// Every handler, by name.
#[utoipa::path(get, path = "/api/v1/handlers", tag = "handlers", responses(
    (status = 200, body = Items<Handler>), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn list(State(desk): Shared, caller: Caller) -> Result<Json<Items<Handler>>, Problem> {
    let items = handlers(&desk, &caller, Role::Viewer)?.list().await?;
    Ok(Json(Items { items: items.into_iter().map(Handler).collect(), next: None }))
}

/// One handler with its versions.
#[utoipa::path(get, path = "/api/v1/handlers/{handler}", tag = "handlers", params(("handler" = String, Path)),
    responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
) -> Result<Json<Handler>, Problem> {
    Ok(Json(Handler(handlers(&desk, &caller, Role::Viewer)?.get(&handler).await?)))
}

/// What happened to the handler's versions, newest first.
#[utoipa::path(get, path = "/api/v1/handlers/{handler}/history", tag = "handlers", params(("handler" = String, Path), Slice),
    responses((status = 200, body = Items<Past>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn history(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Query(slice): Query<Slice>,
) -> Result<Json<Items<Past>>, Problem> {
    let limit = slice.limit()?;
    let before = match &slice.cursor {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            Problem::bad_request(format!("cursor {cursor:?} is none; give `next` of the slice before"))
        })?),
    };
    let most = u32::try_from(limit).unwrap_or(u32::MAX);
    let items = handlers(&desk, &caller, Role::Viewer)?.history(&handler, before, most).await?;
    let is_full = items.len() as u64 >= limit;
    let oldest = items.last().and_then(|item| item["number"].as_u64());
    let next = oldest.filter(|number| is_full && *number > 1).map(|number| number.to_string());
    Ok(Json(Items { items: items.into_iter().map(Past).collect(), next }))
}

/// Takes in a new version: the body is the component. It waits for `activate`, or takes jobs at once where that is asked
/// for. A version that is there already is taken as it is, so that a request that was cut off can be repeated.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/versions", tag = "handlers",
    params(("handler" = String, Path), Deploying,
        ("Content-Digest" = Option<String>, Header, description = "`sha-256=:BASE64:` or `sha-512=:BASE64:` of the component (RFC 9530); checked where it is given"),
        ("Jobcell-Signature" = Option<String>, Header, description = "The line in the file that `jobcell handler sign` wrote")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn deploy(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Query(Deploying { activate, canary, approve, why, generation }): Query<Deploying>,
    headers: HeaderMap,
    body: Raw,
) -> Result<(StatusCode, Changes<Json<Handler>>), Problem> {
    // Before a byte of the body is read.
    let handlers = handlers(&desk, &caller, Role::Admin)?;
    let then = match (activate, canary) {
        (false, None) => Then::Stage,
        (true, None) => Then::Activate,
        (false, Some(percent)) => Then::Canary { percent: share(percent)? },
        (true, Some(_)) => {
            return Err(Problem::bad_request("a version is active or a canary; leave one of the two out"));
        }
    };
    let author = author(&caller, why, generation)?;
    let signature = artifact::signature(&headers)?;
    let wasm = artifact::read(&headers, body).await?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&wasm)));
    let asked = json!({ "version": digest, "then": format!("{then:?}"), "approve": approve });
    let before = handlers.get(&handler).await.ok();
    let (deployment, why) = (Deployment { wasm, signature, then, approve }, author.why.clone());
    let deployed = handlers.deploy(&handler, deployment, author).await?;
    Ok((StatusCode::CREATED, noted(before.as_ref(), asked, &why, deployed)))
}

/// Gives all jobs to a version. May be repeated.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/activate", tag = "handlers", params(("handler" = String, Path)),
    request_body = Naming, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn activate(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Body(Naming { version, approve, why, generation }): Body<Naming>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    change(&desk, &caller, &handler, Change::Activate { version, approve }, author).await
}

/// Gives a share of the jobs to a version, the same jobs each time, until it is promoted or rolled back.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/canary", tag = "handlers", params(("handler" = String, Path)),
    request_body = NewCanary, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn canary(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Body(new): Body<NewCanary>,
) -> Moved {
    let NewCanary {
        version,
        percent,
        window_ms,
        min_jobs,
        max_failures_over,
        max_latency,
        promote_after_ms,
        approve,
        why,
        generation,
    } = new;
    let rules = CanaryLimits { window_ms, min_jobs, max_failures_over, max_latency, promote_after_ms };
    let author = author(&caller, why, generation)?;
    let asked = Change::Canary { version, percent: share(percent)?, approve, rules };
    change(&desk, &caller, &handler, asked, author).await
}

/// Gives all jobs to the canary.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/promote", tag = "handlers", params(("handler" = String, Path)),
    request_body = Option<Moving>, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn promote(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    OptionalBody(Moving { why, generation }): OptionalBody<Moving>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    change(&desk, &caller, &handler, Change::Promote, author).await
}

/// Ends the canary; without one, gives all jobs to the version before the active one.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/rollback", tag = "handlers", params(("handler" = String, Path)),
    request_body = Option<Moving>, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    OptionalBody(Moving { why, generation }): OptionalBody<Moving>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    change(&desk, &caller, &handler, Change::Rollback, author).await
}

/// Takes all jobs from a version until it is released. If it is active, the one before it takes them.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/quarantine", tag = "handlers", params(("handler" = String, Path)),
    request_body = Naming, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn quarantine(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Body(Naming { version, approve: _, why, generation }): Body<Naming>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    change(&desk, &caller, &handler, Change::Quarantine { version }, author).await
}

/// Ends a version's quarantine: it may be activated again.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/release", tag = "handlers", params(("handler" = String, Path)),
    request_body = Naming, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn release(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Body(Naming { version, approve: _, why, generation }): Body<Naming>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    change(&desk, &caller, &handler, Change::Release { version }, author).await
}

/// Runs a version on copies of jobs, with every effect played back from what the active version did: nothing that it does
/// leaves its cell. Without a version, ends that.
#[utoipa::path(post, path = "/api/v1/handlers/{handler}/shadow", tag = "handlers", params(("handler" = String, Path)),
    request_body = NewShadow, responses((status = 200, body = Handler), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn shadow(
    State(desk): Shared,
    caller: Caller,
    Path(handler): Path<String>,
    Body(NewShadow { version, percent, why, generation }): Body<NewShadow>,
) -> Moved {
    let author = author(&caller, why, generation)?;
    let percent = share(percent.unwrap_or(SHADOW_PERCENT))?;
    let of = version.map(|version| (version, percent));
    change(&desk, &caller, &handler, Change::Shadow { of }, author).await
}

/// What a move answers with, and leaves in the audit.
type Moved = Result<Changes<Json<Handler>>, Problem>;

async fn change(desk: &Desk, caller: &Caller, handler: &str, change: Change, author: Author) -> Moved {
    let handlers = handlers(desk, caller, Role::Operator)?;
    let (asked, why) = (change.asked(), author.why.clone());
    // Only for the record: whether it can be done is seen when it is done.
    let before = handlers.get(handler).await.ok();
    let changed = handlers.change(handler, change, author).await?;
    Ok(noted(before.as_ref(), asked, &why, changed))
}

fn noted(before: Option<&Value>, asked: Value, why: &str, handler: Value) -> Changes<Json<Handler>> {
    let after = standing_since(before, asked, why, &handler);
    Changes { before: before.map(standing), after: Some(after), answer: Json(Handler(handler)) }
}

/// The handlers, for somebody who may do this to them: they are all tenants'.
fn handlers<'a>(desk: &'a Desk, caller: &Caller, role: Role) -> Result<&'a Arc<dyn Handlers>, Problem> {
    caller.must_be(role)?;
    caller.must_see_all()?;
    desk.handlers.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "the handlers of this host come with its program and have no versions",
        )
    })
}

fn author(caller: &Caller, why: Option<String>, generation: Option<u64>) -> Result<Author, Problem> {
    let why = why.unwrap_or_default();
    if why.chars().count() > WHY_MAX {
        return Err(Problem::bad_request(format!("why has more than {WHY_MAX} characters; shorten it")));
    }
    Ok(Author { who: caller.name.to_string(), why, generation })
}

fn share(percent: u8) -> Result<u8, Problem> {
    if (1..=100).contains(&percent) {
        return Ok(percent);
    }
    Err(Problem::bad_request(format!("a share of {percent} percent is not between 1 and 100")))
}

impl From<crate::handlers::HandlersError> for Problem {
    fn from(error: crate::handlers::HandlersError) -> Self {
        let crate::handlers::HandlersError { fault, message, details } = error;
        let status = match fault {
            HandlersFault::NotFound => StatusCode::NOT_FOUND,
            HandlersFault::Conflict | HandlersFault::NeedsApproval | HandlersFault::WrongState => {
                StatusCode::CONFLICT
            }
            HandlersFault::Refused | HandlersFault::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
            HandlersFault::Invalid => StatusCode::BAD_REQUEST,
            HandlersFault::Unavailable => return Self::store_away(message).coded(fault.as_str(), details),
            HandlersFault::Failed => {
                tracing::error!(error = message, "a request of the API about handlers failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, message).coded(fault.as_str(), details)
    }
}
