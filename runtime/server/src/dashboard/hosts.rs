//! The hosts that share the store: what each runs, and telling one to go quiet or to stop.

use axum::extract::State;
use jobcell_core::fleet::{HostStatus, Order, OrderKind, Phase};
use maud::{Markup, html};
use serde_json::json;

use super::shell::Ask;
use super::shown::{Deed, Done, Fault, Page, Place, Shown};
use super::visit::{Look, Visit};
use super::{Site, icons, shell, units};
use crate::api::Role;
use crate::api::page::Path;
use crate::problem::Problem;

pub(super) async fn show(State(site): State<Site>, visit: Look) -> Page {
    visit.caller()?.must_see_all()?;
    // While the store is away this host still knows itself.
    let (mut hosts, fault) = match (site.desk.fleet.hosts().await, &site.desk.control) {
        (Ok(hosts), _) => (hosts, None),
        (Err(error), Some(control)) if error.is_transient() => (vec![control.status()], Some(error)),
        (Err(error), _) => return Err(error.into()),
    };
    hosts.sort_by(|a, b| (&a.name, a.started_at).cmp(&(&b.name, b.started_at)));
    let active: u64 = hosts.iter().map(HostStatus::active).sum();
    let sub = html! { (units::of(hosts.len() as u64, "host", "hosts")) ", " (units::of(active, "job runs", "jobs run")) };
    let body = html! {
        (shell::heading(&[], &html! { "Hosts" }, &html! { span #sum data-live { (sub) } }, &html! {}))
        div.stack #hosts data-live {
            @if fault.is_some() {
                div.note.is-warn { (icons::alarm()) div { "Only the host that serves this page is known now." } }
            }
            @for (at, host) in hosts.iter().enumerate() { (card(&site, &visit, at, host, &called(host, &hosts))) }
            @if hosts.is_empty() {
                div.card { div.empty { strong { "No host runs" } "Start one where the configuration is:" br; pre { "jobcell run" } } }
            }
        }
    };
    let shown = Shown::new(Place::Hosts, "Hosts", body);
    Ok(match fault {
        Some(fault) => shown.lacking(fault),
        None => shown,
    })
}

/// What tells it from the others: the name of its machine, or its id where others run on that machine too.
pub(super) fn called(host: &HostStatus, all: &[HostStatus]) -> String {
    let is_alone = all.iter().all(|other| other.id == host.id || other.name != host.name);
    if is_alone && !host.name.is_empty() { host.name.clone() } else { host.id.clone() }
}

fn card(site: &Site, visit: &Visit, at: usize, host: &HostStatus, called: &str) -> Markup {
    let place = format!("host-{at}-title");
    html! {
        section.card aria-labelledby=(place) {
            header {
                div {
                    h2 #(place) { (host.name) " " span.state.(host.phase.as_str()) { (host.phase.as_str()) } }
                    p { (host.id) }
                }
                @if visit.may(Role::Admin) { div.acts { (acts(site, visit, at, host, called)) } }
            }
            div.body.two {
                dl.facts {
                    dt { "Started" } dd { (units::time(host.started_at, visit.now)) }
                    dt { "Version" } dd { (host.version) }
                    dt { "Process" } dd { (host.pid) @if let Some(address) = &host.address { " at " code { (address) } } }
                    dt { "Memory" } dd { @if host.memory_bytes > 0 { (units::bytes(host.memory_bytes)) } @else { "unknown" } }
                    dt { "Cells" } dd { (units::count(u64::from(host.cells.active))) " of " (units::count(u64::from(host.cells.max))) }
                    dt { "Load" } dd { (format!("{:.2}", host.load)) }
                }
                dl.facts {
                    @for queue in &host.queues {
                        dt { a href=(site.links.queue(&queue.name)) { (queue.name) } }
                        dd { (units::count(u64::from(queue.active))) " of " (units::count(u64::from(queue.concurrency))) " run"
                            (super::version::share_bar(u64::from(queue.active), u64::from(queue.concurrency), "share-active", &format!("{} of {} places used", queue.active, queue.concurrency))) }
                    }
                    @for (name, handler) in &host.handlers {
                        dt { a href=(site.links.handler(name)) { (name) } }
                        dd {
                            @if let Some(active) = &handler.active { code { (super::version::short(active)) } }
                            @if let Some(canary) = &handler.canary { " " span.state.canary { "canary" } " " code { (super::version::short(canary)) } }
                            @if let Some(loading) = &handler.loading { " " span.state.loading { "loading" } " " code { (super::version::short(loading)) } }
                            @if let Some(lag) = &handler.lag { div.small.warn { (shell::sentence(lag)) } }
                        }
                    }
                }
            }
            @if host.shortened { footer { "It runs more than fits in here; ask it itself." } }
        }
    }
}

fn acts(site: &Site, visit: &Visit, at: usize, host: &HostStatus, called: &str) -> Markup {
    let act = |action: &str| site.links.host_act(&host.id, action);
    html! {
        @match host.phase {
            Phase::Running => { (shell::act(visit, &act("quiet"), "Quiet", "")) }
            Phase::Quiet => { (shell::act(visit, &act("unquiet"), "Take jobs again", "main-act")) }
            Phase::Stopping | Phase::Unknown => {}
        }
        @if host.phase != Phase::Stopping {
            (Ask {
                id: &format!("stop-{at}"),
                label: "Stop…",
                title: format!("Stop {called}?"),
                about: html! { p { "It takes no more jobs, lets those that run end for the grace that is configured, gives the rest back, and ends. Nothing here starts it again." } },
                action: act("stop"),
                fields: html! {},
                does: "Stop this host",
                is_danger: true,
                class: "danger",
            }.draw(visit))
        }
    }
}

/// Leaves an order for a host.
pub(super) async fn act(
    State(site): State<Site>,
    visit: Look,
    Path((id, action)): Path<(String, String)>,
) -> Deed {
    let caller = visit.caller()?;
    caller.must_be(Role::Admin)?;
    caller.must_see_all()?;
    let (kind, told) = match action.as_str() {
        "quiet" => (OrderKind::Quiet, "takes no new jobs in a moment"),
        "unquiet" => (OrderKind::Unquiet, "takes jobs again in a moment"),
        "stop" => (OrderKind::Stop, "finishes what it runs and ends"),
        other => return Err(Fault::not_found(format!("nothing called {other:?} can be done to a host"))),
    };
    let host = site.desk.fleet.host(&id).await.map_err(Problem::from)?;
    let Some(host) = host else {
        return Err(Fault::not_found(format!("host {id:?} does not run any more")));
    };
    // The others are only for the words.
    let others = site.desk.fleet.hosts().await.unwrap_or_default();
    let called = called(&host, &others);
    let order = Order { kind, by: caller.name.to_string(), at: site.desk.clock.now() };
    site.desk.fleet.order(&id, &order).await.map_err(Problem::from)?;
    let done =
        Done::new(format!("host {action}"), &id, format!("{called} {told}.")).then(site.links.to("/hosts"));
    Ok(Done {
        before: Some(json!({"phase": host.phase.as_str()})),
        after: Some(json!({"ordered": kind.as_str()})),
        ..done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_machine_are_told_apart() {
        let host = |id: &str, name: &str| HostStatus {
            id: id.to_owned(),
            name: name.to_owned(),
            ..HostStatus::default()
        };
        let all = [
            host("vm-1-aaaa", "vm"),
            host("vm-2-bbbb", "vm"),
            host("web-3-cccc", "web"),
            host("x-4-dddd", ""),
        ];
        let shown: Vec<String> = all.iter().map(|host| called(host, &all)).collect();
        assert_eq!(shown, ["vm-1-aaaa", "vm-2-bbbb", "web", "x-4-dddd"]);
        // Itself may not be written yet.
        assert_eq!(called(&all[0], &all[2..]), "vm");
        assert_eq!(called(&all[0], &[]), "vm");
    }
}
