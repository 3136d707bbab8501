//! Who did what.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::shown::{Page, Place, Shown};
use super::visit::{Look, Visit};
use super::{Site, shell, units};
use crate::audit::{AuditEntry, KEEP, Via};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    before: Option<u64>,
}

/// Entries on one page.
const PAGE: u32 = 50;

pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Query(Asked { before }): Query<Asked>,
) -> Page {
    visit.caller()?.must_see_all()?;
    let mut entries = site.desk.audit.entries(before, PAGE + 1).await?;
    let has_more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    let oldest = entries.last().map(|(number, _)| *number).filter(|_| has_more);
    let sub = html! { "The last " (units::count(u64::from(KEEP))) " changes through the dashboard, the API and the command line" };
    let here = site.links.to("/audit");
    let body = html! {
        (shell::heading(&[], &html! { "Audit" }, &sub, &html! {}))
        div #audit data-live {
            section.card aria-label="Audit" {
                @if entries.is_empty() {
                    div.empty { strong { "Nothing was changed yet" } "Whatever somebody changes stands here with their name." }
                } @else {
                    div.scroll { table.audit {
                        thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Outcome" } } }
                        tbody { @for (_, entry) in &entries { (row(&visit, entry)) } }
                    } }
                }
            }
        }
        @if before.is_some() || oldest.is_some() {
            nav.pager aria-label="Pages of the list" {
                @if before.is_some() { a.button href=(here) { "Newest" } }
                @if let Some(oldest) = oldest { a.button href=(format!("{here}?before={oldest}")) { "Older" } }
            }
        }
    };
    Ok(Shown::new(Place::Audit, "Audit", body))
}

fn row(visit: &Visit, entry: &AuditEntry) -> Markup {
    let AuditEntry { at, who, role, via, action, target, before, after, outcome, request_id } = entry;
    let via = match via {
        Some(Via::Api) => "API",
        Some(Via::Dashboard) => "dashboard",
        Some(Via::Cli) => "command line",
        Some(Via::Signal) => "signal",
        Some(Via::Unknown) | None => "elsewhere",
    };
    html! {
        tr {
            td.muted { (units::time(*at, visit.now)) }
            td { (who) div.muted.small { (role) ", " (via) } }
            td {
                span { (pieces(action)) }
                div.muted.small.break title=[request_id.as_ref().map(|id| format!("request {id}"))] { (pieces(target)) }
                @if before.is_some() || after.is_some() {
                    div.wide.small {
                        @if let Some(before) = before { code.break.muted { (before.to_string()) } " → " }
                        @if let Some(after) = after { code.break { (after.to_string()) } }
                    }
                }
            }
            td { @if outcome == "done" { span.state.is-on { "done" } } @else { span.bad.small.break { (outcome) } } }
        }
    }
}

/// A text that a narrow page breaks between the parts of a path rather than within one.
fn pieces(text: &str) -> Markup {
    html! { @for piece in text.split_inclusive('/') { (piece) wbr; } }
}
