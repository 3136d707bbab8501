use std::time::Duration;

use jobcell_core::clock::SystemClock;
use jobcell_core::store::Page;
use jobcell_core::{JobOptions, JobState};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use jobcell_server::Spool as _;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(directory: &TempDir, jobs_max: u64) -> SpoolConfig {
    SpoolConfig { path: directory.path().join("in").join("spool.redb"), jobs_max, bytes_max: 1 << 20 }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job(id: &str) -> NewJob {
    let options = JobOptions { job_id: Some(id.to_owned()), ..JobOptions::default() };
    NewJob { options, ..NewJob::new("n", r#"{"a":1}"#) }
}

async fn open(directory: &TempDir, jobs_max: u64) -> Arc<Spool> {
    let metrics = Arc::new(Metrics::new());
    Spool::open(&config(directory, jobs_max), [QueueName::new("list").unwrap()], metrics).await.unwrap()
}

async fn store(directory: &TempDir) -> Arc<dyn Admin> {
    Arc::new(EmbeddedStore::open(directory.path().join("store"), EmbeddedOptions::default()).unwrap())
}

async fn ids(store: &dyn Admin) -> Vec<String> {
    let mut jobs = store.list(&queue(), JobState::Waiting, Page::first(1000)).await.unwrap();
    jobs.sort_by_key(|job| job.timestamp);
    jobs.into_iter().map(|job| job.id.to_string()).collect()
}

async fn forwarded(spool: &Arc<Spool>, store: &Arc<dyn Admin>) {
    let forwarding = tokio::spawn(Arc::clone(spool).forward(Arc::clone(store)));
    let empty = async {
        while spool.holds_jobs() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, empty).await.expect("everything is forwarded");
    forwarding.abort();
}

#[tokio::test]
async fn jobs_survive_the_process_and_are_forwarded_in_order_once() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory, 1000).await;
    let wanted: Vec<String> = (0..250).map(|n| format!("j{n:03}")).collect();
    for (at, ids) in wanted.chunks(50).enumerate() {
        let jobs: Vec<NewJob> = ids.iter().map(|id| job(id)).collect();
        spool.keep(&queue(), &jobs, 1_000 + at as u64).await.unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(config(&directory, 1).path).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // A second process must not use it at the same time.
    let metrics = Arc::new(Metrics::new());
    assert!(Spool::open(&config(&directory, 1), [], metrics).await.is_err());
    drop(spool);
    let spool = open(&directory, 1000).await;
    assert_eq!(spool.held().jobs, 250);
    // As if the host had died after the store took the first and before the spool knew.
    let store = store(&directory).await;
    store.add(&queue(), vec![job("j000")], 1_000).await.unwrap();
    forwarded(&spool, &store).await;
    let mut found = ids(&*store).await;
    found.sort();
    assert_eq!(found, wanted);
    assert_eq!(spool.held().bytes, 0);
}

#[tokio::test]
async fn a_full_spool_refuses_and_has_room_again_later() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory, 2).await;
    spool.keep(&queue(), &[job("a")], 1).await.unwrap();
    let full = spool.keep(&queue(), &[job("b"), job("c")], 1).await.unwrap_err();
    assert!(matches!(full, SpoolError::Full { jobs: 1, .. }), "{full}");
    spool.keep(&queue(), &[job("b")], 1).await.unwrap();
    let store = store(&directory).await;
    forwarded(&spool, &store).await;
    spool.keep(&queue(), &[job("c"), job("d")], 1).await.unwrap();
    let large = NewJob { data: vec![b'x'; 2 << 20].into(), ..job("e") };
    assert!(matches!(spool.keep(&queue(), &[large], 1).await, Err(SpoolError::Full { .. })));
    assert!(!spool.takes(&QueueName::new("list").unwrap()) && spool.takes(&queue()));
}

#[tokio::test]
async fn what_the_store_refuses_stops_no_other_job() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory, 10).await;
    // A priority that no store takes.
    let mut bad = job("bad");
    bad.options.priority = u64::MAX;
    spool.keep(&queue(), &[job("a"), bad, job("b")], 1).await.unwrap();
    let store = store(&directory).await;
    forwarded(&spool, &store).await;
    let mut found = ids(&*store).await;
    found.sort();
    assert_eq!(found, ["a", "b"]);
    let mut child = job("child");
    child.options.parent =
        Some(jobcell_core::options::ParentRef { id: "p".to_owned(), queue: "bull:q".to_owned() });
    assert!(matches!(spool.keep(&queue(), &[child], SystemClock.now()).await, Err(SpoolError::Unfit(_))));
}
