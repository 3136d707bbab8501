//! `/scale`: how much there is to do, for whatever decides how many hosts run.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use futures::future::try_join_all;
use jobcell_core::{JobState, QueueName};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Desk, Shared};
use crate::metrics::queue_gauges;
use crate::problem::{Document, Problem};

/// How much there is to do in each queue of the host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Scale {
    /// By the queue's name.
    queues: BTreeMap<String, Load>,
}

/// How much there is to do in a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Load {
    /// Jobs that wait.
    waiting: u64,
    /// Jobs that wait with a priority.
    prioritized: u64,
    /// Delayed jobs whose time has come: they stay there while no worker is up. Counted no further than 10000.
    delayed_due: u64,
    /// Jobs that run.
    active: u64,
    /// How long the job that waits longest has been waiting.
    oldest_age_seconds: f64,
}

/// Where counting of due jobs ends: no autoscaler starts so many hosts at once.
const DUE_MAX: u64 = 10_000;

/// How much there is to do in the queues that this host works on, for autoscalers. Open like `/metrics`.
#[utoipa::path(get, path = "/scale", tag = "host", responses(
    (status = 200, body = Scale), (status = "default", body = Document, content_type = "application/problem+json")
))]
pub(super) async fn scale(State(desk): Shared) -> Result<Json<Scale>, Problem> {
    let queues = desk.known.configured();
    let loads = try_join_all(queues.iter().map(|queue| load(&desk, queue))).await?;
    let names = queues.iter().map(QueueName::to_string);
    Ok(Json(Scale { queues: names.zip(loads).collect() }))
}

async fn load(desk: &Desk, queue: &QueueName) -> Result<Load, Problem> {
    let now = desk.clock.now();
    let gauges = queue_gauges(desk.store.as_ref(), queue, now).await?;
    let of = |state| gauges.counts.get(state);
    let delayed_due = match of(JobState::Delayed) {
        0 => 0,
        _ => desk.store.count_due(queue, now, DUE_MAX).await?,
    };
    Ok(Load {
        waiting: of(JobState::Waiting),
        prioritized: of(JobState::Prioritized),
        delayed_due,
        active: of(JobState::Active),
        oldest_age_seconds: gauges.oldest.as_secs_f64(),
    })
}
