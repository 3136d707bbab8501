//! `/api/v1/audit`: who did what. `/api/v1/reload`: reads the configuration again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Shared;
use super::access::{Caller, Role};
use super::page::{self, Items, Query, Slice};
use crate::audit::AuditEntry;
use crate::control;
use crate::problem::{Document, Problem};

/// What reading the configuration again has come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reloaded {
    /// Handlers that run another version now, are new, or are gone.
    handlers: Vec<String>,
    /// Sections that differ, and take effect when the host is started anew.
    needs_restart: Vec<String>,
}

/// Who did what, newest first: the last 10 000 changes through API, dashboard and command line, those that were refused
/// included. Adding jobs is not among them.
#[utoipa::path(get, path = "/api/v1/audit", tag = "host", params(Slice),
    responses((status = 200, body = Items<AuditEntry>), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(desk): Shared,
    caller: Caller,
    Query(slice): Query<Slice>,
) -> Result<Json<Items<AuditEntry>>, Problem> {
    caller.must_see_all()?;
    let limit = u32::try_from(slice.limit()?).unwrap_or(u32::MAX);
    // One more than asked for tells whether there is a next slice.
    let mut entries = desk.audit.entries(slice.before()?, limit.saturating_add(1)).await?;
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| has_more).and_then(|(number, _)| page::cursor(number));
    Ok(Json(Items { items: entries.into_iter().map(|(_, entry)| entry).collect(), next }))
}

/// Reads this host's configuration again, as the signal HUP does: all of it takes effect or, on any fault, nothing.
#[utoipa::path(post, path = "/api/v1/reload", tag = "host",
    responses((status = 200, body = Reloaded), (status = 422, description = "Nothing has changed; `details.faults` lists every fault", body = Document, content_type = "application/problem+json"),
        (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn reload(State(desk): Shared, caller: Caller) -> Result<Json<Reloaded>, Problem> {
    caller.must_be(Role::Admin)?;
    caller.must_see_all()?;
    let Some(control) = &desk.control else {
        return Err(Problem::not_found("this host has no configuration that could be read again"));
    };
    match control.reload().await {
        Ok(control::Reloaded { handlers, needs_restart }) => Ok(Json(Reloaded { handlers, needs_restart })),
        Err(faults) => {
            let detail =
                format!("nothing has changed, the configuration before goes on: {}", faults.join("; "));
            let details = Map::from_iter([("faults".to_owned(), Value::from(faults))]);
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).coded("faults", details))
        }
    }
}
