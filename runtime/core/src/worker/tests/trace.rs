//! An attempt is followed from its claim to its outcome by what the observer hands out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;

use super::fake::{Fake, host};
use super::runner::{FakeRunner, Step};
use super::{LONG, done, job, settings};
use crate::event::{Event, Observer};
use crate::outcome::Outcome;
use crate::store::Refusal;
use crate::trace::{Begins, Exchange, Note, Outgoing, Trace, TraceId};
use crate::worker::{Surroundings, Workers};

/// Writes down what it is told.
#[derive(Default)]
struct Follower(Arc<Mutex<Vec<String>>>);

impl Observer for Follower {
    fn on(&self, event: &Event) {
        if let Event::Ended { trace, .. } = event {
            self.0.lock().unwrap().push(format!("observed {}", trace.unwrap()));
        }
    }

    fn follow(&self, begins: &Begins<'_>) -> Option<Arc<dyn Trace>> {
        self.0.lock().unwrap().push(format!("begins {} {}", begins.queue, begins.job.attempts_started));
        Some(Arc::new(Written(Arc::clone(&self.0))))
    }
}

struct Written(Arc<Mutex<Vec<String>>>);

impl Trace for Written {
    fn id(&self) -> TraceId {
        TraceId([7; 16])
    }

    fn context(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn note(&self, note: Note<'_>) {
        self.0.lock().unwrap().push(format!("{note:?}"));
    }

    fn sends(&self, _: &Outgoing<'_>) -> Box<dyn Exchange> {
        unreachable!("nothing is sent here")
    }

    fn ended(&self, event: &Event) {
        let Event::Ended { outcome, .. } = event else { panic!("{event:?}") };
        self.0.lock().unwrap().push(format!("ended {outcome}"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_followed_to_its_end() {
    let store = Fake::with([job("1", "ok")]);
    let runner = FakeRunner::new(|_, attempt| {
        attempt.io.log("a line");
        Step::After(Duration::from_millis(5), done())
    });
    let follower = Follower::default();
    let told = Arc::clone(&follower.0);
    let surroundings = Surroundings { observer: Arc::new(follower), ..host(&store, &runner) };
    let mut workers = Workers::start(&surroundings, vec![settings(1)], true);
    timeout(LONG, workers.ended()).await.unwrap();
    let id = "07".repeat(16);
    let expected = [
        "begins q 0",
        "Runs(\"fake\", \"0\")",
        "Line(\"a line\")",
        &format!("observed {id}"),
        "ended completed",
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_again_under_the_same_claim_is_followed_anew() {
    let store = Fake::with([job("1", "parent")]);
    store.refuse("1", Refusal::NothingToWaitFor);
    let runner = FakeRunner::new(|job, attempt| {
        attempt.io.log(&format!("start {}", job.attempts_started));
        Step::Now(if job.attempts_started > 1 { done() } else { Outcome::WaitForChildren })
    });
    let follower = Follower::default();
    let told = Arc::clone(&follower.0);
    let surroundings = Surroundings { observer: Arc::new(follower), ..host(&store, &runner) };
    let mut workers = Workers::start(&surroundings, vec![settings(1)], true);
    timeout(LONG, workers.ended()).await.unwrap();
    let told = told.lock().unwrap();
    let begun = told.iter().filter(|line| line.starts_with("begins")).count();
    let ended: Vec<_> = told.iter().filter(|line| line.starts_with("ended")).collect();
    assert_eq!((begun, ended.len()), (3, 3), "{told:?}");
    assert_eq!(ended[2], "ended completed", "{told:?}");
}
