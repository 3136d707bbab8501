//! Who did what.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value};

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
/// Digits of a digest, and of one that is shown.
const DIGEST: usize = 64;
const SHORT: usize = 12;

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
                @let [was, is] = differing(before.as_ref(), after.as_ref());
                @if was.is_some() || is.is_some() {
                    div.small {
                        @if let Some(was) = &was { code.break.muted { (members(was)) } " → " }
                        @match &is { Some(is) => { code.break { (members(is)) } } None => { span.muted { "gone" } } }
                    }
                }
            }
            td { @if outcome == "done" { span.state.is-on { "done" } } @else { span.bad.small.break { (outcome) } } }
        }
    }
}

/// The two states without what they have in common; the API tells them whole.
fn differing(before: Option<&Value>, after: Option<&Value>) -> [Option<Value>; 2] {
    let (Some(Value::Object(was)), Some(Value::Object(is))) = (before, after) else {
        return [before.cloned(), after.cloned()];
    };
    let only = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let own = of.iter().filter(|(name, value)| other.get(*name) != Some(*value));
        let own: Map<String, Value> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        (!own.is_empty()).then_some(Value::Object(own))
    };
    // That nothing has changed is told by what is.
    [only(was, is), only(is, was).or_else(|| after.cloned())]
}

/// A state in one line of JSON, with digests as short as everywhere. A narrow page breaks it between its members rather
/// than within a word.
fn members(state: &Value) -> Markup {
    let text = state.to_string();
    let mut parts = text.split("sha256:");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == DIGEST {
            short.push_str(&part[..SHORT]);
            short.push_str(&part[DIGEST..]);
        } else {
            short.push_str("sha256:");
            short.push_str(part);
        }
    }
    html! { @for part in short.split_inclusive([',', ':', '{', '[']) { (part) wbr; } }
}

/// A text that a narrow page breaks between the parts of a path rather than within one.
fn pieces(text: &str) -> Markup {
    html! { @for piece in text.split_inclusive('/') { (piece) wbr; } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_shown() {
        let [digest, other] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let (was, is) = (
            json!({"active": digest, "generation": 1, "x": 2}),
            json!({"active": other, "generation": 1, "y": null}),
        );
        let [before, after] = differing(Some(&was), Some(&is));
        assert_eq!(before, Some(json!({"active": digest, "x": 2})));
        assert_eq!(after, Some(json!({"active": other, "y": null})));
        let same = differing(Some(&json!({"paused": true})), Some(&json!({"paused": true})));
        assert_eq!(same, [None, Some(json!({"paused": true}))]);
        assert_eq!(differing(Some(&was), None), [Some(was.clone()), None]);
        let drawn = members(&json!([digest, "sha256:ab"])).into_string().replace("<wbr>", "");
        assert_eq!(drawn, "[&quot;aaaaaaaaaaaa&quot;,&quot;sha256:ab&quot;]");
    }

    #[test]
    fn a_state_breaks_between_its_members_and_is_never_markup() {
        let drawn = members(&json!({"why": "<b>", "limits": [1, 2]})).into_string();
        assert!(drawn.contains("&quot;limits&quot;:<wbr>[<wbr>1,<wbr>2]"), "{drawn}");
        assert!(drawn.contains("&lt;b&gt;") && !drawn.contains("<b>"), "{drawn}");
    }
}
