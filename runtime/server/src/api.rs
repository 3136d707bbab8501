//! The HTTP API under `/api/v1`: everything the command line can do to jobs, queues and schedulers.
//!
//! The OpenAPI document is made from these very handlers. Access is decided before any of them (`access`), errors are
//! problem documents, and what a request may cost is bounded: body, time, items of a list.

pub(crate) mod access;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
pub(crate) mod adding;
mod artifact;
pub(crate) mod body;
pub(crate) mod carried;
pub(crate) mod changes;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod flow;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod handlers;
mod hosts;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
pub(crate) mod jobs;
pub(crate) mod known;
pub(crate) mod live;
pub(crate) mod page;
#[expect(unused_qualifications, reason = "utoipa names the types of queries by their paths")]
mod queues;
mod scale;
pub(crate) mod schedulers;
#[cfg(test)]
mod tests;
mod trail;
mod wording;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jobcell_core::documents::BLOB_BYTES_MAX;
use jobcell_core::fleet::Fleet;
use jobcell_core::{Admin, Clock, QueueName};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::{Role, Token, Tokens};
pub(crate) use live::QUEUES_MAX;

use crate::audit::Audit;
use crate::control::Control;
use crate::dashboard::DashboardOptions;
use crate::explain::Explain;
use crate::handlers::Handlers;
use crate::problem::Problem;
use crate::redact::Redaction;
use crate::spool::Spool;
use access::Access;
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
    /// Who may use it; can be replaced while it is served. With none, only clients on this machine may, and only while
    /// the host listens to no other.
    pub tokens: Tokens,
    /// The handlers and their versions; none where they all come with the program.
    pub handlers: Option<Arc<dyn Handlers>>,
    /// The hosts that share the store.
    pub fleet: Fleet,
    /// Where it is kept who did what.
    pub audit: Arc<Audit>,
    /// What of jobs nobody is shown.
    pub redaction: Arc<Redaction>,
    /// The host that serves this; none where there is none to be steered.
    pub control: Option<Arc<dyn Control>>,
    /// Who knows why jobs do not run; none where nobody does.
    pub explain: Option<Arc<dyn Explain>>,
    /// Where jobs wait while the store is away; none refuses them then.
    pub spool: Option<Arc<dyn Spool>>,
    /// How the pages for people are reached.
    pub dashboard: DashboardOptions,
}

/// What handlers share.
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn Admin>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) prefix: String,
    pub(crate) known: Known,
    pub(crate) handlers: Option<Arc<dyn Handlers>>,
    pub(crate) fleet: Fleet,
    pub(crate) audit: Arc<Audit>,
    pub(crate) redaction: Arc<Redaction>,
    pub(crate) control: Option<Arc<dyn Control>>,
    pub(crate) explain: Option<Arc<dyn Explain>>,
    pub(crate) spool: Option<Arc<dyn Spool>>,
    pub(crate) hub: Arc<Hub>,
    /// Fires when the server stops: streams end then.
    pub(crate) closing: CancellationToken,
}

type Shared = State<Arc<Desk>>;

/// The longest a request may take that does not ask to wait.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of a body: a batch of a thousand jobs with payloads of usual size.
const BODY_BYTES_MAX: usize = 8 << 20;
/// The longest that bringing in a version may take: 32 MiB over a line of 2 Mbit/s.
const UPLOAD_MAX: Duration = Duration::from_secs(120);
/// Where the document is.
pub(crate) const DOCUMENT: &str = "/api/v1/openapi.json";

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
        .routes(routes!(queues::explain))
        .routes(routes!(jobs::list, adding::add))
        .routes(routes!(jobs::get, jobs::remove))
        .routes(routes!(jobs::logs))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::promote))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::receipt))
        .routes(routes!(flow::show))
        .routes(routes!(schedulers::list))
        .routes(routes!(handlers::list))
        .routes(routes!(handlers::get))
        .routes(routes!(handlers::history))
        .routes(routes!(handlers::deploy))
        .routes(routes!(handlers::activate))
        .routes(routes!(handlers::canary))
        .routes(routes!(handlers::promote))
        .routes(routes!(handlers::rollback))
        .routes(routes!(handlers::quarantine))
        .routes(routes!(handlers::release))
        .routes(routes!(handlers::shadow))
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::quiet))
        .routes(routes!(hosts::unquiet))
        .routes(routes!(hosts::stop))
        .routes(routes!(trail::list))
        .routes(routes!(trail::reload))
        .routes(routes!(live::stream))
        .routes(routes!(live::socket))
        .routes(routes!(schedulers::get, schedulers::set, schedulers::remove))
        .split_for_parts();
    document.merge(about_open);
    document.merge(crate::routes::documented());
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

/// The API alone.
#[cfg(test)]
pub(crate) fn router(api: Api, loopback: bool, closing: CancellationToken) -> Router {
    opened(api, loopback, closing).router
}

/// The API, and what pages for people need of it.
pub(crate) struct Opened {
    pub(crate) router: Router,
    pub(crate) desk: Arc<Desk>,
    pub(crate) access: Arc<Access>,
    pub(crate) dashboard: DashboardOptions,
}

pub(crate) fn opened(api: Api, loopback: bool, closing: CancellationToken) -> Opened {
    let Api { store, clock, queues, prefix, tokens, handlers, .. } = api;
    let Api { fleet, audit, redaction, control, explain, spool, dashboard, .. } = api;
    let access = Arc::new(Access { tokens, loopback });
    let known = Known::new(Arc::clone(&store), queues);
    let hub = Hub::new(Arc::clone(&store), Arc::clone(&redaction));
    let desk = Arc::new(Desk {
        store,
        clock,
        prefix,
        known,
        handlers,
        fleet,
        audit: Arc::clone(&audit),
        redaction,
        control,
        explain,
        spool,
        hub,
        closing,
    });
    let (closed, open, _) = documented();
    let document: Arc<str> = openapi().into();
    let router = closed
        .route(DOCUMENT, get(async move || ([("content-type", "application/json")], document.to_string())))
        .layer(
            ServiceBuilder::new()
                .layer(CompressionLayer::new())
                .layer(middleware::from_fn_with_state(Arc::clone(&access), access::admit))
                .layer(middleware::from_fn_with_state(audit, changes::audited))
                .layer(middleware::from_fn(timed))
                .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .merge(open.layer(middleware::from_fn(timed)))
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::clone(&desk));
    Opened { router, desk, access, dashboard }
}

/// Whether this request brings a component, which may be larger than any other body and takes longer.
fn brings_artifact(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path().contains("/api/v1/handlers/") && uri.path().ends_with("/versions")
}

/// Bytes that the body of this request may have.
pub(crate) fn body_bytes_max(request: &Request) -> usize {
    if brings_artifact(request.method(), request.uri()) { BLOB_BYTES_MAX } else { BODY_BYTES_MAX }
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; see {DOCUMENT}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Bounds how long a request may take. What was begun in the store goes on there.
async fn timed(request: Request, next: Next) -> Response {
    let limit = if brings_artifact(request.method(), request.uri()) {
        UPLOAD_MAX
    } else {
        ANSWER_MAX + adding::asked_wait(request.uri())
    };
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
