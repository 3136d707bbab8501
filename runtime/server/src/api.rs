//! The HTTP API under `/api/v1`: everything the command line can do to jobs, queues and schedulers.
//!
//! The OpenAPI document is made from these very handlers. Access is decided before any of them (`access`), errors are
//! problem documents, and what a request may cost is bounded: body, time, items of a list.

mod access;
mod body;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod flow;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod jobs;
mod known;
mod live;
mod page;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod queues;
mod scale;
mod schedulers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jobcell_core::{Admin, Clock, QueueName};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::{Role, Token};

use crate::problem::Problem;
use access::{Access, Caller};
use known::Known;
use live::Hub;

/// What the API works with.
pub struct Api {
    /// Where jobs live.
    pub store: Arc<dyn Admin>,
    /// The clock that new jobs are dated by.
    pub clock: Arc<dyn Clock>,
    /// The queues of the host's configuration.
    pub queues: Vec<QueueName>,
    /// What the keys of jobs begin with, by which parents and children are named.
    pub prefix: String,
    /// Who may use it. With none, only clients on this machine may, and only while the host listens to no other.
    pub tokens: Vec<Token>,
}

/// What handlers share.
struct Desk {
    store: Arc<dyn Admin>,
    clock: Arc<dyn Clock>,
    prefix: String,
    known: Known,
    hub: Arc<Hub>,
    /// Fires when the server stops: streams end then.
    closing: CancellationToken,
}

type Shared = State<Arc<Desk>>;

/// The longest a request may take that does not ask to wait.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of a body: a batch of a thousand jobs with payloads of usual size.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;
/// Where the document is.
pub(crate) const DOCUMENT: &str = "/api/v1/openapi.json";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes that need access, those that are open, and the document about both.
fn documented() -> (Router<Arc<Desk>>, Router<Arc<Desk>>, OpenApi) {
    let info = InfoBuilder::new()
        .title("Jobcell")
        .version("1")
        .description(Some(
            "Jobs, queues and schedulers of a Jobcell host. Errors are problem documents (RFC 9457). A path that names \
             a queue or a job takes any name, percent-encoded.",
        ))
        .build();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new().security_scheme("token", bearer).build();
    let scopes: [&str; 0] = [];
    let base = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new("token", scopes), SecurityRequirement::default()]))
        .build();
    let (open, about_open) = OpenApiRouter::new().routes(routes!(scale::scale)).split_for_parts();
    let (closed, mut document) = OpenApiRouter::with_openapi(base)
        .routes(routes!(queues::list))
        .routes(routes!(queues::get))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::drain))
        .routes(routes!(queues::clean))
        .routes(routes!(queues::limits, queues::set_limits))
        .routes(routes!(queues::workers))
        .routes(routes!(jobs::list, jobs::add))
        .routes(routes!(jobs::get, jobs::remove))
        .routes(routes!(jobs::logs))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::promote))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::receipt))
        .routes(routes!(flow::show))
        .routes(routes!(schedulers::list))
        .routes(routes!(live::stream))
        .routes(routes!(live::socket))
        .routes(routes!(schedulers::get, schedulers::set, schedulers::remove))
        .split_for_parts();
    document.merge(about_open);
    (closed, open, document)
}

/// The OpenAPI document of the API, as JSON text.
///
/// # Panics
/// Never: it is made of texts and numbers.
#[must_use]
pub fn openapi() -> String {
    documented().2.to_pretty_json().unwrap_or_default() + "\n"
}

pub(crate) fn router(api: Api, loopback: bool, closing: CancellationToken) -> Router {
    let Api { store, clock, queues, prefix, tokens } = api;
    let access = Arc::new(Access { tokens, loopback });
    let known = Known::new(Arc::clone(&store), queues);
    let hub = Hub::new(Arc::clone(&store));
    let desk = Arc::new(Desk { store, clock, prefix, known, hub, closing });
    let (closed, open, _) = documented();
    let document: Arc<str> = openapi().into();
    closed
        .route(DOCUMENT, get(async move || ([("content-type", "application/json")], document.to_string())))
        .layer(
            ServiceBuilder::new()
                .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
                .layer(PropagateRequestIdLayer::new(REQUEST_ID))
                .layer(CompressionLayer::new())
                .layer(middleware::from_fn(timed))
                .layer(middleware::from_fn_with_state(access, access::admit))
                .layer(middleware::from_fn(audited))
                .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .merge(open.layer(middleware::from_fn(timed)))
        .method_not_allowed_fallback(no_method)
        .with_state(desk)
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; see {DOCUMENT}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Bounds how long a request may take. What was begun in the store goes on there.
async fn timed(request: Request, next: Next) -> Response {
    let limit = ANSWER_MAX + jobs::asked_wait(request.uri());
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "the host did not answer within {} s; it may have done what was asked",
                limit.as_secs()
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
        }
    }
}

/// Logs who changed what, and how it ended.
async fn audited(caller: Caller, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let action = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::info!(
        target: "jobcell::audit",
        who = &*caller.name,
        method = method.as_str(),
        action,
        path,
        status = response.status().as_u16(),
        "API"
    );
    response
}
