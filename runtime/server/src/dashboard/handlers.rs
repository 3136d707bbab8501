//! The handlers: which version each runs, and where.

use axum::extract::State;
use futures::future::join_all;
use jobcell_core::Millis;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::chart::{Mark, Range};
use super::shown::{Fault, Page, Place, Shown};
use super::version::short;
use super::visit::{Look, Visit};
use super::{Site, shell, units};

/// A handler as its maker shows it: what is missing is nothing, what is unknown is left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Handler {
    pub(super) name: String,
    pub(super) source: Option<String>,
    pub(super) generation: u64,
    pub(super) active: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) canary: Option<Share>,
    pub(super) shadow: Option<Share>,
    pub(super) versions: Vec<Version>,
    pub(super) hosts: Vec<OnHost>,
    /// What the configuration of the host that answers lets it touch, in lines.
    pub(super) granted: Vec<String>,
    /// What it lets one attempt use.
    pub(super) limits: Value,
}

/// A version that runs beside the active one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Share {
    pub(super) digest: String,
    pub(super) percent: u8,
    pub(super) since: Millis,
    pub(super) by: String,
    pub(super) rules: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Version {
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) manifest: Value,
    /// What it wants to touch, in lines.
    pub(super) wants: Vec<String>,
    pub(super) signed_by: Option<String>,
    pub(super) state: String,
    pub(super) at: Millis,
    pub(super) by: String,
    pub(super) why: String,
    pub(super) deployed_at: Millis,
    pub(super) deployed_by: String,
    pub(super) approved_by: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OnHost {
    pub(super) host: String,
    pub(super) name: String,
    pub(super) active: Option<String>,
    pub(super) canary: Option<String>,
    pub(super) state: String,
    pub(super) lag: Option<String>,
}

/// One step of a version.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Past {
    pub(super) at: Millis,
    pub(super) by: String,
    pub(super) digest: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) why: String,
}

/// Handlers whose swaps are drawn into charts.
const MARKED_MAX: usize = 20;
/// Steps of each that are looked at.
const STEPS_MAX: u32 = 30;

// === impl Handler ===

impl Handler {
    pub(super) fn read(value: Value) -> Result<Self, Fault> {
        serde_json::from_value(value).map_err(|error| {
            tracing::error!(%error, "a handler cannot be shown");
            let detail =
                "this handler is described in a way that this version does not know; see the host's log";
            Fault(crate::problem::Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, detail))
        })
    }

    /// Whether each host reads its versions from a source of its own.
    pub(super) fn is_of_each_host(&self) -> bool {
        self.source.as_deref().is_some_and(|source| source != "store")
    }

    pub(super) fn version(&self, digest: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }
}

// === impl Version ===

impl Version {
    /// Its own name for itself, if it has one.
    pub(super) fn label(&self) -> Option<&str> {
        self.manifest["version"].as_str()
    }
}

pub(super) async fn show(State(site): State<Site>, visit: Look) -> Page {
    visit.caller()?.must_see_all()?;
    let handlers = match &site.desk.handlers {
        Some(handlers) => {
            handlers.list().await?.into_iter().map(Handler::read).collect::<Result<Vec<_>, _>>()?
        }
        None => Vec::new(),
    };
    let sub = html! { "Code that runs jobs, each job in a fresh cell" };
    let body = html! {
        (shell::heading(&[], &html! { "Handlers" }, &sub, &html! {}))
        div #handlers data-live {
            section.card aria-label="Handlers" {
                @if handlers.is_empty() {
                    div.empty {
                        strong { "No handler has versions" }
                        "Name one in the configuration, then hand in a component:"
                        br;
                        pre { "[handlers.media]\nsource = \"store\"\n\njobcell handler deploy media media.wasm" }
                    }
                } @else {
                    div.scroll { table {
                        thead { tr {
                            th scope="col" { "Handler" } th scope="col" { "Active" } th scope="col" { "Beside it" }
                            th.wide scope="col" { "Hosts" } th.number.wide scope="col" { "Versions" } th.number.wide scope="col" { "Last change" }
                        } }
                        tbody { @for handler in &handlers { (row(&site, &visit, handler)) } }
                    } }
                }
            }
        }
    };
    Ok(Shown::new(Place::Handlers, "Handlers", body))
}

fn row(site: &Site, visit: &Visit, handler: &Handler) -> Markup {
    let active = handler.active.as_deref();
    let behind: Vec<_> = handler.hosts.iter().filter(|host| host.state != "current").collect();
    let changed = handler.versions.iter().map(|version| version.at).max();
    html! {
        tr {
            th scope="row" {
                a href=(site.links.handler(&handler.name)) { (handler.name) }
                @if let Some(source) = &handler.source { div.muted.small.break { (source) } }
            }
            td {
                @if let Some(active) = active {
                    code title=(active) { (short(active)) }
                    @if let Some(label) = handler.version(active).and_then(Version::label) { div.muted.small { (label) } }
                } @else { span.muted { "none" } }
            }
            td {
                @if let Some(canary) = &handler.canary { div { span.state.canary { "canary " (canary.percent) " %" } " " code { (short(&canary.digest)) } } }
                @if let Some(shadow) = &handler.shadow { div { span.state.shadow { "shadow " (shadow.percent) " %" } " " code { (short(&shadow.digest)) } } }
                @if handler.canary.is_none() && handler.shadow.is_none() { span.zero { "–" } }
            }
            td.wide {
                @if behind.is_empty() { (units::of(handler.hosts.len() as u64, "host", "hosts")) }
                @else { span.warn { (behind.len()) " of " (units::of(handler.hosts.len() as u64, "host", "hosts")) " behind" } }
            }
            td.number.wide { (units::count(handler.versions.len() as u64)) }
            td.number.wide.muted { @if let Some(at) = changed { (units::time(at, visit.now)) } }
        }
    }
}

/// Who it was, without the folders of a file.
pub(super) fn author(by: &str) -> &str {
    by.rsplit('/').next().unwrap_or(by)
}

/// Which versions began to take jobs, newest first: what charts mark. Charts are drawn without them when they cannot be had.
pub(super) async fn swaps(site: &Site, range: Range) -> Vec<Mark> {
    let Some(handlers) = &site.desk.handlers else { return Vec::new() };
    let Ok(listed) = handlers.list().await else { return Vec::new() };
    let since = site.desk.clock.now().saturating_sub(range.minutes() * 60_000);
    let names: Vec<String> = listed
        .iter()
        .take(MARKED_MAX)
        .filter_map(|handler| handler["name"].as_str().map(str::to_owned))
        .collect();
    let histories = join_all(names.iter().map(|name| handlers.history(name, None, STEPS_MAX))).await;
    let mut marks = Vec::new();
    for (name, history) in names.iter().zip(histories) {
        for step in history.unwrap_or_default() {
            let Ok(Past { at, by, digest, from, to: Some(to), .. }) = serde_json::from_value(step) else {
                continue;
            };
            let is_new = from.as_deref() != Some(to.as_str());
            if is_new && at >= since && matches!(to.as_str(), "active" | "canary" | "quarantined") {
                let what = if to == "active" { "→".to_owned() } else { to };
                marks.push(Mark { at, text: format!("{name} {what} {} by {}", short(&digest), author(&by)) });
            }
        }
    }
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.at));
    marks
}
