//! Schedules: rules that make jobs again and again, of all queues.

use axum::extract::State;
use futures::future::try_join_all;
use jobcell_core::QueueName;
use jobcell_core::store::Page as Slice;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::shell::Ask;
use super::shown::{Deed, Done, Fault, Page, Place, Shown, input, where_kept};
use super::visit::{Look, Visit};
use super::{Site, make, shell, units};
use crate::api::body::Body;
use crate::api::changes::Changes;
use crate::api::page::Path;
use crate::api::{Role, schedulers};
use crate::view::SchedulerView;

/// Schedules of one queue that are listed.
const SHOWN_MAX: u64 = 200;

pub(super) async fn show(State(site): State<Site>, visit: Look) -> Page {
    visit.caller()?.must_see_all()?;
    let queues = site.desk.known.all().await?;
    let lists = try_join_all(queues.iter().map(|queue| of_queue(&site, queue))).await?;
    let mut schedules: Vec<SchedulerView> = lists.into_iter().flatten().collect();
    schedules.sort_by_key(|schedule| (schedule.next.is_none(), schedule.next));
    let sub =
        html! { (units::of(schedules.len() as u64, "rule makes", "rules make")) " jobs again and again" };
    let add = if visit.may(Role::Operator) {
        form(&site, &visit, &queues.iter().collect::<Vec<_>>())
    } else {
        html! {}
    };
    let body = html! {
        (shell::heading(&[], &html! { "Schedules" }, &sub, &html! {}))
        div.stack {
            div #schedules data-live { (table(&site, &visit, &schedules)) }
            (add)
        }
    };
    Ok(Shown::new(Place::Schedules, "Schedules", body))
}

async fn of_queue(site: &Site, queue: &QueueName) -> Result<Vec<SchedulerView>, Fault> {
    let found =
        where_kept(site.desk.store.schedulers(queue, Slice::first(SHOWN_MAX)).await)?.unwrap_or_default();
    let view = |scheduler| SchedulerView::new(scheduler, queue).redacted(&site.desk.redaction);
    Ok(found.iter().map(view).collect())
}

fn table(site: &Site, visit: &Visit, schedules: &[SchedulerView]) -> Markup {
    html! {
        section.card aria-label="Schedules" {
            @if schedules.is_empty() {
                div.empty {
                    strong { "Nothing is scheduled" }
                    "Fill in the form below, or use the command line:"
                    br;
                    pre { "jobcell schedule set mail nightly --cron '0 3 * * *' --name digest" }
                }
            } @else {
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "Schedule" } th scope="col" { "When" } th.number scope="col" { "Next" }
                        th.number.wide scope="col" { "Made" } th.wide scope="col" { "Job" }
                        @if visit.may(Role::Operator) { th scope="col" { span.unseen { "Actions" } } }
                    } }
                    tbody { @for (at, schedule) in schedules.iter().enumerate() { (row(site, visit, at, schedule)) } }
                } }
            }
        }
    }
}

fn row(site: &Site, visit: &Visit, at: usize, schedule: &SchedulerView) -> Markup {
    let SchedulerView { id, queue, name, pattern, tz, every, next, iteration_count, limit, .. } = schedule;
    html! {
        tr {
            th scope="row" { (id) div.muted.small { a href=(site.links.queue(queue)) { (queue) } } }
            td {
                @if let Some(pattern) = pattern { code { (pattern) } @if let Some(tz) = tz { div.muted.small { (tz) } } }
                @else if let Some(every) = every { "every " (units::millis(*every)) }
            }
            td.number { @if let Some(next) = next { (units::time(*next, visit.now)) } @else { span.muted { "over" } } }
            td.number.wide { (units::count(*iteration_count)) @if let Some(limit) = limit { span.muted { " of " (units::count(*limit)) } } }
            td.wide { (name) }
            @if visit.may(Role::Operator) { td.number { (remove_form(site, visit, at, queue, id)) } }
        }
    }
}

fn remove_form(site: &Site, visit: &Visit, at: usize, queue: &str, id: &str) -> Markup {
    Ask {
        id: &format!("remove-{at}"),
        label: "Remove…",
        title: format!("Remove {id}?"),
        about: html! { p { "Its pending job goes with it. One that is due already or runs goes on." } },
        action: site.links.to("/schedules/remove"),
        fields: html! { input type="hidden" name="queue" value=(queue); input type="hidden" name="id" value=(id); },
        does: "Remove it",
        is_danger: true,
        class: "plain danger",
    }
    .draw(visit)
}

fn form(site: &Site, visit: &Visit, queues: &[&QueueName]) -> Markup {
    let text = |id: &str, label: &str, hint: Markup, is_required: bool| {
        html! { div.field { label for=(id) { (label) } input #(id) type="text" name=(id) required[is_required] autocomplete="off" spellcheck="false"; p.hint { (hint) } } }
    };
    html! {
        section.card aria-labelledby="new-title" {
            header { h2 #new-title { "Add or change a schedule" } p { "One with the same id in the same queue is changed." } }
            form method="post" action=(site.links.to("/schedules")) {
                (shell::proof(visit))
                div.body.fields {
                    div.field {
                        label for="queue" { "Queue" }
                        input #queue type="text" name="queue" list="queues-known" required autocomplete="off" spellcheck="false";
                        datalist #queues-known { @for queue in queues { option value=(queue.as_str()) {} } }
                        p.hint { "Where its jobs go." }
                    }
                    (text("id", "Id", html! { "Names it within the queue, without a colon." }, true))
                    (text("pattern", "Cron pattern", html! { "Five fields, or six with seconds first: " code { "0 3 * * *" } }, false))
                    (text("tz", "Time zone of the pattern", html! { "Such as " code { "Europe/Berlin" } ". Empty is UTC." }, false))
                    div.field {
                        label for="every" { "Or every so many milliseconds" }
                        input #every type="number" name="every" min="1" inputmode="numeric";
                        p.hint { "Leave the pattern empty then." }
                    }
                    div.field {
                        label for="limit" { "At most so many jobs" }
                        input #limit type="number" name="limit" min="1" inputmode="numeric";
                        p.hint { "Empty is without end." }
                    }
                    (text("name", "Name of its jobs", html! { "Empty is the id." }, false))
                    div.field.whole { label for="data" { "Payload of its jobs" } textarea #data name="data" spellcheck="false" { "{}" } }
                    div.acts.whole { button.main-act type="submit" { "Set the schedule" } }
                }
            }
        }
    }
}

/// Makes or changes one, by the rules of the API.
pub(super) async fn set(State(site): State<Site>, visit: Look, fields: Fields) -> Deed {
    let (queue, id) = (fields.text("queue").trim().to_owned(), fields.text("id").trim().to_owned());
    let mut rule = Map::new();
    for (field, label) in [("every", "Every"), ("limit", "At most so many jobs")] {
        if let Some(number) = fields.number(field, label)? {
            rule.insert(field.to_owned(), number.into());
        }
    }
    for field in ["pattern", "tz", "name"] {
        if let Some(text) = fields.given(field) {
            rule.insert(field.to_owned(), text.into());
        }
    }
    let data = make::payload(&fields)?;
    let mut json = Value::from(rule).to_string();
    json.pop();
    let comma = if json.len() > 1 { "," } else { "" };
    let json = format!("{json}{comma}\"data\":{}}}", data.get());
    let place = Path((queue.clone(), id.clone()));
    // What it answers is shown by the list.
    let Changes { before, after, answer: _ } =
        schedulers::set(State(site.desk.clone()), visit.caller()?, place, Body(input(&json)?)).await?;
    let told = format!("Schedule {id} of {queue} is set.");
    let done = Done::new("schedule set", format!("{queue}/{id}"), told).then(site.links.to("/schedules"));
    Ok(Done { before, after, ..done })
}

pub(super) async fn remove(State(site): State<Site>, visit: Look, fields: Fields) -> Deed {
    let (queue, id) = (fields.text("queue").to_owned(), fields.text("id").to_owned());
    let place = Path((queue.clone(), id.clone()));
    let Changes { before, after, answer: _ } =
        schedulers::remove(State(site.desk.clone()), visit.caller()?, place).await?;
    let told = format!("Schedule {id} of {queue} is removed.");
    let done = Done::new("schedule remove", format!("{queue}/{id}"), told).then(site.links.to("/schedules"));
    Ok(Done { before, after, ..done })
}
