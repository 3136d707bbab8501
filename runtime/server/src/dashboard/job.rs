//! One job: what it was given, what became of it, attempt by attempt, and what can be done to it.

use axum::extract::State;
use jobcell_core::JobState;
use jobcell_core::store::{AttemptReceipt, Page as Slice};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::shell::Ask;
use super::shown::{Deed, Done, Fault, Page, Place, Shown, where_kept};
use super::visit::{Look, Visit};
use super::{Site, bulk, json as pretty, links, queue, shell, units};
use crate::api::page::Path;
use crate::api::{Role, jobs};
use crate::tree::{self, Tree};
use crate::view::JobView;

/// Lines of a log that a page begins with.
const LOG_LINES: u64 = 1000;
/// Levels and children of a flow that are shown.
const FLOW: (u64, u64) = (6, 25);

pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Path((name, id)): Path<(String, String)>,
) -> Page {
    let (name, id) = (links::name(name), links::name(id));
    let caller = visit.caller()?;
    let view = jobs::get(State(site.desk.clone()), caller.clone(), Path((name.clone(), id.clone()))).await?.0;
    let (queue, job) = jobs::seen(&site.desk, &caller, &name, &id).await?;
    let store = &site.desk.store;
    let lines = Slice::first(LOG_LINES);
    let (receipts, log) =
        tokio::try_join!(store.receipts(&queue, &job.id), store.logs(&queue, &job.id, lines))?;
    let flow = if visit.sees_all() { flow(&site, &queue, &job.id).await? } else { None };
    let state: Option<JobState> = view.state.and_then(|state| state.parse().ok());
    let crumbs = [(site.links.to("/queues"), "Queues"), (site.links.queue(&name), name.as_str())];
    let sub = html! { "Job " code { (view.id) } };
    let title = html! { (view.name) };
    let body = html! {
        (shell::heading(&crumbs, &title, &sub, &html! { (acts(&site, &visit, &view, state)) }))
        div.aside {
            div.stack {
                div.stack #job data-live {
                    @if let Some(reason) = &view.failed_reason { (failure(reason, &view.stacktrace, state)) }
                    (attempts(&site, &visit, &view, &receipts, state))
                    @if let Some(result) = &view.returnvalue { (value("Result", "result", result.get())) }
                    @if let Some(progress) = &view.progress { (value("Progress", "progress", progress.get())) }
                }
                (value("Payload", "payload", view.data.get()))
                (logs(&site, &view, &log, state))
                div #flow data-live { @if let Some(tree) = &flow { (flow_card(&site, tree, &view.id)) } }
            }
            div.stack {
                div #facts data-live { (facts(&site, &visit, &view, state)) }
                (value("Options", "options", view.opts.get()))
            }
        }
    };
    Ok(Shown::new(Place::Queues, format!("{} {}", view.name, view.id), body)
        .live(site.links.live([name.as_str()])))
}

/// The whole flow that the job is at the top of; none when nothing is below it.
async fn flow(
    site: &Site,
    queue: &jobcell_core::QueueName,
    id: &jobcell_core::JobId,
) -> Result<Option<Tree>, Fault> {
    let store = site.desk.store.as_ref();
    let Some(below) = where_kept(store.children(queue, id, 1).await)? else { return Ok(None) };
    let has_any = !(below.pending.is_empty()
        && below.completed.is_empty()
        && below.ignored.is_empty()
        && below.failed.is_empty());
    if !has_any {
        return Ok(None);
    }
    let (depth, width) = FLOW;
    Ok(Some(tree::tree(store, &site.desk.prefix, (queue.clone(), id.clone()), depth, width).await?))
}

fn value(title: &str, id: &str, text: &str) -> Markup {
    html! {
        section.card aria-labelledby=(format!("{id}-title")) {
            header {
                h2 #(format!("{id}-title")) { (title) }
                button.plain type="button" data-copy=(id) data-scripted hidden { "Copy" }
            }
            (pretty::block(id, text))
        }
    }
}

fn failure(reason: &str, traces: &[String], state: Option<JobState>) -> Markup {
    let title = if state == Some(JobState::Failed) { "Why it failed" } else { "Why its last attempt failed" };
    let traces: Vec<_> =
        traces.iter().filter(|trace| !trace.is_empty() && trace.as_str() != reason).collect();
    html! {
        section.card aria-labelledby="failure-title" {
            header { h2.bad #failure-title { (title) } }
            pre.code.is-bad tabindex="0" { (reason) }
            @if let Some((newest, older)) = traces.split_last() {
                div.body {
                    details.more open { summary { "Stack of the last attempt" } pre.code tabindex="0" { (newest) } }
                    @if !older.is_empty() {
                        details.more { summary { (units::of(older.len() as u64, "earlier stack", "earlier stacks")) }
                            @for trace in older.iter().rev() { pre.code tabindex="0" { (trace) } } }
                    }
                }
            }
        }
    }
}

/// The job's way: made, each attempt that ended, where it is now.
fn attempts(
    site: &Site,
    visit: &Visit,
    view: &JobView,
    receipts: &[AttemptReceipt],
    state: Option<JobState>,
) -> Markup {
    let is_over = state.is_some_and(JobState::is_finished);
    html! {
        section.card aria-labelledby="attempts-title" {
            header {
                h2 #attempts-title { "Attempts" }
                p { (units::count(view.attempts_made)) " of " (attempts_max(view)) " used"
                    @if view.stalled_counter > 0 { " · its host vanished " (units::of(view.stalled_counter, "time", "times")) } }
            }
            div.body {
                ol.times {
                    li { div.row { b { "Added" } span.muted { (units::time(view.timestamp, visit.now)) } } }
                    @for receipt in receipts { (attempt(site, visit, receipt)) }
                    @if !is_over { li.is-on { div.row {
                        b { (state.map_or("In no state", queue::label)) }
                        @if state == Some(JobState::Active) { @if let Some(at) = view.processed_on { span.muted { "started " (units::time(at, visit.now)) } } }
                        @if state == Some(JobState::Delayed) { span.muted { "due " (units::time(view.timestamp.saturating_add(view.delay), visit.now)) } }
                    } } }
                    @if is_over && receipts.is_empty() { li.is-good[state == Some(JobState::Completed)].is-bad[state == Some(JobState::Failed)] { div.row {
                        b { (state.map_or("Ended", queue::label)) }
                        @if let Some(at) = view.finished_on { span.muted { (units::time(at, visit.now)) } }
                    } } }
                }
            }
        }
    }
}

fn attempts_max(view: &JobView) -> u64 {
    let opts: Value = serde_json::from_str(view.opts.get()).unwrap_or_default();
    opts["attempts"].as_u64().unwrap_or(1).max(1)
}

fn attempt(site: &Site, visit: &Visit, attempt: &AttemptReceipt) -> Markup {
    let AttemptReceipt { attempt: number, at, handler, version, outcome, receipt, .. } = attempt;
    let is_good = outcome == "completed" || outcome == "done";
    html! {
        li.is-good[is_good].is-bad[!is_good] {
            div.row {
                b { "Attempt " (number) } span.state.(if is_good { "completed" } else { "failed" }) { (outcome) }
                span.muted { (units::time(*at, visit.now)) }
            }
            div.row.small {
                span { "on " a href=(site.links.handler(handler)) { (handler) } " " code title=[attempt.digest.as_deref()] { (version) } }
                @if receipt.wall_us > 0 { span { "took " (units::micros(receipt.wall_us)) } }
                @if receipt.cpu_us > 0 { span.muted { "computed " (units::micros(receipt.cpu_us)) } }
                @if receipt.memory_peak_bytes > 0 { span.muted { "held " (units::bytes(receipt.memory_peak_bytes)) } }
                @if !receipt.host_calls.is_empty() {
                    span.muted { (units::of(receipt.host_calls.total(), "host call", "host calls")) }
                }
                @if receipt.cached {
                    span { "not run: the result of " code { (receipt.computed_by.as_deref().unwrap_or("another job")) } ", which had the same content" }
                }
                @if let Some(cause) = receipt.stopped_by { span.bad { "stopped: " (cause.as_str()) } }
            }
            (cost(receipt))
        }
    }
}

/// What an attempt cost, in detail.
fn cost(receipt: &jobcell_core::Receipt) -> Markup {
    let destinations: Vec<_> = receipt.destinations.iter().collect();
    html! {
        @for near in &receipt.near {
            div.row.small.warn { "close to its limit " code { (near.name) } ": " (units::count(near.used)) " of " (units::count(near.of)) }
        }
        @if !receipt.host_calls.is_empty() || !destinations.is_empty() || receipt.start_us > 0 {
            details {
                summary.small.muted { "Receipt" }
                dl.facts.small {
                    @if receipt.start_us > 0 { dt { "Cell made in" } dd { (units::micros(receipt.start_us)) } }
                    @for (call, count) in receipt.host_calls.iter() { dt { (call.as_str()) } dd { (units::of(u64::from(count), "call", "calls")) } }
                    @for to in &destinations {
                        dt { (to.host) }
                        dd { (units::of(u64::from(to.requests), "request", "requests")) ", " (units::bytes(to.sent)) " sent, " (units::bytes(to.received)) " received" }
                    }
                    @if receipt.log_lines_dropped > 0 { dt { "Log lines dropped" } dd { (units::count(receipt.log_lines_dropped)) } }
                }
            }
        }
    }
}

fn logs(site: &Site, view: &JobView, lines: &[String], state: Option<JobState>) -> Markup {
    let is_open = state.is_some_and(|state| !state.is_finished());
    let follow =
        is_open.then(|| format!("{}/follow?from={}", site.links.job(&view.queue, &view.id), lines.len()));
    let is_cut = lines.len() as u64 == LOG_LINES;
    html! {
        section.card aria-labelledby="log-title" {
            header { h2 #log-title { "Log" } @if !lines.is_empty() { p { (units::of(lines.len() as u64, "line", "lines")) } } }
            div.log-box tabindex="0" role="log" aria-labelledby="log-title" {
                @if lines.is_empty() {
                    div.empty #no-log { strong { "Nothing logged" } "What the handler prints or logs stands here" @if is_open { " as it comes" } "." }
                }
                ol.log data-log=[follow] { @for line in lines { li { (line) } } }
            }
            @if is_cut { footer { "The first " (units::count(LOG_LINES)) " lines. All of them: " code { "jobcell job logs " (view.queue) " " (view.id) } } }
        }
    }
}

fn flow_card(site: &Site, tree: &Tree, current: &str) -> Markup {
    html! {
        section.card aria-labelledby="flow-title" {
            header { h2 #flow-title { "Flow" } }
            div.body.tree { ul { (branch(site, tree, current)) } }
        }
    }
}

fn branch(site: &Site, tree: &Tree, current: &str) -> Markup {
    let name = tree.name.as_deref();
    html! {
        li {
            div.row {
                @match (&tree.queue, name) {
                    (Some(queue), Some(name)) => { a href=(site.links.job(queue, &tree.id)) aria-current=[(tree.id == current).then_some("true")] { (name) } span.muted.small { (queue) " · " (tree.id) } }
                    _ => { span.muted { (tree.id) " is gone or elsewhere" } }
                }
                @if let Some(state) = tree.state { span.state.(state) { (state) } }
                @if let Some(reason) = &tree.failed_reason { span.small.bad { (reason.chars().take(120).collect::<String>()) } }
            }
            @if !tree.children.is_empty() { ul { @for child in &tree.children { (branch(site, child, "")) } } }
            @if tree.more { span.muted.small { "… there are more below" } }
        }
    }
}

fn facts(site: &Site, visit: &Visit, view: &JobView, state: Option<JobState>) -> Markup {
    let opts: Value = serde_json::from_str(view.opts.get()).unwrap_or_default();
    let parent = view.parent_key.as_deref().map(|key| (key, tree::place_of(&site.desk.prefix, key)));
    let time = |label: &str, at: Option<u64>| html! { @if let Some(at) = at { dt { (label) } dd { (units::time(at, visit.now)) div.muted.small { (units::utc(at)) } } } };
    html! {
        section.card aria-labelledby="facts-title" {
            header {
                h2 #facts-title { "State" }
                @match state { Some(state) => { span.state.(state.as_str()) { (queue::label(state)) } } None => { span.state { "none" } } }
            }
            div.body { dl.facts {
                dt { "Queue" } dd { a href=(site.links.queue(&view.queue)) { (view.queue) } }
                (time("Added", Some(view.timestamp)))
                (time("Started", view.processed_on))
                (time("Ended", view.finished_on))
                @if view.delay > 0 { dt { "Delay" } dd { (units::millis(view.delay)) } }
                @if view.priority > 0 { dt { "Priority" } dd { (units::count(view.priority)) } }
                @if let Some(host) = &view.processed_by { dt { "Host" } dd { (host) } }
                dt { "Starts" } dd { (units::count(view.attempts_started)) }
                @if let Some(tenant) = opts["tenant"].as_str() { dt { "Tenant" } dd { (tenant) } }
                @if let Some(id) = &view.deduplication_id { dt { "Deduplication" } dd { (id) } }
                @if let Some((key, place)) = &parent {
                    dt { "Parent" }
                    dd { @match place { Some((queue, id)) => { a href=(site.links.job(queue.as_str(), id.as_str())) { (queue) " " (id) } } None => { (key) } } }
                }
            } }
        }
    }
}

/// What can be done to the job as it is now.
fn acts(site: &Site, visit: &Visit, view: &JobView, state: Option<JobState>) -> Markup {
    if !visit.may(Role::Operator) {
        return html! {};
    }
    let act = |action: &str| site.links.job_act(&view.queue, &view.id, action);
    let is_finished = state.is_some_and(JobState::is_finished);
    html! {
        span.acts #acts data-live {
            @if is_finished { (shell::act(visit, &act("retry"), "Retry", "main-act")) }
            @if state == Some(JobState::Failed) && view.attempts_made > 0 { (shell::act(visit, &act("retry-anew"), "Retry with all attempts", "")) }
            @if state == Some(JobState::Delayed) { (shell::act(visit, &act("promote"), "Promote", "main-act")) }
            @if state.is_some() && !is_finished { (shell::act(visit, &act("cancel"), "Cancel", "danger")) }
        }
        (Ask {
            id: "remove",
            label: "Remove…",
            title: "Remove this job?".to_owned(),
            about: html! { p { "It is gone with its result and its log. A job that runs is not removed: cancel it first." } },
            action: act("remove"),
            fields: html! {
                @if visit.sees_all() { label.check { input type="checkbox" name="tree" value="yes"; span { "All jobs below it in its flow as well" } } }
            },
            does: "Remove it",
            is_danger: true,
            class: "danger",
        }.draw(visit))
    }
}

/// Does something to the job.
pub(super) async fn act(
    State(site): State<Site>,
    visit: Look,
    Path((name, id, action)): Path<(String, String, String)>,
    fields: super::fields::Fields,
) -> Deed {
    let caller = visit.caller()?;
    caller.must_be(Role::Operator)?;
    let (name, id) = (links::name(name), links::name(id));
    let (queue, job) = jobs::seen(&site.desk, &caller, &name, &id).await?;
    let before = site.desk.store.state(&queue, &job.id).await?.map(JobState::as_str);
    let deed = if action == "remove" && fields.is_ticked("tree") { "remove-tree" } else { action.as_str() };
    bulk::one(&site, &caller, &queue, &id, deed).await?;
    let after = site.desk.store.state(&queue, &job.id).await?.map(JobState::as_str);
    let (told, to) = match action.as_str() {
        "remove" => (format!("Job {id} is removed."), site.links.queue(&name)),
        "cancel" if after == Some("active") => (
            format!("Job {id} is being cancelled: its handler is told, and ended after its grace."),
            site.links.job(&name, &id),
        ),
        "cancel" => (format!("Job {id} is cancelled."), site.links.job(&name, &id)),
        "promote" => (format!("Job {id} is due now."), site.links.job(&name, &id)),
        _ => (format!("Job {id} waits to run again."), site.links.job(&name, &id)),
    };
    let done = Done::new(format!("job {deed}"), format!("{name}/{id}"), told).then(to);
    Ok(Done { before: Some(json!({"state": before})), after: Some(json!({"state": after})), ..done })
}
