//! The first page: is all well, what goes on, what needs somebody.

use std::collections::BTreeSet;

use axum::extract::{Query, State};
use futures::future::{join_all, try_join_all};
use jobcell_core::store::{Page as Slice, Series};
use jobcell_core::{JobState, QueueName, StoreError};
use maud::{Markup, html};
use serde::Deserialize;

use super::chart::{Bars, Mark, Range};
use super::shown::{Page, Place, Shown, where_kept};
use super::visit::{Look, Visit};
use super::{Site, handlers, hosts, icons, queues, shell, units};
use crate::api::QUEUES_MAX;
use crate::health::{HealthReport, Status};
use queues::Standing;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    range: String,
}

/// Failed jobs that are shown at once.
const FAILED_SHOWN: u64 = 6;
/// Swaps that are listed below a chart.
const MARKS_SHOWN: usize = 6;
/// Points that a store gives at once.
const POINTS_MAX: u64 = 1000;

/// What the charts show.
struct Finished {
    completed: Vec<Series>,
    failed: Vec<Series>,
    /// Queues without a series: no end of their jobs is counted by a host that is known.
    uncounted: Vec<QueueName>,
    /// Those that cannot have one: plain lists.
    plain: Vec<QueueName>,
}

/// Queues that are named below the charts.
const UNCOUNTED_SHOWN: usize = 6;

pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Query(Asked { range }): Query<Asked>,
) -> Page {
    if !visit.sees_all() {
        return Ok(Shown::new(Place::Overview, "Overview", queues::of_a_tenant(&site, &visit)));
    }
    let range = Range::read(&range);
    let report = site.health.health().await;
    let head = shell::heading(&[], &html! { "Overview" }, &summary(&site, &report).await, &html! {});
    match whole(&site, &visit, range, &report).await {
        Ok((parts, names)) => {
            let body = html! { (head) div.stack #overview data-live { (parts) } };
            let shown = Shown::new(Place::Overview, "Overview", body);
            // More than a client may listen to: the page is looked at every few seconds all the same.
            let is_heard = (1..=QUEUES_MAX).contains(&names.len());
            let names = names.iter().map(QueueName::as_str);
            Ok(if is_heard { shown.live(site.links.live(names)) } else { shown })
        }
        Err(error) => {
            let body = html! { (head) div.stack #overview data-live { (outage(&site, &report)) } };
            Ok(Shown::new(Place::Overview, "Overview", body).lacking(error))
        }
    }
}

/// All that stands below the heading, and the queues it is about.
async fn whole(
    site: &Site,
    visit: &Visit,
    range: Range,
    report: &HealthReport,
) -> Result<(Markup, BTreeSet<QueueName>), StoreError> {
    let names = site.desk.known.all().await?;
    let standings = try_join_all(names.iter().map(|queue| queues::standing(site, queue))).await?;
    let (finished, marks, failed) = tokio::join!(
        finished(site, &standings, range),
        handlers::swaps(site, range),
        failed(site, visit, &standings)
    );
    let finished = finished?;
    let parts = html! {
        (troubles(report))
        (strip(site, &standings, &finished))
        (charts(site, visit, &finished, range, &marks))
        (queues::table(site, visit, "Queues", &standings))
        div.aside {
            (failed)
            div.stack { (store_card(report)) (handlers_card(site, report)) }
        }
    };
    Ok((parts, names))
}

async fn summary(site: &Site, report: &HealthReport) -> Markup {
    let (class, word) = match report.status {
        Status::Healthy => ("healthy", "Healthy"),
        Status::Degraded => ("degraded", "Degraded"),
        Status::Unhealthy => ("unhealthy", "Unhealthy"),
    };
    let host = match site.desk.control.as_ref().map(|control| control.status()) {
        // While the others are not known, only its id tells it from them.
        Some(this) => {
            let others = site.desk.fleet.hosts().await;
            Some(others.map_or_else(|_| this.id.clone(), |others| hosts::called(&this, &others)))
        }
        None => None,
    };
    html! {
        span #health-word data-live { span.state.(class) { (word) } " "
            @if let Some(host) = &host { "as " (host) " sees it" } @else { "as this host sees it" } }
    }
}

/// What is known without the store.
fn outage(site: &Site, report: &HealthReport) -> Markup {
    html! {
        section.card { div.empty {
            strong { "How the queues stand is not known now" }
            "Jobs that run go on, and their ends are written once the store is back."
        } }
        div.two { (store_card(report)) (handlers_card(site, report)) }
    }
}

/// What somebody should mend, each with the fix.
fn troubles(report: &HealthReport) -> Markup {
    let workers =
        report.queues.iter().filter_map(|(queue, health)| Some((queue, health.worker.fault.as_ref()?)));
    let refused = report.handlers.iter().filter(|(_, handler)| handler.state == "refused");
    let lines: Vec<String> = report
        .store
        .warnings
        .iter()
        .cloned()
        .chain(workers.map(|(queue, fault)| format!("the worker of {queue}: {fault}")))
        .chain(refused.map(|(name, _)| format!("handler {name} is refused; its page says why")))
        .collect();
    html! {
        @if !lines.is_empty() {
            div.note.is-warn role="status" {
                (icons::alarm())
                ul { @for line in &lines { li { (shell::sentence(line)) } } }
            }
        }
    }
}

/// The counters that say at a glance how things stand.
fn strip(site: &Site, standings: &[Standing], finished: &Finished) -> Markup {
    let sum = |state| standings.iter().map(|standing| standing.counts.get(state)).sum::<u64>();
    // A sum over some of the queues would pass for one over all of them.
    let ended = |series: &[Series], state, [ever, kept]: [&'static str; 2]| {
        let total = series.iter().map(|series| series.total).sum::<u64>();
        let is_whole = finished.uncounted.is_empty() && finished.plain.is_empty() && total >= sum(state);
        if is_whole { (units::count(total), ever) } else { (units::count(sum(state)), kept) }
    };
    let (completed, completed_label) =
        ended(&finished.completed, JobState::Completed, ["Completed ever", "Completed kept"]);
    let (failed_ever, failed_label) =
        ended(&finished.failed, JobState::Failed, ["Failed ever", "Failed kept"]);
    let queues = site.links.to("/queues");
    let failed = sum(JobState::Failed);
    let cells = [
        (completed, completed_label, None, false),
        (failed_ever, failed_label, None, false),
        (units::count(sum(JobState::Active)), "Running", Some("active"), false),
        (
            units::count(sum(JobState::Waiting) + sum(JobState::Prioritized)),
            "Waiting",
            Some("waiting"),
            false,
        ),
        (units::count(sum(JobState::Delayed)), "Delayed", Some("delayed"), false),
        (units::count(sum(JobState::WaitingChildren)), "For children", Some("waiting-children"), false),
        (units::count(failed), "Failed", Some("failed"), failed > 0),
    ];
    html! {
        div.strip {
            @for (number, label, state, is_bad) in &cells {
                @if let Some(state) = state {
                    a.is-bad[*is_bad] href=(format!("{queues}?state={state}")) { b { (number) } span { (label) } }
                } @else {
                    div { b { (number) } span { (label) } }
                }
            }
        }
    }
}

fn charts(site: &Site, visit: &Visit, finished: &Finished, range: Range, marks: &[Mark]) -> Markup {
    let home = site.links.to("/");
    let completed = Bars::of(&finished.completed, range, visit.now);
    let failed = Bars::of(&finished.failed, range, visit.now);
    let is_kept = finished.completed.iter().chain(&finished.failed).any(|series| series.last.is_some());
    let shown = completed.within(marks);
    html! {
        section.card aria-labelledby="chart-title" {
            header {
                h2 #chart-title { "Finished jobs" }
                nav.segments aria-label="How far back" {
                    @for each in Range::ALL {
                        a href=(format!("{home}?range={}", each.as_str())) aria-current=[(each == range).then_some("true")] { (each.as_str()) }
                    }
                }
            }
            @if is_kept {
                div.two {
                    div.chart {
                        div.row { h3 { "Completed " span.muted { (units::count(completed.total())) " in " (range.words()) } } }
                        (completed.draw("Completed jobs", "bar-done", marks))
                    }
                    div.chart {
                        div.row { h3 { "Failed " span.muted { (units::count(failed.total())) " in " (range.words()) } } }
                        (failed.draw("Failed jobs", "bar-failed", marks))
                    }
                }
                (uncounted(finished))
                @if !shown.is_empty() {
                    footer { ul.marks {
                        @for mark in shown.iter().take(MARKS_SHOWN) { li { (units::clock(mark.at)) " " (mark.text) } }
                    } }
                }
            } @else {
                div.empty {
                    strong { "No finished job was counted yet" }
                    "They stand here by the minute as they end."
                }
                (uncounted(finished))
            }
        }
    }
}

/// Which queues the charts leave out, and how to have them in.
fn uncounted(Finished { uncounted, plain, .. }: &Finished) -> Markup {
    html! {
        @if let Some(first) = uncounted.first() {
            p.beside.muted.small {
                "Not in these charts: " (named(uncounted)) ". No host counts their finished jobs: it does where " code { "[queues." (first.as_str()) "]" }
                " is in its configuration, without " code { "metrics-points = 0" } "."
            }
        }
        @if !plain.is_empty() {
            p.beside.muted.small { "Not in these charts: " (named(plain)) ". Plain lists keep no count of their finished jobs." }
        }
    }
}

fn named(queues: &[QueueName]) -> Markup {
    let (named, more) = queues.split_at(queues.len().min(UNCOUNTED_SHOWN));
    html! {
        @for (at, queue) in named.iter().enumerate() { @if at > 0 { ", " } b { (queue.as_str()) } }
        @if !more.is_empty() { " and " (units::count(more.len() as u64)) " more" }
    }
}

async fn finished(site: &Site, standings: &[Standing], range: Range) -> Result<Finished, StoreError> {
    let of = async |state: JobState| {
        let all =
            join_all(standings.iter().map(|standing| series(site, &standing.name, state, range.minutes())))
                .await;
        all.into_iter().collect::<Result<Vec<Option<Series>>, StoreError>>()
    };
    let (completed, failed) = tokio::try_join!(of(JobState::Completed), of(JobState::Failed))?;
    let is_kept = |series: &Option<Series>| series.as_ref().is_some_and(|series| series.last.is_some());
    let (mut uncounted, mut plain) = (Vec::new(), Vec::new());
    for (standing, (completed, failed)) in standings.iter().zip(completed.iter().zip(&failed)) {
        let name = standing.name.clone();
        match completed {
            None => plain.push(name),
            // Nothing has ended yet, or another host counts it.
            Some(_) if site.counted.contains(&name) || is_kept(completed) || is_kept(failed) => {}
            Some(_) => uncounted.push(name),
        }
    }
    let whole = |series: Vec<Option<Series>>| series.into_iter().flatten().collect();
    Ok(Finished { completed: whole(completed), failed: whole(failed), uncounted, plain })
}

/// The newest so many minutes of a series; none where its store keeps none.
async fn series(
    site: &Site,
    queue: &QueueName,
    state: JobState,
    minutes: u64,
) -> Result<Option<Series>, StoreError> {
    let page = |offset: u64| Slice { offset, limit: POINTS_MAX.min(minutes - offset) };
    let Some(mut series) = where_kept(site.desk.store.series(queue, state, page(0)).await)? else {
        return Ok(None);
    };
    if minutes > POINTS_MAX && series.points.len() as u64 == POINTS_MAX {
        series.points.extend(site.desk.store.series(queue, state, page(POINTS_MAX)).await?.points);
    }
    Ok(Some(series))
}

/// The jobs that failed last, of all queues.
async fn failed(site: &Site, visit: &Visit, standings: &[Standing]) -> Markup {
    let with = standings.iter().filter(|standing| standing.counts.get(JobState::Failed) > 0);
    let lists = join_all(with.map(async |standing| {
        let page = Slice::first(FAILED_SHOWN);
        let jobs = site.desk.store.list(&standing.name, JobState::Failed, page).await.unwrap_or_default();
        jobs.into_iter().map(move |job| (standing.name.clone(), job)).collect::<Vec<_>>()
    }))
    .await;
    let mut jobs: Vec<_> = lists.into_iter().flatten().collect();
    jobs.sort_by_key(|(_, job)| std::cmp::Reverse(job.finished_on));
    jobs.truncate(usize::try_from(FAILED_SHOWN).unwrap_or(usize::MAX));
    html! {
        section.card aria-labelledby="failed-title" {
            header { h2 #failed-title { "Failed last" } }
            @if jobs.is_empty() {
                div.empty { strong { "No failed job" } "Those that use up their attempts stand here with their reasons." }
            } @else {
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "Job" } th scope="col" { "Reason" } th.number scope="col" { "When" } } }
                        tbody {
                            @for (queue, job) in &jobs {
                                tr {
                                    th scope="row" {
                                        a href=(site.links.job(queue.as_str(), job.id.as_str())) { (job.name) }
                                        div.muted.small { (queue.as_str()) " · " (job.id.as_str()) }
                                    }
                                    td { span.reason { (job.failed_reason.as_deref().unwrap_or("no reason was given")) } }
                                    td.number.muted { @if let Some(at) = job.finished_on { (units::time(at, visit.now)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn store_card(report: &HealthReport) -> Markup {
    let store = &report.store;
    let latency =
        store.latency.map(|latency| units::micros(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)));
    html! {
        section.card aria-labelledby="store-title" {
            header {
                h2 #store-title { "Store" }
                @if store.up { span.state.is-on { "Connected" } } @else { span.state.is-bad { "Away" } }
            }
            div.body {
                dl.facts {
                    dt { "Kind" } dd { (store.kind) }
                    dt { "Round trip" } dd { (latency.as_deref().unwrap_or("no answer")) }
                    dt { "Says" } dd { (report.redis.message) }
                    dt { "Jobcell" } dd { (report.version) ", wasmtime " (report.wasmtime) }
                }
            }
        }
    }
}

fn handlers_card(site: &Site, report: &HealthReport) -> Markup {
    html! {
        section.card aria-labelledby="handlers-title" {
            header { h2 #handlers-title { "Handlers on this host" } a href=(site.links.to("/handlers")) { "All" } }
            @if report.handlers.is_empty() {
                div.empty { "This host runs none." }
            } @else {
                div.body {
                    dl.facts {
                        @for (name, handler) in &report.handlers {
                            dt { a href=(site.links.handler(name)) { (name) } }
                            dd { span.state.(handler.state) { (handler.state) } " " code { (handler.version) } }
                        }
                    }
                }
            }
        }
    }
}
