//! The log of a job while it grows, as server-sent events: one line each, with the number of the line as its id, so that a
//! browser that comes back goes on where it was.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{iter, unfold};
use futures::{Stream, StreamExt};
use jobcell_core::store::Page;
use jobcell_core::{JobId, JobState, QueueName};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::shown::Fault;
use super::visit::Look;
use super::{Site, links};
use crate::api::jobs;
use crate::api::page::{Path, Query};
use crate::problem::Problem;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Lines that are on the page already.
    from: u64,
}

/// Between two looks: attempts write their lines about five times a second.
const EVERY: Duration = Duration::from_millis(500);
/// Lines that are sent at once.
const LINES_MAX: u64 = 500;
/// People who follow logs at the same time: each costs the store two calls a second.
const FOLLOWERS_MAX: usize = 64;
/// How long one stream lasts; the browser comes back by itself.
const STREAM_MAX: Duration = Duration::from_secs(280);

static PLACES: LazyLock<std::sync::Arc<Semaphore>> =
    LazyLock::new(|| std::sync::Arc::new(Semaphore::new(FOLLOWERS_MAX)));

/// Where a reader is.
struct Following {
    site: Site,
    queue: QueueName,
    id: JobId,
    next: u64,
    is_first: bool,
    /// Fires when the tokens are others: the reader's may not be among them.
    replaced: CancellationToken,
    ends_at: Instant,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn stream(
    State(site): State<Site>,
    visit: Look,
    Path((queue, id)): Path<(String, String)>,
    Query(Asked { from }): Query<Asked>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let caller = visit.caller()?;
    let (queue, job) = jobs::seen(&site.desk, &caller, &links::name(queue), &links::name(id)).await?;
    let Ok(place) = std::sync::Arc::clone(&PLACES).try_acquire_owned() else {
        let what = format!("{FOLLOWERS_MAX} people follow logs already; reload this page to see new lines");
        return Err(Problem::busy(what).into());
    };
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let following = Following {
        site,
        queue,
        id: job.id,
        next: seen.unwrap_or(from),
        is_first: true,
        replaced: caller.replaced(),
        ends_at: Instant::now() + STREAM_MAX,
        _place: place,
    };
    let events = unfold(Some(following), async |following| Some(following?.look().await)).flat_map(iter);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

impl Following {
    /// What is new, and where to go on; nowhere once the job has ended.
    async fn look(mut self) -> (Vec<Result<Event, Infallible>>, Option<Self>) {
        let closing = self.site.desk.closing.clone();
        if !std::mem::take(&mut self.is_first) {
            tokio::select! {
                () = sleep(EVERY) => {}
                () = closing.cancelled() => return (Vec::new(), None),
                () = self.replaced.cancelled() => return (Vec::new(), None),
            }
        }
        if Instant::now() >= self.ends_at {
            return (Vec::new(), None);
        }
        let store = &self.site.desk.store;
        // The state first: lines that come before the end are seen after it.
        let state = store.state(&self.queue, &self.id).await;
        let lines = store.logs(&self.queue, &self.id, Page { offset: self.next, limit: LINES_MAX }).await;
        let (Ok(state), Ok(lines)) = (state, lines) else { return (Vec::new(), Some(self)) };
        let is_full = lines.len() as u64 == LINES_MAX;
        let mut events = Vec::with_capacity(lines.len() + 1);
        for line in lines {
            self.next += 1;
            // A string in JSON: a line break in it stays one.
            let data = serde_json::Value::from(line).to_string();
            events.push(Ok(Event::default().id(self.next.to_string()).data(data)));
        }
        if state.is_none_or(JobState::is_finished) && !is_full {
            events.push(Ok(Event::default().event("end").data("the job has ended")));
            return (events, None);
        }
        (events, Some(self))
    }
}
