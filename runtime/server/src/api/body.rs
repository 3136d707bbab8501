//! Bodies of requests: JSON, read with problems that name the place.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A body as JSON.
pub(crate) struct Body<T>(pub(crate) T);

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
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
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
        let kind = if cause.is_data() { "cannot be used" } else { "is not JSON" };
        Problem::bad_request(format!("the body {kind}{place}: {cause}"))
    })?;
    json.end().map_err(|cause| Problem::bad_request(format!("the body is not JSON: {cause}")))?;
    Ok(value)
}
