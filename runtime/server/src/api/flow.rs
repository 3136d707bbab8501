//! `…/flow`: a job with everything below it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::page::{Path, Query};
use super::{Shared, jobs};
use crate::problem::{Document, Problem};
use crate::tree::{Tree, tree};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Extent {
    /// How many levels to show. Default 10.
    #[param(minimum = 1)]
    depth: u64,
    /// How many children of each job to show. Default 20.
    #[param(minimum = 1)]
    width: u64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { depth: 10, width: 20 }
    }
}

/// A job with everything below it in its flow, at most 1000 jobs.
#[utoipa::path(get, path = "/api/v1/queues/{queue}/jobs/{id}/flow", tag = "jobs",
    params(("queue" = String, Path), ("id" = String, Path), Extent),
    responses((status = 200, body = Tree), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(desk): Shared,
    caller: Caller,
    Path((queue, id)): Path<(String, String)>,
    Query(Extent { depth, width }): Query<Extent>,
) -> Result<Json<Tree>, Problem> {
    // A tree may hold jobs of others.
    caller.must_see_all()?;
    let (queue, job) = jobs::seen(&desk, &caller, &queue, &id).await?;
    Ok(Json(tree(desk.store.as_ref(), &desk.prefix, (queue, job.id), depth, width).await?))
}
