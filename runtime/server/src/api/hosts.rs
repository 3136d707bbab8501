//! The hosts of the fleet: which there are, and telling one to go quiet, to go on, or to stop.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jobcell_core::fleet::{FleetError, HostStatus, Order, OrderKind, Phase};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::access::{Caller, Role};
use super::changes::Changes;
use super::page::Path;
use super::{Desk, Shared};
use crate::problem::{Document, Problem};

/// The hosts that live.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hosts {
    /// By id.
    #[schema(value_type = Vec<HostView>)]
    items: Vec<HostStatus>,
    /// False while the store is away: then only the host that answers is listed.
    complete: bool,
}

/// One host, as it says itself: `id`, `name`, `version`, `startedAt`, `seenAt`, `pid`, `address`, `phase` (`running`,
/// `quiet`, `stopping`), `queues`, `handlers`, `memoryBytes`, `cells`, `load`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Host)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostView {
    id: String,
    name: String,
    version: String,
    started_at: u64,
    seen_at: u64,
    pid: u32,
    #[schema(required = false)]
    address: String,
    phase: String,
    queues: Vec<serde_json::Value>,
    #[schema(value_type = Object)]
    handlers: serde_json::Value,
    memory_bytes: u64,
    #[schema(value_type = Object)]
    cells: serde_json::Value,
    load: f64,
}

/// An order that was left for a host. It takes it within a second or two.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ordered {
    /// The host.
    id: String,
    /// What it was told.
    order: &'static str,
}

/// The hosts that live and what each runs. While the store is away the host that answers lists itself alone.
#[utoipa::path(get, path = "/api/v1/hosts", tag = "hosts",
    responses((status = 200, body = Hosts), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn list(State(desk): Shared, caller: Caller) -> Result<Json<Hosts>, Problem> {
    caller.must_see_all()?;
    match (desk.fleet.hosts().await, &desk.control) {
        (Ok(items), _) => Ok(Json(Hosts { items, complete: true })),
        (Err(error), Some(control)) if error.is_transient() => {
            tracing::debug!(%error, "the hosts cannot be listed");
            Ok(Json(Hosts { items: vec![control.status()], complete: false }))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Tells a host to take no new jobs.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/quiet", tag = "hosts", params(("id" = String, Path)),
    responses((status = 202, body = Ordered), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn quiet(
    State(desk): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Changes<(StatusCode, Json<Ordered>)>, Problem> {
    order(&desk, &caller, &id, OrderKind::Quiet).await
}

/// Tells a host to take jobs again.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/unquiet", tag = "hosts", params(("id" = String, Path)),
    responses((status = 202, body = Ordered), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn unquiet(
    State(desk): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Changes<(StatusCode, Json<Ordered>)>, Problem> {
    order(&desk, &caller, &id, OrderKind::Unquiet).await
}

/// Tells a host to finish what it runs and to end, as TERM does.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/stop", tag = "hosts", params(("id" = String, Path)),
    responses((status = 202, body = Ordered), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn stop(
    State(desk): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Changes<(StatusCode, Json<Ordered>)>, Problem> {
    order(&desk, &caller, &id, OrderKind::Stop).await
}

async fn order(
    desk: &Desk,
    caller: &Caller,
    id: &str,
    kind: OrderKind,
) -> Result<Changes<(StatusCode, Json<Ordered>)>, Problem> {
    caller.must_be(Role::Admin)?;
    caller.must_see_all()?;
    let Some(host) = desk.fleet.host(id).await? else {
        return Err(Problem::not_found(format!(
            "no host has the id {id:?}; GET /api/v1/hosts lists those that live"
        )));
    };
    if host.phase == Phase::Stopping && kind != OrderKind::Stop {
        return Err(Problem::conflict(format!("host {id} is stopping; it takes no other order")));
    }
    let order = Order { kind, by: caller.name.to_string(), at: desk.clock.now() };
    desk.fleet.order(id, &order).await?;
    let ordered = Ordered { id: id.to_owned(), order: kind.as_str() };
    Ok(Changes {
        before: Some(json!({ "phase": host.phase.as_str() })),
        after: Some(json!({ "ordered": kind.as_str() })),
        answer: (StatusCode::ACCEPTED, Json(ordered)),
    })
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Store(error) => error.into(),
            FleetError::NoSuchHost { .. } => Self::not_found(error.to_string()),
            FleetError::Ambiguous { .. } => Self::bad_request(error.to_string()),
            FleetError::Stopping { .. } => Self::conflict(error.to_string()),
            FleetError::Malformed { .. } => {
                tracing::error!(%error, "a request of the API about hosts failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}
