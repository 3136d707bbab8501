//! What pages and actions answer. The frame around it is drawn by `visit`, which knows who looks.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jobcell_core::StoreError;
use jobcell_core::names::NameError;
use maud::Markup;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handlers::HandlersError;
use crate::problem::Problem;

/// Which entry of the navigation a page is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Queues,
    Schedules,
    Handlers,
    Hosts,
    Audit,
}

/// A page without its frame.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) title: String,
    pub(super) place: Place,
    pub(super) body: Markup,
    /// Where the page hears that something happened.
    pub(super) stream: Option<String>,
    /// Why this is not all of the page.
    pub(super) fault: Option<Problem>,
}

/// A page with a frame of its own.
#[derive(Clone)]
pub(super) struct Bare {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) body: Markup,
}

/// Something that was done: where to go on, and what is told there.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// In a few words, for the audit; never payloads.
    pub(super) action: String,
    pub(super) target: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    /// Where to go on; where the form was, if none is said.
    pub(super) to: Option<String>,
    pub(super) told: String,
    /// It was done, but not all of it.
    pub(super) is_partial: bool,
}

/// Why there is no page, or why something was not done.
#[derive(Debug, Clone)]
pub(super) struct Fault(pub(super) Problem);

pub(super) type Page = Result<Shown, Fault>;
pub(super) type Deed = Result<Done, Fault>;

// === impl Shown ===

impl Shown {
    pub(super) fn new(place: Place, title: impl Into<String>, body: Markup) -> Self {
        Self { title: title.into(), place, body, stream: None, fault: None }
    }

    /// Hears updates from there.
    pub(super) fn live(self, stream: String) -> Self {
        Self { stream: Some(stream), ..self }
    }

    /// Answers as this fault does, with what is known all the same.
    pub(super) fn lacking(self, fault: impl Into<Problem>) -> Self {
        Self { fault: Some(fault.into()), ..self }
    }
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        carried(StatusCode::OK, self)
    }
}

impl IntoResponse for Bare {
    fn into_response(self) -> Response {
        carried(self.status, self)
    }
}

// === impl Done ===

impl Done {
    pub(super) fn new(action: impl Into<String>, target: impl Into<String>, told: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            target: target.into(),
            before: None,
            after: None,
            to: None,
            told: told.into(),
            is_partial: false,
        }
    }

    pub(super) fn then(self, to: String) -> Self {
        Self { to: Some(to), ..self }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        carried(StatusCode::SEE_OTHER, self)
    }
}

// === impl Fault ===

impl Fault {
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self(Problem::bad_request(detail))
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self(Problem::not_found(detail))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self(error.into())
    }
}

impl From<HandlersError> for Fault {
    fn from(error: HandlersError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        carried(self.0.status(), self)
    }
}

/// An answer whose body is drawn further out.
fn carried<T: Clone + Send + Sync + 'static>(status: StatusCode, what: T) -> Response {
    let mut response = status.into_response();
    response.extensions_mut().insert(what);
    response
}

/// What the API takes in, from what a form says.
pub(super) fn input<T: DeserializeOwned>(json: &str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| Fault::bad_request(error.to_string()))
}

/// A part of a store's answer; none where the store has no such thing.
pub(super) fn where_kept<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Rejected(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
