//! The form that adds a job.

use std::fmt::Write as _;

use axum::extract::State;
use jobcell_core::QueueName;
use maud::{Markup, html};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fields::Fields;
use super::shown::{Deed, Done, Fault, Page, Place, Shown, input};
use super::visit::Look;
use super::{Site, links, shell};
use crate::api::body::OneOrMany;
use crate::api::carried::Carried;
use crate::api::page::{Path, Query};
use crate::api::{Role, adding};

pub(super) async fn show(State(site): State<Site>, visit: Look, Path(queue): Path<String>) -> Page {
    let queue = QueueName::new(links::name(queue))?;
    let caller = visit.caller()?;
    caller.must_be(Role::Operator)?;
    let name = queue.as_str();
    let crumbs = [(site.links.to("/queues"), "Queues"), (site.links.queue(name), name)];
    let body = html! {
        (shell::heading(&crumbs, &html! { "Add a job" }, &html! { "to the queue " (name) }, &html! {}))
        form.card method="post" action=(format!("{}/add", site.links.queue(name))) {
            (shell::proof(&visit))
            div.body.fields {
                div.field.whole {
                    label for="name" { "Name" }
                    input #name type="text" name="name" required autocomplete="off" spellcheck="false";
                    p.hint { "The kind of job. Handlers are chosen by queue and name." }
                }
                div.field.whole {
                    label for="data" { "Payload" }
                    textarea #data name="data" spellcheck="false" { "{}" }
                    p.hint { "Any JSON, stored as it is written." }
                }
                (number("delay", "Delay in milliseconds", "0 starts at once."))
                (number("attempts", "Attempts", "How often it is tried in all. Empty is once."))
                details.more.whole {
                    summary { "More options" }
                    div.fields {
                        (number("priority", "Priority", "1 is the highest; empty is none, which runs first."))
                        (number("backoff", "Backoff in milliseconds", "Between attempts; doubles each time if exponential."))
                        div.field {
                            label for="kind" { "Backoff grows" }
                            select #kind name="kind" { option value="fixed" { "not" } option value="exponential" { "exponentially" } }
                        }
                        (number("timeout", "Timeout in milliseconds", "Of one attempt; the handler's deadline still holds."))
                        (text("id", "Id", "A job with this id is not added twice. No number, no colon."))
                        (text("tenant", "Tenant", "Whose job it is."))
                        (text("dedup", "Deduplication id", "Jobs with the same one are one until it ends."))
                        label.check { input type="checkbox" name="lifo" value="yes"; span { "In front of the queue" } }
                    }
                }
                div.acts.whole {
                    button.main-act type="submit" { "Add the job" }
                    a.button href=(site.links.queue(name)) { "Cancel" }
                }
            }
        }
    };
    Ok(Shown::new(Place::Queues, format!("Add a job to {name}"), body))
}

fn number(id: &str, label: &str, hint: &str) -> Markup {
    html! { div.field { label for=(id) { (label) } input #(id) type="number" name=(id) min="0" inputmode="numeric"; p.hint { (hint) } } }
}

fn text(id: &str, label: &str, hint: &str) -> Markup {
    html! { div.field { label for=(id) { (label) } input #(id) type="text" name=(id) autocomplete="off" spellcheck="false"; p.hint { (hint) } } }
}

/// A payload that was typed: JSON as it is, `{}` for nothing.
pub(super) fn payload(fields: &Fields) -> Result<Box<RawValue>, Fault> {
    let text = fields.given("data").unwrap_or("{}");
    serde_json::from_str(text).map_err(|error| {
        Fault::bad_request(format!("Payload: this is not JSON: {error}; go back and mend it"))
    })
}

/// The options of a job that were filled in, as the API takes them.
pub(super) fn options(fields: &Fields) -> Result<Map<String, Value>, Fault> {
    let mut opts = Map::new();
    let numbers =
        [("delay", "Delay"), ("attempts", "Attempts"), ("priority", "Priority"), ("timeout", "Timeout")];
    for (name, label) in numbers {
        if let Some(number) = fields.number(name, label)? {
            opts.insert(name.to_owned(), number.into());
        }
    }
    if let Some(delay) = fields.number("backoff", "Backoff")? {
        let kind = if fields.text("kind") == "exponential" { "exponential" } else { "fixed" };
        opts.insert("backoff".to_owned(), serde_json::json!({"type": kind, "delay": delay}));
    }
    for (name, option) in [("id", "jobId"), ("tenant", "tenant")] {
        if let Some(text) = fields.given(name) {
            opts.insert(option.to_owned(), text.into());
        }
    }
    if let Some(id) = fields.given("dedup") {
        opts.insert("deduplication".to_owned(), serde_json::json!({"id": id}));
    }
    if fields.is_ticked("lifo") {
        opts.insert("lifo".to_owned(), true.into());
    }
    Ok(opts)
}

/// Adds the job, by the rules of the API.
pub(super) async fn add(
    State(site): State<Site>,
    visit: Look,
    Path(queue): Path<String>,
    fields: Fields,
) -> Deed {
    let name = links::name(queue);
    let kind = fields
        .given("name")
        .ok_or_else(|| Fault::bad_request("Name: it is empty; handlers are chosen by it"))?;
    let (data, opts) = (payload(&fields)?, options(&fields)?);
    // Put together as text, so that the payload stays as it was written.
    let mut json = format!("{{\"name\":{},\"data\":{}", Value::from(kind), data.get());
    let _ = write!(json, ",\"opts\":{}}}", Value::from(opts));
    let given = OneOrMany::One(input(&json)?);
    let answer = adding::add(
        State(site.desk.clone()),
        visit.caller()?,
        Path(name.clone()),
        Query(input("{}")?),
        Carried(None),
        given,
    )
    .await?;
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap_or_default();
    let added: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = added["id"].as_str().unwrap_or_default().to_owned();
    let told = if added["added"] == false {
        format!("Job {id} was there already; nothing was added.")
    } else {
        format!("Job {id} is added.")
    };
    let to = if id.is_empty() { site.links.queue(&name) } else { site.links.job(&name, &id) };
    Ok(Done::new("job add", format!("{name}/{id}"), told).then(to))
}
