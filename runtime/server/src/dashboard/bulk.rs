//! Things that are done to chosen jobs of a list.

use axum::extract::State;
use futures::StreamExt;
use futures::stream::iter;
use jobcell_core::store::{Cancelled, Removed};
use jobcell_core::{JobId, JobState, QueueName};
use serde_json::json;

use super::fields::Fields;
use super::shown::{Deed, Done, Fault};
use super::visit::Look;
use super::{Site, links, units};
use crate::api::Role;
use crate::api::access::Caller;
use crate::api::page::Path;
use crate::problem::Problem;

/// Jobs that are worked on at once.
const AT_ONCE: usize = 8;
/// Jobs that can be chosen at once: those of a page.
const CHOSEN_MAX: usize = 1000;

/// Does one thing to each job that was chosen. Those that are no longer as they were shown are left, and counted.
pub(super) async fn act(
    State(site): State<Site>,
    visit: Look,
    Path(queue): Path<String>,
    fields: Fields,
) -> Deed {
    let caller = visit.caller()?;
    caller.must_be(Role::Operator)?;
    let queue = QueueName::new(links::name(queue))?;
    let action = fields.text("action").to_owned();
    let word = match action.as_str() {
        "retry" => "retried",
        "promote" => "made due",
        "remove" => "removed",
        "cancel" => "cancelled",
        other => return Err(Fault::bad_request(format!("nothing called {other:?} can be done to jobs"))),
    };
    let ids: Vec<String> = fields.all("id").map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Fault::bad_request("no job was selected; tick some in the list first"));
    }
    if ids.len() > CHOSEN_MAX {
        return Err(Fault::bad_request(format!(
            "{} jobs are too many at once; the most is {CHOSEN_MAX}",
            ids.len()
        )));
    }
    let (on, by, of, what) = (&site, &caller, &queue, action.as_str());
    let each = iter(ids.clone()).map(|id| async move { one(on, by, of, &id, what).await });
    let ends: Vec<Result<(), Problem>> = each.buffer_unordered(AT_ONCE).collect().await;
    let done = ends.iter().filter(|end| end.is_ok()).count() as u64;
    let left = ends.iter().find_map(|end| end.as_ref().err());
    // The store went away in the middle: that is no answer about jobs.
    if let Some(away) = left.filter(|problem| done == 0 && problem.status().is_server_error()) {
        return Err(away.clone().into());
    }
    let mut told = format!("{} {word}.", units::of(done, "job", "jobs"));
    if let Some(why) = left {
        let others = ends.len() as u64 - done;
        told += &format!(
            " {}: {}.",
            units::of(others, "job was left as it is", "jobs were left as they are"),
            why.detail().trim_end_matches('.')
        );
    }
    let state: JobState = fields.text("state").parse().unwrap_or(JobState::Waiting);
    let after = json!({"jobs": ids.iter().take(50).collect::<Vec<_>>(), "done": done, "of": ids.len()});
    let deed = Done::new(format!("job {action}"), queue.as_str(), told)
        .then(site.links.state(queue.as_str(), state.as_str()));
    Ok(Done { after: Some(after), is_partial: left.is_some(), ..deed })
}

/// Does it to one job that the caller may see.
pub(super) async fn one(
    site: &Site,
    caller: &Caller,
    queue: &QueueName,
    id: &str,
    action: &str,
) -> Result<(), Problem> {
    let (queue, job) = crate::api::jobs::seen(&site.desk, caller, queue.as_str(), id).await?;
    let (store, id): (_, &JobId) = (&site.desk.store, &job.id);
    match action {
        "retry" => store.retry(&queue, id, false).await?,
        "retry-anew" => store.retry(&queue, id, true).await?,
        "promote" => store.promote(&queue, id).await?,
        "remove" => gone(store.remove(&queue, id).await?, id)?,
        "remove-tree" => {
            caller.must_see_all()?;
            gone(store.remove_tree(&queue, id).await?, id)?;
        }
        "cancel" => match store.cancel(&queue, id, site.desk.clock.now()).await? {
            Cancelled::Asked | Cancelled::Ended(_) => {}
            Cancelled::Finished(state) => {
                return Err(Problem::conflict(format!(
                    "job {id} is {state} already; there is nothing to cancel"
                )));
            }
            Cancelled::Scheduled => return Err(scheduled(id)),
            Cancelled::NotFound => return Err(missing(id)),
        },
        other => return Err(Problem::not_found(format!("nothing called {other:?} can be done to a job"))),
    }
    Ok(())
}

fn gone(removed: Removed, id: &JobId) -> Result<(), Problem> {
    match removed {
        Removed::Yes => Ok(()),
        Removed::NotFound => Err(missing(id)),
        Removed::Running => Err(Problem::conflict(format!(
            "job {id}, or one below it, is running; wait for its end, or cancel it"
        ))),
        Removed::Scheduled => Err(scheduled(id)),
    }
}

fn scheduled(id: &JobId) -> Problem {
    Problem::conflict(format!("job {id} is the next one of a scheduler; remove the scheduler instead"))
}

fn missing(id: &JobId) -> Problem {
    Problem::not_found(format!("job {id} does not exist any more; it may have been removed when it finished"))
}
