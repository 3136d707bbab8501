//! Who looks at a page, and what stands before and around every page: signing in, proofs in forms, the frame, the
//! headers that keep other sites out, the audit.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jobcell_core::Millis;
use maud::Markup;
use tokio::time::timeout;

use super::Site;
use super::fields::Fields;
use super::login::{self, Theme, Told};
use super::session::Secret;
use super::shell;
use super::shown::{Bare, Done, Fault, Shown};
use crate::api;
use crate::api::access::{self, Caller};
use crate::audit::{Act, Via};
use crate::listen::Peer;
use crate::problem::Problem;

/// One look at a page.
pub(crate) struct Visit {
    /// Who it is; nobody on the page to sign in.
    pub(super) caller: Option<Caller>,
    /// What the browser has in its cookie: of a session, or only to prove that forms are its own.
    pub(super) secret: Secret,
    /// Whether the browser does not have it yet.
    is_new: bool,
    /// Whether there is a session that could be ended.
    pub(super) is_session: bool,
    pub(super) theme: Theme,
    /// Where the browser is, prefix included.
    pub(super) path: String,
    /// What was done before this page.
    told: Option<Told>,
    pub(super) from: IpAddr,
    /// Whether the browser came over https.
    pub(super) is_secure: bool,
    pub(super) now: Millis,
    /// Whether the page may be asked for again by itself: nothing was sent.
    pub(super) is_look: bool,
    /// The script asks for a page again.
    is_refresh: bool,
    request_id: Option<String>,
}

/// The same for those who make pages.
pub(crate) type Seen = Arc<Visit>;

/// The longest a page may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The longest that sending a form may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Nothing but what this host serves; nothing inline; in no other page's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

impl FromRequestParts<Site> for Look {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Site) -> Result<Self, Fault> {
        let seen = parts.extensions.get::<Seen>().cloned();
        seen.map(Self).ok_or_else(|| Problem::forbidden("nobody is known to look").into())
    }
}

/// The visit, for a page.
pub(super) struct Look(pub(super) Seen);

impl std::ops::Deref for Look {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.0
    }
}

/// Stands before every page.
pub(super) async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match arrive(&site, &parts).await {
        Ok(visit) => answer(&site, Arc::new(visit), Request::from_parts(parts, body), next).await,
        Err(Fault(problem)) => faulty(&problem, shell::closed(&site, &problem, parts.method.is_safe())),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            header::HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Who comes here.
async fn arrive(site: &Site, request: &Parts) -> Result<Visit, Fault> {
    let headers = &request.headers;
    let given = cookie(headers, login::COOKIE).and_then(Secret::read);
    let (caller, is_session) = if site.access.needs_token() {
        match &given {
            Some(secret) => {
                let session = site.sessions.find(secret).await?;
                let token = session.and_then(|session| session.token());
                let caller = token.and_then(|token| site.access.by_hash(&token));
                let is_session = caller.is_some();
                (caller, is_session)
            }
            None => (None, false),
        }
    } else {
        (Some(site.access.local(headers)?), false)
    };
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Visit {
        caller,
        is_new: given.is_none(),
        secret: given.unwrap_or_else(Secret::new),
        is_session,
        theme: Theme::read(cookie(headers, login::THEME_COOKIE)),
        path: site.links.to(path),
        told: cookie(headers, login::TOLD_COOKIE).and_then(Told::read),
        from: request.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip()),
        is_secure: text(headers, "x-forwarded-proto")
            .is_some_and(|proto| proto.eq_ignore_ascii_case("https")),
        now: site.desk.clock.now(),
        is_look: request.method.is_safe(),
        is_refresh: headers.contains_key("x-refresh"),
        request_id: text(headers, "x-request-id").map(str::to_owned),
    })
}

async fn answer(site: &Site, visit: Seen, mut request: Request, next: Next) -> Response {
    let is_open = matches!(request.uri().path(), "/login" | "/theme");
    if visit.caller.is_none() && !is_open {
        return login::stranger(site, &visit, &request);
    }
    if let Some(caller) = &visit.caller {
        request.extensions_mut().insert(caller.clone());
    }
    request.extensions_mut().insert(Arc::clone(&visit));
    if request.method().is_safe() {
        let response = within(next.run(request)).await;
        return drawn(site, &visit, response).await;
    }
    let request = match checked(&visit, request).await {
        Ok(request) => request,
        Err(fault) => return drawn(site, &visit, fault.into_response()).await,
    };
    // In a task of its own: what was asked for is done and recorded, also when nobody waits for the answer.
    let (site, seen) = (site.clone(), Arc::clone(&visit));
    let task = tokio::spawn(async move {
        let path = request.uri().path().to_owned();
        let response = within(next.run(request)).await;
        if let Some(act) = acted(&seen, &path, &response) {
            site.desk.audit.record(act).await;
        }
        drawn(&site, &seen, response).await
    });
    task.await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "an action of the dashboard ended with a panic");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

async fn within(answer: impl Future<Output = Response>) -> Response {
    timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| {
        let detail =
            format!("the host did not answer within {} s; what was asked may be done", ANSWER_MAX.as_secs());
        Fault(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail)).into_response()
    })
}

/// Reads the form, and looks whether it is one that this browser was given.
async fn checked(visit: &Visit, request: Request) -> Result<Request, Fault> {
    access::check_site(request.headers())?;
    let kind = text(request.headers(), "content-type").unwrap_or_default();
    if request.method() != Method::POST || !kind.starts_with("application/x-www-form-urlencoded") {
        let detail = "pages take forms; programs use the API under /api/v1";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into());
    }
    let limit = api::body_bytes_max(&request);
    let (mut parts, body) = request.into_parts();
    let read = timeout(BODY_TIME_MAX, to_bytes(body, limit)).await;
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the form has more than {limit} bytes, or broke off"),
        )
    };
    let body = match read {
        Ok(body) => body.map_err(|_| too_large())?,
        Err(_) => {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the form did not arrive in time").into());
        }
    };
    let fields = Fields::read(&body);
    if !visit.secret.is_proof(fields.text("proof")) {
        let detail = "this form was not made for this browser, or you have signed in anew since; go back, reload the page, \
                      and send it again";
        return Err(Problem::forbidden(detail).into());
    }
    parts.extensions.insert(fields);
    Ok(Request::from_parts(parts, Body::empty()))
}

/// What was done, or refused, for the audit.
fn acted(visit: &Visit, path: &str, response: &Response) -> Option<Act> {
    let caller = visit.caller.as_ref()?;
    let by =
        |action: &str, target: &str| Act::done(&caller.name, caller.role(), Via::Dashboard, action, target);
    let act = if let Some(done) = response.extensions().get::<Done>() {
        let Done { action, target, before, after, told, is_partial, .. } = done.clone();
        let outcome = if is_partial { told } else { "done".to_owned() };
        Act { before, after, outcome, ..by(&action, &target) }
    } else if let Some(Fault(problem)) = response.extensions().get::<Fault>() {
        let outcome = format!("{}: {}", problem.status().as_u16(), problem.detail());
        Act { outcome, ..by("dashboard form", path) }
    } else {
        // The theme, signing out: nothing that was changed for others, or recorded where it happens.
        return None;
    };
    Some(Act { request_id: visit.request_id.clone(), ..act })
}

/// Draws the frame around what a page answered.
async fn drawn(site: &Site, visit: &Seen, mut response: Response) -> Response {
    let mut answer = if let Some(shown) = response.extensions_mut().remove::<Shown>() {
        let markup = shell::framed(site, visit, visit.told.as_ref(), &shown);
        match &shown.fault {
            Some(problem) => faulty(problem, markup),
            None => page(StatusCode::OK, markup),
        }
    } else if let Some(Bare { status, title, body }) = response.extensions_mut().remove::<Bare>() {
        let mut answer = page(status, shell::bare(site, visit, title, &body));
        // Such as when to try again.
        answer.headers_mut().extend(response.headers().clone());
        answer
    } else if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        faulty(&fault.0, shell::fault(site, visit, &fault))
    } else if let Some(done) = response.extensions_mut().remove::<Done>() {
        let told = Told { is_good: !done.is_partial, text: done.told };
        let to = done.to.unwrap_or_else(|| site.links.to("/"));
        let mut answer = login::see_other(&to);
        login::set_cookie(
            &mut answer,
            site,
            visit,
            (login::TOLD_COOKIE, &told.write()),
            Some(Duration::from_secs(60)),
        );
        return answer;
    } else {
        return response;
    };
    // What was told once is not told again; a page that is asked for again by the script leaves it for the reader.
    if visit.told.is_some() && !visit.is_refresh {
        login::set_cookie(&mut answer, site, visit, (login::TOLD_COOKIE, ""), Some(Duration::ZERO));
    }
    if visit.is_new {
        login::set_cookie(&mut answer, site, visit, (login::COOKIE, &visit.secret.text()), None);
    }
    answer
}

fn page(status: StatusCode, markup: Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, kind, markup.into_string()).into_response()
}

/// A page that is not what was asked for, or not all of it.
fn faulty(problem: &Problem, markup: Markup) -> Response {
    let mut answer = page(problem.status(), markup);
    if let Some(after) = problem.retry_after() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    answer
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
        let (key, value) = cookie.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

// === impl Visit ===

impl Visit {
    /// Who it is, on pages that only somebody known sees.
    pub(super) fn caller(&self) -> Result<Caller, Fault> {
        self.caller.clone().ok_or_else(|| Problem::unauthorized("sign in first").into())
    }

    /// Whether a button for this is shown. Whether it may be done is asked again when it is.
    pub(super) fn may(&self, role: api::Role) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.must_be(role).is_ok())
    }

    /// Whether it sees what belongs to all.
    pub(super) fn sees_all(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.must_see_all().is_ok())
    }
}
