//! What becomes of requests while the store is away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jobcell_core::Millis;
use jobcell_core::store::NewJob;

use super::*;
use crate::SpoolError;

/// Remembers what it was given.
#[derive(Default)]
struct Remembering {
    kept: Mutex<Vec<(QueueName, NewJob)>>,
    is_full: AtomicBool,
}

#[async_trait]
impl Spool for Remembering {
    fn takes(&self, queue: &QueueName) -> bool {
        queue.as_str() != "list"
    }

    fn holds_jobs(&self) -> bool {
        !self.kept.lock().unwrap().is_empty()
    }

    fn new_id(&self) -> String {
        "made-up".to_owned()
    }

    async fn keep(&self, queue: &QueueName, jobs: &[NewJob], _: Millis) -> Result<(), SpoolError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(SpoolError::Full { jobs: 1, bytes: 2 });
        }
        self.kept.lock().unwrap().extend(jobs.iter().map(|job| (queue.clone(), job.clone())));
        Ok(())
    }
}

fn with_spool() -> (Place, Arc<Remembering>) {
    let mut place = Place::open(Vec::new());
    let spool = Arc::new(Remembering::default());
    let api = Api { spool: Some(Arc::clone(&spool) as _), ..api(&place.store, &place.documents, Vec::new()) };
    place.router = router(api, true, CancellationToken::new());
    (place, spool)
}

#[tokio::test]
async fn with_a_spool_every_job_has_an_id_before_the_store_is_tried() {
    let (place, spool) = with_spool();
    let added = place.post("queues/work/jobs", Some(json!({"name": "n"}))).await;
    assert_eq!((added.status, &added.json["id"]), (StatusCode::CREATED, &json!("made-up")));
    let again = place.post("queues/work/jobs", Some(json!({"name": "n"}))).await;
    assert_eq!(again.json["added"], false);
    let list = place.post("queues/list/jobs", Some(json!({"name": "n"}))).await;
    assert_ne!(list.json["id"], "made-up");
    assert!(!spool.holds_jobs());
}

#[tokio::test]
async fn jobs_wait_behind_those_that_wait_already_and_a_full_spool_refuses() {
    let (place, spool) = with_spool();
    spool.kept.lock().unwrap().push((queue(), NewJob::new("first", "{}")));
    let jobs = json!([{"name": "a", "opts": {"jobId": "x"}}, {"name": "b"}]);
    let kept = place.post("queues/work/jobs", Some(jobs)).await;
    assert_eq!(kept.status, StatusCode::ACCEPTED);
    assert_eq!(kept.json[0], json!({"id": "x", "queue": "work", "added": true, "state": "spooled"}));
    let one = place.post("queues/work/jobs?wait=5", Some(json!({"name": "c"}))).await;
    assert_eq!((one.status, &one.json["state"]), (StatusCode::ACCEPTED, &json!("spooled")));
    let names: Vec<_> = spool.kept.lock().unwrap().iter().map(|(_, job)| job.name.clone()).collect();
    assert_eq!(names, ["first", "a", "b", "c"]);
    assert!(place.store.get(&queue(), &JobId::new("x").unwrap()).await.unwrap().is_none());
    spool.is_full.store(true, Ordering::SeqCst);
    let refused = place.post("queues/work/jobs", Some(json!({"name": "d"}))).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    assert!(refused.json["detail"].as_str().unwrap().contains("max-jobs"), "{}", refused.json);
}
