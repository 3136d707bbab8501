//! `/api/v1/events`: updates as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::ready;
use futures::stream::{once, unfold};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::update::View;
use super::{Heard, Listening, PACE, WRITE_BYTES, Wanted};
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
) -> Result<Response, Problem> {
    let from = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let listening = Listening::start(&desk, &caller, wanted, from).await?;
    let end = Instant::now() + STREAM_MAX;
    let (closing, replaced) = (desk.closing.clone(), caller.replaced());
    let telling = Telling { listening, closing, replaced, end, next: Instant::now() };
    let begin = once(ready(Ok::<_, Infallible>(telling.begin())));
    let rest = unfold(Some(telling), |telling| async move {
        let mut telling = telling?;
        let (bytes, goes_on) = telling.write().await;
        if bytes.is_empty() && !goes_on {
            return None;
        }
        Some((Ok(bytes), goes_on.then_some(telling)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers before they pass them on would hold back what is live.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(begin.chain(rest))).into_response())
}

/// One client's stream.
struct Telling {
    listening: Listening,
    closing: CancellationToken,
    /// Fires when the tokens are others: its client's may not be among them.
    replaced: CancellationToken,
    /// When the stream ends.
    end: Instant,
    /// When the next write is due.
    next: Instant,
}

// === impl Telling ===

impl Telling {
    /// Also a client that is cut off before the first update has a place to come back to.
    fn begin(&self) -> Bytes {
        let retry = RETRY.as_millis();
        match self.listening.place() {
            Some(place) => format!(": listening\nretry: {retry}\nid: {place}\n\n").into(),
            None => format!(": listening\nretry: {retry}\n\n").into(),
        }
    }

    /// What is written next, and whether the stream goes on after it. All updates that are there go out in one write.
    async fn write(&mut self) -> (Bytes, bool) {
        sleep_until(self.next).await;
        let first = tokio::select! {
            heard = self.listening.next() => heard,
            () = self.closing.cancelled() => Heard::End,
            () = self.replaced.cancelled() => Heard::End,
            () = sleep_until(self.end) => Heard::End,
            () = sleep(KEEP_ALIVE) => return (Bytes::from_static(b":\n\n"), true),
        };
        let mut bytes = BytesMut::new();
        let mut heard = Some(first);
        while let Some(next) = heard {
            match next {
                Heard::Update(update) => bytes.extend_from_slice(&self.listening.frame(&update)),
                Heard::TooSlow(count) => {
                    let reason =
                        format!("too slow: {count} updates were dropped; connect again to have them");
                    bytes.extend_from_slice(format!("event: dropped\ndata: {reason}\n\n").as_bytes());
                    return (bytes.freeze(), false);
                }
                Heard::End => return (bytes.freeze(), false),
            }
            heard = if bytes.len() < WRITE_BYTES { self.listening.ready() } else { None };
        }
        // What was cut by its size goes on at once: only whoever has all there is can wait for more.
        if bytes.len() < WRITE_BYTES {
            self.next = Instant::now() + PACE;
        }
        (bytes.freeze(), true)
    }
}
