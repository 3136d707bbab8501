//! `/ws`: updates over a WebSocket.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::{Heard, Listening, Wanted};
use crate::api::Shared;
use crate::api::access::{Caller, PROTOCOL};
use crate::api::page::Query;
use crate::problem::{Document, Problem};

/// Between two pings.
const PING: Duration = Duration::from_secs(20);
/// How long a client may take one message; a client that has gone takes none.
const SEND_MAX: Duration = Duration::from_secs(30);
/// Bytes of what a client may send: it has nothing to say.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What happens to jobs, as it happens: each message is one JSON object, as in `/api/v1/events`. A client that cannot
/// keep up is closed with a reason. Browsers, which cannot send a token in a header, offer the protocols `jobcell` and
/// `bearer.TOKEN`.
#[utoipa::path(get, path = "/ws", tag = "live", params(Wanted),
    responses((status = 101, description = "Switches to a WebSocket"), (status = "default", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn socket(
    State(desk): Shared,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let listening = Listening::start(&desk, &caller, wanted, None).await?;
    let closing = desk.closing.clone();
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.protocols([PROTOCOL]).on_upgrade(move |socket| tell(socket, listening, closing)))
}

async fn tell(mut socket: WebSocket, mut listening: Listening, closing: CancellationToken) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut answered = true;
    loop {
        let message = tokio::select! {
            heard = listening.next() => match heard {
                Heard::Update(update, _) => Message::Text(Utf8Bytes::from(&*update.json)),
                Heard::TooSlow(count) => {
                    return close(socket, close_code::AGAIN, &format!("too slow: {count} updates were dropped")).await;
                }
                Heard::End => return close(socket, close_code::AWAY, "the host stops").await,
            },
            () = closing.cancelled() => return close(socket, close_code::AWAY, "the host stops").await,
            _ = pings.tick() => {
                if !std::mem::take(&mut answered) {
                    // Its network is gone: nobody is there to be told.
                    return;
                }
                Message::Ping(bytes::Bytes::new())
            }
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // What it says means nothing, but that it is there.
                Some(Ok(_)) => {
                    answered = true;
                    continue;
                }
            },
        };
        if !matches!(timeout(SEND_MAX, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn close(mut socket: WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    // A client that reads nothing is not waited for.
    let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(frame)))).await;
}
