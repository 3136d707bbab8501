//! A request that may leave: built anew with its secrets in place, sent, and its response handed in.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use jobcell_core::AttemptIo;
use jobcell_core::effects::Tape;
use jobcell_core::trace::{Exchange, Outgoing};
use tokio::time::Instant;
use url::Url;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{Incoming, read};
use super::budget::{Budget, Slot};
use super::failure::{error_of, explain, is_prohibited};
use super::hooks::is_forbidden;
use super::mask::Masked;
use super::place::{Place, RuleSecret};
use super::rule::HttpRule;
use super::send::Key;
use super::substitute::{Spelling, StandIn, Substitution};
use super::taped;
use crate::job::W3C;
use crate::template::Template;

/// Bytes by which secrets may lengthen a request's URL and headers together.
const HEAD_GROWTH_MAX: usize = 64 * 1024;
/// The shortest timeout: a guest may ask for none at all, which the timers below do not take.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// A request that may leave.
pub(super) struct Leave {
    pub(super) template: Arc<Template>,
    pub(super) io: Arc<AttemptIo>,
    pub(super) budget: Arc<Budget>,
    pub(super) slot: Slot,
    pub(super) url: Url,
    /// Index of the rule that lets it pass.
    pub(super) rule: usize,
    pub(super) tenant: Option<String>,
    /// Records the exchange, or answers it.
    pub(super) tape: Option<Tape>,
    /// The longest wait for the head of the response, and for each piece of its body.
    pub(super) head_timeout: Duration,
    pub(super) silence_max: Duration,
    /// When the attempt ends.
    pub(super) deadline: Instant,
}

pub(super) type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

// === impl Leave ===

impl Leave {
    /// Sends it and waits for the head of its response.
    ///
    /// Cancel safety: dropping the future hangs up; the far end may or may not have done what it was asked.
    pub(super) async fn send(self, request: Request<WasiBody>) -> Result<Sent, Error> {
        let (head, body) = request.into_parts();
        let body =
            read(body, &self.budget).await.inspect_err(|error| self.io.log(&format!("http: {error}")))?;
        match self.tape.clone() {
            None => self.exchange(head.method, head.headers, body).await,
            Some(tape) => taped::send(self, &tape, head.method, head.headers, body).await,
        }
    }

    /// Sends it, whatever is recorded of it.
    pub(super) async fn exchange(
        self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Sent, Error> {
        let (mut request, length) = self.outgoing(method, &headers, body)?;
        let destination = self.destination();
        let mut exchange = self.follow(&mut request, &destination);
        let key = Key::new(self.rule, &self.url, self.tenant.as_deref());
        let connections = self.template.connections();
        let client = connections.client(&key, self.rule().reachable()).map_err(|fault| {
            self.io.log(&format!("http: this host cannot send requests: {fault}"));
            Error::ConfigurationError
        })?;
        let destination = self.budget.departed(&destination, length);
        let head_timeout = self.within_attempt(self.head_timeout);
        let response = match tokio::time::timeout(head_timeout, client.execute(request)).await {
            Ok(Ok(response)) => Response::<reqwest::Body>::from(response),
            Ok(Err(error)) => {
                if let Some(exchange) = &mut exchange {
                    exchange.failed(if error.is_connect() { "connection" } else { "exchange" });
                }
                return Err(self.failed(&error));
            }
            Err(_) => {
                if let Some(exchange) = &mut exchange {
                    exchange.failed("timeout");
                }
                self.say_failed(&format!("no response within {head_timeout:?}"));
                return Err(Error::HttpResponseTimeout);
            }
        };
        if let Some(exchange) = &mut exchange {
            exchange.answered(response.status().as_u16());
        }
        self.incoming(response, destination)
    }

    /// Lets whoever follows the attempt follow the request. Where the rule allows it, the request carries the context of the
    /// trace, unless the handler has put one there itself.
    fn follow(&self, request: &mut reqwest::Request, destination: &str) -> Option<Box<dyn Exchange>> {
        let trace = self.io.trace()?;
        let exchange = trace.sends(&Outgoing { method: request.method().as_str(), destination });
        if self.rule().traces() && !request.headers().contains_key(W3C[0]) {
            for (name, value) in exchange.context() {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    request.headers_mut().insert(name, value);
                }
            }
        }
        Some(exchange)
    }

    /// The response as the guest gets it.
    fn incoming(self, response: Response<reqwest::Body>, destination: usize) -> Result<Sent, Error> {
        let (mut head, body) = response.into_parts();
        // Nobody asked for another protocol, and what follows is not HTTP.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.say_failed("the far end changed to another protocol unasked");
            return Err(Error::HttpUpgradeFailed);
        }
        let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if !self.budget.download(bytes) {
            self.say_failed("the head of its response is over what is left of limits.http.download");
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(bytes).ok()));
        }
        if let Some(redactor) = self.template.redactor() {
            for value in head.headers.values_mut() {
                if let Some(clean) = redactor.header(value.as_bytes())
                    && let Ok(clean) = HeaderValue::from_bytes(&clean)
                {
                    *value = clean;
                }
            }
        }
        head.extensions.clear();
        let silence_max = self.within_attempt(self.silence_max);
        // Only where a secret can have gone is one looked for.
        let redactor = self.template.redactor().filter(|_| self.rule().secrets().next().is_some()).cloned();
        let Self { budget, slot, .. } = self;
        let body = Incoming::new(body, budget, slot, destination, silence_max);
        let body = match redactor {
            Some(redactor) => Masked::new(body, redactor).boxed_unsync(),
            None => body.boxed_unsync(),
        };
        Ok((Response::from_parts(head, body), Box::new(async { Ok(()) })))
    }

    fn within_attempt(&self, wait: Duration) -> Duration {
        wait.min(self.deadline.saturating_duration_since(Instant::now())).max(TIMEOUT_MIN)
    }

    fn rule(&self) -> &HttpRule {
        &self.template.grants().http[self.rule]
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        if is_prohibited(error) {
            self.template.denied_http(&self.io);
        }
        self.say_failed(&explain(error));
        error_of(error)
    }

    fn say_failed(&self, why: &str) {
        let origin = self.url.origin().ascii_serialization();
        self.io.log(&format!("http: request to {origin} failed: {why}"));
    }

    /// Host and port, for the receipt. Below a granted name the host is the guest's choice.
    fn destination(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let place = format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default());
        self.template.redactor().and_then(|redactor| redactor.text(&place)).unwrap_or(place)
    }

    /// The request as it leaves, secrets in place, and the length of its body.
    fn outgoing(
        &self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(reqwest::Request, usize), Error> {
        let mut secrets = Substitution::new(self.stand_ins(), HEAD_GROWTH_MAX);
        let mut out = reqwest::Request::new(method, self.url_with(&mut secrets)?);
        for (name, value) in headers {
            // The length is that of the body as it leaves, and the host that of the URL.
            if *name == CONTENT_LENGTH || *name == HOST || is_forbidden(name) {
                continue;
            }
            let value = secrets
                .put_header(value.as_bytes(), Place::Header(name))
                .map_err(|_| Error::HttpRequestHeaderSectionSize(None))?;
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| {
                self.io.log(&format!("http: header {name} with its secret in place is not a valid header"));
                Error::HttpRequestHeaderSize { field_name: Some(name.to_string()), field_size: None }
            })?;
            value.set_sensitive(true);
            out.headers_mut().append(name, value);
        }
        out.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let body = self.body_with(&mut secrets, spelling_of(headers), body)?;
        let length = body.len();
        if length > 0 {
            // Some servers do not read a body where they expect none, and would take it for the next request, which no
            // rule has decided. On a connection that ends there is no next one.
            if matches!(*out.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE) {
                out.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            *out.body_mut() = Some(body.into());
        }
        self.say_kept(&secrets);
        Ok((out, length))
    }

    fn stand_ins(&self) -> Vec<StandIn<'_>> {
        let rule = self.rule();
        self.template
            .stand_ins()
            .map(|(text, name, secret)| StandIn {
                text,
                name,
                value: secret.expose(),
                rule: rule.secret(name),
            })
            .collect()
    }

    fn url_with(&self, secrets: &mut Substitution<'_>) -> Result<Url, Error> {
        let text = secrets
            .put(self.url.as_str().as_bytes(), Place::Url, Spelling::Url)
            .map_err(|_| Error::HttpRequestUriTooLong)?;
        let Cow::Owned(text) = text else { return Ok(self.url.clone()) };
        let replaced = std::str::from_utf8(&text).ok().and_then(|text| Url::parse(text).ok());
        // A secret in the name of a host, or one that is a dot segment, would lead to where no rule points.
        replaced
            .filter(|replaced| replaced.origin() == self.url.origin() && self.rule().covers(replaced))
            .ok_or(Error::HttpRequestUriInvalid)
    }

    fn body_with(
        &self,
        secrets: &mut Substitution<'_>,
        spelling: Spelling,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let too_long = |_| Error::HttpRequestBodySize(Some(body.len() as u64));
        secrets.set_room(self.budget.upload_left());
        let replaced = match secrets.put(&body, Place::Body, spelling).map_err(too_long)? {
            Cow::Borrowed(_) => None,
            Cow::Owned(replaced) => Some(Bytes::from(replaced)),
        };
        let Some(replaced) = replaced else { return Ok(body) };
        let growth = replaced.len().saturating_sub(body.len());
        if self.budget.upload(growth) { Ok(replaced) } else { Err(too_long(super::substitute::NoRoom)) }
    }

    fn say_kept(&self, secrets: &Substitution<'_>) {
        let handler = self.template.name();
        for (name, place) in secrets.kept() {
            let header = place.strip_prefix("header:");
            let entry = if header.is_some_and(|header| RuleSecret::CREDENTIAL_HEADERS.contains(&header)) {
                format!("\"{name}\"")
            } else {
                format!("{{ name = \"{name}\", in = [\"{place}\"] }}")
            };
            self.io.log(&format!(
                "http: the placeholder of secret {name:?} was left as it is ({place}), because rule {} of \
                 [handlers.{handler}.grants] does not let it stand there; add secrets = [{entry}] to that rule",
                self.rule()
            ));
        }
    }
}

/// How a secret is written in a body of this content type.
fn spelling_of(headers: &HeaderMap) -> Spelling {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        Spelling::Json
    } else if kind == "application/x-www-form-urlencoded" {
        Spelling::Url
    } else {
        Spelling::Plain
    }
}
