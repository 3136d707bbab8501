//! Who may use the API, and for what.
//!
//! With tokens configured every request names one; without, the API answers this machine only. Pages of other sites
//! that a browser shows cannot use it either way.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jobcell_core::Job;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;

/// What somebody may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Works with jobs and queues.
    Operator,
    /// May do everything, what destroys included.
    Admin,
}

/// A bearer token, known by its hash alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who uses it, for logs.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The sha256 of the token.
    pub sha256: [u8; 32],
    /// Whose jobs they may see and touch; none is everybody's.
    pub tenant: Option<String>,
}

/// The tokens that are known now. Clones share them, so that whoever keeps one can replace them while the API is
/// served: one that is gone opens nothing from then on, nor do sessions that were begun with it.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<ArcSwap<Table>>);

#[derive(Debug)]
struct Table {
    tokens: Vec<Token>,
    /// Fires when these are not the tokens any more.
    replaced: CancellationToken,
}

/// Who may use the API.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    /// The server listens on a loopback address.
    pub(crate) loopback: bool,
}

/// Who makes this request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    role: Role,
    tenant: Option<Arc<str>>,
    replaced: CancellationToken,
}

/// The protocol of our WebSocket.
pub(super) const PROTOCOL: &str = "jobcell";

// === impl Role ===

impl Role {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

// === impl Tokens ===

impl From<Vec<Token>> for Tokens {
    fn from(tokens: Vec<Token>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Table::new(tokens))))
    }
}

impl Tokens {
    /// Knows these from now on. Where they differ from those before, streams that are open end, for their clients to
    /// come back with a token that is known.
    pub fn replace(&self, tokens: Vec<Token>) {
        if self.0.load().tokens != tokens {
            self.0.swap(Arc::new(Table::new(tokens))).replaced.cancel();
        }
    }
}

impl Table {
    fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, replaced: CancellationToken::new() }
    }
}

// === impl Caller ===

impl Caller {
    /// Refuses who may not do this.
    pub(crate) fn must_be(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "{} has the role {}; this needs {}. Give its token that role under [[server.tokens]]",
            self.name,
            self.role.as_str(),
            role.as_str()
        )))
    }

    /// Refuses who may only touch one tenant's jobs: queues and schedulers belong to all.
    pub(crate) fn must_see_all(&self) -> Result<(), Problem> {
        match &self.tenant {
            None => Ok(()),
            Some(tenant) => Err(Problem::forbidden(format!(
                "{} is bound to the tenant {tenant:?}, and this concerns jobs of others as well",
                self.name
            ))),
        }
    }

    /// Fires when the tokens are others than when it was let in: what lasts ends then.
    pub(crate) fn replaced(&self) -> CancellationToken {
        self.replaced.clone()
    }

    /// What it may do.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Whose jobs it is bound to.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether this job may be seen.
    pub(crate) fn sees(&self, job: &Job) -> bool {
        self.tenant.is_none() || self.tenant.as_deref() == job.options.tenant.as_deref()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Set by `admit` below, which stands before every route of the API.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::forbidden("nobody is known to make this request"))
    }
}

// === impl Access ===

impl Access {
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        check_site(headers)?;
        if !self.needs_token() {
            return self.local(headers);
        }
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let given = text(header::AUTHORIZATION).and_then(bearer);
        let Some(given) = given.or_else(|| text(header::SEC_WEBSOCKET_PROTOCOL).and_then(of_protocols))
        else {
            return Err(Problem::unauthorized("this needs a token: send `Authorization: Bearer TOKEN`"));
        };
        let known = self.by_text(given).map(|(caller, _)| caller);
        known.ok_or_else(|| {
            Problem::unauthorized(
                "this token is not known; see [[server.tokens]] in the host's configuration",
            )
        })
    }

    /// Whether somebody has to show a token.
    pub(crate) fn needs_token(&self) -> bool {
        !self.tokens.0.load().tokens.is_empty()
    }

    /// Who shows this token, with its hash.
    pub(crate) fn by_text(&self, given: &str) -> Option<(Caller, [u8; 32])> {
        let hash: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        Some((self.by_hash(&hash)?, hash))
    }

    /// Who has the token of this hash.
    pub(crate) fn by_hash(&self, hash: &[u8; 32]) -> Option<Caller> {
        let table = self.tokens.0.load();
        // Every token is compared, so that the time taken tells nothing.
        let mut found = None;
        for token in &table.tokens {
            if bool::from(token.sha256.as_slice().ct_eq(hash)) {
                found = Some(token);
            }
        }
        let Token { name, role, tenant, .. } = found?;
        let (tenant, replaced) = (tenant.as_deref().map(Into::into), table.replaced.clone());
        Some(Caller { name: name.as_str().into(), role: *role, tenant, replaced })
    }

    /// Without tokens the API is this machine's.
    pub(crate) fn local(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let table = self.tokens.0.load();
        // They may have come since it was asked whether there are any.
        if !table.tokens.is_empty() {
            return Err(Problem::unauthorized("this needs a token: send `Authorization: Bearer TOKEN`"));
        }
        if !self.loopback {
            return Err(Problem::forbidden(
                "the API is closed: this host listens beyond its own machine and has no tokens. Add one under \
                 [[server.tokens]], or listen on 127.0.0.1",
            ));
        }
        // A name that somebody points at 127.0.0.1 makes a browser believe that this is their site.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !host.is_empty() && !names_this_machine(host) {
            return Err(Problem::forbidden(format!(
                "without tokens the API answers to localhost, 127.0.0.1 and [::1] only, not to {host:?}; add a token \
                 under [[server.tokens]] to use it by another name"
            )));
        }
        let replaced = table.replaced.clone();
        Ok(Caller { name: "local".into(), role: Role::Admin, tenant: None, replaced })
    }
}

/// Lets in who may come in, and notes who it is.
pub(super) async fn admit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    match access.caller(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Browsers say where a request comes from: one that another site makes them send is not its user's wish.
pub(crate) fn check_site(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site")
        && !["same-origin", "none"].contains(&site)
    {
        return Err(Problem::forbidden("requests that another site makes a browser send are refused"));
    }
    let Some(origin) = text("origin") else { return Ok(()) };
    let of_origin = origin.split_once("://").map(|(_, authority)| authority);
    if of_origin.is_some() && of_origin == text("host") {
        return Ok(());
    }
    Err(Problem::forbidden(format!("requests from the site {origin:?} are refused")))
}

fn names_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The token among the protocols that a WebSocket client offers: a browser lets a page send no other header.
fn of_protocols(value: &str) -> Option<&str> {
    let mut offered = value.split(',').map(str::trim);
    offered.find_map(|protocol| protocol.strip_prefix("bearer.")).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn access(tokens: &[(&str, Role)], loopback: bool) -> Access {
        let tokens = tokens.iter().map(|(token, role)| Token {
            name: format!("of {token}"),
            role: *role,
            sha256: Sha256::digest(token).into(),
            tenant: None,
        });
        Access { tokens: tokens.collect::<Vec<_>>().into(), loopback }
    }

    fn asked(access: &Access, headers: &[(&str, &str)]) -> Result<Caller, StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        access.caller(&map).map_err(|problem| problem.into_response().status())
    }

    #[test]
    fn a_token_opens_with_its_role() {
        let access = access(&[("a", Role::Viewer), ("b", Role::Operator)], false);
        let caller = asked(&access, &[("authorization", "Bearer b")]).unwrap();
        assert_eq!((&*caller.name, caller.role), ("of b", Role::Operator));
        assert!(caller.must_be(Role::Viewer).is_ok() && caller.must_be(Role::Admin).is_err());
        assert_eq!(asked(&access, &[("authorization", "bearer  a")]).unwrap().role, Role::Viewer);
        let offered = [("sec-websocket-protocol", "jobcell, bearer.a")];
        assert_eq!(asked(&access, &offered).unwrap().role, Role::Viewer);
        for wrong in [&[][..], &[("authorization", "Bearer c")], &[("authorization", "Basic b")]] {
            assert_eq!(asked(&access, wrong).unwrap_err(), StatusCode::UNAUTHORIZED);
        }
        let hash = format!("Bearer {}", hex::encode(Sha256::digest("a")));
        assert_eq!(asked(&access, &[("authorization", &hash)]).unwrap_err(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn a_token_that_is_taken_away_opens_nothing_from_then_on() {
        let access = access(&[("a", Role::Viewer), ("b", Role::Operator)], true);
        let ask = |token: &str| asked(&access, &[("authorization", &format!("Bearer {token}"))]);
        let caller = ask("b").unwrap();
        let table = access.tokens.0.load_full().tokens.clone();
        access.tokens.replace(table.clone());
        assert!(!caller.replaced().is_cancelled(), "the same ones disturb nobody");
        access.tokens.replace(vec![Token { role: Role::Admin, ..table[0].clone() }]);
        assert!(caller.replaced().is_cancelled());
        assert_eq!(ask("b").unwrap_err(), StatusCode::UNAUTHORIZED);
        assert!(access.by_hash(&Sha256::digest("b").into()).is_none(), "nor do sessions begun with it");
        assert_eq!(ask("a").unwrap().role, Role::Admin);
        access.tokens.replace(Vec::new());
        assert_eq!(&*asked(&access, &[]).unwrap().name, "local");
        access.tokens.replace(table);
        assert_eq!(asked(&access, &[]).unwrap_err(), StatusCode::UNAUTHORIZED);
        assert!(access.local(&HeaderMap::new()).is_err(), "asked by a page that saw none a moment ago");
    }

    #[test]
    fn without_tokens_only_this_machine_is_answered() {
        let here = access(&[], true);
        for host in ["localhost:8787", "127.0.0.1:8787", "[::1]:8787", "127.0.0.1"] {
            assert_eq!(asked(&here, &[("host", host)]).unwrap().role, Role::Admin, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8787", "10.0.0.1", "x@127.0.0.1.nip.io"] {
            assert_eq!(asked(&here, &[("host", host)]).unwrap_err(), StatusCode::FORBIDDEN, "{host}");
        }
        assert_eq!(asked(&access(&[], false), &[("host", "localhost")]).unwrap_err(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn other_sites_in_a_browser_are_refused() {
        let access = access(&[], true);
        let host = ("host", "127.0.0.1:8787");
        for (name, value, is_let_in) in [
            ("origin", "http://127.0.0.1:8787", true),
            ("origin", "http://evil.example", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "same-site", false),
        ] {
            assert_eq!(asked(&access, &[host, (name, value)]).is_ok(), is_let_in, "{name}: {value}");
        }
    }
}
