//! The queues, and how each stands.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use jobcell_core::store::{Counts, Limits};
use jobcell_core::{JobState, QueueName, StoreError};
use maud::{Markup, html};
use serde::Deserialize;

use super::login::see_other;
use super::shown::{Fault, Page, Place, Shown, where_kept};
use super::visit::{Look, Visit};
use super::{Site, links, shell, units};
use crate::api::{QUEUES_MAX, Role};
use crate::metrics::queue_gauges;

/// How a queue stands.
pub(super) struct Standing {
    pub(super) name: QueueName,
    pub(super) counts: Counts,
    pub(super) is_paused: bool,
    /// How long the job that waits longest has waited, in milliseconds.
    pub(super) oldest: u64,
    /// Whether this host's configuration works on it.
    pub(super) is_configured: bool,
    /// None where its store has none.
    pub(super) limits: Option<Limits>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// A part of the name.
    q: String,
    /// Only those with jobs in this state.
    state: String,
    page: usize,
    /// Goes to this queue: for those who are shown no list.
    queue: String,
}

/// Queues on one page.
const PAGE: usize = 50;

/// Four or five round trips.
pub(super) async fn standing(site: &Site, queue: &QueueName) -> Result<Standing, StoreError> {
    let store = site.desk.store.as_ref();
    let (gauges, limits) = tokio::try_join!(queue_gauges(store, queue, site.desk.clock.now()), async {
        where_kept(store.limits(queue).await)
    })?;
    Ok(Standing {
        name: queue.clone(),
        counts: gauges.counts,
        is_paused: gauges.paused,
        oldest: u64::try_from(gauges.oldest.as_millis()).unwrap_or(u64::MAX),
        is_configured: site.desk.known.is_configured(queue),
        limits,
    })
}

pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    if !asked.queue.is_empty() {
        return Ok(see_other(&site.links.queue(asked.queue.trim())));
    }
    if !visit.sees_all() {
        return Ok(Shown::new(Place::Queues, "Queues", of_a_tenant(&site, &visit)).into_response());
    }
    list(&site, &visit, asked).await.map(IntoResponse::into_response)
}

async fn list(site: &Site, visit: &Visit, asked: Asked) -> Page {
    let Asked { q, state, page, queue: _ } = asked;
    let all = site.desk.known.all().await?;
    let named: Vec<_> = all.iter().filter(|queue| queue.as_str().contains(q.trim())).collect();
    let wanted: Option<JobState> = state.parse().ok();
    let (looked_at, more) = match wanted {
        // To know which have such jobs, all are looked at.
        Some(_) => (named.as_slice(), false),
        None => (
            named.get(page * PAGE..named.len().min((page + 1) * PAGE)).unwrap_or_default(),
            named.len() > (page + 1) * PAGE,
        ),
    };
    let looked = try_join_all(looked_at.iter().map(|queue| standing(site, queue))).await?;
    let has = |standing: &Standing| match wanted {
        Some(JobState::Waiting) => {
            standing.counts.get(JobState::Waiting) + standing.counts.get(JobState::Prioritized) > 0
        }
        Some(state) => standing.counts.get(state) > 0,
        None => true,
    };
    let shown: Vec<Standing> = looked.into_iter().filter(has).collect();
    let title = wanted.map_or_else(|| "Queues".to_owned(), |state| format!("Queues with {state} jobs"));
    let sub =
        html! { (units::of(all.len() as u64, "queue", "queues")) " in the store and in the configuration" };
    let search = html! {
        form.search method="get" action=(site.links.to("/queues")) role="search" {
            label.unseen for="q" { "Part of a queue's name" }
            input #q type="search" name="q" value=(q) placeholder="Filter by name  /";
            button type="submit" { "Filter" }
        }
    };
    let body = html! {
        (shell::heading(&[], &html! { (title) }, &sub, &search))
        div.stack #queues data-live {
            @if shown.is_empty() { (none(site, all.is_empty())) } @else { (table(site, visit, "Queues", &shown)) }
        }
        (pager(site, &q, page, more))
    };
    let names: Vec<_> = shown.iter().map(|standing| standing.name.as_str()).take(QUEUES_MAX).collect();
    let live = site.links.live(names.iter().copied());
    let shown = Shown::new(Place::Queues, title, body);
    Ok(if names.is_empty() { shown } else { shown.live(live) })
}

fn pager(site: &Site, q: &str, page: usize, more: bool) -> Markup {
    let at = |page: usize| format!("{}?q={}&page={page}", site.links.to("/queues"), links::part(q));
    html! {
        @if page > 0 || more {
            nav.pager aria-label="Pages of the list" {
                @if page > 0 { a.button href=(at(page - 1)) { "Previous" } }
                @if more { a.button href=(at(page + 1)) { "Next" } }
            }
        }
    }
}

fn none(site: &Site, is_first: bool) -> Markup {
    html! {
        div.card { div.empty {
            @if is_first {
                strong { "There are no queues yet" }
                "A queue is there once it is configured, or once a job is added:"
                br;
                pre { "jobcell enqueue mail welcome '{\"to\":\"ada@example.com\"}'" }
            } @else {
                strong { "No queue is like that" }
                a href=(site.links.to("/queues")) { "Show all queues" }
            }
        } }
    }
}

/// Queues in a table.
pub(super) fn table(site: &Site, visit: &Visit, title: &str, standings: &[Standing]) -> Markup {
    html! {
        section.card aria-label=(title) {
            header { h2 { (title) } @if title != "Queues" || standings.len() > 1 { p { (units::of(standings.len() as u64, "queue", "queues")) } } }
            @if standings.is_empty() {
                div.empty { strong { "There are no queues yet" } "Add a job, or name a queue in the configuration: " code { "[queues.mail]" } }
            } @else {
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { "Queue" }
                            th.number scope="col" { "Waiting" }
                            th.number scope="col" { "Running" }
                            th.number.wide scope="col" { "Delayed" }
                            th.number scope="col" { "Failed" }
                            th.number.wide scope="col" { "Completed" }
                            th.number.wide scope="col" { "Oldest waits" }
                            @if visit.may(Role::Operator) { th.wide scope="col" { span.unseen { "Actions" } } }
                        } }
                        tbody { @for standing in standings { (row(site, visit, standing)) } }
                    }
                }
            }
        }
    }
}

fn row(site: &Site, visit: &Visit, standing: &Standing) -> Markup {
    let name = standing.name.as_str();
    let of = |state| standing.counts.get(state);
    let number = |count: u64, state: JobState| {
        html! { @if count == 0 { span.zero { "0" } } @else { a href=(site.links.state(name, state.as_str())) { (units::count(count)) } } }
    };
    html! {
        tr {
            th scope="row" {
                a href=(site.links.queue(name)) { (name) }
                @if standing.is_paused { " " span.state.paused { "paused" } }
                @if !standing.is_configured { " " span.tag title="No [queues] entry of this host names it" { "not worked here" } }
            }
            td.number { (number(of(JobState::Waiting) + of(JobState::Prioritized), JobState::Waiting)) }
            td.number { (number(of(JobState::Active), JobState::Active)) }
            td.number.wide { (number(of(JobState::Delayed), JobState::Delayed)) }
            td.number { (number(of(JobState::Failed), JobState::Failed)) }
            td.number.wide { (number(of(JobState::Completed), JobState::Completed)) }
            td.number.wide { @if standing.oldest > 0 { (units::millis(standing.oldest)) } @else { span.zero { "–" } } }
            @if visit.may(Role::Operator) {
                td.wide.number {
                    @if standing.is_paused { (shell::act(visit, &site.links.queue_act(name, "resume"), "Resume", "plain")) }
                    @else { (shell::act(visit, &site.links.queue_act(name, "pause"), "Pause", "plain")) }
                }
            }
        }
    }
}

/// For somebody who may see one tenant's jobs only: what belongs to all is not shown.
pub(super) fn of_a_tenant(site: &Site, visit: &Visit) -> Markup {
    let tenant = visit.caller.as_ref().and_then(|caller| caller.tenant()).unwrap_or_default();
    html! {
        (shell::heading(&[], &html! { "Jobs of " (tenant) }, &html! { "Your token is bound to this tenant: you see its jobs, and not how whole queues stand." }, &html! {}))
        section.card {
            div.body {
                form.search method="get" action=(site.links.to("/queues")) {
                    label.unseen for="queue" { "Queue" }
                    input #queue type="search" name="queue" required placeholder="Name of a queue";
                    button.main-act type="submit" { "Show its jobs" }
                }
            }
        }
    }
}
