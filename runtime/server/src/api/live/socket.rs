//! `/ws`: updates over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures::SinkExt;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::update::Update;
use super::{Heard, Listening, PACE, WRITE_BYTES, Wanted};
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
    let ends = (desk.closing.clone(), caller.replaced());
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.protocols([PROTOCOL]).on_upgrade(move |socket| tell(socket, listening, ends)))
}

async fn tell(
    mut socket: WebSocket,
    mut listening: Listening,
    (closing, replaced): (CancellationToken, CancellationToken),
) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut answered = true;
    loop {
        let written = tokio::select! {
            heard = listening.next() => match heard {
                Heard::Update(update) => timeout(SEND_MAX, write(&mut socket, &mut listening, update)).await,
                Heard::TooSlow(count) => return too_slow(socket, count).await,
                Heard::End => return close(socket, close_code::AWAY, "the host stops").await,
            },
            () = closing.cancelled() => return close(socket, close_code::AWAY, "the host stops").await,
            () = replaced.cancelled() => {
                return close(socket, close_code::POLICY, "the host's tokens have changed; connect again").await;
            }
            _ = pings.tick() => {
                if !std::mem::take(&mut answered) {
                    // Its network is gone: nobody is there to be told.
                    return;
                }
                timeout(SEND_MAX, socket.send(Message::Ping(bytes::Bytes::new()))).await.map(|sent| sent.map(|()| None))
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
        match written {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(Heard::TooSlow(count)))) => return too_slow(socket, count).await,
            Ok(Ok(Some(Heard::End | Heard::Update(_)))) => {
                return close(socket, close_code::AWAY, "the host stops").await;
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Writes this update and all that are there by the time the next write is due, in one go. Answers with what ended it,
/// if that was no lack of updates.
async fn write(
    socket: &mut WebSocket,
    listening: &mut Listening,
    update: Arc<Update>,
) -> Result<Option<Heard>, axum::Error> {
    let mut written = update.json.len();
    socket.feed(Message::Text(update.json.clone())).await?;
    let end = loop {
        if written >= WRITE_BYTES {
            // There is more: it goes out at once after this.
            socket.flush().await?;
            return Ok(None);
        }
        match listening.ready() {
            Some(Heard::Update(update)) => {
                written += update.json.len();
                socket.feed(Message::Text(update.json.clone())).await?;
            }
            end => break end,
        }
    };
    socket.flush().await?;
    if end.is_none() {
        sleep(PACE).await;
    }
    Ok(end)
}

async fn too_slow(socket: WebSocket, count: u64) {
    close(socket, close_code::AGAIN, &format!("too slow: {count} updates were dropped")).await;
}

async fn close(mut socket: WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    // A client that reads nothing is not waited for.
    let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(frame)))).await;
}
