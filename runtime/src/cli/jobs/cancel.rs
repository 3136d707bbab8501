//! `jobcell job cancel`: ends a job, and says what that means for it.

use jobcell_core::store::Cancelled;
use jobcell_core::{Admin, Clock, JobState, SystemClock};
use serde_json::json;

use super::super::args::JobPlace;
use super::super::author::Author;
use super::super::console::{Console, visible};
use super::super::exit::Failure;
use super::{missing, named, on, scheduled};

pub(super) async fn cancel(
    store: &dyn Admin,
    place: &JobPlace,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (queue, id) = named(place)?;
    let became = store.cancel(&queue, &id, SystemClock.now()).await;
    let deed = on("job cancel", &queue, &id);
    let (deed, outcome) = match &became {
        Ok(Cancelled::Asked) => (deed.from(json!({"state": "active"})), Ok(())),
        Ok(Cancelled::Ended(was)) => {
            (deed.from(json!({"state": was.as_str()})).to(json!({"state": "failed"})), Ok(()))
        }
        Ok(Cancelled::Finished(state)) => (deed, Err(format!("it is {state} already"))),
        Ok(Cancelled::Scheduled) => (deed, Err("it belongs to a scheduler".to_owned())),
        Ok(Cancelled::NotFound) => (deed, Err("it does not exist".to_owned())),
        Err(error) => (deed, Err(error.to_string())),
    };
    let _ = author.record(deed, outcome).await;
    let (was, state, words) = match became? {
        Cancelled::Asked => {
            let words = "is running and is being ended: its handler is asked to stop within a second or so, and ended \
                         after the queue's cancel-grace";
            (JobState::Active, JobState::Active, words.to_owned())
        }
        Cancelled::Ended(was) => {
            (was, JobState::Failed, format!("was {was} and has ended: it is failed now"))
        }
        Cancelled::Finished(state) => {
            let message =
                format!("job {id:?} of queue {queue:?} is {state} already; there is nothing to cancel");
            return Err(Failure::failed(message));
        }
        Cancelled::Scheduled => return Err(scheduled(store, &queue, &id).await),
        Cancelled::NotFound => return Err(missing(store, &queue, &id).await),
    };
    let value = serde_json::json!({
        "id": id.as_str(), "queue": queue.as_str(), "was": was.as_str(), "state": state.as_str(),
    });
    console.answer(&value, |_| format!("job {} of queue {queue} {words}\n", visible(id.as_str())))
}
