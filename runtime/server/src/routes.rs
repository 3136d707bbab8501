//! The pages: `/livez`, `/readyz`, `/health`, `/metrics`, and whatever the API has.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{self, Api, Opened};
use crate::dashboard;
use crate::health::{Health, HealthReport};
use crate::metrics::{Format, Gauges, Metrics, Scrape};
use crate::problem::{Document, Problem};
use crate::request;
use crate::seats::{self, ANSWERS_MAX, Places};

/// What the pages show.
pub struct Pages {
    /// Behind `/readyz` and `/health`.
    pub health: Arc<dyn Health>,
    /// Behind `/metrics`: what is asked for at each scrape.
    pub gauges: Arc<dyn Gauges>,
    /// Behind `/metrics`: what was counted.
    pub metrics: Arc<Metrics>,
    /// Behind `/api/v1` and `/scale`. None leaves them out.
    pub api: Option<Api>,
}

/// The longest wait for an answer of the host. Probes of orchestrators give up after 1 to 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(5);

const ROUTES: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];

struct Shared {
    health: Arc<dyn Health>,
    scrape: Scrape,
}

/// What a probe is told.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `alive`, `ready` or `not ready`.
    status: &'static str,
    /// Every reason why it is not ready; left out when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    reasons: Vec<String>,
}

/// The pages for probes and scrapers, open to everybody, and what the API's document says of them.
fn probes() -> (Router<Arc<Shared>>, OpenApi) {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(healthy))
        .routes(routes!(measured))
        .split_for_parts()
}

/// What the API's document says of the pages for probes and scrapers.
pub(crate) fn documented() -> OpenApi {
    probes().1
}

/// All routes, for a server that may be reached from this machine only, or from others as well.
pub(crate) fn router(pages: Pages, loopback: bool, closing: &CancellationToken) -> Router {
    let Pages { health, gauges, metrics, api } = pages;
    let mut prefix = String::new();
    let api = api.map_or_else(Router::new, |api| {
        let Opened { router, desk, access, dashboard } = api::opened(api, loopback, closing.clone());
        prefix = dashboard.root();
        router.merge(dashboard::router(desk, access, Arc::clone(&health), &dashboard))
    });
    let router = probes()
        .0
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::new(Shared { health, scrape: Scrape::new(metrics, gauges) }))
        .merge(api)
        .fallback(no_page)
        .layer(middleware::from_fn(bounded))
        .layer(middleware::from_fn_with_state(Places::new(ANSWERS_MAX), placed))
        .layer(middleware::from_fn(request::identified));
    if prefix.is_empty() {
        return router;
    }
    let below = middleware::from_fn_with_state(Arc::<str>::from(prefix), below);
    Router::new().fallback_service(router).layer(below)
}

/// Takes the prefix away before anything is looked at. A proxy may have done so already: both are answered.
async fn below(State(prefix): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let rest = path.strip_prefix(&*prefix).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let rest = rest.map(|rest| if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") });
    if let Some(uri) = rest.and_then(|rest| rest.parse::<Uri>().ok()) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// The process answers: nothing else is asked, so that a lost Redis restarts no host.
#[utoipa::path(get, path = "/livez", tag = "host", security(()), responses(
    (status = 200, body = Readiness), (status = "default", body = Document, content_type = "application/problem+json")
))]
async fn alive() -> impl IntoResponse {
    axum::Json(Readiness { status: "alive", reasons: Vec::new() })
}

/// Whether the host takes jobs: its store answers, its handlers are loaded, it is not quiet.
#[utoipa::path(get, path = "/readyz", tag = "host", security(()), responses(
    (status = 200, body = Readiness), (status = 503, description = "It takes none; `reasons` say why", body = Readiness),
    (status = "default", body = Document, content_type = "application/problem+json")
))]
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let answer = tokio::time::timeout(ANSWER_MAX, shared.health.ready()).await;
    let reasons = match answer {
        Ok(Ok(())) => return axum::Json(Readiness { status: "ready", reasons: Vec::new() }).into_response(),
        Ok(Err(reasons)) => reasons,
        Err(_) => vec![format!("the host did not answer within {ANSWER_MAX:?}")],
    };
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(Readiness { status: "not ready", reasons })).into_response()
}

/// How everything is. 200 whatever the report says: it was delivered, and `/readyz` is there for those that look at the
/// status alone.
#[utoipa::path(get, path = "/health", tag = "host", security(()), responses(
    (status = 200, body = HealthReport), (status = "default", body = Document, content_type = "application/problem+json")
))]
async fn healthy(State(shared): State<Arc<Shared>>) -> Response {
    match tokio::time::timeout(ANSWER_MAX, shared.health.health()).await {
        Ok(report) => axum::Json(report).into_response(),
        Err(_) => {
            let detail = format!("the host did not answer within {ANSWER_MAX:?}");
            Problem::busy(detail).into_response()
        }
    }
}

/// The host's metrics, as Prometheus text or OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "host", security(()), responses(
    (status = 200, content((String = "text/plain"), (String = "application/openmetrics-text"))),
    (status = "default", body = Document, content_type = "application/problem+json")
))]
async fn measured(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = Format::wanted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    match shared.scrape.page(format).await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be written; see the host's log",
            )
            .into_response()
        }
    }
}

async fn no_page(uri: Uri) -> Problem {
    let routes = ROUTES.join(", ");
    let detail =
        format!("there is no page {}; there are {routes}, and those of {}", uri.path(), api::DOCUMENT);
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}; use GET", uri.path()))
}

/// Gives an answer a place, unless it is for a probe: those are always answered.
async fn placed(State(places): State<Places>, request: Request, next: Next) -> Response {
    if ROUTES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Some(place) = places.take() else {
        let detail = format!("{ANSWERS_MAX} requests are being answered already; come back in a second");
        return Problem::busy(detail).into_response();
    };
    seats::holding(next.run(request).await, place)
}

/// Refuses declared bodies over the limit before anything is read, and marks every answer as fresh and as what it says
/// it is.
async fn bounded(request: Request, next: Next) -> Response {
    let limit = api::body_bytes_max(&request);
    let length = request.headers().get(header::CONTENT_LENGTH);
    let declared: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let mut response = match declared {
        Some(bytes) if bytes > limit as u64 => {
            let detail = format!("the body has {bytes} bytes; the limit is {limit}");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
        }
        Some(_) | None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
