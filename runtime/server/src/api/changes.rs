//! What a request changed, for the audit: every request that is not a mere look is recorded once it is answered.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::access::Caller;
use crate::audit::{Act, Audit, Via};
use crate::problem::{Problem, Told};
use crate::request;

/// An answer, with how things were before and are now. Never payloads.
pub(crate) struct Changes<R> {
    /// How it was; none where that says nothing.
    pub(crate) before: Option<Value>,
    /// How it is.
    pub(crate) after: Option<Value>,
    /// What the client is told.
    pub(crate) answer: R,
}

/// The same on the answer's way out.
#[derive(Clone)]
struct Noted {
    before: Option<Value>,
    after: Option<Value>,
}

/// The route that jobs come in by: traffic, not somebody's doing.
const JOBS: &str = "/api/v1/queues/{queue}/jobs";

impl<R: IntoResponse> IntoResponse for Changes<R> {
    fn into_response(self) -> Response {
        let Self { before, after, answer } = self;
        let mut response = answer.into_response();
        response.extensions_mut().insert(Noted { before, after });
        response
    }
}

/// Records who changed what, and how it ended: also what was refused.
pub(super) async fn audited(
    State(audit): State<Arc<Audit>>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    if request.method().is_safe() || (request.method() == "POST" && route.as_deref() == Some(JOBS)) {
        return next.run(request).await;
    }
    let action = format!("{} {}", request.method(), route.as_deref().unwrap_or("?"));
    let target = request.uri().path().to_owned();
    let request_id = request::id_of(&request);
    // In a task of its own: what a client asks for and does not wait for is done all the same, and recorded.
    let task = tokio::spawn(async move {
        let mut response = next.run(request).await;
        let status = response.status();
        let outcome = match response.extensions_mut().remove::<Told>() {
            Some(Told(detail)) => format!("{}: {detail}", status.as_u16()),
            None if status.is_success() => "done".to_owned(),
            None => status.as_u16().to_string(),
        };
        let (before, after) = match response.extensions_mut().remove::<Noted>() {
            Some(Noted { before, after }) => (before, after),
            None => (None, None),
        };
        let act = Act::done(&caller.name, caller.role(), Via::Api, &action, &target);
        audit.record(Act { before, after, outcome, request_id, ..act }).await;
        response
    });
    task.await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a request of the API ended with a panic");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed; see its log").into_response()
    })
}
