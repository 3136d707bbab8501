//! The frame around pages: the head, the navigation, what was done before, faults with their fix.

use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::login::{Theme, Told};
use super::shown::{Fault, Place, Shown};
use super::visit::Visit;
use super::{Site, icons};
use crate::problem::Problem;

/// A page in its frame.
pub(super) fn framed(site: &Site, visit: &Visit, told: Option<&Told>, shown: &Shown) -> Markup {
    let body = html! {
        div.frame {
            (side(site, visit, Some(shown.place)))
            main.main #main tabindex="-1" {
                @if let Some(problem) = &shown.fault { (trouble(problem, true)) }
                @if let Some(Told { is_good, text }) = told {
                    div.note.is-good[*is_good].is-warn[!*is_good] role="status" {
                        @if *is_good { (icons::good()) } @else { (icons::alarm()) }
                        div { (text) }
                    }
                }
                (shown.body)
                (foot(site))
            }
        }
    };
    document(site, visit, &shown.title, shown.stream.as_deref(), false, &body)
}

/// A page with nothing around it.
pub(super) fn bare(site: &Site, visit: &Visit, title: &str, body: &Markup) -> Markup {
    document(site, visit, title, None, false, body)
}

/// Why there is no page.
pub(super) fn fault(site: &Site, visit: &Visit, Fault(problem): &Fault) -> Markup {
    let title = title(problem.status());
    let body = html! {
        div.frame {
            (side(site, visit, None))
            main.main #main tabindex="-1" {
                div.head { div { h1 { (title) } } }
                (trouble(problem, visit.is_look))
                div.acts {
                    a.button.main-act href=(visit.path) { "Try again" }
                    a.button href=(site.links.to("/")) { "Overview" }
                    @if visit.caller.is_none() && site.access.needs_token() {
                        a.button href=(site.links.to("/login")) { "Sign in" }
                    }
                }
                (foot(site))
            }
        }
    };
    document(site, visit, title, None, is_passing(problem, visit.is_look), &body)
}

/// The fault in the host's words. The script takes it over to the pages that are open.
fn trouble(problem: &Problem, is_look: bool) -> Markup {
    html! {
        div.note.is-bad #fault role="alert" data-title=(title(problem.status())) {
            (icons::alarm())
            div { b { (sentence(problem.detail())) } @if is_passing(problem, is_look) { " This page looks again by itself." } }
        }
    }
}

/// Whether the page will be there once the store is, or the host has less to do.
fn is_passing(problem: &Problem, is_look: bool) -> bool {
    is_look && problem.retry_after().is_some()
}

/// A fault for somebody who cannot be known: the store of sessions is away, or this is no name of the machine.
pub(super) fn closed(site: &Site, problem: &Problem, is_look: bool) -> Markup {
    let title = title(problem.status());
    html! {
        (DOCTYPE)
        html lang="en" data-again[is_passing(problem, is_look)] {
            (head(site, title))
            body {
                main.gate {
                    div.card {
                        span.brand { (icons::brand()) "Jobcell" }
                        h1 { (title) }
                        (trouble(problem, is_look))
                    }
                }
            }
        }
    }
}

/// Asks for the same page again, from here.
pub(super) fn once_more(path: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(format!("0;url={path}"));
                title { "Jobcell" }
            }
            body { a href=(path) { "Go on to Jobcell" } }
        }
    }
}

/// The proof that a form was made for this browser.
pub(super) fn proof(visit: &Visit) -> Markup {
    html! { input type="hidden" name="proof" value=(visit.secret.proof()); }
}

/// A button that does one thing at once.
pub(super) fn act(visit: &Visit, action: &str, label: &str, class: &str) -> Markup {
    html! {
        form.line method="post" action=(action) {
            (proof(visit))
            button class=[(!class.is_empty()).then_some(class)] type="submit" { (label) }
        }
    }
}

/// What is asked before something is done that cannot be undone.
pub(super) struct Ask<'a> {
    /// Names it on its page.
    pub(super) id: &'a str,
    /// On the button that opens it.
    pub(super) label: &'a str,
    pub(super) title: String,
    /// What will happen.
    pub(super) about: Markup,
    pub(super) action: String,
    pub(super) fields: Markup,
    /// On the button that does it.
    pub(super) does: &'a str,
    pub(super) is_danger: bool,
    /// The class of the button that opens it.
    pub(super) class: &'a str,
}

impl Ask<'_> {
    /// The button with its question.
    pub(super) fn draw(&self, visit: &Visit) -> Markup {
        let Self { id, label, title, about, action, fields, does, is_danger, class } = self;
        let (panel, heading) = (format!("ask-{id}"), format!("ask-{id}-title"));
        html! {
            button type="button" popovertarget=(panel) class=[(!class.is_empty()).then_some(class)] { (label) }
            div.ask #(panel) popover role="dialog" aria-labelledby=(heading) {
                h2 #(heading) { (title) }
                (about)
                form method="post" action=(action) {
                    (proof(visit))
                    (fields)
                    div.acts {
                        button type="button" popovertarget=(panel) popovertargetaction="hide" { "Cancel" }
                        button.main-act.danger[*is_danger] type="submit" { (does) }
                    }
                }
            }
        }
    }
}

/// The head of a page: where it is, what it is called, what can be done.
pub(super) fn heading(crumbs: &[(String, &str)], title: &Markup, sub: &Markup, acts: &Markup) -> Markup {
    html! {
        div.head {
            div {
                @if !crumbs.is_empty() {
                    nav.crumbs aria-label="Breadcrumb" {
                        @for (href, label) in crumbs { a href=(href) { (label) } span aria-hidden="true" { "/" } }
                    }
                }
                h1 { (title) }
                p.sub { (sub) }
            }
            div.acts { (acts) span.live #live role="status" { } }
        }
    }
}

fn document(
    site: &Site,
    visit: &Visit,
    title: &str,
    stream: Option<&str>,
    is_again: bool,
    body: &Markup,
) -> Markup {
    let theme = Some(visit.theme).filter(|theme| *theme != Theme::System).map(Theme::as_str);
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] data-now=(visit.now) data-stream=[stream] data-again[is_again] {
            (head(site, title))
            body {
                a.skip href="#main" { "Skip to the page" }
                (body)
            }
        }
    }
}

fn head(site: &Site, title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="robots" content="noindex";
            title { (title) " · Jobcell" }
            link rel="icon" type="image/svg+xml" href=(site.links.to(&ICON.path));
            link rel="stylesheet" href=(site.links.to(&STYLE.path));
            script src=(site.links.to(&SCRIPT.path)) defer {}
        }
    }
}

fn side(site: &Site, visit: &Visit, at: Option<Place>) -> Markup {
    let places = [
        (Place::Overview, "/", "Overview", icons::overview()),
        (Place::Queues, "/queues", "Queues", icons::queues()),
        (Place::Schedules, "/schedules", "Schedules", icons::schedules()),
        (Place::Handlers, "/handlers", "Handlers", icons::handlers()),
        (Place::Hosts, "/hosts", "Hosts", icons::hosts()),
        (Place::Audit, "/audit", "Audit", icons::audit()),
    ];
    html! {
        header.side {
            a.brand href=(site.links.to("/")) { (icons::brand()) "Jobcell" }
            @if visit.caller.is_some() {
                nav.places aria-label="Pages" {
                    @for (place, path, label, icon) in &places {
                        a href=(site.links.to(path)) aria-current=[(at == Some(*place)).then_some("page")] { (icon) span { (label) } }
                    }
                }
            }
            div.side-foot {
                (themes(site, visit))
                @if let Some(caller) = &visit.caller {
                    div.who {
                        div.role { b { (caller.name) } span.muted.small { (caller.role().as_str()) @if let Some(tenant) = caller.tenant() { ", " (tenant) } } }
                        @if visit.is_session {
                            form method="post" action=(site.links.to("/logout")) {
                                (proof(visit))
                                button.plain type="submit" { "Sign out" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn themes(site: &Site, visit: &Visit) -> Markup {
    let kinds = [
        (Theme::System, "Colours of the system", icons::system()),
        (Theme::Light, "Light colours", icons::light()),
        (Theme::Dark, "Dark colours", icons::dark()),
    ];
    html! {
        form.themes method="post" action=(site.links.to("/theme")) {
            (proof(visit))
            input type="hidden" name="back" value=(visit.path);
            @for (theme, label, icon) in &kinds {
                button type="submit" name="theme" value=(theme.as_str()) aria-label=(label) title=(label)
                    aria-pressed=(if *theme == visit.theme { "true" } else { "false" }) { (icon) }
            }
        }
    }
}

fn foot(site: &Site) -> Markup {
    html! {
        footer.foot {
            span { "Jobcell " (env!("CARGO_PKG_VERSION")) }
            span { "Times are UTC" }
            a href=(site.links.to("/api/v1/openapi.json")) { "API" }
            a href=(site.links.to("/health")) { "Health" }
            a href=(site.links.to("/metrics")) { "Metrics" }
        }
    }
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "Signed out",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::CONFLICT => "Things have changed",
        StatusCode::SERVICE_UNAVAILABLE => "The store is away",
        status if status.is_client_error() => "That cannot be done",
        _ => "Something went wrong",
    }
}

/// The same with a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    let ends = text.ends_with(['.', '!', '?']);
    format!("{}{}{}", first.to_uppercase(), chars.as_str(), if ends { "" } else { "." })
}
