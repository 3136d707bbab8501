//! Errors as RFC 9457 problem documents.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobcell_core::StoreError;
use jobcell_core::names::NameError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An error as a caller sees it. Holds nothing that only an operator may see.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// When the same request may succeed.
    retry_after: Option<Duration>,
    /// What kind of problem it is, where the status leaves that open.
    code: Option<&'static str>,
    /// What a program may want to know of it.
    details: Map<String, Value>,
}

/// What an error answers: a problem document of RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong with what, and what to do.
    detail: &'a str,
    /// What kind of problem it is, where the status leaves that open: such as `needs-approval` or `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// What a program may want to know of it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    details: &'a Map<String, Value>,
}

/// The detail on the answer's way out: for the audit.
#[derive(Clone)]
pub(crate) struct Told(pub(crate) String);

/// When to come back while the store is away: workers try to reach it about twice a second.
const STORE_AWAY: Duration = Duration::from_secs(1);

/// When to come back while it refuses access.
const STORE_DENIES: Duration = Duration::from_secs(30);

// === impl Problem ===

impl Problem {
    /// What went wrong, and what to do.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None, code: None, details: Map::new() }
    }

    /// The same, of a kind that programs tell apart.
    pub(crate) fn coded(self, code: &'static str, details: Map<String, Value>) -> Self {
        Self { code: Some(code), details, ..self }
    }

    /// The store cannot be reached: the same request may succeed soon.
    pub(crate) fn store_away(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(STORE_AWAY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// There is too much to do: the same request may succeed soon.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(STORE_AWAY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, and what to do.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// When the same request may succeed.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Nobody is known to ask.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Whoever asks may not.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// The thing is not in the state that this needs.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Unavailable(_) => return Self::store_away(error.to_string()),
            // Somebody has to mend it: no use in coming back at once.
            StoreError::Denied(_) => {
                let away = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return Self { retry_after: Some(STORE_DENIES), ..away };
            }
            StoreError::NotFound(_) => StatusCode::NOT_FOUND,
            StoreError::WrongState { .. } => StatusCode::CONFLICT,
            StoreError::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::Corrupt(_) | StoreError::Other(_) => {
                tracing::error!(%error, "a request of the API failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, retry_after, code, details } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let document = Document {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: &detail,
            code,
            details: &details,
        };
        let mut response = (status, axum::Json(document)).into_response();
        response.extensions_mut().insert(Told(detail));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
