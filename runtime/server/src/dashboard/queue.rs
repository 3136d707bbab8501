//! One queue: its jobs state by state, and what can be done to all of it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jobcell_core::store::{Limits, RateLimit};
use jobcell_core::{JobState, QueueName};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use super::fields::Fields;
use super::login::see_other;
use super::queues::{Standing, standing};
use super::shell::Ask;
use super::shown::{Deed, Done, Fault, Page, Place, Shown, input};
use super::visit::{Look, Visit};
use super::{Site, links, shell, units};
use crate::api::page::{Items, Path, Query};
use crate::api::{Role, jobs};
use crate::view::JobView;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    state: String,
    cursor: String,
}

/// Jobs on one page.
const PAGE: u64 = 50;
/// Jobs that one push of a button puts back, makes due or removes.
pub(super) const BULK_MAX: u64 = 10_000;

pub(super) async fn show(
    State(site): State<Site>,
    visit: Look,
    Path(queue): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let queue = QueueName::new(links::name(queue))?;
    let caller = visit.caller()?;
    site.desk.known.check(&caller, &queue).await?;
    let standing = if visit.sees_all() { Some(standing(&site, &queue).await?) } else { None };
    if asked.state.is_empty() {
        // Chosen once, so that a page that is looked at stays what it is.
        let state = standing.as_ref().map_or(JobState::Active, first_to_see);
        return Ok(see_other(&site.links.state(queue.as_str(), state.as_str())));
    }
    let state: JobState = asked.state.parse().map_err(Fault::bad_request)?;
    let wanted = input(
        &json!({"state": state, "limit": PAGE, "cursor": Some(&asked.cursor).filter(|c| !c.is_empty())})
            .to_string(),
    )?;
    let listed = jobs::list(State(site.desk.clone()), caller, Path(queue.to_string()), Query(wanted)).await?;
    let shown = page(&site, &visit, &queue, state, &asked.cursor, standing.as_ref(), &listed.0)?;
    Ok(shown.into_response())
}

/// The state that most likely matters.
fn first_to_see(standing: &Standing) -> JobState {
    use JobState::{Active, Completed, Delayed, Failed, Prioritized, Waiting, WaitingChildren};
    let order = [Active, Waiting, Prioritized, Delayed, WaitingChildren, Failed, Completed];
    order.into_iter().find(|state| standing.counts.get(*state) > 0).unwrap_or(Waiting)
}

fn page(
    site: &Site,
    visit: &Visit,
    queue: &QueueName,
    state: JobState,
    cursor: &str,
    standing: Option<&Standing>,
    listed: &Items<JobView>,
) -> Page {
    let name = queue.as_str();
    let next = listed
        .next
        .as_ref()
        .map(|next| format!("{}&cursor={}", site.links.state(name, state.as_str()), links::part(next)));
    let sub = html! {
        span #standing data-live {
            @if let Some(standing) = standing { (told(standing)) }
        }
    };
    let crumbs = [(site.links.to("/queues"), "Queues")];
    let body = html! {
        (shell::heading(&crumbs, &html! { (name) }, &sub, &acts(site, visit, name, standing)))
        nav.tabs #tabs data-live aria-label="States" {
            @for each in JobState::ALL {
                @let count = standing.map(|standing| standing.counts.get(each));
                a.is-bad[each == JobState::Failed && count.is_some_and(|count| count > 0)]
                    href=(site.links.state(name, each.as_str())) aria-current=[(each == state).then_some("true")] {
                    (label(each)) @if let Some(count) = count { " " b { (units::count(count)) } }
                }
            }
        }
        div #jobs data-live { (table(site, visit, name, state, &listed.items)) }
        @if !cursor.is_empty() || next.is_some() {
            nav.pager aria-label="Pages of the list" {
                @if !cursor.is_empty() { a.button href=(site.links.state(name, state.as_str())) { "First page" } }
                @if let Some(next) = &next { a.button href=(next) { "Next " (PAGE) } }
            }
        }
    };
    Ok(Shown::new(Place::Queues, name, body).live(site.links.live([name])))
}

pub(super) fn label(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "Waiting",
        JobState::Prioritized => "Prioritized",
        JobState::Delayed => "Delayed",
        JobState::Active => "Running",
        JobState::Completed => "Completed",
        JobState::Failed => "Failed",
        JobState::WaitingChildren => "For children",
    }
}

fn told(standing: &Standing) -> Markup {
    let limits = standing.limits.as_ref().map(limits_in_words).filter(|words| !words.is_empty());
    html! {
        @if standing.is_paused { span.state.paused { "paused" } " no host starts a job of it" }
        @else if standing.oldest > 0 { "The oldest job waits since " (units::millis(standing.oldest)) }
        @else { "Nothing waits" }
        @if let Some(limits) = limits { " · " (limits) }
        @if !standing.is_configured { " · " "no [queues] entry of this host names it" }
    }
}

fn limits_in_words(limits: &Limits) -> String {
    let Limits { concurrency, rate, rests_for, paused: _ } = limits;
    let per = |per: &Duration| units::millis(u64::try_from(per.as_millis()).unwrap_or(u64::MAX));
    let words = [
        concurrency.map(|max| format!("at most {} at once", units::count(max))),
        rate.as_ref().map(|rate| format!("at most {} starts in {}", units::count(rate.max), per(&rate.per))),
        rests_for.as_ref().map(|rest| format!("rests for {}", per(rest))),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What can be done to the whole queue.
fn acts(site: &Site, visit: &Visit, name: &str, standing: Option<&Standing>) -> Markup {
    let act = |action: &str| site.links.queue_act(name, action);
    let Some(standing) = standing.filter(|_| visit.may(Role::Operator)) else {
        return html! { @if visit.may(Role::Operator) { a.button.main-act href=(format!("{}/add", site.links.queue(name))) { "Add a job" } } };
    };
    html! {
        a.button.main-act href=(format!("{}/add", site.links.queue(name))) { "Add a job" }
        span #pausing data-live {
            @if standing.is_paused { (shell::act(visit, &act("resume"), "Resume", "")) } @else { (shell::act(visit, &act("pause"), "Pause", "")) }
        }
        @if let Some(limits) = &standing.limits { (limits_form(visit, act("limits"), limits)) }
        (retry_form(visit, act("retry-all")))
        (promote_form(visit, act("promote-all")))
        @if visit.may(Role::Admin) { (clean_form(visit, act("clean"))) (drain_form(visit, act("drain"))) }
    }
}

fn limits_form(visit: &Visit, action: String, limits: &Limits) -> Markup {
    let rate = limits.rate.as_ref();
    let per = rate.map(|rate| rate.per.as_millis());
    let number = |id: &str, label: &str, value: Option<String>, hint: &str| {
        html! {
            div.field {
                label for=(id) { (label) }
                input type="number" #(id) name=(id) min="1" inputmode="numeric" value=[value];
                p.hint { (hint) }
            }
        }
    };
    Ask {
        id: "limits",
        label: "Limits",
        title: "Limits over all hosts".to_owned(),
        about: html! { p { "They hold from the next job on. An empty field lifts its limit." } },
        action,
        fields: html! {
            (number("concurrency", "Jobs at once", limits.concurrency.map(|max| max.to_string()), "Over every host together."))
            (number("max", "Starts", rate.map(|rate| rate.max.to_string()), "In each window below."))
            (number("per_ms", "Window in milliseconds", per.map(|per| per.to_string()), "60000 is a minute."))
        },
        does: "Set limits",
        is_danger: false,
        class: "",
    }
    .draw(visit)
}

fn retry_form(visit: &Visit, action: String) -> Markup {
    Ask {
        id: "retry",
        label: "Retry all failed",
        title: "Run every failed job again?".to_owned(),
        about: html! { p { "Up to " (units::count(BULK_MAX)) " jobs that failed go back among the waiting ones, the oldest first. Their effects may happen again." } },
        action,
        fields: html! {},
        does: "Retry all failed",
        is_danger: false,
        class: "",
    }
    .draw(visit)
}

fn promote_form(visit: &Visit, action: String) -> Markup {
    Ask {
        id: "promote",
        label: "Promote all delayed",
        title: "Run every delayed job now?".to_owned(),
        about: html! { p { "Up to " (units::count(BULK_MAX)) " delayed jobs become due, those that are due first first. Jobs that wait for their next attempt are among them." } },
        action,
        fields: html! {},
        does: "Promote all delayed",
        is_danger: false,
        class: "",
    }
    .draw(visit)
}

fn clean_form(visit: &Visit, action: String) -> Markup {
    let states = [
        JobState::Completed,
        JobState::Failed,
        JobState::Waiting,
        JobState::Prioritized,
        JobState::Delayed,
        JobState::Active,
    ];
    Ask {
        id: "clean",
        label: "Clean…",
        title: "Remove old jobs".to_owned(),
        about: html! { p { "They are gone with their results and logs. Running jobs go only when no host holds them." } },
        action,
        fields: html! {
            div.field {
                label for="clean-state" { "State" }
                select #clean-state name="state" { @for state in states { option value=(state.as_str()) { (label(state)) } } }
            }
            div.field {
                label for="clean-older" { "Older than, in minutes" }
                input #clean-older type="number" name="older" min="0" value="60" inputmode="numeric";
            }
            div.field {
                label for="clean-most" { "At most so many" }
                input #clean-most type="number" name="most" min="1" max=(BULK_MAX) value="1000" inputmode="numeric";
            }
        },
        does: "Remove them",
        is_danger: true,
        class: "danger",
    }
    .draw(visit)
}

fn drain_form(visit: &Visit, action: String) -> Markup {
    Ask {
        id: "drain",
        label: "Drain…",
        title: "Remove every job that waits?".to_owned(),
        about: html! { p { "Waiting and prioritized jobs are removed for good. Running and finished ones stay." } },
        action,
        fields: html! { label.check { input type="checkbox" name="delayed" value="yes"; span { "The delayed ones as well" } } },
        does: "Drain the queue",
        is_danger: true,
        class: "danger",
    }
    .draw(visit)
}

/// Jobs in one state, with boxes to choose some.
fn table(site: &Site, visit: &Visit, queue: &str, state: JobState, jobs: &[JobView]) -> Markup {
    if jobs.is_empty() {
        return html! { div.card { (nothing(queue, state)) } };
    }
    let may = visit.may(Role::Operator);
    html! {
        form.card method="post" action=(format!("{}/bulk", site.links.queue(queue))) data-ticks {
            (shell::proof(visit))
            input type="hidden" name="state" value=(state.as_str());
            div.scroll {
                table {
                    thead { tr {
                        @if may { th.tick scope="col" { input type="checkbox" data-all data-scripted hidden aria-label="Select all on this page"; } }
                        th scope="col" { "Job" }
                        @if state == JobState::Failed { th scope="col" { "Reason" } }
                        @if state == JobState::Active { th.wide scope="col" { "Host" } th.wide scope="col" { "Progress" } }
                        th.number.wide scope="col" { "Attempts" }
                        th.number scope="col" { (moment(state)) }
                        @if state == JobState::Completed { th.number.wide scope="col" { "Took" } }
                    } }
                    tbody { @for job in jobs { (row(site, visit, queue, state, job, may)) } }
                }
            }
            @if may { (bulk(state)) }
        }
    }
}

fn moment(state: JobState) -> &'static str {
    match state {
        JobState::Active => "Started",
        JobState::Delayed => "Due",
        JobState::Completed | JobState::Failed => "Ended",
        JobState::Waiting | JobState::Prioritized | JobState::WaitingChildren => "Added",
    }
}

fn row(site: &Site, visit: &Visit, queue: &str, state: JobState, job: &JobView, may: bool) -> Markup {
    let at = match state {
        JobState::Active => job.processed_on,
        JobState::Delayed => Some(job.timestamp.saturating_add(job.delay)),
        JobState::Completed | JobState::Failed => job.finished_on,
        JobState::Waiting | JobState::Prioritized | JobState::WaitingChildren => Some(job.timestamp),
    };
    let took = job.finished_on.zip(job.processed_on).map(|(end, begin)| end.saturating_sub(begin));
    let attempts = if state.is_finished() { job.attempts_made.max(1) } else { job.attempts_made };
    html! {
        tr {
            @if may { td.tick { input type="checkbox" name="id" value=(job.id) aria-label=(format!("Select job {}", job.id)); } }
            th scope="row" {
                a href=(site.links.job(queue, &job.id)) { (job.name) }
                div.muted.small { (job.id) @if job.priority > 0 { " · priority " (units::count(job.priority)) } }
            }
            @if state == JobState::Failed { td { span.reason { (job.failed_reason.as_deref().unwrap_or("no reason was given")) } } }
            @if state == JobState::Active {
                td.wide.muted { (job.processed_by.as_deref().unwrap_or("–")) }
                td.wide { @if let Some(progress) = &job.progress { code.break { (progress.get().chars().take(60).collect::<String>()) } } }
            }
            td.number.wide { (units::count(attempts)) @if job.stalled_counter > 0 { " " span.tag title="Times its host vanished" { "stalled " (job.stalled_counter) } } }
            td.number.muted { @if let Some(at) = at { (units::time(at, visit.now)) } }
            @if state == JobState::Completed { td.number.wide { @if let Some(took) = took { (units::millis(took)) } } }
        }
    }
}

fn bulk(state: JobState) -> Markup {
    let button = |action: &str, label: &str, is_danger: bool| {
        html! { button.danger[is_danger] type="submit" name="action" value=(action) data-needs-ticks { (label) } }
    };
    html! {
        div.bulk {
            span.told data-told="Select jobs to do something with them" { "Select jobs to do something with them" }
            @if state.is_finished() { (button("retry", "Retry selected", false)) }
            @if state == JobState::Delayed { (button("promote", "Promote selected", false)) }
            @if !state.is_finished() { (button("cancel", "Cancel selected", true)) }
            @if state != JobState::Active { (button("remove", "Remove selected", true)) }
        }
    }
}

fn nothing(queue: &str, state: JobState) -> Markup {
    let (strong, more) = match state {
        JobState::Waiting => ("Nothing waits", Some(format!("jobcell enqueue {queue} NAME '{{}}'"))),
        JobState::Delayed => {
            ("No job is delayed", Some(format!("jobcell enqueue {queue} NAME '{{}}' --delay 1h")))
        }
        JobState::Prioritized => (
            "No job waits with a priority",
            Some(format!("jobcell enqueue {queue} NAME '{{}}' --priority 1")),
        ),
        JobState::Active => ("No job runs", None),
        JobState::Completed => ("No completed job is kept", None),
        JobState::Failed => ("No job has failed", None),
        JobState::WaitingChildren => ("No job waits for its children", None),
    };
    html! {
        div.empty {
            strong { (strong) }
            @match (&more, state) {
                (Some(command), _) => { "Add one here, or with the command line:" br; pre { (command) } }
                (None, JobState::Active) => { "They stand here while a host works on them." }
                (None, JobState::Completed) => { "How many stay is said by keep-completed in the configuration, or by each job." }
                (None, JobState::Failed) => { "Those that use up their attempts stand here with their reasons." }
                (None, _) => { "Flows put their parents here: " code { "jobcell flow add" } }
            }
        }
    }
}

/// Does something to the whole queue.
pub(super) async fn act(
    State(site): State<Site>,
    visit: Look,
    Path((queue, action)): Path<(String, String)>,
    fields: Fields,
) -> Deed {
    let caller = visit.caller()?;
    let queue = QueueName::new(links::name(queue))?;
    let role = if matches!(action.as_str(), "clean" | "drain") { Role::Admin } else { Role::Operator };
    caller.must_be(role)?;
    caller.must_see_all()?;
    site.desk.known.check(&caller, &queue).await?;
    let (store, now) = (&site.desk.store, site.desk.clock.now());
    let name = queue.as_str();
    let jobs = |count: u64| units::of(count, "job", "jobs");
    let removed = |count: u64, told: String| Done {
        after: Some(json!({"removed": count})),
        ..Done::new(format!("queue {action}"), name, told)
    };
    let done = match action.as_str() {
        "pause" => {
            let was = store.is_paused(&queue).await?;
            store.pause(&queue).await?;
            Done {
                before: Some(json!({"paused": was})),
                after: Some(json!({"paused": true})),
                ..Done::new("queue pause", name, format!("{name} is paused: no host starts a job of it."))
            }
        }
        "resume" => {
            let was = store.is_paused(&queue).await?;
            store.resume(&queue).await?;
            Done {
                before: Some(json!({"paused": was})),
                after: Some(json!({"paused": false})),
                ..Done::new("queue resume", name, format!("{name} gives out jobs again."))
            }
        }
        "drain" => {
            let count = store.drain(&queue, fields.is_ticked("delayed")).await?;
            removed(count, format!("{} removed from {name}.", jobs(count)))
        }
        "clean" => {
            let state: JobState = fields.text("state").parse().map_err(Fault::bad_request)?;
            let older = fields.number("older", "Older than")?.unwrap_or(0).saturating_mul(60_000);
            let most = fields.number("most", "At most so many")?.unwrap_or(1000).clamp(1, BULK_MAX);
            let count = store.clean(&queue, state, now.saturating_sub(older), most).await?.len() as u64;
            removed(count, format!("{} ({state}) removed from {name}.", jobs(count)))
        }
        "retry-all" => {
            let count = store.retry_all(&queue, JobState::Failed, now, BULK_MAX).await?;
            Done {
                after: Some(json!({"retried": count})),
                ..Done::new("queue retry", name, format!("{} run again.", jobs(count)))
            }
        }
        "promote-all" => {
            let count = store.promote_all(&queue, BULK_MAX).await?;
            Done {
                after: Some(json!({"promoted": count})),
                ..Done::new("queue promote", name, format!("{} made due.", jobs(count)))
            }
        }
        "limits" => set_limits(&site, &queue, &fields).await?,
        other => return Err(Fault::not_found(format!("nothing called {other:?} can be done to a queue"))),
    };
    let back = site.links.queue(name);
    Ok(done.then(back))
}

async fn set_limits(site: &Site, queue: &QueueName, fields: &Fields) -> Result<Done, Fault> {
    let store = &site.desk.store;
    let concurrency = fields.number("concurrency", "Jobs at once")?;
    let rate = match (fields.number("max", "Starts")?, fields.number("per_ms", "Window in milliseconds")?) {
        (None, None) => None,
        (Some(max), Some(per)) => Some(RateLimit { max, per: Duration::from_millis(per) }),
        _ => {
            return Err(Fault::bad_request(
                "a rate has starts and a window: fill in both, or neither to lift it",
            ));
        }
    };
    let before = store.limits(queue).await?;
    store.set_concurrency(queue, concurrency).await?;
    store.set_rate(queue, rate).await?;
    let after = store.limits(queue).await?;
    let words = limits_in_words(&after);
    let told =
        if words.is_empty() { format!("{queue} has no limits.") } else { format!("{queue}: {words}.") };
    let state = |limits: &Limits| serde_json::to_value(limits).ok();
    Ok(Done {
        before: state(&before),
        after: state(&after),
        ..Done::new("queue limits", queue.as_str(), told)
    })
}
