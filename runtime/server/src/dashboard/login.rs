//! Signing in and out, and what browsers keep for us.

use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::session::Secret;
use super::shown::{Bare, Fault};
use super::visit::{Look, Visit};
use super::{Site, icons, links, shell, units};
use crate::api::Role;
use crate::audit::{Act, Via};

pub(super) const COOKIE: &str = "jobcell";
pub(super) const THEME_COOKIE: &str = "jobcell_theme";
pub(super) const TOLD_COOKIE: &str = "jobcell_told";
/// How long a theme is kept.
const THEME_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bytes of what is told, which a browser keeps.
const TOLD_BYTES_MAX: usize = 1500;

/// Which colours somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// The machine's.
    System,
    Light,
    Dark,
}

/// What was done, told on the next page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    #[serde(rename = "g")]
    pub(super) is_good: bool,
    #[serde(rename = "t")]
    pub(super) text: String,
}

#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

// === impl Theme ===

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(super) fn read(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|theme| Some(theme.as_str()) == text).unwrap_or(Self::System)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

// === impl Told ===

impl Told {
    pub(super) fn write(&self) -> String {
        let mut told = self.clone();
        told.text.truncate(told.text.floor_char_boundary(TOLD_BYTES_MAX));
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&told).unwrap_or_default())
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let told: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (!told.text.is_empty()).then_some(told)
    }
}

/// The page to sign in.
pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Query(Next { next }): Query<Next>,
) -> Response {
    if visit.caller.is_some() {
        return see_other(&site.links.back(&next));
    }
    Bare { status: StatusCode::OK, title: "Sign in", body: form(&site, &visit, &next, None) }.into_response()
}

fn form(site: &Site, visit: &Visit, next: &str, fault: Option<&str>) -> Markup {
    html! {
        main.gate {
            div.card {
                span.brand { (icons::brand()) "Jobcell" }
                h1 { "Sign in" }
                p.muted { "Paste the token that the operator of this host gave you." }
                @if let Some(fault) = fault {
                    div.note.is-bad role="alert" { (icons::alarm()) div { (fault) } }
                }
                form method="post" action=(site.links.to("/login")) {
                    (shell::proof(visit))
                    input type="hidden" name="next" value=(next);
                    div.field {
                        label for="token" { "Token" }
                        input #token type="password" name="token" required autofocus autocomplete="current-password" spellcheck="false";
                        p.hint { "Tokens are listed by their hash under " code { "[[server.tokens]]" } " in the host's configuration." }
                    }
                    button.main-act type="submit" { "Sign in" }
                }
            }
        }
    }
}

/// Takes a token and begins a session under a new secret, whatever the browser had before.
pub(super) async fn enter(State(site): State<Site>, visit: Look, fields: Fields) -> Result<Response, Fault> {
    let next = fields.text("next");
    let refused = |status, text: &str| {
        Bare { status, title: "Sign in", body: form(&site, &visit, next, Some(text)) }.into_response()
    };
    if !site.access.needs_token() {
        return Ok(see_other(&site.links.to("/")));
    }
    if let Err(wait) = site.throttle.try_once(visit.from) {
        let text = format!("Too many wrong tokens. Try again in {}.", units::millis(wait.as_secs() * 1000));
        let mut answer = refused(StatusCode::TOO_MANY_REQUESTS, &text);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        return Ok(answer);
    }
    let Some((caller, hash)) = site.access.by_text(fields.text("token").trim()) else {
        let address = visit.from.to_string();
        let act = Act::done("(nobody)", Role::Viewer, Via::Dashboard, "sign in", &address);
        site.desk.audit.record(Act { outcome: "401: the token is not known".to_owned(), ..act }).await;
        return Ok(refused(
            StatusCode::UNAUTHORIZED,
            "This token is not known. Check that all of it was pasted.",
        ));
    };
    let secret = site.sessions.begin(&hash).await?;
    site.throttle.forgive(visit.from);
    if visit.is_session {
        // Whoever signs in as somebody else leaves nothing open behind.
        site.sessions.end(&visit.secret).await?;
    }
    let address = visit.from.to_string();
    site.desk.audit.record(Act::done(&caller.name, caller.role(), Via::Dashboard, "sign in", &address)).await;
    let mut answer = see_other(&site.links.back(next));
    set_cookie(&mut answer, &site, &visit, (COOKIE, &secret.text()), Some(site.sessions.longest()));
    Ok(answer)
}

/// Ends the session, here and on every host.
pub(super) async fn leave(State(site): State<Site>, visit: Look) -> Result<Response, Fault> {
    if visit.is_session {
        site.sessions.end(&visit.secret).await?;
        let caller = visit.caller()?;
        let address = visit.from.to_string();
        site.desk
            .audit
            .record(Act::done(&caller.name, caller.role(), Via::Dashboard, "sign out", &address))
            .await;
    }
    let mut answer = see_other(&site.links.to("/login"));
    set_cookie(&mut answer, &site, &visit, (COOKIE, &Secret::new().text()), None);
    Ok(answer)
}

/// Chooses the colours.
pub(super) async fn theme(State(site): State<Site>, visit: Look, fields: Fields) -> Response {
    let theme = Theme::read(Some(fields.text("theme")));
    let mut answer = see_other(&site.links.back(fields.text("back")));
    set_cookie(&mut answer, &site, &visit, (THEME_COOKIE, theme.as_str()), Some(THEME_KEPT));
    answer
}

/// Somebody who is not signed in.
pub(super) fn stranger(site: &Site, visit: &Visit, request: &Request) -> Response {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !request.method().is_safe()
        || text("x-refresh").is_some()
        || text("accept") == Some("text/event-stream")
    {
        let markup = shell::bare(
            site,
            visit,
            "Signed out",
            &form(site, visit, &site.links.to("/"), Some("You are signed out. Sign in and do it again.")),
        );
        return html_page(StatusCode::UNAUTHORIZED, &markup);
    }
    // A link on another site brings no cookie of ours along; asking once more from here does.
    if text("sec-fetch-site") == Some("cross-site") {
        return html_page(StatusCode::OK, &shell::once_more(&visit.path));
    }
    let at_home = visit.path == site.links.to("/");
    let query = if at_home { String::new() } else { format!("?next={}", links::part(&visit.path)) };
    see_other(&format!("{}{query}", site.links.to("/login")))
}

fn html_page(status: StatusCode, markup: &Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, kind, markup.0.clone()).into_response()
}

/// Goes on to another page of this site.
pub(super) fn see_other(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Gives the browser something to keep, out of reach of scripts and of other sites. Without an age it is kept until the
/// browser is closed.
pub(super) fn set_cookie(
    answer: &mut Response,
    site: &Site,
    visit: &Visit,
    (name, value): (&str, &str),
    age: Option<Duration>,
) {
    let path = site.links.cookie_path();
    let mut cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict");
    if let Some(age) = age {
        cookie += &format!("; Max-Age={}", age.as_secs());
    }
    if visit.is_secure {
        cookie += "; Secure";
    }
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_survives_a_cookie_and_nothing_else_does() {
        let told = Told { is_good: true, text: "ü; Path=/\r\nx: y".to_owned() };
        let written = told.write();
        assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{written}");
        assert_eq!(Told::read(&written), Some(told));
        assert_eq!(Told::read("x"), None);
        let long = Told { is_good: false, text: "é".repeat(5000) }.write();
        assert!(long.len() < 4000 && Told::read(&long).is_some());
    }

    #[test]
    fn themes_are_one_of_three() {
        assert_eq!(Theme::read(Some("dark")), Theme::Dark);
        assert_eq!(Theme::read(Some("\"><script>")), Theme::System);
    }
}
