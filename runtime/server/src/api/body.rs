//! Bodies of requests: JSON, read with problems that name the place.

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::wording;
use crate::problem::Problem;

/// A body as JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// A body as JSON, or none, which stands for the default.
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// A body that is one thing or an array of them.
pub(crate) enum OneOrMany<T> {
    /// One.
    One(T),
    /// An array.
    Many(Vec<T>),
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read(&bytes(request, state).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_typed = request.headers().contains_key(header::CONTENT_TYPE);
        if !is_typed && request.body().size_hint().exact() == Some(0) {
            return Ok(Self(T::default()));
        }
        let body = bytes(request, state).await?;
        if body.trim_ascii().is_empty() { Ok(Self(T::default())) } else { read(&body).map(Self) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OneOrMany<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = bytes(request, state).await?;
        // Told apart by hand: then what is wrong is said of the one thing it was meant to be.
        if body.trim_ascii_start().starts_with(b"[") {
            read(&body).map(Self::Many)
        } else {
            read(&body).map(Self::One)
        }
    }
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        // Also keeps out the plain forms that any site can make a browser send.
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is to be JSON: send `Content-Type: application/json`",
        ));
    }
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body has more bytes than the limit of {}", super::BODY_BYTES_MAX);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        status => Problem::new(status, "the body could not be read to its end; send it again"),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = error.path().to_string();
        let cause = error.into_inner();
        let place = if place == "." { String::new() } else { format!(" at {place}") };
        if cause.is_data() {
            let told = wording::plain(&cause.to_string());
            Problem::bad_request(format!("the body cannot be used{place}: {told}"))
        } else {
            Problem::bad_request(format!("the body is not JSON{place}: {cause}"))
        }
    })?;
    json.end().map_err(|cause| Problem::bad_request(format!("the body is not JSON: {cause}")))?;
    Ok(value)
}
