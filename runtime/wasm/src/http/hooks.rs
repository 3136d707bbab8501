//! Joins `wasi:http` to the rules: every outgoing request is decided, rebuilt and sent here.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use jobcell_core::event::Event;
use jobcell_core::{Attempt, AttemptIo};
use tokio::time::Instant;
use url::{Host, Url};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpHooks,
};

use super::address::Reachable;
use super::body::{Incoming, read};
use super::budget::{Budget, Slot, Spent};
use super::rule::HttpRule;
use super::send::{error_of, explain};
use super::substitute::{Place, StandIn, substitute};
use crate::template::Template;

/// Bytes of a request's headers, as held in memory.
const FIELDS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one write to a request's body.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of a URL.
const URL_BYTES_MAX: usize = 8 * 1024;
/// The shortest timeout: a guest may ask for none at all, which the timers below do not take.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The HTTP state of a cell.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    template: Arc<Template>,
    io: Arc<AttemptIo>,
    budget: Arc<Budget>,
    deadline: Instant,
}

/// A request that may leave.
struct Leave {
    template: Arc<Template>,
    io: Arc<AttemptIo>,
    budget: Arc<Budget>,
    slot: Slot,
    url: Url,
    /// Index of the rule that lets it pass.
    rule: usize,
    reachable: Reachable,
    head_timeout: Duration,
    silence_max: Duration,
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

// === impl Http ===

impl Http {
    pub(crate) fn new(template: &Arc<Template>, attempt: &Attempt, deadline: Instant) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(FIELDS_BYTES_MAX);
        let hooks = Hooks {
            template: Arc::clone(template),
            io: Arc::clone(&attempt.io),
            budget: Budget::new(&template.limits().http),
            deadline,
        };
        Self { ctx, hooks }
    }

    pub(crate) fn split(&mut self) -> (&mut WasiHttpCtx, &mut dyn WasiHttpHooks) {
        let Self { ctx, hooks } = self;
        (ctx, hooks)
    }
}

// === impl Hooks ===

impl Hooks {
    /// Decides whether the request may leave. A refusal explains itself in the job's log, because its code cannot.
    fn decide(&self, request: &Request<WasiBody>, options: RequestOptions) -> Result<Leave, Error> {
        let url = url_of(request)?;
        let method = request.method();
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let rules = &self.template.grants().http;
        let Some((index, rule)) =
            rules.iter().enumerate().find(|(_, rule)| rule.covers(&url) && rule.allows(method))
        else {
            return Err(self.refuse(method, &url));
        };
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(barred) = ip.and_then(|ip| rule.reachable().check(ip).err()) {
            self.io.log(&format!("http: {} is a {barred}", place(&url)));
            return Err(Error::DestinationIpProhibited);
        }
        let slot = self.budget.start().map_err(|spent| self.spent(spent))?;
        let limits = &self.template.limits().http;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let asked = match (options.connect_timeout, options.first_byte_timeout) {
            (None, None) => limits.timeout,
            (connect, first) => {
                let either = |wait: Option<Duration>| wait.unwrap_or(limits.timeout);
                either(connect).saturating_add(either(first)).min(limits.timeout)
            }
        };
        Ok(Leave {
            template: Arc::clone(&self.template),
            io: Arc::clone(&self.io),
            budget: Arc::clone(&self.budget),
            slot,
            rule: index,
            reachable: rule.reachable(),
            head_timeout: asked.min(left).max(TIMEOUT_MIN),
            silence_max: options.between_bytes_timeout.unwrap_or(limits.timeout).min(left).max(TIMEOUT_MIN),
            url,
        })
    }

    fn refuse(&self, method: &Method, url: &Url) -> Error {
        let handler = self.template.name();
        self.template
            .services()
            .observer
            .on(&Event::Denied { handler: handler.to_owned(), capability: "http" });
        let place = place(url);
        self.io.log(&match HttpRule::suggest(method, &place) {
            Ok(rule) => format!(
                "http: {method} {place} is not granted; to allow it add http = [{rule}] under [handlers.{handler}.grants]"
            ),
            Err(kind) => format!(
                "http: {method} {place} is not granted, and cannot be: its host is a {kind}, which handlers never reach"
            ),
        });
        Error::HttpRequestDenied
    }

    fn spent(&self, spent: Spent) -> Error {
        let limits = &self.template.limits().http;
        match spent {
            Spent::Requests => {
                self.io
                    .log(&format!("http: the limit of {} requests an attempt is used up", limits.requests));
                Error::HttpRequestDenied
            }
            Spent::Concurrent => {
                self.io.log(&format!(
                    "http: {} requests are on their way already, which is the limit",
                    limits.concurrent
                ));
                Error::ConnectionLimitReached
            }
        }
    }
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        static FILTER: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| Arc::new(is_forbidden));
        Arc::clone(&FILTER)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let leave = self.decide(&request, options.unwrap_or_default());
        Box::new(async move { leave?.send(request).await })
    }
}

/// Headers that say where a request comes from or how it travels are the host's to set.
fn is_forbidden(name: &HeaderName) -> bool {
    let text = name.as_str();
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || *name == EXPECT
        || *name == FORWARDED
        || *name == TE
        || text.starts_with("x-forwarded-")
        || text.starts_with("proxy-")
}

/// The URL anew from its parts, in the one form that rules are matched with and the request is sent to.
fn url_of(request: &Request<WasiBody>) -> Result<Url, Error> {
    let uri = request.uri();
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let text = uri.to_string();
    if text.len() > URL_BYTES_MAX {
        return Err(Error::HttpRequestUriTooLong);
    }
    let url = Url::parse(&text).map_err(|_| Error::HttpRequestUriInvalid)?;
    // `..%2f` is no dot segment here, but some servers make it one.
    let climbs = url.path().to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    if climbs.split(['/', '\\']).any(|segment| segment == "..") {
        return Err(Error::HttpRequestUriInvalid);
    }
    Ok(url)
}

/// The URL without its query, which may carry what is not for logs.
fn place(url: &Url) -> Url {
    let mut place = url.clone();
    place.set_query(None);
    place.set_fragment(None);
    place
}

// === impl Leave ===

impl Leave {
    async fn send(self, request: Request<WasiBody>) -> Result<Sent, Error> {
        let (head, body) = request.into_parts();
        let body =
            read(body, &self.budget).await.inspect_err(|error| self.io.log(&format!("http: {error}")))?;
        let request = self.outgoing(head.method, &head.headers, body)?;
        let Self { template, io, budget, slot, url, reachable, head_timeout, silence_max, .. } = self;
        let client = template.services().http.client(reachable).map_err(|fault| {
            io.log(&format!("http: this host cannot send requests: {fault}"));
            Error::ConfigurationError
        })?;
        let fault = |why: &str| io.log(&format!("http: request to {} failed: {why}", origin(&url)));
        let response = match tokio::time::timeout(head_timeout, client.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                fault(&explain(&error));
                return Err(error_of(&error));
            }
            Err(_) => {
                fault(&format!("no response within {head_timeout:?}"));
                return Err(Error::HttpResponseTimeout);
            }
        };
        let response = Response::<reqwest::Body>::from(response)
            .map(|body| Incoming::new(body, budget, slot, silence_max).boxed_unsync());
        Ok((response, Box::new(async { Ok(()) })))
    }

    /// The request as it leaves, secrets in place.
    fn outgoing(&self, method: Method, headers: &HeaderMap, body: Bytes) -> Result<reqwest::Request, Error> {
        let rule = &self.template.grants().http[self.rule];
        let known: Vec<_> = self
            .template
            .stand_ins()
            .map(|(text, name, secret)| {
                let value = rule.secrets().any(|listed| listed == name).then(|| secret.expose());
                StandIn { text, name, value }
            })
            .collect();
        let mut kept = Vec::new();
        let url = url_with(&self.url, &known, &mut kept)?;
        let mut out = reqwest::Request::new(method, url);
        for (name, value) in headers {
            // The length is that of the body as it leaves, and the host that of the URL.
            if *name == CONTENT_LENGTH || *name == HOST || is_forbidden(name) {
                continue;
            }
            let value = substitute(value.as_bytes(), Place::Plain, &known, &mut kept);
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| {
                self.io.log(&format!("http: header {name} with its secret in place is not a valid header"));
                Error::HttpRequestHeaderSize { field_name: Some(name.to_string()), field_size: None }
            })?;
            value.set_sensitive(true);
            out.headers_mut().append(name, value);
        }
        out.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if !body.is_empty() {
            let place = body_place(headers);
            let body = match substitute(&body, place, &known, &mut kept) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(replaced) => Some(Bytes::from(replaced)),
            }
            .unwrap_or(body);
            *out.body_mut() = Some(body.into());
        }
        for secret in kept {
            let handler = self.template.name();
            self.io.log(&format!(
                "http: the placeholder of secret {secret:?} was left as it is, because rule {rule} of \
                 [handlers.{handler}.grants] does not list it; add secrets = [\"{secret}\"] to that rule"
            ));
        }
        Ok(out)
    }
}

fn url_with(url: &Url, known: &[StandIn<'_>], kept: &mut Vec<String>) -> Result<Url, Error> {
    let text = substitute(url.as_str().as_bytes(), Place::Url, known, kept);
    let std::borrow::Cow::Owned(text) = text else { return Ok(url.clone()) };
    let replaced = std::str::from_utf8(&text).ok().and_then(|text| Url::parse(text).ok());
    // A secret in the name of a host would send the request to where no rule points.
    replaced.filter(|replaced| replaced.origin() == url.origin()).ok_or(Error::HttpRequestUriInvalid)
}

fn body_place(headers: &HeaderMap) -> Place {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        Place::Json
    } else if kind == "application/x-www-form-urlencoded" {
        Place::Url
    } else {
        Place::Plain
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
