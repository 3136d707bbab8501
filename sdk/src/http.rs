//! Outgoing HTTP. The operator grants hosts and methods; everything else answers [`HttpError::Denied`].
//!
//! Any status is an answer: [`Request::send`] fails only when there is none. In a cell requests go over
//! `wasi:http/outgoing-handler`, in native tests to the responders of `testing::Host`.

mod error;
pub(crate) mod target;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::HttpError;

use crate::decode::from_json;
use crate::host;

/// The most that [`Request::send`] reads of an answer unless told otherwise: a quarter of a cell's usual 128 MiB, so
/// that the body, the vector it grows in, and what the handler makes of it fit together.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The HTTP methods that handlers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Read the head only.
    Head,
    /// Create, or do.
    Post,
    /// Replace.
    Put,
    /// Change in part.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Request ===

/// A request in the making.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// In the order they were added; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// For the whole exchange, the body of the answer included. `None` leaves it to the job's deadline.
    pub timeout: Option<Duration>,
    /// A longer answer is [`HttpError::TooLarge`]; [`BODY_BYTES_MAX`] unless set.
    pub max_body: usize,
    /// Why the body could not be made; reported by `send`, so that building needs no `?`.
    fault: Option<String>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            max_body: BODY_BYTES_MAX,
            fault: None,
        }
    }

    /// A `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url)
    }

    /// A `HEAD` request.
    pub fn head(url: impl Into<String>) -> Self {
        Self::new(Method::Head, url)
    }

    /// A `POST` request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::Post, url)
    }

    /// A `PUT` request.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new(Method::Put, url)
    }

    /// A `PATCH` request.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new(Method::Patch, url)
    }

    /// A `DELETE` request.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new(Method::Delete, url)
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `authorization: Bearer …`; the token is commonly a [`crate::secrets::placeholder`].
    pub fn bearer(self, token: impl fmt::Display) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets the body to this value as JSON, and the content type unless one was given before.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body = bytes,
            Err(error) => self.fault = Some(format!("the body has no JSON form: {error}")),
        }
        match self.header_value("content-type") {
            Some(_) => self,
            None => self.header("content-type", "application/json"),
        }
    }

    /// Sets the body to these bytes.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// Limits the whole exchange, reading the answer included.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limits how many bytes of an answer are read.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sends the request and reads the whole answer, whatever its status. Redirects are not followed: where they
    /// lead may not be granted.
    ///
    /// # Errors
    /// [`HttpError::Denied`] when the operator did not grant it, [`HttpError::Invalid`] for a request that cannot be
    /// sent, [`HttpError::TooLarge`] for an answer over [`Request::max_body`]; the others when there is no answer.
    pub fn send(self) -> Result<Response, HttpError> {
        host::http::send(self)
    }

    /// The value of the first header with this name, in any case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as JSON, for tests that look at what was sent.
    ///
    /// # Errors
    /// [`HttpError::Protocol`] naming where the body does not fit.
    pub fn body_json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        decode("request", &self.body)
    }
}

/// Without header values and body, which may hold secrets or personal data.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

// === impl Response ===

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Any status; `send` does not judge it.
    pub status: u16,
    /// In the order they came; names in lower case in a cell.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without headers and body, for the responders of a test.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The same answer with this header added.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same answer with this body.
    #[must_use]
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// The same answer with this value as its JSON body.
    ///
    /// # Panics
    /// When the value has no JSON form: this is for tests.
    #[must_use]
    pub fn with_json(self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.with_header("content-type", "application/json").with_body(bytes),
            Err(error) => panic!("the answer's body has no JSON form: {error}"),
        }
    }

    /// Is the status 200 to 299?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of the first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as a value.
    ///
    /// # Errors
    /// [`HttpError::Protocol`] with the path, the fault and its position.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        decode("response", &self.body)
    }

    /// The body as text; bytes that are not UTF-8 become the replacement character.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
}

fn decode<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, HttpError> {
    from_json(body).map_err(|fault| HttpError::Protocol(format!("{what} body: {fault}")))
}
