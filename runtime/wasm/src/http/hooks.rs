//! Joins `wasi:http` to the rules: every outgoing request is decided here, and leaves as [`super::outgoing`] builds it.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::{EXPECT, FORWARDED, TE, TRAILER, VIA};
use http::{HeaderName, Method, Request, Uri};
use jobcell_core::effects::Tape;
use jobcell_core::receipt::Receipt;
use jobcell_core::{Attempt, AttemptIo};
use tokio::time::Instant;
use url::{Host, Url};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpHooks,
};

use super::budget::{Budget, Spent};
use super::outgoing::{Leave, Sent};
use super::path::climbs;
use super::rule::HttpRule;
use crate::template::Template;

/// Bytes of a request's headers, as held in memory.
pub(crate) const FIELDS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one write to a request's body.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of a URL.
const URL_BYTES_MAX: usize = 8 * 1024;

/// The HTTP state of a cell.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    template: Arc<Template>,
    io: Arc<AttemptIo>,
    tenant: Option<String>,
    budget: Arc<Budget>,
    tape: Option<Tape>,
    deadline: Instant,
}

// === impl Http ===

impl Http {
    pub(crate) fn new(
        template: &Arc<Template>,
        attempt: &Attempt,
        tape: Option<&Tape>,
        deadline: Instant,
    ) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(FIELDS_BYTES_MAX);
        let hooks = Hooks {
            template: Arc::clone(template),
            io: Arc::clone(&attempt.io),
            tenant: attempt.job.options.tenant.as_deref().map(str::to_owned),
            budget: Budget::new(&template.limits().http),
            tape: tape.cloned(),
            deadline,
        };
        Self { ctx, hooks }
    }

    pub(crate) fn split(&mut self) -> (&mut WasiHttpCtx, &mut dyn WasiHttpHooks) {
        let Self { ctx, hooks } = self;
        (ctx, hooks)
    }

    /// Adds where requests went, and the limits that were nearly used up.
    pub(crate) fn write_receipt(&self, receipt: &mut Receipt) {
        self.hooks.budget.write_receipt(receipt);
    }
}

// === impl Hooks ===

impl Hooks {
    /// Decides whether the request may leave. A refusal explains itself in the job's log, because its code cannot.
    fn decide(&self, request: &Request<WasiBody>, options: RequestOptions) -> Result<Leave, Error> {
        let url = url_of(request.uri())?;
        let method = request.method();
        if NEVER.iter().any(|never| method.as_str().eq_ignore_ascii_case(never)) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let rules = &self.template.grants().http;
        let Some((index, rule)) =
            rules.iter().enumerate().find(|(_, rule)| rule.covers(&url) && rule.allows(method))
        else {
            return Err(self.refuse(method, &url));
        };
        if let Some(meant) = overriding(request).find(|meant| !rule.allows(meant)) {
            return Err(self.refuse(&meant, &url));
        }
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(barred) = ip.and_then(|ip| rule.reachable().check(ip).err()) {
            self.template.denied_http(&self.io);
            self.io.log(&format!("http: {} is a {barred}", place(&url)));
            return Err(Error::DestinationIpProhibited);
        }
        let slot = self.budget.start().map_err(|spent| self.spent(spent))?;
        let timeout = self.template.limits().http.timeout;
        let asked = match (options.connect_timeout, options.first_byte_timeout) {
            (None, None) => timeout,
            (connect, first) => {
                let either = |wait: Option<Duration>| wait.unwrap_or(timeout);
                either(connect).saturating_add(either(first))
            }
        };
        Ok(Leave {
            template: Arc::clone(&self.template),
            io: Arc::clone(&self.io),
            budget: Arc::clone(&self.budget),
            slot,
            rule: index,
            tenant: self.tenant.clone(),
            tape: self.tape.clone(),
            head_timeout: asked.min(timeout),
            silence_max: options.between_bytes_timeout.unwrap_or(timeout).min(timeout),
            deadline: self.deadline,
            url,
        })
    }

    fn refuse(&self, method: &Method, url: &Url) -> Error {
        self.template.denied_http(&self.io);
        let handler = self.template.name();
        let place = place(url);
        self.io.log(&match HttpRule::suggest(method, &place) {
            Ok(_) if climbs(url.path()) => format!(
                "http: {method} {place} is not granted: its path holds an encoded way up, which only a rule without a \
                 path covers"
            ),
            Ok(rule) => format!(
                "http: {method} {place} is not granted; to allow it add http = [{rule}] under [handlers.{handler}.grants]"
            ),
            Err(barred) => format!("http: {method} {place} is not granted: its host is {barred}"),
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

/// Methods that open tunnels, or have the far end repeat what it was sent, credentials included.
const NEVER: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// Headers by which some servers take another method than the request's. It must be granted as well.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Headers by which some servers take another path or host than the request's, past the grant; and in which proxies
/// tell where a request comes from.
const REROUTING: [&str; 10] = [
    "cf-connecting-ip",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

fn overriding(request: &Request<WasiBody>) -> impl Iterator<Item = Method> + '_ {
    let values = METHOD_OVERRIDES.iter().flat_map(|name| request.headers().get_all(*name));
    // What is no method is none that any rule names.
    values.map(|value| {
        Method::from_bytes(value.as_bytes().trim_ascii().to_ascii_uppercase().as_slice())
            .unwrap_or(Method::CONNECT)
    })
}

/// Headers that say where a request comes from, where it really goes or how it travels are the host's to set.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    let text = name.as_str();
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || [EXPECT, FORWARDED, TE, TRAILER, VIA].contains(name)
        || REROUTING.contains(&text)
        || text.starts_with("x-forwarded-")
        || text.starts_with("proxy-")
}

/// The URL anew from its parts, in the one form that rules are matched with and the request is sent to.
pub(crate) fn url_of(uri: &Uri) -> Result<Url, Error> {
    // Without a scheme the beginning of the authority would be read as one.
    uri.scheme().ok_or(Error::HttpRequestUriInvalid)?;
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let text = uri.to_string();
    if text.len() > URL_BYTES_MAX {
        return Err(Error::HttpRequestUriTooLong);
    }
    Url::parse(&text).map_err(|_| Error::HttpRequestUriInvalid)
}

/// The URL without its query, which may carry what is not for logs.
fn place(url: &Url) -> Url {
    let mut place = url.clone();
    place.set_query(None);
    place.set_fragment(None);
    place
}
