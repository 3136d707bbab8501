//! What stands beside a handler's versions: the active one, grants and limits, hosts, the history.

use maud::{Markup, html};
use serde_json::Value;

use super::super::handlers::{Handler, OnHost, Past, Version, author};
use super::super::visit::Visit;
use super::super::{shell, units};
use super::{short, wants};

pub(super) fn about(version: &Version) -> Markup {
    let manifest = &version.manifest;
    let limits = &manifest["limits"];
    html! {
        section.card aria-labelledby="about-title" {
            header { h2 #about-title { "Active version" } code { (short(&version.digest)) } }
            div.body { dl.facts {
                @if let Some(label) = version.label() { dt { "Version" } dd { (label) } }
                @if let Some(language) = manifest["language"].as_str() { dt { "Language" } dd { (language) } }
                dt { "Size" } dd { (units::bytes(version.size)) }
                dt { "Signed by" } dd { @if let Some(key) = &version.signed_by { code.break { (key) } } @else { span.muted { "nobody" } } }
                @if let Some(who) = &version.approved_by { dt { "Approved by" } dd { (who) } }
                @if let Some(bytes) = limits["memoryBytes"].as_u64() { dt { "Wants memory" } dd { (units::bytes(bytes)) } }
                @if let Some(bytes) = limits["stackBytes"].as_u64() { dt { "Wants stack" } dd { (units::bytes(bytes)) } }
                @if let Some(ms) = limits["deadlineMs"].as_u64() { dt { "Wants time" } dd { (units::millis(ms)) } }
                dt { "Wants to touch" } dd { (wants(version, None)) }
                dt { "Digest" } dd { code.break.small { (version.digest) } }
            } }
        }
    }
}

/// What the configuration of this host lets every version touch and use.
pub(super) fn given(handler: &Handler) -> Markup {
    let Handler { granted, limits, .. } = handler;
    let time = |name: &str| limits[name].as_u64().map(units::millis);
    let size = |name: &str| limits[name].as_u64().map(units::bytes);
    let limits = [
        ("Memory", size("memoryBytes")),
        ("Deadline", time("deadlineMs")),
        ("Computing", time("cpuMs")),
        ("Payload", size("payloadBytes")),
        ("Result", size("resultBytes")),
    ];
    html! {
        section.card aria-labelledby="given-title" {
            header { h2 #given-title { "Grants and limits" } p { "By this host's configuration" } }
            div.body { dl.facts {
                dt { "Granted" }
                dd {
                    @if granted.is_empty() { span.muted.small { "nothing outside its cell" } }
                    @for line in granted { span.tag { (line) } " " }
                }
                @for (label, value) in &limits { @if let Some(value) = value { dt { (label) } dd { "up to " (value) } } }
            } }
        }
    }
}

pub(super) fn on_hosts(hosts: &[OnHost]) -> Markup {
    html! {
        section.card aria-labelledby="on-title" {
            header { h2 #on-title { "On the hosts" } }
            @if hosts.is_empty() { div.empty { "No host says that it runs it." } }
            @else { div.body { dl.facts {
                @for host in hosts {
                    // One machine may run several.
                    @let is_alone = hosts.iter().filter(|other| other.name == host.name).count() == 1;
                    dt.break title=(host.host) { (if is_alone { &host.name } else { &host.host }) }
                    dd {
                        @if let Some(active) = &host.active { code { (short(active)) } " " }
                        @if let Some(canary) = &host.canary { span.state.canary { (short(canary)) } " " }
                        @if host.state != "current" { span.state.draining { (host.state) } }
                        @if let Some(lag) = &host.lag { div.small.warn { (shell::sentence(lag)) } }
                    }
                }
            } } }
        }
    }
}

pub(super) fn past(visit: &Visit, history: &[Value]) -> Markup {
    let steps: Vec<Past> =
        history.iter().filter_map(|step| serde_json::from_value(step.clone()).ok()).collect();
    html! {
        section.card aria-labelledby="past-title" {
            header { h2 #past-title { "History" } }
            @if steps.is_empty() { div.empty { "Nothing happened yet." } }
            @else { div.scroll { table {
                thead { tr { th scope="col" { "When" } th scope="col" { "Version" } th scope="col" { "Became" } th.wide scope="col" { "Why" } } }
                tbody { @for step in &steps { tr {
                    td.muted { (units::time(step.at, visit.now)) }
                    td { code { (short(&step.digest)) } }
                    td { @if let Some(to) = &step.to { span.state.(to) { (to) } } div.muted.small { @if let Some(from) = &step.from { "was " (from) ", " } "by " span title=(step.by) { (author(&step.by)) } } }
                    td.wide.break { (step.why) }
                } } }
            } } }
        }
    }
}
