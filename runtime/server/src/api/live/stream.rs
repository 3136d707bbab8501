//! `/api/v1/events`: updates as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::future::ready;
use futures::stream::{once, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::update::View;
use super::{Heard, Listening, Wanted};
use crate::api::Shared;
use crate::api::access::Caller;
use crate::api::page::Query;
use crate::problem::{Document, Problem};

/// Between two comments that keep proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long one stream lasts, a little less than a connection may: its end is orderly, its client's token is looked at
/// again, and coming back loses nothing.
const STREAM_MAX: Duration = Duration::from_secs(280);
/// When a client comes back after the end of a stream.
const RETRY: Duration = Duration::from_millis(100);

/// What happens to jobs, as it happens. Each event has an id; a client that sends the last one it saw as
/// `Last-Event-ID`, as browsers do by themselves, is told first what it missed. A client that cannot keep up is told so
/// by an event `dropped` and let go; it may come back the same way. A stream ends after 280 s, for its client to come back.
#[utoipa::path(get, path = "/api/v1/events", tag = "live", params(Wanted,
        ("Last-Event-ID" = Option<String>, Header, description = "Where to go on")),
    responses((status = 200, description = "One JSON object in each event", body = View<'static>, content_type = "text/event-stream"),
        (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn stream(
    State(desk): Shared,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let from = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let listening = Listening::start(&desk, &caller, wanted, from).await?;
    let closing = desk.closing.clone();
    let end = Instant::now() + STREAM_MAX;
    let begin = Event::default().retry(RETRY).comment("listening");
    // Also a client that is cut off before the first update has a place to come back to.
    let begin = if let Some(place) = listening.place() { begin.id(place) } else { begin };
    let begin = once(ready(Ok(begin)));
    let events = unfold(Some(listening), move |listening| {
        let closing = closing.clone();
        async move {
            let mut listening = listening?;
            let heard = tokio::select! {
                heard = listening.next() => heard,
                () = closing.cancelled() => Heard::End,
                () = sleep_until(end) => Heard::End,
            };
            match heard {
                Heard::Update(update, place) => {
                    let event = Event::default().data(&*update.json);
                    let event = if let Some(place) = place { event.id(place) } else { event };
                    Some((Ok(event), Some(listening)))
                }
                Heard::TooSlow(count) => {
                    let reason =
                        format!("too slow: {count} updates were dropped; connect again to have them");
                    Some((Ok(Event::default().event("dropped").data(reason)), None))
                }
                Heard::End => None,
            }
        }
    });
    Ok(Sse::new(begin.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
