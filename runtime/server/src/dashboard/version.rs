//! One handler: its versions, who takes the jobs and how they do, and changing that.

mod beside;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jobcell_core::fleet::{HostStatus, VersionCounts};
use maud::{Markup, html};

use super::fields::Fields;
use super::handlers::{Handler, Share, Version, author};
use super::shell::Ask;
use super::shown::{Done, Fault, Page, Place, Shown};
use super::visit::{Look, Visit};
use super::{Site, hosts, icons, links, shell, units};
use crate::api::Role;
use crate::api::page::Path;
use crate::handlers::{Author, CanaryLimits, Change, HandlersFault, standing, standing_since};
use crate::problem::Problem;
use beside::{about, given, on_hosts, past};

/// Steps of the history on the page.
const HISTORY: u32 = 20;
/// The share that the form proposes.
const PERCENT: u8 = 10;

/// The first 12 hex digits of a digest, as everywhere.
pub(super) fn short(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(12).collect()
}

/// A bar that is filled so far.
pub(super) fn share_bar(part: u64, whole: u64, class: &str, told: &str) -> Markup {
    let width = if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 100.0).min(100.0) };
    html! {
        svg.share viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(told) {
            rect.share-ground width="100" height="8" {}
            rect class=(class) width=(format!("{width:.1}")) height="8" {}
        }
    }
}

fn handlers(site: &Site) -> Result<&std::sync::Arc<dyn crate::handlers::Handlers>, Fault> {
    site.desk.handlers.as_ref().ok_or_else(|| {
        Fault::not_found("the handlers of this host come with its program and have no versions")
    })
}

pub(super) async fn show(State(site): State<Site>, visit: Look, Path(name): Path<String>) -> Page {
    visit.caller()?.must_see_all()?;
    let name = links::name(name);
    let handlers = handlers(&site)?;
    let handler = Handler::read(handlers.get(&name).await?)?;
    let history = handlers.history(&name, None, HISTORY).await?;
    let fleet = site.desk.fleet.hosts().await.unwrap_or_default();
    let counts = counts(&fleet, &name);
    let active = handler.active.as_deref();
    let sub = html! { @if let Some(source) = &handler.source { "From " span.break { (source) } } @else { "Of the fleet" } " · generation " (handler.generation) };
    let crumbs = [(site.links.to("/handlers"), "Handlers")];
    let body = html! {
        (shell::heading(&crumbs, &html! { (name) }, &sub, &html! { span.acts #moves data-live { (moves(&site, &visit, &handler)) } }))
        div.stack #handler data-live {
            @if handler.is_of_each_host() { (of_this_host_alone(&site, &fleet)) }
            div.aside {
                div.stack {
                    (traffic(&handler, &counts))
                    (versions(&site, &visit, &handler))
                }
                div.stack {
                    @if let Some(version) = active.and_then(|active| handler.version(active)) { (about(version)) }
                    (given(&handler))
                    (on_hosts(&handler.hosts))
                }
            }
            (past(&visit, &history))
        }
    };
    Ok(Shown::new(Place::Handlers, name, body))
}

/// Of a handler whose versions come from a file or a registry: whose they are.
fn of_this_host_alone(site: &Site, fleet: &[HostStatus]) -> Markup {
    let own = site.desk.control.as_ref().map(|control| hosts::called(&control.status(), fleet));
    html! {
        p.muted.small {
            "Each host reads this source for itself. Versions and history here are those of "
            @if let Some(own) = &own { b { (own) } ", which serves this page" } @else { "the host that serves this page" }
            "; what is done here is done on it alone. What the other hosts run stands beside it."
        }
    }
}

/// What each version did since the hosts started, over all of them.
fn counts(fleet: &[HostStatus], handler: &str) -> BTreeMap<String, VersionCounts> {
    let mut sums: BTreeMap<String, VersionCounts> = BTreeMap::new();
    for host in fleet {
        for (digest, counts) in
            host.handlers.get(handler).map(|on_host| &on_host.counts).into_iter().flatten()
        {
            sums.entry(short(digest)).or_default().add(counts);
        }
    }
    sums
}

/// What can be done without naming a version.
fn moves(site: &Site, visit: &Visit, handler: &Handler) -> Markup {
    if !visit.may(Role::Operator) {
        return html! {};
    }
    let seen = || html! { input type="hidden" name="generation" value=(handler.generation); };
    let ask = |id, label, title: String, about: Markup, does, is_danger, class| {
        let action = site.links.handler_act(&handler.name, id);
        let fields = html! { (seen()) (why(id)) };
        Ask { id, label, title, about, action, fields, does, is_danger, class }.draw(visit)
    };
    html! {
        @if let Some(canary) = &handler.canary {
            (ask("promote", "Promote the canary", format!("Give all jobs to {}?", short(&canary.digest)),
                html! { p { "It takes them on every host as soon as each has it ready. Jobs that run end where they began." } }, "Promote", false, "main-act"))
            (ask("rollback", "End the canary", format!("Take the jobs back from {}?", short(&canary.digest)),
                html! { p { "The active version takes all jobs again." } }, "End the canary", true, "danger"))
        } @else if let Some(previous) = &handler.previous {
            (ask("rollback", "Roll back", format!("Go back to {}?", short(previous)),
                html! { p { "The version before takes all jobs again. Hosts keep it ready, so this is done in a moment." } }, "Roll back", true, "danger"))
        }
        @if handler.shadow.is_some() {
            (ask("end-shadow", "End the shadow", "End the shadow?".to_owned(), html! { p { "No copies of jobs are run any more." } }, "End the shadow", false, ""))
        }
    }
}

fn why(id: &str) -> Markup {
    let id = format!("why-{id}");
    html! {
        div.field { label for=(id) { "Why" } input #(id) type="text" name="why" maxlength="400" autocomplete="off"; p.hint { "For the history; may be empty." } }
    }
}

/// Jobs by version, and how they ended.
fn traffic(handler: &Handler, counts: &BTreeMap<String, VersionCounts>) -> Markup {
    let all: u64 = counts.values().map(VersionCounts::attempts).sum();
    let canary = handler.canary.as_ref();
    html! {
        section.card aria-labelledby="traffic-title" {
            header { h2 #traffic-title { "Traffic by version" } p { "Attempts since the hosts started" } }
            @if let Some(canary) = canary { div.body { (canary_words(canary)) } }
            @if counts.is_empty() {
                div.empty { strong { "No job was run yet" } "What each version does is counted here." }
            } @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "Version" } th.number scope="col" { "Attempts" } th.number scope="col" { "Failed" } th.number.wide scope="col" { "Trapped" } th.number.wide scope="col" { "p50" } th.number scope="col" { "p95" } } }
                    tbody { @for (version, counts) in counts { (counted(handler, version, counts, all)) } }
                } }
            }
        }
    }
}

fn counted(handler: &Handler, version: &str, counts: &VersionCounts, all: u64) -> Markup {
    let is_canary = handler.canary.as_ref().is_some_and(|canary| short(&canary.digest) == version);
    let is_active = handler.active.as_deref().is_some_and(|active| short(active) == version);
    let ratio = counts.failure_ratio().map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0));
    let quantile = |share| match counts.quantile_ms(share) {
        None => "–".to_owned(),
        Some(u64::MAX) => "over 1 min".to_owned(),
        Some(bound) => format!("≤ {}", units::millis(bound)),
    };
    let class = if is_canary { "share-canary" } else { "share-active" };
    let told = format!("{} of {} attempts", units::count(counts.attempts()), units::count(all));
    html! {
        tr {
            th scope="row" {
                code { (version) } @if is_active { " " span.state.active { "active" } } @if is_canary { " " span.state.canary { "canary" } }
                (share_bar(counts.attempts(), all, class, &told))
            }
            td.number { (units::count(counts.attempts())) }
            td.number { (units::cell(counts.failed + counts.trapped)) div.muted.small { (ratio) } }
            td.number.wide { (units::cell(counts.trapped)) }
            td.number.wide { (quantile(0.5)) }
            td.number { (quantile(0.95)) }
        }
    }
}

fn canary_words(canary: &Share) -> Markup {
    let rules = &canary.rules;
    let over = rules["maxFailuresOver"].as_f64().map(|over| format!("{:.1} % more jobs fail", over * 100.0));
    let slower = rules["maxLatency"].as_f64().map(|factor| format!("jobs take {factor:.1} times as long"));
    let worse: Vec<String> = over.into_iter().chain(slower).collect();
    html! {
        p {
            span.state.canary { "canary" } " " code { (short(&canary.digest)) } " takes " b { (canary.percent) " %" } " of the jobs, by " (canary.by) ". "
            @if !worse.is_empty() { "It is rolled back when " (worse.join(" or ")) "; " }
            @match rules["promoteAfterMs"].as_u64() {
                Some(after) if after > 0 => { "promoted " (units::millis(after)) " after it began, if it does well." }
                _ => { "a person promotes it." }
            }
        }
    }
}

fn versions(site: &Site, visit: &Visit, handler: &Handler) -> Markup {
    html! {
        section.card aria-labelledby="versions-title" {
            header { h2 #versions-title { "Versions" } p { "Newest first" } }
            @if handler.versions.is_empty() {
                div.empty { strong { "No version was handed in" } pre { "jobcell handler deploy " (handler.name) " FILE.wasm" } }
            } @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "Version" } th scope="col" { "State" } th.wide scope="col" { "Wants to touch" } th scope="col" { span.unseen { "Actions" } } } }
                    tbody { @for (at, version) in handler.versions.iter().enumerate() { (version_row(site, visit, handler, at, version)) } }
                } }
            }
        }
    }
}

fn version_row(site: &Site, visit: &Visit, handler: &Handler, at: usize, version: &Version) -> Markup {
    let active = handler.active.as_deref().and_then(|active| handler.version(active));
    let is_active = handler.active.as_deref() == Some(version.digest.as_str());
    html! {
        tr {
            th scope="row" {
                code title=(version.digest) { (short(&version.digest)) } @if let Some(label) = version.label() { " " (label) }
                div.muted.small { "deployed " (units::time(version.deployed_at, visit.now)) " by " span title=(version.deployed_by) { (author(&version.deployed_by)) } ", " (units::bytes(version.size)) }
            }
            td { span.state.(version.state) { (version.state) } div.muted.small.break { span title=(version.by) { (author(&version.by)) } @if !version.why.is_empty() { ": " (version.why) } } }
            td.wide { (wants(version, active.filter(|_| !is_active))) }
            td.number { @if visit.may(Role::Operator) { (version_acts(site, visit, handler, at, version, is_active)) } }
        }
    }
}

/// What a version wants to touch; beside the active one, what is more and what is less.
fn wants(version: &Version, active: Option<&Version>) -> Markup {
    let more = |line: &String| active.is_some_and(|active| !active.wants.contains(line));
    let gone: Vec<&String> = active
        .map(|active| active.wants.iter().filter(|line| !version.wants.contains(line)).collect())
        .unwrap_or_default();
    html! {
        @if version.wants.is_empty() && gone.is_empty() { span.muted.small { "nothing outside its cell" } }
        @for line in &version.wants { @if more(line) { span.tag.wide-open title="The active version does not want this" { "+ " (line) } } @else { span.tag { (line) } } " " }
        @for line in gone { span.tag.gone title="The active version wants this" { (line) } " " }
    }
}

fn version_acts(
    site: &Site,
    visit: &Visit,
    handler: &Handler,
    at: usize,
    version: &Version,
    is_active: bool,
) -> Markup {
    let named = || {
        html! {
            input type="hidden" name="generation" value=(handler.generation);
            input type="hidden" name="version" value=(version.digest);
        }
    };
    let of = short(&version.digest);
    let ask =
        |action: &'static str, label, title: String, about: Markup, more: Markup, does, is_danger, class| {
            let id = format!("{action}-{at}");
            let fields = html! { (named()) (more) (why(&id)) };
            let action = site.links.handler_act(&handler.name, action);
            Ask { id: &id, label, title, about, action, fields, does, is_danger, class }.draw(visit)
        };
    let is_usable =
        matches!(version.state.as_str(), "staged" | "admitted" | "draining" | "retired" | "canary");
    html! {
        div.acts {
            @if is_usable && !is_active {
                (ask("activate", "Activate…", format!("Give all jobs to {of}?"),
                    html! { p { "Each host takes it up as soon as it is compiled and warm. Jobs that run end where they began." } }, html! {}, "Activate", false, "plain"))
                @if handler.active.is_some() {
                    (ask("canary", "Canary…", format!("Give {of} a share of the jobs?"),
                        html! { p { "The same jobs each time, on every host. It is rolled back by itself when it does worse." } }, percent(at), "Begin", false, "plain"))
                }
            }
            @if version.state == "quarantined" {
                (ask("release", "Release…", format!("Release {of}?"), html! { p { "It may be activated again. It takes no jobs by this." } }, html! {}, "Release", false, "plain"))
            } @else if version.state != "refused" && (!is_active || handler.previous.is_some()) {
                (ask("quarantine", "Quarantine…", format!("Quarantine {of}?"),
                    html! { p { "It takes no more jobs until it is released." @if is_active { " The version before it takes over." } } }, html! {}, "Quarantine", true, "plain danger"))
            }
        }
    }
}

fn percent(at: usize) -> Markup {
    let id = format!("percent-{at}");
    html! {
        div.field { label for=(id) { "Percent of the jobs" } input #(id) type="number" name="percent" min="1" max="100" value=(PERCENT) required inputmode="numeric"; }
        div.field { label for=(format!("after-{at}")) { "Promote after so many minutes" } input #(format!("after-{at}")) type="number" name="after" min="1" inputmode="numeric"; p.hint { "If it does well until then. Empty is as configured." } }
    }
}

/// Changes the handler's versions.
pub(super) async fn act(
    State(site): State<Site>,
    visit: Look,
    Path((name, action)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, Fault> {
    let caller = visit.caller()?;
    caller.must_be(Role::Operator)?;
    caller.must_see_all()?;
    let name = links::name(name);
    let handlers = handlers(&site)?;
    let change = change(&action, &fields)?;
    let why: String = fields.text("why").trim().chars().take(400).collect();
    let author =
        Author { who: caller.name.to_string(), why, generation: fields.number("generation", "Generation")? };
    let before = handlers.get(&name).await?;
    let (asked, why) = (change.asked(), author.why.clone());
    match handlers.change(&name, change, author).await {
        Ok(handler) => {
            let done = Done::new(format!("handler {action}"), &name, told(&name, &action, &fields))
                .then(site.links.handler(&name));
            let after = Some(standing_since(Some(&before), asked, &why, &handler));
            Ok(Done { before: Some(standing(&before)), after, ..done }.into_response())
        }
        Err(error) if error.fault == HandlersFault::NeedsApproval => {
            let wider: Vec<String> =
                serde_json::from_value(error.details.get("wider").cloned().unwrap_or_default())
                    .unwrap_or_default();
            Ok(approval(&site, &visit, &name, &action, &fields, &wider))
        }
        Err(error) if error.fault == HandlersFault::Conflict => {
            let detail = format!("{}; look at how it is now, and decide again", error.message);
            Err(Problem::new(StatusCode::CONFLICT, detail).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn change(action: &str, fields: &Fields) -> Result<Change, Fault> {
    let version = || fields.text("version").to_owned();
    let approve = fields.is_ticked("approve");
    Ok(match action {
        "activate" => Change::Activate { version: version(), approve },
        "canary" => {
            let percent =
                fields.parsed::<u8>("percent", "Percent", "a share from 1 to 100")?.unwrap_or(PERCENT);
            let after =
                fields.number("after", "Promote after")?.map(|minutes| minutes.saturating_mul(60_000));
            let rules = CanaryLimits { promote_after_ms: after, ..CanaryLimits::default() };
            if !(1..=100).contains(&percent) {
                return Err(Fault::bad_request(format!("Percent: {percent} is not between 1 and 100")));
            }
            Change::Canary { version: version(), percent, approve, rules }
        }
        "promote" => Change::Promote,
        "rollback" => Change::Rollback,
        "quarantine" => Change::Quarantine { version: version() },
        "release" => Change::Release { version: version() },
        "end-shadow" => Change::Shadow { of: None },
        other => return Err(Fault::not_found(format!("nothing called {other:?} can be done to a handler"))),
    })
}

fn told(name: &str, action: &str, fields: &Fields) -> String {
    let version = short(fields.text("version"));
    match action {
        "activate" => format!("{name}: {version} takes all jobs as soon as each host has it ready."),
        "canary" => format!("{name}: {version} takes {} % of the jobs.", fields.text("percent")),
        "promote" => format!("{name}: the canary takes all jobs."),
        "rollback" => format!("{name} is rolled back."),
        "quarantine" => format!("{name}: {version} is in quarantine."),
        "release" => format!("{name}: {version} may be activated again."),
        _ => format!("{name}: the shadow has ended."),
    }
}

/// Asks whether a version may want more than the active one does.
fn approval(
    site: &Site,
    visit: &Visit,
    name: &str,
    action: &str,
    fields: &Fields,
    wider: &[String],
) -> Response {
    let version = short(fields.text("version"));
    let crumbs = [(site.links.to("/handlers"), "Handlers"), (site.links.handler(name), name)];
    let kept = ["version", "generation", "percent", "after", "why"];
    let body = html! {
        (shell::heading(&crumbs, &html! { "May " code { (version) } " touch more?" }, &html! { "Nothing has changed yet." }, &html! {}))
        section.card {
            header { h2 { "What it wants beyond the active version" } }
            div.body.stack {
                ul { @for line in wider { li { span.tag.wide-open { "+ " (line) } } } }
                div.note.is-warn { (icons::alarm()) div { "It can touch each of these only as far as the host's configuration grants it too." } }
                form method="post" action=(site.links.handler_act(name, action)) {
                    (shell::proof(visit))
                    @for field in kept { @if let Some(value) = fields.given(field) { input type="hidden" name=(field) value=(value); } }
                    input type="hidden" name="approve" value="yes";
                    div.acts {
                        button.main-act type="submit" { "Approve and " (action) }
                        a.button href=(site.links.handler(name)) { "Leave things as they are" }
                    }
                }
            }
        }
    };
    Shown::new(Place::Handlers, format!("Approve {version}"), body).into_response()
}
